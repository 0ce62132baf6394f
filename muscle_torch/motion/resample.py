"""Resample motions, and compute velocities from positions.

The qpos columns of a free joint are position and quaternion (w, x, y, z); its qvel is linear in world axes and angular
in the body frame, as in MuJoCo.
"""

import mujoco
import numpy as np
from scipy.interpolate import CubicSpline, interp1d
from scipy.spatial.transform import Rotation, Slerp

from muscle_torch.embodiments import Embodiment
from muscle_torch.errors import InputError

from .clip import MotionClip

INTERPOLATIONS = ("derivative", "reference")


def at_control_rate(clip: MotionClip, embodiment: Embodiment, interpolation: str) -> tuple[np.ndarray, np.ndarray]:
    """Return qpos (T', num_qpos) and qvel (T', num_qvel) of a clip at the control frequency, float64.

    A clip that is at the control frequency keeps its positions, and its velocities if it has any.

    Args:
        clip: Its columns are the embodiment's.
        embodiment: The body.
        interpolation: "derivative": cubic splines on true time, velocities are the splines' derivatives. "reference":
            as in MuscleMimic, with stretched time and interpolated velocities.

    Raises:
        InputError: The interpolation is unknown, or the clip is shorter than a control step.
    """
    if interpolation not in INTERPOLATIONS:
        raise InputError(f"motion_interpolation is {interpolation!r}; choose from {', '.join(INTERPOLATIONS)}")
    if round(clip.duration * embodiment.control_frequency, 6) < 1:
        raise InputError(f"motion {clip.name!r} lasts {clip.duration:.4g} s, less than one control step; remove it")
    qpos = clip.qpos.astype(np.float64)
    root = embodiment.has_root
    if root:
        qpos[:, 3:7] /= np.linalg.norm(qpos[:, 3:7], axis=1, keepdims=True)
    if np.isclose(clip.frequency, embodiment.control_frequency, rtol=1e-9):
        qvel = clip.qvel if clip.qvel is not None else resample(qpos, clip.frequency, clip.frequency, root)[1]
        return qpos, qvel.astype(np.float64)
    if interpolation == "derivative":
        return resample(qpos, clip.frequency, embodiment.control_frequency, root)
    qvel = clip.qvel if clip.qvel is not None else resample(qpos, clip.frequency, clip.frequency, root)[1]
    return reference_resample(embodiment, qpos, qvel.astype(np.float64), clip.frequency)


def resample(qpos: np.ndarray, old: float, new: float, has_root: bool) -> tuple[np.ndarray, np.ndarray]:
    """Resample with C2 cubic splines; the new time grid ends at or before the last frame.

    Args:
        qpos: (T, num_qpos).
        old: Frame rate of qpos [Hz].
        new: New frame rate [Hz].
        has_root: Whether the first 7 columns are a free joint.

    Returns:
        qpos (T', num_qpos) and qvel (T', num_qvel).
    """
    if has_root:
        qpos = _continuous(qpos)
    spline = CubicSpline(np.arange(len(qpos)) / old, qpos, axis=0)
    count = int(np.floor((len(qpos) - 1) * new / old + 1e-9)) + 1
    times = np.arange(count) / new
    out, rate = spline(times), spline(times, 1)
    if not has_root:
        return out, rate
    quat, quat_rate = out[:, 3:7], rate[:, 3:7]
    # w = 2 q* dq/dt / |q|^2: a change of norm affects only the scalar part, which is dropped.
    angular = 2 * _imaginary_of_product(quat, quat_rate) / np.sum(quat**2, axis=1, keepdims=True)
    out[:, 3:7] = quat / np.linalg.norm(quat, axis=1, keepdims=True)
    return out, np.concatenate((rate[:, :3], angular, rate[:, 7:]), axis=1)


def reference_resample(
    embodiment: Embodiment, qpos: np.ndarray, qvel: np.ndarray, old: float
) -> tuple[np.ndarray, np.ndarray]:
    """Resample as MuscleMimic does: both ends are kept, so time is stretched by about a frame.

    Args:
        embodiment: The body.
        qpos: (T, num_qpos).
        qvel: (T, num_qvel).
        old: Frame rate of the motion [Hz]; the new one is the control frequency.

    Returns:
        qpos (T', num_qpos) and qvel (T', num_qvel).
    """
    new = embodiment.control_frequency
    stride = old / new
    if stride > 1 and abs(stride - round(stride)) < 1e-9:
        qpos = qpos[:: round(stride)]
    else:
        qpos, qvel = _stretched(qpos, qvel, max(1, round(len(qpos) * new / old)), embodiment.has_root)
    if stride > 1:
        qvel = differentiate(embodiment, qpos, new)
    return qpos, qvel


def differentiate(embodiment: Embodiment, qpos: np.ndarray, frequency: float) -> np.ndarray:
    """Return forward differences (T, num_qvel) of a motion; the last frame repeats the one before.

    Args:
        embodiment: The body.
        qpos: (T, num_qpos).
        frequency: Frame rate [Hz].
    """
    model, whole = embodiment.model, embodiment.whole_qpos(qpos)
    qvel = np.zeros((len(qpos), model.nv))
    for t in range(len(qpos) - 1):
        mujoco.mj_differentiatePos(model, qvel[t], 1 / frequency, whole[t], whole[t + 1])
    if len(qpos) > 1:
        qvel[-1] = qvel[-2]
    return qvel[:, : embodiment.num_qvel]


def _stretched(qpos: np.ndarray, qvel: np.ndarray, count: int, has_root: bool) -> tuple[np.ndarray, np.ndarray]:
    frames = np.arange(len(qpos))
    grid = np.linspace(0, len(qpos) - 1, count)
    kind = {2: "linear", 3: "quadratic"}.get(len(qpos), "cubic")
    out = interp1d(frames, qpos, kind=kind, axis=0)(grid)
    if has_root:
        rotations = Rotation.from_quat(qpos[:, 3:7], scalar_first=True)
        out[:, 3:7] = Slerp(frames, rotations)(grid).as_quat(scalar_first=True)
    return out, interp1d(frames, qvel, kind=kind, axis=0)(grid)


def _continuous(qpos: np.ndarray) -> np.ndarray:
    """Return qpos with root quaternion signs chosen so that consecutive frames are nearest (q and -q are equal)."""
    flips = np.sum(qpos[1:, 3:7] * qpos[:-1, 3:7], axis=1) < 0
    signs = np.concatenate(([1.0], np.where(np.cumsum(flips) % 2, -1.0, 1.0)))
    out = qpos.copy()
    out[:, 3:7] *= signs[:, None]
    return out


def _imaginary_of_product(conjugated: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Vector part of conj(conjugated) * q, (T, 3)."""
    w, v = conjugated[:, :1], conjugated[:, 1:]
    return w * q[:, 1:] - q[:, :1] * v - np.cross(v, q[:, 1:])
