"""Inverse dynamics: the joint moments required by a measured motion with measured ground forces."""

from dataclasses import dataclass

import mujoco
import numpy as np

from muscle_torch.embodiments import Embodiment
from muscle_torch.embodiments.independent import IndependentJoints
from muscle_torch.errors import InputError

from .coordinates import model_frame
from .ground_forces import MAX_FOOT_DISTANCE, FootForce, feet_in_ground
from .series import TimeSeries, butterworth


@dataclass(frozen=True, eq=False)
class JointMoments:
    """Net joint moments of T frames."""

    moments: TimeSeries  # (T, J) [Nm] about independent joints, positive towards larger positions
    residual: np.ndarray  # (T, 6) force [N] and moment [Nm] at the root not explained by the ground forces


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
    """Compute the net joint moments of a motion by central differences and recursive Newton-Euler.

    Muscles, springs, dampers, contacts and equality constraints are disabled. The moment about a joint includes those
    of the joints coupled to it.

    Args:
        embodiment: The body.
        qpos: (T, nq).
        rate: Frame rate [Hz].
        forces: Side -> ground reaction, acting on the calcaneus.
        joints: Independent joints; empty: all.
        scale: Factor of the centres of pressure: the model's lengths over the subject's.
        mass: The subject's mass [kg], to which masses and inertias are scaled; 0: the model's.
        cutoff: Low-pass of the motion [Hz]; 0: off.
        start_time: Time of the first frame [s].

    Raises:
        InputError: A ground force acts far from its foot, or the motion is too short.
    """
    model = _rigid(embodiment, mass)
    data = mujoco.MjData(model)
    qpos = smooth_motion(embodiment, qpos, rate, cutoff)
    qvel, qacc = derivatives(model, qpos, rate)
    independent = IndependentJoints(embodiment)
    names = joints or independent.joints
    ground = model_frame(embodiment) if forces else None
    moments, residual = np.zeros((len(qpos), len(names))), np.zeros((len(qpos), 6))
    if forces and ground is not None:
        check_feet(embodiment, qpos, forces, scale)
    for frame in range(len(qpos)):
        data.qpos[:], data.qvel[:], data.qacc[:] = qpos[frame], qvel[frame], qacc[frame]
        mujoco.mj_inverse(model, data)
        required = data.qfrc_inverse.copy()
        for side, foot in (forces or {}).items():
            if foot.loaded[frame] and ground is not None:
                applied = np.zeros(model.nv)
                force, torque, point = (ground.apply(v[frame]) for v in (foot.force, foot.torque, scale * foot.point))
                mujoco.mj_applyFT(model, data, force, torque, point, model.body(f"calcn_{side}").id, applied)
                required -= applied
        moments[frame] = independent.along(qpos[frame], names).T @ required[: embodiment.num_qvel]
        residual[frame] = required[:6] if embodiment.root_joint is not None else 0.0
    time = start_time + np.arange(len(qpos)) / rate
    units = tuple("N" if model.jnt_type[int(i)] == 2 else "Nm" for i in embodiment.resolve("joint", names))
    return JointMoments(TimeSeries(time, moments, tuple(names), units, embodiment.name), residual)


def smooth_motion(embodiment: Embodiment, qpos: np.ndarray, rate: float, cutoff: float) -> np.ndarray:
    """Low-pass a motion; quaternions stay normalized and coupled joints follow.

    Args:
        embodiment: The body.
        qpos: (T, nq).
        rate: Frame rate [Hz].
        cutoff: [Hz]; 0: off.
    """
    if not cutoff or cutoff >= rate / 2:
        return qpos
    out = np.array(qpos, dtype=float)
    if embodiment.root_joint is not None:
        # Filtering across a sign change of the quaternion would pass through zero.
        flips = np.cumprod(np.where(np.sum(out[1:, 3:7] * out[:-1, 3:7], axis=1) < 0, -1.0, 1.0))
        out[1:, 3:7] *= flips[:, None]
    out = butterworth(out, rate, cutoff, "low", 4)
    if embodiment.root_joint is not None:
        out[:, 3:7] /= np.linalg.norm(out[:, 3:7], axis=1, keepdims=True)
    return embodiment.project(out)


def derivatives(model: mujoco.MjModel, qpos: np.ndarray, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Return velocity and acceleration (T, nv) by central differences, one-sided at the ends.

    Args:
        model: The model.
        qpos: (T, nq).
        rate: Frame rate [Hz].

    Raises:
        InputError: There are fewer than 5 frames.
    """
    frames = len(qpos)
    if frames < 5:
        raise InputError(f"{frames} frames are too few for inverse dynamics; use at least 5")
    qvel = np.zeros((frames, model.nv))
    for frame in range(frames):
        before, after = max(frame - 1, 0), min(frame + 1, frames - 1)
        mujoco.mj_differentiatePos(model, qvel[frame], (after - before) / rate, qpos[before], qpos[after])
    return qvel, np.asarray(np.gradient(qvel, 1.0 / rate, axis=0))


def check_feet(embodiment: Embodiment, qpos: np.ndarray, forces: dict[str, FootForce], scale: float) -> None:
    """Check that ground forces act near their foot.

    Args:
        embodiment: The body.
        qpos: (T, nq).
        forces: Side -> ground reaction.
        scale: The model's lengths over the subject's.

    Raises:
        InputError: Forces act nearer to the other foot (plates exchanged), or far from both.
    """
    feet = feet_in_ground(embodiment, qpos, scale)
    distances: dict[tuple[str, str], list[float]] = {(a, b): [] for a in "rl" for b in "rl"}
    for frame in np.unique(np.linspace(0, len(qpos) - 1, 40).astype(int)):
        for side, foot in forces.items():
            if foot.loaded[frame]:
                for other in "rl":
                    offset = scale * (foot.point[frame] - feet[other][frame])[[0, 2]]
                    distances[side, other].append(float(np.linalg.norm(offset)))
    mean = {pair: float(np.mean(values)) for pair, values in distances.items() if values}
    for side, name in (("r", "right"), ("l", "left")):
        other = "l" if side == "r" else "r"
        if (side, side) in mean and mean[side, other] < mean[side, side]:
            raise InputError(
                f"the {name} plate's forces act {mean[side, other]:.2f} m from the other foot and "
                f"{mean[side, side]:.2f} m from the {name} one: the plates are exchanged, set swap_plates=true"
            )
        if mean.get((side, side), 0.0) > MAX_FOOT_DISTANCE:
            raise InputError(
                f"the {name} plate's forces act {mean[side, side]:.2f} m from the foot: convert them to the frame of "
                "the motion"
            )


def _rigid(embodiment: Embodiment, mass: float) -> mujoco.MjModel:
    """Return a copy of the model without springs, dampers, contacts and constraints, scaled to the subject's mass."""
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
