"""`motion=` as a user writes it -> clips."""

import dataclasses
from collections.abc import Iterable, Sequence
from glob import glob, has_magic
from pathlib import Path
from typing import Any

from muscle_torch.embodiments import Embodiment
from muscle_torch.errors import InputError, nearest

from .clip import MotionClip, read_arrays
from .generated import ALL, generate, generated_names
from .joints import fit_to
from .trajectory_file import is_trajectory_file, trajectory_clips

COMPANION = "_analysis.npz"  # retargeting errors that the reference writes beside a motion


def load_motion(motion: str | Path | Sequence[Any], embodiment: Embodiment) -> list[MotionClip]:
    """The clips that `motion` names, with the embodiment's joints.

    A generated motion ("all": the default set of the body), a file, a folder, a glob, or a list of these.
    """
    clips = list(_clips(motion, embodiment))
    seen: dict[str, int] = {}
    for index, clip in enumerate(clips):
        seen[clip.name] = seen.get(clip.name, 0) + 1
        if seen[clip.name] > 1:
            # Results are told by name: two files may have the same one.
            clips[index] = dataclasses.replace(clip, name=f"{clip.name}_{seen[clip.name]}")
    return clips


def load_file(path: Path, embodiment: Embodiment) -> list[MotionClip]:
    """The clips of one .npz file: our own, or the reference's trajectory file."""
    arrays = read_arrays(path)
    if is_trajectory_file(arrays):
        return [fit_to(clip, embodiment, str(path)) for clip in trajectory_clips(arrays, embodiment, path)]
    return [fit_to(MotionClip.load(path), embodiment, str(path))]


def _clips(motion: str | Path | Sequence[Any], embodiment: Embodiment) -> list[MotionClip]:
    if not isinstance(motion, str | Path):
        return [clip for one in motion for clip in _clips(one, embodiment)]
    text = str(motion).strip()
    if not text:
        raise InputError(
            f"motion is empty; set it to all, a file, a folder, a glob, or one of: {', '.join(generated_names(embodiment)) or '(none built in)'}"
        )
    if text == ALL or text in generated_names(embodiment):
        return generate(text, embodiment)
    return [clip for path in _files(text, embodiment) for clip in load_file(path, embodiment)]


def _files(text: str, embodiment: Embodiment) -> list[Path]:
    path = Path(text).expanduser()
    if path.is_dir():
        return _motion_files(path.rglob("*.npz"), f"folder {path} has no .npz file")
    if path.exists():
        return [path]
    if has_magic(text):
        return _motion_files(map(Path, glob(str(path), recursive=True)), f"nothing matches motion={text}")
    if "/" in text or "\\" in text or path.suffix:
        raise InputError(f"motion file {text} does not exist (in {Path.cwd()})")
    known = generated_names(embodiment)
    raise InputError(f"unknown motion {text!r}{nearest(text, (ALL, *known))} (or a file, a folder, a glob)")


def _motion_files(paths: Iterable[Path], complaint: str) -> list[Path]:
    found = sorted(path for path in paths if path.suffix == ".npz" and not path.name.endswith(COMPANION))
    if not found:
        raise InputError(complaint)
    return found
