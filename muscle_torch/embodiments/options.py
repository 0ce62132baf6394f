"""The table of bodies and the options of each. Imports no torch: command lines read it before anything else."""

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
class BimanualOptions(BodyOptions):
    added: ClassVar[tuple[str, ...]] = ("light_phantoms",)
    fingers: bool = key(False, "with movable fingers")
    light_phantoms: bool = key(
        False, "1e-3 instead of the published 1 kg m^2 for each massless body between the shoulders' joints"
    )


@dataclass(frozen=True)
class FullBodyOptions(BodyOptions):
    fingers: bool = key(False, "with movable fingers")


# Key of a body (that of its plain imitation task and of its file) -> its builder, `make(options) -> Embodiment`.
EMBODIMENTS: dict[str, Row] = {
    "toy_arm": Row("muscle_torch.embodiments.toy_arm:make", ToyArmOptions),
    "bimanual": Row("muscle_torch.embodiments.bimanual:make", BimanualOptions),
    "fullbody": Row("muscle_torch.embodiments.fullbody:make", FullBodyOptions),
}
