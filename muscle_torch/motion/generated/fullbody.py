"""Motions of the full body on its feet: standing, squatting, raising the arms, stepping in place.

The feet follow given paths, the legs follow by inverse kinematics, and the root is moved until the centre of mass is at
its target position over the feet. The body faces -y, its left is +x, the floor is z = 0.
"""

from collections.abc import Callable, Mapping

import mujoco
import numpy as np
from scipy.spatial.transform import Rotation

from muscle_torch.embodiments import Embodiment

from ..balance import Sides, plan_shift
from ..ground_reaction import ground_reaction
from ..support import Soles
from .bimanual import HANG, Pose, both_arms, one_arm
from .feet import OUTWARD, Foot, FootPath
from .key_poses import flowing, through
from .walk import posture, walk

Paths = dict[str, np.ndarray]
MID_FOOT = -0.10  # [m] y of the centre of mass relative to the heel bones: 5 cm in front of the ankles
HEIGHT = 0.935  # [m] of the root in relaxed standing, knees slightly bent
BALANCING = 8  # rounds; each reduces the error to about a fifth
SHIFTS = 3  # rounds of shifting the centre of mass
MARGIN = 0.004  # [m] between the zero-moment point and the border of the support


def on_feet(
    embodiment: Embodiment, upper: Mapping[str, np.ndarray], root: np.ndarray, feet: list[FootPath], over: np.ndarray
) -> Paths:
    """Return all paths of a body with given foot paths and centre of mass.

    Args:
        embodiment: The body.
        upper: Paths of the joints above the legs.
        root: (T, 4): height [m], forward lean, sideways lean and left turn [rad].
        feet: Paths of the right and left foot.
        over: Horizontal position of the centre of mass, (T, 2) [m].
    """
    model = embodiment.model
    qpos = np.tile(embodiment.qpos0, (len(root), 1))
    for joint, path in upper.items():
        qpos[:, model.joint(joint).qposadr[0]] = path
    qpos[:, 0:2], qpos[:, 2] = over, root[:, 0]
    turn = Rotation.from_euler("ZXY", root[:, [3, 1, 2]])
    qpos[:, 3:7] = turn.as_quat(scalar_first=True)
    soles = [Foot(embodiment, side) for side in "rl"]
    for sole in soles:  # initial guess with bent knees, so that they bend forward
        for joint, angle in {"hip_flexion": 0.4, "knee_angle": 0.7, "ankle_angle": 0.3}.items():
            qpos[:, model.joint(f"{joint}_{sole.side}").qposadr[0]] = angle
    for _ in range(BALANCING):
        for sole, path in zip(soles, feet, strict=True):
            qpos = sole.step_to(qpos, path, exactly=False)
        qpos[:, :2] += over - _centre_of_mass(embodiment, qpos)[:, :2]
    for sole, path in zip(soles, feet, strict=True):
        qpos = sole.step_to(qpos, path)
    moved = (*upper, *(joint for sole in soles for joint in (*sole.leg, sole.toe_joint)))
    return {"root": qpos[:, :7]} | {joint: qpos[:, model.joint(joint).qposadr[0]] for joint in moved}


def in_balance(
    embodiment: Embodiment, upper: Mapping[str, np.ndarray], root: np.ndarray, feet: list[FootPath], over: np.ndarray
) -> Paths:
    """Return paths as `on_feet`, with the centre of mass shifted so that the ground can support the motion.

    Args:
        embodiment: The body.
        upper: Paths of the joints above the legs.
        root: (T, 4), as for `on_feet`.
        feet: Paths of the right and left foot.
        over: Initial horizontal position of the centre of mass, (T, 2) [m].
    """
    soles, rate, start = Soles.of(embodiment), embodiment.control_frequency, over
    for _ in range(SHIFTS):
        paths = on_feet(embodiment, upper, root, feet, over)
        reaction = ground_reaction(embodiment, posture(embodiment, paths), rate, soles)
        over = over + plan_shift(reaction, Sides.of(reaction, MARGIN), rate, before=over - start)
    return on_feet(embodiment, upper, root, feet, over)


def _centre_of_mass(embodiment: Embodiment, qpos: np.ndarray) -> np.ndarray:
    """Return the centre of mass (T, 3) [m]."""
    data = mujoco.MjData(embodiment.model)
    centre = np.empty((len(qpos), 3))
    for frame, pose in enumerate(qpos):
        data.qpos[: embodiment.num_qpos] = pose
        mujoco.mj_kinematics(embodiment.model, data)
        mujoco.mj_comPos(embodiment.model, data)
        centre[frame] = data.subtree_com[1]
    return centre


def _planted(embodiment: Embodiment, frames: int, half_width: float, outward: float) -> list[FootPath]:
    """Return the paths of two feet at rest, right and left.

    Args:
        embodiment: The body.
        frames: T.
        half_width: Distance from the midline [m].
        outward: Outward rotation of the toes [rad].
    """
    still = np.zeros(frames)
    return [
        Foot(embodiment, side).standing(np.tile([OUTWARD[side] * half_width, 0.0], (frames, 1)), outward, still, still)
        for side in "rl"
    ]


def _root(height: np.ndarray, lean: np.ndarray | float = 0.0, side: np.ndarray | float = 0.0) -> np.ndarray:
    """Return the `root` argument (T, 4) of `on_feet`."""
    return np.stack([np.broadcast_to(part, height.shape) for part in (height, lean, side, 0.0)], axis=1)


def _over(sideways: np.ndarray | float, forward: np.ndarray | float, frames: int) -> np.ndarray:
    """Return the centre of mass (T, 2) at an offset to the left and forward [m] of the middle of the feet."""
    return np.stack((np.broadcast_to(sideways, frames), MID_FOOT - np.broadcast_to(forward, frames)), axis=1)


def sway(embodiment: Embodiment, random: np.random.Generator) -> Paths:
    """Quiet standing: the centre of mass wanders randomly by one or two centimetres."""
    rate, times = embodiment.control_frequency, np.linspace(0, 5, 8)
    wander = random.uniform(-1, 1, (8, 3))
    wander[[0, -1]] = 0.0
    sideways, forward, trunk = flowing(times, wander * [0.015, 0.02, 0.02], rate).T
    drift = [HANG, HANG.at(forward=0.02, outward=0.01), HANG.at(forward=-0.01), HANG.at(forward=0.02), HANG]
    upper = both_arms(embodiment, [0, 1.2, 2.4, 3.7, 5.0], drift) | {"flex_extension": -0.02 + trunk}
    frames = len(trunk)
    feet = _planted(embodiment, frames, half_width=0.09, outward=0.12)
    return on_feet(embodiment, upper, _root(np.full(frames, HEIGHT)), feet, _over(sideways, forward, frames))


def squat(embodiment: Embodiment, random: np.random.Generator) -> Paths:
    """Squat until the knees are bent nearly at right angles, heels on the floor and arms forward, and stand up again.

    The trunk stays as upright as the ankles allow, and the back is rounded: leaning further forward would require more
    of the back muscles than they can produce against the passive force of the abdominal muscles.
    """
    rate, times = embodiment.control_frequency, [0, 0.3, 2.3, 2.7, 4.7, 5.0]
    ahead = Pose((0.02, 0.25, 0.10), (0.08, 0.18, 0.0), pro_sup=0.6)
    down = through(times, np.array([0.0, 0, 1, 1, 0, 0]), rate)
    upper = both_arms(embodiment, times, [HANG, HANG, ahead, ahead, HANG, HANG]) | {"flex_extension": -0.25 * down}
    feet = _planted(embodiment, len(down), half_width=0.12, outward=0.3)
    return on_feet(
        embodiment, upper, _root(HEIGHT - 0.25 * down, 0.3 * down), feet, _over(0.0, -0.02 * down, len(down))
    )


def arm_raise(embodiment: Embodiment, random: np.random.Generator) -> Paths:
    """Raise both arms forward and overhead, then lower them sideways."""
    rate, times = embodiment.control_frequency, [0, 0.2, 1.4, 2.6, 3.1, 4.3, 5.3, 5.5]
    ahead = Pose((0.0, 0.48, 0.0), (0.05, 0.27, -0.03), pro_sup=0.4)
    above = Pose((0.08, 0.12, 0.48), (0.12, 0.14, 0.22))
    aside = Pose((0.50, 0.08, 0.05), (0.27, 0.04, 0.02), pro_sup=0.6)
    upper = both_arms(embodiment, times, [HANG, HANG, ahead, above, above, aside, HANG, HANG])
    back = through(times, np.array([0, 0, 0, 0.06, 0.06, 0.02, 0, 0]), rate)
    feet = _planted(embodiment, len(back), half_width=0.10, outward=0.12)
    height = np.full(len(back), HEIGHT)
    return on_feet(embodiment, upper | {"flex_extension": back}, _root(height), feet, _over(0.0, 0.0, len(back)))


def step_in_place(embodiment: Embodiment, random: np.random.Generator) -> Paths:
    """Take six steps on the spot, right foot first, shifting the weight to the standing foot before each lift."""
    rate, half_width, steps, period = embodiment.control_frequency, 0.085, 6, 0.8
    lifts = 0.5 + period * np.arange(steps + 1)  # bounds of the intervals in which a foot may be in the air
    middles = 0.5 * (lifts[1:] + lifts[:-1])
    end = lifts[-1] + 0.5
    towards_left = np.where(np.arange(steps) % 2 == 0, 1.0, -1.0)
    sideways = flowing([0, *middles, end], np.array([0, *towards_left, 0]), rate)
    grid = np.arange(len(sideways)) / rate
    feet, arms = [], {}
    for side, first in (("r", 0), ("l", 1)):
        lift = np.zeros(len(grid))
        for step in range(first, steps, 2):
            part = np.clip((grid - lifts[step] - 0.08) / (period - 0.16), 0, 1)
            lift += 64 * (part * (1 - part)) ** 3
        place = np.tile([OUTWARD[side] * half_width, 0.0], (len(grid), 1))
        place[:, 1] += 0.06 * lift  # the heel moves back slightly
        feet.append(Foot(embodiment, side).standing(place, 0.1, -0.45 * lift, 0.12 * lift))
        swung = [HANG.at(forward=0.09 * turn, up=0.01) for turn in -OUTWARD[side] * towards_left]
        arms |= one_arm(embodiment, side, [0, *middles, end], [HANG, *swung, HANG], flowing)
    root = _root(HEIGHT - 0.01 * sideways**2, side=-0.05 * sideways)
    upper = arms | {"lat_bending": 0.03 * sideways}
    return in_balance(embodiment, upper, root, feet, _over(0.075 * sideways, 0.0, len(grid)))


MOTIONS: dict[str, Callable[[Embodiment, np.random.Generator], Paths]] = {
    "sway": sway,
    "squat": squat,
    "arm_raise": arm_raise,
    "step_in_place": step_in_place,
    "walk": walk,
}
