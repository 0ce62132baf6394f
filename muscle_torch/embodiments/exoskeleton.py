"""Exoskeletons: joint motors and device masses on any body that has the joints.

A motor acts on one joint with gear 1, so its control is a torque. Lag and slew rate belong to the action space that
drives it. Idle and without mass, a device leaves the motion of the body bit-identical.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import mujoco

from muscle_torch.config import Choice
from muscle_torch.config.kinds import row
from muscle_torch.errors import InputError, nearest

from .device import Device
from .embodiment import Embodiment
from .exoskeleton_options import (
    AnkleOptions,
    CustomOptions,
    DeviceOptions,
    HipAnkleOptions,
    HipOptions,
    NoDeviceOptions,
)

HIP, ANKLE = "hip_flexion", "ankle_angle"  # joints of the human bodies, without side
SIDES = ("r", "l")
LUMP_RADIUS = 0.05  # [m] of the solid spheres that device masses are
HINGE = mujoco.mjtJoint.mjJNT_HINGE
_WORN: dict[tuple[Embodiment, str, str], Embodiment] = {}
FILE_KEYS = ("motors", "masses", "lag", "slew")

Limits = Mapping[str, Sequence[float]]


def wear(embodiment: Embodiment, choice: Choice) -> Embodiment:
    """Return the body with a device; compiled once per process for each body and device.

    Args:
        embodiment: The body.
        choice: Row of `EXOSKELETONS` with its options.

    Raises:
        InputError: The body cannot wear the device.
    """
    identity = (embodiment, choice.name, repr(choice.options))
    if identity not in _WORN:
        _WORN[identity] = row("exoskeleton", choice.name).load()(embodiment, choice.options)
    return _WORN[identity]


def none(embodiment: Embodiment, options: NoDeviceOptions) -> Embodiment:
    """Return the body unchanged."""
    return embodiment


def hip(embodiment: Embodiment, options: HipOptions) -> Embodiment:
    """Return the body with a motor at the flexion axis of each hip; see `with_device` for errors."""
    return _worn(embodiment, options, "hip", {HIP: options.hip_limit})


def ankle(embodiment: Embodiment, options: AnkleOptions) -> Embodiment:
    """Return the body with a motor at each ankle; see `with_device` for errors."""
    return _worn(embodiment, options, "ankle", {ANKLE: options.ankle_limit})


def hip_ankle(embodiment: Embodiment, options: HipAnkleOptions) -> Embodiment:
    """Return the body with motors at hips and ankles; see `with_device` for errors."""
    return _worn(embodiment, options, "hip_ankle", {HIP: options.hip_limit, ANKLE: options.ankle_limit})


def custom(embodiment: Embodiment, options: CustomOptions) -> Embodiment:
    """Return the body with the device that the options or a YAML file with the same keys describe.

    Args:
        embodiment: The body.
        options: Motors, masses, lag and slew, or the path of a file.

    Raises:
        InputError: The file cannot be read or has other keys, or as `with_device`.
    """
    where = f"exoskeleton.path={options.path}" if options.path else "exoskeleton=custom"
    if options.path:
        values = _read(options.path)
        if not all(isinstance(values.get(name) or {}, Mapping) for name in ("motors", "masses")):
            raise InputError(f"{where}: motors maps joints to [lowest, highest], masses maps bodies to kg")
        options = dataclasses.replace(CustomOptions(), **values)
    return with_device(embodiment, options.motors or {}, options.masses or {}, options.lag, options.slew, where)


def with_device(
    embodiment: Embodiment, limits: Limits, masses: Mapping[str, float], lag: float, slew: float, where: str
) -> Embodiment:
    """Return the body with motors at joints and lumped masses.

    Args:
        embodiment: The body, without props.
        limits: Hinge -> lowest and highest torque per body mass [N m/kg].
        masses: Body -> device mass at its mass centre [kg].
        lag: Time constant of the torque [s].
        slew: Highest rate of change of a torque per body mass [N m/kg/s]; 0: no limit.
        where: Key to name in errors.

    Raises:
        InputError: The body lacks a joint or a body, or a number is out of range.
    """
    _check(embodiment, limits, masses, where)
    if not _number(lag) or not _number(slew) or lag < 0 or slew < 0:
        raise InputError(f"{where}: lag={lag} and slew={slew} must be numbers of at least 0")
    model = embodiment.model
    mass = float(model.body_mass[: embodiment.sizes.bodies].sum())
    torques = {joint: (mass * low, mass * high) for joint, (low, high) in limits.items()}
    centres = {body: model.body(body).ipos.tolist() for body, kg in masses.items() if kg}
    worn = embodiment.edited(partial(_add, torques=torques, masses=masses, centres=centres))
    low, high = zip(*torques.values(), strict=True)
    device = Device(
        motors=tuple(f"exo_{joint}" for joint in torques),
        joints=tuple(torques),
        low=tuple(low),
        high=tuple(high),
        lag=float(lag),
        slew=mass * slew if slew else math.inf,
        body_mass=mass,
    )
    return dataclasses.replace(worn, device=device)


def _worn(embodiment: Embodiment, options: DeviceOptions, name: str, limits: Limits) -> Embodiment:
    """Return the body with motors at the joints of the chosen sides, and masses on its segments."""
    where = f"exoskeleton={name}"
    if not options.sides or any(side not in SIDES for side in options.sides):
        raise InputError(f"{where}: exoskeleton.sides={list(options.sides)}: choose from r and l")
    joints = {f"{joint}_{side}": limit for joint, limit in limits.items() for side in SIDES if side in options.sides}
    _check_joints(embodiment, joints, where)
    masses: dict[str, float] = {}
    for side in options.sides if options.pelvis_mass or options.thigh_mass or options.shank_mass else ():
        pelvis, thigh, shank = _segments(embodiment, side, where)
        masses |= {pelvis: options.pelvis_mass, thigh: options.thigh_mass, shank: options.shank_mass}
    return with_device(embodiment, joints, masses, options.lag, options.slew, where)


def _segments(embodiment: Embodiment, side: str, where: str) -> tuple[str, str, str]:
    """Return the bodies above the hip, between hip and knee, and above the ankle."""
    _check_joints(embodiment, (f"{HIP}_{side}", f"{ANKLE}_{side}"), f"device masses of {where}")
    model = embodiment.model
    thigh = int(model.joint(f"{HIP}_{side}").bodyid[0])
    foot = int(model.joint(f"{ANKLE}_{side}").bodyid[0])
    pelvis, shank = int(model.body_parentid[thigh]), int(model.body_parentid[foot])
    return model.body(pelvis).name, model.body(thigh).name, model.body(shank).name


def _add(
    spec: mujoco.MjSpec,
    torques: Mapping[str, tuple[float, float]],
    masses: Mapping[str, float],
    centres: Mapping[str, Sequence[float]],
) -> None:
    for joint, limits in torques.items():
        motor = spec.add_actuator(name=f"exo_{joint}", target=joint, trntype=mujoco.mjtTrn.mjTRN_JOINT)
        motor.set_to_motor()
        motor.ctrllimited, motor.ctrlrange = mujoco.mjtLimited.mjLIMITED_TRUE, list(limits)
    for body, centre in centres.items():
        lump = spec.body(body).add_body(name=f"exo_{body}", explicitinertial=True)
        lump.mass, lump.ipos = masses[body], centre
        lump.inertia = [0.4 * masses[body] * LUMP_RADIUS**2] * 3


def _check(embodiment: Embodiment, limits: Limits, masses: Mapping[str, float], where: str) -> None:
    if not limits:
        raise InputError(f"{where}: no motors; list joints with their limits, e.g. ankle_angle_r: [-0.7, 0.1]")
    _check_joints(embodiment, limits, where)
    for joint, limit in limits.items():
        valid = isinstance(limit, Sequence) and len(limit) == 2 and all(map(_number, limit))
        if not valid or not limit[0] <= 0 <= limit[1] or limit[0] == limit[1]:
            shown = list(limit) if isinstance(limit, Sequence) else limit
            raise InputError(
                f"{where}: the torque limit of {joint} is {shown}; write lowest <= 0 <= highest, not both 0, in N m/kg"
            )
    known = [embodiment.model.body(i).name for i in range(1, embodiment.sizes.bodies)]
    for body, mass in masses.items():
        if body not in known:
            raise InputError(f"{where}: {embodiment.name} has no body {body!r}{nearest(body, known)}")
        if not _number(mass) or mass < 0:
            raise InputError(f"{where}: the device mass on {body} is {mass}; write a number of at least 0 kg")


def _check_joints(embodiment: Embodiment, joints: Sequence[str] | Limits, where: str) -> None:
    for joint in joints:
        if joint not in embodiment.joint_names:
            hint = nearest(joint, embodiment.joint_names)
            raise InputError(f"{where}: {embodiment.name} has no joint {joint!r}{hint}; choose a body that has it")
        if embodiment.model.joint(joint).type[0] != HINGE:
            raise InputError(f"{where}: joint {joint!r} of {embodiment.name} is no hinge; motors turn hinges")


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _read(path: str) -> dict[str, Any]:
    """Return the contents of a device file."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    if not Path(path).is_file():
        raise InputError(f"exoskeleton.path={path}: no such file; write the YAML file of a device")
    try:
        values = OmegaConf.to_container(OmegaConf.load(path))
    except (OmegaConfBaseException, YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"exoskeleton.path={path}: cannot read it: {str(error).splitlines()[0]}") from None
    if not isinstance(values, dict):
        raise InputError(f"exoskeleton.path={path}: write keys {', '.join(FILE_KEYS)}")
    for name in values:
        if name not in FILE_KEYS:
            raise InputError(f"exoskeleton.path={path}: unknown key {name!r}{nearest(str(name), FILE_KEYS)}")
    return {str(name): value for name, value in values.items()}
