"""What the ground does to each foot: plates given to feet by their names, or by where the feet are when they carry."""

from dataclasses import dataclass

import mujoco
import numpy as np

from muscle_torch.embodiments import Embodiment
from muscle_torch.errors import InputError
from muscle_torch.motion.support import runs

from .coordinates import model_frame
from .plates import LOADED, Plate, force_plates
from .series import TimeSeries

ON_GROUND = 20.0  # [N]; below, the point of application means nothing
STANDING = 100.0  # [N]; above, the centre of pressure is sharp enough to tell the feet apart
FAR = 0.35  # [m]; a centre of pressure further from its foot belongs to another one
ONE_FOOT = 0.75  # of a contact's frames have the same foot nearest; below, both feet are on the plate
LEFT_RIGHT = {"r": "right", "l": "left"}


@dataclass(frozen=True, eq=False)
class FootForce:
    """What the ground does to one foot, in OpenSim's ground frame: (T, 3) force [N], point [m], free torque [Nm]."""

    force: np.ndarray
    point: np.ndarray
    torque: np.ndarray

    @property
    def loaded(self) -> np.ndarray:
        """(T,) whether the foot carries more than `ON_GROUND`."""
        return self.force[:, 1] > ON_GROUND


@dataclass(frozen=True, eq=False)
class PlatesOfFeet:
    """Force plates of a recording and the foot on each: `sides`, one (T,) array of r, l or '' a plate, on its clock."""

    series: TimeSeries
    plates: tuple[Plate, ...]
    sides: tuple[np.ndarray, ...]
    notes: tuple[str, ...]

    def at(self, time: np.ndarray) -> dict[str, FootForce]:
        """Return the feet's forces at `time` (N,) [s]; zero off contact. Forces of several plates are added.

        Raises InputError if the recording does not cover the time.
        """
        series, known = self.series.at(time), self.series.time
        if np.isnan(series.values).any():
            raise InputError(f"{self.series.source}: forces do not cover {time[0]:g} to {time[-1]:g} s")
        after = np.searchsorted(known, time).clip(1, len(known) - 1)
        nearest = np.where(time - known[after - 1] < known[after] - time, after - 1, after)
        return {
            side: _sum([_masked(plate, series, sides[nearest] == side)
                        for plate, sides in zip(self.plates, self.sides, strict=True)])
            for side in "rl"
        }  # fmt: skip


def plates_of_feet(
    series: TimeSeries,
    swapped: bool = False,
    time: np.ndarray | None = None,
    feet: dict[str, np.ndarray] | None = None,
) -> PlatesOfFeet:
    """Return which foot is on each plate of a recording.

    Args:
        series: forces under OpenSim's names (`ground_force_r_vx`, `1_ground_force_vx`, `ground_force_3_vx`, ...).
        swapped: exchange right and left if the names tell the feet.
        time: (N,) [s] of `feet`.
        feet: side -> (N, 3) middle of the foot in OpenSim's ground frame [m]. Plates whose names tell no foot are given
            to the nearest one, contact by contact; without `feet`, the first of two plates is the right one.

    Raises:
        InputError: no plate carries a foot, forces are no newtons or points no metres, or plates cannot be given to
            feet.
    """
    plates = tuple(plate for plate in force_plates(series) if plate.force[1])
    if not plates:
        raise InputError(f"{series.source}: no forces of the right foot, such as ground_force_r_vy; it has "
                         f"{', '.join(series.names[:8])}")  # fmt: skip
    _check_units(series, plates)
    unnamed = [plate for plate in plates if not plate.side]
    by_place = feet is not None and time is not None and all(p.point[0] and p.point[2] for p in unnamed)
    if not by_place and len(unnamed) not in (0, 2):
        raise InputError(
            f"{series.source}: {len(unnamed)} plates whose names tell no foot need their centres of pressure "
            f"({unnamed[0].name}_px, _py, _pz) to be given to the feet"
        )
    sides, notes = [], []
    for plate in plates:
        if plate.side or not by_place:
            side = plate.side or "rl"[unnamed.index(plate)]
            side = {"r": "l", "l": "r"}[side] if swapped else side
            sides.append(np.full(len(series.time), side))
        else:
            assert time is not None and feet is not None
            at_plate, more = _by_place(series, plate, time, feet)
            sides.append(at_plate)
            notes += more
    if not any((one != "").any() for one in sides):
        raise InputError(f"{series.source}: no contact belongs to a foot: {'; '.join(notes)}")
    return PlatesOfFeet(series, plates, tuple(sides), tuple(notes))


def feet_in_ground(embodiment: Embodiment, qpos: np.ndarray, scale: float) -> dict[str, np.ndarray]:
    """Return side -> (T, 3) the middle of the foot in OpenSim's ground frame, in the subject's metres.

    `scale`: the model's lengths over the subject's.
    """
    model, data = embodiment.model, mujoco.MjData(embodiment.model)
    ground = model_frame(embodiment).inv()
    feet = {side: np.zeros((len(qpos), 3)) for side in "rl"}
    for frame, posture in enumerate(qpos):
        data.qpos[:] = posture
        mujoco.mj_kinematics(model, data)
        for side, places in feet.items():
            places[frame] = (data.body(f"calcn_{side}").xpos + data.body(f"toes_{side}").xpos) / 2
    return {side: ground.apply(places) / scale for side, places in feet.items()}


def _by_place(
    series: TimeSeries, plate: Plate, time: np.ndarray, feet: dict[str, np.ndarray]
) -> tuple[np.ndarray, list[str]]:
    """(T,) the foot on a plate over time, each contact given to the nearest foot; and in words what was not given."""
    sides, notes, on_it = np.full(len(series.time), ""), [], set()
    vertical = series[plate.force[1]]
    at = series.at(time)
    point, load = np.stack([at[plate.point[axis]] for axis in (0, 2)], axis=1), at[plate.force[1]]
    away = {side: np.linalg.norm(point - place[:, [0, 2]], axis=1) for side, place in feet.items()}
    for start, end in runs(vertical > ON_GROUND):
        first, last = series.time[start], series.time[end - 1]
        inside = (time >= first) & (time <= last) & (load > STANDING)
        if not inside.any():
            continue
        distance = {side: float(values[inside].mean()) for side, values in away.items()}
        side = min(distance, key=lambda name: distance[name])
        other = "l" if side == "r" else "r"
        label = f"{plate.name}, contact at {first:.2f} s"
        if distance[side] > FAR:
            notes.append(f"{label}: {distance[side]:.2f} m from the nearest foot, not used")
        elif (away[side] < away[other])[inside].mean() < ONE_FOOT:
            notes.append(f"{label}: both feet are on the plate, not used")
        else:
            sides[start:end] = side
            on_it.add(side)
    feet_words = " and ".join(LEFT_RIGHT[side] for side in sorted(on_it, reverse=True))
    notes.insert(0, f"{plate.name}: by its centre of pressure under the {feet_words or 'neither'} foot")
    return sides, notes


def _check_units(series: TimeSeries, plates: tuple[Plate, ...]) -> None:
    """Raises InputError if no plate ever carries 50 N, or centres of pressure lie further off than metres would."""
    if max(float(np.nanmax(series[plate.force[1]])) for plate in plates) < LOADED:
        raise InputError(f"{series.source}: no foot ever carries {LOADED:.0f} N: volts or body weights? give newtons; "
                         "the vertical axis is y in OpenSim's ground frame")  # fmt: skip
    for plate in plates:
        on = series[plate.force[1]] > ON_GROUND
        far = max((float(np.abs(series[name][on]).max(initial=0.0)) for name in plate.point if name), default=0.0)
        if far > 50.0:
            raise InputError(f"{series.source}: centres of pressure up to {far:.0f}: millimetres? give them in metres")


def _masked(plate: Plate, at: TimeSeries, on: np.ndarray) -> FootForce:
    """The plate's columns at some times; zero if the foot is not on it or carries less than `ON_GROUND`."""
    columns = [
        np.stack([at[name] if name else np.zeros(len(at.time)) for name in names], axis=1)
        for names in (plate.force, plate.point, plate.torque)
    ]
    mask = (on & (columns[0][:, 1] > ON_GROUND))[:, None]
    return FootForce(*(np.where(mask, values, 0.0) for values in columns))


def _sum(parts: list[FootForce]) -> FootForce:
    """Forces of several plates as one, at the centre of pressure of all."""
    force = np.sum([part.force for part in parts], axis=0)
    up = np.sum([part.force[:, 1] for part in parts], axis=0)
    weighted = np.sum([part.force[:, 1:2] * part.point for part in parts], axis=0)
    point = weighted / np.where(up > 0, up, 1.0)[:, None]
    torque = np.sum([part.torque + np.cross(part.point - point, part.force) for part in parts], axis=0)
    return FootForce(force, point, torque)
