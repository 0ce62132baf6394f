"""Vertical axis of a file, and orientation of a skeleton's axes in the body.

Files differ in three ways that no header states: the vertical axis of their world, the pose with all rotations zero,
and the direction that it faces. All three follow from the positions of hips, spine, shoulders and legs.
"""

import numpy as np

from muscle_torch.errors import InputError

from ..raw import SIDES, leg_length

AXES = {f"{sign}{name}": (-1.0 if sign else 1.0) * np.eye(3)[i] for sign in ("", "-") for i, name in enumerate("xyz")}
UPRIGHT = 0.8  # minimal cosine to the vertical of trunk and legs, in most frames of an upright motion
RISE = 0.5  # of the leg length; a lying body does not rise this far
FLOOR = 0.15  # of the leg length; maximal height of the lowest landmark if the floor is at 0
SNAP_SIDE, SNAP_UP = np.radians(7.0), np.radians(40.0)  # a coordinate axis this near counts as exact
STANDS = 0.7  # minimal cosine to the vertical of trunk, thighs and shanks in a standing rest pose


def vertical_axis(
    points: dict[str, np.ndarray], default: str, rest: str = "", up: str = "", where: str = ""
) -> tuple[str, tuple[str, ...]]:
    """Determine the vertical axis of a file's world.

    Args:
        points: Landmark -> (T, 3) in the file's axes and any unit; pelvis, neck and both legs.
        default: The usual vertical axis of the format, such as "y".
        rest: Axis along which the body stands with all rotations zero; "" if it does not.
        up: Axis set by the user, which takes precedence; "" if not set.
        where: The file, for messages.

    Returns:
        The axis ("x", ... "-z"), and notes if it is not the default or another one is possible.

    Raises:
        InputError: `up` is not an axis, or it is ambiguous whether the body stands or lies.
    """
    if up:
        check_axis(up)
        return up, ()
    stands = _upright(points)
    if stands == default:
        return default, ()
    if not stands:
        return (rest, (_assumption(rest),)) if rest and rest != default else (default, ())
    floors = [axis for axis in (stands, default) if _on_floor(points, AXES[axis])]
    if stands == rest or _rises(points, AXES[stands], AXES[default]) or (not rest and floors == [stands]):
        return stands, (_assumption(stands),)
    if rest == default or (not rest and floors == [default]):
        return default, (
            f"the body lies along {stands}, assuming that {default} points up; if it stands, set up={stands}",
        )
    raise InputError(
        f"{where}: the vertical axis is ambiguous: the body stands if it is {stands}, and lies if it is {default}; set "
        f"up={stands} or up={default}"
    )


def check_axis(up: str) -> None:
    """Raise InputError if `up` is not the name of an axis."""
    if up not in AXES:
        raise InputError(f"up={up!r} is not an axis; choose from {', '.join(AXES)}")


def turn_between(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Return the smallest rotation (3, 3) from one axis of `AXES` to another; half turns are about x or y."""
    if np.dot(start, end) < -0.5:
        return np.diag([1.0, -1.0, -1.0] if start[0] == 0 else [-1.0, 1.0, -1.0])
    axis = np.cross(start, end)
    skew = np.array([[0.0, -axis[2], axis[1]], [axis[2], 0.0, -axis[0]], [-axis[1], axis[0], 0.0]])
    return np.eye(3) + skew + skew @ skew


def body_axes(left: np.ndarray, up: np.ndarray) -> np.ndarray:
    """Return the body's axes in those of a joint: columns forward, left and up, (3, 3).

    Skeletons are not quite symmetric and spines are curved, so a coordinate axis near these directions counts as exact.

    Args:
        left: From the right to the left hip or shoulder in the joint's axes, (3,).
        up: Along the spine in the joint's axes, (3,).
    """
    left = left / np.linalg.norm(left)
    nearest = max(AXES.values(), key=lambda axis: float(axis @ left))
    if _angle(nearest, left) < SNAP_SIDE:
        left = nearest
    up = _orthogonal(up, left)
    across = [axis for axis in AXES.values() if abs(axis @ left) < np.sin(SNAP_SIDE)]
    nearest = max(across, key=lambda axis: float(axis @ up), default=up)
    if _angle(nearest, up) < SNAP_UP:
        up = _orthogonal(nearest, left)
    return np.stack((np.cross(left, up), left, up), axis=1)


def standing_rest(rest: dict[str, np.ndarray]) -> np.ndarray | None:
    """Return the body's axes (3, 3) in a rest pose that stands; None if it does not (aligned bones, lying, seated).

    Args:
        rest: Landmark -> position with all rotations zero, (3,).
    """
    middle = (rest["left_hip"] + rest["right_hip"]) / 2
    axes = body_axes(rest["left_hip"] - rest["right_hip"], rest["neck"] - middle)
    local = {name: at @ axes for name, at in rest.items()}
    steps = [local["neck"] - middle @ axes]
    for side in SIDES:
        steps += [local[f"{side}_hip"] - local[f"{side}_knee"], local[f"{side}_knee"] - local[f"{side}_ankle"]]
        toe = local.get(f"{side}_toe")
        if toe is not None and toe[0] <= local[f"{side}_ankle"][0]:
            return None
    upright = all(step[2] > STANDS * np.linalg.norm(step) for step in steps)
    sides = local["left_shoulder"][1] > local["right_shoulder"][1]
    return axes if upright and sides else None


def axis_name(direction: np.ndarray) -> str:
    """Return the name of the axis within 10 degrees of `direction` (3,); "" if there is none."""
    name = max(AXES, key=lambda axis: float(AXES[axis] @ direction))
    return name if _angle(AXES[name], direction) < np.radians(10) else ""


def _upright(points: dict[str, np.ndarray]) -> str:
    """Return the axis along which trunk and legs stand in most frames; "" if there is none."""
    for name, axis in AXES.items():
        if np.median(_along(points, axis)) > UPRIGHT:
            return name
    return ""


def _along(points: dict[str, np.ndarray], axis: np.ndarray) -> np.ndarray:
    """Return the cosine to `axis` of trunk or legs, whichever is smaller, (T,)."""
    ankles = (points["left_ankle"] + points["right_ankle"]) / 2
    parts = [points["neck"] - points["pelvis"], points["pelvis"] - ankles]
    return np.min([part @ axis / np.maximum(np.linalg.norm(part, axis=1), 1e-12) for part in parts], axis=0)


def _rises(points: dict[str, np.ndarray], stands: np.ndarray, axis: np.ndarray) -> bool:
    """Return whether a body stretched out along `stands` moves far along `axis`, unlike a lying one.

    Other frames do not count: a person doing press-ups may have stood before.
    """
    leg = leg_length(points)
    heights = points["pelvis"][_along(points, stands) > UPRIGHT] @ axis
    return leg is not None and bool(np.ptp(heights) > RISE * leg)


def _on_floor(points: dict[str, np.ndarray], axis: np.ndarray) -> bool:
    """Return whether the lowest landmark is at height 0 in most frames, as in files with a floor."""
    leg = leg_length(points)
    lowest = np.min([at @ axis for at in points.values()], axis=0)
    return leg is not None and bool(abs(np.median(lowest)) < FLOOR * leg)


def _assumption(axis: str) -> str:
    return f"vertical axis assumed to be {axis} (override with up=)"


def _orthogonal(vector: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Return the part of `vector` orthogonal to the unit vector `normal`, normalized."""
    part = vector - (vector @ normal) * normal
    return part / np.linalg.norm(part)


def _angle(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.arccos(np.clip(a @ b / np.linalg.norm(a) / np.linalg.norm(b), -1, 1)))
