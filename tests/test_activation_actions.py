"""Activations as actions: the activation at the end of the control step equals the action where it is reachable."""

import dataclasses

import numpy as np
import pytest
import torch

from muscle_torch.control.activation import ActivationDynamics
from muscle_torch.embodiments import make_embodiment
from muscle_torch.envs import make_env
from muscle_torch.envs.actions.activations import ActivationActions, ActivationInverse
from muscle_torch.envs.actions.options import ActivationOptions
from muscle_torch.errors import InputError

CASE = {"num_envs": 4, "device": "cpu", "threads": 1, "actions": "activations"}


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("backend", ["mujoco", "warp"])
def test_the_action_is_the_activation_at_the_end_of_the_control_step(backend):
    env = make_env("toy_arm", **CASE, backend=backend)
    env.begin()
    dynamics = ActivationDynamics.of(env.embodiment.model, env.embodiment.muscle_ids, env.embodiment.substeps)
    reached = 0
    for step in range(30):
        before = env.physics.field("act").clone().numpy().astype(float)
        action = random(4, env.action_size, seed=step)
        env.advance(action)
        expected = action.numpy().clip(*dynamics.reachable(before))
        np.testing.assert_allclose(env.physics.field("act").numpy(), expected, atol=2e-6)
        reached += int((expected == action.numpy()).sum())
    assert 30 < reached < 30 * action.numel()  # both reachable and unreachable ones were drawn
    env.close()


def test_it_inverts_as_the_controller_does_for_every_muscle_of_the_full_body():
    body = make_embodiment("fullbody")
    dynamics = ActivationDynamics.of(body.model, body.muscle_ids, body.substeps)
    batched = ActivationInverse(body, torch.device("cpu"))
    now, target = random(8, 354, seed=1), random(8, 354, seed=2)
    now[0], target[1] = 0.0, 0.0
    now[2], target[3] = 1.0, 1.0
    excitation = batched.invert(now, target)
    rows = [dynamics.invert(*(row.numpy().astype(float) for row in pair)) for pair in zip(now, target, strict=True)]
    np.testing.assert_allclose(excitation.numpy(), np.stack(rows), atol=1e-5)
    ends = [dynamics.step(a.numpy().astype(float), u) for a, u in zip(now, rows, strict=True)]
    np.testing.assert_allclose(batched.step(now, excitation).numpy(), np.stack(ends), atol=1e-6)
    assert excitation.min() >= 0.0 and excitation.max() <= 1.0


def test_controls_and_actions_are_each_others_inverse():
    env = make_env("toy_arm", **CASE)
    env.begin()
    for step in range(5):
        controls = random(4, env.embodiment.model.nu, seed=step)
        env.advance(env.actions.from_controls(controls, env.physics, env.goal))
        np.testing.assert_allclose(env.physics.field("ctrl").numpy(), controls.numpy(), atol=1e-4)
    assert float(env.zero_action.abs().max()) == 0.0
    env.advance(env.zero_action.expand(4, -1))
    assert float(env.physics.field("ctrl").abs().max()) == 0.0
    env.close()


def test_muscles_with_other_dynamics_are_one_line():
    body = make_embodiment("toy_arm")
    model = body.model.__copy__()
    model.actuator_dynprm[1, 2] = 0.1
    smooth = dataclasses.replace(body, model=model)
    with pytest.raises(InputError, match=f"of muscle '{body.muscle_names[1]}' have no inverse") as caught:
        ActivationActions(ActivationOptions(), smooth, 1, torch.device("cpu"))
    assert "\n" not in str(caught.value)
