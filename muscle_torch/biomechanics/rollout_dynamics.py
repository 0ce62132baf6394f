"""Ground forces and joint moments of a rollout, recomputed from its recorded states.

Position, velocity and activation of a frame determine all forces in the model, so an archive does not store them:
MuJoCo's forward dynamics recomputes the contacts of each frame. Joint moments are those of inverse dynamics with these
contact forces, as computed in a laboratory: everything that acts on a joint except inertia, gravity and the ground
(muscles, ligaments, springs, dampers, joint limits).
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

# Recorded muscle forces are one substep old, a difference of 2 %; a strength of 0.9 gives a difference of 10 %.
SAME_STRENGTH = 0.06


@dataclass(frozen=True, eq=False)
class RolloutDynamics:
    """Forces in T frames."""

    ground: dict[str, np.ndarray]  # side -> (T, 3) force on the foot, world axes [N]
    moments: np.ndarray  # (T, J) net joint moments [Nm]
    joints: tuple[str, ...]


def rollout_dynamics(embodiment: Embodiment, episode: Episode, joints: Sequence[str] = LEG_JOINTS) -> RolloutDynamics:
    """Compute the ground force on each foot and the net joint moments in every frame of an episode.

    Args:
        embodiment: The archive's body, with feet, driven only by muscles.
        episode: Positions, velocities and activations of T frames.
        joints: J independent joints; moments are positive towards larger positions.

    Raises:
        InputError: The body has motors (an archive does not contain their torque) or no feet, or its muscles had
            another strength in the rollout.
    """
    if len(embodiment.motor_ids):
        raise InputError(f"{embodiment.name} has motors ({', '.join(embodiment.motor_names[:3])}): an archive does not "
                         "contain their torque; use a body without motors")  # fmt: skip
    model, data = embodiment.model, mujoco.MjData(embodiment.model)
    ids, independent = walking_bodies(embodiment), IndependentJoints(embodiment)
    foot_of = {ids[f"{part}_{side}"]: side for part in ("calcn", "toes") for side in "rl"}
    ground = {side: np.zeros((len(episode.qpos), 3)) for side in "rl"}
    moments, muscle_force = np.zeros((len(episode.qpos), len(joints))), np.zeros(episode.muscle_force.shape)
    for frame, qpos in enumerate(episode.qpos.astype(float)):
        data.qpos[: embodiment.num_qpos], data.qvel[: embodiment.num_qvel] = qpos, episode.qvel[frame]
        data.act[embodiment.muscle_act_ids] = episode.activation[frame]
        mujoco.mj_forward(model, data)
        muscle_force[frame] = data.actuator_force[embodiment.muscle_ids]
        forces, generalized = contact_forces(model, data, foot_of)
        for side, force in forces.items():
            ground[side][frame] = force
        net = data.qfrc_actuator + data.qfrc_passive + data.qfrc_constraint - generalized
        moments[frame] = independent.along(qpos, joints).T @ net[: embodiment.num_qvel]
    _check_strength(episode, muscle_force)
    return RolloutDynamics(ground, moments, tuple(joints))


def _check_strength(episode: Episode, muscle_force: np.ndarray) -> None:
    """Raise InputError if the muscle forces (T, muscles) [N] of the states differ from the recorded ones."""
    recorded = episode.muscle_force[1:]  # the first row is from before the rollout
    difference = np.linalg.norm(muscle_force[1:] - recorded) / max(float(np.linalg.norm(recorded)), 1e-9)
    if difference > SAME_STRENGTH:
        raise InputError(
            f"the muscle forces of {episode.name} differ from the model's in the same states (by "
            f"{100 * difference:.0f} %): other strengths or parameters; evaluate without muscle randomization"
        )


def contact_forces(
    model: mujoco.MjModel, data: mujoco.MjData, foot_of: Mapping[int, str]
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return the contact force (3,) [N] on each foot by side, and the generalized contact force (nv,).

    Args:
        model: The model.
        data: A state after `mj_forward`.
        foot_of: Body id -> side of the foot that it belongs to.
    """
    forces, generalized, wrench = {side: np.zeros(3) for side in foot_of.values()}, np.zeros(model.nv), np.zeros(6)
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
        mujoco.mj_applyFT(model, data, force, torque, contact.pos, foot, generalized)
    return forces, generalized
