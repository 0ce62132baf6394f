"""Left against right: a two-armed model worked out by hand, faults put in on purpose, and the human bodies."""

import copy
import dataclasses

import mujoco
import numpy as np
import pytest

from muscle_torch.embodiments import Embodiment, make_embodiment
from muscle_torch.embodiments.mirror import KINDS, Sides, known, mirror_findings
from muscle_torch.embodiments.options import BodyOptions
from muscle_torch.errors import InputError

# Two arms 0.2 m beside a trunk that bends to a side. Each has a shoulder about z (opposite in the mirror), an elbow
# about x (alike) with a muscle 0.05 m above the arm, and a slide along the arm that follows the elbow.
TWO_ARMS = """
<mujoco><compiler angle="radian"/><option timestep="0.002"/><worldbody><body name="trunk"><joint name="bend"
  axis="0 1 0" range="-1 1"/>
  <geom size="0.1"/><site name="anchor"/>{right}{left}</body></worldbody>
  <tendon>{tendons}</tendon><actuator>{muscles}</actuator><equality>{couplings}</equality></mujoco>
"""
ARM = """<body name="upper_{s}" pos="{x} 0 0"><joint name="turn_{s}" axis="0 0 1" range="{low} {high}"/>
  <geom size="0.03" mass="1"/><site name="from_{s}" pos="0 0 0.05"/>
  <body name="lower_{s}" pos="0 0.3 0"><joint name="bow_{s}" axis="1 0 0" range="0 1"/>
    <joint name="glide_{s}" type="slide" axis="0 1 0" range="-1 1"/><geom size="0.02" mass="0.5"/>
    <site name="to_{s}" pos="0 0.1 0.05"/></body></body>"""
TENDON = '<spatial name="{s}"><site site="from_{s}"/><site site="to_{s}"/></spatial>'
MUSCLE = '<muscle name="bender_{s}" tendon="{s}" force="300" lengthrange="0.3 0.5" ctrllimited="true" ctrlrange="0 1"/>'
COUPLING = '<joint joint1="glide_{s}" joint2="bow_{s}" polycoef="0 0.1 0.02 0 0"/>'


def two_arms() -> Embodiment:
    def both(text: str) -> str:
        return text.format(s="r") + text.format(s="l")

    # Turning outwards is negative on the right, positive on the left.
    arms = {
        "right": ARM.format(s="r", x=-0.2, low=-1.0, high=0.5),
        "left": ARM.format(s="l", x=0.2, low=-0.5, high=1.0),
    }
    xml = TWO_ARMS.format(**arms, tendons=both(TENDON), muscles=both(MUSCLE), couplings=both(COUPLING))
    model = mujoco.MjModel.from_xml_string(xml)
    return Embodiment(
        key="two_arms",
        name="TwoArms",
        options=BodyOptions(),
        model=model,
        model_version="1",
        control_frequency=100.0,
        substeps=5,
        site_names=("anchor",),
        root_joint=None,
        touch_sensors=(),
        groups={},
        left_right=(("bender_l", "bender_r"),),
        build_spec=lambda: mujoco.MjSpec.from_string(xml),
    )


def pose_of(body: Embodiment, **joints: float) -> np.ndarray:
    pose = body.model.qpos0.copy()
    for name, value in joints.items():
        pose[body.model.joint(name).qposadr[0]] = value
    return pose


def faulty(body: Embodiment, name: str, row: int, column, value) -> Embodiment:
    """A copy with one entry of a model array set."""
    model = copy.copy(body.model)
    getattr(model, name)[row][column] = value
    return dataclasses.replace(body, model=model)


def test_a_symmetric_body_has_no_findings():
    assert mirror_findings(two_arms()) == []
    assert mirror_findings(make_embodiment("toy_arm")) == []  # one-sided: nothing to compare


def test_joints_turn_in_the_mirror_as_worked_out_by_hand():
    """Bending to a side and turning about the upright axis change sign, bowing forward does not."""
    body = two_arms()
    sides = Sides(body)
    assert sides.axis == 0 and np.allclose(sides.mirrored(np.array([0.3, 1.0, 2.0])), [-0.3, 1.0, 2.0])
    pose = pose_of(body, bend=0.3, turn_r=-0.8, turn_l=0.1, bow_r=0.6, bow_l=0.2, glide_r=0.05)
    expected = pose_of(body, bend=-0.3, turn_r=-0.1, turn_l=0.8, bow_r=0.2, bow_l=0.6, glide_l=0.05)
    assert np.allclose(sides.mirror_pose(pose), expected)
    assert np.allclose(sides.mirror_pose(expected), pose)


FAULTS = [
    # kind, array, element, entry, new value, how much it then differs
    ("mass", "body_mass", "upper_l", ..., 1.25, 0.25),
    ("range", "jnt_range", "turn_l", 1, 0.7, 0.3),
    ("force", "actuator_gainprm", "bender_l", 2, 330.0, 30.0),
    ("length_range", "actuator_lengthrange", "bender_l", 1, 0.52, 0.02),
    ("coupling", "eq_data", "eq", 1, -0.1, 0.2),  # at the end of the elbow's range: |0.1 - (-0.1)| * 1
    ("position", "body_pos", "lower_l", 1, 0.31, 0.01),
    ("length", "site_pos", "to_l", 1, 0.12, 0.02),
]


@pytest.mark.parametrize(("kind", "array", "element", "entry", "value", "difference"), FAULTS)
def test_a_fault_on_one_side_is_found_and_measured(kind, array, element, entry, value, difference):
    body = two_arms()
    model = body.model
    element_of = {"body": model.body, "jnt": model.joint, "actuator": model.actuator, "site": model.site}
    row = 1 if array == "eq_data" else element_of[array.split("_")[0]](element).id
    if array == "body_mass":
        model.body_mass[row] = value
        findings = mirror_findings(body)
    else:
        findings = mirror_findings(faulty(body, array, row, entry, value))
    one = next(f for f in findings if f.kind == kind)
    assert one.difference == pytest.approx(difference, rel=0.1) and not known(body, one)
    assert KINDS[kind][0] in str(one) and one.name.endswith("_r")


def test_a_muscle_on_the_wrong_side_of_its_joint_has_the_opposite_sign():
    body = two_arms()
    for site in ("from_l", "to_l"):
        row = body.model.site(site).id
        body.model.site_pos[row, 2] = -0.05
    findings = {(f.kind, f.detail): f for f in mirror_findings(body)}
    one = findings["sign", "bow_r"]
    # 0.05 m above the elbow on the right, below it on the left; less where the elbow bows towards it.
    assert one.left * one.right < 0 and 0.05 < one.difference < 0.11


def test_a_flipped_axis_and_a_tilted_one_are_found():
    body = two_arms()
    flipped = faulty(body, "jnt_axis", body.model.joint("bow_l").id, ..., [-1.0, 0.0, 0.0])
    assert {f.kind for f in mirror_findings(flipped)} >= {"range"}
    tilted = faulty(body, "jnt_axis", body.model.joint("bow_l").id, ..., [np.cos(0.1), np.sin(0.1), 0.0])
    assert next(f for f in mirror_findings(tilted) if f.kind == "axis").left == pytest.approx(0.1, rel=1e-3)


def test_a_muscle_that_pushes_is_found():
    body = two_arms()
    body.model.actuator_gainprm[:, 2:4] = -1.0, -200.0  # a negative force asks for the scale, negative as well
    findings = [f for f in mirror_findings(body) if f.kind == "push"]
    assert {f.name for f in findings} == {"bender_r", "bender_l"} and all(f.left > 0 for f in findings)


def test_names_without_sides_are_refused():
    body = two_arms()
    body.model.body_pos[body.model.body("upper_l").id] = body.model.body_pos[body.model.body("upper_r").id]
    with pytest.raises(InputError, match="left and right"):
        mirror_findings(body)


def test_the_arms_are_mirror_images():
    for fingers in (False, True):
        assert mirror_findings(make_embodiment("bimanual", fingers=fingers)) == []


def test_the_legs_are_mirror_images():
    assert mirror_findings(make_embodiment("legs")) == []


def test_the_muscles_of_the_abdomen_are_stronger_on_the_right():
    pytest.importorskip("myo_sim")
    body = make_embodiment("legs_abs")
    findings = mirror_findings(body)
    assert all(f.kind == "force" and f.right > f.left and known(body, f) for f in findings)
    assert {f.name for f in findings} == {"ercspn_r", "intobl_r", "extobl_r"}


@pytest.mark.parametrize("name", ["fullbody", "legs_back"])
def test_the_full_body_has_one_muscle_on_the_wrong_side(name):
    """A left back muscle of musclemimic-models 1.0.6 runs along the right side: all its sites are the right one's."""
    body = make_embodiment(name)
    findings = mirror_findings(body)
    assert {f.name for f in findings} == {"LTpT_T12_r"} and all(known(body, f) for f in findings)
    assert {"length", "moment_arm", "sign"} <= {f.kind for f in findings}
    model = body.model
    for left, right in zip(*(_sites(model, f"LTpT_T12_{side}") for side in "lr"), strict=True):
        assert model.site_bodyid[left] == model.site_bodyid[right]
        assert np.abs(model.site_pos[left] - model.site_pos[right]).max() < 1e-3


def test_a_knee_that_turns_inwards_on_one_side_is_found():
    """The fault of musclemimic-models 1.0.5: the left shin turns with the knee as the right one does, not mirrored."""
    body = make_embodiment("fullbody")
    model = body.model
    row = int(np.flatnonzero(model.eq_obj1id == model.joint("knee_angle_rotation3_l").id)[0])
    model.eq_data[row, :5] *= -1
    one = next(f for f in mirror_findings(body) if f.kind == "coupling")
    assert one.name == "knee_angle_rotation3_r" and "knee_angle_r" in one.detail and not known(body, one)
    assert one.left == pytest.approx(-one.right) and one.difference > 0.4  # [rad]


def _sites(model: mujoco.MjModel, muscle: str) -> np.ndarray:
    tendon = model.actuator(muscle).trnid[0]
    first = model.tendon_adr[tendon]
    return model.wrap_objid[first : first + model.tendon_num[tendon]]
