"""Disturbances have their stated effect, and the table counts the failures."""

import mujoco
import numpy as np
import pytest
import torch
from commands import script
from env_cases import CPU, clip, saved

from muscle_torch.embodiments.independent import IndependentJoints
from muscle_torch.envs import make_env
from muscle_torch.errors import InputError
from muscle_torch.evaluation import ZeroController, robustness, robustness_rows, robustness_table
from muscle_torch.evaluation.robustness import (
    IMPULSES,
    PUSH_STEPS,
    Disturbance,
    Outcome,
    _noise,
    _pushes,
    disturbances,
)


def test_every_kind_is_there_and_pushes_go_four_ways():
    runs = disturbances(101, has_root=True)
    assert len(runs) == 1 + 5 + 5 + 4 * len(IMPULSES) + 2
    assert [run.start for run in runs if run.kind == "start on another frame"] == [15, 30, 45, 60, 75]
    pushes = np.array([run.push for run in runs if run.kind == "push of 15 N s"])
    np.testing.assert_allclose(np.linalg.norm(pushes, axis=1), 15.0)
    np.testing.assert_allclose(pushes.sum(axis=0), 0.0)
    assert not any(run.push != (0.0, 0.0) for run in disturbances(101, has_root=False))


def momentum(env) -> torch.Tensor:
    """(W, 3) of the whole body [N s], by MuJoCo."""
    model, out = env.embodiment.model, []
    for world in range(env.num_envs):
        data = mujoco.MjData(model)
        data.qpos[:], data.qvel[:] = env.physics.field("qpos")[world], env.physics.field("qvel")[world]
        mujoco.mj_forward(model, data)
        jacobian = np.zeros((3, model.nv))
        mujoco.mj_jacSubtreeCom(model, data, jacobian, 1)
        out.append(model.body_subtreemass[1] * jacobian @ data.qvel)
    return torch.tensor(np.array(out))


def test_a_push_is_momentum_and_noise_is_as_large_as_stated():
    env = make_env("fullbody", 4, motion=["sway"], evaluation=True, **CPU)
    env.begin()
    directions = [(15.0, 0.0), (-15.0, 0.0), (0.0, 15.0), (0.0, -15.0)]
    change, begins = _pushes(env, [(0, Disturbance("push", push=push)) for push in directions])
    before = momentum(env)
    for _ in range(PUSH_STEPS):
        env.physics.kick(change / PUSH_STEPS)
    gained = momentum(env) - before
    # The body's heading is that of its root: the generated motions have yaw 0.
    np.testing.assert_allclose(gained[:, :2], directions, atol=0.05)
    np.testing.assert_allclose(gained[:, 2], 0.0, atol=0.05)
    assert begins.tolist() == [60] * 4
    noise = _noise(env, [Disturbance("noise", seed=seed) for seed in (1, 2, 3)] + [Disturbance("none")])
    assert float(noise[3].abs().max()) == 0.0
    joints = torch.from_numpy(IndependentJoints(env.embodiment).dofs[6:])
    assert 0.03 < float(noise[:3, :6].std()) < 0.08 and 0.08 < float(noise[:3, joints].std()) < 0.12
    env.close()


def test_strength_scales_force_and_comes_back(tmp_path):
    env = make_env("toy_arm", 2, motion=saved(tmp_path, clip(np.full(50, 0.3))), evaluation=True, **CPU)
    forces = []
    for factor in ([1.0, 1.0], [0.5, 1.2], [1.0, 1.0]):
        env.muscles.set_strength(torch.tensor(factor), env.physics)
        env.begin()
        for _ in range(5):
            env.advance(torch.ones(2, env.action_size))
        forces.append(env.physics.field("actuator_force").clone())
    assert torch.equal(forces[0], forces[2])
    assert (forces[1][0] / forces[0][0] < 0.75).all() and (forces[1][1] / forces[0][1] > 1.05).all()
    env.close()


def test_each_run_of_each_clip_is_counted(tmp_path):
    """An arm that rests at its motion survives all; one that must hold itself up does not survive undisturbed."""
    hanging = make_env("toy_arm", 1).embodiment.qpos0[0]
    clips = saved(tmp_path, clip(np.full(60, hanging), "rest"), clip(np.full(40, hanging + 1.5), "raised"))
    limit = {"mean_relative_site_deviation": 0.1}
    env = make_env("toy_arm", 7, motion=clips, evaluation=True, evaluation_termination=limit, **CPU)
    counted = []
    outcomes = robustness(env, ZeroController(), progress=counted.append)
    assert sum(counted) == len(outcomes) == 2 * len(disturbances(60, has_root=False))
    by_clip = {name: [one for one in outcomes if one.clip == name] for name in ("rest", "raised")}
    assert {one.possible for one in by_clip["rest"] if one.disturbance.start == 0} == {59}
    assert all(one.survived == one.possible for one in by_clip["rest"] if one.disturbance.kind == "none")
    assert not any(one.survived == one.possible for one in by_clip["raised"] if one.disturbance.kind == "none")
    env.close()


def test_the_rows_by_hand():
    noisy, none = Disturbance("velocity noise at the start", seed=1), Disturbance("none")
    outcomes = [Outcome(noisy, "a", 10, 40, 0.02), Outcome(none, "a", 40, 40, 0.01), Outcome(noisy, "a", 30, 40, 0.04)]
    rows = robustness_rows(outcomes)
    assert [row["disturbance"] for row in rows] == ["none", "velocity noise at the start"]
    assert rows[1] == {
        "disturbance": "velocity noise at the start",
        "num_runs": 2,
        "num_whole": 0,
        "frame_coverage": 0.5,
        "least_coverage": 0.25,
        "err_site_abs": pytest.approx(0.03),
    }
    assert " ".join(robustness_table(rows).splitlines()[2].split()) == "velocity noise at the start 2 0 50.0 25.0 30"


def test_the_command_writes_archives_and_rejects_other_goals(tmp_path, capsys):
    words = ["task=toy_arm", "policy=zero", "device=cpu", "threads=1", "distances=false", "robustness=true"]
    assert script("tools/evaluate.py").main([*words, "motion=all", f"output={tmp_path / 'x.json'}"]) == 0
    assert "muscles at 80 %" in capsys.readouterr().out and '"num_whole"' in (tmp_path / "x.json").read_text()
    with pytest.raises(InputError, match="motion imitation only"):
        script("tools/evaluate.py").main(["task=toy_reach", *words[1:]])
