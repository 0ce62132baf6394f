"""The body and the movements that the options of `tools/analyze.py` select, for bodies without feet."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from muscle_torch.embodiments import Embodiment
from muscle_torch.errors import InputError
from muscle_torch.motion import MotionClip, load_motion
from muscle_torch.motion.clip import read_arrays
from muscle_torch.motion.generated import MOTIONS
from muscle_torch.motion.resample import resample
from muscle_torch.motion.rollout_archive import RolloutArchive

from .analyze_options import AnalyzeOptions
from .gait import body_of
from .movement import Movement, movement_of, rollout_movement
from .muscle_activity import MuscleActivity, activity_of_rollouts
from .static_optimisation import static_optimisation
from .walks import is_recording, selected_body

FULL_BODY = "fullbody"
LEG_JOINT = "hip_flexion_r"
# Key of a body without feet -> one of its joints, by which motion files are recognized: not all store a body.
JOINTS = {"bimanual": "elv_angle_r", "mouse": "sh_elv", "toy_arm": "elbow"}
FOOT = "calcn_r"  # bodies with feet have a body of this name


@dataclass(frozen=True)
class Movements:
    """The movements to analyse, each with its reference of the same frames, or None."""

    embodiment: Embodiment
    movements: list[Movement]
    references: list[Movement | None]
    activity: MuscleActivity | None = None
    left_out: list[str] = field(default_factory=list)  # notes
    possible: list[float] = field(default_factory=list)  # duration of the motion that a rollout follows [s]

    @property
    def pairs(self) -> list[tuple[Movement, Movement | None]]:
        """Movements with their references."""
        return list(zip(self.movements, self.references, strict=True))


def analysed_body(options: AnalyzeOptions, archives: Sequence[RolloutArchive]) -> Embodiment:
    """Return the body of the rollouts; without any that of task=, else of the motion.

    Args:
        options: Options of the program.
        archives: Rollouts, one archive per seed.

    Raises:
        InputError: The body is unknown.
    """
    if archives:
        return body_of(archives[0])
    return selected_body(options, FULL_BODY if is_recording(options.motion) else _key_of(options.motion))


def has_feet(embodiment: Embodiment) -> bool:
    """Return whether the body has feet, so that its gait can be analysed."""
    return mujoco.mj_name2id(embodiment.model, mujoco.mjtObj.mjOBJ_BODY, FOOT) >= 0


def _key_of(motion: Any) -> str:
    """Return the key of the body of a motion, by its name or by the joints in its file; by default the full body."""
    first = str(motion if isinstance(motion, str) or not motion else motion[0])
    named = [key for key in (FULL_BODY, *JOINTS) if first in MOTIONS[key]]
    if named:
        return named[0]
    path = Path(first).expanduser()
    files = sorted(path.rglob("*.npz")) if path.is_dir() else [path] if path.suffix == ".npz" and path.exists() else []
    stored = read_arrays(files[0], ("joint_names",)) if files else {}
    names = [str(name) for name in np.ravel(stored.get("joint_names", ()))]
    if LEG_JOINT in names:
        return FULL_BODY
    return next((key for key, joint in JOINTS.items() if joint in names), FULL_BODY)


def read_movements(
    options: AnalyzeOptions, embodiment: Embodiment, archives: Sequence[RolloutArchive] = ()
) -> Movements:
    """Return the movements of rollouts, or without any of motion=.

    Args:
        options: Options of the program.
        embodiment: The body.
        archives: Rollouts, one archive per seed.

    Raises:
        InputError: An option applies only to walks, or nothing can be analysed.
    """
    _check_options(options, embodiment)
    return _of_rollouts(options, embodiment, archives) if archives else _of_clips(options, embodiment)


def _check_options(options: AnalyzeOptions, embodiment: Embodiment) -> None:
    """Raise InputError if an option needs feet or OpenSim coordinates."""
    if is_recording(options.motion):
        raise InputError(
            f"{options.motion} contains OpenSim coordinates: convert them with tools/retarget.py "
            f"embodiment={embodiment.key}, then analyse the clip"
        )
    set_keys = [key for key in ("forces", "moments", "reference_forces") if getattr(options, key)]
    if set_keys:
        raise InputError(f"{set_keys[0]}= needs a body with feet, {embodiment.name} has none; remove it")


def _of_rollouts(options: AnalyzeOptions, embodiment: Embodiment, archives: Sequence[RolloutArchive]) -> Movements:
    count = len(archives[0].episodes)
    if options.episode >= count:
        raise InputError(f"there are {count} episodes, so episode={options.episode} does not exist")
    if options.optimise:
        raise InputError("optimise=true applies to motions, and rollouts contain activations; remove it")
    movements: list[Movement] = []
    references: list[Movement | None] = []
    left_out, possible = [], []
    comparison = _reference_clip(options, embodiment)
    for archive in archives:
        if archive.joint_names != archives[0].joint_names:
            raise InputError(
                f"archive= contains rollouts of {archives[0].embodiment} and of {archive.embodiment}; use one body"
            )
        for index, episode in enumerate(archive.episodes):
            if options.episode not in (-1, index):
                continue
            followed = comparison
            if followed is None and len(episode.reference):
                followed = (episode.name, episode.reference.astype(float), 1.0 / archive.dt)
            try:
                one = rollout_movement(embodiment, archive, index, options.cutoff, options.angle_cutoff)
                other = _same_frames(options, embodiment, followed, one)
            except InputError as error:
                left_out.append(f"{episode.name}, seed {archive.seed}, {len(episode.qpos)} frames: {error}")
                continue
            movements.append(one if other is None else one.cut(len(other.sites)))
            references.append(other)
            possible.append(len(episode.reference) * archive.dt if len(episode.reference) else float("nan"))
    if not movements:
        raise InputError(f"no episode can be analysed: {left_out[0] if left_out else 'the archive is empty'}")
    chosen = [
        archive if options.episode < 0 else replace(archive, episodes=(archive.episodes[options.episode],))
        for archive in archives
    ]
    return Movements(embodiment, movements, references, activity_of_rollouts(embodiment, chosen), left_out, possible)


def _of_clips(options: AnalyzeOptions, embodiment: Embodiment) -> Movements:
    clips = load_motion(options.motion, embodiment)
    if options.episode >= len(clips):
        raise InputError(f"{options.motion} has {len(clips)} motions, so episode={options.episode} does not exist")
    chosen = clips if options.episode < 0 else [clips[options.episode]]
    comparison = _reference_clip(options, embodiment)
    movements: list[Movement] = []
    references: list[Movement | None] = []
    left_out, parts = [], []
    for clip in chosen:
        try:
            one = _movement(options, embodiment, clip.name, clip.qpos, clip.frequency, clip.qvel)
            other = _same_frames(options, embodiment, comparison, one)
        except InputError as error:
            left_out.append(f"{clip.name}, {clip.num_frames} frames: {error}")
            continue
        if options.optimise:
            one, part = _optimised(embodiment, clip, one)
            parts.append(part)
        movements.append(one if other is None else one.cut(len(other.sites)))
        references.append(other)
    if not movements:
        raise InputError(f"no motion can be analysed: {left_out[0]}")
    return Movements(embodiment, movements, references, _pooled(parts), left_out)


def _movement(
    options: AnalyzeOptions, embodiment: Embodiment, name: str, qpos: np.ndarray, rate: float, qvel: Any = None
) -> Movement:
    return movement_of(embodiment, qpos, rate, name, qvel, 0, options.cutoff, options.angle_cutoff, options.mass)


def _optimised(embodiment: Embodiment, clip: MotionClip, movement: Movement) -> tuple[Movement, MuscleActivity]:
    """Return the movement with the activations of static optimisation, and these with lengths and velocities."""
    solved = static_optimisation(embodiment, clip.qpos.astype(float), movement.moments, clip.frequency)
    activity = MuscleActivity(
        embodiment, solved.activations, solved.lengths, solved.velocities, "static optimisation", solved.residual
    )
    return replace(movement, activations=solved.activations), activity


def _pooled(parts: Sequence[MuscleActivity]) -> MuscleActivity | None:
    """Return the activity of several motions, one after the other; None for none."""
    if len(parts) < 2:
        return parts[0] if parts else None
    values, lengths, velocities = (
        np.concatenate(rows)
        for rows in zip(*((one.activations.values, one.lengths, one.velocities) for one in parts), strict=True)
    )
    first = parts[0].activations
    series = replace(first, time=np.arange(len(values)) / first.rate, values=values)
    return replace(parts[0], activations=series, lengths=lengths, velocities=velocities, residual=None)


def _reference_clip(options: AnalyzeOptions, embodiment: Embodiment) -> tuple[str, np.ndarray, float] | None:
    """Return name, qpos and rate of the motion of reference=; None without."""
    if not options.reference:
        return None
    clips = load_motion(options.reference, embodiment)
    if len(clips) != 1:
        raise InputError(f"reference={options.reference} has {len(clips)} motions; select one file or name")
    return clips[0].name, clips[0].qpos.astype(float), clips[0].frequency


def _same_frames(
    options: AnalyzeOptions, embodiment: Embodiment, motion: tuple[str, np.ndarray, float] | None, movement: Movement
) -> Movement | None:
    """Return the movement of a motion on the clock of another movement, over the frames that both have."""
    if motion is None:
        return None
    name, qpos, rate = motion
    if abs(rate - movement.rate) > 1e-6 * rate:
        qpos, _ = resample(qpos, rate, movement.rate, embodiment.has_root)
    frames = min(len(qpos), len(movement.sites))
    return _movement(options, embodiment, f"{name} (reference)", qpos[:frames], movement.rate)
