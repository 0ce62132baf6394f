"""Axial rotation of the arms: the axes of their segments, and the body's joints that follow them.

The axes are the identity in a T-pose with palms down: x forward, the direction of elbow flexion and of the thumb; y to
the left along the arm; z up, out of the back of the hand. They do not depend on the rest pose of a recording.
"""

from collections.abc import Mapping

import mujoco
import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from muscle_torch.errors import InputError

# Segment -> the bone that rotates with it; the forearm rotates about its length, the ulna does not.
ARM_SEGMENTS = {"upper_arm": "humerus", "ulna": "ulna", "forearm": "radius", "hand": "lunate"}
FOREARM_JOINTS = ("pro_sup", "deviation", "flexion")  # determined by the orientation of the hand
STRAIGHT = 0.25  # sine of the elbow angle; a straighter elbow does not determine its flexion plane well


def segment_axes(front: np.ndarray, along: np.ndarray, side: str) -> np.ndarray:
    """Return the axes (..., 3, 3) of an arm segment as columns.

    Args:
        front: Direction of elbow flexion, or of the thumb (..., 3); orthogonalized to `along`.
        along: Direction towards the hand (..., 3).
        side: "left" or "right".
    """
    y = along / np.maximum(np.linalg.norm(along, axis=-1, keepdims=True), 1e-9) * (1.0 if side == "left" else -1.0)
    x = front - np.sum(front * y, axis=-1, keepdims=True) * y
    x = x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-9)
    return np.stack((x, y, np.cross(x, y)), axis=-1)


def bends_to(places: np.ndarray, turns: np.ndarray) -> np.ndarray | None:
    """Return the mean direction of elbow flexion (3,) in the axes of the upper arm; None if the elbow stays straight.

    Args:
        places: Positions of shoulder, elbow and wrist, (T, 3, 3) [m].
        turns: Orientations of the upper arm, (T, 3, 3).
    """
    bones = np.diff(places, axis=1)
    upper, fore = (bones / np.maximum(np.linalg.norm(bones, axis=2, keepdims=True), 1e-9)).swapaxes(0, 1)
    side = fore - np.sum(fore * upper, axis=1, keepdims=True) * upper
    bent = np.linalg.norm(side, axis=1) > STRAIGHT
    if not bent.any():
        return None
    return np.einsum("tji,tj->ti", turns[bent], side[bent]).mean(axis=0)


class BodyArm:
    """One arm of a body: the orientation of its bones in their segments' axes, and its forearm and wrist joints."""

    def __init__(
        self, model: mujoco.MjModel, side: str, turns: Mapping[str, np.ndarray], rest: Mapping[str, np.ndarray]
    ) -> None:
        """Read the arm's geometry.

        Args:
            model: The model.
            side: "left" or "right".
            turns: Orientations (3, 3) of bodies in the body's T-pose.
            rest: Positions (3,) of landmarks in the body's T-pose [m].

        Raises:
            InputError: The joint axes of the arm are not as expected.
        """
        letter = side[0]
        self.side, self.bodies = side, {name: f"{body}_{letter}" for name, body in ARM_SEGMENTS.items()}
        self.joints = tuple(f"{name}_{letter}" for name in FOREARM_JOINTS)
        pronation, deviation, flexion = (model.joint(name) for name in self.joints)
        outward = 1.0 if side == "right" else -1.0
        if abs(pronation.axis[1] - outward) > 0.02 or deviation.axis[2] < 1 or flexion.axis[0] != outward:
            raise InputError(
                f"unsupported {side} arm: its forearm must rotate about its length, its wrist about z and x"
            )
        self.limits = {joint: model.joint(joint).range for joint in self.joints}
        self.pronation_axis = pronation.axis.copy()
        self.hand_in_forearm = turns[self.bodies["ulna"]].T @ turns[self.bodies["hand"]]
        self.radius = model.body(self.bodies["forearm"]).pos.copy()  # in the ulna [m]
        self.lunate = model.body(self.bodies["hand"]).pos.copy()  # in the radius [m]
        upper = rest[f"{side}_elbow"] - rest[f"{side}_shoulder"]
        hinge = turns[self.bodies["ulna"]] @ model.joint(f"elbow_flex_{letter}").axis
        axes = turns[self.bodies["upper_arm"]].T @ segment_axes(np.cross(hinge, upper), upper, side)
        # Columns: the segment's axes in those of its bone. In forearm and hand bones x points to the thumb, y upwards.
        self.axes = dict.fromkeys(ARM_SEGMENTS, np.diag([1.0, outward, outward])) | {"upper_arm": axes}

    def segments(self, turns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the orientations of the arm's segments (T, 3, 3), computed from those of its bones."""
        return {f"{self.side}_{name}": turns[body] @ self.axes[name] for name, body in self.bodies.items()}

    def follow(
        self, segments: Mapping[str, np.ndarray], upper: np.ndarray, forearm: np.ndarray
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Return the bone orientations and joint angles that reproduce recorded segment orientations.

        Args:
            segments: Segment ("left_hand") -> recorded orientation (T, 3, 3); missing ones are unknown.
            upper: Direction from shoulder to elbow (T, 3), unit vectors.
            forearm: Direction from elbow to wrist (T, 3), unit vectors.

        Returns:
            The orientation (T, 3, 3) of the bone "humerus", of which only the rotation about its length matters; and
            the angles (T,) [rad] of the forearm and wrist joints, within their ranges.
        """
        turn_of = {name: segments[key] for name in ARM_SEGMENTS if (key := f"{self.side}_{name}") in segments}
        turns, angles = {}, {}
        if "upper_arm" in turn_of:
            turns[self.bodies["upper_arm"]] = turn_of["upper_arm"] @ self.axes["upper_arm"].T
        straight = turn_of.get("forearm")  # axes of the hand for a straight wrist
        if "hand" in turn_of:
            along = forearm if straight is None else straight[..., 1] * (1.0 if self.side == "left" else -1.0)
            wrist = _wrist_angles(turn_of["hand"], along, self.side)
            straight = turn_of["hand"] @ _wrist_turn(*wrist, self.side).transpose(0, 2, 1)
            angles = dict(zip(self.joints[1:], wrist, strict=True))
        elbow = turn_of.get("ulna", elbow_axes(upper, forearm, turn_of.get("upper_arm"), self.side))
        if straight is not None and elbow is not None:
            angles[self.joints[0]] = _pronation(straight, elbow)
        return turns, {name: np.clip(values, *self.limits[name]) for name, values in angles.items()}

    def hand(self, ulna: np.ndarray, angles: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the orientation of the hand bone (T, 3, 3) from the ulna's and the joint angles (T,) [rad]."""
        zero = np.zeros(len(ulna))
        pronation, deviation, flexion = (angles.get(name, zero) for name in self.joints)
        turn = Rotation.from_rotvec(pronation[:, None] * self.pronation_axis).as_matrix()
        wrist = self.axes["hand"] @ _wrist_turn(deviation, flexion, self.side) @ self.axes["hand"].T
        return ulna @ turn @ self.hand_in_forearm @ wrist

    def forearm(self, ulna: np.ndarray, pronation: np.ndarray) -> np.ndarray:
        """Return the direction from elbow to wrist (T, 3) from the ulna's orientation and pronation (T,) [rad]."""
        turn = Rotation.from_rotvec(pronation[:, None] * self.pronation_axis)
        place = self.radius + turn.apply(self.lunate)
        return np.einsum("tij,tj->ti", ulna @ self.axes["ulna"].T, place / np.linalg.norm(place, axis=1, keepdims=True))


def _wrist_angles(hand: np.ndarray, along: np.ndarray, side: str) -> tuple[np.ndarray, np.ndarray]:
    """Return deviation towards the thumb and flexion towards the palm (T,) [rad].

    The hand rotates about z, then about x, so in its axes the x component of the forearm direction depends only on
    deviation.

    Args:
        hand: Axes of the hand, (T, 3, 3).
        along: Direction of the forearm, (T, 3).
        side: "left" or "right".
    """
    sign = 1.0 if side == "right" else -1.0
    x, y, z = np.einsum("tji,tj->it", hand, along)
    return -np.arcsin(np.clip(x, -1, 1)), sign * np.arctan2(sign * z, -sign * y)


def _wrist_turn(deviation: np.ndarray, flexion: np.ndarray, side: str) -> np.ndarray:
    """Return the rotation (T, 3, 3) of a hand relative to its forearm."""
    sign = 1.0 if side == "right" else -1.0
    return Rotation.from_euler("ZX", sign * np.stack((deviation, flexion), axis=1)).as_matrix()


def elbow_axes(upper: np.ndarray, forearm: np.ndarray, turn: np.ndarray | None, side: str) -> np.ndarray | None:
    """Return the axes (T, 3, 3) of a forearm in mid-rotation, from the plane of elbow flexion.

    While the elbow is straight, the plane is taken from the upper arm, or interpolated between the frames before and
    after.

    Args:
        upper: Direction from shoulder to elbow (T, 3).
        forearm: Direction from elbow to wrist (T, 3).
        turn: Orientation of the upper arm (T, 3, 3); None if it is unknown.
        side: "left" or "right".

    Returns:
        The axes; None if the elbow is always straight and the upper arm's orientation unknown.
    """
    hinge = np.cross(upper, forearm)
    if turn is not None:
        hinge = hinge + STRAIGHT * turn[..., 2] * (1.0 if side == "right" else -1.0)
        return segment_axes(np.cross(hinge, forearm), forearm, side)
    axes = segment_axes(np.cross(hinge, forearm), forearm, side)
    bent = np.flatnonzero(np.linalg.norm(hinge, axis=1) > STRAIGHT)
    if not len(bent):
        return None
    if len(bent) == 1:
        between = np.repeat(axes[bent], len(axes), axis=0)
    else:
        frames = np.clip(np.arange(len(axes)), bent[0], bent[-1])
        between = Slerp(bent, Rotation.from_matrix(axes[bent]))(frames).as_matrix()
    return segment_axes(between[..., 0], forearm, side)


def _pronation(forearm: np.ndarray, elbow: np.ndarray) -> np.ndarray:
    """Return the downward rotation of the thumb from the direction of elbow flexion (T,) [rad], for axes (T, 3, 3)."""
    thumb = forearm[..., 0]
    down, ahead = -np.sum(thumb * elbow[..., 2], axis=-1), np.sum(thumb * elbow[..., 0], axis=-1)
    angle = np.unwrap(np.arctan2(down, ahead))
    return angle - 2 * np.pi * np.round(np.median(angle) / (2 * np.pi))
