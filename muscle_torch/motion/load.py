"""`motion=` as a user writes it -> clips."""

import dataclasses
import os
from collections.abc import Iterable, Sequence
from glob import glob, has_magic
from pathlib import Path
from typing import Any

from muscle_torch.embodiments import Embodiment
from muscle_torch.errors import InputError, nearest

from . import clip, stac_file, trajectory_file
from .clip import MotionClip, read_arrays
from .generated import ALL, MOTIONS, generate, generated_names
from .joints import fit_to

SUFFIXES = (".npz", ".h5")
COMPANION = "_analysis.npz"  # retargeting errors that the reference writes beside a motion


def load_motion(motion: str | Path | Sequence[Any], embodiment: Embodiment) -> list[MotionClip]:
    """The clips that `motion` names, with the embodiment's joints.

    A generated motion ("all": the default set of the body), a file, a folder, a glob, or a list of these. A recording
    of stac-mjx that is there twice counts once.
    """
    clips = stac_file.without_repeats(_clips(motion, embodiment))
    seen: dict[str, int] = {}
    for index, one in enumerate(clips):
        seen[one.name] = seen.get(one.name, 0) + 1
        if seen[one.name] > 1:
            # Results are told by name, and two files may have the same one.
            clips[index] = dataclasses.replace(one, name=f"{one.name}_{seen[one.name]}")
    return clips


def absolute_paths(motion: Sequence[str], body: str) -> list[str]:
    """Return the words of `motion=` with files, folders and globs as absolute paths; names stay as they are.

    Args:
        motion: As the user wrote them, relative to the working directory.
        body: Key of the embodiment, whose generated motions are names.
    """
    names = (ALL, *MOTIONS.get(body, {}))

    def is_path(word: str) -> bool:
        return word not in names and (bool(set(word) & set("/\\~")) or has_magic(word) or Path(word).exists())

    return [os.path.abspath(Path(word).expanduser()) if is_path(word) else word for word in motion]


def load_file(path: Path, embodiment: Embodiment) -> list[MotionClip]:
    """The clips of one file: our own .npz, the reference's trajectory file, or joint angles by stac-mjx (.h5, .npz)."""
    if path.suffix == ".h5":
        arrays = stac_file.read_h5(path)
    else:
        arrays = read_arrays(path, {*clip.STORED, *trajectory_file.STORED, *stac_file.STORED})
    if path.suffix == ".h5" or "kp_data" in arrays:
        clips = [stac_file.stac_clip(arrays, embodiment, path)]
    elif "split_points" in arrays:
        clips = trajectory_file.trajectory_clips(arrays, embodiment, path)
    else:
        clips = [MotionClip.from_arrays(arrays, path)]
    return [fit_to(one, embodiment, str(path)) for one in clips]


def _clips(motion: str | Path | Sequence[Any], embodiment: Embodiment) -> list[MotionClip]:
    if not isinstance(motion, str | Path | Sequence):
        raise InputError(f"motion={motion!r}: expected a name, a file, a folder, a glob, or a list of these")
    if not isinstance(motion, str | Path):
        return [found for one in motion for found in _clips(one, embodiment)]
    text = str(motion).strip()
    if not text:
        built_in = ", ".join((ALL, *generated_names(embodiment))) if generated_names(embodiment) else "none"
        raise InputError(f"motion is empty: set it to a file, a folder, a glob, or a built-in one ({built_in})")
    if text == ALL or text in generated_names(embodiment):
        return generate(text, embodiment)
    return [found for path in _files(text, embodiment) for found in load_file(path, embodiment)]


def _files(text: str, embodiment: Embodiment) -> list[Path]:
    path = Path(text).expanduser()
    if path.is_dir():
        return _motion_files(path.rglob("*"), f"folder {path} has no .npz or .h5 file")
    if path.exists():
        return [path]
    if has_magic(text):
        return _motion_files(map(Path, glob(str(path), recursive=True)), f"nothing matches motion={text}")
    if "/" in text or "\\" in text or path.suffix:
        raise InputError(f"motion file {text} does not exist (in {Path.cwd()})")
    known = generated_names(embodiment)
    if not known:
        raise InputError(f"no file or folder {text}, and no motion is built in for {embodiment.name}")
    raise InputError(f"unknown motion {text!r}{nearest(text, (ALL, *known))} (or a file, a folder, a glob)")


def _motion_files(paths: Iterable[Path], complaint: str) -> list[Path]:
    found = sorted(path for path in paths if path.suffix in SUFFIXES and not path.name.endswith(COMPANION))
    if not found:
        raise InputError(complaint)
    return found
