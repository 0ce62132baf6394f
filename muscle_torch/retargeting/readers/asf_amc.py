"""Acclaim ASF/AMC: a skeleton (.asf) and its motion (.amc), as in the CMU database."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from muscle_torch.errors import InputError

from ..raw import RawMotion
from .skeleton import TO_Z_UP, Skeleton

# landmark -> the bone at whose end it lies; two bones: midway between their ends.
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
CMU_RATE = 120.0  # [Hz]; an .amc does not state its rate, the database records at this one


class Bone(NamedTuple):
    offset: np.ndarray  # (3,) from its start to its end [m]
    axis: np.ndarray  # (3, 3) its own axes in those of the skeleton at rest
    dof: tuple[str, ...]


def read_asf_amc(path: Path, unit: float = 0.0, rate: float = 0.0) -> RawMotion:
    """The .amc at `path`; its .asf has the same name, or the part before the last `_`, or is the folder's only one."""
    asf = _skeleton_file(path)
    bones, parents, degrees = _read_asf(asf, unit)
    frames = _read_amc(path)
    names = list(parents)
    skeleton = Skeleton(
        names=("root", *names),
        parents=(-1, *(0 if parents[n] == "root" else 1 + names.index(parents[n]) for n in names)),
        offsets=np.array([np.zeros(3), *(bones[n].offset for n in names)]),
    )
    count, scale = len(frames["root"]), bones["root"].offset[0]
    # A bone's rotation turns the bone itself: its end lies at (its own global rotation) * offset.
    turns = np.tile(np.eye(3), (count, len(skeleton.names), 1, 1))
    euler = frames["root"][:, 3:]
    turns[:, 0] = Rotation.from_euler("xyz", euler, degrees=degrees).as_matrix()
    for index, name in enumerate(names, start=1):
        if name in frames and bones[name].dof:
            turns[:, index] = _local(bones[name], frames[name], degrees, name, path)
    positions, rotations = _bone_ends(skeleton, frames["root"][:, :3] * scale, turns)
    rest, _ = _bone_ends(skeleton, np.zeros((1, 3)), np.tile(np.eye(3), (1, len(skeleton.names), 1, 1)))
    missing = sorted({bone for group in BONES.values() for bone in group} - set(names))
    if missing:
        raise InputError(f"{asf}: lacks the bones {', '.join(missing)}; only skeletons with CMU's bone names are read")

    def points(ends: np.ndarray) -> dict[str, np.ndarray]:
        return {
            landmark: np.mean([ends[:, skeleton.names.index(bone)] for bone in group], axis=0) @ TO_Z_UP.T
            for landmark, group in BONES.items()
        }

    def turned(bone: str) -> np.ndarray:
        return TO_Z_UP @ rotations[:, skeleton.names.index(bone)] @ TO_Z_UP.T

    return RawMotion(
        name=path.stem,
        rate=rate or CMU_RATE,
        positions=points(positions),
        orientations={"pelvis": turned("root"), "thorax": turned("thorax")},
        rest={name: values[0] for name, values in points(rest).items()},
        subject=asf.stem,
        source=str(path),
    )


def _bone_ends(skeleton: Skeleton, root: np.ndarray, turns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    ends, rotations = np.empty(turns.shape[:-1]), np.empty(turns.shape)
    for index, parent in enumerate(skeleton.parents):
        rotations[:, index] = turns[:, index] if parent < 0 else rotations[:, parent] @ turns[:, index]
        start = root if parent < 0 else ends[:, parent]
        ends[:, index] = start + rotations[:, index] @ skeleton.offsets[index]
    return ends, rotations


def _local(bone: Bone, values: np.ndarray, degrees: bool, name: str, path: Path) -> np.ndarray:
    """Rotation (T, 3, 3) of a bone relative to its parent, in the skeleton's axes."""
    if values.shape[1] != len(bone.dof):
        raise InputError(f"{path}: bone {name!r} has {values.shape[1]} values, its .asf gives it {len(bone.dof)}")
    euler = np.zeros((len(values), 3))
    for column, dof in enumerate(bone.dof):
        if dof in ("rx", "ry", "rz"):
            euler[:, "xyz".index(dof[1])] = values[:, column]
    turn = Rotation.from_euler("xyz", euler, degrees=degrees).as_matrix()
    return bone.axis @ turn @ bone.axis.T


def _skeleton_file(path: Path) -> Path:
    for candidate in (path.with_suffix(".asf"), path.with_name(path.stem.rpartition("_")[0] + ".asf")):
        if candidate.is_file():
            return candidate
    others = sorted(path.parent.glob("*.asf"))
    if len(others) == 1:
        return others[0]
    raise InputError(
        f"{path}: its skeleton {path.stem.rpartition('_')[0] or path.stem}.asf is not beside it; put it there"
    )


def _read_asf(path: Path, unit: float) -> tuple[dict[str, Bone], dict[str, str], bool]:
    """Bones by name ("root" holds the metres of one unit), parent of each bone, whether angles are in degrees."""
    words = [line.split("#")[0].split() for line in path.read_text(encoding="latin-1").splitlines()]
    section, scale, degrees = "", unit, True
    raw: dict[str, dict[str, list[str]]] = {}
    parents: dict[str, str] = {}
    bone: dict[str, list[str]] = {}
    try:
        for line in filter(None, words):
            if line[0].startswith(":"):
                section = line[0]
            elif section == ":units":
                if line[0] == "length" and not unit:
                    scale = 0.0254 / float(line[1])  # CMU: inches
                degrees = degrees and not (line[0] == "angle" and line[1].startswith("rad"))
            elif section == ":bonedata":
                if line[0] == "begin":
                    bone = {}
                elif line[0] == "end":
                    raw[bone["name"][0]] = bone
                else:
                    bone[line[0]] = line[1:]
            elif section == ":hierarchy" and line[0] not in ("begin", "end"):
                parents |= dict.fromkeys(line[1:], line[0])
        bones = {"root": Bone(np.array([scale or 1.0, 0, 0]), np.eye(3), ())}
        for name, entry in raw.items():
            offset = np.array(entry["direction"], dtype=float) * float(entry["length"][0]) * (scale or 1.0)
            turn = Rotation.from_euler("xyz", np.array(entry["axis"][:3], dtype=float), degrees=degrees)
            bones[name] = Bone(offset, turn.as_matrix(), tuple(d.lower() for d in entry.get("dof", ())))
        ordered = _parents_first({name: parents[name] for name in raw})
    except (KeyError, IndexError, ValueError) as error:
        raise InputError(f"{path}: not a whole .asf skeleton ({error}); copy it again") from None
    bones["root"] = Bone(np.array([scale or 1.0, 0.0, 0.0]), np.eye(3), ())
    return bones, ordered, degrees


def _parents_first(parents: dict[str, str]) -> dict[str, str]:
    ordered: dict[str, str] = {}
    waiting = dict(parents)
    while waiting:
        ready = {n: p for n, p in waiting.items() if p == "root" or p in ordered}
        if not ready:
            raise ValueError(f"bones {sorted(waiting)[:3]} hang on nothing")
        ordered |= ready
        waiting = {n: p for n, p in waiting.items() if n not in ready}
    return ordered


def _read_amc(path: Path) -> dict[str, np.ndarray]:
    """Bone -> (T, number of values)."""
    values: dict[str, list[list[float]]] = {}
    frames = 0
    for number, line in enumerate(path.read_text(encoding="latin-1").splitlines(), start=1):
        words = line.split()
        if not words or words[0][0] in "#:":
            continue
        if len(words) == 1 and words[0].isdigit():
            frames += 1
            continue
        try:
            values.setdefault(words[0], []).append([float(word) for word in words[1:]])
        except ValueError:
            raise InputError(f"{path}: line {number} is not a bone and its numbers; copy the file again") from None
    if "root" not in values:
        raise InputError(f"{path}: not an .amc motion, it has no root")
    # The last frame of a file that was cut off may lack bones.
    whole = [name for name, rows in values.items() if len(rows) != frames or len({len(r) for r in rows}) != 1]
    if whole:
        raise InputError(f"{path}: bone {whole[0]!r} is not whole in all {frames} frames: the file was cut off")
    return {name: np.array(rows) for name, rows in values.items()}
