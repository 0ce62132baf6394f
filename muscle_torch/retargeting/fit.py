"""Scale a subject's landmarks to a body: every segment gets the body's length and keeps the subject's direction.

The result, `Targets`, is the objective of all methods and the reference for their landmark error.
"""

import dataclasses
from dataclasses import dataclass, field

import numpy as np
import torch

from muscle_torch.embodiments import Embodiment
from muscle_torch.embodiments.embodiment import names_of
from muscle_torch.errors import InputError

from .arm_axes import ARM_SEGMENTS, BodyArm
from .kinematics import BodyTree, Points
from .raw import SIDES, RawMotion, leg_length

# Landmark -> the body whose origin it is; the pelvis is midway between the femurs.
LANDMARK_BODIES = {"neck": "cervical_spine"} | {
    f"{side}_{landmark}": f"{body}_{side[0]}"
    for side in SIDES
    for landmark, body in {
        "shoulder": "humerus",
        "elbow": "ulna",
        "wrist": "lunate",
        "hand": "thirdmc",
        "hip": "femur",
        "knee": "tibia",
        "ankle": "talus",
        "toe": "toes",
    }.items()
}
WEIGHTS = {"pelvis": 1.0, "neck": 1.0, "shoulder": 0.5, "elbow": 1.0, "wrist": 1.5, "hand": 0.15,
           "hip": 1.5, "knee": 2.0, "ankle": 2.0, "toe": 1.5}  # fmt: skip
SCORED_WEIGHT = 0.3  # landmarks with a smaller weight guide the pose but do not count in the error


@dataclass(frozen=True)
class Targets:
    """Target positions of a body's K landmarks, T frames at `rate` [Hz]."""

    rate: float
    names: tuple[str, ...]
    positions: np.ndarray  # (T, K, 3) world [m]
    weights: np.ndarray  # (K,)
    orientations: dict[str, np.ndarray]  # body -> (T, 3, 3) orientation in the world
    angles: dict[str, np.ndarray] = field(default_factory=dict)  # joint of a forearm or wrist -> (T,) [rad]

    @property
    def num_frames(self) -> int:
        """Number of frames T."""
        return len(self.positions)

    def at(self, frames: np.ndarray) -> "Targets":
        """Return the targets at some frames, which are about evenly spaced."""
        turns = {body: values[frames] for body, values in self.orientations.items()}
        angles = {joint: values[frames] for joint, values in self.angles.items()}
        rate = self.rate * (len(frames) - 1) / max(int(frames[-1] - frames[0]), 1)
        return dataclasses.replace(self, rate=rate, positions=self.positions[frames], orientations=turns, angles=angles)

    def rotated(self, turn: np.ndarray, shift: np.ndarray) -> "Targets":
        """Return the targets rotated about the world origin by `turn` (3, 3), then shifted (3,) [m]."""
        turns = {body: turn @ values for body, values in self.orientations.items()}
        return dataclasses.replace(self, positions=self.positions @ turn.T + shift, orientations=turns)


def spread_frames(count: int, stride: int) -> np.ndarray:
    """Return about every stride-th of `count` frames, including the first and the last."""
    return np.round(np.linspace(0, count - 1, (count - 1) // stride + 1)).astype(int)


class Proportions:
    """The body's landmarks in its T-pose, and the motion of its shoulder centres with elevation; arms are optional."""

    def __init__(self, embodiment: Embodiment) -> None:
        """Measure the body. Raises InputError for unsupported arms."""
        self.tree = BodyTree(embodiment, dtype=torch.float64)
        bodies = names_of(embodiment.model, "body")
        self._landmarks = {name: body for name, body in LANDMARK_BODIES.items() if body in bodies}
        armed = [side for side in SIDES if f"{side}_elbow" in self._landmarks]
        self.rest, self.turns = self._pose(np.pi / 2)
        self.arms = {side: BodyArm(self.tree.model, side, self.turns, self.rest) for side in armed}
        elevations = np.linspace(0, np.pi, 19)
        poses = [self._pose(e)[0] for e in elevations]
        self.elevations = elevations
        self.shoulders = {side: np.array([pose[f"{side}_shoulder"] - pose["neck"] for pose in poses]) for side in armed}

    @property
    def free(self) -> bool:
        """Whether the body has a free root."""
        return self.tree.free

    def points(self, names: tuple[str, ...], tree: BodyTree) -> Points:
        """Return the landmarks `names` as points on the bodies of `tree`."""
        bodies = [tree.body(LANDMARK_BODIES.get(name, "pelvis")) for name in names]
        local = np.zeros((len(names), 3))
        if "pelvis" in names:
            local[names.index("pelvis")] = self.turns["pelvis"].T @ (self.rest["pelvis"] - self.pelvis_origin)
        return Points(torch.tensor(bodies, device=tree.device), tree.tensor(local))

    def length(self, start: str, end: str) -> float:
        """Return the distance between two landmarks in the T-pose [m]."""
        return float(np.linalg.norm(self.rest[end] - self.rest[start]))

    def shoulder(self, side: str, elevation: np.ndarray) -> np.ndarray:
        """Return the shoulder centre relative to the neck in thorax axes (T, 3) [m], for arm elevations (T,) [rad]."""
        table = self.shoulders[side]
        return np.stack([np.interp(elevation, self.elevations, table[:, i]) for i in range(3)], axis=1)

    def _pose(self, elevation: float) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        tree = self.tree
        pose = tree.rest(1)
        pose.joints[:] = torch.zeros_like(pose.joints).clamp(tree.lower, tree.upper)
        for joint in ("shoulder_elv_r", "shoulder_elv_l"):
            if joint in tree.names:
                pose.joints[0, tree.names.index(joint)] = elevation
        frames = tree.forward(tree.move(pose, torch.zeros(1, tree.num_dof, dtype=torch.float64)))
        self.foot_turns: dict[str, np.ndarray] = {}
        # A fixed body faces -y in its file; rotate it to face x.
        turn = np.eye(3) if self.free else np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
        at = {name: turn @ frames.pos[0, tree.body(body)].numpy() for name, body in self._landmarks.items()}
        segments = [f"{body}_{side}" for body in ARM_SEGMENTS.values() for side in "rl"]
        turned = (*self._landmarks.values(), "thorax", *(segments if "left_elbow" in self._landmarks else ()))
        turns = {b: turn @ frames.mat[0, tree.body(b)].numpy() for b in turned}
        if self.free:
            at["pelvis"] = (at["left_hip"] + at["right_hip"]) / 2
            self.foot_turns = {s: frames.mat[0, tree.body(f"calcn_{s[0]}")].numpy() for s in SIDES}
            turns["pelvis"] = frames.mat[0, tree.body("pelvis")].numpy()
            self.pelvis_origin = frames.pos[0, tree.body("pelvis")].numpy()
        return at, turns


def make_targets(raw: RawMotion, body: Proportions) -> Targets:
    """Compute the targets of a body; for a body with a fixed thorax, relative to the thorax.

    Arms of the recording are left out if the body has none.

    Args:
        raw: The recording.
        body: The body.

    Raises:
        InputError: The recording lacks landmarks that the body requires.
    """
    p = raw.positions
    thorax = raw.orientations.get("thorax")
    arms = [side for side in body.arms if f"{side}_shoulder" in p and f"{side}_elbow" in p]
    if thorax is None:
        raise InputError(
            f"{raw.source or raw.name}: the orientation of the trunk is unknown; record the neck and both shoulders"
        )
    landmarks: dict[str, np.ndarray] = {}
    orientations: dict[str, np.ndarray] = {}
    angles: dict[str, np.ndarray] = {}
    segments = {name: values for name, values in raw.orientations.items() if name not in ("pelvis", "thorax")}
    if body.free:
        _legs(raw, body, landmarks)
        for side in SIDES:
            if f"{side}_toe" in landmarks:
                orientations[f"calcn_{side[0]}"] = _sole(landmarks, side, body)
        orientations["pelvis"] = raw.orientations["pelvis"] @ body.turns["pelvis"]
        orientations["thorax"] = thorax @ body.turns["thorax"]
        trunk = _aligned(raw, body, p["neck"] - p["pelvis"], thorax)
        landmarks["neck"] = landmarks["pelvis"] + trunk
        turn = thorax
    else:
        if not arms:
            raise InputError(
                f"{raw.source or raw.name}: has no arm (shoulder and elbow), but the body consists of two arms"
            )
        # Transform to the axes of the fixed thorax, which faces -y.
        turn = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
        back = turn @ thorax.transpose(0, 2, 1)
        p = {name: np.einsum("tij,tj->ti", back, values - p.get("neck", 0.0)) for name, values in p.items()}
        segments = {name: back @ values for name, values in segments.items()}
        turn = np.broadcast_to(turn, (raw.num_frames, 3, 3))
        landmarks["neck"] = np.broadcast_to(turn[0] @ body.rest["neck"], (raw.num_frames, 3))
    for side in arms:
        landmarks |= _arm(p, side, body, turn, landmarks["neck"])
        if f"{side}_wrist" in landmarks:
            turns, bends = _arm_turns(p, side, body, segments, landmarks)
            orientations |= turns
            angles |= bends
    names = tuple(name for name in landmarks if body.free or name != "neck")
    weights = np.array([WEIGHTS[name.removeprefix("left_").removeprefix("right_")] for name in names])
    return Targets(
        raw.rate, names, np.stack([landmarks[name] for name in names], axis=1), weights, orientations, angles
    )


def _legs(raw: RawMotion, body: Proportions, landmarks: dict[str, np.ndarray]) -> None:
    p, where = raw.positions, raw.source or raw.name
    required = [f"{side}_{joint}" for side in SIDES for joint in ("hip", "knee", "ankle")]
    missing = [name for name in (*required, "pelvis", "neck") if name not in p]
    if missing or "pelvis" not in raw.orientations:
        raise InputError(
            f"{where}: a body with legs requires {', '.join(missing) or 'the orientation of the pelvis'}, which the "
            "recording lacks (set markers= to name markers, static= to a trial that contains them); for arms only use "
            "embodiment=bimanual"
        )
    subject = leg_length(p)
    assert subject is not None
    scale = (body.length("left_hip", "left_knee") + body.length("left_knee", "left_ankle")) / subject
    landmarks["pelvis"] = p["pelvis"] * scale
    pelvis = raw.orientations["pelvis"]
    for side in SIDES:
        landmarks[f"{side}_hip"] = landmarks["pelvis"] + pelvis @ (body.rest[f"{side}_hip"] - body.rest["pelvis"])
        for start, end in (("hip", "knee"), ("knee", "ankle")):
            step = p[f"{side}_{end}"] - p[f"{side}_{start}"]
            landmarks[f"{side}_{end}"] = landmarks[f"{side}_{start}"] + _unit(step) * body.length(
                f"{side}_{start}", f"{side}_{end}"
            )
        if f"{side}_toe" in p:
            landmarks[f"{side}_toe"] = landmarks[f"{side}_ankle"] + _foot(raw, side, body)


def _foot(raw: RawMotion, side: str, body: Proportions) -> np.ndarray:
    """Return ankle to toe joint (T, 3), rotated about the ankle such that both feet are flat in their rest poses."""
    ankle, knee, toe = f"{side}_ankle", f"{side}_knee", f"{side}_toe"
    p = raw.positions
    foot, shank = _unit(p[toe] - p[ankle]), _unit(p[knee] - p[ankle])
    if raw.rest:
        flat = _angle(_unit(raw.rest[toe] - raw.rest[ankle]), _unit(raw.rest[knee] - raw.rest[ankle]))
    else:
        flat = float(np.pi / 2 - resting_pitch(p[toe] - p[ankle], p[toe]))
    body_flat = _angle(_unit(body.rest[toe] - body.rest[ankle]), _unit(body.rest[knee] - body.rest[ankle]))
    axis = _unit(np.cross(shank, foot))
    return _turn(foot, axis, body_flat - flat) * body.length(ankle, toe)


def _sole(landmarks: dict[str, np.ndarray], side: str, body: Proportions) -> np.ndarray:
    """Return the orientation of the heel bone (T, 3, 3): along the foot, without more roll than at rest."""
    names = [f"{side}_{joint}" for joint in ("knee", "ankle", "toe")]
    current = _two_axes(*(landmarks[name] for name in names))
    rest = _two_axes(*(body.rest[name][None] for name in names))[0]
    return current @ rest.T @ body.foot_turns[side]


def _two_axes(knee: np.ndarray, ankle: np.ndarray, toe: np.ndarray) -> np.ndarray:
    """Return frames (T, 3, 3) of the plane through shank and foot; the first axis is along the foot."""
    along = _unit(toe - ankle)
    across = _unit(np.cross(knee - ankle, along))
    return np.stack((along, across, np.cross(along, across)), axis=-1)


def resting_pitch(foot: np.ndarray, toe: np.ndarray) -> float:
    """Return the pitch [rad] of a foot at rest, positive if its end is above its start.

    The foot rests in the quarter of the frames with the slowest toe and, among these, in the half with the least
    rotation. Rotation alone is not sufficient: in running it is slowest in flight.

    Args:
        foot: Ankle to toe, (T, 3).
        toe: Position of the toe, (T, 3).
    """
    pitch = np.arcsin(_unit(foot)[:, 2])
    speed, turning = np.linalg.norm(np.gradient(toe, axis=0), axis=1), np.abs(np.gradient(pitch))
    slow = speed <= np.quantile(speed, 0.25)
    still = slow & (turning <= np.quantile(turning[slow], 0.5))
    return float(np.median(pitch[still]))


def _aligned(raw: RawMotion, body: Proportions, trunk: np.ndarray, thorax: np.ndarray) -> np.ndarray:
    """Return pelvis to neck (T, 3) with the body's length, corrected for the difference between both when upright."""
    body_trunk = body.rest["neck"] - body.rest["pelvis"]
    subject_trunk = raw.rest["neck"] - raw.rest["pelvis"] if raw.rest else body_trunk
    axis = np.cross(_unit(subject_trunk), _unit(body_trunk))
    angle = float(np.arcsin(np.clip(np.linalg.norm(axis), -1, 1)))
    local = np.einsum("tji,tj->ti", thorax, _unit(trunk))
    if angle > 1e-9:
        local = _turn(local, np.broadcast_to(_unit(axis), local.shape), angle)
    return np.einsum("tij,tj->ti", thorax, local) * float(np.linalg.norm(body_trunk))


def _arm(
    p: dict[str, np.ndarray], side: str, body: Proportions, thorax: np.ndarray, neck: np.ndarray
) -> dict[str, np.ndarray]:
    """Return the arm's landmarks: the shoulder by the body's scapular rhythm, then segment by segment."""
    upper = _unit(p[f"{side}_elbow"] - p[f"{side}_shoulder"])
    elevation = np.arccos(np.clip(np.sum(-thorax[..., 2] * upper, axis=1), -1, 1))
    arm = {f"{side}_shoulder": neck + np.einsum("tij,tj->ti", thorax, body.shoulder(side, elevation))}
    for start, end in (("shoulder", "elbow"), ("elbow", "wrist"), ("wrist", "hand")):
        first, last = f"{side}_{start}", f"{side}_{end}"
        if last not in p:
            break
        arm[last] = arm[first] + _unit(p[last] - p[first]) * body.length(first, last)
    return arm


def _arm_turns(
    p: dict[str, np.ndarray],
    side: str,
    body: Proportions,
    segments: dict[str, np.ndarray],
    landmarks: dict[str, np.ndarray],
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return the axial rotation of the arm: orientations by bone, and angles by joint.

    A recorded ulna, from a model with bones, also determines this body's wrist: in other models' bones the line from
    elbow to wrist has another direction, which would imply another elbow angle.
    """
    elbow, wrist, hand = (f"{side}_{name}" for name in ("elbow", "wrist", "hand"))
    arm = body.arms[side]
    turns, angles = arm.follow(segments, _unit(p[elbow] - p[f"{side}_shoulder"]), _unit(p[wrist] - p[elbow]))
    ulna, pronation = segments.get(f"{side}_ulna"), angles.get(arm.joints[0])
    if ulna is not None and pronation is not None:
        position = landmarks[elbow] + arm.forearm(ulna, pronation) * body.length(elbow, wrist)
        if hand in landmarks:
            landmarks[hand] = landmarks[hand] + position - landmarks[wrist]
        landmarks[wrist] = position
    return turns, angles


def _unit(v: np.ndarray) -> np.ndarray:
    return v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-9)


def _angle(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.arccos(np.clip(np.sum(a * b, axis=-1), -1, 1)))


def _turn(v: np.ndarray, axis: np.ndarray, angle: float) -> np.ndarray:
    """Rotate v (T, 3) about unit axes (T, 3) (Rodrigues)."""
    along = np.sum(axis * v, axis=1, keepdims=True) * axis
    return v * np.cos(angle) + np.cross(axis, v) * np.sin(angle) + along * (1 - np.cos(angle))
