"""Control of muscle length: the published formula, again at every physics step, on both backends."""

import mujoco
import numpy as np
import pytest
import torch
from env_cases import CPU

from muscle_torch.embodiments import make_embodiment
from muscle_torch.envs import make_env
from muscle_torch.envs.actions.length_pd import LengthActions
from muscle_torch.envs.actions.muscle_curves import MuscleCurves
from muscle_torch.envs.actions.options import LengthOptions
from muscle_torch.errors import InputError

DEVICE = torch.device("cpu")


class Lengths:
    """The part of the physics that the action space reads."""

    def __init__(self, length, velocity):
        self.fields = {"actuator_length": length, "actuator_velocity": velocity}

    def field(self, name, rows=None):
        return torch.as_tensor(self.fields[name], dtype=torch.float32)


def states(model, count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Lengths [m] within and beyond the range of every muscle, and velocities [m/s] of both signs."""
    random = np.random.default_rng(0)
    low, high = model.actuator_lengthrange.T
    length = low + random.uniform(-0.1, 1.2, (count, model.nu)) * (high - low)
    return length, random.normal(size=(count, model.nu))


def published(model, action, length, velocity, kp=5.0, kd=0.5) -> np.ndarray:
    """The published controller for one world, muscle by muscle, with MuJoCo's own functions."""
    out = np.empty(model.nu)
    for i in range(model.nu):
        limits, acc0 = model.actuator_lengthrange[i], model.actuator_acc0[i]
        gain = mujoco.mju_muscleGain(length[i], velocity[i], limits, acc0, model.actuator_gainprm[i, :9])
        bias = mujoco.mju_muscleBias(length[i], limits, acc0, model.actuator_biasprm[i, :9])
        peak = model.actuator_biasprm[i, 2]
        if peak < 0:
            peak = model.actuator_biasprm[i, 3] / acc0
        target = (np.clip(action[i], -1, 1) + 1) / 2 * limits[1]
        force = np.clip(kp * peak * (target - length[i]) - kd * peak * velocity[i], -peak, 0)
        out[i] = np.clip((force - bias) / min(-1, gain), 0, 1)
    return out


@pytest.mark.parametrize("body", ["toy_arm", "legs"])
def test_the_curves_are_mujocos(body):
    model = make_embodiment(body).model
    length, velocity = states(model)
    curves = MuscleCurves(model, np.arange(model.nu), DEVICE)
    gain, bias = np.empty_like(length), np.empty_like(length)
    for i in range(model.nu):
        limits, acc0 = model.actuator_lengthrange[i], model.actuator_acc0[i]
        for row in range(len(length)):
            state = (length[row, i], velocity[row, i])
            gain[row, i] = mujoco.mju_muscleGain(*state, limits, acc0, model.actuator_gainprm[i, :9])
            bias[row, i] = mujoco.mju_muscleBias(state[0], limits, acc0, model.actuator_biasprm[i, :9])
    found = curves.gain(torch.from_numpy(length).float(), torch.from_numpy(velocity).float())
    tolerance = 1e-5 * float(curves.peak.max())
    np.testing.assert_allclose(found, gain, atol=tolerance)
    np.testing.assert_allclose(curves.bias(torch.from_numpy(length).float()), bias, atol=tolerance)
    assert gain.min() < 0 and bias.min() < 0 and (bias == 0).any()


@pytest.mark.parametrize("gains", [(5.0, 0.5), (1.0, 1.0)])
def test_excitations_are_the_published_ones(gains):
    body = make_embodiment("legs")
    length, velocity = states(body.model, 8)
    action = np.random.default_rng(1).uniform(-1.3, 1.3, (8, 80))
    space = LengthActions(LengthOptions(*gains), body, 8, DEVICE)
    made = space.to_controls(torch.from_numpy(action).float(), Lengths(length, velocity), None)  # type: ignore[arg-type]
    expected = np.stack([published(body.model, *row, *gains) for row in zip(action, length, velocity, strict=True)])
    np.testing.assert_allclose(made, expected, atol=2e-3)
    assert 0.1 < expected.mean() < 0.9


def test_a_longer_target_never_excites_more():
    body = make_embodiment("legs")
    length, velocity = states(body.model, 8)
    space = LengthActions(LengthOptions(), body, 8, DEVICE)
    actions = [torch.full((8, 80), float(a)) for a in np.linspace(-1, 1, 21)]
    made = torch.stack([space.to_controls(a, Lengths(length, velocity), None) for a in actions])  # type: ignore[arg-type]
    assert float(made.min()) >= 0 and float(made.max()) <= 1 and (made.diff(dim=0) <= 0).all()
    assert float((made[0] - made[-1]).max()) == 1


def test_action_0_at_an_upright_pose():
    """Mean excitation 0.57 with the published body (0.56 with ours), energy reward 0.077; direct: 0.5 and 0.108."""
    body = make_embodiment("legs")
    data = mujoco.MjData(body.model)
    mujoco.mj_forward(body.model, data)
    space = LengthActions(LengthOptions(), body, 1, DEVICE)
    lengths = Lengths(data.actuator_length[None], data.actuator_velocity[None])
    made = space.to_controls(torch.zeros(1, 80), lengths, None)[0]  # type: ignore[arg-type]
    assert float(made.mean()) == pytest.approx(0.57, abs=0.01)
    assert float(torch.exp(-0.05 * (made.sum() + made.norm()))) == pytest.approx(0.077, abs=0.002)


@pytest.fixture
def arm():
    made = make_env("toy_arm", 2, **CPU, actions=["length_pd"])
    yield made
    made.close()


def test_controls_are_computed_at_every_physics_step(arm):
    """Against plain MuJoCo, stepped one by one with the published controller."""
    model, body = arm.embodiment.model, arm.embodiment
    arm.begin()
    data = mujoco.MjData(model)
    data.qpos[:], data.qvel[:] = arm.state().qpos[1].double(), arm.state().qvel[1].double()
    mujoco.mj_forward(model, data)
    action = np.array([-0.4, 0.2])
    for _ in range(5):
        applied = []
        for _ in range(body.substeps):
            mujoco.mj_forward(model, data)
            data.ctrl[:] = published(model, action, data.actuator_length, data.actuator_velocity)
            applied.append(data.ctrl.copy())
            mujoco.mj_step(model, data)
        arm.advance(torch.tensor(action, dtype=torch.float32).expand(2, 2))
        made = arm.field("substep_ctrl")[1].numpy()
        np.testing.assert_allclose(made, applied, atol=1e-3)
    assert np.ptp(made, axis=0).max() > 1e-3  # they do change within a control step
    np.testing.assert_allclose(arm.state().qpos[1], data.qpos, atol=1e-4)
    np.testing.assert_allclose(arm.field("ctrl")[1], applied[-1], atol=1e-3)


def test_both_backends_move_alike(arm):
    warp = make_env("toy_arm", 2, device="cpu", backend="warp", actions=["length_pd"])
    frames = (torch.zeros(2, dtype=torch.long), torch.tensor([0, 20]))
    sequence = 0.5 * torch.randn(10, 2, 2, generator=torch.Generator().manual_seed(0))
    paths = []
    for env in (arm, warp):
        env.assign(tuple(values.clone() for values in frames))
        paths.append(torch.stack([env.advance(action).observation for action in sequence]))
        assert env.field("substep_ctrl").shape == (2, env.embodiment.substeps, 2)
    torch.testing.assert_close(paths[0], paths[1], atol=1e-3, rtol=1e-3)
    warp.close()


def test_a_rollout_continues_exactly(arm):
    arm.begin()
    arm.advance(torch.full((2, 2), -0.3))
    other = make_env("toy_arm", 2, **CPU, actions=["length_pd"])
    other.load_snapshot(arm.snapshot())
    assert torch.equal(other.field("substep_ctrl"), arm.field("substep_ctrl"))
    action = torch.full((2, 2), 0.1)
    assert torch.equal(other.advance(action).observation, arm.advance(action).observation)
    other.close()


def test_gains_that_cannot_be_are_refused():
    body = make_embodiment("toy_arm")
    for gains in ((0.0, 0.5), (5.0, -1.0)):
        with pytest.raises(InputError, match="kp must be above 0, kd at least 0"):
            LengthActions(LengthOptions(*gains), body, 1, DEVICE)
