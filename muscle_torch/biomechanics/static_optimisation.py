"""Static optimisation: the activations of least effort that produce the joint moments of a measured motion.

Every frame separately, without activation dynamics: minimize sum a^2 + penalty * sum (residual moment [Nm])^2 subject
to 0 <= a <= 1, the classical baseline (Crowninshield and Brand 1981; Anderson and Pandy 2001). Force is linear in
activation at a given length and velocity: F = active(l, v) a + passive(l). All frames are solved together as a batch of
box-constrained quadratic programs.
"""

from dataclasses import dataclass

import mujoco
import numpy as np
import torch

from muscle_torch.embodiments import Embodiment, moment_matrix
from muscle_torch.embodiments.independent import IndependentJoints
from muscle_torch.errors import InputError

from .inverse_dynamics import derivatives
from .series import TimeSeries


@dataclass(frozen=True, eq=False)
class Optimised:
    """Result of static optimisation over T frames."""

    activations: TimeSeries  # (T, muscles)
    residual: TimeSeries  # (T, joints) moments that the muscles do not produce [Nm]
    lengths: np.ndarray  # (T, muscles) [m]
    velocities: np.ndarray  # (T, muscles) [m/s]


def static_optimisation(
    embodiment: Embodiment,
    qpos: np.ndarray,
    moments: TimeSeries,
    rate: float,
    penalty: float = 1.0,
) -> Optimised:
    """Compute the muscle activations for a motion.

    Args:
        embodiment: The body.
        qpos: (T, num_qpos).
        moments: Moments required at independent joints, (T, joints) [Nm].
        rate: Frame rate [Hz].
        penalty: Weight of the squared residual moment against squared activation [1/Nm^2]; large, so that moments are
            met if possible. The remainder, elsewhere provided by reserve actuators, is `residual`.

    Raises:
        InputError: Motion and moments differ in length.
    """
    if len(moments.time) != len(qpos):
        raise InputError(
            f"{len(qpos)} frames of motion but {len(moments.time)} of moments: resample them to the same clock"
        )
    model, data = embodiment.model, mujoco.MjData(embodiment.model)
    independent = IndependentJoints(embodiment)
    qvel, _ = derivatives(model, qpos, rate)
    frames, muscles = len(qpos), embodiment.muscle_ids
    nu = len(muscles)
    active, passive = np.zeros((frames, nu)), np.zeros((frames, nu))
    arms = np.zeros((frames, len(moments.names), nu))
    lengths, velocities = np.zeros((frames, nu)), np.zeros((frames, nu))
    for frame in range(frames):
        data.qpos[:], data.qvel[:] = qpos[frame], qvel[frame]
        mujoco.mj_fwdPosition(model, data)
        mujoco.mj_fwdVelocity(model, data)
        lengths[frame], velocities[frame] = data.actuator_length[muscles], data.actuator_velocity[muscles]
        active[frame], passive[frame] = muscle_forces(embodiment, lengths[frame], velocities[frame])
        arms[frame] = (moment_matrix(embodiment, data) @ independent.along(qpos[frame], moments.names)).T
    required = moments.values - np.einsum("tju,tu->tj", arms, passive)
    matrix = arms * active[:, None, :]
    activations = solve_boxed(torch.from_numpy(matrix), torch.from_numpy(required), penalty).numpy()
    residual = required - np.einsum("tju,tu->tj", matrix, activations)
    names = embodiment.muscle_names
    return Optimised(
        TimeSeries(moments.time, activations, names, ("",) * nu, "static optimisation"),
        moments.with_values(residual),
        lengths,
        velocities,
    )


def muscle_forces(embodiment: Embodiment, lengths: np.ndarray, velocities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return active force at full activation, and passive force, (muscles,) each [N]; negative: muscles pull.

    Args:
        embodiment: The body.
        lengths: Actuator lengths, (muscles,) [m].
        velocities: Actuator velocities, (muscles,) [m/s].
    """
    model, muscles = embodiment.model, embodiment.muscle_ids
    active, passive = np.zeros(len(muscles)), np.zeros(len(muscles))
    for i, actuator in enumerate(muscles):
        gain, bias = model.actuator_gainprm[actuator, :9], model.actuator_biasprm[actuator, :9]
        limits, acc0 = model.actuator_lengthrange[actuator], model.actuator_acc0[actuator]
        active[i] = mujoco.mju_muscleGain(lengths[i], velocities[i], limits, acc0, gain)
        passive[i] = mujoco.mju_muscleBias(lengths[i], limits, acc0, bias)
    return active, passive


def solve_boxed(matrix: torch.Tensor, needed: torch.Tensor, penalty: float, iterations: int = 100) -> torch.Tensor:
    """Solve min |a|^2 + penalty |matrix a - needed|^2 over 0 <= a <= 1 for each row of a batch.

    Solves the dual: at the optimum a = clip(matrix' y, 0, 1) with y = penalty (needed - matrix a), so only the J
    numbers y are sought, by Newton's method with step halving.

    Args:
        matrix: (T, J, U) [Nm].
        needed: (T, J) [Nm].
        penalty: [1/Nm^2].
        iterations: Maximum number of Newton steps.

    Returns:
        (T, U).
    """
    eye = torch.eye(matrix.shape[1], dtype=matrix.dtype).expand(len(matrix), -1, -1)

    def objective(y: torch.Tensor) -> torch.Tensor:
        z = torch.einsum("tju,tj->tu", matrix, y)
        inner = torch.where(z > 1, z - 0.5, 0.5 * z.clamp_min(0.0) ** 2).sum(dim=1)
        return (y**2).sum(dim=1) / (2 * penalty) + inner - (needed * y).sum(dim=1)

    y = torch.zeros_like(needed)
    for _ in range(iterations):
        z = torch.einsum("tju,tj->tu", matrix, y)
        gradient = y / penalty + torch.einsum("tju,tu->tj", matrix, z.clamp(0.0, 1.0)) - needed
        if gradient.abs().max() < 1e-8:
            break
        free = ((z > 0) & (z < 1)).to(matrix.dtype)
        hessian = eye / penalty + torch.einsum("tju,tu,tku->tjk", matrix, free, matrix)
        direction = -torch.linalg.solve(hessian, gradient)
        slope, start = (gradient * direction).sum(dim=1), objective(y)
        step = torch.ones(len(y), dtype=y.dtype)
        for _ in range(30):
            worse = objective(y + step[:, None] * direction) > start + 1e-4 * step * slope + 1e-12
            if not worse.any():
                break
            step = torch.where(worse, step / 2, step)
        y = y + step[:, None] * direction
    return torch.einsum("tju,tj->tu", matrix, y).clamp(0.0, 1.0)
