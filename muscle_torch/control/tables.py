"""Precomputation of a clip: filter, reference tables and feedforward, cached on disk."""

import hashlib
from dataclasses import dataclass

import mujoco
import numpy as np

from muscle_torch.motion import MotionClip
from muscle_torch.motion import cache as disk
from muscle_torch.motion.dynamic_filter import filter_clip
from muscle_torch.motion.feasibility import check_feasible
from muscle_torch.motion.joints import fit_to
from muscle_torch.motion.low_pass import low_pass
from muscle_torch.motion.resample import at_control_rate

from .body import ControlBody
from .feedforward import Feedforward, feedforward
from .options import MuscleControlOptions
from .reference import Reference

VERSION = 1  # increase it if the results of the feedforward change


@dataclass(frozen=True, eq=False)
class ClipTables:
    """Tables of the filtered clip at the control rate."""

    reference: Reference
    feedforward: Feedforward


def clip_tables(
    clip: MotionClip, body: ControlBody, options: MuscleControlOptions | None = None, cache: bool = True
) -> ClipTables:
    """Filter a clip, check its feasibility, and compute its tables.

    Args:
        clip: A motion of the body. Tracking errors refer to it and not to its filtered copy.
        body: The body.
        options: Gains; None: defaults.
        cache: Whether to use the on-disk cache for filter and feedforward.

    Returns:
        The tables.

    Raises:
        InputError: The clip is infeasible, and `options.infeasible` is reject.
    """
    options, embodiment = options or MuscleControlOptions(), body.embodiment
    if body.feet:
        filtered = filter_clip(clip, embodiment, options.filter, cache)
        check_feasible(filtered.clip, embodiment, options.infeasible)
        qpos, stands = filtered.clip.qpos.astype(float), filtered.support
    else:
        qpos, _ = at_control_rate(fit_to(clip, embodiment), embodiment, "derivative")
        qpos = low_pass(embodiment, qpos, embodiment.control_frequency, options.filter.cutoff)
        stands = np.zeros((len(qpos), 0), dtype=bool)
    reference = Reference.of(body, embodiment.project(qpos), stands, options.steps)
    table = _feedforward(body, reference, cache)
    return ClipTables(reference.with_activation(table.activation), table)


def _feedforward(body: ControlBody, reference: Reference, cache: bool) -> Feedforward:
    """Return the feedforward, from the on-disk cache if possible."""
    key = disk.clip_key(_digest(body), f"feedforward {VERSION}", 0.0, [reference.qpos, reference.stands])
    shapes = {
        "activation": (reference.num_frames, body.model.nu),
        "excitation": (reference.num_frames, body.model.nu),
        "residual": (reference.num_frames, len(body.dofs)),
        "ground_force": (reference.num_frames, len(body.feet), 3),
    }
    entry = disk.load(key) if cache else None
    if entry is not None and {name: value.shape for name, value in entry.items()} == shapes:
        return Feedforward(**entry)
    table = feedforward(body, reference)
    if cache:
        disk.store(key, vars(table))
        disk.prune()
    return table


def _digest(body: ControlBody) -> bytes:
    """Return a digest of the compiled model."""
    buffer = np.zeros(mujoco.mj_sizeModel(body.model), dtype=np.uint8)
    mujoco.mj_saveModel(body.model, None, buffer)
    return hashlib.sha256(buffer.tobytes()).digest()
