"""Recording of Warp's graphs: no garbage collection meanwhile, and no graph within another."""

import gc

import pytest
import torch
import warp as wp
from physics_cases import SUBSTEPS, embodiment, everyone, random_ctrl, random_states

from muscle_torch.errors import InputError
from muscle_torch.physics.graphs import capture, garbage_collector_off
from muscle_torch.physics.warp_physics import WarpPhysics

CPU = "cpu"


class Stale:
    """Something in a reference cycle, such as an old graph, that counts when it is collected."""

    def __init__(self, deaths: list[int]):
        self.itself, self.deaths = self, deaths

    def __del__(self):
        self.deaths.append(1)


@pytest.fixture
def eager_collector():
    """The collector runs at nearly every allocation, and is on."""
    before, was_on = gc.get_threshold(), gc.isenabled()
    gc.set_threshold(1, 1, 1)
    gc.enable()
    yield
    gc.set_threshold(*before)
    if not was_on:
        gc.disable()


def churn() -> None:
    for _ in range(100):
        kept = [[] for _ in range(100)]
    del kept


def test_nothing_is_collected_while_a_graph_is_recorded(eager_collector):
    wp.init()
    deaths, during = [], []
    array = wp.zeros(4, dtype=float, device=CPU)

    def launches():
        Stale(deaths)  # unreachable from here on
        churn()
        array.fill_(2.0)
        during.append(len(deaths))

    graph = capture(wp.get_device(CPU), launches)
    churn()
    gc.collect()
    assert during == [0] and len(deaths) == 1
    wp.capture_launch(graph)
    assert array.numpy().tolist() == [2.0] * 4
    launches()
    assert during == [0, 2]  # outside a recording it is collected at once


@pytest.mark.parametrize("on", [True, False])
@pytest.mark.parametrize("fails", [False, True])
def test_the_collector_is_as_before_afterwards(on, fails):
    was_on = gc.isenabled()
    try:
        gc.enable() if on else gc.disable()
        try:
            with garbage_collector_off():
                assert not gc.isenabled()
                if fails:
                    raise KeyError("launch")
        except KeyError:
            assert fails
        assert gc.isenabled() == on
    finally:
        gc.enable() if was_on else gc.disable()


def test_every_graph_of_the_physics_is_recorded_without_the_collector(monkeypatch):
    body = embodiment("toy_arm")
    physics = WarpPhysics(body.model, 3)
    seen = []
    launch = wp.launch
    monkeypatch.setattr(wp, "launch", lambda *a, **k: (seen.append(gc.isenabled()), launch(*a, **k))[1])
    physics.reset(everyone(physics), *random_states(body, 3))
    physics.step(torch.zeros(3, 2), SUBSTEPS)
    physics.kick(torch.zeros(3, 1))
    assert len(physics._graphs) == 3 and len(seen) > 100 and not any(seen)
    assert gc.isenabled()


def test_a_capture_inside_a_capture_is_refused_in_one_line():
    body = embodiment("toy_arm")
    physics = WarpPhysics(body.model, 3)
    qpos, qvel = random_states(body, 3)
    ctrl = random_ctrl(body.model.nu, 3, 1)[0]
    for call in (lambda: physics.step(ctrl, SUBSTEPS), lambda: physics.reset(everyone(physics), qpos, qvel)):
        for _ in range(2):  # not yet recorded, and recorded before
            with wp.ScopedCapture(CPU), pytest.raises(InputError, match="inside the capture of another") as caught:
                call()
            assert "\n" not in str(caught.value)
            call()
    physics.reset(everyone(physics), qpos, qvel)
    physics.step(ctrl, SUBSTEPS)
    assert (physics.field("qpos") - qpos).abs().max() > 1e-4 and not physics.bad_worlds().any()
