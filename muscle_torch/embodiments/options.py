"""The table of bodies and their options. Does not import torch, so that `--help` responds immediately."""

import os
from dataclasses import dataclass
from typing import ClassVar

from muscle_torch.config import key
from muscle_torch.config.kinds import Row


@dataclass(frozen=True)
class BodyOptions:
    """Base class of the options of all bodies; bodies without options use it directly.

    Attributes:
        added: Options that older files do not contain: a body's identity includes them only if they differ from their
            default.
    """

    added: ClassVar[tuple[str, ...]] = ()


@dataclass(frozen=True)
class ToyArmOptions(BodyOptions):
    """Options of `embodiment=toy_arm`."""

    added: ClassVar[tuple[str, ...]] = ("load",)
    motor: bool = key(False, "add a massless motor at the elbow")
    load: float = key(0.0, "mass of a load in the hand", "kg")


@dataclass(frozen=True)
class HumanOptions(BodyOptions):
    """Options of the bodies with human arms."""

    added: ClassVar[tuple[str, ...]] = ("light_phantoms",)
    fingers: bool = key(False, "include finger joints and muscles")
    light_phantoms: bool = key(
        False, "reduce the inertia of the phantom bodies in the shoulders from the published 1 to 1e-3 kg m^2"
    )


@dataclass(frozen=True)
class BimanualOptions(HumanOptions):
    """Options of `embodiment=bimanual`."""


@dataclass(frozen=True)
class FullBodyOptions(HumanOptions):
    """Options of `embodiment=fullbody`."""


@dataclass(frozen=True)
class LegsOptions(BodyOptions):
    """Options of `embodiment=legs` and `embodiment=legs_back`, which have no arms."""

    arm_mass: bool = key(
        False, "fix the arms' mass to the thorax, hanging down and without contacts: 84 instead of 75 kg"
    )


@dataclass(frozen=True)
class MouseOptions(BodyOptions):
    """Options of `embodiment=mouse`."""

    path: str = key("", "file of the published mouse_arm.xml (docs/mouse.md); empty: our own arm")

    def __post_init__(self) -> None:
        # Absolute, so that runs can be resumed and evaluated from any folder.
        object.__setattr__(self, "path", self.path and os.path.abspath(os.path.expanduser(self.path)))


# Key of a body, also the name of its imitation task and of its file -> its builder, `make(options) -> Embodiment`.
EMBODIMENTS: dict[str, Row] = {
    "toy_arm": Row("muscle_torch.embodiments.toy_arm:make", ToyArmOptions),
    "bimanual": Row("muscle_torch.embodiments.bimanual:make", BimanualOptions),
    "fullbody": Row("muscle_torch.embodiments.fullbody:make", FullBodyOptions),
    "legs": Row("muscle_torch.embodiments.legs:make_legs", LegsOptions),
    "legs_back": Row("muscle_torch.embodiments.legs:make_legs_back", LegsOptions),
    "legs_abs": Row("muscle_torch.embodiments.legs:make_legs_abs", BodyOptions),
    "mouse": Row("muscle_torch.embodiments.mouse:make", MouseOptions),
}
