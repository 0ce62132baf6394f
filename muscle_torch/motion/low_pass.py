"""Zero-phase low-pass filter for motions; velocities and accelerations by finite differences."""

import mujoco
import numpy as np
from scipy.signal import butter, sosfiltfilt

from muscle_torch.embodiments import Embodiment
from muscle_torch.errors import InputError

ORDER = 2  # of each of the two passes
MIN_FRAMES = 7  # fewer frames do not determine accelerations


def low_pass(embodiment: Embodiment, qpos: np.ndarray, rate: float, cutoff: float) -> np.ndarray:
    """Low-pass a motion; coupled joints follow, quaternions stay normalized.

    Butterworth of 4th order over both passes, half power at the cutoff (Winter 2009, section 3.4.4.2).

    Args:
        embodiment: The body.
        qpos: (T, nq).
        rate: Frame rate [Hz].
        cutoff: [Hz]. If it is 0 or above half the rate, or the motion is shorter than the filter's padding, the motion
            is not filtered.
    """
    out = np.array(qpos, dtype=float)
    if cutoff <= 0 or cutoff >= 0.45 * rate or len(out) <= 3 * (2 * ORDER + 1):
        return embodiment.project(out)
    if embodiment.root_joint is not None:
        # q and -q are the same rotation: filtering across a sign change would pass through zero.
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
    """Return the velocity and acceleration of a motion, (T, nv) each.

    The velocity is the mean, and the acceleration the change, of the differences to the neighbouring frames, so
    frame-to-frame jitter is not attenuated. The acceleration at each end is that of the neighbouring frame.

    Args:
        model: The model.
        qpos: (T, nq).
        rate: Frame rate [Hz].

    Raises:
        InputError: There are fewer than 7 frames.
    """
    frames = len(qpos)
    if frames < MIN_FRAMES:
        raise InputError(f"{frames} frames are too few for accelerations; use at least {MIN_FRAMES}")
    steps = np.zeros((frames + 1, model.nv))  # before the first frame, between frames, after the last
    for frame in range(1, frames):
        mujoco.mj_differentiatePos(model, steps[frame], 1 / rate, qpos[frame - 1], qpos[frame])
    steps[0], steps[-1] = 2 * steps[1] - steps[2], 2 * steps[-2] - steps[-3]
    return (steps[1:] + steps[:-1]) / 2, np.diff(steps, axis=0) * rate
