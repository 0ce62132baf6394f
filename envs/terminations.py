"""Termination terms: how far the body is from the motion, `State -> (W,)`; beyond a threshold the episode ends."""

from collections.abc import Callable, Collection, Mapping

import torch
from torch import Tensor

from muscle_torch.errors import InputError, nearest
from muscle_torch.rotations import quat_angle, quat_normalize

from .state import BodyIndex, State


def mean_site_deviation(state: State) -> Tensor:
    """Mean over the tracked sites of the distance from their reference [m], (W,)."""
    return state.site_deviation.mean(dim=1)


def max_site_deviation(state: State) -> Tensor:
    """Largest distance of a tracked site from its reference [m], (W,)."""
    return state.site_deviation.amax(dim=1)


def mean_relative_site_deviation(state: State) -> Tensor:
    """Mean over the sites of the error of their position relative to the anchor [m], (W,)."""
    return state.squared_error("rpos").sum(dim=-1).sqrt().mean(dim=1)


def root_deviation(state: State) -> Tensor:
    """Distance of the anchor site (full body: the pelvis) from its reference [m], (W,)."""
    return state.site_deviation[:, 0]


def root_orientation(state: State) -> Tensor:
    """Angle between the root's orientation and its reference [rad], (W,)."""
    return quat_angle(quat_normalize(state.qpos[:, 3:7]), quat_normalize(state.reference.qpos[:, 3:7]))


TERMINATIONS: dict[str, Callable[[State], Tensor]] = {
    "mean_site_deviation": mean_site_deviation,
    "max_site_deviation": max_site_deviation,
    "mean_relative_site_deviation": mean_relative_site_deviation,
    "root_deviation": root_deviation,
    "root_orientation": root_orientation,
}
NEED_ROOT = {"root_orientation"}


class Termination:
    """Whether any of the config's thresholds is exceeded; none named: never."""

    def __init__(self, thresholds: Mapping[str, float], body: BodyIndex, device: torch.device):
        for name in thresholds:
            if name not in TERMINATIONS:
                raise InputError(f"unknown termination term {name!r}{nearest(name, list(TERMINATIONS))}")
            if name in NEED_ROOT and not body.has_root:
                raise InputError(f"termination {name!r} needs a free root joint; {body.name} has none: leave it out")
        self.names = tuple(thresholds)
        # A tensor, changed in place by a curriculum without rebuilding anything.
        self.thresholds = torch.tensor([float(t) for t in thresholds.values()], device=device)
        self._configured = self.thresholds.clone()

    def tighten(self, ratio: float, names: Collection[str]) -> None:
        """Sets the thresholds of `names` to `ratio` times the configured ones."""
        chosen = torch.tensor([name in names for name in self.names], device=self.thresholds.device)
        self.thresholds.copy_(torch.where(chosen, self._configured * ratio, self._configured))

    def __call__(self, state: State) -> Tensor:
        """(W,) bool."""
        if not self.names:
            return torch.zeros_like(state.phase, dtype=torch.bool)
        far = torch.stack([TERMINATIONS[name](state) for name in self.names], dim=1)
        return (far > self.thresholds).any(dim=1)
