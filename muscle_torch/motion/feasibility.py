"""Whether a body can follow a motion: its zero-moment point, friction and joint moments, in numbers and in words."""

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

FAR = 0.02  # [m] of the zero-moment point from the support: a frame counts as outside
SHOWN = 3  # stretches of frames that a line lists


class Infeasible(StrEnum):
    """What happens with a motion that no body can follow."""

    keep = auto()  # a warning line, and on
    reject = auto()  # it is refused

    @classmethod
    def of(cls, word: str) -> "Infeasible":
        """Return the member that a user's word names. Raises InputError with the nearest one."""
        known = tuple(member.value for member in cls)
        if word not in known:
            raise InputError(f"infeasible is {word!r}{nearest(word, known)}")
        return cls(word)


@dataclass(frozen=True)
class Limits:
    """Beyond these, for longer than `duration`, no body follows."""

    zmp_distance: float = 0.05  # [m] of the zero-moment point from the support; a foot is 0.04 m wide
    moment_excess: float = 150.0  # [Nm] of a joint beyond what its muscles give
    duration: float = 0.05  # [s]


@dataclass(frozen=True, eq=False)
class Feasibility:
    """Of a motion of T frames at `rate` [Hz]."""

    rate: float
    reaction: GroundReaction
    demand: JointDemand

    @property
    def outside(self) -> np.ndarray:
        """(T,) frames with the zero-moment point more than 20 mm outside the support, or with no support at all."""
        return (self.reaction.distance > FAR) | self.reaction.unsupported

    @property
    def excess(self) -> np.ndarray:
        """(T, J) [Nm] beyond what muscles give; 0 if parts besides the feet are on the floor: their load is unknown."""
        return np.where(self.reaction.other_contact[:, None], 0.0, self.demand.excess)

    def row(self) -> dict[str, Any]:
        """Return the figures of the report, SI units; `moment_excess_name` is the joint of the largest excess."""
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
        """Return why no body can follow the motion, a line a reason; empty: nothing speaks against it."""
        limits = limits or Limits()
        distance, excess = self.reaction.distance, self.excess
        lines = []
        if far := self._stretches(distance > limits.zmp_distance, limits.duration):
            worst = max(distance[start:stop].max() for start, stop in far)
            lines.append(
                f"the zero-moment point lies up to {1000 * worst:.0f} mm outside the feet in {self._words(far)}"
            )
        if floating := self._stretches(self.reaction.unsupported, 2 * limits.duration):
            lines.append(f"the ground must carry the body in {self._words(floating)}, and no foot stands")
        beyond = {
            j: self._stretches(excess[:, j] > limits.moment_excess, limits.duration) for j in range(excess.shape[1])
        }
        for joint in sorted((j for j in beyond if beyond[j]), key=lambda j: -excess[:, j].max())[:SHOWN]:
            frame = int(excess[:, joint].argmax())
            needed = self.demand.needed[frame, joint]
            bound = self.demand.most[frame, joint] if needed > 0 else self.demand.least[frame, joint]
            lines.append(
                f"{self.demand.joints[joint]} needs {needed:.0f} Nm in {self._words(beyond[joint])}, its muscles give "
                f"{bound:.0f} Nm at most"
            )
        return lines

    def _stretches(self, flags: np.ndarray, duration: float) -> list[tuple[int, int]]:
        shortest = max(1, round(duration * self.rate))
        return [(start, stop) for start, stop in runs(flags) if stop - start >= shortest]

    def _words(self, stretches: list[tuple[int, int]]) -> str:
        """ "frames 12 to 30 (0.12 to 0.30 s), 50 to 61 (...)": the longest ones, in order of time."""
        longest = sorted(sorted(stretches, key=lambda s: s[0] - s[1])[:SHOWN])
        parts = [
            f"{start} to {stop - 1} ({start / self.rate:.2f} to {(stop - 1) / self.rate:.2f} s)"
            for start, stop in longest
        ]
        more = len(stretches) - len(longest)
        return "frames " + ", ".join(parts) + (f" and {more} more times" if more else "")


def assess_motion(embodiment: Embodiment, qpos: np.ndarray, rate: float, soles: Soles | None = None) -> Feasibility:
    """Compute how feasible qpos (T, nq) at `rate` [Hz] is for a body with feet; raises InputError for others."""
    soles = soles or Soles.of(embodiment)
    reaction = ground_reaction(embodiment, qpos, rate, soles)
    return Feasibility(rate, reaction, joint_demand(embodiment, qpos, rate, reaction, soles))


def assess_clip(clip: MotionClip, embodiment: Embodiment) -> Feasibility:
    """Compute how feasible a clip is, at the control rate and as it is stored: its noise counts.

    Raises InputError for a body without feet, and for a clip that is too short or of another body.
    """
    soles = Soles.of(embodiment)
    qpos, _ = at_control_rate(fit_to(clip, embodiment), embodiment, "derivative")
    return assess_motion(embodiment, qpos, embodiment.control_frequency, soles)


def check_feasible(
    clip: MotionClip, embodiment: Embodiment, infeasible: Infeasible = Infeasible.keep, limits: Limits | None = None
) -> Feasibility:
    """Assess a clip and say, in one line, which frames no body can follow and why.

    Args:
        clip: A motion of the body, filtered as it will be followed.
        embodiment: A body with feet.
        infeasible: Warn and go on, or refuse the clip.
        limits: What counts as out of reach.

    Returns:
        The clip's feasibility.

    Raises:
        InputError: If the body has no feet; for an infeasible clip that is to be rejected.
    """
    feasibility = assess_clip(clip, embodiment)
    if issues := feasibility.issues(limits):
        line = f"motion {clip.name!r}: no body can follow it: {'; '.join(issues)}"
        if infeasible is Infeasible.reject:
            raise InputError(f"{line}; leave it out, cut these frames off, or set infeasible=keep")
        warnings.warn(line, stacklevel=2)
    return feasibility
