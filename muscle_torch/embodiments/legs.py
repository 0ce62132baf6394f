"""Legs with a free root: 80 muscles below a rigid trunk, 290 with the muscles of the trunk, 86 with a simple abdomen.

The first two are cut from MyoFullBody; joints, masses and muscles are those of myo-sim's leg models. The third has six
abdominal muscles that only myo-sim provides. All face -y, as MyoFullBody.
"""

from collections.abc import Callable
from functools import partial

import mujoco

from .edits import (
    ITERATIONS,
    LEG_SITES,
    LINE_SEARCH_ITERATIONS,
    add_sites,
    keep_muscles,
    left_right_pairs,
    limb_sites,
    load_spec,
    remove_arms,
    remove_joints,
    set_control_range,
)
from .embodiment import Embodiment, muscle_names
from .fullbody import CENTRE_SITES, POSTURE, TRUNK_PREFIXES, leg_groups, trunk_groups
from .guard import MODELS, check_myo_sim
from .lean import lean_model
from .moment_arms import joint_pulls
from .options import BodyOptions, LegsOptions

MODEL_SITES = CENTRE_SITES | limb_sites(LEG_SITES, "lr")
LEG_JOINTS = ("hip", "knee", "ankle", "subtalar", "mtp")
ABDOMEN_NAMES = {"root": "Full Body", "chest_r": "thorax"}  # myo-sim's name of a body -> that of MyoFullBody
FRICTION = (1.0, 0.1, 0.1)  # of the floor, as in MyoFullBody
TIMESTEP, SUBSTEPS, CONTROL_FREQUENCY = 1 / 150, 5, 30.0  # [s], -, [Hz]


def build_spec(options: LegsOptions, back: bool) -> mujoco.MjSpec:
    """Return a new spec of the legs, cut from MyoFullBody.

    Args:
        options: Options of the body.
        back: Keep the joints and muscles of the trunk.
    """
    spec = load_spec("myofullbody")
    legs = {name for names in leg_groups().values() for name in names}
    trunk = tuple(prefix for prefixes in TRUNK_PREFIXES.values() for prefix in prefixes) if back else ()
    keep_muscles(spec, legs | {actuator.name for actuator in spec.actuators if actuator.name.startswith(trunk)})
    remove_arms(spec, options.arm_mass)
    if not back:
        remove_joints(spec, lambda joint: joint != "root" and not joint.startswith(LEG_JOINTS))
    return _finished(spec)


def build_abdomen_spec() -> mujoco.MjSpec:
    """Return a new spec of the legs with a simple abdomen, from myo-sim.

    Raises:
        InputError: myo-sim is missing or not a tested version.
    """
    check_myo_sim()
    from myo_sim.build import compose  # after the check: it may be missing

    # MuJoCo warns of empty prefixes, which matter only if the model is saved, and again whenever the spec is compiled.
    warned = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda text: None)
    try:
        spec = compose.build_spec("myolegs_abdomen").copy()
    finally:
        mujoco.set_mju_user_warning(warned)
    for name, new in ABDOMEN_NAMES.items():
        spec.body(name).name = new
    # Its scene is a pedestal of 2 m above a floor at -0.4 m.
    for geom in list(spec.worldbody.geoms):
        spec.delete(geom)
    spec.worldbody.add_geom(name="floor", type=mujoco.mjtGeom.mjGEOM_PLANE, size=[0, 0, 0.125], friction=FRICTION)
    spec.option.iterations, spec.option.ls_iterations = ITERATIONS, LINE_SEARCH_ITERATIONS
    return _finished(spec)


def _finished(spec: mujoco.MjSpec) -> mujoco.MjSpec:
    add_sites(spec, MODEL_SITES)
    set_control_range(spec)
    spec.option.timestep = TIMESTEP
    return spec


def make_legs(options: LegsOptions) -> Embodiment:
    """Build the legs below a rigid trunk: 80 muscles, 30 Hz control, 5 substeps of 1/150 s."""
    return _make("legs", "MyoLegs", options, partial(build_spec, options, back=False), MODELS)


def make_legs_back(options: LegsOptions) -> Embodiment:
    """Build the legs and the muscles of the trunk: 290 muscles, 30 Hz control, 5 substeps of 1/150 s."""
    return _make("legs_back", "MyoLegsBack", options, partial(build_spec, options, back=True), MODELS)


def make_legs_abs(options: BodyOptions) -> Embodiment:
    """Build the legs below a trunk with six muscles: 86 muscles, 30 Hz control, 5 substeps of 1/150 s."""
    return _make("legs_abs", "MyoLegsAbdomen", options, build_abdomen_spec, f"myo-sim {check_myo_sim()}")


def _make(key: str, name: str, options: BodyOptions, build: Callable[[], mujoco.MjSpec], version: str) -> Embodiment:
    model = lean_model(build())
    muscles = muscle_names(model)
    return Embodiment(
        key=key,
        name=name,
        options=options,
        model=model,
        model_version=version,
        control_frequency=CONTROL_FREQUENCY,
        substeps=SUBSTEPS,
        site_names=tuple(MODEL_SITES.values()),
        root_joint="root",
        touch_sensors=("r_foot", "r_toes", "l_foot", "l_toes"),
        groups=_groups(muscles),
        left_right=left_right_pairs(muscles),
        build_spec=build,
        compile_spec=lean_model,
        posture_pulls=joint_pulls(model, _posture(model)),
    )


def _posture(model: mujoco.MjModel) -> list[list[dict[str, int]]]:
    """Return the joint sets that keep the body upright; a rigid trunk has none of its own."""
    joints = {model.joint(i).name for i in range(model.njnt)}
    return [[turning for turning in plane if joints.issuperset(turning)] for plane in POSTURE]


def _groups(muscles: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Return group -> muscles: as of the full body, without the arms."""
    leg = leg_groups()
    trunk = {group: names for group, names in trunk_groups(muscles).items() if names}
    limbs = {"trunk": sum(trunk.values(), ())} if trunk else {}
    return trunk | leg | limbs | {"lower_limb": sum(leg.values(), ())}
