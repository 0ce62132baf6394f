"""Dynamic filter: the clip nearest to the recorded one that the ground can support.

A recorded motion, transferred to a body with other masses and differentiated twice, needs forces that no floor can
exert: its zero-moment point lies outside the feet. The filter low-passes the motion, shifts the pelvis horizontally by
the smallest amount that moves this point into the support (a quadratic program, `balance.plan_shift`; after Yamane and
Nakamura 2003), and recomputes the legs by inverse kinematics, so that the feet stay in place.
"""

import dataclasses
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter1d, maximum_filter1d

from muscle_torch.embodiments import Embodiment

from . import cache as disk
from .balance import Sides, plan_shift
from .clip import MotionClip
from .generated.chain import Chain
from .ground_reaction import GroundReaction, ground_reaction
from .joints import fit_to
from .low_pass import low_pass
from .resample import at_control_rate
from .support import Soles

VERSION = 2  # increment when the filter's result changes
# Model fields that the filter depends on in addition to the kinematic ones.
DYNAMIC_FIELDS = (
    *("body_inertia", "body_iquat", "jnt_range", "eq_data", "geom_type", "geom_size", "geom_pos", "geom_quat"),
    *("geom_bodyid", "geom_contype", "geom_conaffinity"),
)
LIMIT_MARGIN = 0.03  # [rad] between leg joints and their limits: a fully extended knee cannot follow smoothly
HEIGHT_ROUNDS, REACHED = 4, 2e-4  # rounds of adjusting the root height; tolerance of the feet's position [m]
SMOOTHING_FRAMES = 8  # frames on both sides over which the root height is adjusted


@dataclass(frozen=True)
class FilterOptions:
    """Options of the dynamic filter."""

    cutoff: float = 6.0  # [Hz] low-pass of root, trunk and arms; 0: off
    foot_cutoff: float = 10.0  # [Hz] low-pass of the feet's poses; 0: off
    margin: float = 0.01  # [m] between the zero-moment point and the border of the support
    rounds: int = 4  # rounds of quadratic program and inverse kinematics; 0: low-pass only


class FilteredMotion(NamedTuple):
    """A filtered clip of L frames."""

    clip: MotionClip  # at the control rate
    zmp_distance: np.ndarray  # (L,) [m] from the zero-moment point to the support after filtering
    support: np.ndarray  # (L, feet) bool, standing feet
    shift: np.ndarray  # (L, 2) [m] horizontal shift of the pelvis


def filter_clip(
    clip: MotionClip, embodiment: Embodiment, options: FilterOptions | None = None, cache: bool = True
) -> FilteredMotion:
    """Filter a clip so that its zero-moment point lies within the support of its feet.

    Args:
        clip: Any motion of the body.
        embodiment: A body with feet.
        options: Cutoffs, margin and rounds; None: the defaults.
        cache: Whether to use the on-disk cache.

    Returns:
        The filtered clip at the control rate, the remaining distance, the standing feet and the shift.

    Raises:
        InputError: The body has no feet, or the clip is too short or of another body.
    """
    options = options or FilterOptions()
    soles, fitted = Soles.of(embodiment), fit_to(clip, embodiment)
    body = disk.body_key(embodiment, DYNAMIC_FIELDS)
    key = disk.clip_key(body, f"filter {VERSION} {options}", fitted.frequency, [fitted.qpos])
    entry = disk.load(key) if cache else None
    if entry is None or not _fits(entry, embodiment, soles):
        rate = embodiment.control_frequency
        qpos, _ = at_control_rate(fitted, embodiment, "derivative")
        qpos, shift, reaction = filter_motion(embodiment, qpos, rate, options, soles)
        entry = {
            "qpos": qpos.astype(np.float32),
            "distance": reaction.distance,
            "stands": reaction.stands,
            "shift": shift,
        }
        if cache:
            disk.store(key, entry)
            disk.prune()
    resampled = len(entry["qpos"]) != clip.num_frames
    filtered = dataclasses.replace(
        fitted,
        qpos=entry["qpos"],
        frequency=embodiment.control_frequency,
        qvel=None,
        landmarks=None if resampled else clip.landmarks,
        landmark_names=() if resampled else clip.landmark_names,
        source="; ".join(part for part in (clip.source, "dynamically filtered") if part),
    )
    return FilteredMotion(filtered, entry["distance"], entry["stands"], entry["shift"])


def _fits(entry: dict[str, np.ndarray], embodiment: Embodiment, soles: Soles) -> bool:
    """Return whether a cache entry has the expected contents; the file may be damaged."""
    if entry.keys() != {"qpos", "distance", "stands", "shift"}:
        return False
    frames = len(entry["qpos"])
    shapes = {"qpos": (frames, embodiment.model.nq), "distance": (frames,), "shift": (frames, 2)}
    shapes["stands"] = (frames, len(soles.feet))
    return all(entry[name].shape == shape and bool(np.isfinite(entry[name]).all()) for name, shape in shapes.items())


def filter_motion(
    embodiment: Embodiment, qpos: np.ndarray, rate: float, options: FilterOptions, soles: Soles
) -> tuple[np.ndarray, np.ndarray, GroundReaction]:
    """Filter a motion.

    Args:
        embodiment: A body with feet.
        qpos: (T, nq).
        rate: Frame rate [Hz].
        options: Cutoffs, margin and rounds.
        soles: Soles of the body.

    Returns:
        Filtered qpos (T, nq), shift (T, 2) [m], and the ground reaction of the filtered motion.
    """
    feet = _smooth(embodiment, qpos, rate, options.foot_cutoff)
    legs = [_Leg(embodiment, foot, feet) for foot in soles.feet]
    base = _smooth(embodiment, qpos, rate, options.cutoff)
    shift = np.zeros((len(qpos), 2))
    out = _on_feet(legs, base, shift)
    reaction = ground_reaction(embodiment, out, rate, soles)
    for _ in range(options.rounds):
        shift = shift + plan_shift(reaction, Sides.of(reaction, options.margin), rate, before=shift)
        out = _on_feet(legs, base, shift)
        reaction = ground_reaction(embodiment, out, rate, soles)
    return out, shift, reaction


def _smooth(embodiment: Embodiment, qpos: np.ndarray, rate: float, cutoff: float) -> np.ndarray:
    """Low-pass without overshoot: joints stay within the range of the unfiltered motion."""
    out, joints = low_pass(embodiment, qpos, rate, cutoff), embodiment.joint_qpos_ids
    out[:, joints] = np.clip(out[:, joints], qpos[:, joints].min(axis=0), qpos[:, joints].max(axis=0))
    return embodiment.project(out)


class _Leg:
    """A leg whose foot, including the toes, keeps its pose in a motion (T, nq) while the root is shifted."""

    def __init__(self, embodiment: Embodiment, foot: str, qpos: np.ndarray) -> None:
        self._chain = Chain(embodiment, foot)
        self._joints = self._chain.free_joints()
        self._place = self._chain.place(qpos)
        self._limits = _limits(embodiment, self._joints, qpos)
        self._beyond = self._chain.joints_beyond()
        self._toes = qpos[:, self._beyond]

    def follow(self, qpos: np.ndarray) -> np.ndarray:
        """Return qpos (T, nq) with this leg's joints placing the foot at its target, or as close as possible."""
        place = self._place
        out = self._chain.reach(qpos, self._joints, place.pos, place.mat, exactly=False, limits=self._limits)
        out[:, self._beyond] = self._toes
        return out

    def height_errors(self, qpos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return how far the root must sink, and rise, for this leg to reach its target, both (T,) [m].

        A foot above its target is attached to a leg that is too short; one below it is pushed down by an ankle or hip
        at its limit.
        """
        error = self._place.pos - self._chain.place(qpos).pos
        length = np.linalg.norm(error, axis=1)
        above = (error[:, 2] < -0.5 * length) & (length > REACHED)
        sink = np.where(above, length**2 / np.maximum(-error[:, 2], 1e-9), 0.0)
        return sink, np.where(error[:, 2] > REACHED, error[:, 2], 0.0)


def _on_feet(legs: list[_Leg], qpos: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Return qpos (T, nq) with the root moved by `shift` (T, 2) [m] and the feet at their targets.

    If legs at their limits do not reach, the root height is adjusted smoothly over time.
    """
    out = np.array(qpos)
    out[:, :2] += shift
    for _ in range(HEIGHT_ROUNDS):
        for leg in legs:
            out = leg.follow(out)
        sink, rise = np.max([leg.height_errors(out) for leg in legs], axis=0)
        if not sink.any() and not rise.any():
            break
        out[:, 2] += _smooth_envelope(rise) - _smooth_envelope(sink)
    return out


def _smooth_envelope(peaks: np.ndarray) -> np.ndarray:
    """Return a smooth curve (T,) about as high as isolated peaks (T,)."""
    return gaussian_filter1d(maximum_filter1d(peaks, 2 * SMOOTHING_FRAMES + 1), SMOOTHING_FRAMES / 2, mode="nearest")


def _limits(embodiment: Embodiment, names: tuple[str, ...], qpos: np.ndarray) -> np.ndarray:
    """Return (n, 2): the joint limits less `LIMIT_MARGIN`, or as close to the limits as the motion (T, nq) comes."""
    joints = [embodiment.model.joint(name) for name in names]
    values = qpos[:, [int(joint.qposadr[0]) for joint in joints]]
    low, high = np.array([joint.range for joint in joints]).T
    lowest = np.maximum(low, np.minimum(low + LIMIT_MARGIN, values.min(axis=0)))
    highest = np.minimum(high, np.maximum(high - LIMIT_MARGIN, values.max(axis=0)))
    return np.column_stack((lowest, highest))
