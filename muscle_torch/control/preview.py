"""Placement of the next foothold, from the error of the mass centre, clearance and distance of the feet."""

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
    """Return target positions of swinging feet.

    Args:
        reference: Tables of the clip.
        frame: Frame of the clip.
        com: Mass centre, (3,) [m].
        com_velocity: Its velocity, (3,) [m/s].
        foot_pos: Positions of the heels, (F, 3) [m].
        lowest: Height of each foot's lowest point, (F,) [m].
        options: Gains of placement, clearance and distance of the feet.

    Returns:
        Targets of the heels in `frame`, (F, 3) [m].
    """
    error, rate = com - reference.com[frame], com_velocity - reference.com_velocity[frame]
    frequency = np.sqrt(GRAVITY / max(reference.com[frame, 2], 0.1))
    divergent = error + rate / frequency
    lateral = lateral_axis(reference, frame)
    out = reference.foot_pos[frame].copy()
    for index in range(len(out)):
        out[index] += placement(divergent, lateral, frequency * reference.landing[frame, index], options)
        out[index] += keep_apart(reference, frame, index, out[index], foot_pos, options)
        if reference.stands[frame, index]:  # should stand but has no contact yet: move down
            out[index, 2] = foot_pos[index, 2] - lowest[index] - options.press
    return out


def lateral_axis(reference: Reference, frame: int) -> np.ndarray:
    """Return the horizontal unit vector from the first hip to the last, (3,); zero for a body with one leg."""
    across = reference.hip_pos[frame, -1] - reference.hip_pos[frame, 0]
    across = np.array([across[0], across[1], 0.0])
    return across / max(float(np.linalg.norm(across)), 1e-9)


def placement(divergent: np.ndarray, lateral: np.ndarray, growth: float, options: StepOptions) -> np.ndarray:
    """Return the horizontal displacement of a foothold, (3,) [m].

    The divergent component x + v / w of the mass centre's error (the capture point; Hof 2008) grows as exp(w t) during
    stance, except for the part that the centre of pressure can correct. A foothold displaced by its value at landing
    stops the growth; a slightly larger displacement reduces the error.

    Args:
        divergent: Divergent component, (3,) [m].
        lateral: Horizontal unit vector across the body, (3,).
        growth: w times the time to landing.
        options: Margins and gain.
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
    """Return a divergent component (at least 0) after growth, if the centre of pressure corrects `margin` of it [m]."""
    return max(0.0, value - margin) * growth + min(value, margin)


def keep_apart(
    reference: Reference, frame: int, index: int, target: np.ndarray, foot_pos: np.ndarray, options: StepOptions
) -> np.ndarray:
    """Return the displacement that keeps a target at a lateral distance from the other foot, for bodies with two feet.

    Args:
        reference: Tables of the clip.
        frame: Frame of the clip.
        index: Index of the foot.
        target: Its target, (3,) [m].
        foot_pos: Positions of the heels, (2, 3) [m].
        options: Distances.

    Returns:
        Lateral displacement, (3,) [m]; zero for other bodies.
    """
    if len(foot_pos) != 2 or not options.gap:
        return np.zeros(3)
    outward = lateral_axis(reference, frame) * (1.0 if index == 1 else -1.0)
    other = 1 - index
    between = outward @ (reference.foot_pos[frame, index] - reference.foot_pos[frame, other])
    gap = min(options.gap, max(between, options.least_gap))
    target = target + options.outward * outward
    return (options.outward + max(0.0, gap - outward @ (target - foot_pos[other]))) * outward
