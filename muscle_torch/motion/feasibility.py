"""Feasibility of a motion: zero-moment point, friction and joint moments, as numbers and as messages."""

import warnings
from dataclasses import dataclass
from enum import StrEnum, auto
from typing import Any

import numpy as np

from muscle_torch.embodiments import Embodiment
from muscle_torch.errors import InputError, nearest

from .clip import MotionClip
from .ground_reaction import GroundReaction, ground_reaction
from .joint_demand import JointDemand, joint_demand
from .joints import fit_to
from .resample import at_control_rate
from .support import Soles, runs

OUTSIDE_DISTANCE = 0.02  # [m] from the zero-moment point to the support: beyond, a frame counts as outside
MAX_LISTED = 3  # intervals or joints listed in a message


class Infeasible(StrEnum):
    """How to handle an infeasible motion."""

    keep = auto()  # warn and continue
    reject = auto()  # raise InputError

    @classmethod
    def of(cls, word: str) -> "Infeasible":
        """Return the member named by the user. Raises InputError, with the nearest name, if it is unknown."""
        known = tuple(member.value for member in cls)
        if word not in known:
            raise InputError(f"infeasible is {word!r}{nearest(word, known)}")
        return cls(word)


@dataclass(frozen=True)
class Limits:
    """Limits of feasibility: a motion that exceeds one for longer than `duration` is infeasible."""

    zmp_distance: float = 0.05  # [m] from the zero-moment point to the support; a foot is 0.04 m wide
    moment_excess: float = 150.0  # [Nm] of a joint beyond the capacity of its muscles
    duration: float = 0.05  # [s]


@dataclass(frozen=True, eq=False)
class Feasibility:
    """Feasibility of a motion of T frames at `rate` [Hz]."""

    rate: float
    reaction: GroundReaction
    demand: JointDemand

    @property
    def outside(self) -> np.ndarray:
        """Frames with the zero-moment point more than 20 mm outside the support, or without support, (T,) bool."""
        return (self.reaction.distance > OUTSIDE_DISTANCE) | self.reaction.unsupported

    @property
    def excess(self) -> np.ndarray:
        """Joint moment beyond the muscles' capacity, (T, J) [Nm].

        Frames in which parts other than the feet touch the floor count as 0, because their load is unknown.
        """
        return np.where(self.reaction.other_contact[:, None], 0.0, self.demand.excess)

    def row(self) -> dict[str, Any]:
        """Return the report's figures in SI units; `moment_excess_name` is the joint with the largest excess."""
        distance, excess = self.reaction.distance, self.excess
        joint = int(excess.max(axis=0).argmax())
        return {
            "zmp_distance": float(distance.mean()),
            "zmp_distance_p95": float(np.quantile(distance, 0.95)),
            "zmp_distance_max": float(distance.max()),
            "zmp_outside_rate": float(self.outside.mean()),
            "unsupported_rate": float(self.reaction.unsupported.mean()),
            "friction_demand_p95": float(np.quantile(self.reaction.friction_demand, 0.95)),
            "moment_excess": float(excess[:, joint].max()),
            "moment_excess_p95": float(np.quantile(excess.max(axis=1), 0.95)),
            "moment_excess_name": self.demand.joints[joint] if excess.any() else "",
        }

    def issues(self, limits: Limits | None = None) -> list[str]:
        """Return why the motion is infeasible, one line per reason; empty if it is feasible."""
        limits = limits or Limits()
        distance, excess = self.reaction.distance, self.excess
        lines = []
        if far := self._intervals(distance > limits.zmp_distance, limits.duration):
            worst = max(distance[start:stop].max() for start, stop in far)
            lines.append(
                f"the zero-moment point lies up to {1000 * worst:.0f} mm outside the feet in {self._describe(far)}"
            )
        if floating := self._intervals(self.reaction.unsupported, 2 * limits.duration):
            lines.append(f"the ground must carry the body in {self._describe(floating)}, and no foot stands")
        beyond = {
            j: self._intervals(excess[:, j] > limits.moment_excess, limits.duration) for j in range(excess.shape[1])
        }
        for joint in sorted((j for j in beyond if beyond[j]), key=lambda j: -excess[:, j].max())[:MAX_LISTED]:
            frame = int(excess[:, joint].argmax())
            needed = self.demand.needed[frame, joint]
            bound = self.demand.most[frame, joint] if needed > 0 else self.demand.least[frame, joint]
            lines.append(
                f"{self.demand.joints[joint]} needs {needed:.0f} Nm in {self._describe(beyond[joint])}, its muscles "
                f"give {bound:.0f} Nm at most"
            )
        return lines

    def _intervals(self, flags: np.ndarray, duration: float) -> list[tuple[int, int]]:
        shortest = max(1, round(duration * self.rate))
        return [(start, stop) for start, stop in runs(flags) if stop - start >= shortest]

    def _describe(self, intervals: list[tuple[int, int]]) -> str:
        """Return "frames 12 to 30 (0.12 to 0.30 s), 50 to 61 (...)": the longest intervals, in order of time."""
        longest = sorted(sorted(intervals, key=lambda s: s[0] - s[1])[:MAX_LISTED])
        parts = [
            f"{start} to {stop - 1} ({start / self.rate:.2f} to {(stop - 1) / self.rate:.2f} s)"
            for start, stop in longest
        ]
        more = len(intervals) - len(longest)
        return "frames " + ", ".join(parts) + (f" and {more} more intervals" if more else "")


def assess_motion(embodiment: Embodiment, qpos: np.ndarray, rate: float, soles: Soles | None = None) -> Feasibility:
    """Compute the feasibility of a motion.

    Args:
        embodiment: A body with feet.
        qpos: (T, nq).
        rate: Frame rate [Hz].
        soles: `Soles.of(embodiment)`, if already computed.

    Raises:
        InputError: The body has no feet, or the motion is too short.
    """
    soles = soles or Soles.of(embodiment)
    reaction = ground_reaction(embodiment, qpos, rate, soles)
    return Feasibility(rate, reaction, joint_demand(embodiment, qpos, rate, reaction, soles))


def assess_clip(clip: MotionClip, embodiment: Embodiment) -> Feasibility:
    """Compute the feasibility of a clip at the control rate, without filtering: its noise counts.

    Raises:
        InputError: The body has no feet, or the clip is too short or of another body.
    """
    soles = Soles.of(embodiment)
    qpos, _ = at_control_rate(fit_to(clip, embodiment), embodiment, "derivative")
    return assess_motion(embodiment, qpos, embodiment.control_frequency, soles)


def check_feasible(
    clip: MotionClip, embodiment: Embodiment, infeasible: Infeasible = Infeasible.keep, limits: Limits | None = None
) -> Feasibility:
    """Assess a clip; if it is infeasible, warn or raise with the frames and the reasons.

    Args:
        clip: A motion of the body, filtered as it will be used.
        embodiment: A body with feet.
        infeasible: Whether to warn or to raise.
        limits: Limits of feasibility; None: the defaults.

    Returns:
        The clip's feasibility.

    Raises:
        InputError: The body has no feet, or the clip is infeasible and to be rejected.
    """
    feasibility = assess_clip(clip, embodiment)
    if issues := feasibility.issues(limits):
        line = f"motion {clip.name!r}: no body can follow it: {'; '.join(issues)}"
        if infeasible is Infeasible.reject:
            raise InputError(f"{line}; remove the motion or these frames, or set infeasible=keep")
        warnings.warn(line, stacklevel=2)
    return feasibility
