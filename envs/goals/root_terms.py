"""Terms of goals for the root of a free body, `RootState -> Tensor`; the weights of KINESIS are in cfg/task."""

import torch
from torch import Tensor

from muscle_torch.rotations import yaw

from ..terms import ObservationTerm, RewardTerm, Tracking
from . import kinesis_terms
from .root_state import RootState


def target_offset(state: RootState) -> Tensor:
    """Return the vector from the root to the target: ahead of the body and to its left [m], (W, 2)."""
    heading = yaw(state.qpos[:, 3:7]) + state.forward
    cos, sin = heading.cos(), heading.sin()
    x, y = state.offset.unbind(1)
    return torch.stack((cos * x + sin * y, cos * y - sin * x), dim=1)


def target_errors(state: RootState) -> Tensor:
    """Return twice the squared offsets to the target [m^2], (W, 2); their mean is the squared distance."""
    return 2 * state.offset.square()


def progress(state: RootState) -> Tensor:
    """Return how much nearer to the target the root came in this control step [m], (W,)."""
    return state.previous_distance - state.distance


def target_reached(state: RootState) -> Tensor:
    """Return 1 within the radius around the target, else 0, (W,)."""
    return (state.distance < state.radius).float()


OBSERVATIONS: dict[str, ObservationTerm] = {"target_offset": target_offset}
REWARDS: dict[str, RewardTerm] = {
    "target": Tracking(target_errors, 1.0),
    "progress": progress,
    "target_reached": target_reached,
    "upright": kinesis_terms.REWARDS["upright"],
    "energy": kinesis_terms.REWARDS["energy"],
    "energy_published": kinesis_terms.REWARDS["energy_published"],
}
