"""Evaluation on the toy arm: replayed controls score perfectly, a resting arm scores its geometric error."""

import json
import math

import mujoco
import numpy as np
import pytest
import torch
from env_cases import Acting, clip, saved

from muscle_torch.embodiments import make_embodiment
from muscle_torch.envs import make_env
from muscle_torch.errors import InputError
from muscle_torch.evaluation import (
    PolicyController,
    ZeroController,
    average,
    compare_controllers,
    comparison_table,
    evaluate,
    trial_table,
    write_evaluation,
)
from muscle_torch.models import make_policy

FOREARM = 0.3  # [m] elbow to hand, of the toy arm's XML
THRESHOLD = 0.05  # [m]


def toy_env(folder, clips, num_envs=1, **overrides):
    overrides.setdefault("evaluation_termination", {"mean_site_deviation": THRESHOLD})
    motion = saved(folder, *clips)
    common = {"device": "cpu", "backend": "mujoco", "threads": 1, "motion": motion, "evaluation": True}
    return make_env("toy_arm", num_envs=num_envs, **common, **overrides)


def simulate(controls: np.ndarray, start: float) -> np.ndarray:
    """Return elbow angles (T + 1,) of the arm for excitations (T, nu), in plain MuJoCo."""
    arm = make_embodiment("toy_arm")
    data = mujoco.MjData(arm.model)
    data.qpos[:] = start
    angles = [start]
    for control in controls:
        data.ctrl[:] = control
        mujoco.mj_step(arm.model, data, nstep=arm.substeps)
        angles.append(float(data.qpos[0]))
    return np.array(angles)


@pytest.fixture(scope="module")
def resting() -> float:
    """Return the angle at which the relaxed arm rests [rad]."""
    return float(simulate(np.zeros((1000, 2)), 0.0)[-1])


def ramp(frames: int, resting: float, top: float = 1.5) -> np.ndarray:
    """Return an angle that rests for five frames, so that the clip starts at rest, and then increases linearly."""
    return np.concatenate([np.full(5, resting), np.linspace(resting, top, frames - 5)])


def test_the_controls_that_made_a_motion_follow_it_to_its_end(tmp_path, resting):
    controls = np.zeros((150, 2))
    controls[10:, 0] = 0.15 * (1 - np.cos(np.arange(140) / 20))
    made = clip(simulate(controls, resting), "made")
    env = toy_env(tmp_path, [made], actions={"muscles": {"mapping": "full"}})
    actions = iter(torch.tensor(2 * controls - 1, dtype=torch.float32))
    metrics = evaluate(env, Acting(lambda observation: next(actions)[None]))
    assert made.qpos.max() > 0.5  # it did bend
    assert metrics["success_rate"] == 1 and metrics["early_termination_rate"] == 0
    assert metrics["mean_episode_length"] == 150
    assert metrics["frame_coverage"] == 1.0  # the first frame is the start and does not count
    assert metrics["err_joint_pos"] < 1e-5 and metrics["err_site_abs"] < 1e-5 and metrics["err_rpos"] < 1e-5
    assert next(actions, None) is None  # every frame was played


def test_a_resting_arm_scores_what_geometry_says(tmp_path, resting):
    angles = ramp(100, resting)
    env = toy_env(tmp_path, [clip(angles, "bend")])
    metrics = evaluate(env, ZeroController())
    # Of the three sites only the hand moves: by the chord of the angle.
    deviation = 2 * FOREARM * np.sin((angles - resting) / 2) / 3
    lost = int(np.argmax(deviation > THRESHOLD))
    assert metrics["mean_episode_length"] == lost and metrics["frame_coverage"] == pytest.approx(lost / 99)
    assert metrics["success_rate"] == 0 and metrics["early_termination_rate"] == 1
    # The errors go on to the end of the clip, far beyond the threshold.
    assert metrics["err_site_abs"] == pytest.approx(deviation[1:].mean(), abs=2e-4)
    assert metrics["err_joint_pos"] == pytest.approx((angles - resting)[1:].mean(), abs=2e-3)
    assert deviation[1:].mean() > THRESHOLD


def test_neither_worlds_nor_horizon_nor_order_change_the_result(tmp_path, resting):
    clips = [clip(ramp(n, resting, top=n / 40), f"c{n}") for n in (20, 60, 35, 50, 8)]
    results = []
    for num_envs, horizon in [(1, 1000), (2, 10), (5, 30), (7, 1000)]:
        env = toy_env(tmp_path, clips, num_envs, env={"horizon": horizon})
        results.append(evaluate(env, ZeroController()))
        env.close()
    assert all(result == results[0] for result in results)
    rows = {row["name"]: row for row in results[0]["per_clip"]}
    assert [rows[f"c{n}"]["num_frames"] for n in (20, 60, 35, 50, 8)] == [20, 60, 35, 50, 8]
    assert rows["c8"]["success_rate"] == 1 and rows["c60"]["success_rate"] == 0
    covered = sum(row["mean_episode_length"] for row in rows.values())
    assert results[0]["frame_coverage"] == pytest.approx(covered / 168)
    weighted = sum(row["err_site_abs"] * (row["num_frames"] - 1) for row in rows.values()) / 168
    assert results[0]["err_site_abs"] == pytest.approx(weighted)
    assert results[0]["num_clips"] == 5


def test_a_clip_longer_than_the_horizon_is_played_to_its_end_and_succeeds(tmp_path, resting):
    env = toy_env(tmp_path, [clip(np.full(80, resting), "still")], env={"horizon": 10})
    metrics = evaluate(env, ZeroController())
    assert metrics["success_rate"] == 1 and metrics["early_termination_count"] == 0
    assert metrics["mean_episode_length"] == 79 and metrics["frame_coverage"] == 1.0


def test_the_thresholds_of_the_arms_separate_trained_from_untrained_policies():
    """No built-in motion is followed by a fresh policy, and none but `rest` without excitation."""
    env = make_env("bimanual", evaluation=True, device="cpu", threads=1)
    torch.manual_seed(0)
    fresh = evaluate(env, PolicyController(make_policy(env.config.policy, env, env.config.exploration)))
    idle = evaluate(env, ZeroController())
    env.close()
    assert fresh["success_rate"] == 0 and fresh["frame_coverage"] < 0.5
    assert [row["name"] for row in idle["per_clip"] if row["success_rate"]] == ["rest"]


def test_every_reward_term_is_reported_whatever_is_rewarded(tmp_path, resting):
    """A resting arm that should rest: every term is 1; the total is the weighted sum."""
    weights = {"qpos": 0.5, "rpos": 0.25, "qvel": 0.0, "site_pos": 0.0}
    env = toy_env(tmp_path, [clip(np.full(30, resting), "still")], reward={"weights": weights})
    metrics = evaluate(env, ZeroController())
    for name in ("qpos", "qvel", "rpos", "rquat", "rvel_rot", "rvel_lin", "site_pos"):
        assert metrics[f"reward_{name}"] == pytest.approx(1.0, abs=1e-3), name
    assert metrics["reward_total"] == pytest.approx(0.75, abs=1e-3)
    assert metrics["penalty_total"] == 0 and metrics["activation_energy"] == 0
    assert metrics["mean_episode_return"] == pytest.approx(29 * metrics["reward_total"])
    full = evaluate(env, Acting(lambda observation: torch.ones(1, 2)))
    assert full["activation_energy"] > 0.5 and full["reward_qpos"] < 0.9


def test_a_diverged_environment_is_counted_and_does_not_affect_others(tmp_path, resting):
    clips = [clip(ramp(30, resting, 0.2), "a"), clip(ramp(40, resting, 0.2), "b")]
    env = toy_env(tmp_path, clips, num_envs=2)
    clean = evaluate(env, ZeroController())
    calls = []

    def act(observation):
        calls.append(1)
        action = env.zero_action.expand(2, -1).clone()
        if len(calls) == 10:
            action[0] = math.nan  # the longest clip, b, is in the first world
        return action

    metrics = evaluate(env, Acting(act))
    assert metrics["nan_worlds"] == 1 and clean["nan_worlds"] == 0
    assert metrics["per_clip"][0] == clean["per_clip"][0]
    broken = metrics["per_clip"][1]
    assert broken["early_termination_rate"] == 1 and broken["mean_episode_length"] == 10
    json.dumps(metrics, allow_nan=False)


def test_comparing_policies_writes_three_files_and_changes_no_policy(tmp_path, resting):
    env = toy_env(tmp_path, [clip(ramp(40, resting), "bend")])
    policy, untrained = (make_policy("gated_residual", env) for _ in range(2))
    policy.train()
    before = {name: value.clone() for name, value in policy.state_dict().items()}
    controllers = {
        "untrained": PolicyController(untrained),
        "zero": ZeroController(),
        "final": PolicyController(policy),
    }
    table = compare_controllers(env, controllers, tmp_path / "eval")
    assert policy.training
    assert all(torch.equal(value, before[name]) for name, value in policy.state_dict().items())
    expected = {
        *("num_clips", "success_rate", "early_termination_rate", "frame_coverage", "mean_episode_length"),
        *("mean_episode_return", "err_joint_pos", "err_joint_vel", "err_root_xyz", "err_root_yaw", "err_rpos"),
        *("err_site_abs", "per_clip"),
    }
    for name in ("untrained", "zero", "final"):
        stored = json.loads((tmp_path / "eval" / name / "metrics.json").read_text())
        assert expected <= set(stored)
        assert expected - {"num_clips", "per_clip"} <= set(stored["per_clip"][0])
    assert "untrained" in table and "zero excitation" in table and "trained" in table


def summary(**changes) -> dict:
    """Return the evaluation of two clips without a root."""
    errors = {"err_site_abs": 0.1, "err_rpos": 0.05, "err_joint_pos": 0.5, "err_joint_vel": 2.0}
    rates = {"success_rate": 0.5, "frame_coverage": 0.25, "mean_episode_length": 50.0, "mean_episode_return": 7.0}
    none = {"err_root_xyz": None, "err_root_yaw": None}
    return {"num_clips": 2, "num_frames": 300, "nan_worlds": 0, **errors, **rates, **none, **changes}


def test_seeds_are_averaged_clip_by_clip():
    """By hand: 1 and 3 have mean 2 and standard deviation sqrt(2); what is unknown in one is taken from the other."""
    rows = ({"name": "a", "num_frames": 10, "x": 1.0, "y": None}, {"name": "a", "num_frames": 10, "x": 3.0, "y": 4.0})
    metrics = average([{"num_clips": 1, "nan_worlds": 0, "x": row["x"], "y": None, "per_clip": [row]} for row in rows])
    assert metrics["x"] == 2 and metrics["y"] is None and metrics["num_clips"] == 1
    assert metrics["std"] == {"x": pytest.approx(math.sqrt(2)), "y": None}
    assert metrics["per_clip"] == [{"name": "a", "num_frames": 10, "x": 2.0, "y": 4.0}]


def test_the_table_shows_units_and_the_reduction_against_the_better_baseline():
    final = summary(err_site_abs=0.02, nan_worlds=1)
    text = comparison_table({"untrained": summary(), "relaxed": summary(err_site_abs=0.08), "trained": final})
    rows = {line[:36].strip(): line[36:].split() for line in text.splitlines()}
    assert rows["site position error [mm]"] == ["100", "80", "20", "75", "%"]
    assert rows["frames covered [%]"] == ["25", "25", "25"]
    assert not any("root" in name for name in rows)
    assert "NaN in 1 of the trained motions" in text


def test_the_clip_table_is_worst_first():
    good, bad, lost = (
        summary(name=name, early_termination_rate=early, err_site_abs=error)
        for name, early, error in (("good", 0.0, 0.01), ("bad", 0.0, 0.2), ("lost", 1.0, 0.1))
    )
    text = trial_table(summary(per_clip=[good, bad, lost], early_termination_rate=1 / 3))
    assert [line.split()[0] for line in text.splitlines()[2:]] == ["lost", "bad", "good", "all"]


def test_an_evaluation_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "metrics.json"
    write_evaluation(path, {"num_clips": 1})
    with pytest.raises(ValueError, match="JSON"):
        write_evaluation(path, {"num_clips": math.nan})
    assert json.loads(path.read_text()) == {"num_clips": 1}
    assert [p.name for p in path.parent.iterdir()] == ["metrics.json"]
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        write_evaluation(tmp_path / "file" / "metrics.json", {})
