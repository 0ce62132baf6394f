"""Edits of the published models that both human bodies share: fingers, tracked sites, muscle groups of the arm."""

import re
from collections.abc import Mapping, Sequence

import mujoco

from muscle_torch.errors import InputError

from .guard import MODELS, check_models

DIGITS = (2, 3, 4, 5)
# Most iterations of the constraint solver and of its line searches. The XML allows 100 and 50; from frames of motions,
# under random excitations, at most 6 iterations were needed, and 8 and 16 gave the same states to the bit.
ITERATIONS, LINE_SEARCH_ITERATIONS = 10, 20


def numbered(name: str, last: int) -> tuple[str, ...]:
    """`numbered("DELT", 3)` is DELT1, DELT2, DELT3."""
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

# Arm muscles by the joint they mainly move; right names, the left ones carry the suffix `_left`.
CUFF = ("SUPSP", "INFSP", "SUBSC", "TMIN", "TMAJ")
ARM_GROUPS = {
    "shoulder": (*numbered("DELT", 3), *CUFF, *numbered("PECM", 3), *numbered("LAT", 3), "CORB"),
    "elbow": ("TRIlong", "TRIlat", "TRImed", "ANC", "BIClong", "BICshort", "BRA", "BRD"),
    "forearm": ("SUP", "PT", "PQ"),
    "wrist": ("ECRL", "ECRB", "ECU", "FCR", "FCU", "PL"),
    "hand": FINGER_MUSCLES,
}

# Tracked sites of both arms, body -> site without side; the order within a limb is that of the task.
ARM_SITES = {"humerus": "shoulder", "ulna": "elbow", "lunate": "hand"}
PHANTOMS = ("clavphant", "scapphant", "humphant", "humphant1")
PHANTOM_INERTIA = 1e-3  # [kg m^2] of a lightened one
LEG_SITES = {"femur": "hip", "tibia": "knee", "talus": "ankle", "toes": "toes"}
SIDES = {"r": "right", "l": "left"}


def load_spec(name: str) -> mujoco.MjSpec:
    """Load the published model `bimanual` or `myofullbody`, with fewer solver iterations, otherwise unedited.

    Raises:
        InputError: Another version of the models is installed.
    """
    check_models()
    from musclemimic_models import get_xml_path  # only now: it may be missing

    spec = mujoco.MjSpec.from_file(str(get_xml_path(name)))
    spec.option.iterations, spec.option.ls_iterations = ITERATIONS, LINE_SEARCH_ITERATIONS
    return spec


def remove_fingers(spec: mujoco.MjSpec) -> None:
    """Welds the fingers at their zero position and removes the muscles that move them, with their tendons.

    40 joints, 62 muscles and 62 tendons go; bodies, geoms, sites and sensors stay, so that masses and contacts do.
    """
    joints = {f"{joint}_{side}" for joint in FINGER_JOINTS for side in SIDES}
    muscles = {muscle + suffix for muscle in FINGER_MUSCLES for suffix in ("", "_left")}
    tendons = {actuator.target for actuator in spec.actuators if actuator.name in muscles}
    for elements, names in ((spec.actuators, muscles), (spec.tendons, tendons), (spec.joints, joints)):
        found = [element for element in elements if element.name in names]
        if len(found) != len(names):
            missing = sorted(names - {element.name for element in found})
            raise InputError(f"the model lacks {missing[:3]}: install musclemimic-models=={MODELS}")
        for element in found:
            spec.delete(element)


def lighten_phantoms(spec: mujoco.MjSpec) -> None:
    """Reduce the moments of inertia of the phantoms, the bodies of 1 g between the joints of each shoulder.

    The published models give each of them 1 kg m^2. The shoulder's hinges turn them, so its plane of elevation has 1.2
    kg m^2 where the arm itself has 0.06 (arm hanging), and a recorded punch needs up to 60 Nm more than muscles give.
    """
    for name in PHANTOMS:
        for side in SIDES:
            spec.body(f"{name}_{side}").inertia = [PHANTOM_INERTIA] * 3


def limb_sites(limb: Mapping[str, str], order: Sequence[str]) -> dict[str, str]:
    """Body -> site name for one limb on both sides, sides in `order`: {"humerus_l": "left_shoulder_mimic", ...}."""
    return {f"{body}_{side}": f"{SIDES[side]}_{site}_mimic" for side in order for body, site in limb.items()}


def add_sites(spec: mujoco.MjSpec, sites: Mapping[str, str]) -> None:
    """A box site at the origin of each body, for tracking; group 4 keeps them out of ordinary pictures."""
    for body, site in sites.items():
        spec.body(body).add_site(
            name=site,
            type=mujoco.mjtGeom.mjGEOM_BOX,
            group=4,
            size=[0.075, 0.05, 0.025],
            rgba=[1, 0, 0, 0.5],
        )


def arm_groups(fingers: bool) -> dict[str, tuple[str, ...]]:
    """Muscle groups of both arms together, right before left."""
    return {
        group: names + tuple(f"{name}_left" for name in names)
        for group, names in ARM_GROUPS.items()
        if fingers or group != "hand"
    }


def left_right_pairs(names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """(left, right) pairs: `X_left` with `X`, and `X_l` with `X_r`, in model order of the right one."""
    known, pairs = set(names), []
    for right in names:
        left = re.sub(r"_r$", "_l", right) if right.endswith("_r") else f"{right}_left"
        if left in known:
            pairs.append((left, right))
    return tuple(pairs)
