"""Terms of goals for the root of a free body, `RootState -> Tensor`; weights of KINESIS are in cfg/task."""

import torch
from torch import Tensor

from muscle_torch.rotations import quat_to_matrix, yaw

from ..terms import ObservationTerm, RewardTerm, Tracking
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


def upright(state: RootState) -> Tensor:
    """Return exp(-3 (x^2 + y^2)), with x and y the tilt of the root about horizontal axes [rad], (W,).

    The tilt is the vector of length angle along which the root's vertical axis leans, so that it does not depend on the
    heading; KINESIS uses Euler angles, which agree for small tilts.
    """
    vertical = quat_to_matrix(state.qpos[:, 3:7])[:, 2, 2]
    return torch.exp(-3.0 * torch.acos(vertical.clamp(-1.0, 1.0)).square())


def energy(state: RootState) -> Tensor:
    """Return exp(-0.05 (l1 + l2)) with l1, l2 the norms of 80 average excitations, (W,).

    KINESIS sums over muscles. Its form for 80 muscles is kept here for every number of them: sums are scaled by 80 /
    muscles.
    """
    excitation = state.read("ctrl").clamp(0.0, 1.0)
    mean, square = excitation.mean(dim=1), excitation.square().mean(dim=1)
    return torch.exp(-0.05 * (80.0 * mean + (80.0 * square).sqrt()))


OBSERVATIONS: dict[str, ObservationTerm] = {"target_offset": target_offset}
REWARDS: dict[str, RewardTerm] = {
    "target": Tracking(target_errors, 1.0),
    "progress": progress,
    "target_reached": target_reached,
    "upright": upright,
    "energy": energy,
}
