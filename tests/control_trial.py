"""One run of the controller on a clip in plain MuJoCo, with disturbances: what robustness and gains are measured by.

The same physics, thresholds and errors as in the evaluation of an environment, without one.
"""

from dataclasses import dataclass

import mujoco
import numpy as np

from muscle_torch.control.body import ControlBody
from muscle_torch.control.planner import StepPlanner
from muscle_torch.control.reference import Reference
from muscle_torch.embodiments import Embodiment
from muscle_torch.motion import MotionClip
from muscle_torch.motion.joints import fit_to
from muscle_torch.motion.resample import at_control_rate

RELATIVE_LIMIT, ROOT_LIMIT = 0.3, 0.3  # [m] mean deviation of the sites relative to the root, and of the root
PUSH_TIME = 0.2  # [s]
NOISE_MEMORY = 0.8  # of excitation noise from one control step to the next


@dataclass(frozen=True)
class Disturbance:
    """What makes a run harder than the clip; the default is none."""

    seed: int = 0
    root_noise: float = 0.0  # [m/s] and [rad/s] standard deviation of the root's velocity at the start
    joint_noise: float = 0.0  # [rad/s] of the independent joints'
    excitation_noise: float = 0.0  # standard deviation of what is added to excitations
    push: tuple[float, float] = (0.0, 0.0)  # [N s] horizontal impulse on the root, world axes, over `PUSH_TIME`
    push_frame: int = 0  # frame of the clip at which it begins
    strength: float = 1.0  # of every muscle's force in the physics; the controller knows nothing of it
    start: int = 0  # frame of the clip to start on


@dataclass(frozen=True, eq=False)
class Trial:
    """What came of a run. Errors are means over the control steps that it lasted."""

    steps: int  # control steps within the limits
    possible: int  # control steps to the clip's end
    site_error: float  # [m] mean distance of the tracked sites from the stored clip
    root_error: float  # [m] of the first site
    activations: np.ndarray  # (steps, M) of the muscles
    iterations: float  # of Newton's method a control step
    unconverged: int  # control steps in which the programme stopped at its limit of iterations

    @property
    def coverage(self) -> float:
        """Share of the clip's control steps survived."""
        return self.steps / self.possible

    @property
    def whole(self) -> bool:
        return self.steps == self.possible


@dataclass(frozen=True, eq=False)
class StoredMotion:
    """A clip as it is: where the body starts, and what errors are measured against."""

    qpos: np.ndarray  # (T, nq) at the control rate
    qvel: np.ndarray  # (T, nv)
    sites: np.ndarray  # (T, S, 3) [m] of the tracked sites

    @classmethod
    def of(cls, clip: MotionClip, embodiment: Embodiment) -> "StoredMotion":
        """The motion of a clip of this body."""
        qpos, qvel = at_control_rate(fit_to(clip, embodiment), embodiment, "derivative")
        data, sites = mujoco.MjData(embodiment.model), []
        for position in qpos:
            data.qpos[:] = position
            mujoco.mj_kinematics(embodiment.model, data)
            sites.append(data.site_xpos[embodiment.site_ids])
        return cls(qpos, qvel, np.array(sites))


def run_trial(
    planner: StepPlanner, reference: Reference, stored: StoredMotion, disturbance: Disturbance | None = None
) -> Trial:
    """Run the controller from a frame of the clip until it is lost or over.

    Args:
        planner: of the body, with its gains.
        reference: tables of the filtered clip.
        stored: the clip as it is.
        disturbance: what acts against it; None: nothing.
    """
    disturbance, body = disturbance or Disturbance(), planner.body
    model, data, random = _physics(body, stored, disturbance)
    noise, push = np.zeros(model.nu), np.array([*disturbance.push, 0.0]) / PUSH_TIME
    last_push = disturbance.push_frame + round(PUSH_TIME / body.control_step)
    errors, activations, iterations, unconverged, steps = [], [], [], 0, 0
    possible = len(stored.qpos) - 1 - disturbance.start
    for frame in range(disturbance.start, len(stored.qpos) - 1):
        controls, plan = planner.controls(data.qpos, data.qvel, data.act, reference, frame)
        iterations.append(plan.iterations)
        unconverged += not plan.converged
        noise = NOISE_MEMORY * noise + np.sqrt(1 - NOISE_MEMORY**2) * random.normal(size=model.nu)
        noisy = controls + disturbance.excitation_noise * noise * body.muscle
        data.ctrl[:] = np.clip(noisy, *model.actuator_ctrlrange.T)
        data.xfrc_applied[body.trunk, :3] = push if disturbance.push_frame <= frame < last_push else 0.0
        mujoco.mj_step(model, data, nstep=body.embodiment.substeps)
        mujoco.mj_kinematics(model, data)
        activations.append(data.act.copy())
        mean, root, relative = _deviation(data.site_xpos[body.embodiment.site_ids], stored.sites[frame + 1])
        errors.append((mean, root))
        # Written so that NaN, too, is beyond the limits.
        if not (relative <= RELATIVE_LIMIT and root <= ROOT_LIMIT):
            break
        steps += 1
    site_error, root_error = np.mean(errors, axis=0).tolist()
    return Trial(
        *(steps, possible, site_error, root_error, np.array(activations)), float(np.mean(iterations)), unconverged
    )


def _physics(
    body: ControlBody, stored: StoredMotion, disturbance: Disturbance
) -> tuple[mujoco.MjModel, mujoco.MjData, np.random.Generator]:
    """The body's own model at the start of the run, muscles at their strength, velocities with noise."""
    model = body.embodiment.model
    if disturbance.strength != 1.0:
        model = model.__copy__()
        model.actuator_gainprm[body.muscle, 2:4] *= disturbance.strength
        model.actuator_biasprm[body.muscle, 2:4] *= disturbance.strength
    data, random = mujoco.MjData(model), np.random.default_rng(disturbance.seed)
    data.qpos[:], data.qvel[:] = stored.qpos[disturbance.start], stored.qvel[disturbance.start]
    deviation = np.full(len(body.dofs), disturbance.joint_noise)
    deviation[: body.root_size] = disturbance.root_noise
    data.qvel[:] += body.independent.tangent(data.qpos) @ (deviation * random.normal(size=len(deviation)))
    mujoco.mj_forward(model, data)
    return model, data, random


def _deviation(sites: np.ndarray, reference: np.ndarray) -> tuple[float, float, float]:
    """(mean deviation, deviation of the root, mean deviation relative to the root) of sites (S, 3) [m]."""
    away = np.linalg.norm(sites - reference, axis=1)
    relative = np.linalg.norm((sites[1:] - sites[0]) - (reference[1:] - reference[0]), axis=1)
    return float(away.mean()), float(away[0]), float(relative.mean())
