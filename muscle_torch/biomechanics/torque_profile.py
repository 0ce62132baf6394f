"""The shape of a torque profile over the gait cycle: cubic rise to a peak and cubic fall, as in Zhang et al. 2017."""

import torch
from torch import Tensor


def profile_shape(phase: Tensor, time: Tensor, rise: Tensor, fall: Tensor) -> Tensor:
    """Return the torque over its peak, in [0, 1], with the shape of `phase`.

    Args:
        phase: Fraction of the cycle since the strike, (...); 0 torque if negative (unknown).
        time: Time of the peak as a fraction of the cycle.
        rise: From onset to peak.
        fall: From peak to end.
    """
    away = (phase - time + 0.5) % 1.0 - 0.5  # from the peak, the shorter way round
    x = 1.0 - torch.where(away < 0, -away / rise, away / fall).clamp(max=1.0)
    return torch.where(phase >= 0, x.square() * (3.0 - 2.0 * x), 0.0)
