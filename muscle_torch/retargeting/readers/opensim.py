"""OpenSim coordinates (.mot, .sto): degrees or radians, tabs, blanks or commas, names with or without a joint path.

The angles pose a skeleton with the conventions of the gait models (gait2354, gait2392, Rajagopal 2016): pelvis tilt,
list and rotation, hips, knees, ankles, lumbar spine, arms. Its landmarks then go the way of every other recording's.
"""

import dataclasses
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from muscle_torch.biomechanics.opensim_table import angles_in_degrees, rising_rows
from muscle_torch.errors import InputError

from ..arm_axes import segment_axes
from ..raw import LANDMARKS, LONGEST_GAP, RawMotion
from . import shoulder
from .root_unit import check_root_unit
from .skeleton import Skeleton

# OpenSim: x forward, y up, z to the right. Rows give the axes of RawMotion.
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
# joint -> (coordinate, axis) in the order of rotation; {} is r or l. On the left, x and y turn the other way.
TURNS: dict[str, tuple[tuple[str, str], ...]] = {
    "root": (("pelvis_tilt", "z"), ("pelvis_list", "x"), ("pelvis_rotation", "y")),
    "thorax": (("lumbar_extension", "z"), ("lumbar_bending", "x"), ("lumbar_rotation", "y")),
    "hip": (("hip_flexion_{}", "z"), ("hip_adduction_{}", "x"), ("hip_rotation_{}", "y")),
    "ankle": (("ankle_angle_{}", "z"),),
    "shoulder": (("arm_flex_{}", "z"), ("arm_add_{}", "x"), ("arm_rot_{}", "y")),
    "wrist": (("wrist_flex_{}", "z"), ("wrist_dev_{}", "x")),
}
# joint -> (coordinate, axis) of the right side; the forearm is supinated at 0, its thumb points to the side.
HINGES = {
    "elbow": ("elbow_flex_{}", (0.226, 0.022, 0.974)),
    "radius": ("pro_sup_{}", (0.056, 0.998, 0.002)),
}
NEEDED = ("pelvis_tilt", "hip_flexion_r", "hip_flexion_l", "knee_angle_r", "knee_angle_l")


def read_opensim(path: Path, unit: float = 0.0, rate: float = 0.0) -> RawMotion:
    """Read coordinates of a gait model or of the thoracoscapular shoulder.

    Args:
        path: The .mot or .sto file.
        unit: Length of one unit of the pelvis' translation in metres; 0: metres.
        rate: Rows a second; 0: by the time column.

    Raises:
        InputError: The table is damaged, holds no such coordinates, or contradicts itself in time, angles or lengths.
    """
    columns, degrees, notes = read_table(path)
    columns, rate, more = _even(columns, rate, str(path))
    notes += more
    count, angle = len(next(iter(columns.values()))), np.pi / 180 if degrees else 1.0
    if set(shoulder.NEEDED) <= columns.keys():
        arm = shoulder.arm_motion(path, {name: angle * values for name, values in columns.items()}, rate)
        return dataclasses.replace(arm, notes=notes)
    missing = [name for name in NEEDED if name not in columns]
    if "sternoclavicular_r1" in columns:
        raise InputError(
            f"{path}: coordinates of an ISB shoulder model (Wu et al.), whose joint frames it does not tell: give the "
            "markers of the same trial (.trc, .c3d)"
        )
    if len(missing) == len(NEEDED):
        raise InputError(
            f"{path}: holds {', '.join(list(columns)[:3])}, ...: no joint angles of a model that is read (the gait "
            "models and the thoracoscapular shoulder of OpenSim; no forces, moments or muscle activity)"
        )
    if missing:
        raise InputError(
            f"{path}: lacks the coordinates {', '.join(missing)} of the OpenSim gait models; it has "
            f"{', '.join(list(columns)[:8])}, ...: rename its columns to theirs"
        )

    def coordinate(name: str) -> np.ndarray:
        return columns.get(name, np.zeros(count)) * angle

    # Newer models bend the knee towards positive angles, older ones towards negative ones.
    bend = 1.0 if np.mean([columns["knee_angle_r"].mean(), columns["knee_angle_l"].mean()]) >= 0 else -1.0
    skeleton, places = _skeleton()
    turns = np.tile(np.eye(3), (count, len(skeleton.names), 1, 1))
    for name, index in places.items():
        joint, _, side = name.partition("_")
        mirror = -1.0 if side == "l" else 1.0
        if joint == "knee":
            turns[:, index] = Rotation.from_euler("z", -bend * coordinate(f"knee_angle_{side}")[:, None]).as_matrix()
        elif joint in HINGES:
            name, axis = HINGES[joint]
            turned = coordinate(name.format(side))[:, None] * (np.array(axis) * (mirror, mirror, 1.0))
            turns[:, index] = Rotation.from_rotvec(turned).as_matrix()
        elif joint in TURNS:
            axes = "".join(axis for _, axis in TURNS[joint]).upper()
            values = [coordinate(c.format(side)) * (mirror if axis != "z" else 1.0) for c, axis in TURNS[joint]]
            turns[:, index] = Rotation.from_euler(axes, np.stack(values, axis=1)).as_matrix()
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


def _arm_turns(rotations: np.ndarray, places: dict[str, int], columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Orientations of the arms' segments (T, 3, 3) whose coordinates the file has; at zero the arm hangs."""
    down, turns = np.array([0.0, -1.0, 0.0]), {}
    for side, mirror in (("left", -1.0), ("right", 1.0)):
        upper = np.array(OFFSETS["elbow"][1]) * (1.0, 1.0, mirror)
        hinge = np.array(HINGES["elbow"][1]) * (mirror, mirror, 1.0)
        ahead, outward = np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.0, mirror])
        segments = {}
        if f"arm_rot_{side[0]}" in columns:
            segments |= {"upper_arm": ("shoulder", np.cross(hinge, upper), upper), "ulna": ("elbow", ahead, down)}
        if f"pro_sup_{side[0]}" in columns:  # at zero the palm faces forwards, the thumb to the side
            segments |= {"forearm": ("radius", outward, down), "hand": ("wrist", outward, down)}
        for name, (joint, front, along) in segments.items():
            turn = rotations[:, places[f"{joint}_{side[0]}"]]
            turns[f"{side}_{name}"] = TO_Z_UP @ turn @ segment_axes(front, along, side)
    return turns


def _even(
    columns: dict[str, np.ndarray], rate: float, where: str
) -> tuple[dict[str, np.ndarray], float, tuple[str, ...]]:
    """The columns without `time` on an even clock, its rate [Hz], and notes. A rate that is set decides."""
    columns = dict(columns)
    time = columns.pop("time", None)
    if rate:
        return columns, rate, ()
    if time is None:
        raise InputError(f"{where}: has no time column; set rate= [Hz]")
    if len(time) < 2:
        raise InputError(f"{where}: has {len(time)} rows, a motion needs more")
    rows, time, note = rising_rows(time, where)
    columns = {name: values[rows] for name, values in columns.items()}
    steps = np.diff(time)
    if np.abs(steps - steps.mean()).max() >= 0.02 * steps.mean():  # an integrator's steps, or missing rows
        middle = float(np.median(steps))
        if steps.max() > max(LONGEST_GAP, 5 * middle):
            at = int(np.argmax(steps))
            raise InputError(
                f"{where}: no rows between {time[at]:g} and {time[at + 1]:g} s; cut it there, or set rate= if its rows "
                "are evenly spaced"
            )
        count = max(int(np.floor((time[-1] - time[0]) / middle + 1e-6)) + 1, 2)
        even = np.linspace(time[0], time[-1], count)
        columns = {name: np.interp(even, time, values) for name, values in columns.items()}
        time = even
    return columns, (len(time) - 1) / float(time[-1] - time[0]), (note,) if note else ()


def read_table(path: Path) -> tuple[dict[str, np.ndarray], bool, tuple[str, ...]]:
    """Read a .mot or .sto file.

    Returns:
        Column name in lower case, without joint path -> (T,); whether angles are in degrees; notes for the user.

    Raises:
        InputError: It is no such table, is damaged, or its header contradicts its angles.
    """
    lines = path.read_text(encoding="latin-1").splitlines()
    lower = [line.strip().strip(",").lower() for line in lines]
    if "endheader" not in lower:
        raise InputError(f"{path}: not an OpenSim table, it has no endheader line")
    start = lower.index("endheader") + 1
    body = [line for line in lines[start:] if line.strip(" \t,")]
    if len(body) < 2:
        raise InputError(f"{path}: the table is empty")
    split = (lambda line: line.split(",")) if "," in body[0] else str.split
    names = [name.strip().lower() for name in split(body[0])]
    rows = []
    for number, line in enumerate(body[1:], start=1):
        words = split(line)
        if len(words) != len(names):
            raise InputError(
                f"{path}: row {number} has {len(words)} values, the header {len(names)}: the file was cut off"
            )
        try:
            rows.append([float(word) for word in words])
        except ValueError:
            raise InputError(f"{path}: row {number} holds something that is no number") from None
    table = np.array(rows)
    if not np.isfinite(table).all():
        raise InputError(f"{path}: holds values that are not finite")
    columns = {}
    for index, name in enumerate(names):
        parts = name.split("/")
        if parts[-1] in ("speed", "acceleration"):
            continue
        columns[parts[-2] if parts[-1] == "value" and len(parts) > 1 else parts[-1]] = table[:, index]
    degrees, note = angles_in_degrees(lines[: start - 1], columns, str(path))
    return columns, degrees, (note,) if note else ()


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
    found = {"neck": positions[:, places["neck"]]}
    for side in ("left", "right"):
        for joint in OFFSETS:
            if f"{side}_{joint}" not in LANDMARKS:
                continue
            if arms or OFFSETS[joint][0] in ("root", "hip", "knee", "ankle"):
                found[f"{side}_{joint}"] = positions[:, places[f"{joint}_{side[0]}"]]
    found["pelvis"] = (found["left_hip"] + found["right_hip"]) / 2
    return found
