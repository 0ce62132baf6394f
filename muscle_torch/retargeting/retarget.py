"""Retarget a RawMotion to a MotionClip and assess its quality."""

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

BODIES = ("fullbody", "bimanual", "legs", "legs_back", "legs_abs")
RATE = 100.0  # [Hz] of the clips, or the control frequency if higher: feet and filters need more than the legs' 30 Hz


@dataclass(frozen=True)
class RetargetOptions:
    """Options of `Retargeter`.

    Attributes:
        method: A name of `METHODS`.
        cutoff: Low-pass [Hz].
        device: Device of the method `batch`.
        licence: Licence of the clips; empty: the recording's.
        thresholds: Metric -> limit, to override `THRESHOLDS`.
        dynamic: Dynamic filter for bodies with feet; None: off.
        infeasible: How to handle a motion that no body can follow.
    """

    method: str = "batch"
    cutoff: float = 10.0
    device: str = "cpu"
    licence: str = ""
    thresholds: dict[str, float] = field(default_factory=dict)
    dynamic: FilterOptions | None = FilterOptions()
    infeasible: Infeasible = Infeasible.keep


@dataclass(frozen=True)
class Result:
    """A retargeted clip."""

    clip: MotionClip
    quality: Quality
    series: Series
    targets: Targets
    notes: tuple[str, ...] = ()  # about the recording and its processing


class _Fit(NamedTuple):
    qpos: np.ndarray  # (T, nq), float32
    targets: Targets
    quality: Quality
    series: Series


Method = Callable[[Targets, Proportions, RetargetOptions], tuple[np.ndarray, Targets]]


def _batch(targets: Targets, body: Proportions, options: RetargetOptions) -> tuple[np.ndarray, Targets]:
    return fit_clip(targets, body, BatchOptions(cutoff=options.cutoff, device=options.device))


def _gmr(targets: Targets, body: Proportions, options: RetargetOptions) -> tuple[np.ndarray, Targets]:
    return _post_process(fit_frames(targets, body), targets, body, options)


def _mocap_body(targets: Targets, body: Proportions, options: RetargetOptions) -> tuple[np.ndarray, Targets]:
    return _post_process(drag(targets, body), targets, body, options)


def _post_process(
    qpos: np.ndarray, targets: Targets, body: Proportions, options: RetargetOptions
) -> tuple[np.ndarray, Targets]:
    qpos = smooth(qpos, targets.rate, body, options.cutoff)
    return on_floor(qpos, targets, body) if body.free else (qpos, targets)


METHODS: dict[str, Method] = {"batch": _batch, "gmr": _gmr, "mocap_body": _mocap_body}


class Retargeter:
    """Retargets recordings to one body with one method; call it with a RawMotion."""

    def __init__(self, embodiment: str = "fullbody", options: RetargetOptions | None = None) -> None:
        """Build the body.

        Args:
            embodiment: One of `BODIES`.
            options: Method, filters and thresholds; None: the defaults.

        Raises:
            InputError: The method or body is unknown, or the method requires arms that the body lacks.
        """
        self.options = options or RetargetOptions()
        if self.options.method not in METHODS:
            raise InputError(f"unknown method {self.options.method!r}{nearest(self.options.method, tuple(METHODS))}")
        if embodiment not in BODIES:
            raise InputError(f"cannot retarget to {embodiment!r}; choose one of {', '.join(BODIES)}")
        self.embodiment: Embodiment = make_embodiment(embodiment)
        self.body = Proportions(self.embodiment)
        if self.options.method == "gmr" and not self.body.arms:
            raise InputError(f"method=gmr requires a body with arms, {embodiment} has none: use method=batch")

    @cached_property
    def whole(self) -> Proportions:
        """The full body, used to fit the trunk of a recording."""
        return self.body if self.body.free else Proportions(make_embodiment("fullbody"))

    def __call__(self, raw: RawMotion) -> Result:
        """Retarget a recording, using one CPU thread.

        Args:
            raw: The recording, at any rate.

        Returns:
            The clip at `RATE`, its quality, and notes.

        Raises:
            InputError: The recording lacks what the body requires.
        """
        with _one_thread():
            return self._retarget(raw)

    def _retarget(self, raw: RawMotion) -> Result:
        raw = at_rate(raw, max(RATE, self.embodiment.control_frequency))
        start = time.perf_counter()
        targets = make_targets(raw, self.body)
        if not self.body.free and _is_whole(raw):
            targets = make_targets(self._with_fitted_thorax(raw), self.body)
        qpos, targets = METHODS[self.options.method](targets, self.body, self.options)
        fit, filter_notes = self._best(qpos, targets, start)
        targets = fit.targets
        notes = (*raw.notes, *filter_notes)
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
        """Return the filtered motion (T, nq), or the unfiltered one if it fails fewer thresholds, with notes."""
        if self.options.dynamic is None or not self.body.free or len(qpos) < MIN_FRAMES:
            return self._assess(qpos, targets, start), ()
        soles, thresholds = Soles.of(self.embodiment), {**THRESHOLDS, **self.options.thresholds}
        filtered_qpos, _, _ = filter_motion(self.embodiment, qpos, targets.rate, self.options.dynamic, soles)
        filtered = self._assess(filtered_qpos, targets, start)
        failures = reasons(filtered.quality, thresholds)
        if failures:
            fitted = self._assess(qpos, targets, start)
            if len(reasons(fitted.quality, thresholds)) < len(failures):
                return fitted, (f"not dynamically filtered, because it would then fail {'; '.join(failures)}",)
        return filtered, ()

    def _assess(self, qpos: np.ndarray, targets: Targets, start: float) -> _Fit:
        """Return the motion (T, nq) as it is stored, with its quality; `start`: time at which the fit began [s]."""
        if self.body.free:
            qpos, targets = at_origin(qpos, targets)
        seconds, stored = time.perf_counter() - start, qpos.astype(np.float32)
        quality, series = assess(self.embodiment, stored, targets.rate, targets, self.body, seconds)
        return _Fit(stored, targets, quality, series)

    def _with_fitted_thorax(self, raw: RawMotion) -> RawMotion:
        """Return the recording with the thorax of a full-body fit, relative to which the arms are then expressed.

        A recorded thorax depends on markers or bones with other positions in the trunk, and is noisy; that of a full
        body uses hips, spine and neck, and is limited by the spine.
        """
        recorded = make_targets(raw, self.whole)
        qpos, targets = METHODS[self.options.method](recorded, self.whole, self.options)
        tree = self.whole.tree
        fitted = tree.forward(tree.pose(qpos)).mat[:, tree.body("thorax")].numpy()
        # The floor was levelled: transform back to the axes of the recording.
        level = targets.orientations["thorax"][0] @ recorded.orientations["thorax"][0].T
        thorax = level.T @ fitted @ self.whole.turns["thorax"].T
        return dataclasses.replace(raw, orientations=raw.orientations | {"thorax": thorax})


@contextmanager
def _one_thread() -> Iterator[None]:
    """Use one torch thread: the matrices are small, and more threads would cost time and change the last digits."""
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
    """Return the body's leg length over the subject's; NaN for a body or a recording without legs."""
    subject = leg_length(raw.positions)
    if subject is None or not body.free:
        return float("nan")
    return (body.length("left_hip", "left_knee") + body.length("left_knee", "left_ankle")) / subject
