"""Axial rotation of the arms of a BVH skeleton.

Joint axes have no names, and the pose without rotations is arbitrary: the positions of the fingers, or else the
direction of elbow flexion, determine the orientation of hand and upper arm in it. All rotations of the arm are zero
together, so the rotation of a forearm relative to the upper arm is as stated in the file.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from ..arm_axes import bends_to, segment_axes
from ..raw import SIDES
from .bvh_file import Bvh

SIDEWAYS = 0.3  # minimal sideways fraction of a finger's offset from the hand
SAME_PLACE = 1e-3  # of the forearm
THUMB, FIRST, LAST = ("THUMB",), ("INDEX",), ("PINKY", "LITTLE")


def arm_turns(
    bvh: Bvh, joints: Mapping[str, int], offsets: np.ndarray, positions: np.ndarray, turns: np.ndarray
) -> dict[str, np.ndarray]:
    """Return the orientations of upper arms and hands (T, 3, 3) in the file's world.

    Args:
        bvh: The skeleton.
        joints: Landmark -> joint.
        offsets: Positions of the joints in their parents' axes, (J, 3).
        positions: Global positions of the joints, (T, J, 3).
        turns: Global rotations of the joints, (T, J, 3, 3).
    """
    orientations: dict[str, np.ndarray] = {}
    for side in SIDES:
        if not {f"{side}_elbow", f"{side}_wrist"} <= joints.keys():
            continue
        shoulder, elbow, wrist = (joints[f"{side}_{name}"] for name in ("shoulder", "elbow", "wrist"))
        if not (offsets[elbow].any() and offsets[wrist].any()):
            continue
        bend = bends_to(positions[:, [shoulder, elbow, wrist]], turns[:, shoulder])
        hand = _hand(bvh, wrist, offsets)
        front = _thumb(bvh, hand, offsets)
        front = bend if front is None else front
        if bend is not None:
            orientations[f"{side}_upper_arm"] = turns[:, shoulder] @ segment_axes(bend, offsets[elbow], side)
        if front is not None:
            orientations[f"{side}_hand"] = turns[:, hand] @ segment_axes(front, offsets[wrist], side)
    return orientations


def _hand(bvh: Bvh, wrist: int, offsets: np.ndarray) -> int:
    """Return the joint that rotates the hand: the wrist's, or one at the same position below it, except the thumb's."""
    near = SAME_PLACE * np.linalg.norm(offsets[wrist])
    hand = wrist
    while True:
        below = [
            joint
            for joint in _children(bvh, hand)
            if np.linalg.norm(offsets[joint]) < near and _children(bvh, joint) and not _is(bvh, joint, THUMB)
        ]
        if len(below) != 1:
            return hand
        hand = below[0]


def _thumb(bvh: Bvh, hand: int, offsets: np.ndarray) -> np.ndarray | None:
    """Return the direction of the thumb's side (3,) in the hand's axes, from the outer fingers or from the thumb."""
    root = hand
    while not offsets[root].any():  # fingers may be children of an ancestor at the same position, at most the wrist
        root = bvh.parents[root]
    tips = {
        words: next((joint for joint in _below(bvh, root) if _is(bvh, joint, words) and offsets[joint].any()), None)
        for words in (FIRST, LAST, THUMB)
    }
    first, last, thumb = (None if joint is None else _place(bvh, root, joint, offsets) for joint in tips.values())
    along = offsets[root] / np.linalg.norm(offsets[root])
    if first is not None and last is not None and _sideways_fraction(first - last, along) > SIDEWAYS:
        return first - last
    if (joint := tips[THUMB]) is not None and thumb is not None:
        end = _place(bvh, root, _end(bvh, joint), offsets)
        if _sideways_fraction(end, along) > SIDEWAYS:
            return end
    return None


def _sideways_fraction(vector: np.ndarray, along: np.ndarray) -> float:
    """Return the fraction of a vector that is orthogonal to `along`."""
    return float(np.linalg.norm(np.cross(vector, along)) / max(float(np.linalg.norm(vector)), 1e-9))


def _is(bvh: Bvh, joint: int, words: Sequence[str]) -> bool:
    return any(word in bvh.names[joint].upper() for word in words)


def _children(bvh: Bvh, joint: int) -> list[int]:
    return [child for child, parent in enumerate(bvh.parents) if parent == joint]


def _below(bvh: Bvh, joint: int) -> list[int]:
    """Return all descendants of a joint, the nearest first."""
    below = _children(bvh, joint)
    for child in below:  # grows while it is iterated
        below += _children(bvh, child)
    return below


def _end(bvh: Bvh, joint: int) -> int:
    return ([joint, *_below(bvh, joint)])[-1]


def _place(bvh: Bvh, root: int, joint: int, offsets: np.ndarray) -> np.ndarray:
    """Return the position of `joint` in the axes of `root` (3,) without rotations."""
    position = np.zeros(3)
    while joint != root:
        position = position + offsets[joint]
        joint = bvh.parents[joint]
    return position
