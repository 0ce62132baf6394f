"""Read Orbax checkpoints (OCDBT or plain folders, zarr 2 or 3) without JAX: find the folder, its JSON and its arrays.

    checkpoint_<update>/_CHECKPOINT_METADATA     written last: marks the checkpoint as complete
    checkpoint_<update>/config/metadata          JSON: training configuration
    checkpoint_<update>/metadata/metadata        JSON: training progress
    checkpoint_<update>/train_state/_METADATA    JSON: list of the arrays, which are stored beside it

Nothing is written or unpickled. `pip install 'muscle_torch[hub]'` installs the array reader (tensorstore).
"""

import ast
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from muscle_torch.errors import InputError

NAME = re.compile(r"checkpoint_(\d+)")
STATE, CONFIG, PROGRESS = "train_state", "config/metadata", "metadata/metadata"
PIECES = ("_CHECKPOINT_METADATA", CONFIG, f"{STATE}/_METADATA")


def find_published(location: str | Path) -> Path:
    """Return a published checkpoint folder.

    Args:
        location: The folder itself, its `train_state`, or a folder (or one with a subfolder `checkpoints`) that
            contains several `checkpoint_<n>`: then the complete one with the largest number.

    Raises:
        InputError: There is no complete checkpoint.
    """
    path = Path(location).expanduser()
    if path.is_file():
        raise InputError(f"{path} is a file: use the folder checkpoint_<n> or its parent folder")
    if not path.is_dir():
        raise InputError(f"checkpoint folder {path} not found")
    if path.name == STATE and (path / "_METADATA").exists():
        path = path.parent
    numbered = _numbered(path) or _numbered(path / "checkpoints")
    if not numbered and not (NAME.fullmatch(path.name) or (path / STATE).is_dir()):
        raise InputError(
            f"{path} contains no published checkpoint (a folder checkpoint_<n> with a subfolder train_state)"
        )
    if not numbered:
        return _complete(path)
    for folder in numbered:
        if not _missing(folder):
            return folder
        print(f"warning: {folder} is incomplete ({_missing(folder)} is missing): using an older one", file=sys.stderr)
    return _complete(numbered[0])


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """Read one of a checkpoint's JSON files, `CONFIG` or `PROGRESS`.

    Args:
        folder: The checkpoint.
        name: The file; a missing `PROGRESS` gives {}.

    Raises:
        InputError: The file is missing or damaged.
    """
    path = folder / name
    if name == PROGRESS and not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {_first_line(error)}; download the checkpoint again") from None
    if not isinstance(content, dict):
        raise InputError(f"{path} does not contain a JSON object; download the checkpoint again")
    return content


def read_arrays(folder: Path, roots: tuple[str, ...] = ("params", "run_stats")) -> dict[str, np.ndarray]:
    """Read the arrays of a checkpoint.

    Args:
        folder: The checkpoint.
        roots: First parts of the names to read.

    Returns:
        Name joined with "." (`params.actor.Dense_0.kernel`) -> array.

    Raises:
        InputError: Arrays are missing, truncated, of another shape than recorded, or not finite.
    """
    tensorstore = _tensorstore()
    state = (folder / STATE).resolve()
    metadata = read_json(state, "_METADATA")
    arrays: dict[str, np.ndarray] = {}
    for name, shape in _leaves(metadata, state):
        if name.split(".")[0] not in roots:
            continue
        try:
            store = tensorstore.open(_spec(metadata, state, name), open=True, read=True).result()
            array = np.asarray(store.read().result())
        except (ValueError, OSError, RuntimeError, NotImplementedError) as error:
            raise InputError(
                f"{state}: array {name} cannot be read, the checkpoint is incomplete or damaged: download it again "
                f"({_first_line(error)[:120]})"
            ) from None
        if shape is not None and array.shape != tuple(shape):
            raise InputError(f"{state}: array {name} has shape {array.shape}, recorded is {tuple(shape)}")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise InputError(f"{state}: array {name} contains non-finite values: this training diverged")
        arrays[name] = array
    if not arrays:
        raise InputError(f"{state} contains no {' or '.join(roots)}: this checkpoint was written by another program")
    return arrays


def _numbered(folder: Path) -> list[Path]:
    """Return the folders `checkpoint_<n>` in a folder, sorted by number, largest first (12 before 9)."""
    if not folder.is_dir():
        return []
    matched = [(NAME.fullmatch(entry.name), entry) for entry in folder.iterdir() if entry.is_dir()]
    return [entry for match, entry in sorted(((int(m[1]), e) for m, e in matched if m), reverse=True)]


def _missing(folder: Path) -> str:
    """Return the first required file that the checkpoint lacks; empty if it is complete."""
    return next((piece for piece in PIECES if not (folder / piece).is_file()), "")


def _complete(folder: Path) -> Path:
    if piece := _missing(folder):
        raise InputError(f"{folder} is incomplete ({piece} is missing): download it again, or wait until it is saved")
    return folder


def _leaves(metadata: dict[str, Any], state: Path) -> Iterator[tuple[str, list[int] | None]]:
    """Yield the name and recorded shape of every stored array; entries without an array are skipped."""
    try:
        for path, entry in metadata["tree_metadata"].items():
            value = entry["value_metadata"]
            if not value.get("skip_deserialize", False):
                yield ".".join(str(key) for key in ast.literal_eval(path)), value.get("write_shape")
    except (KeyError, TypeError, AttributeError, ValueError, SyntaxError):
        raise InputError(f"{state}/_METADATA is not Orbax's list of arrays; download the checkpoint again") from None


def _spec(metadata: dict[str, Any], state: Path, name: str) -> dict[str, Any]:
    """Return the tensorstore spec of an array. A missing chunk is an error instead of zeros."""
    driver = "zarr3" if metadata.get("use_zarr3") else "zarr"
    if metadata.get("use_ocdbt", True):
        base = {"driver": "file", "path": f"{state}/"}
        kvstore = {"driver": "ocdbt", "base": base, "path": f"{name}/"}
    else:
        kvstore = {"driver": "file", "path": f"{state / name}/"}
    return {"driver": driver, "kvstore": kvstore, "fill_missing_data_reads": False}


def _tensorstore() -> Any:
    try:
        import tensorstore
    except ModuleNotFoundError:
        raise InputError("reading published checkpoints needs tensorstore: pip install 'muscle_torch[hub]'") from None
    return tensorstore


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
