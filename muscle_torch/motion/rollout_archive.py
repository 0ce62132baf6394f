"""Rollout archives: one .npz of joint angles, activations and forces, in the format analysed by mm-evalkit.

mm-evalkit (PyPI) compares rollouts with measured EMG, kinematics and kinetics. The arrays that it requires have its
names; those that it ignores (velocities, excitations, muscle forces, rewards, names) are for further analyses. Row t is
frame t of the clip, before the control step (`activation_sample_phase` is pre_step); its kinetics are of frame t + 1.
"""

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from muscle_torch.embodiments import Embodiment
from muscle_torch.errors import InputError
from muscle_torch.storage.files import write_atomically

# Field of `Episode` -> array name in the file, after the prefix "episode_<i>_".
COLUMNS = {
    "clip": "traj_id",
    "name": "motion_name",
    "reference": "traj_qpos",
    "qpos": "joint_positions",
    "qvel": "joint_velocities",
    "activation": "muscle_activations",
    "excitation": "muscle_commands",
    "muscle_force": "muscle_forces",
    "touch": "touch_observations",
    "reward": "rewards",
    "joint_force": "generalized_actuator_forces",
    "sensor_force": "force_sensor_values",
    "reference_step": "kinetics_reference_steps",
}


MOTORS = "motor_names"  # arrays `episode_<i>_motor_forces` exist only for bodies with motors
NETWORK = "network_activity"  # names of the policy's activations; arrays `episode_<i>_network_<name>`


@dataclass(frozen=True)
class Episode:
    """One trial played from its start: T control steps; for a motion of L frames T <= L - 1, fewer if it was lost."""

    clip: int  # index among the evaluated motions or trials
    name: str
    reference: np.ndarray  # (L, num_qpos) [rad], root [m] and quaternion; L = 0 if no motion was followed
    qpos: np.ndarray  # (T, num_qpos), in the reference's world frame
    qvel: np.ndarray  # (T, num_qvel)
    activation: np.ndarray  # (T, muscles) in [0, 1]
    excitation: np.ndarray  # (T, muscles) control during the step
    muscle_force: np.ndarray  # (T, muscles) of the preceding substep [N], negative: muscles pull
    touch: np.ndarray  # (T, sensors) contact force [N]
    reward: np.ndarray  # (T,) of the step
    joint_force: np.ndarray  # (T, joints) generalized force of muscles and motors after the step [N m or N]
    sensor_force: np.ndarray  # (T, sensors) contact force after the step [N]
    reference_step: np.ndarray  # (T,) frame of the reference after the step
    motor_force: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))  # (T, motors) after the step [N m or N]
    network: dict[str, np.ndarray] = field(default_factory=dict)  # activations of the policy: name -> (T, width)


@dataclass(frozen=True)
class RolloutArchive:
    """Rollouts of one body, with everything needed to read them without the model."""

    embodiment: str  # key of the body
    embodiment_options: dict[str, Any]  # options it was built with
    model_version: str
    dt: float  # control step [s]
    joint_names: tuple[str, ...]  # all joints in model order, including the free joint
    muscle_names: tuple[str, ...]
    force_joint_names: tuple[str, ...]  # hinges and slides, columns of `joint_force`
    force_joint_units: tuple[str, ...]  # Nm or N
    sensor_names: tuple[str, ...]
    mass: float  # of the body [kg]
    motion_group: str
    episodes: tuple[Episode, ...]
    motor_names: tuple[str, ...] = ()  # columns of `motor_force`
    seed: int = 0  # of sampled actions and of the environment


def write_archive(path: Path, archive: RolloutArchive) -> None:
    """Write the archive atomically. Raises InputError if it cannot be written."""
    with (
        write_atomically(path, "free disk space or choose another archive=") as temporary,
        open(temporary, "wb") as file,  # numpy would append .npz to a path
    ):
        np.savez_compressed(file, allow_pickle=False, **_arrays(archive))


def read_archive(path: str | Path, embodiment: Embodiment | None = None) -> RolloutArchive:
    """Read a rollout archive.

    Args:
        path: The file.
        embodiment: If set, the body that the archive must be of.

    Raises:
        InputError: The file is not a rollout archive, or is of another body.
    """
    arrays = _load(Path(path))
    try:
        archive = _archive(arrays)
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(f"{path} is not a rollout archive of this package: {error}; write one with archive=") from None
    if embodiment is not None:
        _check_body(archive, embodiment, path)
    return archive


def _check_body(archive: RolloutArchive, embodiment: Embodiment, path: str | Path) -> None:
    """Raise InputError if the archive is of another body, or of the same body with other options."""
    for name, value in embodiment.identity.items():
        stored = getattr(archive, name)
        if stored != value:
            raise InputError(
                f"{path} contains rollouts of {archive.embodiment}: {name} is {stored!r}, here {value!r}; use the "
                "same embodiment and options"
            )


def _arrays(archive: RolloutArchive) -> dict[str, np.ndarray]:
    arrays: dict[str, Any] = {
        "n_episodes": len(archive.episodes),
        "dt": archive.dt,
        "joint_names": archive.joint_names,
        "muscle_names": archive.muscle_names,
        "embodiment": archive.embodiment,
        "embodiment_options": json.dumps(archive.embodiment_options),
        "model_version": archive.model_version,
        "activation_sample_phase": "pre_step",
        "kinetics_sample_phase": "post_step",
        "generalized_actuator_force_joint_names": archive.force_joint_names,
        "generalized_actuator_force_units": archive.force_joint_units,
        "force_sensor_names": archive.sensor_names,
        "force_sensor_units": ["N"] * len(archive.sensor_names),
        "model_mass_kg": archive.mass,
        "seed": archive.seed,
    }
    if archive.motor_names:
        arrays[MOTORS] = archive.motor_names
    if archive.episodes and archive.episodes[0].network:
        arrays[NETWORK] = list(archive.episodes[0].network)
    if archive.motion_group:
        arrays["motion_group"] = archive.motion_group
    for index, episode in enumerate(archive.episodes):
        prefix = f"episode_{index}_"
        arrays |= {prefix + column: getattr(episode, name) for name, column in COLUMNS.items()}
        if archive.motor_names:
            arrays[prefix + "motor_forces"] = episode.motor_force
        arrays |= {f"{prefix}network_{name}": values for name, values in episode.network.items()}
        arrays |= {prefix + "traj_length": len(episode.reference) or len(episode.qpos) + 1}
        arrays |= {prefix + "timesteps": np.arange(len(episode.qpos))}
    # An empty tuple would become an array of numbers.
    return {k: np.asarray(v, dtype=str if isinstance(v, tuple | list) else None) for k, v in arrays.items()}


def _load(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise InputError(f"archive {path} does not exist (in {Path.cwd()})") from None
    except (OSError, ValueError, zipfile.BadZipFile, AttributeError) as error:
        raise InputError(f"{path} is not a rollout archive: {str(error).splitlines()[0]}") from None


def _archive(arrays: Mapping[str, np.ndarray]) -> RolloutArchive:
    """Build the archive. Raises KeyError for missing arrays and ValueError for inconsistent shapes."""

    def names(key: str) -> tuple[str, ...]:
        return tuple(str(name) for name in arrays[key])

    archive = RolloutArchive(
        embodiment=str(arrays["embodiment"]),
        embodiment_options=json.loads(str(arrays["embodiment_options"])),
        model_version=str(arrays["model_version"]),
        dt=float(arrays["dt"]),
        joint_names=names("joint_names"),
        muscle_names=names("muscle_names"),
        force_joint_names=names("generalized_actuator_force_joint_names"),
        force_joint_units=names("generalized_actuator_force_units"),
        sensor_names=names("force_sensor_names"),
        mass=float(arrays["model_mass_kg"]),
        motion_group=str(arrays.get("motion_group", "")),
        episodes=tuple(_episode(arrays, f"episode_{i}_") for i in range(int(arrays["n_episodes"]))),
        motor_names=names(MOTORS) if MOTORS in arrays else (),
        seed=int(arrays.get("seed", 0)),
    )
    for index, episode in enumerate(archive.episodes):
        _check(archive, episode, index)
    return archive


def _episode(arrays: Mapping[str, np.ndarray], prefix: str) -> Episode:
    fields: dict[str, Any] = {name: arrays[prefix + column] for name, column in COLUMNS.items()}
    network = {str(name): arrays[f"{prefix}network_{name}"] for name in arrays.get(NETWORK, ())}
    motors = arrays[prefix + "motor_forces"] if MOTORS in arrays else np.zeros((len(fields["qpos"]), 0))
    one = {"clip": int(fields["clip"]), "name": str(fields["name"]), "network": network, "motor_force": motors}
    return Episode(**fields | one)


def _check(archive: RolloutArchive, episode: Episode, index: int) -> None:
    steps, width = len(episode.qpos), episode.reference.shape[1]
    expected = {"qpos": width, "touch": len(archive.sensor_names)}
    expected |= dict.fromkeys(("activation", "excitation", "muscle_force"), len(archive.muscle_names))
    expected |= {"joint_force": len(archive.force_joint_names), "sensor_force": len(archive.sensor_names)}
    if archive.motor_names:
        expected["motor_force"] = len(archive.motor_names)
    for name, columns in expected.items():
        shape = getattr(episode, name).shape
        if shape != (steps, columns):
            raise ValueError(
                f"episode {index}: {COLUMNS.get(name, name)} has shape {shape}, expected {(steps, columns)}"
            )
    for name, values in episode.network.items():
        if values.ndim != 2 or len(values) != steps:
            raise ValueError(f"episode {index}: network_{name} has shape {values.shape}, expected ({steps}, width)")
