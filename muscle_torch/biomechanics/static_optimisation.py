"""Static optimisation: the activations of least effort that give the joint moments of a measured motion.

At every frame apart, without activation dynamics: minimise sum a^2 + penalty * sum (residual moment [Nm])^2 with
0 <= a <= 1, the classical baseline (Crowninshield and Brand 1981; Anderson and Pandy 2001). Force is linear in
activation at a given length and velocity: F = active(l, v) a + passive(l). All frames are solved together: a batched
quadratic programme with bounds.
"""

from dataclasses import dataclass

import mujoco
import numpy as np
import torch

from muscle_torch.embodiments import Embodiment, moment_matrix
from muscle_torch.errors import InputError

from .inverse_dynamics import derivatives
from .muscle_mechanics import joint_tangent
from .series import TimeSeries


@dataclass(frozen=True, eq=False)
class Optimised:
    """`activations` (T, muscles) a column a muscle; `residual` (T, joints) [Nm] of the moments not reached."""

    activations: TimeSeries
    residual: TimeSeries
    lengths: np.ndarray  # (T, muscles) [m]
    velocities: np.ndarray  # (T, muscles) [m/s]


def static_optimisation(
    embodiment: Embodiment,
    qpos: np.ndarray,
    moments: TimeSeries,
    rate: float,
    penalty: float = 1.0,
) -> Optimised:
    """Activations for a motion (T, num_qpos) at `rate` [Hz] whose independent joints need `moments` (T, joints) [Nm].

    `penalty` [1/Nm^2] weighs the moments' squared residual against squared activation: large, so that moments are met
    where muscles can; what they cannot (reserve actuators elsewhere) is `residual`.
    """
    if len(moments.time) != len(qpos):
        raise InputError(f"{len(qpos)} frames of motion, {len(moments.time)} of moments")
    model, data = embodiment.model, mujoco.MjData(embodiment.model)
    addresses = [int(model.jnt_qposadr[int(i)]) for i in embodiment.resolve("joint", moments.names)]
    qvel, _ = derivatives(model, qpos, rate)
    frames, muscles = len(qpos), embodiment.muscle_ids
    nu = len(muscles)
    active, passive = np.zeros((frames, nu)), np.zeros((frames, nu))
    arms = np.zeros((frames, len(addresses), nu))
    lengths, velocities = np.zeros((frames, nu)), np.zeros((frames, nu))
    for frame in range(frames):
        data.qpos[:], data.qvel[:] = qpos[frame], qvel[frame]
        mujoco.mj_fwdPosition(model, data)
        mujoco.mj_fwdVelocity(model, data)
        lengths[frame], velocities[frame] = data.actuator_length[muscles], data.actuator_velocity[muscles]
        active[frame], passive[frame] = muscle_forces(embodiment, lengths[frame], velocities[frame])
        tangents = np.stack([joint_tangent(embodiment, qpos[frame], a) for a in addresses])
        arms[frame] = tangents @ moment_matrix(embodiment, data).T
    needed = moments.values - np.einsum("tju,tu->tj", arms, passive)
    matrix = arms * active[:, None, :]
    found = solve_boxed(torch.from_numpy(matrix), torch.from_numpy(needed), penalty).numpy()
    residual = needed - np.einsum("tju,tu->tj", matrix, found)
    names = embodiment.muscle_names
    return Optimised(
        TimeSeries(moments.time, found, names, ("",) * nu, "static optimisation"),
        moments.with_values(residual),
        lengths,
        velocities,
    )


def muscle_forces(embodiment: Embodiment, lengths: np.ndarray, velocities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(muscles,) force at full activation without the passive one, and passive force [N]; negative: muscles pull."""
    model, muscles = embodiment.model, embodiment.muscle_ids
    active, passive = np.zeros(len(muscles)), np.zeros(len(muscles))
    for i, actuator in enumerate(muscles):
        gain, bias = model.actuator_gainprm[actuator, :9], model.actuator_biasprm[actuator, :9]
        limits, acc0 = model.actuator_lengthrange[actuator], model.actuator_acc0[actuator]
        active[i] = mujoco.mju_muscleGain(lengths[i], velocities[i], limits, acc0, gain)
        passive[i] = mujoco.mju_muscleBias(lengths[i], limits, acc0, bias)
    return active, passive


def solve_boxed(matrix: torch.Tensor, needed: torch.Tensor, penalty: float, iterations: int = 100) -> torch.Tensor:
    """min |a|^2 + penalty |matrix a - needed|^2 over 0 <= a <= 1, every row of the batch apart.

    matrix (T, J, U), needed (T, J) in Nm -> (T, U). By its dual: at the optimum a = clip(matrix' y, 0, 1) with
    y = penalty (needed - matrix a), so that only the J numbers y are sought, by Newton's method with step halving.
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
