"""Resets on Warp in small batches: every field is that of a forward pass, and the other worlds are left alone."""

import dataclasses

import mujoco_warp as mjw
import numpy as np
import pytest
import torch
import warp as wp
from physics_cases import SUBSTEPS, ball_model, embodiment, everyone, random_ctrl, random_states

from muscle_torch.physics import ACCELERATION_FIELDS
from muscle_torch.physics import FIELDS as READ
from muscle_torch.physics.warp_physics import WarpPhysics
from muscle_torch.physics.warp_resets import FIELDS, Arena
from muscle_torch.physics.warp_step import update_kinematics

WORLDS = 9  # three batches of four
BODIES = ["toy_arm", "ball", "bimanual", pytest.param("fullbody", marks=pytest.mark.slow)]


def case(name: str, worlds: int = WORLDS):
    """(physics in the middle of a motion, qpos, qvel to reset to)."""
    if name == "ball":
        model = ball_model()
        qpos = torch.from_numpy(model.qpos0).float().repeat(worlds, 1)
        qpos[:, 2] += torch.linspace(-0.002, 0.01, worlds)  # some touch the floor
        qvel = torch.linspace(-1, 1, worlds).unsqueeze(1).repeat(1, model.nv)
    else:
        model = embodiment(name).model
        qpos, qvel = random_states(embodiment(name), worlds, seed=5)
    physics = WarpPhysics(model, worlds)
    physics.reset(everyone(physics), qpos.flip(0), qvel.flip(0))
    for ctrl in random_ctrl(model.nu, worlds, 2):
        physics.step(ctrl, SUBSTEPS)
    return physics, qpos, qvel


def by_forward(physics: WarpPhysics, qpos: torch.Tensor, qvel: torch.Tensor) -> dict[str, torch.Tensor]:
    """Every array that a reset writes, after mjw.forward of all worlds at rest."""
    d = physics.buffers.make_data(physics.model, physics.num_worlds)
    wp.to_torch(d.qpos).copy_(qpos)
    wp.to_torch(d.qvel).copy_(qvel)
    mjw.forward(physics._m, d)
    return arrays(d)


def arrays(d: mjw.Data) -> dict[str, torch.Tensor]:
    named = {name: getattr(d, name) for name in FIELDS}
    return {name: wp.to_torch(array).clone() for name, array in named.items() if array.size}


@pytest.mark.parametrize("small", [True, False], ids=["small batches", "all worlds"])
@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("count", [0, 1, 4, 6, WORLDS])
def test_a_reset_is_a_forward_pass_of_the_chosen_worlds(name, count, small):
    physics, qpos, qvel = case(name)
    assert physics._resets.size == 4
    physics._in_small_batches = small
    chosen = torch.randperm(WORLDS, generator=torch.Generator().manual_seed(count)) < count
    before, expected = arrays(physics._d), by_forward(physics, qpos, qvel)
    physics.reset(chosen, qpos, qvel)
    for name_, values in arrays(physics._d).items():
        if name_ != "ten_velocity" or physics._passive:  # read only by passive forces, computed only then
            assert torch.equal(values[chosen], expected[name_][chosen]), name_
        if name_ not in ("cacc", "cfrc_int") or small:  # which mean nothing between two steps
            assert torch.equal(values[~chosen], before[name_][~chosen]), name_
    assert not physics.bad_worlds().any()


@pytest.mark.parametrize("name", ["toy_arm", "ball"])
def test_both_ways_to_reset_continue_alike(name):
    ends = []
    for small in (True, False):
        physics, qpos, qvel = case(name)
        physics._in_small_batches = small
        for i, ctrl in enumerate(random_ctrl(physics.model.nu, WORLDS, 4)):
            physics.reset(torch.arange(WORLDS) % 4 == i, qpos, qvel)
            physics.step(ctrl, SUBSTEPS)
        ends.append({field: physics.field(field).clone() for field in READ})
    for field, values in ends[0].items():
        assert torch.equal(values, ends[1][field]), field


@pytest.mark.parametrize("name", BODIES)
def test_all_that_looking_writes_is_copied_back(name):
    """Each array of Data is filled with ones, then looked at: what changed was written."""
    physics, *_ = case(name, 2)
    d = physics._d
    written = set()
    for field in dataclasses.fields(d):
        array = getattr(d, field.name)
        if not isinstance(array, wp.array) or not array.size or array.dtype == wp.bool:
            continue
        values, kept = wp.to_torch(array), array.numpy().copy()
        values.fill_(1)
        physics._launch(lambda: update_kinematics(physics._m, d, physics._passive))
        if not (values == 1).all():
            written.add(field.name)
        values.copy_(torch.from_numpy(kept))
    assert len(written) > 20 and written <= set(FIELDS) and set(ACCELERATION_FIELDS) <= set(FIELDS)


def test_a_model_of_each_world_is_that_of_its_reset():
    """Worlds with their own muscle forces: passive forces at a reset are theirs."""
    physics, qpos, qvel = case("bimanual")
    biases = torch.from_numpy(physics.model.actuator_biasprm).float().repeat(WORLDS, 1, 1)
    plain = by_forward(physics, qpos, qvel)["actuator_force"]
    scale = torch.linspace(0.5, 2.0, WORLDS)
    biases[:, :, 2] *= scale[:, None]  # MuJoCo's muscles: the largest force
    physics.set_model_field("actuator_biasprm", biases)
    for chosen in (torch.arange(WORLDS) < 3, torch.arange(WORLDS) > 4):
        physics.reset(chosen, qpos, qvel)
        forces = physics.field("actuator_force")[chosen]
        torch.testing.assert_close(forces, (scale[:, None] * plain)[chosen], rtol=1e-5, atol=1e-3)
        assert torch.equal(forces, by_forward(physics, qpos, qvel)["actuator_force"][chosen])
    assert plain.abs().max() > 1.0


def test_the_arena_gives_the_same_memory_again():
    arena = Arena(torch.device("cpu"))
    sizes = (100, 4096, 8)
    first = [arena.allocate(size) for size in sizes]
    assert len(set(first)) == 3
    for address, size in zip(first, sizes, strict=True):
        arena.deallocate(address, size)
    arena.rewind()
    assert [arena.allocate(size) for size in sizes] == first
    arena.rewind()
    with pytest.raises(RuntimeError, match="request more memory"):
        arena.allocate(101)


def test_a_batch_in_the_arena_computes_the_same(monkeypatch):
    """On CUDA a batch gets its temporary arrays from the arena: here the CPU's allocator does."""
    physics, qpos, qvel = case("ball")
    cpu, arena = wp.get_device("cpu"), Arena(torch.device("cpu"))
    expected = by_forward(physics, qpos, qvel)
    taken = []
    for _ in range(3):
        arena.rewind()
        with monkeypatch.context() as patch:
            patch.setattr(cpu, "default_allocator", arena)
            for name in ("qpos", "qvel"):
                wp.to_torch(getattr(physics._resets._small_d, name)).copy_({"qpos": qpos, "qvel": qvel}[name][:4])
            physics._launch(lambda: physics._resets._compute(physics._resets._small_m, physics._resets._small_d))
        taken.append((arena._next, len(arena._blocks)))
        for name in ("site_xpos", "actuator_force", "sensordata", "qacc"):
            np.testing.assert_array_equal(getattr(physics._resets._small_d, name).numpy(), expected[name][:4].numpy())
    assert taken[0][0] > 5 and taken[1:] == [(taken[0][0], taken[0][1])] * 2
