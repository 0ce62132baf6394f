"""Sample the clip and start frame of an episode (reference state initialization)."""

import torch
from torch import Tensor

from muscle_torch.errors import InputError, nearest

from .library import MotionLibrary

STARTS = ("random", "beginning")


class Sampler:
    """Draws clips in proportion to `weights` (initially uniform), and start frames, using only `generator`."""

    def __init__(self, library: MotionLibrary, generator: torch.Generator, start: str = "random") -> None:
        """Start with uniform weights.

        Args:
            library: The clips.
            generator: Source of randomness, on the library's device.
            start: A name of `STARTS`: "random" draws the start frame, "beginning" always uses frame 0.

        Raises:
            InputError: `start` is unknown.
        """
        if start not in STARTS:
            raise InputError(f"unknown start {start!r}{nearest(start, STARTS)}")
        self.library, self.generator, self.start = library, generator, start
        self._cumulative = torch.empty(0)
        self.weights = torch.ones(library.num_clips, device=library.device)
        self.set_weights(self.weights)

    def set_weights(self, weights: Tensor) -> None:
        """Set the relative probabilities of the clips, (C,), non-negative. Raises InputError for invalid weights."""
        weights = weights.to(self.library.device, torch.float32)
        total = weights.double().cumsum(0)
        if weights.shape != (self.library.num_clips,) or not bool((weights >= 0).all() & (total[-1] > 0)):
            raise InputError(f"clip weights must be {self.library.num_clips} numbers >= 0 with a positive sum")
        self.weights = weights
        self._cumulative = (total / total[-1]).float()

    def sample(self, count: int) -> tuple[Tensor, Tensor]:
        """Draw `count` clips and frames, (count,) long each.

        Frames are uniform on [0, L - 2], so that an episode has at least one step.
        """
        device = self.library.device
        draw = torch.rand((2, count), generator=self.generator, device=device)
        # right=True never selects a clip with weight 0; the clamp guards against rounding at the upper end.
        clip = torch.searchsorted(self._cumulative, draw[0], right=True).clamp_(max=self.library.num_clips - 1)
        if self.start == "beginning":
            return clip, torch.zeros_like(clip)
        last = self.library.length[clip] - 2
        return clip, torch.minimum((draw[1] * (last + 1)).long(), last)
