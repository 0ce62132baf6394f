"""Walks that turn, run, go backwards or on a treadmill, and other motions: values known in advance."""

import dataclasses

import numpy as np
import pytest
from commands import script
from conftest import data_file
from scipy.spatial.transform import Rotation

from muscle_torch.biomechanics.gait import gait_of, model_leg, opensim_gait
from muscle_torch.biomechanics.gait_events import Contacts, contacts_from_feet, contacts_from_force
from muscle_torch.biomechanics.gait_numbers import walk_numbers
from muscle_torch.biomechanics.recordings import read_series
from muscle_torch.biomechanics.walking import belt_speed, no_walk, strides_only
from muscle_torch.embodiments import make_embodiment
from muscle_torch.motion import MotionClip, load_motion

SPEED, STRIDE, STEP = 1.189, 1.06, 0.63  # of the built-in walk: 6.30 m in five strides of 1.06 s
RUN = "data/opensim_models_rajagopal_run"


@pytest.fixture(scope="module")
def body():
    return make_embodiment("fullbody")


@pytest.fixture(scope="module")
def walk(body):
    """Return the generated walk three times in sequence: 15 strides straight ahead."""
    clip = load_motion("walk", body)[0]
    once, advance = clip.qpos[:-1].astype(float), clip.qpos[-1, :2] - clip.qpos[0, :2]
    return np.concatenate([np.hstack((once[:, :2] + k * advance, once[:, 2:])) for k in range(3)])


def turned(qpos, angle):
    """Return the same steps along a path that turns by `angle` (T,) [rad]."""
    out, move = qpos.copy(), np.gradient(qpos[:, :2], axis=0)
    cos, sin = np.cos(angle), np.sin(angle)
    way = np.stack([cos * move[:, 0] - sin * move[:, 1], sin * move[:, 0] + cos * move[:, 1]], axis=1)
    out[:, :2] = qpos[0, :2] + np.cumsum(way, axis=0) - way[0]
    root = Rotation.from_euler("z", angle[:, None]) * Rotation.from_quat(qpos[:, 3:7], scalar_first=True)
    out[:, 3:7] = root.as_quat(scalar_first=True)
    return out


def numbers_of(gait):
    return {row[0]: row[1:3] for row in walk_numbers([gait])}


def there_and_back(time, seconds=1.5):
    return np.pi * np.clip((time - time[-1] / 2) / seconds + 0.5, 0, 1)


WAYS = {
    "straight": lambda q, t: q,
    "circle": lambda q, t: turned(q, 2 * np.pi * t / t[-1]),
    "there and back": lambda q, t: turned(q, there_and_back(t)),
    "eight": lambda q, t: turned(q, np.pi * np.sin(2 * np.pi * t / t[-1])),
    "treadmill": lambda q, t: np.hstack((q[:, :2] - np.outer(t / t[-1], q[-1, :2] - q[0, :2]), q[:, 2:])),
    "backwards": lambda q, t: q[::-1],
    "along y": lambda q, t: turned(q, np.full(len(t), 2.0)),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_strides_speed_and_steps_in_any_direction(body, walk, way):
    """Neither turns nor a belt change the number of strides or the speed along the path."""
    time = np.arange(len(walk)) / 100
    gait = gait_of(body, way(walk, time), 100.0)
    numbers = numbers_of(gait)
    assert sorted(numbers["strides"]) == [13, 14]
    assert numbers["speed of the model"] == pytest.approx((SPEED, SPEED), rel=0.015)
    assert numbers["stride time"] == pytest.approx((STRIDE, STRIDE), rel=0.005)
    assert numbers["step length of the model"] == pytest.approx((STEP, STEP), rel=0.03)
    # A law: the way of a stride is its two steps.
    assert sum(numbers["step length of the model"]) == pytest.approx(
        numbers["speed of the model"][0] * numbers["stride time"][0], rel=0.02
    )
    assert not gait.is_run and not gait.no_walk
    assert (gait.belt < -1.1) == (way is WAYS["treadmill"])
    assert any("backward" in note for note in gait.notes) == (way is WAYS["backwards"])


def test_a_walk_that_starts_and_ends_at_rest(body, walk):
    """Standing before and after changes neither speed nor number of strides."""
    still = [np.repeat(walk[i : i + 1], 200, axis=0) for i in (0, -1)]
    numbers = numbers_of(gait_of(body, np.concatenate((still[0], walk, still[1])), 100.0))
    assert sum(numbers["strides"]) in (27, 28, 29)
    assert numbers["speed of the model"] == pytest.approx((SPEED, SPEED), rel=0.03)


@pytest.mark.parametrize("name", ["sway", "squat", "arm_raise", "step_in_place"])
def test_generated_motions_on_the_spot_are_not_walks(body, name):
    clip = load_motion(name, body)[0]
    gait = gait_of(body, clip.qpos.astype(float), clip.frequency, name)
    assert "the feet stay in place" in gait.no_walk and f"{name} is not a walk" in gait.notes[0]
    assert walk_numbers([gait]) == [] and len(gait.contacts["r"].starts) == 0


def sit_to_stand(body):
    """Standing up and sitting down three times: the ankles stay in place, the pelvis moves by 0.2 m to and fro."""
    time = np.arange(900) / 100
    bend = np.radians(90) * (0.5 + 0.5 * np.cos(2 * np.pi * time / 3))
    qpos = np.tile(np.array(body.model.qpos0), (len(time), 1))
    for side in "rl":
        for joint, share in (("hip_flexion", 1.0), ("knee_angle", 1.0), ("ankle_angle", 0.0)):
            qpos[:, body.model.joint(f"{joint}_{side}").qposadr[0]] = share * bend
    qpos = body.project(qpos)
    ankle = gait_of(body, qpos, 100.0).feet["r"][0]
    qpos[:, :3] -= ankle - ankle[0]
    return qpos


def test_sit_to_stand_is_not_a_walk(body, tmp_path, capsys):
    qpos = sit_to_stand(body)
    gait = gait_of(body, qpos, 100.0, "chair")
    assert np.ptp(np.linalg.norm((gait.pelvis - gait.feet["r"][0])[:, :2], axis=1)) > 0.2
    assert "the feet stay in place" in gait.no_walk
    clip = MotionClip("chair", qpos.astype(np.float32), 100.0, body.joint_names, body.name, body.model_version)
    clip.save(tmp_path / "chair.npz")
    words = [f"motion={tmp_path / 'chair.npz'}", f"output={tmp_path / 'out'}"]
    assert script("tools/analyze.py").main(words) == 0
    shown, page = capsys.readouterr().out, (tmp_path / "out" / "report.html").read_text()
    assert "chair is not a walk: the feet stay in place" in shown and "step length" not in shown
    assert "chair is not a walk" in page and "<img" in page


def test_a_walker_who_leaves_the_room_and_comes_back_after_sitting(body, walk):
    """A walk with a rest of two seconds in it, seated or not, keeps its strides."""
    time = np.arange(len(walk)) / 100
    back = turned(walk, there_and_back(time))
    middle = len(back) // 4
    rested = np.concatenate((back[:middle], np.repeat(back[middle : middle + 1], 200, axis=0), back[middle:]))
    numbers = numbers_of(gait_of(body, rested, 100.0))
    assert sum(numbers["strides"]) >= 25
    assert numbers["speed of the model"] == pytest.approx((SPEED, SPEED), rel=0.03)


def test_why_a_motion_is_not_a_walk_by_hand():
    """Feet that move back and forth, sideways, or together; the leg is 1 m long."""
    time = np.arange(500) / 100
    ahead = np.tile([1.0, 0.0], (500, 1))
    steps = {side: Contacts(np.array([1.0, 2.0, 3.0]) + shift, np.array([1.6, 2.6, 3.6]) + shift)
             for side, shift in (("r", 0.0), ("l", 0.5))}  # fmt: skip
    way = np.stack([time, 0 * time], axis=1)
    feet = {"r": way, "l": way}
    assert no_walk(feet, steps, 6, way, ahead, 1.0) == ""
    assert no_walk(feet, {"r": steps["r"], "l": steps["r"]}, 6, way, ahead, 1.0) == "both feet land together"
    single = {side: Contacts(np.array([1.0]), np.array([1.6])) for side in "rl"}
    lunge = np.stack([0.3 * np.clip(time, 0, 1), 0 * time], axis=1)
    reason = no_walk({"r": 3 * lunge, "l": 0 * lunge}, single, 2, lunge, ahead, 1.0)
    assert reason == "the body stays in place (within 0.30 m)"
    assert no_walk({"r": way, "l": way}, single, 2, way, ahead, 1.0) == ""
    aside = way[:, ::-1]
    assert no_walk({"r": aside, "l": aside}, steps, 6, aside, ahead, 1.0) == "the body moves sideways"
    swing = np.stack([np.sin(2 * np.pi * time), 0 * time], axis=1)
    kept = strides_only(steps["r"], swing, 1.0, 0.0, 100.0)
    assert kept.starts.tolist() == [1.0] and "the foot moved only 0.00 m" in kept.left_out[0]
    assert "no foot moves forward" in no_walk({"r": swing, "l": swing}, {"r": kept, "l": kept}, 6, way, ahead, 1.0)


def markers_of(path):
    """Return markers (T, 3) [m], z up, of a .trc file in mm with y up, and the time of its first frame."""
    lines = path.read_text().splitlines()
    names = [name for name in lines[3].split("\t")[2:] if name.strip()]
    rows = [line.split("\t") for line in lines[6:] if line.strip()]
    table = np.array([[float(cell) / 1000 for cell in row[2 : 2 + 3 * len(names)]] for row in rows])
    places = {name: table[:, 3 * i : 3 * i + 3][:, [0, 2, 1]] * [1, -1, 1] for i, name in enumerate(names)}
    return places, float(rows[0][1])


def test_contacts_of_a_run_without_plates_are_those_of_the_plates():
    """Treadmill at 4 m/s: strikes within 15 ms, toe-offs within 25 ms of the plates."""
    markers, start = markers_of(data_file(f"{RUN}/motion_capture_run.trc"))
    forces = read_series(data_file(f"{RUN}/grf_run.mot"))
    pelvis = sum(markers[name] for name in ("LASI", "RASI", "LPSI", "RPSI")) / 4
    feet = {side.lower(): (markers[f"{side}CAL"], markers[f"{side}MT5"]) for side in "RL"}
    ahead = np.tile([1.0, 0.0], (len(pelvis), 1))
    belt = belt_speed(feet, pelvis, ahead, 100.0)
    assert belt == pytest.approx(-3.8, abs=0.15)
    shares, measured = [], []
    for side, (heel, toe) in feet.items():
        plate = contacts_from_force(forces[f"{side.upper()}_ground_force_vy"], forces.rate, 30.0, start_time=start)
        contacts = contacts_from_feet(heel, toe, pelvis, 100.0, start_time=start, direction=ahead, belt=belt)
        for exact, detected, within in ((plate.starts, contacts.starts, 0.015), (plate.ends, contacts.ends, 0.025)):
            detected = detected[np.isfinite(detected)]
            assert np.abs(detected[:, None] - exact[None]).min(axis=0).max() < within, side
        shares.append(np.nanmean(contacts.stance_share))
        measured.append(np.nanmean(plate.stance_share))
    np.testing.assert_allclose(shares, measured, atol=0.03)


def test_strikes_of_walks_without_plates_are_those_of_the_plates(body):
    """Three persons' first strike of each foot, over ground and on a treadmill: within 25 ms, and 5 ms on average."""
    trials = {
        "data/opensim_core_walk3d": ("coordinates.sto", "grf_walk.mot", {"r": 1.412, "l": 0.836}),
        "data/opensim_models_gait_subject01": ("subject01_walk1_ik.mot", "subject01_walk1_grf.mot", {}),
        "data/falisse2019_gait_cycles": ("IK_gait_1.mat", "GRF_gait_1.mat", {}),
    }
    apart = []
    for folder, (motion, forces, known) in trials.items():
        gait, _ = opensim_gait(body, data_file(folder) / motion, data_file(folder) / forces)
        time = gait.angles.time
        for side, (heel, toe) in gait.feet.items():
            loaded = gait.forces[side][:, 1] > 20.0
            plate = time[np.flatnonzero(loaded[1:] & ~loaded[:-1])[0] + 1]
            assert side not in known or plate == pytest.approx(known[side], abs=0.006)
            contacts = contacts_from_feet(heel, toe, gait.pelvis, gait.rate, start_time=float(time[0]),
                                       direction=gait.direction, belt=gait.belt)  # fmt: skip
            apart.append(contacts.starts[np.abs(contacts.starts - plate).argmin()] - plate)
    assert np.abs(apart).max() < 0.025 and abs(np.mean(apart)) < 0.005


def test_a_run_has_flight_and_long_steps(body):
    clip = load_motion(data_file("data/clips/MyoFullBody/cmu_02_03_run.npz"), body)[0]
    gait = gait_of(body, clip.qpos.astype(float), clip.frequency)
    numbers = numbers_of(gait)
    assert gait.is_run and numbers["stance share"][1] == pytest.approx(31, abs=3)
    assert numbers["flight share"][0] == pytest.approx(38, abs=6)
    assert sum(numbers["step length of the model"]) == pytest.approx(
        numbers["speed of the model"][0] * numbers["stride time"][1], rel=0.03
    )
    # The body's mass falls freely between 0.29 and 0.44, 0.66 and 0.82, 1.05 s and the end of the recording.
    strikes = np.sort(np.concatenate([gait.contacts[side].starts for side in "rl"]))
    leaves = np.sort(np.concatenate([gait.contacts[side].ends for side in "rl"]))
    np.testing.assert_allclose(strikes, [0.44, 0.82, 1.2], atol=0.03)
    np.testing.assert_allclose(leaves[:2], [0.66, 1.05], atol=0.03)


def test_speed_on_a_treadmill_is_the_belts(body):
    """The belt moves at 1.135 m/s by the toe markers; the model's legs are 0.91 of the subject's."""
    folder = data_file("data/opensim_models_gait_subject01")
    gait, _ = opensim_gait(body, folder / "subject01_walk1_ik.mot")
    numbers = numbers_of(gait)
    assert numbers["speed"][0] == pytest.approx(1.135, rel=0.035)
    assert numbers["speed of the model"][0] == pytest.approx(gait.scale * numbers["speed"][0])
    assert gait.scale == pytest.approx(0.912, abs=0.005)


def test_a_motion_without_horizontal_places_walks_on_a_treadmill(body):
    """OpenSim's own tutorial motion leaves pelvis_tx and pelvis_tz out."""
    gait, _ = opensim_gait(body, data_file("data/opensim_models_gait_subject01/normal_gait_tutorial4.mot"))
    assert any("has no pelvis_tx and pelvis_tz" in note for note in gait.notes)
    assert 1.0 < numbers_of(gait)["speed"][0] < 1.4


def test_speeds_are_the_subjects_followed_by_the_models(body, walk, tmp_path, capsys):
    """A subject whose legs are twice as long walks twice as fast."""
    clip = MotionClip("walk", walk.astype(np.float32), 100.0, body.joint_names, body.name, body.model_version)
    rows = {}
    for name, scale, words in (("none", np.nan, []), ("stored", 0.5, []), ("stated", np.nan, [2 * model_leg(body)])):
        dataclasses.replace(clip, scale=scale).save(tmp_path / f"{name}.npz")
        assert MotionClip.load(tmp_path / f"{name}.npz").scale == pytest.approx(scale, nan_ok=True)
        options = [f"leg_length={word}" for word in words]
        script("tools/analyze.py").main([f"motion={tmp_path / name}.npz", f"output={tmp_path}", *options])
        shown = capsys.readouterr().out
        rows[name] = {line[:30].strip(): line[30:].split() for line in shown.splitlines()}
        assert ("does not contain the subject's size" in shown) == (name == "none")
    assert "speed" not in rows["none"] and rows["none"]["speed of the model"][0] == "1.19"
    for name in ("stored", "stated"):
        assert rows[name]["speed"][0] == "2.38" and rows[name]["speed of the model"][0] == "1.19"
        assert rows[name]["step length"][0] == "1.26" and rows[name]["step length of the model"][0] == "0.629"


def test_retargeting_stores_the_scale(body):
    """The subject's speed is that of the recorded pelvis."""
    from muscle_torch.retargeting import ReadOptions, Retargeter, read_motion

    raw = read_motion(data_file("data/cmu_mocap_bvh/cmu_12_01_walk.bvh"), ReadOptions())
    clip = Retargeter()(raw).clip
    gait = gait_of(body, clip.qpos.astype(float), clip.frequency, scale=clip.scale)
    pelvis = raw.positions["pelvis"]
    speed = np.linalg.norm((pelvis[-1] - pelvis[0])[:2]) / ((len(pelvis) - 1) / raw.rate)
    assert numbers_of(gait)["speed"][0] == pytest.approx(speed, rel=0.03)


def test_without_a_reference_the_table_describes_the_curves(body, walk, tmp_path, capsys):
    """Extremes and scatter replace empty columns, in table.csv as well."""
    clip = MotionClip("walk", walk.astype(np.float32), 100.0, body.joint_names, body.name, body.model_version)
    clip.save(tmp_path / "walk.npz")
    script("tools/analyze.py").main([f"motion={tmp_path / 'walk.npz'}", f"output={tmp_path}"])
    shown = capsys.readouterr().out
    row = next(line for line in shown.splitlines() if line.startswith("knee flexion (right)")).split()
    # Built to bend by 70 degrees 73.6 % of the stride after heel contact. It sets the foot down without a jolt: half of
    # the body's speed is reached 3.6 frames, 3.4 % of the stride, before.
    assert 60 < float(row[7]) < 75 and float(row[8]) == pytest.approx(73.6 + 3.4, abs=1.0) and float(row[-1]) > 0.99
    assert " - " not in shown and "lowest" in (tmp_path / "table.csv").read_text().splitlines()[0]
