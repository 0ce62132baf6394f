"""Load the motions named by `motion=`."""

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
COMPANION = "_analysis.npz"  # retargeting errors that MuscleMimic writes beside a motion


def load_motion(motion: str | Path | Sequence[Any], embodiment: Embodiment) -> list[MotionClip]:
    """Load motions, with the embodiment's joints.

    A recording of stac-mjx that occurs twice is loaded once.

    Args:
        motion: A generated motion ("all": all of the body's), a file, a folder, a glob, or a list of these.
        embodiment: The body.

    Raises:
        InputError: A motion does not exist, cannot be read, or is of another body.
    """
    clips = stac_file.without_repeats(_clips(motion, embodiment))
    counts: dict[str, int] = {}
    for index, one in enumerate(clips):
        counts[one.name] = counts.get(one.name, 0) + 1
        if counts[one.name] > 1:
            # Results are reported by name, so names must be unique.
            clips[index] = dataclasses.replace(one, name=f"{one.name}_{counts[one.name]}")
    return clips


def absolute_paths(motion: Sequence[str], body: str) -> list[str]:
    """Return the values of `motion=` with files, folders and globs as absolute paths; names are unchanged.

    Args:
        motion: Values as written by the user, relative to the working directory.
        body: Key of the embodiment, whose generated motions count as names.
    """
    names = (ALL, *MOTIONS.get(body, {}))

    def is_path(word: str) -> bool:
        return word not in names and (bool(set(word) & set("/\\~")) or has_magic(word) or Path(word).exists())

    return [os.path.abspath(Path(word).expanduser()) if is_path(word) else word for word in motion]


def load_file(path: Path, embodiment: Embodiment) -> list[MotionClip]:
    """Load the clips of one file: a `MotionClip`, MuscleMimic's trajectory file, or joint angles of stac-mjx.

    Args:
        path: The file.
        embodiment: The body whose joints the clips get.

    Raises:
        InputError: The file cannot be read, or is of another body.
    """
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
        return [clip for one in motion for clip in _clips(one, embodiment)]
    text = str(motion).strip()
    if not text:
        built_in = ", ".join((ALL, *generated_names(embodiment))) if generated_names(embodiment) else "none"
        raise InputError(f"motion is empty: set it to a file, a folder, a glob, or a built-in one ({built_in})")
    if text == ALL or text in generated_names(embodiment):
        return generate(text, embodiment)
    return [clip for path in _files(text, embodiment) for clip in load_file(path, embodiment)]


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
        raise InputError(
            f"no file or folder {text}, and {embodiment.name} has no generated motions; set motion= to a file"
        )
    raise InputError(f"unknown motion {text!r}{nearest(text, (ALL, *known))} (or a file, a folder, a glob)")


def _motion_files(paths: Iterable[Path], message: str) -> list[Path]:
    files = sorted(path for path in paths if path.suffix in SUFFIXES and not path.name.endswith(COMPANION))
    if not files:
        raise InputError(message)
    return files
