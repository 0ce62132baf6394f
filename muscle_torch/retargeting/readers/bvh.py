"""BVH: hierarchy and motion in one text file, joint names of CMU, Mixamo, LAFAN1 and their kin."""

from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from muscle_torch.errors import InputError

from ..raw import RawMotion, leg_length
from .skeleton import TO_Z_UP, Skeleton

# landmark -> names it goes by, without prefix ("mixamorig:") and in lower case; the first that exists counts.
CENTRE_NAMES = {
    "neck": ("neck", "neck1"),
    "head": ("head",),
    "thorax": ("spine2", "chest", "spine1", "spine3", "thorax", "upperchest"),
}
SIDE_NAMES = {
    "shoulder": ("{}arm", "{}uparm", "{}shoulderjoint", "{}upperarm"),
    "elbow": ("{}forearm", "{}lowarm", "{}elbow", "{}lowerarm"),
    "wrist": ("{}hand", "{}wrist"),
    "hand": ("{}handindex1", "{}handmiddle1", "{}hand_end", "{}wrist_end"),
    "hip": ("{}upleg", "{}upperleg", "{}thigh", "{}hip"),
    "knee": ("{}leg", "{}lowleg", "{}knee", "{}lowerleg", "{}shin"),
    "ankle": ("{}foot", "{}ankle"),
    "toe": ("{}toebase", "{}toe", "{}toes"),
}
UNITS = {"m": 1.0, "cm": 0.01, "mm": 0.001, "inch": 0.0254, "CMU": 0.0254 / 0.45}
TOO_FAST = 12.0  # [m/s]
USUAL_LEG = 0.82  # thigh and shank of an adult [m]


def read_bvh(path: Path, unit: float = 0.0, rate: float = 0.0) -> RawMotion:
    """`unit` [m]: length of one unit; 0: the one of `UNITS` that makes the leg an adult's."""
    names, parents, offsets, channels, values, frame_time = _parse(path)
    skeleton = Skeleton(tuple(names), tuple(parents), np.array(offsets))
    count = len(values)
    rotations = np.tile(np.eye(3), (count, len(names), 1, 1))
    root = np.tile(offsets[0], (count, 1)).astype(float)
    column = 0
    for index, kinds in enumerate(channels):
        block = values[:, column : column + len(kinds)]
        column += len(kinds)
        for kind, data in zip(kinds, block.T, strict=True):
            if kind.endswith("position") and index == 0:
                root[:, "XYZ".index(kind[0])] = data
        order = "".join(kind[0] for kind in kinds if kind.endswith("rotation"))
        if order:
            turns = np.stack([d for k, d in zip(kinds, block.T, strict=True) if k.endswith("rotation")], axis=1)
            rotations[:, index] = Rotation.from_euler(order, turns, degrees=True).as_matrix()
    positions, turned = skeleton.pose(root, rotations)
    joints = _landmarks(names, path)
    scale = unit or _guess_unit({n: skeleton.rest()[i] for n, i in joints.items()}, path)

    def points(where: np.ndarray) -> dict[str, np.ndarray]:
        found = {n: where[:, i] @ TO_Z_UP.T * scale for n, i in joints.items() if n != "thorax"}
        return found | {"pelvis": (found["left_hip"] + found["right_hip"]) / 2}

    first = _first_frame(points(positions), rate or 1.0 / frame_time)
    positions, turned = positions[first:], turned[first:]
    rest = {name: at[0] for name, at in points(skeleton.rest()[None]).items()}
    return RawMotion(
        name=path.stem,
        rate=rate or 1.0 / frame_time,
        positions=points(positions),
        orientations={"pelvis": _z_up(turned[:, 0]), "thorax": _z_up(turned[:, joints["thorax"]])},
        rest=rest,
        subject=path.stem,
        source=str(path),
    )


def _first_frame(points: dict[str, np.ndarray], rate: float) -> int:
    """1 where the file begins with a rest pose, as many exporters have it, and the motion itself a jump away."""
    steps = np.max([np.linalg.norm(np.diff(at[:3], axis=0), axis=1) for at in points.values()], axis=0) * rate
    return int(len(steps) == 2 and steps[0] > TOO_FAST and steps[1] < TOO_FAST)


def _z_up(turns: np.ndarray) -> np.ndarray:
    return TO_Z_UP @ turns @ TO_Z_UP.T


def _landmarks(names: list[str], path: Path) -> dict[str, int]:
    plain = [name.rpartition(":")[2].lower().replace("_l", "l").strip() for name in names]
    plain = [p.removeprefix("mixamorig") for p in plain]
    wanted = dict(CENTRE_NAMES)
    for side in ("left", "right"):
        for joint, forms in SIDE_NAMES.items():
            wanted[f"{side}_{joint}"] = tuple(f.format(s) for f in forms for s in (side, side[0]))
    found = {}
    for landmark, forms in wanted.items():
        index = next((plain.index(form) for form in forms if form in plain), None)
        if index is not None:
            found[landmark] = index
    needed = {"neck", "thorax", *(f"{s}_{j}" for s in ("left", "right") for j in ("hip", "knee", "ankle", "shoulder"))}
    missing = sorted(needed - found.keys())
    if missing:
        raise InputError(
            f"{path}: no joint for {', '.join(missing)}; the file's joints are {', '.join(names[:12])}, ...: rename "
            "them as in the CMU or Mixamo skeletons (LeftUpLeg, LeftLeg, LeftFoot, ...)"
        )
    return found


def _guess_unit(rest: dict[str, np.ndarray], path: Path) -> float:
    leg = leg_length({name: at[None] for name, at in rest.items()})
    assert leg is not None
    scale = min(UNITS.values(), key=lambda u: abs(np.log(max(leg * u, 1e-9) / USUAL_LEG)))
    if not 0.5 < leg * scale < 1.2:
        raise InputError(f"{path}: a leg of {leg:.4g} units: no usual unit of length; set unit= to its metres")
    return scale


def _parse(path: Path):
    lines = path.read_text(encoding="latin-1").splitlines()
    names: list[str] = []
    parents: list[int] = []
    offsets: list[np.ndarray] = []
    channels: list[list[str]] = []
    stack: list[int] = []
    frames, frame_time, start, end_site = 0, 0.0, len(lines), False
    try:
        for number, line in enumerate(lines):
            words = line.split()
            if not words:
                continue
            if words[0] in ("ROOT", "JOINT", "End"):
                end_site = words[0] == "End"
                names.append(f"{names[stack[-1]]}_end" if end_site else words[1])
                parents.append(stack[-1] if stack else -1)
                offsets.append(np.zeros(3))
                channels.append([])
            elif words[0] == "{":
                stack.append(len(names) - 1)
            elif words[0] == "}":
                stack.pop()
            elif words[0] == "OFFSET":
                offsets[stack[-1]] = np.array(words[1:4], dtype=float)
            elif words[0] == "CHANNELS":
                channels[stack[-1]] = words[2:]
            elif words[0] == "Frames:":
                frames = int(words[1])
            elif words[:2] == ["Frame", "Time:"]:
                frame_time, start = float(words[2]), number + 1
                break
        rows = [np.array(line.split(), dtype=float) for line in lines[start:] if line.strip()]
    except (IndexError, ValueError) as error:
        raise InputError(f"{path}: not a whole BVH file ({error}); copy it again") from None
    width = sum(len(c) for c in channels)
    if not names or frame_time <= 0:
        raise InputError(f"{path}: not a BVH file: it has no {'HIERARCHY' if not names else 'MOTION with Frame Time'}")
    if len(rows) < frames or any(len(row) != width for row in rows[:frames]):
        raise InputError(f"{path}: states {frames} frames of {width} values and holds fewer: the file was cut off")
    return names, parents, offsets, channels, np.array(rows[:frames]).reshape(frames, width), frame_time
