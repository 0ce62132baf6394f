"""Which motion a world starts, and where in it (reference state initialisation)."""

import torch
from torch import Tensor

from muscle_torch.errors import InputError, nearest

from .library import MotionLibrary

STARTS = ("random", "beginning")


class Sampler:
    """Draws clips in proportion to `weights` (uniform at first), and start frames. Random only through `generator`."""

    def __init__(self, library: MotionLibrary, generator: torch.Generator, start: str = "random") -> None:
        if start not in STARTS:
            raise InputError(f"unknown start {start!r}{nearest(start, STARTS)}")
        self.library, self.generator, self.start = library, generator, start
        self._cumulative = torch.empty(0)
        self.weights = torch.ones(library.num_clips, device=library.device)
        self.set_weights(self.weights)

    def set_weights(self, weights: Tensor) -> None:
        """Relative probabilities of the clips, (C,), non-negative."""
        weights = weights.to(self.library.device, torch.float32)
        total = weights.double().cumsum(0)
        if weights.shape != (self.library.num_clips,) or not bool((weights >= 0).all() & (total[-1] > 0)):
            raise InputError(f"clip weights must be {self.library.num_clips} numbers >= 0, not all zero")
        self.weights = weights
        self._cumulative = (total / total[-1]).float()

    def sample(self, count: int) -> tuple[Tensor, Tensor]:
        """(clip, frame), each (count,) long. Frames are uniform on [0, L - 2]: an episode has at least one step."""
        device = self.library.device
        draw = torch.rand((2, count), generator=self.generator, device=device)
        # right=True never picks a clip of weight 0; the clamp guards against rounding at the upper end.
        clip = torch.searchsorted(self._cumulative, draw[0], right=True).clamp_(max=self.library.num_clips - 1)
        if self.start == "beginning":
            return clip, torch.zeros_like(clip)
        last = self.library.length[clip] - 2
        return clip, torch.minimum((draw[1] * (last + 1)).long(), last)
