"""Inverse dynamics: the joint moments that a measured motion with measured ground forces needs."""

from dataclasses import dataclass

import mujoco
import numpy as np

from muscle_torch.embodiments import Embodiment
from muscle_torch.errors import InputError

from .coordinates import model_frame
from .ground_forces import FAR, FootForce, feet_in_ground
from .muscle_mechanics import independent_joints, joint_tangent
from .series import TimeSeries, butterworth


@dataclass(frozen=True, eq=False)
class JointMoments:
    """`moments` (T, joints) net moments [Nm] about independent joints, positive towards larger positions; `residual`
    (T, 6) force [N] and moment [Nm] at the root that the ground does not give: how far the recording breaks physics."""

    moments: TimeSeries
    residual: np.ndarray


def inverse_dynamics(
    embodiment: Embodiment,
    qpos: np.ndarray,
    rate: float,
    forces: dict[str, FootForce] | None = None,
    joints: tuple[str, ...] = (),
    scale: float = 1.0,
    mass: float = 0.0,
    cutoff: float = 6.0,
    start_time: float = 0.0,
) -> JointMoments:
    """Net joint moments of a motion (T, nq) at `rate` [Hz].

    The motion is low-passed at `cutoff` [Hz] (0: not) and differentiated by central differences. Masses and inertias
    are multiplied to the subject's `mass` [kg] (0: the model's own). `forces` act on the calcaneus; their points are
    multiplied by `scale`. Muscles, springs, dampers, contacts and equality constraints are off; the moment about a
    joint holds those of the joints coupled to it. Raises InputError where a foot's force acts far from the foot.
    """
    model = _rigid(embodiment, mass)
    data = mujoco.MjData(model)
    qpos = smooth_motion(embodiment, qpos, rate, cutoff)
    qvel, qacc = derivatives(model, qpos, rate)
    names = joints or independent_joints(embodiment)
    addresses = [int(model.jnt_qposadr[int(i)]) for i in embodiment.resolve("joint", names)]
    ground = model_frame(embodiment) if forces else None
    moments, residual = np.zeros((len(qpos), len(names))), np.zeros((len(qpos), 6))
    if forces and ground is not None:
        check_feet(embodiment, qpos, forces, scale)
    for frame in range(len(qpos)):
        data.qpos[:], data.qvel[:], data.qacc[:] = qpos[frame], qvel[frame], qacc[frame]
        mujoco.mj_inverse(model, data)
        needed = data.qfrc_inverse.copy()
        for side, foot in (forces or {}).items():
            if foot.loaded[frame] and ground is not None:
                given = np.zeros(model.nv)
                push, turn, point = (ground.apply(v[frame]) for v in (foot.force, foot.torque, scale * foot.point))
                mujoco.mj_applyFT(model, data, push, turn, point, model.body(f"calcn_{side}").id, given)
                needed -= given
        moments[frame] = [joint_tangent(embodiment, qpos[frame], a) @ needed for a in addresses]
        residual[frame] = needed[:6] if embodiment.root_joint is not None else 0.0
    time = start_time + np.arange(len(qpos)) / rate
    units = tuple("N" if model.jnt_type[int(i)] == 2 else "Nm" for i in embodiment.resolve("joint", names))
    return JointMoments(TimeSeries(time, moments, tuple(names), units, embodiment.name), residual)


def smooth_motion(embodiment: Embodiment, qpos: np.ndarray, rate: float, cutoff: float) -> np.ndarray:
    """The motion low-passed at `cutoff` [Hz], quaternions normalised, coupled joints following."""
    if not cutoff or cutoff >= rate / 2:
        return qpos
    out = np.array(qpos, dtype=float)
    if embodiment.root_joint is not None:
        # A quaternion that flips its sign between frames would be smoothed through zero.
        flips = np.cumprod(np.where(np.sum(out[1:, 3:7] * out[:-1, 3:7], axis=1) < 0, -1.0, 1.0))
        out[1:, 3:7] *= flips[:, None]
    out = butterworth(out, rate, cutoff, "low", 4)
    if embodiment.root_joint is not None:
        out[:, 3:7] /= np.linalg.norm(out[:, 3:7], axis=1, keepdims=True)
    return embodiment.project(out)


def derivatives(model: mujoco.MjModel, qpos: np.ndarray, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """(T, nv) velocity and acceleration by central differences; one-sided at the ends."""
    frames = len(qpos)
    if frames < 5:
        raise InputError(f"{frames} frames: inverse dynamics needs at least 5")
    qvel = np.zeros((frames, model.nv))
    for frame in range(frames):
        before, after = max(frame - 1, 0), min(frame + 1, frames - 1)
        mujoco.mj_differentiatePos(model, qvel[frame], (after - before) / rate, qpos[before], qpos[after])
    return qvel, np.asarray(np.gradient(qvel, 1.0 / rate, axis=0))


def check_feet(embodiment: Embodiment, qpos: np.ndarray, forces: dict[str, FootForce], scale: float) -> None:
    """Raises InputError where the forces act nearer to the other foot (plates exchanged) or far from both."""
    feet = feet_in_ground(embodiment, qpos, scale)
    away: dict[tuple[str, str], list[float]] = {(a, b): [] for a in "rl" for b in "rl"}
    for frame in np.unique(np.linspace(0, len(qpos) - 1, 40).astype(int)):
        for side, foot in forces.items():
            if foot.loaded[frame]:
                for other in "rl":
                    offset = scale * (foot.point[frame] - feet[other][frame])[[0, 2]]
                    away[side, other].append(float(np.linalg.norm(offset)))
    mean = {pair: float(np.mean(values)) for pair, values in away.items() if values}
    for side, name in (("r", "right"), ("l", "left")):
        other = "l" if side == "r" else "r"
        if (side, side) in mean and mean[side, other] < mean[side, side]:
            raise InputError(
                f"the {name} plate's forces act {mean[side, other]:.2f} m from the other foot and "
                f"{mean[side, side]:.2f} m from their own: the plates are exchanged, set swap_plates=true"
            )
        if mean.get((side, side), 0.0) > FAR:
            raise InputError(f"the {name} plate's forces act {mean[side, side]:.2f} m from the foot: another frame?")


def _rigid(embodiment: Embodiment, mass: float) -> mujoco.MjModel:
    """A copy of the model without springs, dampers, contacts and constraints, of the subject's mass."""
    model = embodiment.model.__copy__()
    model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_CONSTRAINT
    for name in ("mjDSBL_SPRING", "mjDSBL_DAMPER"):
        model.opt.disableflags |= getattr(mujoco.mjtDisableBit, name)
    if mass:
        factor = mass / float(model.body_mass.sum())
        model.body_mass *= factor
        model.body_inertia *= factor
    model.dof_armature[:] = 0.0
    model.dof_frictionloss[:] = 0.0
    mujoco.mj_setConst(model, mujoco.MjData(model))
    return model
