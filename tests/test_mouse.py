"""The mouse's forelimb: our own arm, the published file, and what tells a wrong file from it."""

import re
from pathlib import Path

import mujoco
import numpy as np
import pytest
import torch
from conftest import data_file
from physics_cases import everyone, random_states
from scipy.optimize import linprog

from muscle_torch.config import Integrator, PhysicsConfig
from muscle_torch.embodiments import actuator_moments, make_embodiment, with_physics
from muscle_torch.embodiments.mouse_file import JOINTS, MUSCLES, load_mouse_arm
from muscle_torch.errors import InputError
from muscle_torch.physics import make_physics

FILE = "data/mouse_forelimb/mouse_arm_no_meshes.xml"
TETRAHEDRON = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]) * 1e-3


@pytest.fixture(scope="module")
def published():
    return make_embodiment("mouse", path=str(data_file(FILE)))


def arms():
    return [make_embodiment("mouse"), make_embodiment("mouse", path=str(data_file(FILE)))]


def test_our_arm_has_the_size_of_the_published_one():
    arm = make_embodiment("mouse")
    model = arm.model
    assert (model.nq, model.nu, model.na) == (4, 9, 9) and arm.joint_names == JOINTS
    assert sorted(arm.muscle_names) == sorted(MUSCLES)
    assert model.body_subtreemass[0] == pytest.approx(0.970e-3, rel=1e-6)
    assert model.opt.integrator == mujoco.mjtIntegrator.mjINT_RK4
    assert (model.opt.timestep, arm.substeps, arm.control_frequency) == (0.00125, 2, 400.0)


def test_the_published_file_keeps_its_numbers(published):
    plain = mujoco.MjModel.from_xml_path(str(data_file(FILE)))
    model = published.model
    assert published.joint_names == JOINTS and published.muscle_names == tuple(plain.actuator(i).name for i in range(9))
    for field in ("body_mass", "body_inertia", "dof_armature", "dof_damping", "jnt_range", "actuator_gainprm"):
        np.testing.assert_array_equal(getattr(model, field), getattr(plain, field), err_msg=field)
    assert model.opt.integrator == plain.opt.integrator == mujoco.mjtIntegrator.mjINT_RK4
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    anchor, wrist = data.site("shoulder_mimic"), data.site("wrist_mimic")
    np.testing.assert_allclose(anchor.xpos, data.body("humerus").xpos, atol=1e-12)
    np.testing.assert_allclose(wrist.xpos, data.geom("wrist_marker").xpos, atol=1e-12)


def test_the_arms_can_turn_every_joint_both_ways():
    """In the middle of the ranges the muscles produce a torque of either sign at one joint and none at the others."""
    for arm in arms():
        model, data = arm.model, mujoco.MjData(arm.model)
        data.qpos[:] = model.jnt_range.mean(axis=1)
        mujoco.mj_forward(model, data)
        torque = -actuator_moments(model, data).T * model.actuator_gainprm[:, 2]  # (joints, muscles) [N m]
        for joint in range(4):
            other_torques = np.delete(torque, joint, axis=0)
            for sign in (1, -1):
                most = linprog(-sign * torque[joint], A_eq=other_torques, b_eq=np.zeros(3), bounds=(0, 1))
                assert -most.fun > 1e-4, (arm.name, JOINTS[joint], sign)  # the arm's weight asks for 8e-5 N m


def with_meshes(path: Path, folder: Path, file: str) -> Path:
    """The published file with a mesh in the radius instead of its mass, as the original has it."""
    text = path.read_text(encoding="utf-8")
    radius = re.search(r'<body name="radius"[^>]*>\s*<inertial[^>]*/>', text)
    assert radius is not None
    body = radius[0].split("<inertial")[0] + '<geom type="mesh" mesh="radius" density="1000" contype="0"/>'
    text = text.replace(radius[0], body).replace("<asset>", f'<asset><mesh name="radius" file="{file}"/>', 1)
    made = folder / "mouse_arm.xml"
    made.write_text(text, encoding="utf-8")
    return made


def write_stl(path: Path, vertices: np.ndarray) -> None:
    """A tetrahedron as binary STL."""
    faces = [(0, 2, 1), (0, 1, 3), (0, 3, 2), (1, 2, 3)]
    record = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
    rows = np.array([((0, 0, 0), vertices[list(face)], 0) for face in faces], dtype=record)
    path.write_bytes(b"\0" * 80 + np.uint32(len(faces)).tobytes() + rows.tobytes())


def test_meshes_are_looked_for_beside_the_file_or_left_out_with_the_mass_kept(tmp_path):
    path = with_meshes(data_file(FILE), tmp_path, "/root/vast/assets/Radius.stl")
    without = load_mouse_arm(path).compile()
    assert without.nmesh == 0 and without.body("radius").mass[0] == pytest.approx(1.8e-6)
    assert without.body_subtreemass[0] == pytest.approx(0.970e-3, rel=1e-3)
    (tmp_path / "bones").mkdir()
    write_stl(tmp_path / "bones" / "radius.stl", 2 * TETRAHEDRON)
    meshed = load_mouse_arm(path).compile()
    assert meshed.nmesh == 1
    assert meshed.body("radius").mass[0] == pytest.approx(1000 * (2e-3) ** 3 / 6, rel=1e-3)


def changed(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda text: "not xml", r"is no XML"),
        (lambda text: "<robot/>", r"is no MuJoCo model, its first element is <robot>"),
        (lambda text: "<mujoco><worldbody/></mujoco>", r"0 joints instead of 4, elbow, sh_elv"),
        (lambda text: changed(text, 'joint name="elbow"', 'joint name="knee"'), r"4 joints.*elbow, knee differ"),
        (lambda text: changed(text, 'muscle name="Lat"', 'muscle name="Teres"'), r"9 muscles.*Lat, Teres differ"),
        (lambda text: changed(text, 'mass=" 0.00071"', 'mass="0.0007"'), r"weighs 0.96 g, the mouse forelimb 0.970 g"),
        (lambda text: changed(text, "wrist_body", "paw"), r"no body 'wrist_body'"),
        (
            lambda text: changed(text, "</worldbody>", "<bone/></worldbody>"),
            r"cannot be read: .*Schema violation: .*bone",
        ),
    ],
)
def test_another_file_is_refused_in_one_line(tmp_path, edit, message):
    path = tmp_path / "mouse_arm.xml"
    path.write_text(edit(data_file(FILE).read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(InputError, match=message) as caught:
        make_embodiment("mouse", path=str(path))
    assert "\n" not in str(caught.value) and "embodiment.path=" in str(caught.value)
    assert "track-mjx" in str(caught.value)


def test_a_missing_file_is_refused_in_one_line(tmp_path):
    with pytest.raises(InputError, match=r"there is no such file; give mouse_arm.xml of .*ae8d31f") as caught:
        make_embodiment("mouse", path=str(tmp_path / "mouse_arm.xml"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("integrator", [Integrator.rk4, Integrator.euler])
def test_warp_equals_c_over_100_steps(integrator):
    """Single precision against double: measured 8e-7 rad at most for the published arm, 4.5e-7 for ours."""
    for arm in arms():
        body = with_physics(arm, PhysicsConfig(integrator=integrator))
        start = random_states(body, 16)
        controls = torch.rand(50, 16, 9, generator=torch.Generator().manual_seed(0))
        ends = {}
        for backend in ("mujoco", "warp"):
            physics = make_physics(body.model, 16, "cpu", backend, threads=1)
            physics.reset(everyone(physics), *start)
            for control in controls:
                physics.step(control, 2)
            ends[backend] = [physics.field(name).double().clone() for name in ("qpos", "act", "site_xpos")]
            physics.close()
        moved = (ends["mujoco"][0] - start[0]).abs().max()
        assert moved > 0.5
        for got, expected in zip(ends["warp"], ends["mujoco"], strict=True):
            assert (got - expected).abs().max() < 1e-6
