"""The linear dynamics are MuJoCo's own: at an instant to rounding, over a control step closely."""

import mujoco
import numpy as np
import pytest
from biped import make_biped

from muscle_torch.control.body import ControlBody
from muscle_torch.control.dynamics import FIRST_LIMIT, Dynamics
from muscle_torch.embodiments import make_embodiment
from muscle_torch.errors import InputError


def _state(body: ControlBody, height: float, seed: int = 0) -> tuple[mujoco.MjData, mujoco.MjData]:
    """(for the controller, MuJoCo's own) in one random state, the soles `height` [m] above the floor."""
    model, random = body.model, np.random.default_rng(seed)
    pose, joints = model.qpos0.copy(), body.embodiment.joint_qpos_ids
    pose[joints] += random.normal(scale=0.02, size=len(joints))
    ours, theirs = mujoco.MjData(model), mujoco.MjData(model)
    ours.qpos[:] = body.embodiment.project(pose)
    mujoco.mj_kinematics(model, ours)
    assert body.soles is not None
    ours.qpos[2] += height - body.soles.lowest(ours)[:, 2].min()
    ours.qvel[:] = body.independent.tangent(ours.qpos) @ random.normal(scale=0.2, size=len(body.dofs))
    ours.act[:] = random.uniform(size=model.na)
    theirs.qpos[:], theirs.qvel[:], theirs.act[:] = ours.qpos, ours.qvel, ours.act
    return ours, theirs


@pytest.mark.parametrize("height", [-0.005, 1.0])
@pytest.mark.parametrize(
    "body",
    [make_biped(), make_biped(motors=True), make_embodiment("fullbody")],
    ids=["muscles", "motors", "fullbody"],
)
def test_predicted_acceleration_is_the_realised_one(body, height):
    control = ControlBody(body)
    dynamics, (ours, theirs) = Dynamics(control), _state(control, height)
    theirs.ctrl[~control.muscle] = np.random.default_rng(5).uniform(-1, 1, int((~control.muscle).sum()))
    inputs = theirs.ctrl.copy()
    inputs[control.muscle] = theirs.act
    mujoco.mj_forward(control.model, theirs)
    dynamics.forward(ours)
    linear = dynamics.linearize(ours)
    forces = np.array(theirs.efc_force)[np.asarray(theirs.efc_type) >= FIRST_LIMIT]
    assert (linear.foot >= 0).any() == (height < 0)
    scale = np.abs(theirs.qacc).max()
    np.testing.assert_allclose(linear.acceleration(inputs, forces), theirs.qacc, atol=1e-6 * scale)


def test_without_a_floor_below_there_is_no_contact():
    control = ControlBody(make_biped())
    dynamics, (ours, _) = Dynamics(control), _state(control, 1.0)
    dynamics.forward(ours)
    linear = dynamics.linearize(ours)
    assert linear.edges.shape == (0, control.model.nv) and linear.foot.shape == (0,)


def test_contact_rows_know_their_foot():
    control = ControlBody(make_biped())
    dynamics, (ours, _) = Dynamics(control), _state(control, -0.02)
    dynamics.forward(ours)
    assert {0, 1} <= set(dynamics.linearize(ours).foot.tolist())


def test_feet_legs_and_arms_are_read_from_the_model():
    control = ControlBody(make_embodiment("fullbody"))
    assert [foot.name for foot in control.feet] == ["calcn_r", "calcn_l"]
    assert [control.model.body(foot.hip).name for foot in control.feet] == ["femur_r", "femur_l"]
    legs = {name for name, inside in zip(control.names, control.leg, strict=True) if inside}
    assert {"hip_flexion_r", "knee_angle_l", "mtp_angle_r"} <= legs and len(legs) == 14
    arms = {name for name, inside in zip(control.names, control.light, strict=True) if inside}
    assert {"elbow_flex_r", "shoulder_elv_l"} <= arms and not arms & legs and "flex_extension" not in arms
    assert len(control.ball_joints) == 5  # shoulders, hips and the lumbar spine


def test_a_free_body_without_feet_is_refused():
    body = make_biped()
    object.__setattr__(body, "touch_sensors", ())
    with pytest.raises(InputError, match="no feet"):
        ControlBody(body)


def test_a_motor_needs_a_range():
    body = make_biped(motors=True)
    body.model.actuator_ctrllimited[2] = 0
    with pytest.raises(InputError, match="no control range"):
        ControlBody(body)
