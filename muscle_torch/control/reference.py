"""Tables of a clip for the controller: accelerations, mass centre, angular momentum, feet and swings."""

import dataclasses
from dataclasses import dataclass

import mujoco
import numpy as np

from muscle_torch.motion.low_pass import derivatives
from muscle_torch.motion.support import runs

from .body import ControlBody
from .options import StepOptions


@dataclass(frozen=True, eq=False)
class Reference:
    """A feasible motion of T frames at the control rate, with F feet and B ball joints, in world axes and SI units."""

    qpos: np.ndarray  # (T, nq)
    qvel: np.ndarray  # (T, nv)
    qacc: np.ndarray  # (T, nv)
    com: np.ndarray  # (T, 3) mass centre
    com_velocity: np.ndarray  # (T, 3)
    com_acceleration: np.ndarray  # (T, 3)
    momentum: np.ndarray  # (T, 3) angular momentum about the mass centre
    momentum_rate: np.ndarray  # (T, 3)
    foot_pos: np.ndarray  # (T, F, 3) positions of the heels, lifted in swings
    foot_mat: np.ndarray  # (T, F, 3, 3)
    foot_velocity: np.ndarray  # (T, F, 6) linear, then angular
    foot_acceleration: np.ndarray  # (T, F, 6)
    torso_mat: np.ndarray  # (T, 3, 3) orientation of the torso; zero for a body without one
    torso_velocity: np.ndarray  # (T, 3) its angular velocity
    torso_acceleration: np.ndarray  # (T, 3)
    hip_pos: np.ndarray  # (T, F, 3) positions of the first bodies of the legs
    stands: np.ndarray  # (T, F) bool
    swing: np.ndarray  # (T, F) in [0, 1]: 1 in the middle of a swing, 0 in stance, ramps between
    landing: np.ndarray  # (T, F) time to the next stance [s]; 0 in stance, inf after the last
    ball_mat: np.ndarray  # (T, B, 3, 3) orientation of a ball joint's outer body in the inner one's axes
    ball_velocity: np.ndarray  # (T, B, 3) relative angular velocity in the inner one's axes
    activation: np.ndarray  # (T, nu) feedforward activations; zero if there is no feedforward

    @property
    def num_frames(self) -> int:
        """Number of frames T."""
        return len(self.qpos)

    @classmethod
    def of(cls, body: ControlBody, qpos: np.ndarray, stands: np.ndarray, steps: StepOptions) -> "Reference":
        """Compute the tables of a feasible motion.

        Args:
            body: The body.
            qpos: Poses at the control rate, (T, nq).
            stands: Feet in stance, bool (T, F).
            steps: Lift and ramps of swings.
        """
        rate = body.embodiment.control_frequency
        qvel, qacc = derivatives(body.model, qpos, rate)
        tables = _walk_through(body, qpos, qvel)
        swing = np.zeros(stands.shape)
        for foot, column in enumerate(stands.T):
            swing[:, foot] = swing_phase(column, steps, rate)
            lift = steps.lift * swing[:, foot]
            tables["foot_pos"][:, foot, 2] += lift
            tables["foot_velocity"][:, foot, 2] += np.gradient(lift, 1.0 / rate)
        gradient = {
            name: np.gradient(tables[source], 1.0 / rate, axis=0)
            for name, source in (
                ("com_acceleration", "com_velocity"),
                ("momentum_rate", "momentum"),
                ("foot_acceleration", "foot_velocity"),
                ("torso_acceleration", "torso_velocity"),
            )
        }
        landing = landing_times(stands, rate)
        none = np.zeros((len(qpos), body.model.nu))
        return cls(
            *(qpos, qvel, qacc),
            **(tables | gradient),
            stands=stands,
            swing=swing,
            landing=landing,
            activation=none,
        )

    def with_activation(self, activation: np.ndarray) -> "Reference":
        """Return the reference with feedforward activations, (T, nu)."""
        return dataclasses.replace(self, activation=activation)


def swing_phase(stands: np.ndarray, steps: StepOptions, rate: float) -> np.ndarray:
    """Return the swing phase of a foot, (T,): 0 in stance, ramps, and 1 in the middle of a swing.

    A swing that touches an end of the clip has no ramp there.

    Args:
        stands: Frames in stance, bool (T,).
        steps: Durations of the ramps: `rise_time` and `fall_time`.
        rate: Frames per second [Hz].
    """
    out, count = np.zeros(len(stands)), len(stands)
    for start, stop in runs(~stands):
        frames = np.arange(start, stop)
        rise = (frames - start + 1) / max(steps.rise_time * rate, 1.0) if start > 0 else np.ones(len(frames))
        fall = (stop - frames) / max(steps.fall_time * rate, 1.0) if stop < count else np.ones(len(frames))
        x = np.minimum(1.0, np.minimum(rise, fall))
        out[start:stop] = x**3 * (10 - 15 * x + 6 * x**2)
    return out


def landing_times(stands: np.ndarray, rate: float) -> np.ndarray:
    """Return the time until each foot stands, (T, F) [s]; inf after its last stance."""
    out = np.zeros(stands.shape)
    after = np.full(stands.shape[1], np.inf)
    for frame in range(len(stands) - 1, -1, -1):
        after = np.where(stands[frame], 0.0, after + 1.0 / rate)
        out[frame] = after
    return out


def _walk_through(body: ControlBody, qpos: np.ndarray, qvel: np.ndarray) -> dict[str, np.ndarray]:
    """Return the tables of forward kinematics and momentum of all frames."""
    model, data = body.model, mujoco.MjData(body.model)
    heels, hips = [foot.body for foot in body.feet], [foot.hip for foot in body.feet]
    rows: dict[str, list[np.ndarray]] = {name: [] for name in FRAME_TABLES}
    jacobian, turning = np.zeros((3, model.nv)), np.zeros((3, model.nv))
    for position, velocity in zip(qpos, qvel, strict=True):
        data.qpos[:], data.qvel[:] = position, velocity
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        rows["com"].append(data.subtree_com[body.trunk].copy())
        mujoco.mj_jacSubtreeCom(model, data, jacobian, body.trunk)
        rows["com_velocity"].append(jacobian @ velocity)
        mujoco.mj_angmomMat(model, data, jacobian, body.trunk)
        rows["momentum"].append(jacobian @ velocity)
        rows["foot_pos"].append(data.xpos[heels])
        rows["foot_mat"].append(data.xmat[heels].reshape(-1, 3, 3))
        rows["hip_pos"].append(data.xpos[hips])
        torso, turn = np.zeros((3, 3)), np.zeros(3)
        if body.torso is not None:
            mujoco.mj_jacBody(model, data, None, turning, body.torso)
            torso, turn = data.xmat[body.torso].reshape(3, 3).copy(), turning @ velocity
        rows["torso_mat"].append(torso)
        rows["torso_velocity"].append(turn)
        feet = np.zeros((len(heels), 6))
        for index, heel in enumerate(heels):
            mujoco.mj_jacBody(model, data, jacobian, turning, heel)
            feet[index] = np.concatenate((jacobian @ velocity, turning @ velocity))
        rows["foot_velocity"].append(feet)
        mats, turns = np.zeros((len(body.ball_joints), 3, 3)), np.zeros((len(body.ball_joints), 3))
        for index, (inner, outer, _) in enumerate(body.ball_joints):
            frame = data.xmat[inner].reshape(3, 3)
            mats[index] = frame.T @ data.xmat[outer].reshape(3, 3)
            turns[index] = frame.T @ relative_turning(model, data, inner, outer) @ velocity
        rows["ball_mat"].append(mats)
        rows["ball_velocity"].append(turns)
    return {name: np.stack(values) for name, values in rows.items()}


FRAME_TABLES = (
    *("com", "com_velocity", "momentum", "foot_pos", "foot_mat", "foot_velocity", "hip_pos"),
    *("torso_mat", "torso_velocity", "ball_mat", "ball_velocity"),
)


def relative_turning(model: mujoco.MjModel, data: mujoco.MjData, inner: int, outer: int) -> np.ndarray:
    """Return the Jacobian of the angular velocity between two bodies, in world axes.

    Args:
        model: The model.
        data: Data after forward kinematics.
        inner: Id of the body relative to which `outer` turns.
        outer: Id of the other body.

    Returns:
        (3, nv).
    """
    first, second = np.zeros((3, model.nv)), np.zeros((3, model.nv))
    mujoco.mj_jacBody(model, data, None, first, inner)
    mujoco.mj_jacBody(model, data, None, second, outer)
    return second - first
