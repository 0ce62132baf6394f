"""The motion library: all reference motion in flat tensors on the device, indexed per environment."""

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
tqdm.set_lock(threading.RLock())  # the default lock is a shared semaphore, which leaks if the run is killed
ENTRY = ("qpos", "qvel", "site_pos", "site_mat", "site_angvel", "site_linvel", "muscle_length", "muscle_velocity")


class ClipAtOrigin(NamedTuple):
    """A clip of L frames in the frame of an environment that plays it from its first frame, on the device."""

    qpos: Tensor  # (L, nq)
    qvel: Tensor  # (L, nv)
    site_pos: Tensor  # (L, S, 3) [m]


class MotionLibrary:
    """Clips at the control rate with their site poses and velocities: F frames in total, C clips, S sites, float32.

    Index with `rows`: `library.site_pos[library.rows(clip, frame)]`. All quantities are in world axes.

    Attributes:
        names: Name of each clip.
        qpos: (F, num_qpos) of the body; props are not part of a motion.
        qvel: (F, num_qvel).
        site_pos: (F, S, 3) [m].
        site_mat: (F, S, 3, 3).
        site_angvel: (F, S, 3) [rad/s].
        site_linvel: (F, S, 3), velocity of the site point [m/s].
        muscle_length: (F, muscles) [m].
        muscle_velocity: (F, muscles) [m/s].
        rpos: (F, S-1, 3), see `relative_sites_from_matrices`.
        rrot: (F, S-1, 3), see `relative_sites_from_matrices`.
        rvel: (F, S-1, 6), see `relative_sites_from_matrices`.
        feedforward: (F, muscles) excitations, if `muscle_torch.control` has added them.
        length: (C,) number of frames.
        start: (C,) row of the first frame.
    """

    names: list[str]
    qpos: Tensor
    qvel: Tensor
    site_pos: Tensor
    site_mat: Tensor
    site_angvel: Tensor
    site_linvel: Tensor
    muscle_length: Tensor
    muscle_velocity: Tensor
    rpos: Tensor
    rrot: Tensor
    rvel: Tensor
    feedforward: Tensor | None = None
    length: Tensor
    start: Tensor

    def __init__(
        self,
        clips: Sequence[MotionClip],
        embodiment: Embodiment,
        device: torch.device | str = "cpu",
        interpolation: str = "derivative",
        threads: int = 0,
        cache: bool = True,
    ) -> None:
        """Resample the clips and compute their kinematics.

        Args:
            clips: Motions of the body, at any rate.
            embodiment: The body.
            device: Where the tensors are stored.
            interpolation: A name of `resample.INTERPOLATIONS`.
            threads: CPU threads; 0: all cores.
            cache: Whether to use the on-disk cache.

        Raises:
            InputError: There are no clips, or one is of another body or too short.
        """
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
        """Number of clips C."""
        return len(self.names)

    @property
    def num_frames(self) -> int:
        """Number of frames F of all clips together."""
        return len(self.qpos)

    @property
    def nbytes(self) -> int:
        """Size of all tensors [bytes]."""
        return sum(value.nbytes for value in vars(self).values() if isinstance(value, Tensor))

    def to(self, device: torch.device | str) -> "MotionLibrary":
        """Return the library on another device, or itself if it is there already."""
        target = torch.device(device)
        if target == self.device:
            return self
        moved = copy.copy(self)
        moved.device = target
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(moved, name, value.to(target))
        return moved

    @functools.cached_property
    def summary(self) -> Tensor:
        """Fingerprint of a set of motions: number of frames of each clip, mean of each column of qpos.

        (C + num_qpos,), float64, on the CPU.
        """
        means = self.qpos.double().mean(0)
        return torch.cat((self.length.double(), means)).cpu()

    def rows(self, clip: Tensor, frame: Tensor) -> Tensor:
        """Return the row of each (clip, frame), long.

        Args:
            clip: Clip indices; shapes broadcast.
            frame: Frame indices; those outside a clip become its first or last.
        """
        return self.start[clip] + torch.minimum(frame.clamp(min=0), self.length[clip] - 1)

    def clip_rows(self, clip: int) -> slice:
        """Return the rows of all frames of a clip."""
        start = int(self.start[clip])
        return slice(start, start + int(self.length[clip]))

    def clip_at_origin(self, clip: int) -> ClipAtOrigin:
        """Return copies of a clip's frames, moved horizontally so that a free root starts at the origin.

        Environments place a clip this way if they play it from its first frame.
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
    """Return one dict of `ENTRY` per clip, float32, from the cache or computed on threads and cached."""
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
        # Show the bar only on a terminal, and only after a second of work.
        bar = tqdm(pool.map(make, clips), total=len(clips), desc="motion", unit="clip", delay=1, disable=None)
        entries = list(bar)
    finally:
        # After Ctrl-C or a bad clip, do not process the remaining clips.
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
    """Return whether a cache entry has the expected contents; the file may be damaged."""
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
