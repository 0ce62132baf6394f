"""Walking of the full body: the published angles of a person's stride on a pelvis whose path the feet can carry.

ANGLES are those of the thigh against the vertical, the knee and the ankle in the sagittal plane, computed from the
marker coordinates of the walking subject in D. A. Winter, Biomechanics and Motor Control of Human Movement, table A.1
(one stride from heel contact to heel contact), every 5 % and rounded to a degree; a knee stretched beyond 5 degrees is
kept at 5. How the pelvis turns and lists is of the size that J. Perry and J. M. Burnfield, Gait Analysis, give.

On the floor a foot rolls over heel, sole and ball without sliding, and the leg follows it by inverse kinematics. In the
air the leg follows the angles, bent so that it leaves and meets the floor without a jolt. The pelvis starts from the
path that agrees best with the angles while a foot is on the floor; forward and sideways it is then shifted until the
zero-moment point of the whole body lies in the support of the feet (`balance.plan_shift`), the same for every step and
mirrored from one to the next.
"""

import numpy as np
from scipy import sparse
from scipy.interpolate import BPoly, CubicSpline, PchipInterpolator
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from muscle_torch.embodiments import Embodiment

from ..balance import Sides, plan_shift
from ..ground_reaction import ground_reaction
from ..support import Soles
from .bimanual import HANG, Pose
from .chain import Chain
from .feet import LEG, OUTWARD, Foot, FootPath
from .hand_ik import HandIK

STRIDE = 106  # control steps: 1.06 s
HALF = STRIDE // 2
STRIDES = 5
STANCE = 0.60  # of a stride that a foot is on the floor
FLAT = 0.20  # when the whole sole is
# every 5 % of a stride from heel contact [deg]: thigh forward, knee bent, toes up
THIGH = (20, 18, 18, 14, 8, 3, -2, -7, -12, -15, -17, -15, -9, 1, 11, 20, 24, 26, 24, 21)
KNEE = (5, 7, 14, 17, 13, 11, 9, 7, 5, 7, 15, 28, 44, 60, 67, 62, 49, 31, 11, 5)
ANKLE = (4, -5, -4, 1, 4, 6, 8, 10, 10, 10, 5, -4, -18, -15, -8, -3, 0, 2, 3, 5)
# of the foot on the floor, thigh - knee + ankle, with the sole level as long as heel and ball touch: phase -> [deg]
PITCH = {0.0: 20, 0.05: 7, 0.09: 0, 0.20: 0, 0.33: 0, 0.40: -4, 0.45: -9, 0.50: -19, 0.55: -36, 0.60: -58, 0.65: -79}
TOES_BEND = 0.45  # [rad] at most, backward while the heel is up
HALF_WIDTH = 0.065  # of the steps [m]
APART = 0.05  # outward lean of the leg in the air, past the other one [rad]
TOES_OUT = 0.10  # [rad]
SWAY, LIST, TURN = 0.022, 0.07, 0.06  # of the pelvis to each side [m], [rad], [rad]
RISE, LOWEST = 0.009, 0.02  # of the pelvis over one foot, and as much it sinks on both [m]; when that is
CLEARANCE = 0.02  # of the sole in the middle of the swing [m]
COUNTER = 1.0  # turns of the trunk against the pelvis, by the turn of the pelvis
EASE = 0.010  # the root stays this much lower than the angles have it: knees keep off their stop [m]
HIGHER = {"hip_flexion": 0.10, "knee_angle": 0.12, "ankle_angle": 0.15}  # in the middle of the swing [rad]
CONTACT_WEIGHT = 8.0
LEAVING, MEETING = 22, 14  # control steps after and before the floor in which the leg comes to the angles and from them
ROUNDS = 8  # of shifting the pelvis
MARGIN = 0.004  # [m] that the zero-moment point keeps from the border of the support

FRONT = Pose((0.10, 0.20, -0.475), (0.12, 0.05, -0.28), pro_sup=0.4)
BACK = Pose((0.16, -0.10, -0.495), (0.14, -0.13, -0.25), pro_sup=0.3)

Paths = dict[str, np.ndarray]


def walk(embodiment: Embodiment, random: np.random.Generator) -> Paths:
    """Straight ahead at an easy pace, from a right heel contact on."""
    pelvis, arms = _Pelvis(embodiment), {side: _arm(embodiment, side) for side in "rl"}
    feet = {side: _foot_cycle(embodiment, side, pelvis) for side in "rl"}
    frames = np.arange(-HALF, STRIDE + HALF + 1)
    inner = slice(HALF, HALF + STRIDE)
    soles, repeated = Soles.of(embodiment), _repeated(frames)
    for _ in range(ROUNDS):
        qpos = posture(embodiment, _paths(embodiment, pelvis, feet, arms, frames))
        reaction = ground_reaction(embodiment, qpos, embodiment.control_frequency, soles)
        sides = Sides.of(reaction, MARGIN).within(inner)
        before = pelvis.shift(frames)
        more = plan_shift(reaction, sides, embodiment.control_frequency, before=before, basis=repeated)
        pelvis.move(more[inner])
    return _paths(embodiment, pelvis, feet, arms, np.arange(STRIDES * STRIDE + 1))


def _repeated(frames: np.ndarray) -> sparse.csr_array:
    """(2 T, 2 HALF): paths that repeat every step, mirrored sideways (x) and alike forward (y)."""
    step, rows = frames % HALF, np.arange(len(frames))
    sign = np.where(frames // HALF % 2 == 0, 1.0, -1.0)
    blocks = [sparse.csr_array((values, (rows, step)), shape=(len(frames), HALF)) for values in (sign, np.abs(sign))]
    return sparse.csr_array(sparse.block_diag(blocks))


def posture(embodiment: Embodiment, paths: Paths) -> np.ndarray:
    """Return qpos (T, nq) with the joints on their paths, coupled joints following."""
    qpos = np.tile(embodiment.qpos0, (len(paths["root"]), 1))
    for joint, path in paths.items():
        address, width = embodiment.model.joint(joint).qposadr[0], path.shape[1] if path.ndim > 1 else 1
        qpos[:, address : address + width] = path.reshape(-1, width)
    return embodiment.project(qpos)


def _paths(embodiment: Embodiment, pelvis: "_Pelvis", feet, arms: dict[str, Paths], frames: np.ndarray) -> Paths:
    """All joints at the control steps `frames` (T,) after a right heel contact."""
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
    return paths | trunk


def _published(phase: np.ndarray, side: str) -> Paths:
    """The leg's published angles [rad] at phases (T,) of its stride; the thigh upright from ahead."""
    grid = np.linspace(0, 1, len(THIGH) + 1)
    found = {}
    for joint, values in (("hip_flexion", THIGH), ("knee_angle", KNEE), ("ankle_angle", ANKLE)):
        found[f"{joint}_{side}"] = np.radians(CubicSpline(grid, [*values, values[0]], bc_type="periodic")(phase % 1))
    level = {f"hip_adduction_{side}": LIST * np.sin(2 * np.pi * phase) - APART}
    return {f"{joint}_{side}": np.zeros_like(phase) for joint in LEG} | level | found


def _in_the_air(phase: np.ndarray, side: str) -> Paths:
    """The published angles with the toes higher."""
    leg = _published(phase, side)
    part = np.clip((phase - STANCE) / (1 - STANCE), 0, 1)
    for joint, more in HIGHER.items():
        leg[f"{joint}_{side}"] += more * 16 * (part * (1 - part)) ** 2
    return leg


def _pitch(phase: np.ndarray) -> np.ndarray:
    """Of the foot on the floor, toes up [rad], (T,)."""
    fine = np.linspace(-0.05, 0.70, 1501)
    line = PchipInterpolator([-0.05, *PITCH], np.radians([30, *PITCH.values()]))(fine.clip(max=0.65))
    return np.interp(phase, fine, gaussian_filter1d(line, 0.012 / (fine[1] - fine[0]), mode="nearest"))


class _Pelvis:
    """The root's path at control steps after a right heel contact; the feet stay where its first path has them."""

    def __init__(self, embodiment: Embodiment) -> None:
        self._embodiment = embodiment
        self.stride, self.place, self._height = 0.0, 0.0, 0.0
        self._moved = np.zeros((STRIDE, 2))  # [m] the shift of each control step
        self._fit()

    def root(self, frames: np.ndarray) -> np.ndarray:
        """(T, 7)."""
        phase = frames / STRIDE
        sideways = -SWAY * np.sin(2 * np.pi * phase - 0.35)
        pos = np.column_stack((sideways, -self.stride * phase, self._height - EASE + self._rise(phase)))
        pos[:, :2] += self.shift(frames)
        return np.column_stack((pos, self._turn(phase).as_quat(scalar_first=True)))

    def shift(self, frames: np.ndarray) -> np.ndarray:
        """(T, 2) [m] from the first path."""
        return self._moved[frames % STRIDE]

    def move(self, shift: np.ndarray) -> None:
        """Shift the path by (STRIDE, 2) [m]."""
        self._moved = self._moved + shift

    def _turn(self, phase: np.ndarray) -> Rotation:
        """The side of the foot in front is forward; the side of the foot in the air hangs."""
        turning = 2 * np.pi * phase
        angles = np.column_stack((TURN * np.cos(turning), LIST * np.sin(turning)))
        return Rotation.from_euler("ZY", angles)

    @staticmethod
    def _rise(phase: np.ndarray) -> np.ndarray:
        """Lowest in the middle of the time on both feet, highest in the middle of that on one, (T,) [m]."""
        return -RISE * np.cos(4 * np.pi * (phase - LOWEST))

    def _fit(self) -> None:
        """Least squares: where the published angles put the root above the right foot while that is on the floor."""
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
        # At heel contact the leg is longest: there it must reach.
        weight = np.where(phase < 0.02, CONTACT_WEIGHT, 1.0)
        # forward = stride * phase - (where the foot is); up = height + rise
        line = np.column_stack((phase, -np.ones(len(phase))))
        (self.stride, self.place), *_ = np.linalg.lstsq(weight[:, None] * line, -weight * implied[:, 1], rcond=None)
        self._height = float(np.average(implied[:, 2] - self._rise(phase), weights=weight))


def _stance() -> np.ndarray:
    return np.arange(round(STANCE * STRIDE) + 1) / STRIDE


def _on_floor(foot: Foot, place: np.ndarray) -> tuple[FootPath, np.ndarray]:
    """The foot's path from heel contact to toe off, and its pitch (K+1,); `place` (2,) of the heel bone when level."""
    pitch = _pitch(_stance())
    toes = -TOES_BEND * np.tanh(np.clip(-pitch, 0, None) / TOES_BEND)
    return foot.rolling(place, TOES_OUT, pitch, toes, flat=round(FLAT * STRIDE)), pitch


def _foot_cycle(embodiment: Embodiment, side: str, pelvis: _Pelvis) -> tuple[FootPath, np.ndarray]:
    """One stride of a foot from its heel contact on, and the leg's angles that lead the search (STRIDE, nq)."""
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
    """One stride of a leg from its heel contact on, joint -> (STRIDE,)."""
    foot, start = Foot(embodiment, side), 0 if side == "r" else HALF
    qpos = qpos.copy()
    qpos[:, :7] = pelvis.root(np.arange(STRIDE) + start)
    reached = foot.step_to(qpos, path)
    return {joint: reached[:, embodiment.model.joint(joint).qposadr[0]] for joint in (*foot.leg, foot.toe_joint)}


def _closed(stance: np.ndarray, published: np.ndarray) -> np.ndarray:
    """The stance (K+1, J) and after it the published path (STRIDE+1, J), bent to join both its ends; (STRIDE, J)."""
    last = len(stance) - 1
    away = [
        np.stack(_ends(stance[-1:-4:-1], -1)) - np.stack(_ends(published[last::-1][:3], -1)),
        np.stack(_ends(stance[:3], 1)) - np.stack(_ends(published[:3], 1)),
    ]
    nothing = np.zeros_like(away[0])
    times = [last, last + LEAVING, STRIDE - MEETING, STRIDE]
    joined = BPoly.from_derivatives(times, np.stack((away[0], nothing, nothing, away[1])))
    bend = joined(np.arange(last + 1, STRIDE))
    return np.concatenate((stance, published[last + 1 : STRIDE] + bend))


def _ends(values: np.ndarray, direction: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Value, slope and curvature at the first of three frames that follow each other in this direction."""
    first, second, third = values
    return first, direction * (-1.5 * first + 2 * second - 0.5 * third), first - 2 * second + third


def _arm(embodiment: Embodiment, side: str) -> Paths:
    """One stride of the right leg's, joint -> (STRIDE,): back when the leg of that side is in front."""
    solver, phase = HandIK(embodiment), np.arange(STRIDE) / STRIDE
    poses = [BACK, HANG, FRONT, HANG.at(forward=-0.03)]
    keys = [solver.solve(side, pose.hand, pose.elbow, pro_sup=pose.pro_sup) for pose in poses]
    paths = {}
    for joint in keys[0]:
        values = np.array([key[joint] for key in (*keys, keys[0])])
        paths[joint] = CubicSpline([0, 0.25, 0.5, 0.75, 1.0], values, bc_type="periodic")(phase)
    return paths
