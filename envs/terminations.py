"""Termination terms: how far the body is from the motion, `State -> (W,)`; beyond a threshold the episode ends."""

from collections.abc import Callable, Collection, Mapping

import torch
from torch import Tensor

from muscle_torch.errors import InputError, nearest
from muscle_torch.rotations import quat_angle, quat_normalize

from .state import ModelIndices, RootRange, State


def mean_site_deviation(state: State) -> Tensor:
    """Mean over the judged sites of the distance from their reference [m], (W,)."""
    return state.site_deviation[:, state.body.judged].mean(dim=1)


def max_site_deviation(state: State) -> Tensor:
    """Largest distance of a judged site from its reference [m], (W,)."""
    return state.site_deviation[:, state.body.judged].amax(dim=1)


def mean_relative_site_deviation(state: State) -> Tensor:
    """Mean over the judged sites of the error of their position relative to the anchor [m], (W,)."""
    return state.squared_error("rpos").sum(dim=-1).sqrt()[:, state.body.judged_others].mean(dim=1)


def mean_ankle_deviation(state: State) -> Tensor:
    """Mean over both ankles of the distance from their reference [m], (W,)."""
    return state.site_deviation[:, state.body.ankles].mean(dim=1)


def max_ankle_deviation(state: State) -> Tensor:
    """Larger distance of an ankle from its reference [m], (W,)."""
    return state.site_deviation[:, state.body.ankles].amax(dim=1)


def root_deviation(state: State) -> Tensor:
    """Distance of the anchor site (full body: the pelvis) from its reference [m], (W,)."""
    return state.site_deviation[:, 0]


def root_orientation(state: State) -> Tensor:
    """Angle between the root's orientation and its reference [rad], (W,)."""
    return quat_angle(quat_normalize(state.qpos[:, 3:7]), quat_normalize(state.reference.qpos[:, 3:7]))


def root_height(state: State) -> Tensor:
    """How far the root is from a height of 1.05 m, (W,): 0.45 stands for the published range of 0.6 to 1.5 m."""
    return (state.qpos[:, 2] - 1.05).abs()


def root_height_in_motions(state: State) -> Tensor:
    """How far the root is above or below all heights that it has in the motions [m], (W,); published: 0.3."""
    height, seen = state.qpos[:, 2], _seen(state)
    return torch.maximum(seen.lowest - height, height - seen.highest).clamp(min=0.0)


def root_orientation_in_motions(state: State) -> Tensor:
    """Angle between the root's orientation and the mean one of the motions [rad], (W,); published: 0.5236 (30 deg)."""
    return quat_angle(quat_normalize(state.qpos[:, 3:7]), _seen(state).orientation.expand(len(state.qpos), 4))


def _seen(state: State) -> RootRange:
    assert state.root_range is not None, "the environment keeps it for a body with a root"
    return state.root_range


TERMINATIONS: dict[str, Callable[[State], Tensor]] = {
    "mean_site_deviation": mean_site_deviation,
    "max_site_deviation": max_site_deviation,
    "mean_relative_site_deviation": mean_relative_site_deviation,
    "root_deviation": root_deviation,
    "root_orientation": root_orientation,
    "root_height": root_height,
    "root_height_in_motions": root_height_in_motions,
    "root_orientation_in_motions": root_orientation_in_motions,
    "mean_ankle_deviation": mean_ankle_deviation,
    "max_ankle_deviation": max_ankle_deviation,
}
NEED_ROOT = {"root_orientation", "root_height", "root_height_in_motions", "root_orientation_in_motions"}
NEED_ANKLES = {"mean_ankle_deviation", "max_ankle_deviation"}


class Termination:
    """Whether any of the config's thresholds is exceeded; none named: never."""

    def __init__(self, thresholds: Mapping[str, float], body: ModelIndices, device: torch.device):
        for name in thresholds:
            if name not in TERMINATIONS:
                raise InputError(f"unknown termination term {name!r}{nearest(name, list(TERMINATIONS))}")
            if name in NEED_ROOT and not body.has_root:
                raise InputError(f"termination {name!r} needs a free root joint; {body.name} has none: leave it out")
            if name in NEED_ANKLES and body.ankles is None:
                raise InputError(f"termination {name!r} needs tracked ankles; {body.name} has none: leave it out")
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
