"""Support of a body: whether it hovers, and whether its feet come to rest while they touch the floor."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from muscle_torch.motion.support import runs

from .ground import Soles
from .kinematics import Frames

GAP = 0.01  # [m] above the floor: no contact
SHORTEST_HOVER = 0.1  # [s]
FALLING = 3.0  # [m/s^2] mean downward acceleration in flight; a supported body keeps its mean height
SWING = 0.4  # [s] duration of a swing; a shorter total contact may be a swing that brushes the floor
CONTACT = 0.005  # [m] above the floor: a lower sole touches it
SHORTEST_STANCE = 0.05  # [s]
SLOWEST = 0.03  # [s] window of a stance in which its foot slides least


def hovering(lowest: np.ndarray, height: np.ndarray, rate: float) -> np.ndarray:
    """Return the frames in which the body is above the floor without falling, (T,) bool.

    Args:
        lowest: Lowest point of the body, (T,) [m].
        height: Height of its centre of mass, (T,) [m].
        rate: Frame rate [Hz].
    """
    out = np.zeros(len(lowest), dtype=bool)
    for start, stop in runs(lowest > GAP):
        if stop - start < max(3, SHORTEST_HOVER * rate):
            continue
        time = np.arange(stop - start) / rate
        falling = -2 * np.polyfit(time - time.mean(), height[start:stop], 2)[0]
        out[start:stop] = falling < FALLING
    return out


class Stance(NamedTuple):
    """A time interval in which a foot touches the floor."""

    start: int  # first frame
    stop: int  # one after the last frame
    slide: float  # minimal speed of the foot along the floor [m/s]
    landed: bool  # follows a flight


def stances_of(soles: Soles, frames: Frames, sides: np.ndarray, rate: float) -> list[Stance]:
    """Find the stances of all feet; in each, a foot is at rest at some time even if it rolls or lands late.

    Args:
        soles: The soles.
        frames: Kinematics of T frames.
        sides: Foot of each sole point, (P,).
        rate: Frame rate [Hz].
    """
    point = soles.lowest(frames).cpu().numpy()
    place, turn = frames.pos[:, soles.bodies].cpu().numpy(), frames.mat[:, soles.bodies].cpu().numpy()
    # Position in the next frame of the material point that touches the floor.
    local = np.einsum("tpji,tpj->tpi", turn[:-1], point[:-1] - place[:-1])
    after = np.einsum("tpij,tpj->tpi", turn[1:], local) + place[1:]
    speed = np.linalg.norm((after - point[:-1])[..., :2], axis=-1) * rate
    low = np.maximum(point[:-1, :, 2], after[..., 2]) < CONTACT
    shortest, width = max(2, round(SHORTEST_STANCE * rate)), max(1, round(SLOWEST * rate))
    flights = [stop for start, stop in runs(~np.any(low, axis=1)) if stop - start >= shortest and start > 0]
    stances = []
    for side in np.unique(sides):
        slowest = np.where(low & (sides == side), speed, np.inf).min(axis=1)
        for start, stop in runs(np.isfinite(slowest)):
            if stop - start >= max(shortest, width):
                means = np.convolve(slowest[start:stop], np.full(width, 1 / width), mode="valid")
                stances.append(Stance(start, stop, float(means.min()), start in flights))
    return stances


def typical_slide(stances: Sequence[Stance], frames: float = 1.0) -> float:
    """Return the slide of the median stance, weighted by duration [m/s]; 0 if they last less than `frames` in total."""
    if sum(stance.stop - stance.start for stance in stances) < frames:
        return 0.0
    ordered = sorted(stances, key=lambda stance: stance.slide)
    ends = np.cumsum([stance.stop - stance.start for stance in ordered])
    return ordered[int(np.searchsorted(ends, ends[-1] / 2))].slide
