"""On-disk cache of forward kinematics, for faster restarts. Deleting it, or any of its files, only costs time."""

import hashlib
import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import mujoco
import numpy as np

from muscle_torch.embodiments import Embodiment
from muscle_torch.errors import InputError

from .clip import UNREADABLE, write_arrays

FORMAT = 1  # increment when the contents or their computation change
MAX_BYTES = 4 << 30
KINEMATIC_FIELDS = (
    *("body_parentid", "body_pos", "body_quat", "body_ipos", "body_mass", "jnt_type", "jnt_bodyid", "jnt_pos"),
    *("jnt_axis", "qpos0", "site_bodyid", "site_pos", "site_quat"),
    # muscle paths
    *("geom_bodyid", "geom_pos", "geom_quat", "geom_size", "tendon_adr", "tendon_num", "wrap_type", "wrap_objid"),
    *("wrap_prm", "actuator_trntype", "actuator_trnid", "actuator_gear", "actuator_dyntype"),
)


def cache_folder() -> Path:
    """Return `$MUSCLE_TORCH_CACHE`, or `muscle_torch` in the user's cache folder."""
    if "MUSCLE_TORCH_CACHE" in os.environ:
        return Path(os.environ["MUSCLE_TORCH_CACHE"]).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "muscle_torch"


def body_key(embodiment: Embodiment, more: Sequence[str] = ()) -> bytes:
    """Return a digest of everything but the motion that forward kinematics depends on.

    Args:
        embodiment: The body.
        more: Further fields of the model to include.
    """
    digest = hashlib.sha256(f"{FORMAT} {mujoco.__version__} {embodiment.control_frequency}".encode())
    for field in (*KINEMATIC_FIELDS, *more):
        digest.update(np.ascontiguousarray(getattr(embodiment.model, field)).tobytes())
    digest.update(embodiment.site_ids.tobytes())
    return digest.digest()


def clip_key(body: bytes, interpolation: str, frequency: float, arrays: list[np.ndarray | None]) -> str:
    """Return the file name of a clip's cache entry.

    Args:
        body: Of `body_key`.
        interpolation: How the clip is resampled.
        frequency: Of the clip [Hz].
        arrays: The clip's data.
    """
    digest = hashlib.sha256(body + f"{interpolation} {frequency!r}".encode())
    for array in arrays:
        digest.update(b"none" if array is None else repr(array.shape).encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:40]


def load(key: str) -> dict[str, np.ndarray] | None:
    """Return a cache entry, or None if there is no readable one."""
    path = _path(key)
    try:
        with np.load(path, allow_pickle=False) as stored:
            entry = dict(stored)
        os.utime(path)  # mark as recently used
    except UNREADABLE:
        return None
    return entry


def store(key: str, entry: dict[str, np.ndarray]) -> bool:
    """Write a cache entry. Returns False, with a warning, if the folder is not writable."""
    try:
        write_arrays(_path(key), entry, compress=False)
    except InputError as error:
        warnings.warn(f"motion cache {cache_folder()} is not writable ({error}); set MUSCLE_TORCH_CACHE", stacklevel=2)
        return False
    return True


def prune(max_bytes: int = MAX_BYTES) -> None:
    """Delete the least recently used entries until the cache is at most `max_bytes` large."""
    entries = []
    for path in (cache_folder() / "motion").glob("*.npz"):
        try:
            status = path.stat()
        except FileNotFoundError:  # deleted by another process
            continue
        entries.append((status.st_mtime, status.st_size, path))
    excess = sum(size for _, size, _ in entries) - max_bytes
    for _, size, path in sorted(entries):
        if excess <= 0:
            return
        path.unlink(missing_ok=True)
        excess -= size


def _path(key: str) -> Path:
    return cache_folder() / "motion" / f"{key}.npz"
