"""Bodies and what each of them takes."""

import dataclasses

from muscle_torch.config import Row, key


@dataclasses.dataclass(frozen=True)
class ToyArmOptions:
    motor: bool = key(False, "a motor beside the muscles at the elbow")


@dataclasses.dataclass(frozen=True)
class BimanualOptions:
    fingers: bool = key(False, "with movable fingers")


EMBODIMENTS: dict[str, Row] = {
    "toy_arm": Row("muscle_torch.embodiments.toy_arm:make", ToyArmOptions),
    "bimanual": Row("muscle_torch.embodiments.bimanual:make", BimanualOptions),
    "fullbody": Row("muscle_torch.embodiments.fullbody:make", BimanualOptions),
}
