"""MyoBimanualArm: thorax fixed to the world, two arms, 64 muscles (126 with fingers)."""

from functools import partial

import mujoco

from .edits import ARM_SITES, add_sites, arm_groups, left_right_pairs, limb_sites, load_spec, remove_fingers
from .embodiment import Embodiment, names_of
from .lean import lean_model

# In the model the right side comes first; the task lists the left side first, after the anchor.
MODEL_SITES = {"thorax": "upper_body_mimic"} | limb_sites(ARM_SITES, "rl")
TRACKED_SITES = ("upper_body_mimic", *limb_sites(ARM_SITES, "lr").values())


def build_spec(fingers: bool) -> mujoco.MjSpec:
    spec = load_spec("bimanual")
    if not fingers:
        remove_fingers(spec)
    add_sites(spec, MODEL_SITES)
    spec.option.timestep = 0.002
    return spec


def make(fingers: bool) -> Embodiment:
    model = lean_model(build_spec(fingers))
    return Embodiment(
        name="MyoBimanualArm",
        model=model,
        model_version="1.0.6",
        fingers=fingers,
        control_frequency=100.0,
        substeps=5,
        site_names=TRACKED_SITES,
        root_joint=None,
        touch_sensors=(),
        groups=arm_groups(fingers),
        left_right=left_right_pairs(names_of(model, "actuator")),
        build_spec=partial(build_spec, fingers),
    )
