"""Reading Orbax checkpoints (OCDBT or plain folders, zarr 2 or 3) without JAX: which folder, its JSON, its arrays.

    checkpoint_<update>/_CHECKPOINT_METADATA     written last: its presence says "complete"
    checkpoint_<update>/config/metadata          JSON: how it was trained
    checkpoint_<update>/metadata/metadata        JSON: when
    checkpoint_<update>/train_state/_METADATA    JSON: which arrays there are; beside it the arrays themselves

Nothing is written, nothing is unpickled. `pip install 'muscle_torch[hub]'` brings the array reader (tensorstore).
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
STATE, CONFIG, FACTS = "train_state", "config/metadata", "metadata/metadata"
PIECES = ("_CHECKPOINT_METADATA", CONFIG, f"{STATE}/_METADATA")


def find_published(where: str | Path) -> Path:
    """The checkpoint folder meant by itself, by its `train_state`, or by a folder of `checkpoint_<n>` (or one that
    holds `checkpoints/`): then the newest complete one, by number. Raises InputError where there is none."""
    path = Path(where).expanduser()
    if path.is_file():
        raise InputError(f"{path} is a file: give the folder checkpoint_<n> or the one it lies in")
    if not path.is_dir():
        raise InputError(f"checkpoint folder {path} not found")
    if path.name == STATE and (path / "_METADATA").exists():
        path = path.parent
    found = _numbered(path) or _numbered(path / "checkpoints")
    if not found and not (NAME.fullmatch(path.name) or (path / STATE).is_dir()):
        raise InputError(f"{path} holds no published checkpoint (a folder checkpoint_<n> with train_state in it)")
    if not found:
        return _complete(path)
    for folder in found:
        if not _missing(folder):
            return folder
        print(
            f"warning: {folder} is incomplete ({_missing(folder)} is missing): an older one is taken", file=sys.stderr
        )
    return _complete(found[0])


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """One of a checkpoint's JSON files, `CONFIG` or `FACTS`; {} where FACTS is missing."""
    path = folder / name
    if name == FACTS and not path.exists():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {_first_line(error)}; download the checkpoint again") from None
    if not isinstance(found, dict):
        raise InputError(f"{path} is not what a checkpoint holds there; download the checkpoint again")
    return found


def read_arrays(folder: Path, roots: tuple[str, ...] = ("params", "run_stats")) -> dict[str, np.ndarray]:
    """The arrays of a checkpoint below `roots`, by their names joined with "." (`params.actor.Dense_0.kernel`).

    Raises InputError for arrays that are missing, cut off, of another shape than noted, or not finite.
    """
    tensorstore = _tensorstore()
    state = (folder / STATE).resolve()
    about = read_json(state, "_METADATA")
    arrays: dict[str, np.ndarray] = {}
    for name, shape in _leaves(about, state):
        if name.split(".")[0] not in roots:
            continue
        try:
            store = tensorstore.open(_spec(about, state, name), open=True, read=True).result()
            array = np.asarray(store.read().result())
        except (ValueError, OSError, RuntimeError, NotImplementedError) as error:
            raise InputError(
                f"{state}: array {name} cannot be read, the checkpoint is incomplete or damaged: download it again "
                f"({_first_line(error)[:120]})"
            ) from None
        if shape is not None and array.shape != tuple(shape):
            raise InputError(f"{state}: array {name} has shape {array.shape}, noted is {tuple(shape)}")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise InputError(f"{state}: array {name} holds values that are not finite: this training had diverged")
        arrays[name] = array
    if not arrays:
        raise InputError(f"{state} holds no {' or '.join(roots)}: it is another program's checkpoint")
    return arrays


def _numbered(folder: Path) -> list[Path]:
    """The folders `checkpoint_<n>` in a folder, newest first: 12 is newer than 9."""
    if not folder.is_dir():
        return []
    matched = [(NAME.fullmatch(entry.name), entry) for entry in folder.iterdir() if entry.is_dir()]
    return [entry for match, entry in sorted(((int(m[1]), e) for m, e in matched if m), reverse=True)]


def _missing(folder: Path) -> str:
    """The first piece that a complete checkpoint has and this one lacks; empty: complete."""
    return next((piece for piece in PIECES if not (folder / piece).is_file()), "")


def _complete(folder: Path) -> Path:
    if piece := _missing(folder):
        raise InputError(f"{folder} is incomplete ({piece} is missing): download it again, or wait until it is saved")
    return folder


def _leaves(about: dict[str, Any], state: Path) -> Iterator[tuple[str, list[int] | None]]:
    """Name and noted shape of every stored array; entries without an array are left out."""
    try:
        for path, entry in about["tree_metadata"].items():
            value = entry["value_metadata"]
            if not value.get("skip_deserialize", False):
                yield ".".join(str(key) for key in ast.literal_eval(path)), value.get("write_shape")
    except (KeyError, TypeError, AttributeError, ValueError, SyntaxError):
        raise InputError(f"{state}/_METADATA is not Orbax's list of arrays; download the checkpoint again") from None


def _spec(about: dict[str, Any], state: Path, name: str) -> dict[str, Any]:
    """How tensorstore finds an array. A chunk that is not there is an error, never zeros."""
    driver = "zarr3" if about.get("use_zarr3") else "zarr"
    if about.get("use_ocdbt", True):
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
