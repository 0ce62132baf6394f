"""The table of bodies and the options of each. Imports no torch: command lines read it before anything else."""

import os
from dataclasses import dataclass
from typing import ClassVar

from muscle_torch.config import key
from muscle_torch.config.kinds import Row


@dataclass(frozen=True)
class BodyOptions:
    """Base of the options of every body; a body without options uses it as it is.

    Attributes:
        added: Options that files written before they existed do not name: a body's identity has them only if they
            differ from the default.
    """

    added: ClassVar[tuple[str, ...]] = ()


@dataclass(frozen=True)
class ToyArmOptions(BodyOptions):
    motor: bool = key(False, "a massless motor at the elbow beside the two muscles")


@dataclass(frozen=True)
class HumanOptions(BodyOptions):
    """Options of the bodies with arms."""

    added: ClassVar[tuple[str, ...]] = ("light_phantoms",)
    fingers: bool = key(False, "with movable fingers")
    light_phantoms: bool = key(
        False, "1e-3 instead of the published 1 kg m^2 for each massless body between the shoulders' joints"
    )


@dataclass(frozen=True)
class BimanualOptions(HumanOptions):
    """Options of the arms."""


@dataclass(frozen=True)
class FullBodyOptions(HumanOptions):
    """Options of the whole body."""


@dataclass(frozen=True)
class MouseOptions(BodyOptions):
    path: str = key("", "the published mouse_arm.xml (docs/mouse.md); empty: our own arm")

    def __post_init__(self) -> None:
        # Absolute, so that a run can be continued and evaluated from any folder.
        object.__setattr__(self, "path", self.path and os.path.abspath(os.path.expanduser(self.path)))


# Key of a body (that of its plain imitation task and of its file) -> its builder, `make(options) -> Embodiment`.
EMBODIMENTS: dict[str, Row] = {
    "toy_arm": Row("muscle_torch.embodiments.toy_arm:make", ToyArmOptions),
    "bimanual": Row("muscle_torch.embodiments.bimanual:make", BimanualOptions),
    "fullbody": Row("muscle_torch.embodiments.fullbody:make", FullBodyOptions),
    "mouse": Row("muscle_torch.embodiments.mouse:make", MouseOptions),
}
