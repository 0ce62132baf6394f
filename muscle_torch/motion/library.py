"""All reference motion, flat on the device, ready to be indexed by world."""

import copy
import functools
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import mujoco
import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from muscle_torch.config.threads import usable_cores
from muscle_torch.embodiments import Embodiment
from muscle_torch.errors import InputError

from . import cache as disk
from .clip import MotionClip
from .joints import fit_to
from .kinematics import site_motion
from .relative_sites import relative_sites_from_matrices
from .resample import at_control_rate

CHUNK = 1 << 16  # frames
tqdm.set_lock(threading.RLock())  # its own is shared with other processes: a semaphore that a killed run leaks
ENTRY = ("qpos", "qvel", "site_pos", "site_mat", "site_angvel", "site_linvel", "muscle_length", "muscle_velocity")


class ClipAtOrigin(NamedTuple):
    """One clip in the world of an environment that plays it from its first frame; L frames, on the device."""

    qpos: Tensor  # (L, nq)
    qvel: Tensor  # (L, nv)
    site_pos: Tensor  # (L, S, 3) [m]


class MotionLibrary:
    """Clips at the control rate with their site poses and velocities; F frames in all, C clips, S sites, float32.

    Index with `rows`: `library.site_pos[library.rows(clip, frame)]`. World axes throughout.
    """

    names: list[str]
    qpos: Tensor  # (F, num_qpos) of the body; its props are no part of a motion
    qvel: Tensor  # (F, num_qvel)
    site_pos: Tensor  # (F, S, 3) [m]
    site_mat: Tensor  # (F, S, 3, 3)
    site_angvel: Tensor  # (F, S, 3) [rad/s]
    site_linvel: Tensor  # (F, S, 3) of the site point [m/s]
    muscle_length: Tensor  # (F, muscles) [m]
    muscle_velocity: Tensor  # (F, muscles) [m/s]
    rpos: Tensor  # (F, S-1, 3), and rrot (F, S-1, 3), rvel (F, S-1, 6): see `relative_sites_from_matrices`
    rrot: Tensor
    rvel: Tensor
    feedforward: Tensor | None = None  # (F, muscles) excitations, once `muscle_torch.control` has added them
    length: Tensor  # (C,) frames
    start: Tensor  # (C,) row of the first frame

    def __init__(
        self,
        clips: Sequence[MotionClip],
        embodiment: Embodiment,
        device: torch.device | str = "cpu",
        interpolation: str = "derivative",
        threads: int = 0,
        cache: bool = True,
    ) -> None:
        if not clips:
            raise InputError("there is no motion: set motion= to a generated motion, a file, a folder or a glob")
        self.embodiment, self.device = embodiment, torch.device(device)
        self.names = [clip.name for clip in clips]
        entries = _entries([fit_to(clip, embodiment) for clip in clips], embodiment, interpolation, threads, cache)
        for name in ENTRY:
            setattr(self, name, torch.from_numpy(np.concatenate([entry[name] for entry in entries])).to(self.device))
        sites = (self.site_pos, self.site_mat, self.site_angvel, self.site_linvel)
        # In parts: the temporaries of a large collection would need several times its memory.
        parts = [
            relative_sites_from_matrices(*part) for part in zip(*(site.split(CHUNK) for site in sites), strict=True)
        ]
        self.rpos, self.rrot, self.rvel = (torch.cat(part) for part in zip(*parts, strict=True))
        self.length = torch.tensor([len(entry["qpos"]) for entry in entries], device=self.device)
        self.start = self.length.cumsum(0) - self.length

    @property
    def num_clips(self) -> int:
        return len(self.names)

    @property
    def num_frames(self) -> int:
        """Of all clips together."""
        return len(self.qpos)

    @property
    def nbytes(self) -> int:
        """Of all its tensors."""
        return sum(value.nbytes for value in vars(self).values() if isinstance(value, Tensor))

    def to(self, device: torch.device | str) -> "MotionLibrary":
        """The same motions on another device; itself where they are there."""
        chosen = torch.device(device)
        if chosen == self.device:
            return self
        moved = copy.copy(self)
        moved.device = chosen
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(moved, name, value.to(chosen))
        return moved

    @functools.cached_property
    def summary(self) -> Tensor:
        """What tells one set of motions from another: number of frames of each clip, mean of each column of qpos.

        (C + num_qpos,), float64, on the CPU.
        """
        means = self.qpos.double().mean(0)
        return torch.cat((self.length.double(), means)).cpu()

    def rows(self, clip: Tensor, frame: Tensor) -> Tensor:
        """Row of each (clip, frame); frames outside a clip become its first or last. Shapes broadcast, long."""
        return self.start[clip] + torch.minimum(frame.clamp(min=0), self.length[clip] - 1)

    def clip_rows(self, clip: int) -> slice:
        """Return the rows of all frames of a clip."""
        start = int(self.start[clip])
        return slice(start, start + int(self.length[clip]))

    def clip_at_origin(self, clip: int) -> ClipAtOrigin:
        """Return copies of a clip's frames, moved horizontally so that a free root starts at the origin.

        This is where the environment puts a clip that it plays from its first frame.
        """
        rows = self.clip_rows(clip)
        qpos, qvel, site_pos = self.qpos[rows].clone(), self.qvel[rows].clone(), self.site_pos[rows].clone()
        if self.embodiment.root_joint is not None:
            origin = qpos[0, :2].clone()
            qpos[:, :2] -= origin
            site_pos[..., :2] -= origin
        return ClipAtOrigin(qpos, qvel, site_pos)


def _entries(
    clips: list[MotionClip], embodiment: Embodiment, interpolation: str, threads: int, cache: bool
) -> list[dict[str, np.ndarray]]:
    """One dict of `ENTRY` a clip, float32; from disk where possible, the others computed on threads and stored."""
    body = disk.body_key(embodiment)
    local = threading.local()
    unwritable = threading.Event()

    def make(clip: MotionClip) -> dict[str, np.ndarray]:
        key = disk.clip_key(body, interpolation, clip.frequency, [clip.qpos, clip.qvel])
        entry = disk.load(key) if cache else None
        if entry is not None and _fits(entry, embodiment):
            return entry
        if not hasattr(local, "data"):
            local.data = mujoco.MjData(embodiment.model)
        entry = _compute(clip, embodiment, interpolation, local.data)
        if cache and not unwritable.is_set() and not disk.store(key, entry):
            unwritable.set()
        return entry

    workers = max(1, min(threads or usable_cores(), len(clips)))
    pool = ThreadPoolExecutor(workers)
    try:
        # The bar appears only where there is more than a second of work, and only on a terminal.
        bar = tqdm(pool.map(make, clips), total=len(clips), desc="motion", unit="clip", delay=1, disable=None)
        entries = list(bar)
    finally:
        # After Ctrl-C or a bad clip the clips still waiting are not worked off.
        pool.shutdown(cancel_futures=True)
    if cache:
        disk.prune()
    return entries


def _compute(
    clip: MotionClip, embodiment: Embodiment, interpolation: str, data: mujoco.MjData
) -> dict[str, np.ndarray]:
    qpos, qvel = at_control_rate(clip, embodiment, interpolation)
    values = (qpos, qvel, *site_motion(embodiment, qpos, qvel, data))
    return {name: value.astype(np.float32) for name, value in zip(ENTRY, values, strict=True)}


def _fits(entry: dict[str, np.ndarray], embodiment: Embodiment) -> bool:
    """Whether a file from the cache holds what it should: it may have been damaged."""
    sites, muscles = len(embodiment.site_names), (len(embodiment.muscle_ids),)
    body = ((embodiment.num_qpos,), (embodiment.num_qvel,))
    inner = (*body, (sites, 3), (sites, 3, 3), (sites, 3), (sites, 3), muscles, muscles)
    if entry.keys() != set(ENTRY):
        return False
    frames = len(entry["qpos"])
    return all(
        entry[name].shape == (frames, *shape) and bool(np.isfinite(entry[name]).all())
        for name, shape in zip(ENTRY, inner, strict=True)
    )
