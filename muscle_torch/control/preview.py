"""Where the next foothold should be: error of the mass centre and its rate, floor clearance, room between the feet."""

import numpy as np

from .options import StepOptions
from .reference import Reference

GRAVITY = 9.81  # [m/s^2]


def foot_targets(
    reference: Reference,
    frame: int,
    com: np.ndarray,
    com_velocity: np.ndarray,
    foot_pos: np.ndarray,
    lowest: np.ndarray,
    options: StepOptions,
) -> np.ndarray:
    """Return where each foot should be at the reference's `frame` if it swings, (F, 3) [m].

    Args:
        reference: the clip's tables.
        frame: of the reference.
        com: (3,) mass centre [m].
        com_velocity: (3,) [m/s].
        foot_pos: (F, 3) the real heels [m].
        lowest: (F,) height of each foot's lowest point [m].
        options: gains of placement, clearance and gap.
    """
    error, rate = com - reference.com[frame], com_velocity - reference.com_velocity[frame]
    frequency = np.sqrt(GRAVITY / max(reference.com[frame, 2], 0.1))
    divergent = error + rate / frequency
    lateral = lateral_axis(reference, frame)
    out = reference.foot_pos[frame].copy()
    for index in range(len(out)):
        out[index] += placement(divergent, lateral, frequency * reference.landing[frame, index], options)
        out[index] += keep_apart(reference, frame, index, out[index], foot_pos, options)
        if reference.stands[frame, index]:  # it should stand and does not touch the floor yet: down
            out[index, 2] = foot_pos[index, 2] - lowest[index] - options.press
    return out


def lateral_axis(reference: Reference, frame: int) -> np.ndarray:
    """(3,) horizontal unit vector from the first hip to the last; zero for a body with one leg."""
    across = reference.hip_pos[frame, -1] - reference.hip_pos[frame, 0]
    across = np.array([across[0], across[1], 0.0])
    return across / max(float(np.linalg.norm(across)), 1e-9)


def placement(divergent: np.ndarray, lateral: np.ndarray, growth: float, options: StepOptions) -> np.ndarray:
    """(3,) horizontal shift of a foothold [m].

    The divergent component of the mass centre's error, x + v / w (its capture point; Hof 2008), grows as exp(w t) under
    the standing foot, but for the part that the centre of pressure can undo. A foothold at its value at landing stops
    it, one a little farther brings it back.

    Args:
        divergent: (3,) [m].
        lateral: (3,) horizontal unit vector across the body.
        growth: w times the time to landing.
        options: margins and gain.
    """
    growth = float(np.exp(min(growth, options.latest * 3.1)))
    side = float(lateral @ divergent)
    along = divergent - side * lateral
    along[2] = 0.0
    ahead = float(np.linalg.norm(along))
    along = along * (_grown(ahead, options.forward_margin, growth) / max(ahead, 1e-9))
    across = np.copysign(_grown(abs(side), options.sideways_margin, growth), side) * lateral
    offset = options.capture * (along + across)
    length = float(np.linalg.norm(offset))
    return offset * min(1.0, options.farthest / max(length, 1e-9))


def _grown(value: float, margin: float, growth: float) -> float:
    """A divergent component (at least 0) after growth, if the centre of pressure undoes `margin` of it [m]."""
    return max(0.0, value - margin) * growth + min(value, margin)


def keep_apart(
    reference: Reference, frame: int, index: int, target: np.ndarray, foot_pos: np.ndarray, options: StepOptions
) -> np.ndarray:
    """(3,) shift that keeps a foot's target beside the other real foot, for bodies with two feet."""
    if len(foot_pos) != 2 or not options.gap:
        return np.zeros(3)
    outward = lateral_axis(reference, frame) * (1.0 if index == 1 else -1.0)
    other = 1 - index
    between = outward @ (reference.foot_pos[frame, index] - reference.foot_pos[frame, other])
    gap = min(options.gap, max(between, options.least_gap))
    target = target + options.outward * outward
    return (options.outward + max(0.0, gap - outward @ (target - foot_pos[other]))) * outward
