"""MuJoCo Warp on CUDA: graphs, streams, no synchronisation. `pytest -m gpu`."""

import pytest
import torch
from physics_cases import SUBSTEPS, embodiment, everyone, random_ctrl, random_states

from muscle_torch.physics import make_physics

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
WORLDS = 64


@pytest.fixture(scope="module", params=["toy_arm", "bimanual", "fullbody"])
def case(request):
    body = embodiment(request.param)
    physics = make_physics(body.model, WORLDS, device="cuda")
    qpos, qvel = random_states(body, WORLDS)
    yield body, physics, qpos.cuda(), qvel.cuda()
    physics.close()


def test_agrees_with_c(case):
    """One control step from the same states, within 1e-4 (hard constraints let go of less than their tolerance)."""
    body, physics, qpos, qvel = case
    reference = make_physics(body.model, WORLDS, device="cpu")
    ctrl = random_ctrl(body.model.nu, WORLDS, 1)[0]
    for p in (physics, reference):
        p.reset(everyone(p), qpos.to(p.device), qvel.to(p.device))
        p.step(ctrl.to(p.device), SUBSTEPS)
    for name in ("qpos", "site_xpos", "actuator_length"):
        apart = (physics.field(name).cpu() - reference.field(name)).abs().flatten(1).amax(1)
        assert apart.median() < 1e-4, name
    assert physics.overflow() == {}


def test_graph_equals_plain_launches(case):
    """Replaying the captured control step gives what launching its kernels one by one gives."""
    _, physics, qpos, qvel = case
    ctrl = random_ctrl(physics.model.nu, WORLDS, 1)[0].cuda()
    physics.reset(everyone(physics), qpos, qvel)
    physics.step(ctrl, SUBSTEPS)
    replayed = physics.field("qpos").clone()
    physics.reset(everyone(physics), qpos, qvel)
    physics.field("ctrl").copy_(ctrl)
    physics._launch(lambda: physics._control_step(SUBSTEPS))
    assert torch.allclose(physics.field("qpos"), replayed, atol=1e-5)  # atomics add in any order


def test_never_synchronises(case):
    _, physics, qpos, qvel = case
    ctrl = random_ctrl(physics.model.nu, WORLDS, 1)[0].cuda()
    worlds = everyone(physics)
    worlds[::2] = False
    for repeat in range(3):
        if repeat == 1:  # the first round captures graphs and uploads row indices
            torch.cuda.set_sync_debug_mode("error")
        try:
            physics.step(ctrl, SUBSTEPS)
            physics.reset(worlds, qpos, qvel)
            physics.field("site_xpos", (0, 1))
            physics.bad_worlds()
        finally:
            if repeat == 2:
                torch.cuda.set_sync_debug_mode("default")


def test_runs_on_the_callers_stream(case):
    """Work queued on a stream of the caller's, with no synchronisation in between, comes in order."""
    _, physics, qpos, qvel = case
    ctrl = random_ctrl(physics.model.nu, WORLDS, 1)[0].cuda()
    physics.reset(everyone(physics), qpos, qvel)
    physics.step(ctrl, SUBSTEPS)
    expected = physics.field("qpos").clone()
    torch.cuda.synchronize()
    with torch.cuda.stream(torch.cuda.Stream()):
        torch.cuda._sleep(10_000_000)
        physics.reset(everyone(physics), qpos, qvel)
        physics.step(ctrl, SUBSTEPS)
        got = physics.field("qpos").clone()
        torch.cuda.current_stream().synchronize()
    assert torch.allclose(got, expected, atol=1e-5)


def test_bad_worlds_stay_alone_and_recover(case):
    _, physics, qpos, qvel = case
    ctrl = random_ctrl(physics.model.nu, WORLDS, 1)[0].cuda()
    physics.reset(everyone(physics), qpos, qvel)
    poisoned = ctrl.clone()
    poisoned[3, 0] = float("nan")
    physics.step(poisoned, SUBSTEPS)
    assert physics.bad_worlds().nonzero().flatten().tolist() == [3]
    physics.reset(physics.bad_worlds(), qpos, qvel)
    physics.step(ctrl, SUBSTEPS)
    assert not physics.bad_worlds().any()
