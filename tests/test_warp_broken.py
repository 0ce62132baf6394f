"""A broken world on Warp: marked, at rest, and no reason for the solver to turn longer for all the others."""

import mujoco_warp as mjw
import numpy as np
import pytest
import torch
import warp as wp
from physics_cases import SUBSTEPS, ball_model, embodiment, everyone, random_ctrl, random_states

from muscle_torch.envs import make_env
from muscle_torch.physics import make_physics
from muscle_torch.physics.warp_physics import WarpPhysics

WORLDS, BROKEN = 4, 2
NAN = float("nan")


def started(name: str):
    if name == "ball":
        model = ball_model()
        qpos, qvel = torch.from_numpy(model.qpos0).float().repeat(WORLDS, 1), torch.zeros(WORLDS, model.nv)
    else:
        model = embodiment(name).model
        qpos, qvel = random_states(embodiment(name), WORLDS)
    physics = WarpPhysics(model, WORLDS)
    physics.reset(everyone(physics), qpos, qvel)
    return physics, qpos, qvel


def poison(physics: WarpPhysics, kind: str) -> torch.Tensor:
    """Break a world; return controls (W, nu)."""
    ctrl = random_ctrl(physics.model.nu, WORLDS, 1)[0]
    if kind == "control":
        ctrl[BROKEN, 0] = NAN
    elif kind == "muscle":
        gains = torch.from_numpy(physics.model.actuator_gainprm).float().repeat(WORLDS, 1, 1)
        gains[BROKEN] = NAN
        physics.set_model_field("actuator_gainprm", gains)
    else:
        state = physics.state()
        name, value = {
            "velocity": ("qvel", NAN),
            "infinite": ("qvel", float("inf")),
            "position": ("qpos", NAN),
            "activation": ("act", NAN),
            "fast": ("qvel", 1e6),  # not broken yet, but its forces are
        }[kind]
        state[name][BROKEN, -1] = value
        physics.load_state(state)
    return ctrl


@pytest.mark.parametrize("kind", ["control", "velocity", "infinite", "position", "activation", "muscle", "fast"])
@pytest.mark.parametrize("name", ["toy_arm", "ball", "bimanual"])
def test_the_solver_does_not_turn_for_a_broken_world(name, kind):
    physics, *_ = started(name)
    healthy, *_ = started(name)
    ctrl = poison(physics, kind)
    limit, alone = physics.model.opt.iterations, torch.arange(WORLDS) != BROKEN
    for _ in range(SUBSTEPS):
        physics.step(ctrl, 1)
        healthy.step(torch.where(torch.isnan(ctrl), 0.0, ctrl), 1)
        assert int(physics._d.solver_niter.numpy().max()) < limit
        for field in ("qpos", "qvel", "actuator_force", "qacc"):
            assert torch.equal(physics.field(field)[alone], healthy.field(field)[alone]), field
        assert torch.isfinite(physics.field("qpos")).all() and torch.isfinite(physics.field("qvel")).all()
        if kind != "fast":
            assert torch.isfinite(physics.field("site_xpos")).all()


def test_an_exploding_world_turns_warps_own_solver_to_the_limit():
    """What is prevented. A world of NaNs leaves it after one turn: should that change, this says so."""
    physics, qpos, qvel = started("bimanual")
    turns = {}
    for value in (1e6, NAN):
        d = physics.buffers.make_data(physics.model, WORLDS)
        wp.to_torch(d.qpos).copy_(qpos)
        wp.to_torch(d.qvel).copy_(qvel)
        wp.to_torch(d.qvel)[BROKEN, -1] = value
        mjw.step(physics._m, d)
        turns[value] = d.solver_niter.numpy()
        assert max(np.delete(turns[value], BROKEN)) < 5
    assert [int(of[BROKEN]) for of in turns.values()] == [physics.model.opt.iterations, 1]


@pytest.mark.parametrize("backend", ["mujoco", "warp"])
def test_a_broken_world_is_reported_once_and_stands_in_the_default_pose(backend):
    """On both backends alike: reported by the step that broke it, at rest, fit to go on from there."""
    body = embodiment("toy_arm")
    physics = make_physics(body.model, WORLDS, device="cpu", backend=backend, threads=1)
    physics.reset(everyone(physics), *random_states(body, WORLDS))
    state = physics.state()
    ctrl = torch.zeros(WORLDS, body.model.nu)
    if backend == "warp":
        state["qvel"][BROKEN] = NAN
        physics.load_state(state)
        assert physics.bad_worlds().tolist() == [False, False, True, False]
        assert physics.field("qpos")[BROKEN].tolist() == [0.0]
    qvel = torch.zeros(WORLDS, body.model.nv)
    qvel[BROKEN] = 1e12
    physics.reset(everyone(physics), random_states(body, WORLDS)[0], qvel)
    at_reset = physics.bad_worlds()
    physics.step(ctrl, SUBSTEPS)
    assert (at_reset | physics.bad_worlds()).tolist() == [False, False, True, False]
    assert abs(float(physics.field("qpos")[BROKEN])) < 1e-2 and abs(float(physics.field("qvel")[BROKEN])) < 0.5
    physics.step(ctrl, SUBSTEPS)
    assert not physics.bad_worlds().any()


def test_an_environment_begins_a_broken_world_anew():
    env = make_env("toy_arm", WORLDS, device="cpu", backend="warp")
    env.begin()
    poisoned = torch.zeros(WORLDS, 2)
    poisoned[BROKEN] = NAN
    step = env.advance(poisoned)
    assert step.broken.tolist() == [False, False, True, False] and step.truncated[BROKEN]
    assert torch.isfinite(env.restart(step.truncated)).all() and int(env.nan_resets) == 1
    assert not env.advance(torch.zeros(WORLDS, 2)).broken.any()
    env.close()
