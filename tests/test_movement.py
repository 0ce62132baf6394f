"""Movements of bodies without feet: paths, smoothness, moments, and the report of tools/analyze.py."""

import dataclasses
import re
from itertools import pairwise

import numpy as np
import pytest
import torch
from commands import script
from conftest import data_file
from env_cases import Acting

from muscle_torch.biomechanics.analyze_options import AnalyzeOptions
from muscle_torch.biomechanics.movement import end_points, movement_of, path_measures
from muscle_torch.biomechanics.movement_tables import group_columns
from muscle_torch.biomechanics.movements import JOINTS, analysed_body, has_feet, read_movements
from muscle_torch.biomechanics.recordings import read_series
from muscle_torch.biomechanics.smoothness import log_dimensionless_jerk, path_length, spectral_arc_length
from muscle_torch.embodiments import make_embodiment
from muscle_torch.envs import make_env
from muscle_torch.errors import InputError
from muscle_torch.evaluation import evaluate
from muscle_torch.evaluation.archive_recorder import ArchiveRecorder
from muscle_torch.motion import MotionClip
from muscle_torch.motion.rollout_archive import read_archive, write_archive

RATE, SECONDS = 100.0, 1.2
HAND, SWEEP = 0.3, 1.5  # distance of the toy arm's hand from its elbow [m], and angle that the elbow moves [rad]


@pytest.fixture(scope="module")
def toy():
    return make_embodiment("toy_arm")


@pytest.fixture(scope="module")
def arms():
    return make_embodiment("bimanual")


def minimum_jerk(rate: float = RATE) -> np.ndarray:
    """Return the smoothest way from 0 to 1 in `SECONDS`, (T,) (Flash and Hogan 1985)."""
    tau = np.arange(round(SECONDS * rate) + 1) / (SECONDS * rate)
    return 10 * tau**3 - 15 * tau**4 + 6 * tau**5


def sweep_clip(toy, name: str = "sweep", scale: float = 1.0) -> MotionClip:
    """Return a clip of the toy arm whose hand moves on an arc from rest to rest."""
    qpos = (0.2 + scale * SWEEP * minimum_jerk()).astype(np.float32)[:, None]
    return MotionClip(name, qpos, RATE, ("elbow",), toy.name, toy.model_version)


def test_spectral_arc_length_is_the_published_one():
    """The value of the authors' implementation for this profile."""
    bell = np.exp(-5 * np.arange(-1, 1, 0.01) ** 2)
    assert spectral_arc_length(bell, 100.0) == pytest.approx(-1.41403, abs=1e-5)
    assert spectral_arc_length(7 * bell, 100.0) == pytest.approx(-1.41403, abs=1e-5)
    twice = np.concatenate((bell, bell))
    assert spectral_arc_length(twice, 100.0) < -1.8, "two submovements are less smooth than one"
    assert np.isnan(spectral_arc_length(np.zeros(50), 100.0))


def test_dimensionless_jerk_is_that_of_known_movements():
    """From rest to rest: 720 A^2 / T^5 and a peak of 1.875 A / T. Circles: jerk v^3 / r^2."""
    speed = np.gradient(minimum_jerk(1000.0), 1e-3)
    line = speed[:, None] * np.array([0.6, 0.0, 0.8])
    assert log_dimensionless_jerk(line, 1000.0) == pytest.approx(-np.log(720 / 1.875**2), abs=0.01)
    assert log_dimensionless_jerk(3 * line, 1000.0) == pytest.approx(log_dimensionless_jerk(line, 1000.0))
    phase = 2 * np.pi * np.arange(2001) / 1000
    circle = np.stack((-np.sin(phase), np.cos(phase), 0 * phase), axis=1)
    assert log_dimensionless_jerk(circle, 1000.0) == pytest.approx(-4 * np.log(2 * np.pi * 2), abs=1e-3)
    assert np.isnan(log_dimensionless_jerk(0 * line, 1000.0))


def test_the_hand_on_an_arc(toy):
    """Arc length r A; peak speed 1.875 r A / T in the middle; smoothness of a single reach."""
    one = movement_of(toy, sweep_clip(toy).qpos, RATE)
    assert end_points(toy) == {"hand": 2}
    measures = path_measures(one, 2)
    assert measures.length == pytest.approx(HAND * SWEEP, rel=1e-3)
    assert measures.peak_speed == pytest.approx(1.875 * HAND * SWEEP / SECONDS, rel=2e-3)
    assert measures.mean_speed == pytest.approx(HAND * SWEEP / SECONDS, rel=0.02)
    assert measures.peak_time == pytest.approx(SECONDS / 2, abs=0.02)
    assert -1.6 < measures.arc_length < -1.3
    assert one.angles.values[-1, 0] - one.angles.values[0, 0] == pytest.approx(np.degrees(SWEEP), rel=1e-4)
    assert one.velocities.values.max() == pytest.approx(1.875 * np.degrees(SWEEP) / SECONDS, rel=2e-3)


def test_the_hand_on_a_line_and_a_circle(toy):
    one = movement_of(toy, sweep_clip(toy).qpos, RATE)
    way = minimum_jerk()
    direction = np.array([2.0, -1.0, 2.0]) / 3
    line = dataclasses.replace(
        one,
        sites=np.tile(0.45 * way[:, None, None] * direction, (1, 3, 1)),
        site_velocities=np.tile(np.gradient(0.45 * way, 1 / RATE)[:, None, None] * direction, (1, 3, 1)),
    )
    measures = path_measures(line, 1)
    assert measures.length == pytest.approx(0.45, abs=1e-9)
    assert measures.peak_speed == pytest.approx(1.875 * 0.45 / SECONDS, rel=1e-3)
    assert measures.jerk == pytest.approx(-5.32, abs=0.08)
    angle = 2 * np.pi * np.arange(201) / 200
    circle = 0.2 * np.stack((np.cos(angle), np.sin(angle), 0 * angle), axis=1)
    assert path_length(circle) == pytest.approx(0.4 * np.pi, rel=1e-3)


def test_the_moment_that_holds_the_forearm(toy):
    """1.2 kg at 0.13 m and 0.4 kg at 0.3 m from the elbow, held horizontally, against gravity."""
    held = movement_of(toy, np.full((30, 1), np.pi / 2), RATE)
    weight = -toy.model.opt.gravity[2]
    np.testing.assert_allclose(held.moments["elbow"], weight * (1.2 * 0.13 + 0.4 * 0.3), rtol=1e-6)
    half = movement_of(toy, np.full((30, 1), np.pi / 6), RATE)
    np.testing.assert_allclose(half.moments["elbow"], held.moments["elbow"] / 2, rtol=1e-6)


def test_the_arms_have_two_hands_and_two_sides(arms):
    assert {name: arms.site_names[site] for name, site in end_points(arms).items()} == {
        "left hand": "left_hand_mimic", "right hand": "right_hand_mimic"}  # fmt: skip
    sizes = {key: len(columns) for key, columns in group_columns(arms).items()}
    assert sizes["shoulder", "left"] == sizes["shoulder", "right"] == 15
    assert sum(sizes.values()) == len(arms.muscle_names)


@pytest.mark.parametrize("key", JOINTS)
def test_bodies_without_feet_are_recognized(key):
    body = make_embodiment(key)
    assert JOINTS[key] in body.joint_names and not has_feet(body)


def test_the_body_of_a_motion(tmp_path, toy):
    """By name, by the joints in a file, or as stated; trajectory files store no body."""

    def body(**options) -> str:
        return analysed_body(AnalyzeOptions(**options), ()).key

    sweep_clip(toy).save(tmp_path / "sweep.npz")
    assert body(motion=str(tmp_path / "sweep.npz")) == body(motion=str(tmp_path)) == "toy_arm"
    assert body(motion="drink") == body(motion="wave", task="bimanual") == "bimanual"
    assert body(motion="wave", task="toy_reach") == "toy_arm"


def test_a_trajectory_file_is_of_the_arms():
    file = data_file("data/clips/MyoBimanualArm/cmu_02_05_punch.npz")
    assert analysed_body(AnalyzeOptions(motion=str(file)), ()).key == "bimanual"


def rows_of(text: str, title: str) -> list[list[str]]:
    """Return the cells of the rows of a printed table."""
    block = text.split(f"{title}\n")[1].split("\n\n")[0]
    return [re.split(r"\s{2,}", line.strip()) for line in block.splitlines()[2:]]


def test_the_command_analyses_a_clip(toy, tmp_path, capsys):
    """A larger sweep against the reference: every figure follows from both arcs."""
    sweep_clip(toy).save(tmp_path / "sweep.npz")
    sweep_clip(toy, "larger", 1.1).save(tmp_path / "larger.npz")
    words = [f"motion={tmp_path / 'larger.npz'}", f"reference={tmp_path / 'sweep.npz'}", "optimise=true"]
    assert script("tools/analyze.py").main([*words, "synergies=0", f"output={tmp_path / 'out'}"]) == 0
    shown = capsys.readouterr().out
    mine, reference = rows_of(shown, "Paths")
    assert float(mine[3]) / float(reference[2]) == pytest.approx(1.1, abs=0.01)
    assert float(mine[-1]) == pytest.approx(2e3 * HAND * np.sin(0.05 * SWEEP), rel=0.01), "the chord of 0.15 rad"
    joint = rows_of(shown, "Joint angles and speeds")[0]
    apart = 0.1 * np.degrees(SWEEP) * minimum_jerk()
    assert float(joint[7]) == pytest.approx(np.sqrt(np.mean(apart**2)), rel=0.01)
    assert float(joint[9]) == pytest.approx(apart.mean(), rel=0.01) and float(joint[10]) == 1.0
    group = rows_of(shown, "Activation by group")[0]
    assert group[0] == "elbow" and "flexor" in group
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Over time" in page and "http" not in page and page.count("<img") == 6
    curves = read_series(next((tmp_path / "out" / "curves").glob("*.csv")))
    np.testing.assert_allclose(curves["angle elbow"], np.degrees(0.2 + 1.1 * SWEEP * minimum_jerk()), atol=1e-4)
    assert {"reference position hand z", "moment elbow", "activation flexor"} <= set(curves.names)


def test_the_command_analyses_rollouts(toy, tmp_path, capsys):
    """Angles, velocities, activations and muscle moments are the archive's; the reference is the motion followed."""
    sweep_clip(toy).save(tmp_path / "sweep.npz")
    env = make_env("toy_arm", num_envs=1, device="cpu", backend="mujoco", threads=1, evaluation=True,
                   motion=str(tmp_path / "sweep.npz"), termination={})  # fmt: skip
    recorder = ArchiveRecorder(env)
    evaluate(env, Acting(lambda observation: torch.full((1, env.action_size), 0.2)), callbacks=[recorder])
    env.close()
    write_archive(tmp_path / "rollouts.npz", recorder.archive())
    archive = read_archive(tmp_path / "rollouts.npz")
    movements = read_movements(AnalyzeOptions(), toy, [archive, dataclasses.replace(archive, seed=1)])
    (one, other), (again, _) = movements.pairs
    episode = archive.episodes[0]
    np.testing.assert_allclose(one.angles["elbow"], np.degrees(episode.qpos[:, 0]), rtol=1e-5)
    np.testing.assert_allclose(one.velocities["elbow"], np.degrees(episode.qvel[:, 0]), rtol=1e-5)
    np.testing.assert_allclose(one.muscle_moments["elbow"], episode.joint_force[:-1, 0], rtol=1e-5)
    np.testing.assert_allclose(one.activations.values, episode.activation)
    assert other is not None and len(other.sites) == len(one.sites) and again.seed == 1
    words = [f"archive={tmp_path / 'rollouts.npz'}", "synergies=0", f"output={tmp_path / 'out'}"]
    assert script("tools/analyze.py").main(words) == 0
    shown = capsys.readouterr().out
    apart = np.degrees(np.abs(episode.qpos - episode.reference[: len(episode.qpos)])).mean()
    assert float(rows_of(shown, "Motions")[0][4]) == pytest.approx(apart, rel=0.01)
    assert "metabolic power" in shown and "sweep (reference)" in shown
    with pytest.raises(InputError, match="1 episodes, so episode=1"):
        script("tools/analyze.py").main([*words, "episode=1"])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["forces=grf.mot"], "forces= needs a body with feet, ToyArm has none"),
        (["reference=all"], "motions; select one"),
        (["episode=5"], "has 1 motions, so episode=5"),
        (["motion=arm.mot"], "tools/retarget.py embodiment=toy_arm"),
    ],
)
def test_options_of_walks_are_reported(words, expected, toy, tmp_path):
    sweep_clip(toy).save(tmp_path / "sweep.npz")
    with pytest.raises(InputError, match=expected):
        script("tools/analyze.py").main(
            [f"motion={tmp_path / 'sweep.npz'}", "task=toy_arm", *words, f"output={tmp_path}"]
        )


def test_short_motions_are_left_out(toy, tmp_path):
    clip = sweep_clip(toy)
    dataclasses.replace(clip, name="short", qpos=clip.qpos[:4]).save(tmp_path / "a_short.npz")
    clip.save(tmp_path / "sweep.npz")
    movements = read_movements(AnalyzeOptions(motion=str(tmp_path)), toy)
    assert [one.name for one in movements.movements] == ["sweep"]
    assert len(movements.left_out) == 1 and movements.left_out[0].startswith("short, 4 frames")
    assert all(a < b for a, b in pairwise(movements.movements[0].angles.time))
