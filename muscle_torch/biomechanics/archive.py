"""Rollout archives: what a policy did on given motions, in one .npz without pickles."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from muscle_torch.embodiments import Embodiment
from muscle_torch.errors import InputError

from .series import TimeSeries

ARCHIVE_STEP = 0.01  # the format's control step [s]
KINETICS = (
    "kinetics_sample_phase",
    "generalized_actuator_force_joint_names",
    "generalized_actuator_force_units",
    "force_sensor_names",
    "force_sensor_units",
    "model_mass_kg",
)
NAME = "motion_name"  # ours: `traj_id` is the place in a list of motions


@dataclass(frozen=True, eq=False)
class Episode:
    """One motion as it was followed. `qpos` (T, nq), `reference_qpos` (L, nq), 1 <= T <= L."""

    name: str
    qpos: np.ndarray
    reference_qpos: np.ndarray
    activations: np.ndarray  # (T, muscles)
    touch: np.ndarray  # (T, 4) right foot, right toes, left foot, left toes [N]
    actuator_forces: TimeSeries | None  # moments of the muscles about the joints [Nm]
    contact_forces: TimeSeries | None  # [N]


@dataclass(frozen=True, eq=False)
class Archive:
    """`episodes` and what holds for all of them."""

    episodes: tuple[Episode, ...]
    joint_names: tuple[str, ...]
    step: float  # [s]
    mass: float | None  # [kg]
    activation_phase: str  # pre_step: of the frame of qpos; post_step: one frame later
    source: str

    def activation_series(self, episode: int, embodiment: Embodiment) -> TimeSeries:
        """Activations of one episode, a column an actuator, on the clock of its motion (frame i is at i * step)."""
        values, names = self.episodes[episode].activations, embodiment.actuator_names
        if values.shape[1] != len(names):
            raise InputError(
                f"{self.source}: {values.shape[1]} muscles, {embodiment.name} has {len(names)}: "
                "another body, or fingers on"
            )
        late = self.step if self.activation_phase == "post_step" else 0.0
        return TimeSeries(late + np.arange(len(values)) * self.step, values, names, ("",) * len(names), self.source)


def read_archive(path: str | Path) -> Archive:
    """Reads and checks an archive. Raises InputError that names the key which is missing or wrong."""
    path = Path(path)
    arrays = _arrays(path)
    count = int(_need(arrays, "n_episodes", path))
    step = float(_need(arrays, "dt", path))
    if abs(step - ARCHIVE_STEP) > 1e-9:
        raise InputError(f"{path}: dt is {step:g} s, rollout archives have {ARCHIVE_STEP} s")
    joints = tuple(str(name) for name in np.ravel(_need(arrays, "joint_names", path)))
    if len(set(joints)) != len(joints):
        raise InputError(f"{path}: joint_names repeat")
    given = [key for key in KINETICS if key in arrays]
    if given and len(given) < len(KINETICS):
        missing = [key for key in KINETICS if key not in arrays]
        raise InputError(f"{path}: kinetics are given in part: {', '.join(missing)} missing")
    phase = str(arrays["activation_sample_phase"]) if "activation_sample_phase" in arrays else "post_step"
    if phase not in ("pre_step", "post_step"):
        raise InputError(f"{path}: activation_sample_phase is {phase!r}: pre_step or post_step")
    episodes = tuple(_episode(arrays, index, step, bool(given), path) for index in range(count))
    if not episodes:
        raise InputError(f"{path}: holds no episodes")
    mass = float(arrays["model_mass_kg"]) if given else None
    return Archive(episodes, joints, step, mass, phase, str(path))


def write_archive(
    path: str | Path,
    episodes: list[dict[str, Any]],
    joint_names: tuple[str, ...],
    kinetics: dict[str, Any] | None = None,
    motion_group: str = "",
) -> Path:
    """Writes an archive. Each episode holds the format's keys without their prefix (`traj_id`, `joint_positions`, ...).

    `kinetics`: the values of `KINETICS` where they were recorded. Activations are declared `pre_step`.
    """
    path = Path(path)
    arrays: dict[str, Any] = {
        "n_episodes": np.array(len(episodes)),
        "dt": np.array(ARCHIVE_STEP),
        "joint_names": np.array(joint_names),
        "activation_sample_phase": np.array("pre_step"),
    }
    if motion_group:
        arrays["motion_group"] = np.array(motion_group)
    for key, value in (kinetics or {}).items():
        arrays[key] = np.asarray(value)
    for index, episode in enumerate(episodes):
        arrays |= {f"episode_{index}_{key}": np.asarray(value) for key, value in episode.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)
    read_archive(path)
    return path


def _arrays(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {key: stored[key] for key in stored.files}
    except (ValueError, BadZipFile, OSError, EOFError) as error:
        raise InputError(f"{path}: not a rollout archive ({str(error).splitlines()[0][:80]})") from None


def _need(arrays: dict[str, np.ndarray], key: str, path: Path) -> np.ndarray:
    if key not in arrays:
        raise InputError(f"{path}: not a rollout archive: it lacks {key}")
    return arrays[key]


def _episode(arrays: dict[str, np.ndarray], index: int, step: float, kinetics: bool, path: Path) -> Episode:
    def need(key: str) -> np.ndarray:
        return _need(arrays, f"episode_{index}_{key}", path)

    qpos, reference = need("joint_positions"), need("traj_qpos")
    frames, length = len(qpos), int(need("traj_length"))
    if length != len(reference) or not 1 <= frames <= length:
        raise InputError(f"{path}: episode {index} has {frames} frames of {len(reference)}, traj_length says {length}")
    values = {"joint_positions": qpos, "traj_qpos": reference}
    for key in ("muscle_activations", "touch_observations"):
        values[key] = need(key)
        if len(values[key]) != frames:
            raise InputError(f"{path}: episode {index}: {key} has {len(values[key])} frames, qpos {frames}")
    for key, array in values.items():
        if not np.isfinite(array).all():
            raise InputError(f"{path}: episode {index}: {key} holds values that are not numbers")
    moments = forces = None
    if kinetics:
        steps = need("kinetics_reference_steps").astype(float)
        moments = _kinetics(
            arrays, need("generalized_actuator_forces"), "generalized_actuator_force", steps * step, path
        )
        forces = _kinetics(arrays, need("force_sensor_values"), "force_sensor", steps * step, path)
    name = f"episode_{index}_{NAME}"
    return Episode(
        str(arrays[name]) if name in arrays else f"motion {need('traj_id')}",
        qpos,
        reference,
        values["muscle_activations"],
        values["touch_observations"],
        moments,
        forces,
    )


def _kinetics(
    arrays: dict[str, np.ndarray], values: np.ndarray, kind: str, time: np.ndarray, path: Path
) -> TimeSeries | None:
    key = "generalized_actuator_force_joint_names" if kind == "generalized_actuator_force" else "force_sensor_names"
    names = tuple(str(name) for name in np.ravel(arrays[key]))
    units = tuple(str(unit) for unit in np.ravel(arrays[f"{kind}_units"]))
    units = units * len(names) if len(units) == 1 else units
    return TimeSeries(time, values, names, units, str(path)) if len(time) > 1 else None
