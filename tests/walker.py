"""A stick figure that walks, by forward kinematics of its own, and motion files of it in many dialects.

World: z up, metres. Every joint's axes at rest, upright and facing x: x forward, y left, z up.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

# name, parent, offset from the parent at rest [m], landmark
LIMBS = [
    ("{0}Shoulder", "Spine1", (0.01, 0.04, 0.22), ""),
    ("{0}Arm", "{0}Shoulder", (0.0, 0.14, 0.01), "shoulder"),
    ("{0}ForeArm", "{0}Arm", (0.0, 0.28, 0.0), "elbow"),
    ("{0}Hand", "{0}ForeArm", (0.0, 0.25, 0.0), "wrist"),
    ("{0}UpLeg", "Hips", (0.0, 0.09, -0.03), "hip"),
    ("{0}Leg", "{0}UpLeg", (0.0, 0.0, -0.42), "knee"),
    ("{0}Foot", "{0}Leg", (0.0, 0.0, -0.40), "ankle"),
    ("{0}ToeBase", "{0}Foot", (0.13, 0.0, -0.06), "toe"),
]
JOINTS: list[tuple[str, str, tuple[float, float, float], str]] = [
    ("Hips", "", (0.0, 0.0, 0.0), ""),
    ("Spine", "Hips", (-0.01, 0.0, 0.11), ""),
    ("Spine1", "Spine", (0.0, 0.0, 0.12), ""),
    ("Neck", "Spine1", (0.0, 0.0, 0.27), "neck"),
    ("Head", "Neck", (0.02, 0.0, 0.10), "head"),
    *(
        (name.format(side), parent.format(side), (x, sign * y, z), f"{side.lower()}_{landmark}" if landmark else "")
        for side, sign in (("Left", 1.0), ("Right", -1.0))
        for name, parent, (x, y, z), landmark in LIMBS
    ),
]
NAMES = [joint[0] for joint in JOINTS]
PARENTS = [NAMES.index(parent) if parent else -1 for _, parent, _, _ in JOINTS]
OFFSETS = np.array([joint[2] for joint in JOINTS])
IDENTITY = np.eye(3)
# World axes of a file in those of this module: columns are its x, y and z. y up and facing z; z up and facing -y.
Y_UP = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
Z_UP = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])


@dataclass(frozen=True)
class Walk:
    rate: float
    positions: np.ndarray  # (T, J, 3) [m]
    turns: np.ndarray  # (T, J, 3, 3) to the world

    @property
    def landmarks(self) -> dict[str, np.ndarray]:
        at = {joint[3]: self.positions[:, i] for i, joint in enumerate(JOINTS) if joint[3]}
        return at | {"pelvis": (at["left_hip"] + at["right_hip"]) / 2}

    @property
    def orientations(self) -> dict[str, np.ndarray]:
        return {"pelvis": self.turns[:, 0], "thorax": self.turns[:, NAMES.index("Spine1")]}


def about(axis: str, degrees: float | np.ndarray) -> np.ndarray:
    """Rotations (..., 3, 3) about a fixed axis; degrees (...)."""
    return Rotation.from_rotvec(np.radians(np.asarray(degrees))[..., None] * IDENTITY["xyz".index(axis)]).as_matrix()


def walk(frames: int = 40, rate: float = 30.0, speed: float = 1.1) -> Walk:
    """Steps at 1 Hz in the direction 30 degrees left of x; arms hang, elbows bent by 25 degrees."""
    time = np.arange(frames) / rate
    swing = np.sin(2 * np.pi * time)
    local = np.tile(IDENTITY, (frames, len(NAMES), 1, 1))
    local[:, 0] = about("z", 30 + 8 * swing) @ about("x", 3 * np.cos(2 * np.pi * time))
    local[:, NAMES.index("Spine1")] = about("z", -12 * swing) @ about("y", np.full(frames, 4.0))
    for side, sign in (("Left", 1.0), ("Right", -1.0)):
        local[:, NAMES.index(f"{side}Arm")] = about("y", 18 * sign * swing) @ about("x", -70 * sign)
        local[:, NAMES.index(f"{side}ForeArm")] = about("z", -25.0 * sign)
        hip, forwards = -22 * sign * swing, sign * np.cos(2 * np.pi * time)
        knee = 20 + 18 * forwards
        local[:, NAMES.index(f"{side}UpLeg")] = about("y", hip)
        local[:, NAMES.index(f"{side}Leg")] = about("y", knee)
        # Level while the leg moves back, toes up while it swings.
        local[:, NAMES.index(f"{side}Foot")] = about("y", -hip - knee - 15 * np.maximum(forwards, 0.0) ** 2)
    positions, turns = np.empty((frames, len(NAMES), 3)), np.empty((frames, len(NAMES), 3, 3))
    for i, parent in enumerate(PARENTS):
        if parent < 0:
            along = np.stack((np.cos(np.pi / 6) * speed * time, np.sin(np.pi / 6) * speed * time), axis=1)
            positions[:, i] = np.column_stack((along, 0.935 + 0.02 * np.cos(4 * np.pi * time)))
            turns[:, i] = local[:, i]
        else:
            turns[:, i] = turns[:, parent] @ local[:, i]
            positions[:, i] = positions[:, parent] + turns[:, parent] @ OFFSETS[i]
    return Walk(rate, positions, turns)


def standing_axes(file_axes: np.ndarray) -> Callable[[str], np.ndarray]:
    """All joints alike: the zero pose is the upright one, with the body's axes `file_axes` (3, 3) of a file."""
    return lambda name: file_axes


def bones_along_x(name: str) -> np.ndarray:
    """Each joint's x axis along its bone, z to the left: the zero pose is a straight row, as of LAFAN1."""
    x, left = np.array([0.0, 0.0, 1.0]), np.array([0.0, 1.0, 0.0])
    if "Leg" in name:
        x = -x
    elif "Foot" in name or "Toe" in name:
        x = np.array([1.0, 0.0, 0.0])
    elif "Arm" in name or "Hand" in name:
        x, left = (left if "Left" in name else -left), np.array([0.0, 0.0, -1.0])
    return np.stack((x, np.cross(left, x), left), axis=1)


def bvh(
    walk: Walk,
    axes: Callable[[str], np.ndarray] | None = None,
    world: np.ndarray = Y_UP,
    scale: float = 100.0,
    dummy: str = "",
    channels: str = "root",
) -> str:
    """Text of a BVH file.

    axes: joint -> its axes (3, 3) in those of this module (by default all stand, y up); world: those of the file.
    dummy: name of a joint above the hips that stands still. channels: positions of the "root", of "all" joints, of all
    with "zero" OFFSETs, or of all as the "difference" from OFFSET.
    """
    axes = axes or standing_axes(Y_UP)
    local_axes = {name: axes(name) for name in NAMES}
    turns = np.stack([world.T @ walk.turns[:, i] @ local_axes[n] for i, n in enumerate(NAMES)], axis=1)
    blocks, lines, depth = [], ["HIERARCHY"], 0
    if dummy:
        lines += [f"ROOT {dummy}", "{", "OFFSET 0 0 0", CHANNELS]
        blocks.append(np.zeros((len(turns), 6)))
    rows: list[np.ndarray] = []

    def joint(i: int) -> None:
        nonlocal depth
        parent, name = PARENTS[i], NAMES[i]
        offset = np.zeros(3) if parent < 0 else scale * local_axes[NAMES[parent]].T @ OFFSETS[i]
        lines.extend([f"{'ROOT' if parent < 0 and not dummy else 'JOINT'} {name}", "{"])
        lines.append("OFFSET " + " ".join(f"{v:.6f}" for v in (offset * (channels != "zero"))))
        turn = turns[:, i] if parent < 0 else turns[:, parent].swapaxes(1, 2) @ turns[:, i]
        place = scale * walk.positions[:, i] @ world if parent < 0 else np.tile(offset, (len(turns), 1))
        if parent >= 0 and channels == "difference":
            place = np.zeros_like(place)
        angles = Rotation.from_matrix(turn).as_euler("ZXY", degrees=True)
        moves = parent < 0 or channels != "root"
        lines.append(CHANNELS if moves else "CHANNELS 3 Zrotation Xrotation Yrotation")
        rows.append(np.column_stack((place, angles)) if moves else angles)
        children = [j for j, p in enumerate(PARENTS) if p == i]
        for child in children:
            joint(child)
        if not children:
            lines.extend(["End Site", "{", "OFFSET 0 0 0", "}"])
        lines.append("}")

    joint(0)
    lines += ["}"] * bool(dummy)
    table = np.column_stack([*blocks, *rows])
    lines += ["MOTION", f"Frames: {len(table)}", f"Frame Time: {1 / walk.rate:.8f}"]
    lines += [" ".join(f"{value:.6f}" for value in row) for row in table]
    return "\n".join(lines) + "\n"


CHANNELS = "CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation"


MARKERS = {  # name -> joint, place in its axes [m]; left, and the right mirrored
    "{}ASI": ("Hips", (0.08, 0.12, 0.02)),
    "{}PSI": ("Hips", (-0.12, 0.05, 0.03)),
    "{}SHO": ("{}Shoulder", (0.0, 0.14, 0.05)),
    "{}ELB": ("{}ForeArm", (0.04, 0.0, 0.0)),
    "{}ELM": ("{}ForeArm", (-0.04, 0.0, 0.0)),
    "{}WRA": ("{}Hand", (0.03, 0.0, 0.0)),
    "{}WRB": ("{}Hand", (-0.03, 0.0, 0.0)),
    "{}FIN": ("{}Hand", (0.0, 0.08, 0.0)),
    "{}KNE": ("{}Leg", (0.0, 0.05, 0.0)),
    "{}KNM": ("{}Leg", (0.0, -0.05, 0.0)),
    "{}ANK": ("{}Foot", (0.0, 0.04, 0.0)),
    "{}ANM": ("{}Foot", (0.0, -0.04, 0.0)),
    "{}TOE": ("{}ToeBase", (0.0, 0.0, 0.02)),
    "C7": ("Spine1", (-0.08, 0.0, 0.27)),
    "CLAV": ("Spine1", (0.08, 0.0, 0.20)),
    "STRN": ("Spine1", (0.12, 0.0, 0.03)),
    "T10": ("Spine1", (-0.11, 0.0, 0.02)),
}


def markers(walk: Walk) -> dict[str, np.ndarray]:
    """Label -> (T, 3) [m], z up."""
    at = {}
    for label, (joint, place) in MARKERS.items():
        for side, sign in (("Left", 1.0), ("Right", -1.0)) if "{}" in label else (("", 1.0),):
            i = NAMES.index(joint.format(side))
            local = np.array(place) * (1.0, sign, 1.0)
            at[label.format(side[:1])] = walk.positions[:, i] + walk.turns[:, i] @ local
    return at


def trc(
    points: dict[str, np.ndarray],
    rate: float,
    time: np.ndarray | None = None,
    numbers: np.ndarray | None = None,
    unit: str = "mm",
    scale: float = 1000.0,
) -> str:
    """Text of a .trc file; NaN are empty cells. time [s] and frame numbers: by default those of `rate`."""
    count = len(next(iter(points.values())))
    time = np.arange(count) / rate if time is None else time
    numbers = np.arange(1, count + 1) if numbers is None else numbers
    lines = [
        "PathFileType\t4\t(X/Y/Z)\twalk.trc",
        "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\tOrigNumFrames",
        f"{rate:.2f}\t{rate:.2f}\t{count}\t{len(points)}\t{unit}\t{rate:.2f}\t1\t{count}",
        "Frame#\tTime\t" + "\t\t\t".join(points),
        "\t\t" + "\t".join(f"{axis}{i + 1}" for i in range(len(points)) for axis in "XYZ"),
        "",
    ]
    for t in range(count):
        cells = [scale * value for at in points.values() for value in at[t]]
        words = ["" if np.isnan(cell) else f"{cell:.5f}" for cell in cells]
        lines.append("\t".join([f"{numbers[t]:g}", f"{time[t]:.5f}", *words]))
    return "\n".join(lines) + "\n"
