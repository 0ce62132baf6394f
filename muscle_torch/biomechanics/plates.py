"""Force plates in a table: the columns of each plate, and the foot on it if the names identify the foot."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from muscle_torch.errors import InputError

from .series import TimeSeries

AXES = "xyz"
SIDE_WORDS = {"r": "r", "right": "r", "rt": "r", "l": "l", "left": "l", "lt": "l"}
# OpenSim: `ground_force_r_vx`, `1_ground_force_vx`, `ground_force_2_vx`, `ground_force_vx_1`
OPENSIM = re.compile(r"(?P<head>.*force.*?)v(?P<axis>[xyz])(?P<tail>[_\d]*[a-z]*)")
# Others: `Fx1`, `Force.Fx1`, `FP1_Fx`, `plate_1` (only vertical, from a C3D file)
NUMBERED = (
    re.compile(r"(?:force[._ ]*)?f(?P<axis>[xyz])[._ ]*(?P<plate>\d*)"),
    re.compile(r"(?:fp|plate|force)[._ ]*(?P<plate>\d+)[._ ]*f(?P<axis>[xyz])"),
)
VERTICAL_ONLY = re.compile(r"plate_(?P<plate>\d+)")
LOADED = 50.0  # [N]; a plate that never carries this much is unused


@dataclass(frozen=True)
class Plate:
    """Columns of one force plate by axis (x, y, z); "" for missing ones."""

    name: str
    side: str  # r, l or "" (unknown)
    force: tuple[str, ...]
    point: tuple[str, ...] = ("", "", "")
    torque: tuple[str, ...] = ("", "", "")


def force_plates(series: TimeSeries) -> tuple[Plate, ...]:
    """Return the plates whose columns a table contains, in its order."""
    columns = {name.lower(): name for name in series.names}
    axes_of: dict[str, dict[str, str]] = {}  # template of the name -> axis -> column
    for lower, name in columns.items():
        match = OPENSIM.fullmatch(lower)
        if match:
            axes_of.setdefault(f"{match['head']}{{}}{match['tail']}", {})[match["axis"]] = name
    if axes_of:
        return tuple(_opensim_plate(template, axes, columns) for template, axes in axes_of.items())
    for lower, name in columns.items():
        match = next((m for pattern in NUMBERED if (m := pattern.fullmatch(lower))), None)
        if match:
            axes_of.setdefault(match["plate"], {})[match["axis"]] = name
    if axes_of:
        return tuple(
            Plate(_shared(axes.values()), "", tuple(axes.get(axis, "") for axis in AXES))
            for axes in axes_of.values()
        )  # fmt: skip
    vertical_only = [name for lower, name in columns.items() if VERTICAL_ONLY.fullmatch(lower)]
    return tuple(Plate(name, "", ("", name, "")) for name in vertical_only)


def vertical_axis(series: TimeSeries, plates: Iterable[Plate]) -> int:
    """Return the axis (0, 1, 2) with the largest mean force, which carries the body weight; y or z may be up."""
    loads = np.zeros(3)
    for plate in plates:
        for axis, name in enumerate(plate.force):
            if name:
                loads[axis] += float(np.nanmean(np.abs(series[name])))
    return int(loads.argmax())


def vertical_columns(series: TimeSeries) -> dict[str, str]:
    """Return the columns of vertical force: r and l for feet with one plate, otherwise the plates' names.

    Two plates whose names do not identify the feet are assumed to be right and left, in the table's order. Unused
    plates are excluded.

    Raises:
        InputError: The table has no plates.
    """
    plates = force_plates(series)
    if not plates:
        raise InputError(
            f"{series.source}: no column of vertical force; set force_column, or name it as in OpenSim, e.g. "
            f"ground_force_r_vy; found {', '.join(series.names[:12])}"
        )
    axis = vertical_axis(series, plates)
    columns = {plate: plate.force[axis] for plate in plates if plate.force[axis]}
    loaded = {plate: name for plate, name in columns.items() if np.nanmax(np.abs(series[name])) >= LOADED}
    columns = loaded or columns  # none loaded: volts or body weights, which the caller reports
    sides = [plate.side for plate in columns]
    if sides == ["", ""]:
        return dict(zip("rl", columns.values(), strict=True))
    by_key = {plate.side if sides.count(plate.side) == 1 and plate.side else plate.name: name
              for plate, name in columns.items()}  # fmt: skip
    return {key: by_key[key] for key in sorted(by_key, key=lambda key: "rl".find(key) % 3)}


def idle_plates(series: TimeSeries) -> list[str]:
    """Return the names of the plates that always carry less than `LOADED`, if others carry more."""
    plates = force_plates(series)
    axis = vertical_axis(series, plates)
    loads = {p.name: float(np.nanmax(np.abs(series[p.force[axis]]))) for p in plates if p.force[axis]}
    if all(load < LOADED for load in loads.values()):
        return []
    return [name for name, load in loads.items() if load < LOADED]


def _opensim_plate(template: str, axes: dict[str, str], columns: dict[str, str]) -> Plate:
    words = re.split(r"[_\W\d]+", template.replace("{}", "_"))
    side = next((SIDE_WORDS[word] for word in words if word in SIDE_WORDS), "")
    kinds = [template.replace("force", word) for word in ("torque", "moment", "force")]
    patterns = [kind.replace("{}", f"{letter}{{}}") for kind in kinds for letter in ("", "m", "t")]
    torque = next((p for p in patterns if any(p.format(axis) in columns for axis in AXES)), "")
    return Plate(
        _shared(axes.values()),
        side,
        tuple(axes.get(axis, "") for axis in AXES),
        tuple(columns.get(template.format(f"p{axis}"), "") for axis in AXES),
        tuple(columns.get(torque.format(axis), "") if torque else "" for axis in AXES),
    )


def _shared(names: Iterable[str]) -> str:
    """Return a name for the plate: the column's name without its axis."""
    name = next(iter(names))
    plain = re.sub(r"(?i)_?v[xyz](?=[_\d]*[a-z]*$)", "", name)
    return plain if plain != name else re.sub(r"(?i)(?<=f)[xyz]", "", name)
