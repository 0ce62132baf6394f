"""Activation dynamics: MuJoCo's own, and inverted exactly."""

import mujoco
import numpy as np
import pytest

from muscle_torch.control.activation import ActivationDynamics
from muscle_torch.control.muscle_force import MuscleForce
from muscle_torch.embodiments import make_embodiment
from muscle_torch.errors import InputError


def _arm(smoothing: float = 0.0):
    """A toy arm with muscles of unlike time constants."""
    arm = make_embodiment("toy_arm")
    arm.model.actuator_dynprm[:, :3] = [[0.01, 0.04, smoothing], [0.015, 0.06, smoothing]]
    return arm, ActivationDynamics.of(arm.model, np.arange(2), arm.substeps)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_a_control_step_is_mujocos(smoothing):
    arm, dynamics = _arm(smoothing)
    data, random = mujoco.MjData(arm.model), np.random.default_rng(0)
    for _ in range(20):
        start, excitation = random.uniform(size=2), random.uniform(size=2)
        data.act[:], data.ctrl[:] = start, excitation
        acting = []
        for _ in range(arm.substeps):
            acting.append(data.act.copy())
            mujoco.mj_step(arm.model, data)
        np.testing.assert_allclose(dynamics.step(start, excitation), data.act, atol=1e-14)
        np.testing.assert_allclose(dynamics.mean(start, excitation), np.mean(acting, axis=0), atol=1e-14)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_inversion_is_exact_within_reach(smoothing):
    _, dynamics = _arm(smoothing)
    random = np.random.default_rng(1)
    for _ in range(50):
        start = random.uniform(size=2)
        low, high = dynamics.reachable(start)
        target = low + random.uniform(size=2) * (high - low)
        excitation = dynamics.invert(start, target)
        assert ((excitation >= 0) & (excitation <= 1)).all()
        np.testing.assert_allclose(dynamics.step(start, excitation), target, atol=1e-11)


def test_beyond_reach_the_excitation_is_at_its_bound():
    _, dynamics = _arm()
    np.testing.assert_array_equal(dynamics.invert(np.full(2, 0.5), np.array([0.0, 1.0])), [0.0, 1.0])


def test_holding_an_activation_takes_it_as_excitation():
    _, dynamics = _arm()
    constant = np.array([0.3, 0.8])
    np.testing.assert_allclose(dynamics.invert(constant, constant), constant, atol=1e-11)


def test_other_dynamics_are_refused():
    arm = make_embodiment("toy_arm")
    arm.model.actuator_dyntype[1] = mujoco.mjtDyn.mjDYN_FILTER
    with pytest.raises(InputError, match="no muscle activation dynamics"):
        ActivationDynamics.of(arm.model, np.arange(2), arm.substeps)


def test_the_force_curves_are_mujocos():
    model = make_embodiment("fullbody").model
    force, random = MuscleForce(model, np.arange(model.nu)), np.random.default_rng(2)
    low, high = model.actuator_lengthrange.T
    for _ in range(5):
        length = low + random.uniform(-0.3, 1.3, model.nu) * (high - low)
        velocity = random.normal(scale=0.2, size=model.nu)
        expected = [
            mujoco.mju_muscleGain(
                *(length[i], velocity[i], model.actuator_lengthrange[i], model.actuator_acc0[i]),
                model.actuator_gainprm[i, :9],
            )
            for i in range(model.nu)
        ]
        np.testing.assert_allclose(force.gain(length, velocity), expected, rtol=1e-9, atol=1e-9)
        step = 1e-7
        slope = (force.gain(length, velocity + step) - force.gain(length, velocity - step)) / (2 * step)
        np.testing.assert_allclose(force.velocity_slope(length, velocity), slope, rtol=1e-4, atol=1.0)
