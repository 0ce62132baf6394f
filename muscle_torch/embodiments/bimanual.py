"""MyoBimanualArm: two arms on a thorax that is fixed to the world, 64 muscles (126 with fingers)."""

from functools import partial

import mujoco

from .edits import (
    ARM_SITES,
    add_sites,
    arm_groups,
    left_right_pairs,
    lighten_phantoms,
    limb_sites,
    load_spec,
    remove_fingers,
)
from .embodiment import Embodiment, muscle_names
from .guard import MODELS
from .lean import lean_model
from .options import BimanualOptions

# The model has the right side first; the task lists the anchor, then the left side.
MODEL_SITES = {"thorax": "upper_body_mimic"} | limb_sites(ARM_SITES, "rl")
TRACKED_SITES = ("upper_body_mimic", *limb_sites(ARM_SITES, "lr").values())


def build_spec(options: BimanualOptions) -> mujoco.MjSpec:
    """Return a new spec of the arms with tracked sites, with or without finger joints and muscles."""
    spec = load_spec("bimanual")
    if not options.fingers:
        remove_fingers(spec)
    if options.light_phantoms:
        lighten_phantoms(spec)
    add_sites(spec, MODEL_SITES)
    spec.option.timestep = 0.002
    return spec


def make(options: BimanualOptions) -> Embodiment:
    """Build the arms: 100 Hz control, 5 substeps of 2 ms."""
    model = lean_model(build_spec(options))
    return Embodiment(
        key="bimanual",
        name="MyoBimanualArm",
        options=options,
        model=model,
        model_version=MODELS,
        control_frequency=100.0,
        substeps=5,
        site_names=TRACKED_SITES,
        root_joint=None,
        touch_sensors=(),
        groups=arm_groups(options.fingers),
        left_right=left_right_pairs(muscle_names(model)),
        build_spec=partial(build_spec, options),
        compile_spec=lean_model,
    )
