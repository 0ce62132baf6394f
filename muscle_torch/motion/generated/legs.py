"""Motions of the legs: walking, as the full body."""

from collections.abc import Callable

import numpy as np

from muscle_torch.embodiments import Embodiment

from .walk import walk

MOTIONS: dict[str, Callable[[Embodiment, np.random.Generator], dict[str, np.ndarray]]] = {"walk": walk}
