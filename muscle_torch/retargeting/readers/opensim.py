"""OpenSim coordinates (.mot, .sto): degrees or radians, tabs, spaces or commas, names with or without a joint path.

The angles pose a skeleton with the conventions of the gait models (gait2354, gait2392, Rajagopal 2016): pelvis tilt,
list and rotation, hips, knees, ankles, lumbar spine, arms. Its landmarks are then retargeted like those of other
recordings.
"""

import dataclasses
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from muscle_torch.biomechanics.recordings import read_storage
from muscle_torch.biomechanics.series import CLOCK_TOLERANCE, TimeSeries
from muscle_torch.errors import InputError

from ..arm_axes import segment_axes
from ..raw import LANDMARKS, LONGEST_GAP, RawMotion
from . import shoulder
from .root_unit import check_root_unit
from .skeleton import Skeleton

# OpenSim: x forward, y up, z to the right. Rows are the axes of RawMotion.
TO_Z_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
# Proportions of the generic adult model (Rajagopal et al. 2016), right side [m]; segments are rescaled when fitting.
OFFSETS = {
    "hip": ("root", (-0.056, -0.078, 0.077)),
    "knee": ("hip", (0.0, -0.404, 0.0)),
    "ankle": ("knee", (-0.010, -0.400, 0.0)),
    "toe": ("ankle", (0.130, -0.044, 0.009)),
    "shoulder": ("thorax", (0.003, 0.372, 0.17)),
    "elbow": ("shoulder", (0.013, -0.286, -0.010)),
    "radius": ("elbow", (-0.007, -0.013, 0.026)),
    "wrist": ("radius", (-0.025, -0.242, 0.018)),  # the lunate of the same forearm (Holzbaur et al. 2005)
    "hand": ("wrist", (0.0, -0.07, 0.0)),
}
THORAX = ("root", (-0.1007, 0.0815, 0.0))
NECK = (-0.03, 0.40, 0.0)
# Joint -> (coordinate, axis) in the order of rotation; {} is r or l. On the left, rotations about x and y are reversed.
TURNS: dict[str, tuple[tuple[str, str], ...]] = {
    "root": (("pelvis_tilt", "z"), ("pelvis_list", "x"), ("pelvis_rotation", "y")),
    "thorax": (("lumbar_extension", "z"), ("lumbar_bending", "x"), ("lumbar_rotation", "y")),
    "hip": (("hip_flexion_{}", "z"), ("hip_adduction_{}", "x"), ("hip_rotation_{}", "y")),
    "ankle": (("ankle_angle_{}", "z"),),
    "shoulder": (("arm_flex_{}", "z"), ("arm_add_{}", "x"), ("arm_rot_{}", "y")),
    "wrist": (("wrist_flex_{}", "z"), ("wrist_dev_{}", "x")),
}
# Joint -> (coordinate, axis) of the right side; at 0 the forearm is supinated and the thumb points to the side.
HINGES = {
    "elbow": ("elbow_flex_{}", (0.226, 0.022, 0.974)),
    "radius": ("pro_sup_{}", (0.056, 0.998, 0.002)),
}
NEEDED = ("pelvis_tilt", "hip_flexion_r", "hip_flexion_l", "knee_angle_r", "knee_angle_l")


def read_opensim(path: Path, unit: float = 0.0, rate: float = 0.0, angle_unit: str = "auto") -> RawMotion:
    """Read coordinates of a gait model or of the thoracoscapular shoulder.

    Args:
        path: The .mot or .sto file.
        unit: Unit of the pelvis translation [m]; 0: metres.
        rate: Sampling rate [Hz]; 0: from the time column.
        angle_unit: "deg", "rad", or "auto": by the header and the size of the angles.

    Raises:
        InputError: The table is damaged, has other coordinates, or inconsistent times, angles or lengths.
    """
    table = read_storage(path, rate, angle_unit)
    notes = tuple(note.removeprefix(f"{path}: ") for note in table.notes)
    columns, rate, uneven = _even(table)
    notes += uneven
    count, angle = len(next(iter(columns.values()))), np.pi / 180 if "deg" in table.units else 1.0
    if set(shoulder.NEEDED) <= columns.keys():
        arm = shoulder.arm_motion(path, {name: angle * values for name, values in columns.items()}, rate)
        return dataclasses.replace(arm, notes=notes)
    _check_coordinates(columns, path)
    skeleton, places = _skeleton()
    turns = _turns(columns, angle, len(skeleton.names), places)
    root = np.stack([columns.get(f"pelvis_t{axis}", np.zeros(count)) for axis in "xyz"], axis=1)
    positions, rotations = skeleton.pose(root * (unit or 1.0), turns)
    if not unit:
        check_root_unit(_landmarks(positions, places, False), rate, str(path))
    arms = any(name.startswith(("arm_flex", "elbow_flex")) for name in columns)
    rest = skeleton.rest()
    return RawMotion(
        name=path.stem,
        rate=rate,
        positions={n: p @ TO_Z_UP.T for n, p in _landmarks(positions, places, arms).items()},
        orientations={
            n: TO_Z_UP @ rotations[:, places[k]] @ TO_Z_UP.T for n, k in (("pelvis", "root"), ("thorax", "thorax"))
        }
        | _arm_turns(rotations, places, columns),
        rest={n: (p @ TO_Z_UP.T)[0] for n, p in _landmarks(rest[None], places, arms).items()},
        subject=path.stem,
        source=str(path),
        notes=notes,
    )


def _check_coordinates(columns: dict[str, np.ndarray], path: Path) -> None:
    """Raise InputError if the table does not contain the coordinates of a gait model."""
    missing = [name for name in NEEDED if name not in columns]
    if "sternoclavicular_r1" in columns:
        raise InputError(
            f"{path}: coordinates of an ISB shoulder model (Wu et al.) with unknown joint frames; use the markers of "
            "the same trial (.trc, .c3d)"
        )
    if len(missing) == len(NEEDED):
        raise InputError(
            f"{path}: contains {', '.join(list(columns)[:3])}, ..., not the joint angles of a supported model; use "
            "coordinates of OpenSim's gait models or thoracoscapular shoulder, not forces, moments or muscle activity"
        )
    if missing:
        raise InputError(
            f"{path}: lacks the coordinates {', '.join(missing)} of the OpenSim gait models; it has "
            f"{', '.join(list(columns)[:8])}, ...: rename its columns accordingly"
        )


def _turns(columns: dict[str, np.ndarray], angle: float, joints: int, places: dict[str, int]) -> np.ndarray:
    """Return rotations of the joints relative to their parents, (T, joints, 3, 3); `angle`: unit in radians."""
    count = len(columns[NEEDED[0]])

    def coordinate(name: str) -> np.ndarray:
        return columns.get(name, np.zeros(count)) * angle

    # Knee flexion is positive in newer models, negative in older ones.
    bend = 1.0 if np.mean([columns["knee_angle_r"].mean(), columns["knee_angle_l"].mean()]) >= 0 else -1.0
    turns = np.tile(np.eye(3), (count, joints, 1, 1))
    for name, index in places.items():
        joint, _, side = name.partition("_")
        mirror = -1.0 if side == "l" else 1.0
        if joint == "knee":
            turns[:, index] = Rotation.from_euler("z", -bend * coordinate(f"knee_angle_{side}")[:, None]).as_matrix()
        elif joint in HINGES:
            name, axis = HINGES[joint]
            rotvec = coordinate(name.format(side))[:, None] * (np.array(axis) * (mirror, mirror, 1.0))
            turns[:, index] = Rotation.from_rotvec(rotvec).as_matrix()
        elif joint in TURNS:
            axes = "".join(axis for _, axis in TURNS[joint]).upper()
            values = [coordinate(c.format(side)) * (mirror if axis != "z" else 1.0) for c, axis in TURNS[joint]]
            turns[:, index] = Rotation.from_euler(axes, np.stack(values, axis=1)).as_matrix()
    return turns


def _arm_turns(rotations: np.ndarray, places: dict[str, int], columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return orientations of the arm segments (T, 3, 3) whose coordinates are in the file; at zero the arm hangs."""
    down, turns = np.array([0.0, -1.0, 0.0]), {}
    for side, mirror in (("left", -1.0), ("right", 1.0)):
        upper = np.array(OFFSETS["elbow"][1]) * (1.0, 1.0, mirror)
        hinge = np.array(HINGES["elbow"][1]) * (mirror, mirror, 1.0)
        ahead, outward = np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.0, mirror])
        segments = {}
        if f"arm_rot_{side[0]}" in columns:
            segments |= {"upper_arm": ("shoulder", np.cross(hinge, upper), upper), "ulna": ("elbow", ahead, down)}
        if f"pro_sup_{side[0]}" in columns:  # at zero the palm faces forward and the thumb to the side
            segments |= {"forearm": ("radius", outward, down), "hand": ("wrist", outward, down)}
        for name, (joint, front, along) in segments.items():
            turn = rotations[:, places[f"{joint}_{side[0]}"]]
            turns[f"{side}_{name}"] = TO_Z_UP @ turn @ segment_axes(front, along, side)
    return turns


def _even(table: TimeSeries) -> tuple[dict[str, np.ndarray], float, tuple[str, ...]]:
    """Return the columns on a regular clock by lower-case name, its rate [Hz], and a note on interpolated rows.

    Missing rows up to LONGEST_GAP and uneven steps of an integrator are interpolated. Raises InputError for missing
    values and longer gaps.
    """
    missing = ~np.isfinite(table.values)
    if missing.any():
        row, column = np.argwhere(missing)[0]
        raise InputError(
            f"{table.source}: {table.names[column]} has no value at {table.time[row]:g} s; fill the gap, or cut there"
        )
    time, values, steps, notes = table.time, table.values, np.diff(table.time), ()
    if np.abs(steps - steps.mean()).max() >= CLOCK_TOLERANCE * steps.mean():
        typical = float(np.median(steps))
        at = int(np.argmax(steps))
        if steps[at] > max(LONGEST_GAP, 5 * typical):
            raise InputError(
                f"{table.source}: no rows between {time[at]:g} and {time[at + 1]:g} s; cut it there, or set rate= if "
                "its rows are evenly spaced"
            )
        count = max(int(np.floor((time[-1] - time[0]) / typical + 1e-6)) + 1, 2)
        even = np.linspace(time[0], time[-1], count)
        values = np.stack([np.interp(even, time, column) for column in values.T], axis=1)
        time = even
        notes = (f"the time steps are uneven: interpolated at {1 / typical:.6g} Hz",)
    columns = {name.lower(): column for name, column in zip(table.names, values.T, strict=True)}
    return columns, (len(time) - 1) / float(time[-1] - time[0]), notes


def _skeleton() -> tuple[Skeleton, dict[str, int]]:
    names, parents, offsets = ["root", "thorax"], [-1, 0], [np.zeros(3), np.array(THORAX[1])]
    for side, sign in (("r", 1.0), ("l", -1.0)):
        for joint, (parent, offset) in OFFSETS.items():
            names.append(f"{joint}_{side}")
            parents.append(names.index(parent if parent in ("root", "thorax") else f"{parent}_{side}"))
            offsets.append(np.array(offset) * (1.0, 1.0, sign))
    names.append("neck")
    parents.append(1)
    offsets.append(np.array(NECK))
    return Skeleton(tuple(names), tuple(parents), np.array(offsets)), {name: i for i, name in enumerate(names)}


def _landmarks(positions: np.ndarray, places: dict[str, int], arms: bool) -> dict[str, np.ndarray]:
    points = {"neck": positions[:, places["neck"]]}
    for side in ("left", "right"):
        for joint in OFFSETS:
            if f"{side}_{joint}" not in LANDMARKS:
                continue
            if arms or OFFSETS[joint][0] in ("root", "hip", "knee", "ankle"):
                points[f"{side}_{joint}"] = positions[:, places[f"{joint}_{side[0]}"]]
    points["pelvis"] = (points["left_hip"] + points["right_hip"]) / 2
    return points
