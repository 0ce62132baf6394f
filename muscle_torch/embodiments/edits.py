"""Edits of the published models shared by both human bodies: fingers, tracked sites, muscle groups of the arm."""

import re
from collections.abc import Mapping, Sequence

import mujoco

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
        removed = [element for element in elements if element.name in names]
        if len(removed) != len(names):
            missing = sorted(names - {element.name for element in removed})
            raise InputError(f"the model lacks {missing[:3]}: install musclemimic-models=={MODELS}")
        for element in removed:
            spec.delete(element)


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
