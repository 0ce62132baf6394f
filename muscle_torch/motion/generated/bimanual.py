"""Motions of the two arms: key poses defined by wrist positions, interpolated smoothly in joint space.

Positions are (outward, forward, up) [m] from the arm's shoulder; equal numbers on both sides are mirror images. An arm
is 0.55 m long from shoulder to wrist; the body's midline is 0.17 m inward. Every motion begins and ends at rest.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from muscle_torch.embodiments import Embodiment

from .hand_ik import HandIK
from .key_poses import flowing, through

Paths = dict[str, np.ndarray]
Smooth = Callable[[Sequence[float], np.ndarray, float], np.ndarray]
Place = tuple[float, float, float]


class Pose(NamedTuple):
    """Pose of one arm: wrist position, approximate elbow position, and rotation of forearm and wrist [rad]."""

    hand: Place
    elbow: Place | None = None
    pro_sup: float = 0.0  # pronation positive
    deviation: float = 0.0
    flexion: float = 0.0

    def at(self, outward: float = 0.0, forward: float = 0.0, up: float = 0.0) -> "Pose":
        """Return the pose with the hand moved by (outward, forward, up) [m]."""
        x, y, z = self.hand
        return self._replace(hand=(x + outward, y + forward, z + up))


HANG = Pose((0.13, 0.13, -0.49), (0.12, 0.0, -0.26), pro_sup=0.3)


def one_arm(
    embodiment: Embodiment, side: str, times: Sequence[float], poses: Sequence[Pose], smooth: Smooth = through
) -> Paths:
    """Return the paths of one arm's independent joints.

    Args:
        embodiment: The body.
        side: "r" or "l".
        times: Times of the poses [s].
        poses: Key poses.
        smooth: Interpolation, `through` or `flowing`.

    Returns:
        Joint name -> positions (T,) [rad].
    """
    solver = HandIK(embodiment)
    solved: dict[Pose, dict[str, float]] = {}
    for pose in poses:
        if pose not in solved:
            rotation = {"pro_sup": pose.pro_sup, "deviation": pose.deviation, "flexion": pose.flexion}
            solved[pose] = solver.solve(side, pose.hand, pose.elbow, **rotation)
    values = {joint: np.array([solved[pose][joint] for pose in poses]) for joint in solved[poses[0]]}
    return {joint: smooth(times, path, embodiment.control_frequency) for joint, path in values.items()}


def both_arms(embodiment: Embodiment, times: Sequence[float], poses: Sequence[Pose], smooth: Smooth = through) -> Paths:
    """Return the paths of both arms as mirror images.

    Args:
        embodiment: The body.
        times: Times of the poses [s], as in `one_arm`.
        poses: Poses of the right arm.
        smooth: Interpolation between the poses.
    """
    return one_arm(embodiment, "r", times, poses, smooth) | one_arm(embodiment, "l", times, poses, smooth)


def reach(embodiment: Embodiment, random: np.random.Generator) -> Paths:
    """Reach with the right hand, then the left, then both to random positions in front, and return."""
    low, high = np.array((-0.02, 0.34, -0.25)), np.array((0.14, 0.42, 0.02))

    def random_pose() -> Pose:
        outward, forward, up = random.uniform(low, high)
        return Pose((outward, forward, up), (0.14, 0.12, -0.22), pro_sup=0.6)

    first, second, third, fourth = (random_pose() for _ in range(4))
    right = one_arm(
        embodiment,
        "r",
        [0, 0.2, 1.2, 1.5, 2.5, 3.2, 4.4, 4.7, 5.8, 6],
        [HANG, HANG, first, first, HANG, HANG, third, third, HANG, HANG],
    )
    left = one_arm(
        embodiment, "l", [0, 1.6, 2.7, 3.1, 4.2, 4.5, 5.8, 6], [HANG, HANG, second, second, fourth, fourth, HANG, HANG]
    )
    return right | left


def lift(embodiment: Embodiment, random: np.random.Generator) -> Paths:
    """Both hands pick up a box from a table, lift it to eye level, and put it back."""
    take = Pose((0.0, 0.33, -0.30), (0.14, 0.05, -0.25), pro_sup=0.1)
    near = take.at(forward=-0.06, up=0.13)
    high = Pose((0.0, 0.34, 0.17), (0.15, 0.25, -0.06), pro_sup=0.1)
    times = [0, 0.2, 1.3, 1.6, 2.2, 3.0, 3.5, 4.3, 4.9, 5.1, 6.0]
    return both_arms(embodiment, times, [HANG, HANG, take, take, near, high, high, near, take, take, HANG])


def wave(embodiment: Embodiment, random: np.random.Generator) -> Paths:
    """Raise the right hand beside the head and wave from the forearm; the left arm hangs and sways slightly."""
    elbow = (0.22, 0.12, -0.10)
    out = Pose((0.30, 0.20, 0.13), elbow, pro_sup=0.9, deviation=0.15)
    into = Pose((0.10, 0.22, 0.13), elbow, pro_sup=0.9, deviation=-0.05)
    times = [0, 0.2, 1.3, *(1.3 + 0.4 * np.arange(1, 8)), 5.2, 5.4]
    right = one_arm(embodiment, "r", times, [HANG, HANG, out, *[into, out] * 3, into, HANG, HANG])
    sway = HANG.at(outward=0.03, forward=0.04, up=0.01)
    left = one_arm(embodiment, "l", [0, 1.5, 3.5, 5.4], [HANG, sway, HANG.at(outward=0.02), HANG])
    return right | left


def drink(embodiment: Embodiment, random: np.random.Generator) -> Paths:
    """Take a glass with the right hand, tilt it at the mouth and put it back; the left arm assists."""
    take = Pose((-0.02, 0.36, -0.26), (0.14, 0.08, -0.25), pro_sup=0.1)
    mouth = Pose((-0.08, 0.21, 0.07), (0.18, 0.14, -0.14), pro_sup=0.2)
    tilt = mouth.at(up=0.02)._replace(pro_sup=-0.3, deviation=-0.1, flexion=0.15)
    times = [0, 0.2, 1.2, 1.4, 2.4, 2.9, 3.5, 3.9, 4.8, 5.0, 5.9, 6.0]
    right = one_arm(embodiment, "r", times, [HANG, HANG, take, take, mouth, tilt, tilt, mouth, take, take, HANG, HANG])
    table = Pose((0.06, 0.27, -0.33), (0.14, 0.02, -0.26), pro_sup=1.0)
    left = one_arm(embodiment, "l", [0, 0.4, 1.6, 4.4, 5.7, 6.0], [HANG, HANG, table, table, HANG, HANG])
    return right | left


def punch(embodiment: Embodiment, random: np.random.Generator) -> Paths:
    """From a guard in front of the chin: right, left, right; the fist pronates while the arm extends."""
    guard = Pose((-0.02, 0.24, 0.0), (0.14, 0.10, -0.23), pro_sup=0.1)
    out = Pose((-0.06, 0.49, 0.03), (0.06, 0.26, -0.04), pro_sup=0.8)
    right_times = [0, 0.2, 1.2, 1.4, 1.85, 2.35, 3.3, 3.75, 4.25, 4.5, 5.5, 5.7]
    right = one_arm(
        embodiment, "r", right_times, [HANG, HANG, guard, guard, out, guard, guard, out, guard, guard, HANG, HANG]
    )
    left_times = [0, 0.2, 1.2, 2.35, 2.8, 3.3, 4.5, 5.5, 5.7]
    left = one_arm(embodiment, "l", left_times, [HANG, HANG, guard, guard, out, guard, guard, HANG, HANG])
    return right | left


def clap(embodiment: Embodiment, random: np.random.Generator) -> Paths:
    """Both hands come together in front of the chest four times, stopping a hand's breadth apart."""
    apart = Pose((0.05, 0.41, -0.15), (0.09, 0.16, -0.24), flexion=-0.25)
    together = Pose((-0.095, 0.40, -0.13), (0.06, 0.19, -0.22), flexion=-0.45)
    times = [0, 0.2, 1.3, *(1.3 + 0.4 * np.arange(1, 9)), 5.6, 5.8]
    return both_arms(embodiment, times, [HANG, HANG, apart, *[together, apart] * 4, HANG, HANG])


def circles(embodiment: Embodiment, random: np.random.Generator) -> Paths:
    """Both hands draw two circles in the air in front, half a turn out of phase."""
    centre = Pose((0.05, 0.32, -0.12), (0.16, 0.10, -0.20), pro_sup=0.5)
    raise_times, turn_times = [0.0, 0.7, 1.3], 1.3 + np.arange(1, 17) * 0.2
    times = [*raise_times, *turn_times, 5.2, 6.0]

    def drawn(start: float) -> list[Pose]:
        angles = start + np.arange(17) * np.pi / 4
        on_circle = [centre.at(outward=0.12 * np.cos(angle), up=0.12 * np.sin(angle)) for angle in angles]
        halfway = HANG.at(outward=0.02, forward=0.10, up=0.12)
        return [HANG, halfway, *on_circle, halfway, HANG]

    right = one_arm(embodiment, "r", times, drawn(-np.pi / 2), flowing)
    return right | one_arm(embodiment, "l", times, drawn(np.pi / 2), flowing)


def rest(embodiment: Embodiment, random: np.random.Generator) -> Paths:
    """Let the arms hang and drift slightly, as in quiet standing."""
    drift = [HANG, HANG.at(forward=0.02, outward=0.01), HANG.at(forward=-0.01), HANG.at(forward=0.02), HANG]
    return both_arms(embodiment, [0, 1.2, 2.4, 3.7, 5.0], drift)


MOTIONS: dict[str, Callable[[Embodiment, np.random.Generator], Paths]] = {
    "reach": reach,
    "lift": lift,
    "wave": wave,
    "drink": drink,
    "punch": punch,
    "clap": clap,
    "circles": circles,
    "rest": rest,
}
