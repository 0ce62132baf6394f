"""Evaluation of goals other than motions: the toy arm holds an angle; at rest the errors are known."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from env_cases import Acting, clip, saved, small_env

from muscle_torch.embodiments import make_embodiment
from muscle_torch.envs.goals.goal import Headline, Trials
from muscle_torch.errors import InputError
from muscle_torch.evaluation import ZeroController, average, compare_controllers, evaluate, play, trial_table
from muscle_torch.evaluation.archive_recorder import ArchiveRecorder
from muscle_torch.evaluation.figures import joint_figure
from muscle_torch.evaluation.summary import wilson_interval
from muscle_torch.evaluation.trajectory_distance import Distances
from muscle_torch.evaluation.validation import Validation
from muscle_torch.motion.rollout_archive import read_archive, write_archive

HEADLINE = Headline("err/angle", "angle error", "mrad", 1e3)
NEAR = 0.1  # [rad]


class HoldAngle:
    """Environment and goal: targets [rad] relative to the resting angle, trials of given lengths."""

    headline = HEADLINE

    def __init__(self, env, targets, steps, lost_beyond=10.0):
        self._env, self.goal, self._lost_beyond = env, self, lost_beyond
        names = [f"target {target}" for target in targets]
        self.trials = Trials(names, torch.tensor(steps) + 1, (torch.tensor(targets),), "trial")

    def __getattr__(self, name):
        return getattr(self._env, name)

    def assign(self, start):
        (self.target,) = start
        still = torch.zeros(self.num_envs, dtype=torch.long)
        self._env.assign((still, still))
        self.rest = self.physics.field("qpos")[:, 0].clone()

    def advance(self, action):
        step, error = self._env.advance(action), self._error()
        terms = {name: value for name, value in step.terms.items() if not name.startswith("err/")}
        terms |= {"err/angle": error, "err/twice_angle": 2 * error}
        return step._replace(terms=terms, terminated=error > self._lost_beyond)

    def success(self):
        return self._error() < NEAR

    def ghost(self):
        return None

    markers = ghost

    groups = ("all",)
    group = torch.zeros(3, dtype=torch.long)

    def outcome(self):
        return {}

    def _error(self):
        return (self.physics.field("qpos")[:, 0] - self.rest - self.target).abs()


@pytest.fixture
def still(tmp_path):
    """Return resting arms in one and in three environments."""
    resting = small_env(num_envs=1, motion=saved(tmp_path, clip(np.zeros(2))), evaluation=True)
    for _ in range(500):
        resting.advance(resting.zero_action[None])
    angle = float(resting.physics.field("qpos"))
    motion = saved(tmp_path, clip(np.full(40, angle), "still"))
    envs = {count: small_env(num_envs=count, motion=motion, evaluation=True) for count in (1, 3)}
    yield envs
    for env in (resting, *envs.values()):
        env.close()


def test_the_wilson_interval_of_published_examples():
    """Newcombe 1998, Statistics in Medicine 17, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29."""
    cases = {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0.0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }
    for (successes, trials), expected in cases.items():
        assert wilson_interval(successes, trials) == pytest.approx(expected, abs=5e-5)


def test_rates_and_errors_of_an_arm_at_rest(still):
    """Two targets near enough, of 10 and 20 steps, and one of 30 steps 0.5 rad away."""
    for env in still.values():
        metrics = evaluate(HoldAngle(env, [0.02, 0.5, 0.05], [10, 30, 20]), ZeroController())
        assert (metrics["num_trials"], metrics["num_steps"]) == (3, 60)
        assert metrics["success_rate"] == pytest.approx(2 / 3)
        assert metrics["success_interval"] == wilson_interval(2, 3)
        assert metrics["err_angle"] == pytest.approx((10 * 0.02 + 20 * 0.05 + 30 * 0.5) / 60, abs=2e-3)
        assert metrics["err_twice_angle"] == pytest.approx(2 * metrics["err_angle"])
        assert metrics["mean_episode_length"] == 20 and metrics["early_termination_rate"] == 0
        assert metrics["headline"] == "err_angle"
        rows = metrics["per_trial"]
        assert [row["name"] for row in rows] == ["target 0.02", "target 0.5", "target 0.05"]
        assert [row["success_rate"] for row in rows] == [1, 0, 1] and [row["num_steps"] for row in rows] == [10, 30, 20]
        assert not {"num_clips", "num_frames", "frame_coverage", "err_site_abs", "per_clip"} & metrics.keys()
        json.dumps(metrics, allow_nan=False)


def test_a_terminated_trial_fails_even_if_it_ends_at_the_goal(still):
    """The arm is pulled away from a target at rest until it is lost; relaxed again it falls back to the target."""
    env = HoldAngle(still[1], [0.0], [300], lost_beyond=0.3)
    steps = iter(range(300))
    metrics = evaluate(env, Acting(lambda _: torch.tensor([[1.0 if next(steps) < 40 else -1.0, -1.0]])))
    assert bool(env.success().all())
    assert metrics["success_rate"] == 0 and metrics["early_termination_count"] == 1
    assert metrics["mean_episode_length"] < 60


def test_seeds_pool_their_trials(still):
    one = evaluate(HoldAngle(still[1], [0.0], [5]), ZeroController())
    other = evaluate(HoldAngle(still[1], [0.5], [5]), ZeroController())
    mean = average([one, other])
    assert mean["success_rate"] == 0.5 and mean["success_interval"] == wilson_interval(1, 2)
    assert mean["headline"] == "err_angle" and mean["num_trials"] == 1 and len(mean["per_trial"]) == 1
    assert mean["std"]["err_angle"] == pytest.approx(0.5 / 2**0.5, abs=2e-3)


def test_tables_show_the_goals_own_errors_in_its_unit(still, tmp_path):
    env = HoldAngle(still[3], [0.02, 0.5], [10, 10])
    text = compare_controllers(env, {"zero": ZeroController(), "final": ZeroController()}, tmp_path)
    rows = {line[:36].strip(): line[36:].split() for line in text.splitlines()}
    assert [float(cell) for cell in rows["angle error [mrad]"][:2]] == pytest.approx([260, 260], abs=2)
    assert rows["angle error [mrad]"][2:] == ["0", "%"]
    assert rows["successful trials [%]"] == ["50", "50"] and "twice angle error" in rows
    assert json.loads((tmp_path / "final" / "metrics.json").read_text())["headline"] == "err_angle"
    lines = trial_table(evaluate(env, ZeroController()), HEADLINE).splitlines()
    assert lines[0].split() == ["trial", "steps", "success", "angle", "error", "twice", "angle", "error", "return"]
    assert lines[2].startswith("target 0.5") and lines[2].endswith(" failed")
    assert lines[3].startswith("target 0.02") and not lines[3].endswith(" failed") and lines[4].startswith("all")


def test_trajectories_figures_and_archives_do_without_a_reference(still, tmp_path):
    env = HoldAngle(still[1], [0.02, 0.5], [10, 30])
    played = play(env, ZeroController(), max_seconds=0.2)
    assert [(len(one.qpos), one.reference, one.steps_followed) for one in played] == [(11, None, 10), (21, None, 20)]
    assert not played[0].lost
    (axis,) = joint_figure(make_embodiment("toy_arm"), played[0]).axes
    assert [line.get_label() for line in axis.get_lines()] == ["tracked"]
    recorder = ArchiveRecorder(env)
    metrics = evaluate(env, ZeroController(), callbacks=[recorder, Distances()])
    assert not any(name.startswith(("dtw", "frechet", "euclidean")) for name in metrics)
    write_archive(tmp_path / "x.npz", recorder.archive())
    first, second = read_archive(tmp_path / "x.npz").episodes
    assert first.name == "target 0.02" and first.reference.shape == (0, 1)
    assert len(first.qpos) == 10 and len(second.qpos) == 30


class Board:
    """Records the output of a validation."""

    def __init__(self):
        self.shown = {}

    def scalars(self, step, metrics):
        self.shown |= metrics

    def _keep(self, name, value, step):
        self.shown[name] = value

    histogram = figure = text = _keep


def test_validation_names_its_results_after_trials_and_films_the_worst(still, tmp_path):
    training = SimpleNamespace(goal=SimpleNamespace(groups=["near", "far"]), failure_rate=torch.tensor([0.1, 0.9]))
    env, board, filmed = HoldAngle(still[1], [0.02, 5.0], [10, 30], lost_beyond=1.0), Board(), []
    options = {"interval": 2, "film": lambda trajectory, path: filmed.append((trajectory.name, path.name))}
    validation = Validation(env, training, ZeroController(), tmp_path, **options)
    validation(1, 100, board)
    assert not board.shown
    validation(2, 200, board)
    assert {"validation/trials", "trials/failure_rate", "trials/failing_most"} <= board.shown.keys()
    assert {"joint_angles/first_trial", "joint_angles/worst_trial"} <= board.shown.keys()
    assert board.shown["validation/success_rate"] == 0.5 and "far" in board.shown["trials/failing_most"].splitlines()[0]
    assert filmed == [("target 5.0", "step_200.mp4")]


def test_a_video_that_fails_ends_the_videos_and_not_the_run(still, tmp_path, capsys):
    def film(trajectory, path):
        calls.append(path)
        raise InputError("no OpenGL")

    calls, env = [], HoldAngle(still[1], [0.02], [5])
    training = SimpleNamespace(goal=SimpleNamespace(groups=["near"]), failure_rate=torch.tensor([0.1]))
    validation = Validation(env, training, ZeroController(), tmp_path, interval=1, film=film)
    for update in (1, 2):
        validation(update, update, Board())
    assert len(calls) == 1 and capsys.readouterr().err == "warning: validation videos are disabled: no OpenGL\n"
