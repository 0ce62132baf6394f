"""Ground force and joint moments of a rollout, rebuilt from its recorded states.

Position, velocity and activation of a frame determine every force in the model, so an archive need not hold them: each
frame is put into the model, and MuJoCo's forward dynamics gives the contacts again. Joint moments are those of inverse
dynamics with these contact forces, as a laboratory computes them: all that acts on a joint but inertia, gravity and the
ground (muscles, ligaments, springs, dampers, limits of the joints).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import mujoco
import numpy as np

from muscle_torch.embodiments import Embodiment
from muscle_torch.embodiments.independent import IndependentJoints
from muscle_torch.errors import InputError
from muscle_torch.motion.rollout_archive import Episode

from .gait import LEG_JOINTS, walking_bodies

# Recorded muscle forces are those of one substep before, 2 % from the states' own; a strength of 0.9 is 10 % away.
SAME_STRENGTH = 0.06


@dataclass(frozen=True, eq=False)
class RolloutDynamics:
    """Of T frames. `ground`: side -> (T, 3) force [N] on the foot, world axes; `moments` (T, J) net moments [Nm]."""

    ground: dict[str, np.ndarray]
    moments: np.ndarray
    joints: tuple[str, ...]


def rollout_dynamics(embodiment: Embodiment, episode: Episode, joints: Sequence[str] = LEG_JOINTS) -> RolloutDynamics:
    """Return the ground's force on each foot and the net moments about `joints` in every frame of an episode.

    Args:
        embodiment: the archive's body, with feet; driven by muscles alone.
        episode: positions, velocities and activations of T frames.
        joints: independent joints; moments are positive towards larger positions.

    Raises:
        InputError: the body has motors (an archive does not hold their torque) or no feet, or its muscles were of
            another strength in the rollout.
    """
    if len(embodiment.motor_ids):
        raise InputError(f"{embodiment.name} has motors ({', '.join(embodiment.motor_names[:3])}): their torque is not "
                         "in an archive, so the forces of its rollouts cannot be rebuilt")  # fmt: skip
    model, data = embodiment.model, mujoco.MjData(embodiment.model)
    ids, independent = walking_bodies(embodiment), IndependentJoints(embodiment)
    foot_of = {ids[f"{part}_{side}"]: side for part in ("calcn", "toes") for side in "rl"}
    ground = {side: np.zeros((len(episode.qpos), 3)) for side in "rl"}
    moments, pulls = np.zeros((len(episode.qpos), len(joints))), np.zeros(episode.muscle_force.shape)
    for frame, qpos in enumerate(episode.qpos.astype(float)):
        data.qpos[: embodiment.num_qpos], data.qvel[: embodiment.num_qvel] = qpos, episode.qvel[frame]
        data.act[embodiment.muscle_act_ids] = episode.activation[frame]
        mujoco.mj_forward(model, data)
        pulls[frame] = data.actuator_force[embodiment.muscle_ids]
        forces, pushed = contact_forces(model, data, foot_of)
        for side, force in forces.items():
            ground[side][frame] = force
        net = data.qfrc_actuator + data.qfrc_passive + data.qfrc_constraint - pushed
        moments[frame] = independent.along(qpos, joints).T @ net[: embodiment.num_qvel]
    _check_strength(episode, pulls)
    return RolloutDynamics(ground, moments, tuple(joints))


def _check_strength(episode: Episode, pulls: np.ndarray) -> None:
    """Raise InputError if the muscles' forces (T, muscles) [N] of the recorded states are not the recorded ones."""
    recorded = episode.muscle_force[1:]  # the first row is from before the rollout
    apart = np.linalg.norm(pulls[1:] - recorded) / max(float(np.linalg.norm(recorded)), 1e-9)
    if apart > SAME_STRENGTH:
        raise InputError(
            f"the muscles of {episode.name} pulled otherwise than the model's in the same states (by "
            f"{100 * apart:.0f} %): other strengths or parameters; evaluate without muscle randomization"
        )


def contact_forces(
    model: mujoco.MjModel, data: mujoco.MjData, foot_of: Mapping[int, str]
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return side -> force (3,) [N] of the world on that foot, and their generalised force (nv,).

    `data` is a state after `mj_forward`; `foot_of`: id of a foot's body -> its side.
    """
    forces, pushed, wrench = {side: np.zeros(3) for side in foot_of.values()}, np.zeros(model.nv), np.zeros(6)
    for index in range(data.ncon):
        contact = data.contact[index]
        first, second = (int(model.geom_bodyid[geom]) for geom in (contact.geom1, contact.geom2))
        foot = second if first == 0 else first
        if 0 not in (first, second) or foot not in foot_of:
            continue
        mujoco.mj_contactForce(model, data, index, wrench)
        # The contact's frame points from its first geom to its second; its axes are the rows.
        axes = contact.frame.reshape(3, 3).T * (1.0 if first == 0 else -1.0)
        force, torque = axes @ wrench[:3], axes @ wrench[3:]
        forces[foot_of[foot]] += force
        mujoco.mj_applyFT(model, data, force, torque, contact.pos, foot, pushed)
    return forces, pushed
