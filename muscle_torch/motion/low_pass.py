"""Zero-phase low-pass of a motion, and its velocities and accelerations by differences."""

import mujoco
import numpy as np
from scipy.signal import butter, sosfiltfilt

from muscle_torch.embodiments import Embodiment
from muscle_torch.errors import InputError

ORDER = 2  # of each of the two passes
SHORTEST = 7  # frames: fewer say nothing of accelerations


def low_pass(embodiment: Embodiment, qpos: np.ndarray, rate: float, cutoff: float) -> np.ndarray:
    """Return qpos (T, nq) at `rate` [Hz] low-passed at `cutoff` [Hz]; coupled joints follow, quaternions stay unit.

    Butterworth of 4th order over both passes, half power at `cutoff` (Winter 2009, section 3.4.4.2). A cutoff of 0 or
    beyond half the rate, or fewer frames than the filter's padding, leaves the motion as it is.
    """
    out = np.array(qpos, dtype=float)
    if cutoff <= 0 or cutoff >= 0.45 * rate or len(out) <= 3 * (2 * ORDER + 1):
        return embodiment.project(out)
    if embodiment.root_joint is not None:
        # q and -q are one rotation: a change of sign between frames would be smoothed through zero.
        signs = np.where(np.sum(out[1:, 3:7] * out[:-1, 3:7], axis=1) < 0, -1.0, 1.0)
        out[1:, 3:7] *= np.cumprod(signs)[:, None]
    correction = (np.sqrt(2.0) - 1.0) ** (1.0 / (2 * ORDER))
    sections = butter(ORDER, cutoff / correction, fs=rate, output="sos")
    padding = min(3 * int(rate / cutoff), len(out) - 1)
    out = sosfiltfilt(sections, out, axis=0, padlen=padding)
    if embodiment.root_joint is not None:
        out[:, 3:7] /= np.linalg.norm(out[:, 3:7], axis=1, keepdims=True)
    return embodiment.project(out)


def derivatives(model: mujoco.MjModel, qpos: np.ndarray, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Return velocity and acceleration (T, nv) of qpos (T, nq) at `rate` [Hz].

    From the differences of neighbouring frames: their mean is the velocity, their change the acceleration, so that a
    jitter from frame to frame shows in full. The acceleration of each end is that of its neighbour. Raises InputError
    for fewer than 7 frames.
    """
    frames = len(qpos)
    if frames < SHORTEST:
        raise InputError(f"{frames} frames are too few for accelerations; at least {SHORTEST} are needed")
    steps = np.zeros((frames + 1, model.nv))  # before the first frame, between frames, after the last
    for frame in range(1, frames):
        mujoco.mj_differentiatePos(model, steps[frame], 1 / rate, qpos[frame - 1], qpos[frame])
    steps[0], steps[-1] = 2 * steps[1] - steps[2], 2 * steps[-2] - steps[-3]
    return (steps[1:] + steps[:-1]) / 2, np.diff(steps, axis=0) * rate
