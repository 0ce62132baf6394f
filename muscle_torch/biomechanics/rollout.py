"""Recording what a policy does, for a rollout archive."""

from collections.abc import Callable, Sequence
from typing import Any

import mujoco
import numpy as np
import torch
from torch import Tensor

from muscle_torch.embodiments import Embodiment
from muscle_torch.errors import InputError

Act = Callable[[Tensor], Tensor]


@torch.no_grad()
def record_rollouts(env: Any, act: Act, clips: Sequence[int]) -> list[dict[str, Any]]:
    """Plays `clips` (one world each, at most `env.num_envs`) and returns the archive's episodes.

    A frame holds posture, activations and touch before its control step (`pre_step`), and the muscles' generalised
    forces and the touch sensors after it (`post_step`), numbered by the reference frame they belong to. An episode
    ends with its clip, or where the evaluation thresholds end it.
    """
    body: Embodiment = env.embodiment
    if len(clips) > env.num_envs:
        raise InputError(f"{len(clips)} clips need as many worlds, there are {env.num_envs}")
    filled = [*clips, *[clips[-1]] * (env.num_envs - len(clips))]
    clip = torch.tensor(filled, device=env.device)
    lengths = env.library.length.to(env.device)[clip]
    sensors = touch_addresses(body)
    dofs = body.joint_qvel_ids
    frames: list[dict[str, np.ndarray]] = []
    observation = env.assign(clip, torch.zeros_like(clip))
    alive, counts = torch.ones(env.num_envs, dtype=torch.bool, device=env.device), torch.zeros_like(clip)
    for frame in range(int(lengths.max()) - 1):
        alive = alive & (frame < lengths - 1)
        if not bool(alive.any()):
            break
        before = {"qpos": _copy(env, "qpos"), "act": _copy(env, "act"), "touch": _copy(env, "sensordata")[:, sensors]}
        step = env.advance(act(observation))
        alive = alive & ~step.broken
        counts += alive
        after = {"forces": _copy(env, "qfrc_actuator")[:, dofs], "post_touch": _copy(env, "sensordata")[:, sensors]}
        frames.append(before | after)
        alive = alive & ~step.terminated
        observation = step.observation
    return [_episode(env, frames, world, index, int(counts[world])) for world, index in enumerate(clips)]


def kinetics_of(body: Embodiment) -> dict[str, Any]:
    """What the archive states once about its kinetics."""
    slides = body.model.jnt_type[body.scalar_joint_ids] == mujoco.mjtJoint.mjJNT_SLIDE
    return {
        "kinetics_sample_phase": "post_step",
        "generalized_actuator_force_joint_names": [body.joint_names[j] for j in body.scalar_joint_ids],
        "generalized_actuator_force_units": ["N" if slide else "Nm" for slide in slides],
        "force_sensor_names": list(body.touch_sensors),
        "force_sensor_units": ["N"] * len(body.touch_sensors),
        "model_mass_kg": float(body.model.body_mass.sum()),
    }


def touch_addresses(body: Embodiment) -> list[int]:
    """Places of the foot sensors in sensordata. Raises InputError for a body without the archive's four."""
    if len(body.touch_sensors) != 4:
        raise InputError(f"{body.name} has {len(body.touch_sensors)} touch sensors; a rollout archive holds 4 (feet)")
    return body.model.sensor_adr[body.resolve("sensor", body.touch_sensors)].tolist()


def sampled(policy_distribution: Callable[[Tensor], tuple[Tensor, Tensor]], seed: int) -> Act:
    """Actions drawn from the policy's distribution (mean, standard deviation), the same for the same `seed`."""
    generator = torch.Generator().manual_seed(seed)

    def act(observation: Tensor) -> Tensor:
        mean, std = policy_distribution(observation)
        return mean + std * torch.randn(mean.shape, generator=generator).to(mean.device)

    return act


def _episode(env: Any, frames: list[dict[str, np.ndarray]], world: int, clip: int, count: int) -> dict[str, Any]:
    start, length = int(env.library.start[clip]), int(env.library.length[clip])
    if count == 0:
        raise InputError(f"motion {env.library.names[clip]!r} was lost in its first step: nothing to analyse")

    def stacked(name: str) -> np.ndarray:
        return np.stack([frame[name][world] for frame in frames[:count]])

    return {
        "traj_id": clip,
        "motion_name": env.library.names[clip],
        "traj_length": length,
        "joint_positions": stacked("qpos"),
        "traj_qpos": env.library.qpos[start : start + length].cpu().numpy(),
        "muscle_activations": stacked("act"),
        "touch_observations": stacked("touch"),
        "generalized_actuator_forces": stacked("forces"),
        "force_sensor_values": stacked("post_touch"),
        "kinetics_reference_steps": np.arange(1, count + 1),
    }


def _copy(env: Any, name: str) -> np.ndarray:
    return env.physics.field(name).cpu().numpy().copy()
