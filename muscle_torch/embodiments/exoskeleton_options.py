"""The table of exoskeletons and their options. Does not import torch, so that `--help` responds immediately."""

import os
from dataclasses import dataclass

from muscle_torch.config import key
from muscle_torch.config.kinds import Row


@dataclass(frozen=True)
class NoDeviceOptions:
    """Options of `exoskeleton=none`."""


@dataclass(frozen=True)
class DeviceOptions:
    """Options of all devices."""

    sides: list[str] = key(["r", "l"], "sides on which the device is worn: r, l")
    lag: float = key(0.025, "time constant of the first-order lag from command to torque; 0: none", "s")
    slew: float = key(5.0, "highest rate of change of a torque, per body mass; 0: no limit", "N m/kg/s")
    pelvis_mass: float = key(0.0, "device mass on the body above the hips, at its mass centre", "kg")
    thigh_mass: float = key(0.0, "device mass on each thigh", "kg")
    shank_mass: float = key(0.0, "device mass on each shank", "kg")


@dataclass(frozen=True)
class HipOptions(DeviceOptions):
    """Options of `exoskeleton=hip`."""

    hip_limit: list[float] = key([-0.3, 0.3], "lowest and highest hip torque (flexion > 0), per body mass", "N m/kg")


@dataclass(frozen=True)
class AnkleOptions(DeviceOptions):
    """Options of `exoskeleton=ankle`."""

    ankle_limit: list[float] = key(
        [-0.7, 0.1], "lowest and highest ankle torque (dorsiflexion > 0), per body mass", "N m/kg"
    )


@dataclass(frozen=True)
class HipAnkleOptions(AnkleOptions, HipOptions):
    """Options of `exoskeleton=hip_ankle`."""


@dataclass(frozen=True)
class CustomOptions:
    """Options of `exoskeleton=custom`."""

    motors: dict[str, list[float]] = key({}, "joint: [lowest, highest] torque per body mass", "N m/kg")
    masses: dict[str, float] = key({}, "body: device mass at its mass centre", "kg")
    lag: float = key(0.025, "time constant of the first-order lag from command to torque; 0: none", "s")
    slew: float = key(5.0, "highest rate of change of a torque, per body mass; 0: no limit", "N m/kg/s")
    path: str = key("", "YAML file with these keys, which replaces them")

    def __post_init__(self) -> None:
        # Absolute, so that runs can be resumed and evaluated from any folder.
        object.__setattr__(self, "path", self.path and os.path.abspath(os.path.expanduser(self.path)))


# Name -> function (embodiment, options) -> the body with the device.
EXOSKELETONS: dict[str, Row] = {
    "none": Row("muscle_torch.embodiments.exoskeleton:none", NoDeviceOptions),
    "hip_ankle": Row("muscle_torch.embodiments.exoskeleton:hip_ankle", HipAnkleOptions),
    "hip": Row("muscle_torch.embodiments.exoskeleton:hip", HipOptions),
    "ankle": Row("muscle_torch.embodiments.exoskeleton:ankle", AnkleOptions),
    "custom": Row("muscle_torch.embodiments.exoskeleton:custom", CustomOptions),
}
