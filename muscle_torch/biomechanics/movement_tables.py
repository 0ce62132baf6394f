"""Tables of `tools/analyze.py` for bodies without feet: joints, moments, paths of the hands, muscle groups."""

from collections.abc import Sequence

import numpy as np

from muscle_torch.embodiments import Embodiment

from .agreement import mean_of_known, pearson, rmse
from .movement import Movement, end_points, path_measures
from .movements import Movements
from .report import pretty
from .series import TimeSeries

EPISODE_COLUMNS = ("motion", "seed", "analysed [s]", "of [s]", "angle error [deg]", "site error [mm]")
ANGLE_COLUMNS = ("joint", "unit", "lowest", "highest", "range", "mean speed [/s]", "peak speed [/s]", "RMSE",
                 "of range [%]", "mean apart", "r", "reference peak [/s]")  # fmt: skip
MOMENT_COLUMNS = ("joint", "unit", "mean", "lowest", "highest", "root mean square", "of the muscles",
                  "of the reference", "RMSE")  # fmt: skip
PATH_COLUMNS = ("motion", "seed", "point", "path length [m]", "mean speed [m/s]", "peak speed [m/s]", "at [s]", "SPARC",
                "LDLJ", "error [mm]", "largest [mm]")  # fmt: skip
GROUP_COLUMNS = ("group", "side", "muscles", "mean activation", "highest", "most active muscle", "its mean")
GLOSSARY = (
    "angle error: mean absolute difference from the reference over all independent joints (MPJAE); site error: mean "
    "distance of the tracked sites from the reference's",
    "RMSE, mean apart, r: difference and correlation with the reference; speeds: of the joint, absolute",
    "root mean square: of the net moment by inverse dynamics (without muscles, springs and dampers); of the muscles: "
    "the moments that the muscles of a rollout produce; the rest comes from passive structures",
    "SPARC: spectral arc length of the speed, closer to 0 is smoother; about -1.4 for a single smooth reach "
    "(Balasubramanian et al. 2015)",
    "LDLJ: negative logarithm of the dimensionless jerk, larger is smoother; -5.3 for the smoothest movement from rest "
    "to rest (Hogan and Sternad 2009). Both measures decrease with the number of submovements, so compare them with "
    "the reference's over the same frames",
    "error: mean distance of the point from the reference's in the same frame",
)


def has_reference(movements: Movements) -> bool:
    """Return whether any movement has a reference."""
    return any(one is not None for one in movements.references)


def episode_rows(movements: Movements) -> list[tuple]:
    """Return one row (`EPISODE_COLUMNS`) per movement."""
    possible = movements.possible or [one.seconds for one in movements.movements]
    rows = []
    for (one, other), seconds in zip(movements.pairs, possible, strict=True):
        angle = site = float("nan")
        if other is not None:
            hinges = [i for i, unit in enumerate(one.angles.units) if unit == "deg"]
            angle = float(np.abs(one.angles.values[:, hinges] - other.angles.values[:, hinges]).mean())
            site = 1e3 * float(np.linalg.norm(one.sites - other.sites, axis=2).mean())
        rows.append((one.name, one.seed, one.seconds, seconds, angle, site))
    return rows


def _stacked(parts: Sequence[TimeSeries | None]) -> np.ndarray | None:
    """Return the values of several series below each other; None if one is missing."""
    known = [part.values for part in parts if part is not None]
    return np.concatenate(known) if known and len(known) == len(parts) else None


def angle_rows(movements: Movements) -> list[tuple]:
    """Return one row (`ANGLE_COLUMNS`) per joint, over all movements."""
    ones = movements.movements
    references = [one for one in movements.references if one is not None]
    complete = len(references) == len(ones)
    angles, speeds = _stacked([one.angles for one in ones]), _stacked([one.velocities for one in ones])
    assert angles is not None and speeds is not None
    other = _stacked([one.angles for one in references]) if complete else None
    other_speeds = _stacked([one.velocities for one in references]) if complete else None
    rows = []
    for index, name in enumerate(ones[0].angles.names):
        curve, speed = angles[:, index], np.abs(speeds[:, index])
        agreement = (float("nan"),) * 5
        if other is not None and other_speeds is not None:
            error, span = rmse(curve, other[:, index]), float(np.ptp(other[:, index]))
            share = 100 * error / span if span > 1e-3 else float("nan")
            agreement = (error, share, float((curve - other[:, index]).mean()), pearson(curve, other[:, index]),
                         float(np.abs(other_speeds[:, index]).max()))  # fmt: skip
        rows.append((pretty(name), ones[0].angles.units[index], float(curve.min()), float(curve.max()),
                     float(np.ptp(curve)), float(speed.mean()), float(speed.max()), *agreement))  # fmt: skip
    return rows


def moment_rows(movements: Movements) -> list[tuple]:
    """Return one row (`MOMENT_COLUMNS`) per joint, over all movements."""
    ones = movements.movements
    references = [one for one in movements.references if one is not None]
    net = _stacked([one.moments for one in ones])
    assert net is not None
    muscles = _stacked([one.muscle_moments for one in ones])
    other = _stacked([one.moments for one in references]) if len(references) == len(ones) else None
    rows = []
    for index, name in enumerate(ones[0].moments.names):
        curve = net[:, index]
        produced = _rms(muscles[:, index]) if muscles is not None else float("nan")
        reference = _rms(other[:, index]) if other is not None else float("nan")
        error = rmse(curve, other[:, index]) if other is not None else float("nan")
        rows.append((pretty(name), ones[0].moments.units[index], float(curve.mean()), float(curve.min()),
                     float(curve.max()), _rms(curve), produced, reference, error))  # fmt: skip
    return rows


def path_rows(movements: Movements) -> list[tuple]:
    """Return rows (`PATH_COLUMNS`) of the path of each limb's end, each movement followed by its reference."""
    rows = []
    for one, other in movements.pairs:
        for point, site in end_points(movements.embodiment).items():
            measures = path_measures(one, site)
            distance = (float("nan"),) * 2
            if other is not None:
                apart = 1e3 * np.linalg.norm(one.sites[:, site] - other.sites[:, site], axis=1)
                distance = (float(apart.mean()), float(apart.max()))
            rows.append((one.name, one.seed, point, *vars(measures).values(), *distance))
            if other is not None:
                empty = (float("nan"),) * 2
                rows.append((other.name, "", point, *vars(path_measures(other, site)).values(), *empty))
    return rows


def sides_of(embodiment: Embodiment) -> dict[str, tuple[str, ...]]:
    """Return left, right and "" (muscles without a pair) -> muscle names; sides without muscles are absent."""
    left, right = (tuple(pair[side] for pair in embodiment.left_right) for side in (0, 1))
    rest = tuple(name for name in embodiment.muscle_names if name not in {*left, *right})
    return {side: names for side, names in (("left", left), ("right", right), ("", rest)) if names}


def group_columns(embodiment: Embodiment) -> dict[tuple[str, str], list[int]]:
    """Return (group, side) -> columns of its muscles among the body's."""
    columns = {}
    for group, names in embodiment.groups.items():
        for side, members in sides_of(embodiment).items():
            chosen = [name for name in names if name in members]
            if chosen:
                columns[group, side] = [embodiment.muscle_names.index(name) for name in chosen]
    return columns


def group_rows(movements: Movements) -> list[tuple]:
    """Return one row (`GROUP_COLUMNS`) per muscle group and side, over all movements; empty without activations."""
    values = _stacked([one.activations for one in movements.movements])
    if values is None:
        return []
    rows = []
    for (group, side), columns in group_columns(movements.embodiment).items():
        means = values[:, columns].mean(axis=0)
        best = int(means.argmax())
        rows.append((group, side, len(columns), float(means.mean()), float(values[:, columns].mean(axis=1).max()),
                     movements.embodiment.muscle_names[columns[best]], float(means[best])))  # fmt: skip
    return rows


def summary(movements: Movements) -> str:
    """Return the errors, or the path lengths, of all movements in one sentence."""
    rows = episode_rows(movements)
    if has_reference(movements):
        angle, site = (mean_of_known([row[i] for row in rows]) for i in (4, 5))
        return f"Mean angle error {angle:.1f} degrees, mean distance of the tracked sites {site:.0f} mm."
    lengths: dict[str, float] = {}
    for row in path_rows(movements):
        lengths[row[2]] = lengths.get(row[2], 0.0) + row[3]
    return "Path length: " + ", ".join(f"{point} {length:.2f} m" for point, length in lengths.items()) + "."


def _rms(curve: np.ndarray) -> float:
    return float(np.sqrt(np.mean(curve**2)))


def series_of(movement: Movement, reference: Movement | None, embodiment: Embodiment) -> TimeSeries:
    """Return all curves of a movement as columns named `<quantity> <joint or point>`.

    Args:
        movement: The movement.
        reference: Its reference, or None.
        embodiment: The body.
    """
    time, columns, units = movement.angles.time, dict[str, np.ndarray](), list[str]()

    def add(prefix: str, series: TimeSeries | None) -> None:
        if series is None:
            return
        aligned = series if len(series.time) == len(time) else series.at(time)
        for index, name in enumerate(aligned.names):
            columns[f"{prefix} {name}"] = aligned.values[:, index]
            units.append(aligned.units[index])

    parts = [("", movement)] + ([("reference ", reference)] if reference is not None else [])
    for label, one in parts:
        add(f"{label}angle", one.angles)
        add(f"{label}velocity", one.velocities)
        add(f"{label}moment", one.moments)
        add(f"{label}muscle moment", one.muscle_moments)
        for point, site in end_points(embodiment).items():
            names = tuple(f"{point} {axis}" for axis in "xyz")
            add(f"{label}position", TimeSeries(time, one.sites[:, site], names, ("m",) * 3))
            add(f"{label}velocity", TimeSeries(time, one.site_velocities[:, site], names, ("m/s",) * 3))
        add(f"{label}activation", one.activations)
    return TimeSeries(time, np.stack(list(columns.values()), axis=1), tuple(columns), tuple(units), movement.name)
