"""BVH: hierarchy and motion in one text file, with joint names as in CMU, Mixamo, LAFAN1, Bandai-Namco, Biped, ..."""

from pathlib import Path

import numpy as np

from muscle_torch.errors import InputError

from ..raw import SIDES, RawMotion, leg_length
from .axes import AXES, axis_name, body_axes, standing_rest, turn_between, vertical_axis
from .bvh_arms import arm_turns
from .bvh_file import Bvh, parse_bvh
from .names import plain_names
from .skeleton import TO_Z_UP, Skeleton

# Landmark -> its names, without the subject's name, punctuation and case; the first that exists is used.
CENTRE_NAMES = {"neck": ("NECK", "NECK1"), "head": ("HEAD",)}
# With the side as `left` or `l` before or after the name.
SIDE_NAMES = {
    "shoulder": ("ARM", "UPARM", "SHOULDERJOINT", "UPPERARM", "SHLDR", "SHOULDER"),
    "elbow": ("FOREARM", "LOWARM", "ELBOW", "LOWERARM"),
    "wrist": ("WRIST", "HAND"),
    "hand": ("HANDINDEX1", "HANDMIDDLE1", "HANDEND", "WRISTEND", "HAND"),
    "hip": ("UPLEG", "UPPERLEG", "THIGH", "HIP"),
    "knee": ("LEG", "LOWLEG", "KNEE", "LOWERLEG", "SHIN", "CALF"),
    "ankle": ("ANKLE", "FOOT"),
    "toe": ("TOEBASE", "TOE", "TOES", "TOE0", "FOOT"),
}
NEEDED = ("neck", *(f"{side}_{joint}" for side in SIDES for joint in ("hip", "knee", "ankle", "shoulder")))
UNITS = {"m": 1.0, "cm": 0.01, "mm": 0.001, "inch": 0.0254, "CMU": 0.0254 / 0.45}
TOO_FAST = 12.0  # [m/s]
USUAL_LEG = 0.82  # thigh and shank of an adult [m]
MIN_DISTANCE = 0.02  # of the leg: points closer to each other do not determine a direction
ALONG = 0.12  # of the leg: minimal distance along the spine of a joint that determines its direction


def _forms(landmark: str) -> tuple[str, ...]:
    """Return the names of a landmark, the most specific first."""
    if landmark in CENTRE_NAMES:
        return CENTRE_NAMES[landmark]
    side, _, joint = landmark.partition("_")
    words = (side.upper(), side[0].upper())
    return tuple(form for name in SIDE_NAMES[joint] for word in words for form in (word + name, name + word))


NAMES = {name: _forms(name) for name in (*CENTRE_NAMES, *(f"{side}_{joint}" for side in SIDES for joint in SIDE_NAMES))}
KNOWN = frozenset(form for forms in NAMES.values() for form in forms) | {"HIPS", "PELVIS", "SPINE", "SPINE1", "CHEST"}


def read_bvh(path: Path, unit: float = 0.0, rate: float = 0.0, up: str = "") -> RawMotion:
    """Read a BVH file.

    The pelvis is the joint that carries both hips, the thorax the one that carries both shoulders. Their anatomical
    axes are determined from hips, spine and shoulders, whatever the pose with zero rotations.

    Args:
        path: The file.
        unit: Unit of length [m]; 0: that of `UNITS` for which the leg has an adult's length.
        rate: Frame rate [Hz]; 0: as stated in the file.
        up: Vertical axis, such as "z"; "": by the motion and the rest pose, usually y.

    Raises:
        InputError: The file is not a complete BVH file, lacks a joint, or its unit, rate or vertical axis is unknown.
    """
    bvh = parse_bvh(path)
    if not rate and bvh.frame_time <= 0:
        raise InputError(f"{path}: states a Frame Time of {bvh.frame_time:g} s; set rate= [Hz]")
    rate = rate or 1.0 / bvh.frame_time
    joints = _landmarks(bvh, path)
    places = bvh.translations()
    offsets = np.median(places, axis=0)  # bone lengths may vary slightly
    offsets[0] = 0.0
    skeleton = Skeleton(tuple(bvh.names), tuple(bvh.parents), offsets)
    positions, turns = skeleton.pose(places[:, 0], bvh.rotations(), places)
    scale, guessed = (unit, ()) if unit else _guess_unit({n: positions[:, joint] for n, joint in joints.items()}, path)
    first = _first_frame(positions[:, list(joints.values())] * scale, rate)
    left_out = ("the first frame, a rest pose, is removed",) * first
    positions, turns = positions[first:] * scale, turns[first:]

    rest = {name: skeleton.rest()[joint] for name, joint in joints.items()}
    axes = standing_rest(rest)
    points = {name: positions[:, joint] for name, joint in joints.items()}
    points["pelvis"] = (points["left_hip"] + points["right_hip"]) / 2
    stands = axis_name(axes[:, 2]) if axes is not None else ""
    vertical, notes = vertical_axis(points, "y", stands, up, str(path))
    world = TO_Z_UP @ turn_between(AXES[vertical], AXES["y"])
    rest["pelvis"] = (rest["left_hip"] + rest["right_hip"]) / 2
    orientations = {}
    for name, joint in _carriers(bvh.parents, joints).items():
        joint_axes = _axes(name, joint, bvh.parents, joints, positions, turns) if axes is None else axes
        orientations[name] = world @ turns[:, joint] @ joint_axes
    orientations |= {name: world @ turn for name, turn in arm_turns(bvh, joints, offsets, positions, turns).items()}
    return RawMotion(
        name=path.stem,
        rate=rate,
        positions={name: at @ world.T for name, at in points.items()},
        orientations=orientations,
        rest={} if axes is None else {name: at @ axes * scale for name, at in rest.items()},
        subject=path.stem,
        source=str(path),
        notes=(*guessed, *left_out, *notes),
    )


def _first_frame(points: np.ndarray, rate: float) -> int:
    """Return 1 if the file begins with a rest pose, followed by a jump to the motion, as many exporters write it."""
    steps = np.linalg.norm(np.diff(points[:3], axis=0), axis=2).max(axis=1) * rate
    return int(len(steps) == 2 and steps[0] > TOO_FAST and steps[1] < TOO_FAST)


def _landmarks(bvh: Bvh, path: Path) -> dict[str, int]:
    """Return landmark -> joint."""
    names, plain = bvh.names, plain_names(bvh.names, KNOWN, str(path))
    if bvh.parents.count(-1) > 1 and any(plain.count(name) > 1 for name in KNOWN):
        raise InputError(f"{path}: contains {bvh.parents.count(-1)} skeletons; export each to a separate file")
    joints = {}
    for landmark, forms in NAMES.items():
        index = next((plain.index(form) for form in forms if form in plain), None)
        # A joint named foot (hand) is the toe (knuckle) only if another one is the ankle (wrist).
        if index is not None and index not in joints.values():
            joints[landmark] = index
    missing = sorted(set(NEEDED) - joints.keys())
    if missing:
        raise InputError(
            f"{path}: no joint for {', '.join(missing)}; the file's joints are {', '.join(names[:12])}, ...: rename "
            "them as in the CMU or Mixamo skeletons (LeftUpLeg, LeftLeg, LeftFoot, ...)"
        )
    return joints


def _guess_unit(points: dict[str, np.ndarray], path: Path) -> tuple[float, tuple[str]]:
    """Return the unit of length [m] for which the leg has an adult's length, and a note: BVH files state none."""
    leg = leg_length(points)
    assert leg is not None
    scale = min(UNITS.values(), key=lambda u: abs(np.log(max(leg * u, 1e-9) / USUAL_LEG)))
    if not 0.5 < leg * scale < 1.2:
        raise InputError(
            f"{path}: a leg of {leg:.4g} units matches no common unit of length; set unit= to its size in metres"
        )
    note = f"unit of length assumed to be {scale:.4g} m, for a leg of {leg * scale:.2f} m (override with unit=)"
    return scale, (note,)


def _carriers(parents: list[int], joints: dict[str, int]) -> dict[str, int]:
    """Return the joints whose rotations are those of pelvis and thorax."""
    pelvis = _common(parents, joints["left_hip"], joints["right_hip"])
    thorax = _common(parents, joints["left_shoulder"], joints["right_shoulder"])
    # In some skeletons the collar bones are children of the neck.
    return {"pelvis": pelvis, "thorax": parents[thorax] if thorax == joints["neck"] else thorax}


def _common(parents: list[int], one: int, other: int) -> int:
    """Return the nearest common ancestor."""
    ancestors = _ancestors(parents, one)
    return next(joint for joint in _ancestors(parents, other) if joint in ancestors)


def _ancestors(parents: list[int], joint: int) -> list[int]:
    chain = []
    while (joint := parents[joint]) >= 0:
        chain.append(joint)
    return chain


def _axes(
    name: str, joint: int, parents: list[int], joints: dict[str, int], positions: np.ndarray, turns: np.ndarray
) -> np.ndarray:
    """Return the body's axes in those of a joint (3, 3), from the mean positions of the joints that it carries."""

    def local(other: int) -> np.ndarray:
        return np.einsum("tji,tj->ti", turns[:, joint], positions[:, other] - positions[:, joint]).mean(axis=0)

    def down_to(end: int) -> list[int]:
        chain = [end, *_ancestors(parents, end)]
        return chain[: chain.index(joint)][::-1] if joint in chain else [end]

    leg = leg_length({landmark: positions[:, index] for landmark, index in joints.items()}) or 1.0
    pair = "hip" if name == "pelvis" else "shoulder"
    sides = zip(down_to(joints[f"left_{pair}"]), down_to(joints[f"right_{pair}"]), strict=False)
    lines = [local(left) - local(right) for left, right in sides]
    left = next((line for line in lines if np.linalg.norm(line) > MIN_DISTANCE * leg), lines[-1])
    hips = (local(joints["left_hip"]) + local(joints["right_hip"])) / 2
    below = hips if name == "pelvis" else np.zeros(3)
    spine = [local(other) - below for other in down_to(joints["neck"])]
    up = next((line for line in spine if np.linalg.norm(line) > ALONG * leg), spine[-1])
    if np.linalg.norm(up) <= MIN_DISTANCE * leg:  # the neck coincides with the thorax
        up = local(joints["neck"]) - hips
    return body_axes(left, up)
