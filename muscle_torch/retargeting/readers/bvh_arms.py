"""How the arms of a BVH skeleton turn about their length.

Joints have no names for their axes, and the pose without rotations may be any: where the fingers are, or else where the
elbow bends to, shows how hand and upper arm lie in it. All turns of the arm are zero together, so what a forearm is
turned by against the upper arm is what the file turns it by.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from ..arm_axes import bends_to, segment_axes
from ..raw import SIDES
from .bvh_file import Bvh

SQUARE = 0.3  # of a finger's distance from the hand: how far it has to point sideways
SAME_PLACE = 1e-3  # of the forearm
THUMB, FIRST, LAST = ("THUMB",), ("INDEX",), ("PINKY", "LITTLE")


def arm_turns(
    bvh: Bvh, joints: Mapping[str, int], offsets: np.ndarray, positions: np.ndarray, turns: np.ndarray
) -> dict[str, np.ndarray]:
    """Return the orientations of upper arms and hands (T, 3, 3) in the file's world.

    Args:
        bvh: The skeleton.
        joints: Landmark -> its joint.
        offsets: Places of the joints in their parents' axes (J, 3).
        positions: Of the joints (T, J, 3).
        turns: Global rotations of the joints (T, J, 3, 3).
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
    """The joint that turns the hand: the wrist's, or one at the same place below it, the thumb's apart."""
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
    """Where the thumb's side of the hand is (3,) in its axes, by the first and last finger, or by the thumb."""
    root = hand
    while not offsets[root].any():  # fingers may hang on a joint at the same place above, at the latest on the wrist
        root = bvh.parents[root]
    tips = {
        words: next((joint for joint in _below(bvh, root) if _is(bvh, joint, words) and offsets[joint].any()), None)
        for words in (FIRST, LAST, THUMB)
    }
    first, last, thumb = (None if joint is None else _place(bvh, root, joint, offsets) for joint in tips.values())
    along = offsets[root] / np.linalg.norm(offsets[root])
    if first is not None and last is not None and _square(first - last, along) > SQUARE:
        return first - last
    if (joint := tips[THUMB]) is not None and thumb is not None:
        end = _place(bvh, root, _end(bvh, joint), offsets)
        if _square(end, along) > SQUARE:
            return end
    return None


def _square(vector: np.ndarray, along: np.ndarray) -> float:
    """The share of a vector that is square to `along`."""
    return float(np.linalg.norm(np.cross(vector, along)) / max(float(np.linalg.norm(vector)), 1e-9))


def _is(bvh: Bvh, joint: int, words: Sequence[str]) -> bool:
    return any(word in bvh.names[joint].upper() for word in words)


def _children(bvh: Bvh, joint: int) -> list[int]:
    return [child for child, parent in enumerate(bvh.parents) if parent == joint]


def _below(bvh: Bvh, joint: int) -> list[int]:
    """All joints that `joint` carries, the nearest first."""
    below = _children(bvh, joint)
    for child in below:  # grows while it is read
        below += _children(bvh, child)
    return below


def _end(bvh: Bvh, joint: int) -> int:
    return ([joint, *_below(bvh, joint)])[-1]


def _place(bvh: Bvh, root: int, joint: int, offsets: np.ndarray) -> np.ndarray:
    """Where `joint` is in the axes of `root` (3,) without rotations."""
    place = np.zeros(3)
    while joint != root:
        place = place + offsets[joint]
        joint = bvh.parents[joint]
    return place
