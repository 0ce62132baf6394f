"""What the tests of KINESIS' imitation share: short clips of the legs, and environments that play them."""

from pathlib import Path
from typing import Any

import numpy as np
from env_cases import CPU

from muscle_torch.embodiments import make_embodiment
from muscle_torch.envs import MuscleEnv, make_env
from muscle_torch.motion import MotionClip


def swinging(folder: Path, body: str = "legs", frames: int = 40, frequency: float = 30.0, name: str = "swing") -> str:
    """The file of a clip: the body glides ahead and turns while hips and knees swing."""
    embodiment = make_embodiment(body)
    time = np.arange(frames) / frequency
    qpos = np.tile(embodiment.qpos0, (frames, 1))
    qpos[:, :2], qpos[:, 2] = np.outer(time, (0.3, -1.0)), 0.93
    qpos[:, 3:7] = np.stack((np.cos(0.2 * time), 0 * time, 0 * time, np.sin(0.2 * time)), axis=1)
    for joint, size in (("hip_flexion_r", 0.4), ("hip_flexion_l", -0.4), ("knee_angle_r", 0.3), ("knee_angle_l", 0.3)):
        qpos[:, embodiment.model.joint(joint).qposadr[0]] = 0.4 + size * np.sin(2 * np.pi * time)
    clip = MotionClip(
        name=name,
        qpos=embodiment.project(qpos).astype(np.float32),
        frequency=frequency,
        joint_names=embodiment.joint_names,
        embodiment=embodiment.name,
        model_version=embodiment.model_version,
    )
    return str(clip.save(folder / f"{name}_{body}.npz"))


def kinesis_env(motion: Any, body: str = "legs", num_envs: int = 4, **overrides: Any) -> MuscleEnv:
    """An environment with the published task of a body."""
    return make_env(body, num_envs, **CPU, motion=motion, preset="kinesis", **overrides)
