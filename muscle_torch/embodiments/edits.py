"""Edits of the published models shared by the human bodies: removed parts, tracked sites, muscle groups of the arm."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence

import mujoco
import numpy as np

from muscle_torch.errors import InputError

from .guard import MODELS, check_models

DIGITS = (2, 3, 4, 5)
# Limits of the constraint solver and of its line searches. The XML sets 100 and 50. Starting from motion frames with
# random excitations, at most 6 iterations were needed, and limits of 8 and 16 gave bit-identical states.
ITERATIONS, LINE_SEARCH_ITERATIONS = 10, 20


def numbered(name: str, last: int) -> tuple[str, ...]:
    """Return numbered names: `numbered("DELT", 3)` is `("DELT1", "DELT2", "DELT3")`."""
    return tuple(f"{name}{i}" for i in range(1, last + 1))


FINGER_JOINTS = (
    *("cmc_flexion", "cmc_abduction", "mp_flexion", "ip_flexion"),
    *(f"mcp{i}_{motion}" for i in DIGITS for motion in ("flexion", "abduction")),
    *(f"{phalanx}{i}_flexion" for i in DIGITS for phalanx in ("pm", "md")),
)
FINGER_MUSCLES = (
    *("EDM", "EIP", "EPL", "EPB", "FPL", "APL", "OP"),
    *(f"{group}{i}" for group in ("FDS", "FDP", "EDC", "RI", "LU_RB", "UI_UB") for i in DIGITS),
)

# Muscles of the right arm by the joint they mainly move; names of the left arm end in `_left`.
CUFF = ("SUPSP", "INFSP", "SUBSC", "TMIN", "TMAJ")
ARM_GROUPS = {
    "shoulder": (*numbered("DELT", 3), *CUFF, *numbered("PECM", 3), *numbered("LAT", 3), "CORB"),
    "elbow": ("TRIlong", "TRIlat", "TRImed", "ANC", "BIClong", "BICshort", "BRA", "BRD"),
    "forearm": ("SUP", "PT", "PQ"),
    "wrist": ("ECRL", "ECRB", "ECU", "FCR", "FCU", "PL"),
    "hand": FINGER_MUSCLES,
}

# Tracked sites of a limb: body -> site, both without side, in the task's order.
ARM_SITES = {"humerus": "shoulder", "ulna": "elbow", "lunate": "hand"}
PHANTOMS = ("clavphant", "scapphant", "humphant", "humphant1")
PHANTOM_INERTIA = 1e-3  # [kg m^2] of each, reduced
LEG_SITES = {"femur": "hip", "tibia": "knee", "talus": "ankle", "toes": "toes"}
SIDES = {"r": "right", "l": "left"}


def load_spec(name: str) -> mujoco.MjSpec:
    """Load the published model `bimanual` or `myofullbody` and reduce its solver iterations.

    Raises:
        InputError: The models are not installed, or not the tested version.
    """
    check_models()
    from musclemimic_models import get_xml_path  # after the check: it may be missing

    spec = mujoco.MjSpec.from_file(str(get_xml_path(name)))
    spec.option.iterations, spec.option.ls_iterations = ITERATIONS, LINE_SEARCH_ITERATIONS
    return spec


def remove_fingers(spec: mujoco.MjSpec) -> None:
    """Fix the fingers at their zero position and remove the muscles and tendons that move them.

    Removes 40 joints, 62 muscles and 62 tendons. Bodies, geoms, sites and sensors stay, so masses and contacts do not
    change.

    Raises:
        InputError: The model lacks one of these elements.
    """
    joints = {f"{joint}_{side}" for joint in FINGER_JOINTS for side in SIDES}
    muscles = {muscle + suffix for muscle in FINGER_MUSCLES for suffix in ("", "_left")}
    tendons = {actuator.target for actuator in spec.actuators if actuator.name in muscles}
    for elements, names in ((spec.actuators, muscles), (spec.tendons, tendons), (spec.joints, joints)):
        _delete(spec, elements, names)


def keep_muscles(spec: mujoco.MjSpec, muscles: Collection[str]) -> None:
    """Remove all other actuators and their tendons.

    Raises:
        InputError: The model lacks one of the muscles.
    """
    _require(muscles, [actuator.name for actuator in spec.actuators])
    removed = [actuator for actuator in spec.actuators if actuator.name not in muscles]
    tendons = {actuator.target for actuator in removed}
    for element in (*removed, *(tendon for tendon in spec.tendons if tendon.name in tendons)):
        spec.delete(element)


def remove_joints(spec: mujoco.MjSpec, removed: Callable[[str], bool]) -> None:
    """Fix joints at their zero position and remove the couplings that name them.

    Args:
        spec: Edited in place.
        removed: Whether to remove the joint of a name.
    """
    names = {joint.name for joint in spec.joints if removed(joint.name)}
    couplings = [equality for equality in spec.equalities if names & {equality.name1, equality.name2}]
    for element in (*couplings, *(joint for joint in spec.joints if joint.name in names)):
        spec.delete(element)


def remove_arms(spec: mujoco.MjSpec, keep_mass: bool) -> None:
    """Remove both arms from the collar bones on, with all that names their bodies and geoms.

    Their muscles, their joints and the frame sensors of all bodies must not be needed any more; these are removed too.

    Args:
        spec: Edited in place.
        keep_mass: Replace the arms by one body without geoms that is fixed to the thorax: mass, centre of mass and
            inertia of the arms hanging down.
    """
    whole = spec.compile()
    roots = [f"clavicle_{side}" for side in SIDES]
    arms = [spec.body(name) for root in roots for name in (root, *_descendants(spec.body(root)))]
    bodies, geoms = {body.name for body in arms}, {geom.name for body in arms for geom in body.geoms}
    elements = [pair for pair in spec.pairs if geoms & {pair.geomname1, pair.geomname2}]
    elements += [exclude for exclude in spec.excludes if bodies & {exclude.bodyname1, exclude.bodyname2}]
    elements += [sensor for sensor in spec.sensors if sensor.type != mujoco.mjtSensor.mjSENS_TOUCH]
    for element in (*elements, *spec.keys):
        spec.delete(element)
    thorax = spec.body(roots[0]).parent
    if keep_mass:
        lump = thorax.add_body(name="arms", explicitinertial=True)
        lump.mass, lump.ipos, lump.fullinertia = _lumped(whole, sorted(bodies), thorax.name)
    for root in roots:
        spec.delete(spec.body(root))


def _lumped(model: mujoco.MjModel, bodies: Sequence[str], frame: str) -> tuple[float, np.ndarray, np.ndarray]:
    """Return mass, centre and inertia (xx, yy, zz, xy, xz, yz) of bodies in the default pose, in a body's frame."""
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    ids = [model.body(name).id for name in bodies]
    turn, mass = data.body(frame).xmat.reshape(3, 3), model.body_mass[ids]
    at = (data.xipos[ids] - data.body(frame).xpos) @ turn
    centre = mass @ at / mass.sum()
    inertia = np.zeros((3, 3))
    for body, weight, offset in zip(ids, mass, at - centre, strict=True):
        axes = turn.T @ data.ximat[body].reshape(3, 3)
        inertia += axes @ np.diag(model.body_inertia[body]) @ axes.T
        inertia += weight * (offset @ offset * np.eye(3) - np.outer(offset, offset))
    return float(mass.sum()), centre, inertia[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]]


def _descendants(body: mujoco.MjsBody) -> list[str]:
    """Return the names of all bodies below a body."""
    return [name for child in body.bodies for name in (child.name, *_descendants(child))]


def _delete(spec: mujoco.MjSpec, elements: Sequence, names: Collection[str]) -> None:
    """Delete the named elements. Raises InputError if one is missing."""
    _require(names, [element.name for element in elements])
    for element in [element for element in elements if element.name in names]:
        spec.delete(element)


def _require(names: Collection[str], present: Sequence[str]) -> None:
    missing = sorted(set(names) - set(present))
    if missing:
        raise InputError(f"the model lacks {missing[:3]}: install musclemimic-models=={MODELS}")


def set_control_range(spec: mujoco.MjSpec) -> None:
    """Set the control range of every actuator to [-1, 1], so that an action has the same effect on every muscle."""
    for actuator in spec.actuators:
        actuator.ctrllimited = mujoco.mjtLimited.mjLIMITED_TRUE
        actuator.ctrlrange = [-1.0, 1.0]


def lighten_phantoms(spec: mujoco.MjSpec) -> None:
    """Reduce the inertia of the phantoms: bodies of 1 g between the hinges of each shoulder. Edits the spec in place.

    In the published models each has 1 kg m^2. The plane of elevation therefore has an inertia of 1.2 kg m^2, compared
    with 0.06 of the hanging arm itself, and a recorded punch needs up to 60 Nm more than the muscles produce.
    """
    for name in PHANTOMS:
        for side in SIDES:
            spec.body(f"{name}_{side}").inertia = [PHANTOM_INERTIA] * 3


def limb_sites(limb: Mapping[str, str], order: Sequence[str]) -> dict[str, str]:
    """Return body -> site name on both sides, in the order of sides: `{"humerus_l": "left_shoulder_mimic", ...}`."""
    return {f"{body}_{side}": f"{SIDES[side]}_{site}_mimic" for side in order for body, site in limb.items()}


def add_sites(spec: mujoco.MjSpec, sites: Mapping[str, str]) -> None:
    """Add a box site at the origin of each body (body -> site name), in group 4, which renderings hide by default."""
    for body, site in sites.items():
        spec.body(body).add_site(
            name=site,
            type=mujoco.mjtGeom.mjGEOM_BOX,
            group=4,
            size=[0.075, 0.05, 0.025],
            rgba=[1, 0, 0, 0.5],
        )


def arm_groups(fingers: bool) -> dict[str, tuple[str, ...]]:
    """Return group -> muscle names of both arms, right before left; without the hand if the fingers are fixed."""
    return {
        group: names + tuple(f"{name}_left" for name in names)
        for group, names in ARM_GROUPS.items()
        if fingers or group != "hand"
    }


def left_right_pairs(names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Return (left, right) pairs, `X_left` with `X` and `X_l` with `X_r`, in the order of the right names."""
    known, pairs = set(names), []
    for right in names:
        left = re.sub(r"_r$", "_l", right) if right.endswith("_r") else f"{right}_left"
        if left in known:
            pairs.append((left, right))
    return tuple(pairs)
