"""Tasks of muscle control by hand: bounded corrections, and feet that clear the floor by their lowest point."""

import mujoco
import numpy as np
import pytest
from biped import make_biped, squat

from muscle_torch.control import MuscleControlOptions, clip_tables
from muscle_torch.control.body import ControlBody
from muscle_torch.control.dynamics import Dynamics
from muscle_torch.control.reference import Reference
from muscle_torch.control.tasks import BodyState, Tasks, at_most
from muscle_torch.embodiments import make_embodiment
from muscle_torch.motion.generated import generate


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MUSCLE_TORCH_CACHE", str(tmp_path))


def test_a_vector_is_shortened_but_not_turned():
    np.testing.assert_allclose(at_most(np.array([3.0, 0.0, 4.0]), 2.5), [1.5, 0.0, 2.0])
    np.testing.assert_allclose(at_most(np.array([3.0, 0.0, 4.0]), 6.0), [3.0, 0.0, 4.0])
    np.testing.assert_allclose(at_most(np.zeros(3), 6.0), np.zeros(3))


def swinging(height: float, pitch: float) -> tuple[ControlBody, BodyState]:
    """The biped in a swing: its right foot turned by `pitch` [rad], its lowest point `height` [m] above the floor."""
    body = ControlBody(make_biped())
    stored = clip_tables(squat(body.embodiment), body).reference
    stands = np.ones_like(stored.stands)
    right = [foot.name for foot in body.feet].index("foot_r")
    stands[40:80, right] = False
    reference = Reference.of(body, stored.qpos, stands, MuscleControlOptions().steps)
    data = mujoco.MjData(body.model)
    data.qpos[:] = reference.qpos[60]
    data.qpos[body.model.joint("ankle_r").qposadr[0]] += pitch
    mujoco.mj_kinematics(body.model, data)
    state = BodyState(body, data, reference, 60)
    data.qpos[2] += height - state.lowest[0][right, 2]
    Dynamics(body).forward(data)
    return body, BodyState(body, data, reference, 60)


def test_the_lowest_point_is_the_toe_of_a_foot_that_points_down():
    body, state = swinging(0.0, 0.4)
    right = [foot.name for foot in body.feet].index("foot_r")
    toe, _ = state.lowest
    heel = state.data.xpos[body.feet[right].body]
    assert toe[right, 2] == pytest.approx(0.0, abs=1e-9) and abs(toe[right, 1] - heel[1]) > 0.1


def test_a_foot_too_near_the_floor_is_lifted_and_a_high_one_left_alone():
    options = MuscleControlOptions()
    body, state = swinging(0.01, 0.4)
    rows = Tasks(body, options.tasks).clearance(state, 0.03)
    assert len(rows) == 1
    weight, gain = options.tasks.clearance_weight, options.tasks.foot_frequency
    # At rest: 2 cm are missing in the middle of the swing, so the point should accelerate by gain^2 x 2 cm.
    np.testing.assert_allclose(rows[0].target, [weight * gain**2 * 0.02], rtol=1e-6)
    lift = np.zeros(body.model.nv)
    lift[2] = 1.0
    np.testing.assert_allclose(rows[0].jacobian @ lift, [weight])  # raising the root raises it as much
    body, state = swinging(0.05, 0.4)
    assert Tasks(body, options.tasks).clearance(state, 0.03) == []


def test_a_far_foothold_asks_no_more_than_the_bound():
    options = MuscleControlOptions().tasks
    body, state = swinging(0.05, 0.0)
    right = [foot.name for foot in body.feet].index("foot_r")
    heels = np.array([foot.body for foot in body.feet])
    places = state.data.xpos[heels].copy()
    places[right, 0] += 10.0
    rows = Tasks(body, options).feet(state, places)
    requested = max(float(np.linalg.norm(row.target[:3])) for row in rows) / options.foot_weight
    from_reference = np.abs(state.reference.foot_acceleration[61, right, :3]).max()
    assert (
        options.foot_correction - from_reference - 1e-6
        <= requested
        <= options.foot_correction + 3 * from_reference + 1e-6
    )


def test_drift_is_the_rate_of_velocities_at_zero_acceleration():
    body, state = swinging(0.05, 0.4)
    model, data = body.model, state.data
    data.qvel[:] = np.random.default_rng(0).normal(size=model.nv)
    Dynamics(body).forward(data)
    state, point, foot = BodyState(body, data, state.reference, 60), data.xpos[body.feet[0].body], body.feet[0].body

    def velocities(at: mujoco.MjData) -> np.ndarray:
        """Of the mass centre, the angular momentum about it, and a point of the foot, under the same qvel."""
        com, momentum, linear, angular = np.zeros((4, 3, model.nv))
        mujoco.mj_jacSubtreeCom(model, at, com, body.trunk)
        mujoco.mj_angmomMat(model, at, momentum, body.trunk)
        mujoco.mj_jacBody(model, at, linear, angular, foot)
        return np.concatenate([jacobian @ data.qvel for jacobian in (com, momentum, linear, angular)])

    step, later = 1e-6, mujoco.MjData(model)
    later.qpos[:] = data.qpos
    mujoco.mj_integratePos(model, later.qpos, data.qvel, step)
    mujoco.mj_kinematics(model, later)
    mujoco.mj_comPos(model, later)
    rates = (velocities(later) - velocities(data)) / step
    np.testing.assert_allclose(np.concatenate(state.drift), rates[:6], atol=1e-3)
    np.testing.assert_allclose(state.point_drift(point, foot), rates[6:], atol=1e-3)


def test_the_torso_is_the_heaviest_body_above_the_trunks_joints():
    embodiment = make_embodiment("fullbody")
    body = ControlBody(embodiment)
    assert body.torso == embodiment.model.body("torso").id
    assert ControlBody(make_biped()).torso is None


def test_a_torso_that_leans_is_turned_back():
    body = ControlBody(make_embodiment("fullbody"))
    (clip,) = generate("sway", body.embodiment)
    reference = Reference.of(
        body, clip.qpos[:40].astype(float), np.ones((40, len(body.feet)), dtype=bool), MuscleControlOptions().steps
    )
    data = mujoco.MjData(body.model)
    data.qpos[:] = reference.qpos[20]
    mujoco.mju_mulQuat(data.qpos[3:7], np.array([np.cos(0.05), np.sin(0.05), 0.0, 0.0]), reference.qpos[20, 3:7])
    Dynamics(body).forward(data)
    options = MuscleControlOptions().tasks
    (rows,) = Tasks(body, options).lean(BodyState(body, data, reference, 19))
    # At rest, turned by 0.1 rad about the world's x axis: back by frequency^2 x 0.1 rad/s^2.
    expected = options.lean_weight * (
        reference.torso_acceleration[20] - options.lean_frequency**2 * np.array([0.1, 0, 0])
    )
    expected += options.lean_weight * 2 * options.lean_frequency * reference.torso_velocity[20]
    np.testing.assert_allclose(rows.target, expected, atol=1e-6)
