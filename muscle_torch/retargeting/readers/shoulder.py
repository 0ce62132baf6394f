"""Coordinates of the thoracoscapular shoulder model (Seth et al. 2019): the right arm on a moving scapula.

The scapula glides on an ellipsoid (abduction, elevation, upward rotation) and wings; the humerus moves relative to it.
Only directions matter, because segments are rescaled when fitting. Axes: x forward, y up, z to the right.
"""

from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from ..arm_axes import segment_axes
from ..raw import RawMotion

NEEDED = ("scapula_abduction", "scapula_elevation", "scapula_upward_rot", "scapula_winging",
          "plane_elv", "shoulder_elv", "axial_rot", "elbow_flexion")  # fmt: skip
# Constants of the model [rad, m].
ELLIPSOID_IN_THORAX = (0.0, -1.07, np.pi / 2)
JOINT_IN_SCAPULA = (-0.5181, -1.1416, -0.2854)
AXIAL, FLEXION, PRONATION = (-0.0846, 0.9947, -0.0584), (0.0494, 0.0366, 0.9981), (-0.01716, 0.99267, -0.11967)
NECK, SHOULDER = (-0.03, 0.05, 0.0), (-0.02, -0.03, 0.17)  # in the thorax
ELBOW, RADIUS, WRIST, HAND = (
    (0.0074, -0.2462, -0.0127),
    (0.0004, -0.0115, 0.02),
    (0.018, -0.242, 0.025),  # the lunate of the same forearm (Holzbaur et al. 2005)
    (0, -0.07, 0),
)
TO_Z_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])


def arm_motion(path: Path, columns: dict[str, np.ndarray], rate: float) -> RawMotion:
    """Compute landmarks of trunk and right arm.

    Args:
        path: The file, for names.
        columns: Coordinate -> angles (T,) [rad].
        rate: Frame rate [Hz].
    """
    angle = {name: columns.get(name, np.zeros(len(columns[NEEDED[0]]))) for name in (*NEEDED, "pro_sup")}
    thorax = np.stack([columns.get(f"ground_thorax_rot_{a}", 0 * angle["pro_sup"]) for a in "xyz"], axis=1)
    trunk = Rotation.from_euler("XYZ", thorax)
    glide = np.stack([angle[name] for name in NEEDED[:3]], axis=1)
    scapula = (
        Rotation.from_euler("XYZ", ELLIPSOID_IN_THORAX)
        * Rotation.from_euler("XYZ", glide)
        * Rotation.from_euler("Z", -np.pi / 2)
        * _about((0.0, 1.0, 0.0), angle["scapula_winging"])
        * Rotation.from_euler("XYZ", JOINT_IN_SCAPULA).inv()
    )
    humerus = (
        scapula
        * _about((0.0, 1.0, 0.0), angle["plane_elv"])
        * _about((-1.0, 0.0, 0.0), angle["shoulder_elv"])
        * _about(AXIAL, angle["axial_rot"])
    )
    ulna = humerus * _about(FLEXION, angle["elbow_flexion"])
    radius = ulna * _about(PRONATION, angle["pro_sup"])
    at = {"neck": np.tile(NECK, (len(thorax), 1)), "right_shoulder": np.tile(SHOULDER, (len(thorax), 1))}
    at["right_elbow"] = at["right_shoulder"] + humerus.apply(ELBOW)
    at["right_wrist"] = at["right_elbow"] + ulna.apply(RADIUS) + radius.apply(WRIST)
    at["right_hand"] = at["right_wrist"] + radius.apply(HAND)
    # With all angles zero the arm hangs and the thumb points forward.
    ahead, down = np.array([1.0, 0.0, 0.0]), np.array([0.0, -1.0, 0.0])
    bones = {"upper_arm": (humerus, np.cross(FLEXION, ELBOW), np.array(ELBOW)), "ulna": (ulna, ahead, down)}
    if "pro_sup" in columns:
        bones["hand"] = bones["forearm"] = (radius, ahead, down)
    arm = {
        f"right_{name}": (trunk * turn).as_matrix() @ segment_axes(front, along, "right")
        for name, (turn, front, along) in bones.items()
    }
    return RawMotion(
        name=path.stem,
        rate=rate,
        positions={name: trunk.apply(values) @ TO_Z_UP.T for name, values in at.items()},
        orientations={"thorax": TO_Z_UP @ trunk.as_matrix() @ TO_Z_UP.T}
        | {name: TO_Z_UP @ turn for name, turn in arm.items()},
        subject=path.stem,
        source=str(path),
    )


def _about(axis: tuple[float, float, float], angle: np.ndarray) -> Rotation:
    """Return rotations by `angle` (T,) [rad] about a fixed axis."""
    unit = np.array(axis) / np.linalg.norm(axis)
    return Rotation.from_rotvec(angle[:, None] * unit)
