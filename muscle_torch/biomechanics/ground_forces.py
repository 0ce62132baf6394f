"""Ground forces of each foot: plates are assigned to feet by name, or by the positions of the feet."""

from dataclasses import dataclass

import mujoco
import numpy as np

from muscle_torch.embodiments import Embodiment
from muscle_torch.errors import InputError
from muscle_torch.motion.support import runs

from .coordinates import model_frame
from .plates import LOADED, Plate, force_plates
from .series import TimeSeries

ON_GROUND = 20.0  # [N]; below, the centre of pressure is meaningless
STANDING = 100.0  # [N]; above, the centre of pressure is precise enough to distinguish the feet
MAX_FOOT_DISTANCE = 0.35  # [m]; a centre of pressure further from a foot does not belong to it
ONE_FOOT = 0.75  # fraction of a contact's frames with the same nearest foot; below, both feet are on the plate
LEFT_RIGHT = {"r": "right", "l": "left"}


@dataclass(frozen=True, eq=False)
class FootForce:
    """Ground reaction on one foot in OpenSim's ground frame (y up)."""

    force: np.ndarray  # (T, 3) [N]
    point: np.ndarray  # (T, 3) centre of pressure [m]
    torque: np.ndarray  # (T, 3) free torque [Nm]

    @property
    def loaded(self) -> np.ndarray:
        """Whether the foot carries more than `ON_GROUND`, (T,) bool."""
        return self.force[:, 1] > ON_GROUND


@dataclass(frozen=True, eq=False)
class PlatesOfFeet:
    """Force plates of a recording of T samples, and the foot on each."""

    series: TimeSeries
    plates: tuple[Plate, ...]
    sides: tuple[np.ndarray, ...]  # for each plate (T,) r, l or ""
    notes: tuple[str, ...]

    def at(self, time: np.ndarray) -> dict[str, FootForce]:
        """Return the forces of the feet at `time` (N,) [s], summed over plates; zero without contact.

        Raises:
            InputError: The recording does not cover the time.
        """
        series, clock = self.series.at(time), self.series.time
        if np.isnan(series.values).any():
            raise InputError(f"{self.series.source}: forces do not cover {time[0]:g} to {time[-1]:g} s")
        after = np.searchsorted(clock, time).clip(1, len(clock) - 1)
        nearest = np.where(time - clock[after - 1] < clock[after] - time, after - 1, after)
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
    """Assign the plates of a recording to feet.

    Args:
        series: Forces with OpenSim's names (`ground_force_r_vx`, `1_ground_force_vx`, `ground_force_3_vx`, ...).
        swapped: Exchange right and left if the names identify the feet.
        time: Times of `feet`, (N,) [s].
        feet: Side -> middle of the foot in OpenSim's ground frame, (N, 3) [m]. Plates whose names do not identify the
            foot are assigned to the nearest one, contact by contact; without `feet`, the first of two plates is right.

    Raises:
        InputError: No plate carries a foot, units are wrong, or plates cannot be assigned.
    """
    plates = tuple(plate for plate in force_plates(series) if plate.force[1])
    if not plates:
        raise InputError(f"{series.source}: no ground forces; columns are named like ground_force_r_vy, found "
                         f"{', '.join(series.names[:8])}")  # fmt: skip
    _check_units(series, plates)
    unnamed = [plate for plate in plates if not plate.side]
    by_place = feet is not None and time is not None and all(p.point[0] and p.point[2] for p in unnamed)
    if not by_place and len(unnamed) not in (0, 2):
        raise InputError(
            f"{series.source}: {len(unnamed)} plates whose names do not identify the foot need centres of pressure "
            f"({unnamed[0].name}_px, _py, _pz) to be assigned to the feet"
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
    """Return side -> middle of the foot in OpenSim's ground frame, (T, 3), in the subject's metres.

    Args:
        embodiment: The body.
        qpos: (T, nq).
        scale: The model's lengths over the subject's.
    """
    model, data = embodiment.model, mujoco.MjData(embodiment.model)
    ground = model_frame(embodiment).inv()
    feet = {side: np.zeros((len(qpos), 3)) for side in "rl"}
    for frame, posture in enumerate(qpos):
        data.qpos[:] = posture
        mujoco.mj_kinematics(model, data)
        for side, middle in feet.items():
            middle[frame] = (data.body(f"calcn_{side}").xpos + data.body(f"toes_{side}").xpos) / 2
    return {side: ground.apply(middle) / scale for side, middle in feet.items()}


def _by_place(
    series: TimeSeries, plate: Plate, time: np.ndarray, feet: dict[str, np.ndarray]
) -> tuple[np.ndarray, list[str]]:
    """Assign each contact on a plate to the nearest foot; return the foot over time (T,) and notes."""
    sides, notes, assigned = np.full(len(series.time), ""), [], set()
    vertical = series[plate.force[1]]
    at = series.at(time)
    point, load = np.stack([at[plate.point[axis]] for axis in (0, 2)], axis=1), at[plate.force[1]]
    distances = {side: np.linalg.norm(point - place[:, [0, 2]], axis=1) for side, place in feet.items()}
    for start, end in runs(vertical > ON_GROUND):
        first, last = series.time[start], series.time[end - 1]
        inside = (time >= first) & (time <= last) & (load > STANDING)
        if not inside.any():
            continue
        distance = {side: float(values[inside].mean()) for side, values in distances.items()}
        side = min(distance, key=lambda name: distance[name])
        other = "l" if side == "r" else "r"
        label = f"{plate.name}, contact at {first:.2f} s"
        if distance[side] > MAX_FOOT_DISTANCE:
            notes.append(f"{label}: {distance[side]:.2f} m from the nearest foot, ignored")
        elif (distances[side] < distances[other])[inside].mean() < ONE_FOOT:
            notes.append(f"{label}: both feet are on the plate, ignored")
        else:
            sides[start:end] = side
            assigned.add(side)
    feet_words = " and ".join(LEFT_RIGHT[side] for side in sorted(assigned, reverse=True))
    notes.insert(0, f"{plate.name}: assigned to the {feet_words or 'neither'} foot by its centre of pressure")
    return sides, notes


def _check_units(series: TimeSeries, plates: tuple[Plate, ...]) -> None:
    """Raise InputError if no plate ever carries 50 N, or centres of pressure are too large for metres."""
    if max(float(np.nanmax(series[plate.force[1]])) for plate in plates) < LOADED:
        raise InputError(f"{series.source}: no foot ever carries {LOADED:.0f} N: convert to newtons, with the vertical "
                         "axis y as in OpenSim's ground frame")  # fmt: skip
    for plate in plates:
        on = series[plate.force[1]] > ON_GROUND
        far = max((float(np.abs(series[name][on]).max(initial=0.0)) for name in plate.point if name), default=0.0)
        if far > 50.0:
            raise InputError(f"{series.source}: centres of pressure up to {far:.0f}: convert them to metres")


def _masked(plate: Plate, at: TimeSeries, on: np.ndarray) -> FootForce:
    """Return a plate's force at some times, zero if the foot is not on it or carries less than `ON_GROUND`."""
    columns = [
        np.stack([at[name] if name else np.zeros(len(at.time)) for name in names], axis=1)
        for names in (plate.force, plate.point, plate.torque)
    ]
    mask = (on & (columns[0][:, 1] > ON_GROUND))[:, None]
    return FootForce(*(np.where(mask, values, 0.0) for values in columns))


def _sum(parts: list[FootForce]) -> FootForce:
    """Return the sum of several plates' forces at their common centre of pressure."""
    force = np.sum([part.force for part in parts], axis=0)
    up = np.sum([part.force[:, 1] for part in parts], axis=0)
    weighted = np.sum([part.force[:, 1:2] * part.point for part in parts], axis=0)
    point = weighted / np.where(up > 0, up, 1.0)[:, None]
    torque = np.sum([part.torque + np.cross(part.point - point, part.force) for part in parts], axis=0)
    return FootForce(force, point, torque)
