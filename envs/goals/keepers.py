"""Laws of motion of goalkeepers on their line. A new one is a function and a row in KEEPERS."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from muscle_torch.embodiments.pitch import HALF_WIDTH


@dataclass(frozen=True)
class Situation:
    """What keepers react to, before a control step; all (W,).

    Attributes:
        keeper: Position of the keeper along the line [m].
        ball: Position of the ball along the line [m].
        drift: A random walk [m/s]: the sum of normal numbers of variance 1 for each second.
        gain: Speed for each metre between keeper and ball [1/s].
    """

    keeper: Tensor
    ball: Tensor
    drift: Tensor
    gain: float


def stationary(situation: Situation) -> Tensor:
    """Return the velocity of a keeper that stays where it is [m/s], (W,)."""
    return torch.zeros_like(situation.keeper)


def random(situation: Situation) -> Tensor:
    """Return the velocity of a keeper that drifts to and fro: Brownian (1 / f^2) noise [m/s], (W,)."""
    return 10.0 * situation.drift


def block(situation: Situation) -> Tensor:
    """Return the velocity of a keeper that follows the ball [m/s], (W,)."""
    return situation.gain * (situation.ball - situation.keeper)


KEEPERS: dict[str, Callable[[Situation], Tensor]] = {"stationary": stationary, "random": random, "block": block}


def keeper_velocity(kind: Tensor, situation: Situation, fastest: Tensor, control_step: float) -> Tensor:
    """Return the velocity of the keepers, limited in speed and to the goal's width [m/s], (W,).

    Args:
        kind: Rows of `KEEPERS`, (W,).
        situation: Positions and noise.
        fastest: Largest speed [m/s], (W,).
        control_step: Time for which the velocity holds [s].
    """
    speeds = torch.stack([law(situation) for law in KEEPERS.values()])
    speed = speeds.gather(0, kind.unsqueeze(0)).squeeze(0)
    speed = torch.minimum(torch.maximum(speed, -fastest), fastest)
    low = (-HALF_WIDTH - situation.keeper) / control_step
    high = (HALF_WIDTH - situation.keeper) / control_step
    return torch.minimum(torch.maximum(speed, low), high)
