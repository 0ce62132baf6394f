"""Acclaim ASF/AMC: a skeleton (.asf) and its motion (.amc), as in the CMU database."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from muscle_torch.biomechanics.text_tables import read_text
from muscle_torch.errors import InputError

from ..arm_axes import segment_axes
from ..raw import SIDES, RawMotion
from .axes import AXES, axis_name, body_axes, standing_rest, turn_between, vertical_axis
from .skeleton import TO_Z_UP, Skeleton, check_numbers

# Landmark -> the bone whose end it is; two bones: midway between their ends.
BONES: dict[str, tuple[str, ...]] = {
    "pelvis": ("lhipjoint", "rhipjoint"),
    "neck": ("thorax",),
    "head": ("upperneck",),
} | {
    f"{side}_{landmark}": (side[0] + bone,)
    for side in ("left", "right")
    for landmark, bone in {
        "shoulder": "clavicle",
        "elbow": "humerus",
        "wrist": "wrist",
        "hand": "hand",
        "hip": "hipjoint",
        "knee": "femur",
        "ankle": "tibia",
        "toe": "foot",
    }.items()
}
CMU_RATE = 120.0  # [Hz] of the CMU database; .amc files rarely state their rate
ROOT_ORDER = ("tx", "ty", "tz", "rx", "ry", "rz")
DOFS = frozenset((*ROOT_ORDER, "l"))


class Bone(NamedTuple):
    """A bone of the skeleton."""

    offset: np.ndarray  # (3,) from its start to its end [m]
    axis: np.ndarray  # (3, 3) its axes in the skeleton's axes at rest
    dof: tuple[str, ...]  # meaning of its values in the .amc: rx, ry, rz, tx, ty, tz, l
    order: str  # order of its rotations about fixed axes, such as "xyz"


class Asf(NamedTuple):
    """Content of a skeleton file."""

    bones: dict[str, Bone]  # including "root", which has no offset
    parents: dict[str, str]  # bone -> parent, parents first
    unit: float  # unit of length [m]
    degrees: bool


class Amc(NamedTuple):
    """Content of a motion file."""

    frames: dict[str, np.ndarray]  # bone -> (T, number of values)
    degrees: bool | None  # None: not stated, use the .asf's
    rate: float  # [Hz]; 0: not stated


def read_asf_amc(path: Path, unit: float = 0.0, rate: float = 0.0, up: str = "") -> RawMotion:
    """Read an .amc file with its .asf: the same name, the part before the last `_`, or the only one in the folder.

    Args:
        path: The .amc file.
        unit: Unit of length [m]; 0: as stated in the .asf (inches divided by `length`, as in the CMU database).
        rate: Frame rate [Hz]; 0: as stated in the .amc, else 120 Hz.
        up: Vertical axis, such as "z"; "": by the motion and the rest pose, usually y.

    Raises:
        InputError: A file is missing or damaged, or has other bones than CMU's.
    """
    asf_path = _skeleton_file(path)
    asf, amc = _read_asf(asf_path, unit), _read_amc(path)
    degrees = asf.degrees if amc.degrees is None else amc.degrees
    names = list(asf.parents)
    missing = sorted({bone for group in BONES.values() for bone in group} - set(names))
    if missing:
        raise InputError(
            f"{asf_path}: lacks the bones {', '.join(missing)}; only skeletons with CMU's bone names are supported"
        )
    skeleton = Skeleton(
        names=("root", *names),
        parents=(-1, *(0 if asf.parents[n] == "root" else 1 + names.index(asf.parents[n]) for n in names)),
        offsets=np.array([np.zeros(3), *(asf.bones[n].offset for n in names)]),
    )
    count, root = len(amc.frames["root"]), asf.bones["root"]
    # A bone's rotation moves the bone itself: its end is at (its global rotation) * offset.
    turns = np.tile(np.eye(3), (count, len(skeleton.names), 1, 1))
    for index, name in enumerate(skeleton.names):
        if name in amc.frames and asf.bones[name].dof:
            turns[:, index] = _local(asf.bones[name], amc.frames[name], degrees, name, path)
    moved = np.stack([amc.frames["root"][:, root.dof.index(f"t{axis}")] for axis in "xyz"], axis=1) * asf.unit
    ends, rotations = _bone_ends(skeleton, moved, turns)
    rest_ends, _ = _bone_ends(skeleton, np.zeros((1, 3)), np.tile(np.eye(3), (1, len(skeleton.names), 1, 1)))
    points, rest = _points(skeleton, ends), {n: at[0] for n, at in _points(skeleton, rest_ends).items()}
    axes = standing_rest(rest)
    stands = axis_name(axes[:, 2]) if axes is not None else ""
    vertical, notes = vertical_axis(points, "y", stands, up, str(path))
    world = TO_Z_UP @ turn_between(AXES[vertical], AXES["y"])
    if axes is None:
        axes, rest = body_axes(rest["left_hip"] - rest["right_hip"], rest["neck"] - rest["pelvis"]), {}
    return RawMotion(
        name=path.stem,
        rate=rate or amc.rate or CMU_RATE,
        positions={name: at @ world.T for name, at in points.items()},
        orientations={
            name: world @ rotations[:, skeleton.names.index(bone)] @ axes
            for name, bone in (("pelvis", "root"), ("thorax", "thorax"))
        }
        | {name: world @ turn for name, turn in _arm_turns(asf, skeleton, rotations, axes[:, 0]).items()},
        rest={name: at @ axes for name, at in rest.items()},
        subject=asf_path.stem,
        source=str(path),
        notes=(*_assumptions(asf, amc, unit, rate), *notes, *_ignored_translations(asf, amc)),
    )


def _arm_turns(asf: Asf, skeleton: Skeleton, rotations: np.ndarray, forward: np.ndarray) -> dict[str, np.ndarray]:
    """Return the orientations of the arm segments (T, 3, 3) in the file's world.

    The elbow flexes about the axis of its bone. The thumb determines the orientation of the hand at rest; without it
    the palm is assumed to be down.
    """
    turns = {}
    for side in SIDES:
        upper, radius, wrist, hand, thumb = (side[0] + b for b in ("humerus", "radius", "wrist", "hand", "thumb"))
        if radius not in asf.bones:
            continue
        along, hinge = asf.bones[upper].offset, asf.bones[radius]
        bend = np.cross(hinge.axis[:, 0], along) if "rx" in hinge.dof else forward
        front = asf.bones[thumb].offset if thumb in asf.bones else forward
        fore = asf.bones[wrist].offset
        bones = {"upper_arm": (upper, bend, along), "hand": (hand, front, fore)}
        for name, (bone, ahead, length) in bones.items():
            turn = rotations[:, skeleton.names.index(bone)]
            turns[f"{side}_{name}"] = turn @ segment_axes(ahead, length, side)
    return turns


def _assumptions(asf: Asf, amc: Amc, unit: float, rate: float) -> tuple[str, ...]:
    """Return notes on what neither file states."""
    notes = []
    if not rate and not amc.rate:
        notes.append(f"no rate stated: assumed {CMU_RATE:g} Hz, as in the CMU database (override with rate=)")
    if not unit:
        notes.append(f"unit of length assumed to be {asf.unit:.4g} m, as in the CMU database (override with unit=)")
    if not np.allclose(asf.bones["root"].axis, np.eye(3)):
        notes.append("the root's orientation in the .asf is assumed to define its axes")
    return tuple(notes)


def _ignored_translations(asf: Asf, amc: Amc) -> tuple[str, ...]:
    """Return a note on bones that translate or stretch relative to their parents, which is not supported."""
    moving = [name for name in amc.frames if name != "root" and set(asf.bones[name].dof) - {"rx", "ry", "rz"}]
    return (f"translations of {', '.join(moving)} are ignored",) if moving else ()


def _points(skeleton: Skeleton, ends: np.ndarray) -> dict[str, np.ndarray]:
    """Return the landmarks (T, 3) for the ends (T, J, 3) of the bones."""
    return {
        landmark: np.mean([ends[:, skeleton.names.index(bone)] for bone in group], axis=0)
        for landmark, group in BONES.items()
    }


def _bone_ends(skeleton: Skeleton, root: np.ndarray, turns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    ends, rotations = np.empty(turns.shape[:-1]), np.empty(turns.shape)
    for index, parent in enumerate(skeleton.parents):
        rotations[:, index] = turns[:, index] if parent < 0 else rotations[:, parent] @ turns[:, index]
        start = root if parent < 0 else ends[:, parent]
        ends[:, index] = start + rotations[:, index] @ skeleton.offsets[index]
    return ends, rotations


def _local(bone: Bone, values: np.ndarray, degrees: bool, name: str, path: Path) -> np.ndarray:
    """Return the rotation (T, 3, 3) of a bone relative to its parent, in the skeleton's axes."""
    if values.shape[1] != len(bone.dof):
        raise InputError(
            f"{path}: bone {name!r} has {values.shape[1]} values, but its .asf states {len(bone.dof)}; use the "
            "matching .asf"
        )
    euler = np.zeros((len(values), 3))
    for column, dof in enumerate(bone.dof):
        if dof in ("rx", "ry", "rz"):
            euler[:, bone.order.index(dof[1])] = values[:, column]
    turn = Rotation.from_euler(bone.order, euler, degrees=degrees).as_matrix()
    return bone.axis @ turn @ bone.axis.T


def _skeleton_file(path: Path) -> Path:
    for candidate in (path.with_suffix(".asf"), path.with_name(path.stem.rpartition("_")[0] + ".asf")):
        if candidate.is_file():
            return candidate
    candidates = sorted(path.parent.glob("*.asf"))
    if len(candidates) == 1:
        return candidates[0]
    raise InputError(
        f"{path}: its skeleton {path.stem.rpartition('_')[0] or path.stem}.asf is not in the same folder; copy it there"
    )


def _read_asf(path: Path, unit: float) -> Asf:
    section, scale, degrees = "", 0.0, True
    raw: dict[str, dict[str, list[str]]] = {"root": {}}
    parents: dict[str, str] = {}
    bone: dict[str, list[str]] = {}
    try:
        for words in filter(None, (line.split("#")[0].split() for line in _lines(path))):
            key = words[0].lower()
            if key.startswith(":"):
                section = key
            elif section == ":units":
                if key == "length":
                    scale = 0.0254 / float(words[1])  # CMU: inches
                degrees = degrees and not (key == "angle" and words[1].lower().startswith("rad"))
            elif section == ":root":
                raw["root"][key] = words[1:]
            elif section == ":bonedata":
                if key == "begin":
                    bone = {}
                elif key == "end":
                    raw[bone["name"][0]] = bone
                else:
                    bone[key] = words[1:]
            elif section == ":hierarchy" and key not in ("begin", "end"):
                parents |= dict.fromkeys(words[1:], words[0])
        scale = unit or scale or 1.0
        bones = {name: _bone(name, entry, scale, degrees) for name, entry in raw.items()}
        ordered = _parents_first({name: parents[name] for name in raw if name != "root"})
    except (KeyError, IndexError, ValueError) as error:
        raise InputError(f"{path}: not a complete .asf skeleton ({error}); copy it again") from None
    return Asf(bones, ordered, scale, degrees)


def _bone(name: str, entry: dict[str, list[str]], scale: float, degrees: bool) -> Bone:
    """Parse a bone; the root's `order` and `axis` have defaults, its `orientation` rotates its axes."""
    if name == "root":
        dof = tuple(word.lower() for word in entry.get("order", ROOT_ORDER))
        order = entry.get("axis", ["XYZ"])[0].lower()
        if sorted(dof) != sorted(ROOT_ORDER):
            raise ValueError(f"root order {' '.join(dof)}")
        angles, offset = entry.get("orientation", ["0"] * 3), np.zeros(3)
    else:
        dof = tuple(word.lower() for word in entry.get("dof", ()))
        angles, order = entry["axis"][:3], (entry["axis"][3:] or ["XYZ"])[0].lower()
        offset = np.array(entry["direction"], dtype=float) * float(entry["length"][0]) * scale
    if sorted(order) != ["x", "y", "z"] or not DOFS.issuperset(dof):
        raise ValueError(f"bone {name!r}: axis {order.upper()}, dof {' '.join(dof)}")
    turn = Rotation.from_euler(order, np.array(angles, dtype=float), degrees=degrees)
    return Bone(offset, turn.as_matrix(), dof, order)


def _parents_first(parents: dict[str, str]) -> dict[str, str]:
    """Return the bones in an order in which each follows its parent."""
    ordered: dict[str, str] = {}
    waiting = dict(parents)
    while waiting:
        ready = {n: p for n, p in waiting.items() if p == "root" or p in ordered}
        if not ready:
            raise ValueError(f"bones {sorted(waiting)[:3]} have no parent")
        ordered |= ready
        waiting = {n: p for n, p in waiting.items() if n not in ready}
    return ordered


def _read_amc(path: Path) -> Amc:
    values: dict[str, list[list[float]]] = {}
    frames, degrees, rate = 0, None, 0.0
    for number, line in enumerate(_lines(path), start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if words[0].startswith(":"):
            key = words[0].lower()
            degrees = {":radians": False, ":degrees": True}.get(key, degrees)
            if key == ":samples-per-second" and len(words) > 1 and words[1].replace(".", "", 1).isdigit():
                rate = float(words[1])
            continue
        if len(words) == 1 and words[0].isdigit():
            frames += 1
            continue
        try:
            values.setdefault(words[0], []).append([float(word) for word in words[1:]])
        except ValueError:
            raise InputError(f"{path}: line {number} is not a bone with numbers; copy the file again") from None
    if "root" not in values:
        raise InputError(f"{path}: not an .amc motion, it has no root; copy it again")
    # The last frame of a truncated file may lack bones.
    broken = [name for name, rows in values.items() if len(rows) != frames or len({len(r) for r in rows}) != 1]
    if broken:
        raise InputError(
            f"{path}: bone {broken[0]!r} is not complete in all {frames} frames: the file is truncated; copy it again"
        )
    bones = {name: np.array(rows) for name, rows in values.items()}
    for name, rows in bones.items():
        check_numbers(rows, f"{path}: bone {name!r}")
    return Amc(bones, degrees, rate)


def _lines(path: Path) -> list[str]:
    return read_text(path).splitlines()
