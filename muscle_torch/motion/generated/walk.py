"""Walking of bodies with legs: published joint angles of a human stride, on a pelvis path that the feet can support.

The angles are those of the thigh against the vertical, the knee and the ankle in the sagittal plane, computed from the
marker coordinates of the walking subject in D. A. Winter, Biomechanics and Motor Control of Human Movement, table A.1
(one stride from heel contact to heel contact), every 5 % and rounded to a degree; a knee extended beyond 5 degrees is
set to 5. Rotation and list of the pelvis have the magnitude given in J. Perry and J. M. Burnfield, Gait Analysis.

On the floor a foot rolls over heel, sole and ball without sliding, and the leg follows by inverse kinematics. In the
air the leg follows the angles, blended so that it leaves and meets the floor without a jolt. The pelvis starts from the
path that agrees best with the angles during stance. It is then shifted forward and sideways until the zero-moment point
of the whole body lies in the support of the feet (`balance.plan_shift`), equally for every step and mirrored between
steps.
"""

import numpy as np
from scipy import sparse
from scipy.interpolate import BPoly, CubicSpline, PchipInterpolator
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from muscle_torch.embodiments import Embodiment

from ..balance import Sides, plan_shift
from ..ground_reaction import ground_reaction
from ..resample import resample
from ..support import Soles
from .bimanual import HANG, Pose
from .chain import Chain
from .feet import LEG, OUTWARD, Foot, FootPath
from .hand_ik import HandIK

RATE = 100.0  # frames per second in which the motion is made [Hz]
STRIDE = 106  # frames: 1.06 s
HALF = STRIDE // 2
STRIDES = 5
STANCE = 0.60  # fraction of a stride that a foot is on the floor
FLAT = 0.20  # phase at which the foot is flat
# Every 5 % of a stride from heel contact [deg]: thigh forward, knee flexion, toes up.
THIGH = (20, 18, 18, 14, 8, 3, -2, -7, -12, -15, -17, -15, -9, 1, 11, 20, 24, 26, 24, 21)
KNEE = (5, 7, 14, 17, 13, 11, 9, 7, 5, 7, 15, 28, 44, 60, 67, 62, 49, 31, 11, 5)
ANKLE = (4, -5, -4, 1, 4, 6, 8, 10, 10, 10, 5, -4, -18, -15, -8, -3, 0, 2, 3, 5)
# Pitch of the foot on the floor, thigh - knee + ankle, level while heel and ball touch: phase -> [deg].
PITCH = {0.0: 20, 0.05: 7, 0.09: 0, 0.20: 0, 0.33: 0, 0.40: -4, 0.45: -9, 0.50: -19, 0.55: -36, 0.60: -58, 0.65: -79}
TOES_BEND = 0.45  # [rad] maximal extension of the toes while the heel is up
HALF_WIDTH = 0.05  # [m] half the step width
APART = 0.05  # [rad] outward lean of the swing leg, to pass the other one
TOES_OUT = 0.10  # [rad]
SWAY, LIST, TURN = 0.022, 0.07, 0.06  # amplitudes of the pelvis [m], [rad], [rad]
RISE, LOWEST = 0.009, 0.02  # amplitude of the pelvis height [m]; phase of the lowest point
CLEARANCE = 0.02  # [m] of the sole at mid-swing
COUNTER = 1.0  # counter-rotation of the trunk as a multiple of the rotation of the pelvis
EASE = 0.010  # [m] by which the root is lowered, to keep the knees away from full extension
HIGHER = {"hip_flexion": 0.10, "knee_angle": 0.12, "ankle_angle": 0.15}  # [rad] added at mid-swing
CONTACT_WEIGHT = 8.0
LEAVING, MEETING = 22, 14  # frames after lift-off and before contact over which the leg is blended
ROUNDS = 8  # of shifting the pelvis
MARGIN = 0.004  # [m] between the zero-moment point and the border of the support

ARM_JOINT = "elbow_flex_r"  # only bodies with arms have it
FRONT = Pose((0.10, 0.20, -0.475), (0.12, 0.05, -0.28), pro_sup=0.4)
BACK = Pose((0.16, -0.10, -0.495), (0.14, -0.13, -0.25), pro_sup=0.3)

Paths = dict[str, np.ndarray]


def walk(embodiment: Embodiment, random: np.random.Generator) -> Paths:
    """Walk straight ahead at an easy pace, starting at a right heel contact; arms, if any, swing."""
    has_arms = ARM_JOINT in embodiment.joint_names
    pelvis, arms = _Pelvis(embodiment), {side: _arm(embodiment, side) if has_arms else {} for side in "rl"}
    feet = {side: _foot_cycle(embodiment, side, pelvis) for side in "rl"}
    frames = np.arange(-HALF, STRIDE + HALF + 1)
    inner = slice(HALF, HALF + STRIDE)
    soles, repeated = Soles.of(embodiment), _repeated(frames)
    for _ in range(ROUNDS):
        qpos = posture(embodiment, _paths(embodiment, pelvis, feet, arms, frames))
        reaction = ground_reaction(embodiment, qpos, RATE, soles)
        sides = Sides.of(reaction, MARGIN).within(inner)
        before = pelvis.shift(frames)
        more = plan_shift(reaction, sides, RATE, before=before, basis=repeated)
        pelvis.move(more[inner])
    paths = _paths(embodiment, pelvis, feet, arms, np.arange(STRIDES * STRIDE + 1))
    return _at_rate(paths, embodiment.control_frequency)


def _at_rate(paths: Paths, rate: float) -> Paths:
    """Return the paths at another frame rate [Hz]."""
    if rate == RATE:
        return paths
    widths = [path.shape[1] if path.ndim > 1 else 1 for path in paths.values()]
    resampled, _ = resample(np.column_stack(tuple(paths.values())), RATE, rate, has_root=True)
    columns = np.split(resampled, np.cumsum(widths)[:-1], axis=1)
    return {joint: part if part.shape[1] > 1 else part[:, 0] for joint, part in zip(paths, columns, strict=True)}


def _repeated(frames: np.ndarray) -> sparse.csr_array:
    """Return the basis (2 T, 2 HALF) of paths that repeat every step, mirrored sideways (x) and equal forward (y)."""
    step, rows = frames % HALF, np.arange(len(frames))
    sign = np.where(frames // HALF % 2 == 0, 1.0, -1.0)
    blocks = [sparse.csr_array((values, (rows, step)), shape=(len(frames), HALF)) for values in (sign, np.abs(sign))]
    return sparse.csr_array(sparse.block_diag(blocks))


def posture(embodiment: Embodiment, paths: Paths) -> np.ndarray:
    """Return qpos (T, nq) with the joints on their paths; coupled joints follow."""
    qpos = np.tile(embodiment.qpos0, (len(paths["root"]), 1))
    for joint, path in paths.items():
        address, width = embodiment.model.joint(joint).qposadr[0], path.shape[1] if path.ndim > 1 else 1
        qpos[:, address : address + width] = path.reshape(-1, width)
    return embodiment.project(qpos)


def _paths(embodiment: Embodiment, pelvis: "_Pelvis", feet, arms: dict[str, Paths], frames: np.ndarray) -> Paths:
    """Return the paths of all joints in `frames` (T,) after a right heel contact."""
    paths: Paths = {"root": pelvis.root(frames)}
    for side, start in (("r", 0), ("l", HALF)):
        cycle = _leg(embodiment, side, pelvis, *feet[side]) | arms[side]
        paths |= {joint: path[(frames + start) % STRIDE] for joint, path in cycle.items()}
    phase = 2 * np.pi * frames / STRIDE
    trunk = {
        "axial_rotation": -COUNTER * TURN * np.cos(phase),
        "lat_bending": 0.6 * LIST * np.sin(phase),
        "flex_extension": np.full(len(frames), -0.03),
    }
    return paths | {joint: path for joint, path in trunk.items() if joint in embodiment.joint_names}


def _published(phase: np.ndarray, side: str) -> Paths:
    """Return the leg's published angles [rad] at phases (T,) of its stride; thigh upright in the frontal plane."""
    grid = np.linspace(0, 1, len(THIGH) + 1)
    sagittal = {}
    for joint, values in (("hip_flexion", THIGH), ("knee_angle", KNEE), ("ankle_angle", ANKLE)):
        sagittal[f"{joint}_{side}"] = np.radians(CubicSpline(grid, [*values, values[0]], bc_type="periodic")(phase % 1))
    level = {f"hip_adduction_{side}": LIST * np.sin(2 * np.pi * phase) - APART}
    return {f"{joint}_{side}": np.zeros_like(phase) for joint in LEG} | level | sagittal


def _in_the_air(phase: np.ndarray, side: str) -> Paths:
    """Return the published angles with the toes lifted higher."""
    leg = _published(phase, side)
    part = np.clip((phase - STANCE) / (1 - STANCE), 0, 1)
    for joint, more in HIGHER.items():
        leg[f"{joint}_{side}"] += more * 16 * (part * (1 - part)) ** 2
    return leg


def _pitch(phase: np.ndarray) -> np.ndarray:
    """Return the pitch of the foot on the floor, toes up, (T,) [rad]."""
    fine = np.linspace(-0.05, 0.70, 1501)
    line = PchipInterpolator([-0.05, *PITCH], np.radians([30, *PITCH.values()]))(fine.clip(max=0.65))
    return np.interp(phase, fine, gaussian_filter1d(line, 0.012 / (fine[1] - fine[0]), mode="nearest"))


class _Pelvis:
    """The root's path in frames after a right heel contact; the feet stay where the initial path places them."""

    def __init__(self, embodiment: Embodiment) -> None:
        self._embodiment = embodiment
        self.stride, self.place, self._height = 0.0, 0.0, 0.0
        self._shift = np.zeros((STRIDE, 2))  # [m] in each frame
        self._fit()

    def root(self, frames: np.ndarray) -> np.ndarray:
        """Return the root's pose, (T, 7)."""
        phase = frames / STRIDE
        sideways = -SWAY * np.sin(2 * np.pi * phase - 0.35)
        pos = np.column_stack((sideways, -self.stride * phase, self._height - EASE + self._rise(phase)))
        pos[:, :2] += self.shift(frames)
        return np.column_stack((pos, self._turn(phase).as_quat(scalar_first=True)))

    def shift(self, frames: np.ndarray) -> np.ndarray:
        """Return the shift from the initial path, (T, 2) [m]."""
        return self._shift[frames % STRIDE]

    def move(self, shift: np.ndarray) -> None:
        """Add a shift (STRIDE, 2) [m]."""
        self._shift = self._shift + shift

    def _turn(self, phase: np.ndarray) -> Rotation:
        """Return the rotation: forward on the side of the leading foot, dropped on the side of the swing foot."""
        turning = 2 * np.pi * phase
        angles = np.column_stack((TURN * np.cos(turning), LIST * np.sin(turning)))
        return Rotation.from_euler("ZY", angles)

    @staticmethod
    def _rise(phase: np.ndarray) -> np.ndarray:
        """Return the height variation (T,) [m]: lowest at mid double support, highest at mid single support."""
        return -RISE * np.cos(4 * np.pi * (phase - LOWEST))

    def _fit(self) -> None:
        """Fit the root's path to the positions that the published angles imply while the right foot is on the floor."""
        foot, phase = Foot(self._embodiment, "r"), _stance()
        path, _ = _on_floor(foot, np.zeros(2))
        qpos = np.tile(self._embodiment.qpos0, (len(phase), 1))
        for joint, values in _published(phase, "r").items():
            qpos[:, self._embodiment.model.joint(joint).qposadr[0]] = values
        qpos[:, :3], qpos[:, 3:7] = 0.0, self._turn(phase).as_quat(scalar_first=True)
        qpos = self._embodiment.project(qpos)
        ankle = Chain(self._embodiment, "talus_r").place(qpos).pos
        on_floor = path.pos - path.mat @ self._embodiment.model.body("calcn_r").pos
        implied = on_floor - ankle
        # At heel contact the leg is longest, and it must reach the floor.
        weight = np.where(phase < 0.02, CONTACT_WEIGHT, 1.0)
        # forward = stride * phase - foot position; up = height + rise
        line = np.column_stack((phase, -np.ones(len(phase))))
        (self.stride, self.place), *_ = np.linalg.lstsq(weight[:, None] * line, -weight * implied[:, 1], rcond=None)
        self._height = float(np.average(implied[:, 2] - self._rise(phase), weights=weight))


def _stance() -> np.ndarray:
    return np.arange(round(STANCE * STRIDE) + 1) / STRIDE


def _on_floor(foot: Foot, place: np.ndarray) -> tuple[FootPath, np.ndarray]:
    """Return the foot's path from heel contact to toe-off, and its pitch (K+1,).

    Args:
        foot: The foot.
        place: Position (2,) of the heel bone when the foot is flat [m].
    """
    pitch = _pitch(_stance())
    toes = -TOES_BEND * np.tanh(np.clip(-pitch, 0, None) / TOES_BEND)
    return foot.rolling(place, TOES_OUT, pitch, toes, flat=round(FLAT * STRIDE)), pitch


def _foot_cycle(embodiment: Embodiment, side: str, pelvis: _Pelvis) -> tuple[FootPath, np.ndarray]:
    """Return one stride of a foot from heel contact, and the initial guess of the leg's angles (STRIDE, nq)."""
    foot, start = Foot(embodiment, side), 0 if side == "r" else HALF
    place = np.array([OUTWARD[side] * HALF_WIDTH, -(pelvis.place + start / STRIDE * pelvis.stride)])
    stance, pitch = _on_floor(foot, place)
    whole = np.arange(STRIDE + 1)
    angles = _in_the_air(whole / STRIDE, side)
    qpos = np.tile(embodiment.qpos0, (STRIDE + 1, 1))
    qpos[:, :7] = pelvis.root(whole + start)
    for joint, values in angles.items():
        qpos[:, embodiment.model.joint(joint).qposadr[0]] = values
    qpos = embodiment.project(qpos)
    thigh, knee, ankle = (angles[f"{joint}_{side}"] for joint in ("hip_flexion", "knee_angle", "ankle_angle"))
    turns = _closed(np.column_stack((pitch, stance.toes)), np.column_stack((thigh - knee + ankle, 0 * thigh)))
    mat, toes = foot.turned(TOES_OUT, turns[:, 0]), turns[:, 1]
    part = np.clip((whole / STRIDE - STANCE) / (1 - STANCE), 0, 1)
    around = whole % STRIDE
    up = foot.clear_height(mat, toes)[around] + CLEARANCE * 16 * (part * (1 - part)) ** 2
    flying = np.column_stack((foot.chain.place(qpos).pos[:, :2], up))
    return FootPath(_closed(stance.pos, flying), mat, toes), qpos[:-1]


def _leg(embodiment: Embodiment, side: str, pelvis: _Pelvis, path: FootPath, qpos: np.ndarray) -> Paths:
    """Return one stride of a leg from heel contact, joint -> (STRIDE,)."""
    foot, start = Foot(embodiment, side), 0 if side == "r" else HALF
    qpos = qpos.copy()
    qpos[:, :7] = pelvis.root(np.arange(STRIDE) + start)
    reached = foot.step_to(qpos, path)
    return {joint: reached[:, embodiment.model.joint(joint).qposadr[0]] for joint in (*foot.leg, foot.toe_joint)}


def _closed(stance: np.ndarray, published: np.ndarray) -> np.ndarray:
    """Join stance (K+1, J) and published path (STRIDE+1, J) to a closed cycle (STRIDE, J), blended at both ends."""
    last = len(stance) - 1
    gap = [
        np.stack(_ends(stance[-1:-4:-1], -1)) - np.stack(_ends(published[last::-1][:3], -1)),
        np.stack(_ends(stance[:3], 1)) - np.stack(_ends(published[:3], 1)),
    ]
    nothing = np.zeros_like(gap[0])
    times = [last, last + LEAVING, STRIDE - MEETING, STRIDE]
    joined = BPoly.from_derivatives(times, np.stack((gap[0], nothing, nothing, gap[1])))
    bend = joined(np.arange(last + 1, STRIDE))
    return np.concatenate((stance, published[last + 1 : STRIDE] + bend))


def _ends(values: np.ndarray, direction: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return value, slope and curvature at the first of three consecutive frames in the given direction."""
    first, second, third = values
    return first, direction * (-1.5 * first + 2 * second - 0.5 * third), first - 2 * second + third


def _arm(embodiment: Embodiment, side: str) -> Paths:
    """Return one cycle of an arm, joint -> (STRIDE,), in antiphase with the leg of its side."""
    solver, phase = HandIK(embodiment), np.arange(STRIDE) / STRIDE
    poses = [BACK, HANG, FRONT, HANG.at(forward=-0.03)]
    keys = [solver.solve(side, pose.hand, pose.elbow, pro_sup=pose.pro_sup) for pose in poses]
    paths = {}
    for joint in keys[0]:
        values = np.array([key[joint] for key in (*keys, keys[0])])
        paths[joint] = CubicSpline([0, 0.25, 0.5, 0.75, 1.0], values, bc_type="periodic")(phase)
    return paths
