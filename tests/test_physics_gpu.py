"""MuJoCo Warp on CUDA: graphs, streams, no synchronisation. `pytest -m gpu`."""

import gc

import pytest
import torch
from physics_cases import SUBSTEPS, embodiment, everyone, random_ctrl, random_states

from muscle_torch.errors import InputError
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


def assert_alike(qpos, expected) -> None:
    """Atomics add in any order: rounding differs, and in some worlds decides a substep earlier about a contact."""
    apart = (qpos - expected).abs().amax(1)
    assert torch.isfinite(apart).all()
    assert apart.median() < 1e-5 and apart.quantile(0.9) < 1e-3 and apart.max() < 5e-2, apart.sort().values


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
    assert_alike(physics.field("qpos"), replayed)


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
    assert_alike(got, expected)


def test_bad_worlds_stay_alone_and_recover(case):
    _, physics, qpos, qvel = case
    ctrl = random_ctrl(physics.model.nu, WORLDS, 1)[0].cuda()
    physics.reset(everyone(physics), qpos, qvel)
    poisoned = ctrl.clone()
    poisoned[3, 0] = float("nan")
    physics.step(poisoned, SUBSTEPS)
    assert physics.bad_worlds().nonzero().flatten().tolist() == [3]
    assert torch.isfinite(physics.field("qpos")).all()
    physics.reset(physics.bad_worlds(), qpos, qvel)
    physics.step(ctrl, SUBSTEPS)
    assert not physics.bad_worlds().any()


@pytest.mark.parametrize("count", [0, 1, 4, 9, WORLDS])
def test_small_batches_reset_as_a_pass_over_all_worlds(case, count):
    """Batches of four worlds, in a loop within the graph, give what all worlds in one pass give."""
    _, physics, qpos, qvel = case
    assert physics._in_small_batches, "the driver made no graph of a loop within a loop"
    chosen = torch.randperm(WORLDS, device="cuda") < count
    ctrl = random_ctrl(physics.model.nu, WORLDS, 1)[0].cuda()
    ends = []
    for small in (True, False):
        physics.reset(everyone(physics), qpos.flip(0), qvel.flip(0))
        physics.step(ctrl, SUBSTEPS)
        physics._in_small_batches = small
        physics.reset(chosen, qpos, qvel)
        physics._in_small_batches = True
        ends.append({name: physics.field(name).clone() for name in ("qpos", "site_xpos", "actuator_force", "cvel")})
    for name, values in ends[0].items():
        scale = ends[1][name].abs().max()
        assert (values - ends[1][name])[chosen].abs().sum() <= 1e-4 * scale * max(values[chosen].numel(), 1), name
    assert_alike(ends[0]["qpos"], ends[1]["qpos"])


def test_graphs_outlive_garbage_that_is_collected(case):
    """Graphs recorded while the collector is eager and old physics lie in cycles replay without CUDA error 901."""
    body, _, qpos, qvel = case
    before = gc.get_threshold()
    gc.set_threshold(1, 1, 1)
    try:
        for _ in range(3):
            physics = make_physics(body.model, 4, device="cuda")
            physics.itself = physics  # a cycle: only the collector frees it, and its graphs
            physics.reset(everyone(physics), qpos[:4], qvel[:4])
            for _ in range(2):
                physics.step(torch.zeros(4, physics.model.nu, device="cuda"), SUBSTEPS)
            torch.cuda.synchronize()
            assert not physics.bad_worlds().any()
    finally:
        gc.set_threshold(*before)


def test_stepping_inside_another_capture_is_refused(case):
    _, physics, *_ = case
    ctrl = torch.zeros(WORLDS, physics.model.nu, device="cuda")
    physics.step(ctrl, SUBSTEPS)
    torch.cuda.synchronize()
    with pytest.raises(InputError, match="inside the capture of another"), torch.cuda.graph(torch.cuda.CUDAGraph()):
        physics._views["ctrl"].add_(0)
        physics.step(ctrl, SUBSTEPS)
    physics.step(ctrl, SUBSTEPS)
    torch.cuda.synchronize()
