"""Muscle deficits: clinical muscle groups by side, and presets, as factors of muscle strength.

A severity is the fraction of strength that remains: 1 is healthy, 0 paralysed. It scales the active and the passive
force of a muscle together. A range [lowest, highest] is drawn per environment.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from muscle_torch.errors import InputError, nearest

from .embodiment import Embodiment

SIDES = ("r", "l")
EVERY = "all"
# Muscles of the leg by function; names of the body end in `_r` and `_l`.
GROUPS: dict[str, tuple[str, ...]] = {
    "plantarflexors": ("soleus", "gasmed", "gaslat", "tibpost", "perlong", "perbrev", "fdl", "fhl"),
    "dorsiflexors": ("tibant", "edl", "ehl"),
    "knee_extensors": ("vasint", "vaslat", "vasmed", "recfem"),
    "hip_extensors": ("glmax1", "glmax2", "glmax3", "bflh", "semimem", "semiten"),
    "hip_abductors": ("glmed1", "glmed2", "glmed3", "glmin1", "glmin2", "glmin3"),
    "hip_flexors": ("iliacus", "psoas", "recfem", "sart", "tfl"),
}
HEMIPARESIS = ("plantarflexors", "dorsiflexors", "hip_flexors")
SUPPORT = ("plantarflexors", "knee_extensors", "hip_extensors")  # they extend the leg against gravity
PRESETS: dict[str, dict[str, float]] = {
    "none": {},
    **{f"hemiparesis_{side}": {f"{group}_{side}": 0.5 for group in HEMIPARESIS} for side in SIDES},
    **{f"foot_drop_{side}": {f"dorsiflexors_{side}": 0.25} for side in SIDES},
    "crouch": dict.fromkeys(SUPPORT, 0.5),
}


class Deficit(NamedTuple):
    """Muscles with a common severity."""

    muscles: tuple[str, ...]
    lowest: float  # fraction of strength that remains, in [0, 1]
    highest: float


def strength_groups(embodiment: Embodiment) -> dict[str, tuple[str, ...]]:
    """Return "<group>_<side>" -> muscles of the body, right before left; groups without a muscle are left out."""
    known = set(embodiment.muscle_names)
    groups = {
        f"{group}_{side}": tuple(f"{name}_{side}" for name in names if f"{name}_{side}" in known)
        for group, names in GROUPS.items()
        for side in SIDES
    }
    return {group: names for group, names in groups.items() if names}


def deficits(requested: Any, embodiment: Embodiment) -> list[Deficit]:
    """Resolve the key `deficit`.

    Args:
        requested: Name of a preset; or "<group>_<side>", "<group>" (both sides), a muscle or a group of the body ->
            severity in [0, 1], or its range [lowest, highest]. Empty: none.
        embodiment: The body.

    Raises:
        InputError: A preset, group or side does not exist, or a severity is out of range.
    """
    if not requested:
        return []
    if isinstance(requested, str):
        if requested not in PRESETS:
            raise InputError(
                f"deficit={requested}: unknown preset{nearest(requested, list(PRESETS))}; choose from "
                f"{', '.join(PRESETS)}, or write deficit={{plantarflexors_r: 0.5}}"
            )
        requested = PRESETS[requested]
    if not isinstance(requested, Mapping):
        raise InputError(f"deficit={requested}: write a preset, or group: severity, e.g. {{plantarflexors_r: 0.5}}")
    known = _known(embodiment)
    resolved = []
    for name, severity in requested.items():
        if name not in known:
            raise InputError(
                f"deficit: {embodiment.name} has no muscle or muscle group {name!r}{nearest(str(name), list(known))}; "
                "a side is _r or _l, and a group without it is on both sides"
            )
        resolved.append(Deficit(known[name], *_range(str(name), severity)))
    return resolved


def _known(embodiment: Embodiment) -> dict[str, tuple[str, ...]]:
    sided = strength_groups(embodiment)
    both = {
        group: sum((sided[f"{group}_{side}"] for side in SIDES if f"{group}_{side}" in sided), ()) for group in GROUPS
    }
    groups = {group: names for group, names in both.items() if names} | sided
    muscles = {name: (name,) for name in embodiment.muscle_names}
    return {**muscles, **embodiment.groups, EVERY: embodiment.muscle_names, **groups}


def _range(name: str, severity: Any) -> tuple[float, float]:
    many = isinstance(severity, Sequence) and not isinstance(severity, str)
    limits: list[Any] = list(severity) if many else [severity, severity]
    numbers = all(isinstance(limit, int | float) and not isinstance(limit, bool) for limit in limits)
    if len(limits) != 2 or not numbers or not 0 <= limits[0] <= limits[1] <= 1:
        raise InputError(
            f"deficit.{name}={severity}: write the fraction of strength that remains, from 0 to 1, or its range such "
            "as [0.25,1]"
        )
    return float(limits[0]), float(limits[1])
