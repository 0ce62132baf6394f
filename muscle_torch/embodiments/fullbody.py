"""MyoFullBody: free root, trunk, arms and legs, 354 muscles (416 with fingers)."""

from functools import partial

import mujoco

from .edits import (
    ARM_SITES,
    LEG_SITES,
    add_sites,
    arm_groups,
    left_right_pairs,
    lighten_phantoms,
    limb_sites,
    load_spec,
    numbered,
    remove_fingers,
    set_control_range,
)
from .embodiment import Embodiment, muscle_names
from .guard import MODELS
from .lean import lean_model
from .moment_arms import joint_pulls
from .options import FullBodyOptions

CENTRE_SITES = {"pelvis": "pelvis_mimic", "lumbar1": "upper_body_mimic", "head": "head_mimic"}
MODEL_SITES = CENTRE_SITES | limb_sites(ARM_SITES, "lr") | limb_sites(LEG_SITES, "lr")
TRACKED_SITES = tuple(MODEL_SITES.values())

# Trunk muscles by name prefix (each has many fascicles; the legs' simple abdomen has one on each side); leg muscles by
# the joint they mainly move.
TRUNK_PREFIXES = {
    "abdomen": ("rect_abd", "EO", "IO", "intobl", "extobl"),
    "back": ("IL_", "LTpT_", "LTpL_", "QL_", "MF_", "ercspn"),
    "psoas_lumbar": ("Ps_",),
}
ADDUCTORS = ("addbrev", "addlong", "addmagDist", "addmagIsch", "addmagMid", "addmagProx", "grac")
GLUTEI = (*numbered("glmax", 3), *numbered("glmed", 3), *numbered("glmin", 3))
LEG_GROUPS = {
    "hip": (*ADDUCTORS, *GLUTEI, "iliacus", "piri", "psoas", "sart", "tfl"),
    "knee": ("bflh", "bfsh", "recfem", "semimem", "semiten", "vasint", "vaslat", "vasmed"),
    "ankle": ("edl", "ehl", "fdl", "fhl", "gaslat", "gasmed", "perbrev", "perlong", "soleus", "tibant", "tibpost"),
}
# Joints that keep the body upright, in the sagittal and the frontal plane: ankle, hip (Horak and Nashner 1986) and
# trunk. -1: the joint has the opposite sense.
POSTURE = (
    ({"ankle_angle_r": 1, "ankle_angle_l": 1}, {"hip_flexion_r": 1, "hip_flexion_l": 1}, {"flex_extension": 1}),
    (
        {"subtalar_angle_r": 1, "subtalar_angle_l": -1},
        {"hip_adduction_r": 1, "hip_adduction_l": -1},
        {"lat_bending": 1},
    ),
)


def build_spec(options: FullBodyOptions) -> mujoco.MjSpec:
    """Return a new spec of the body with tracked sites and a control range of [-1, 1] for every actuator."""
    spec = load_spec("myofullbody")
    if not options.fingers:
        remove_fingers(spec)
    if options.light_phantoms:
        lighten_phantoms(spec)
    add_sites(spec, MODEL_SITES)
    set_control_range(spec)  # the XML mixes [0, 1] and [-1, 1]
    spec.option.timestep = 0.002
    return spec


def make(options: FullBodyOptions) -> Embodiment:
    """Build the body: free root, four touch sensors, 100 Hz control, 5 substeps of 2 ms."""
    model = lean_model(build_spec(options))
    muscles = muscle_names(model)
    return Embodiment(
        key="fullbody",
        name="MyoFullBody",
        options=options,
        model=model,
        model_version=MODELS,
        control_frequency=100.0,
        substeps=5,
        site_names=TRACKED_SITES,
        root_joint="root",
        touch_sensors=("r_foot", "r_toes", "l_foot", "l_toes"),
        groups=_groups(muscles, options.fingers),
        left_right=left_right_pairs(muscles),
        build_spec=partial(build_spec, options),
        compile_spec=lean_model,
        posture_pulls=joint_pulls(model, POSTURE),
    )


def _groups(muscles: tuple[str, ...], fingers: bool) -> dict[str, tuple[str, ...]]:
    """Return group -> muscles. Each muscle is in a group of a joint or region and in one of trunk and limbs."""
    limbs = {"upper_limb": arm_groups(fingers), "trunk": trunk_groups(muscles), "lower_limb": leg_groups()}
    regions = {group: names for parts in limbs.values() for group, names in parts.items()}
    return regions | {limb: sum(parts.values(), ()) for limb, parts in limbs.items()}


def leg_groups() -> dict[str, tuple[str, ...]]:
    """Return the muscles of both legs by the joint that they mainly move, right before left."""
    return {group: tuple(f"{name}_{side}" for side in "rl" for name in names) for group, names in LEG_GROUPS.items()}


def trunk_groups(muscles: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Return those of the muscles that move the trunk, by region."""
    return {group: tuple(m for m in muscles if m.startswith(starts)) for group, starts in TRUNK_PREFIXES.items()}
