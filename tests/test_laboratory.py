"""Comparison with a recorded trial: a synthetic folder with known lags, correlations and weights."""

import csv
import dataclasses
import shutil

import mujoco
import numpy as np
import pytest
from commands import script
from conftest import data_file

from muscle_torch.biomechanics.agreement import pearson
from muscle_torch.biomechanics.coordinates import from_model, model_frame
from muscle_torch.biomechanics.emg_map import load_map
from muscle_torch.biomechanics.gait import GRAVITY, LEG_JOINTS, walking_bodies
from muscle_torch.biomechanics.ground_forces import feet_in_ground
from muscle_torch.biomechanics.laboratory import find_clock, read_laboratory, subject_mass
from muscle_torch.biomechanics.laboratory_curves import chance_level, recorded_on_model
from muscle_torch.biomechanics.recordings import read_series, write_series
from muscle_torch.biomechanics.rollout_dynamics import contact_forces, rollout_dynamics
from muscle_torch.biomechanics.series import TimeSeries
from muscle_torch.embodiments import make_embodiment
from muscle_torch.embodiments.independent import IndependentJoints
from muscle_torch.errors import InputError
from muscle_torch.motion import load_motion
from muscle_torch.motion.low_pass import derivatives
from muscle_torch.motion.rollout_archive import Episode, RolloutArchive, read_archive, write_archive

FIRST, FRAMES, START = 30, 150, 2.0  # the rollout begins 0.3 s into the trial, whose clock begins at 2 s
HEAVIER = 1.25  # the subject's mass over the model's
ACTIVITY = {  # channel -> actuators, the middle of its burst [s after the trial's start], what its EMG is
    "soleus": (("soleus_r",), 1.2, lambda burst, time: burst(time + 0.05)),  # 50 ms before
    "tibialis anterior": (("tibant_r",), 0.8, lambda burst, time: 0.3 * burst(time)),
    "vastus lateralis": (("vaslat_r",), 0.6, lambda burst, time: 1 - burst(time)),
}


def burst_at(middle):
    return lambda time: 0.8 * np.exp(-(((time - START - middle) / 0.12) ** 2))


@pytest.fixture(scope="module")
def body():
    return make_embodiment("fullbody")


@pytest.fixture(scope="module")
def qpos(body):
    return load_motion("walk", body)[0].qpos[: FIRST + FRAMES + 31].astype(float)


def episode_of(body, qpos, time):
    """Return states along the walk, as if a policy had tracked it exactly."""
    frames, qvel = len(qpos) - 1, derivatives(body.model, qpos, 100.0)[0]
    activation = np.zeros((frames, len(body.muscle_ids)))
    for actuators, middle, _ in ACTIVITY.values():
        activation[:, body.muscle_columns(actuators)] = burst_at(middle)(time[:frames, None])
    pulls, data = np.zeros_like(activation), mujoco.MjData(body.model)
    for row, force in enumerate(pulls):
        data.qpos[:], data.qvel[:], data.act[:] = qpos[row], qvel[row], activation[row]
        mujoco.mj_forward(body.model, data)
        force[:] = data.actuator_force
    joints, sensors = (np.zeros((frames, n)) for n in (len(body.scalar_joint_ids), len(body.touch_sensors)))
    return Episode(0, "walk", qpos, qpos[:-1], qvel[:-1], activation, activation, pulls, sensors,
                   np.zeros(frames), joints, sensors, np.arange(1, frames + 1))  # fmt: skip


@pytest.fixture(scope="module")
def archive(body, qpos, tmp_path_factory):
    """The archive's file: frames `FIRST` to `FIRST + FRAMES` of the trial."""
    time = START + (FIRST + np.arange(FRAMES + 1)) / 100
    one = episode_of(body, qpos[FIRST : FIRST + FRAMES + 1], time)
    joints = tuple(body.joint_names[j] for j in body.scalar_joint_ids)
    made = RolloutArchive(**body.identity, dt=0.01, joint_names=body.joint_names, muscle_names=body.muscle_names,
                          force_joint_names=joints, force_joint_units=("Nm",) * len(joints),
                          sensor_names=body.touch_sensors, mass=float(body.model.body_mass.sum()), motion_group="",
                          episodes=(one,))  # fmt: skip
    path = tmp_path_factory.mktemp("rollout") / "w.npz"
    write_archive(path, made)
    return path


@pytest.fixture(scope="module")
def trial(body, qpos, tmp_path_factory):
    """Write the folder: plates and moments of the same states, right force 40 ms later; EMG of `ACTIVITY`."""
    folder = tmp_path_factory.mktemp("trial")
    time = START + np.arange(len(qpos)) / 100
    write_series(folder / "ik.sto", from_model(qpos, body, 100.0, START))
    dynamics = rollout_dynamics(body, episode_of(body, qpos, time))
    frames, ground, feet = len(qpos) - 1, model_frame(body).inv(), feet_in_ground(body, qpos, 1.0)
    fine = START + np.arange(10 * (frames - 10)) / 1000
    names, columns = [], []
    for side, delay in (("r", 0.04), ("l", 0.0)):
        force = HEAVIER * ground.apply(dynamics.ground[side])
        plate = TimeSeries(time[:frames] + delay, np.hstack((force, feet[side][:frames])), tuple("abcdef"))
        columns.append(np.nan_to_num(plate.at(fine).values))
        names += [f"ground_force_{side}_{kind}{axis}" for kind in "vp" for axis in "xyz"]
    write_series(folder / "grf.mot", TimeSeries(fine, np.hstack(columns), tuple(names)))
    moments = TimeSeries(time[:frames], HEAVIER * dynamics.moments, tuple(f"{j}_moment" for j in LEG_JOINTS))
    write_series(folder / "id.sto", moments)
    emg = np.stack([made(burst_at(middle), fine) for _, middle, made in ACTIVITY.values()], axis=1)
    write_series(folder / "emg.csv", TimeSeries(fine, emg, tuple(ACTIVITY)))
    (folder / "README.txt").write_text("not a recording\n")
    return folder


def rows_of(path):
    with path.open(encoding="utf-8") as file:
        titles, *rows = csv.reader(file)
    return {row[0]: dict(zip(titles[2:], map(float, row[2:]), strict=True)) for row in rows}


@pytest.fixture(scope="module")
def compared(archive, trial, body, tmp_path_factory):
    folder = tmp_path_factory.mktemp("compared")
    mass = HEAVIER * float(body.model.body_mass.sum())
    words = [f"rollout={archive}", f"trial={trial}", f"mass={mass}", f"output={folder}"]
    assert script("tools/analyze.py").main(words) == 0
    return folder


def test_forces_have_the_lag_that_was_written(compared):
    """In body weights the forces of the heavier subject match; in newtons they do not."""
    rows = rows_of(compared / "forces.csv")
    for name in ("vertical force", "fore-aft force"):
        same, later = rows[f"{name} (left)"], rows[f"{name} (right)"]
        assert same["r"] > 0.99 and same["lag [ms]"] == 0 and same["RMSE"] < 0.02
        assert later["lag [ms]"] == pytest.approx(-40) and later["r at lag"] > 0.99 > later["r"]
    vertical = rows["vertical force (left)"]
    assert vertical["peak measured [N]"] == pytest.approx(HEAVIER * vertical["simulated [N]"], rel=0.1)
    assert vertical["RMSE [N]"] > 20


def test_moments_by_mass_are_the_same(compared):
    rows = rows_of(compared / "moments.csv")
    assert len(rows) == 6
    for name, row in rows.items():
        assert row["r"] > 0.999 and row["RMSE"] < 1e-3 and row["lag [ms]"] == 0, name
        assert row["peak measured [Nm/kg]"] == pytest.approx(row["simulated"], rel=1e-2)
        assert np.isfinite(row["optimised r"]), "static optimisation has moments of its own"


def test_muscles_have_the_lag_and_correlation_that_were_written(compared):
    rows = rows_of(compared / "muscles.csv")
    assert list(rows) == ["soleus_r", "tibialis_anterior_r", "vastus_lateralis_r"]
    assert rows["soleus_r"]["lag [ms]"] == pytest.approx(50) and rows["soleus_r"]["r at lag"] > 0.999
    same = rows["tibialis_anterior_r"]
    assert same["r"] > 0.9999 and same["RMSE"] < 1e-2 and same["lag [ms]"] == 0
    assert same["peak activation"] == pytest.approx(0.8, abs=0.02)
    assert rows["vastus_lateralis_r"]["r"] < -0.999
    # The other muscles' bursts come at other times.
    assert max(abs(row["shuffled r"]) for row in rows.values()) < 0.6


def test_the_page_and_its_curves(compared):
    page = (compared / "report.html").read_text()
    assert page.count("<img") == 1 and "http" not in page and "2.300 s of the trial" in page
    assert "Ground force" in page and "Joint moments" in page and "Muscle activity" in page
    curves = read_series(compared / "curves.csv")
    assert curves.time[0] == pytest.approx(START + FIRST / 100) and len(curves.names) == 2 * 4 + 3 * 6 + 3 * 3
    assert curves["soleus_r, simulated"].max() == pytest.approx(1.0)


def test_forces_of_a_rollout_are_those_that_move_its_mass(body, archive):
    """Newton: weight and ground forces accelerate the root; moments are those of inverse dynamics."""
    one, model, data = read_archive(archive).episodes[0], body.model, mujoco.MjData(body.model)
    dynamics, ids = rollout_dynamics(body, one), walking_bodies(body)
    feet = {ids[f"{part}_{side}"]: side for part in ("calcn", "toes") for side in "rl"}
    for frame in (5, 25, 60):
        data.qpos[:], data.qvel[:], data.act[:] = one.qpos[frame], one.qvel[frame], one.activation[frame]
        mujoco.mj_forward(model, data)
        needed = np.zeros(model.nv)
        mujoco.mj_mulM(model, data, needed, data.qacc)
        needed += data.qfrc_bias
        total = sum(force[frame] for force in dynamics.ground.values())
        np.testing.assert_allclose(total, needed[:3], atol=0.05 * np.abs(needed[:3]).max())
        net = needed - contact_forces(model, data, feet)[1]
        expected = IndependentJoints(body).along(one.qpos[frame], LEG_JOINTS).T @ net
        np.testing.assert_allclose(dynamics.moments[frame], expected, atol=0.2)


def test_a_body_with_motors_is_rejected(body, archive):
    with_motors = dataclasses.replace(body)
    with_motors.__dict__["motor_ids"] = np.array([3])
    with_motors.__dict__["motor_names"] = ("hip motor",)
    with pytest.raises(InputError, match=r"has motors .hip motor.: an archive does not contain their torque"):
        rollout_dynamics(with_motors, read_archive(archive).episodes[0])


def test_muscles_of_another_strength_are_rejected(body, archive):
    one = read_archive(archive).episodes[0]
    weak = dataclasses.replace(one, muscle_force=0.9 * one.muscle_force)
    with pytest.raises(InputError, match=r"differ from the model's in the same states .by 11 %"):
        rollout_dynamics(body, weak)


def test_the_clock_is_where_the_angles_agree(body, qpos, trial):
    laboratory = read_laboratory(trial, load_map())
    clock = find_clock(laboratory, from_model(qpos[57:140], body, 100.0), "clip")
    assert clock.start == pytest.approx(START + 0.57, abs=2e-3) and clock.rms < 0.1
    # A clip that begins before the recording: only its part in it can be compared.
    longer = dataclasses.replace(laboratory, angles=laboratory.angles.between(START + 0.4, START + 1.9))
    assert find_clock(longer, from_model(qpos, body, 100.0), "clip").start == pytest.approx(START, abs=2e-3)


def test_plates_weigh_the_subject(trial):
    """Steps of 0.55 s, each foot on for 0.66 s, together always 700 N; before 1 s nothing is on the plates."""
    time = np.arange(4000) / 1000
    share = {side: np.clip(np.minimum(phase / 0.11, (0.66 - phase) / 0.11), 0, 1)
             for side, phase in (("r", (time - 1) % 1.1), ("l", (time - 1.55) % 1.1))}  # fmt: skip
    columns = [np.where(time >= 1.0, 700 * share[side], 0.0) for side in "rl"]
    names = ("ground_force_r_vy", "ground_force_l_vy")
    forces = TimeSeries(time, np.stack(columns, axis=1), names)
    laboratory = dataclasses.replace(read_laboratory(trial, load_map()), forces=forces)
    assert subject_mass(laboratory) == pytest.approx(700 / GRAVITY, rel=0.01)
    short = dataclasses.replace(laboratory, forces=forces.between(1.0, 1.9))
    with pytest.raises(InputError, match="mass is unknown, because no complete stride is on force plates; set mass="):
        subject_mass(short)


def test_chance_of_three_muscles_by_hand():
    """One of six assignments is correct, and one muscle in three on average."""
    chance = chance_level(np.eye(3))
    assert chance.r == 1.0
    assert chance.mean == pytest.approx(1 / 3) and chance.beaten == pytest.approx(1 / 6)
    many = chance_level(np.eye(10))
    assert many.mean == pytest.approx(0.1, abs=0.01) and many.beaten < 1e-3


def without(folder, tmp_path, *names):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    for name in names:
        (copy / name).unlink()
    return copy


@pytest.mark.parametrize(("absent", "line"), [
    (("id.sto",), "no joint moments (hip_flexion_r_moment, ...), not compared; set moments="),
    (("emg.csv",), "no EMG (soleus, ...), not compared; set emg="),
    (("grf.mot",), "no force plates (ground_force_r_vy, ...), not compared; set forces="),
])  # fmt: skip
def test_a_missing_file_omits_only_its_curves(archive, trial, tmp_path, capsys, absent, line):
    words = [f"rollout={archive}", f"trial={without(trial, tmp_path, *absent)}", f"output={tmp_path}", "mass=80"]
    assert script("tools/analyze.py").main(words) == 0
    shown = capsys.readouterr().out
    assert line in shown and "Median r" in shown
    assert ("no static optimisation, because there are no force plates" in shown) == (absent == ("grf.mot",))


@pytest.mark.parametrize(("absent", "message"), [
    (("grf.mot", "id.sto", "emg.csv"), "no force plates, joint moments or EMG to compare with"),
    (("ik.sto",), "no file contains the motion .* that defines the clock; set motion="),
])  # fmt: skip
def test_a_folder_without_anything_to_compare(archive, trial, tmp_path, absent, message):
    with pytest.raises(InputError, match=message):
        script("tools/analyze.py").main([f"rollout={archive}", f"trial={without(trial, tmp_path, *absent)}"])


def test_other_clocks_clips_and_options_are_reported(archive, trial, tmp_path):
    main = script("tools/analyze.py").main
    folder = without(trial, tmp_path)
    emg = read_series(folder / "emg.csv")
    write_series(folder / "emg.csv", dataclasses.replace(emg, time=emg.time + 60))
    with pytest.raises(InputError, match=r"emg.csv: its EMG cover 62.00 to .* is at 2.30 to .* the trial's clock"):
        main([f"rollout={archive}", f"trial={folder}", "mass=80"])
    shutil.copy(folder / "emg.csv", folder / "emg_again.csv")
    with pytest.raises(InputError, match=r"in emg.csv and emg_again.csv: choose one with emg="):
        main([f"rollout={archive}", f"trial={folder}"])
    with pytest.raises(InputError, match="is not a folder"):
        main([f"rollout={archive}", f"trial={tmp_path / 'nowhere'}"])
    with pytest.raises(InputError, match="set both rollout="):
        main([f"rollout={archive}"])
    with pytest.raises(InputError, match=r"is not a clip of trial=.* deg from the recorded"):
        main([f"rollout={archive}", f"trial={data_file('data/opensim_core_walk3d')}"])
    read = read_archive(archive)
    one = dataclasses.replace(read.episodes[0], reference=read.episodes[0].reference[:0])
    short = {f.name: getattr(read.episodes[0], f.name) for f in dataclasses.fields(Episode)}
    short |= {name: rows[:12] for name, rows in short.items() if name not in ("clip", "name", "reference", "network")}
    write_archive(tmp_path / "lost.npz", dataclasses.replace(read, episodes=(Episode(**short),)))
    with pytest.raises(InputError, match="walk was lost after 12 frames; a comparison needs at least 20"):
        main([f"rollout={tmp_path / 'lost.npz'}", f"trial={trial}", "mass=80"])
    write_archive(tmp_path / "target.npz", dataclasses.replace(read, episodes=(one,)))
    with pytest.raises(InputError, match="walk followed no motion"):
        main([f"rollout={tmp_path / 'target.npz'}", f"trial={trial}"])


def test_the_episode_of_the_trial_is_selected(archive, trial, body, tmp_path, capsys):
    """The first episode stands still; the second one is the walk, lost after 60 of its 150 frames."""
    read = read_archive(archive)
    walk = read.episodes[0]
    still = dataclasses.replace(walk, name="still", reference=np.tile(walk.reference[:1], (len(walk.reference), 1)))
    rows = {f.name: getattr(walk, f.name) for f in dataclasses.fields(Episode)}
    rows |= {name: values[:60] for name, values in rows.items() if name not in ("clip", "name", "reference", "network")}
    both = dataclasses.replace(read, episodes=(still, Episode(**rows)))
    write_archive(tmp_path / "both.npz", both)
    words = [f"rollout={tmp_path / 'both.npz'}", f"trial={trial}", f"output={tmp_path}", "mass=80"]
    assert script("tools/analyze.py").main(words) == 0
    assert "walk was followed for 60 of 150 frames; the rest is not compared" in capsys.readouterr().out
    assert len(read_series(tmp_path / "curves.csv").time) == 60
    with pytest.raises(InputError, match="still is not a clip of trial"):
        script("tools/analyze.py").main([*words, "episode=0"])
    with pytest.raises(InputError, match="has 2 episodes, so episode=2"):
        script("tools/analyze.py").main([*words, "episode=2"])


def test_a_recorded_walk_on_the_model(body):
    """The recorded walk on the model, without a controller: its clock, the subject's mass, and static optimisation."""
    folder = data_file("data/opensim_core_walk3d")
    (clip,) = load_motion(data_file("data/clips/MyoFullBody/opensim_walk3d.npz"), body)
    laboratory = read_laboratory(folder, load_map())
    clock = find_clock(laboratory, from_model(clip.qpos.astype(float), body, clip.frequency), clip.name)
    # Cut from 0.46 s on, as its authors say; 85.07 kg.
    assert clock.start == pytest.approx(0.46, abs=0.005) and clock.rms < 2.0
    assert subject_mass(laboratory) == pytest.approx(85.07, rel=0.005)
    assert laboratory.emg is not None and len(laboratory.emg.names) == 10
    recorded = recorded_on_model(body, laboratory, clock.start + np.arange(132) / 100, 85.07, 6.0, False)
    assert not isinstance(recorded, str) and laboratory.moments is not None
    theirs = laboratory.moments.at(recorded.moments.time)
    for joint in ("hip_flexion", "knee_angle", "ankle_angle"):
        for side in "rl":
            assert pearson(theirs[f"{joint}_{side}"], recorded.moments[f"{joint}_{side}"]) > 0.95
    assert recorded.ground["r"].shape == (132, 2) and recorded.ground["r"].max() > 850
