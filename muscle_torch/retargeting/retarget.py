"""RawMotion -> MotionClip with its quality."""

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch

from muscle_torch.embodiments import Embodiment, make_embodiment
from muscle_torch.errors import InputError, nearest
from muscle_torch.motion import MotionClip
from muscle_torch.motion.dynamic_filter import FilterOptions, filter_motion
from muscle_torch.motion.feasibility import Infeasible
from muscle_torch.motion.low_pass import MIN_FRAMES
from muscle_torch.motion.support import Soles

from .batch import BatchOptions, fit_clip
from .fit import Proportions, Targets, make_targets
from .gmr import fit_frames
from .mocap_body import drag
from .post import at_origin, on_floor, smooth
from .quality import THRESHOLDS, Quality, Series, assess, reasons
from .raw import LEG, SIDES, RawMotion, at_rate, leg_length


@dataclass(frozen=True)
class RetargetOptions:
    method: str = "batch"
    cutoff: float = 10.0  # [Hz]
    device: str = "cpu"
    licence: str = ""
    thresholds: dict[str, float] = field(default_factory=dict)
    dynamic: FilterOptions | None = FilterOptions()  # of a body with feet; None: the motion stays as it was fitted
    infeasible: Infeasible = Infeasible.keep  # what happens with a motion that no body can follow


@dataclass(frozen=True)
class Result:
    clip: MotionClip
    quality: Quality
    series: Series
    targets: Targets
    notes: tuple[str, ...] = ()  # of the recording and of what was done to it


class _Fit(NamedTuple):
    qpos: np.ndarray  # (T, nq), float32
    targets: Targets
    quality: Quality
    series: Series


Method = Callable[[Targets, Proportions, RetargetOptions], tuple[np.ndarray, Targets]]


def _batch(targets: Targets, body: Proportions, options: RetargetOptions) -> tuple[np.ndarray, Targets]:
    return fit_clip(targets, body, BatchOptions(cutoff=options.cutoff, device=options.device))


def _gmr(targets: Targets, body: Proportions, options: RetargetOptions) -> tuple[np.ndarray, Targets]:
    return _finished(fit_frames(targets, body), targets, body, options)


def _mocap_body(targets: Targets, body: Proportions, options: RetargetOptions) -> tuple[np.ndarray, Targets]:
    return _finished(drag(targets, body), targets, body, options)


def _finished(
    qpos: np.ndarray, targets: Targets, body: Proportions, options: RetargetOptions
) -> tuple[np.ndarray, Targets]:
    qpos = smooth(qpos, targets.rate, body, options.cutoff)
    return on_floor(qpos, targets, body) if body.free else (qpos, targets)


METHODS: dict[str, Method] = {"batch": _batch, "gmr": _gmr, "mocap_body": _mocap_body}


class Retargeter:
    """One body and one method; what depends on them alone is made once."""

    def __init__(self, embodiment: str = "fullbody", options: RetargetOptions | None = None) -> None:
        self.options = options or RetargetOptions()
        if self.options.method not in METHODS:
            raise InputError(f"unknown method {self.options.method!r}{nearest(self.options.method, tuple(METHODS))}")
        if embodiment not in ("fullbody", "bimanual"):
            raise InputError(f"cannot retarget to {embodiment!r}; known: fullbody, bimanual")
        self.embodiment: Embodiment = make_embodiment(embodiment)
        self.body = Proportions(self.embodiment)

    @cached_property
    def whole(self) -> Proportions:
        """The whole body, which shows how the trunk of a recording is held."""
        return self.body if self.body.free else Proportions(make_embodiment("fullbody"))

    def __call__(self, raw: RawMotion) -> Result:
        """Raises InputError for a recording that the body cannot follow. Uses one thread of a CPU."""
        with _one_thread():
            return self._retarget(raw)

    def _retarget(self, raw: RawMotion) -> Result:
        raw = at_rate(raw, self.embodiment.control_frequency)
        start = time.perf_counter()
        targets = make_targets(raw, self.body)
        if not self.body.free and _is_whole(raw):
            targets = make_targets(self._with_fitted_thorax(raw), self.body)
        qpos, targets = METHODS[self.options.method](targets, self.body, self.options)
        fit, unfiltered = self._best(qpos, targets, start)
        targets = fit.targets
        notes = (*raw.notes, *unfiltered)
        clip = MotionClip(
            name=raw.name,
            qpos=fit.qpos,
            frequency=targets.rate,
            joint_names=self.embodiment.joint_names,
            embodiment=self.embodiment.name,
            model_version=self.embodiment.model_version,
            source="; ".join((f"{raw.source or raw.name}, retargeted with {self.options.method}", *notes)),
            licence=self.options.licence or raw.licence,
            landmarks=targets.positions.astype(np.float32),
            landmark_names=targets.names,
            scale=_leg_scale(raw, self.body),
        )
        return Result(clip.validate(), fit.quality, fit.series, targets, notes)

    def _best(self, qpos: np.ndarray, targets: Targets, start: float) -> tuple[_Fit, tuple[str, ...]]:
        """Return the motion (T, nq) made such that the feet can carry it, if that costs no threshold, and notes."""
        if self.options.dynamic is None or not self.body.free or len(qpos) < MIN_FRAMES:
            return self._assess(qpos, targets, start), ()
        soles, thresholds = Soles.of(self.embodiment), {**THRESHOLDS, **self.options.thresholds}
        carried, _, _ = filter_motion(self.embodiment, qpos, targets.rate, self.options.dynamic, soles)
        filtered = self._assess(carried, targets, start)
        failures = reasons(filtered.quality, thresholds)
        if failures:
            fitted = self._assess(qpos, targets, start)
            if len(reasons(fitted.quality, thresholds)) < len(failures):
                return fitted, (f"left without the dynamic filter, with which it has {'; '.join(failures)}",)
        return filtered, ()

    def _assess(self, qpos: np.ndarray, targets: Targets, start: float) -> _Fit:
        """Return the motion (T, nq) as it is stored, with its quality; `start`: when its making began [s]."""
        if self.body.free:
            qpos, targets = at_origin(qpos, targets)
        seconds, stored = time.perf_counter() - start, qpos.astype(np.float32)
        quality, series = assess(self.embodiment, stored, targets.rate, targets, self.body, seconds)
        return _Fit(stored, targets, quality, series)

    def _with_fitted_thorax(self, raw: RawMotion) -> RawMotion:
        """Return the recording with the thorax as the whole body holds it, to which the arms are then relative.

        Recordings define their thorax by markers or bones that lie otherwise in the trunk, and jerk; the whole body's
        takes hips, spine and neck into account, and bends no further than a spine does.
        """
        recorded = make_targets(raw, self.whole)
        qpos, targets = METHODS[self.options.method](recorded, self.whole, self.options)
        tree = self.whole.tree
        fitted = tree.forward(tree.pose(qpos)).mat[:, tree.body("thorax")].numpy()
        # The floor was levelled: back into the axes of the recording.
        level = targets.orientations["thorax"][0] @ recorded.orientations["thorax"][0].T
        thorax = level.T @ fitted @ self.whole.turns["thorax"].T
        return dataclasses.replace(raw, orientations=raw.orientations | {"thorax": thorax})


@contextmanager
def _one_thread() -> Iterator[None]:
    """The matrices are small, so more threads of torch would wait for each other, and change the last digits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _is_whole(raw: RawMotion) -> bool:
    legs = {f"{side}_{joint}" for side in SIDES for joint in LEG[:3]}
    return legs <= raw.positions.keys() and "pelvis" in raw.orientations


def _leg_scale(raw: RawMotion, body: Proportions) -> float:
    """The body's leg over the subject's; NaN for a body or a recording without legs."""
    subject = leg_length(raw.positions)
    if subject is None or not body.free:
        return float("nan")
    return (body.length("left_hip", "left_knee") + body.length("left_knee", "left_ankle")) / subject
