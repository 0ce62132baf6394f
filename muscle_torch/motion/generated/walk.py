"""Walking of the full body, made from the published angles of a person's stride.

ANGLES are those of the thigh against the vertical, the knee and the ankle in the sagittal plane, computed from the
marker coordinates of the walking subject in D. A. Winter, Biomechanics and Motor Control of Human Movement, table A.1
(one stride from heel contact to heel contact), every 5 % and rounded to a degree; a knee stretched beyond 5 degrees is
kept at 5. How the pelvis turns and lists is of the size that J. Perry and J. M. Burnfield, Gait Analysis, give.

On the floor a foot rolls over heel, sole and ball without sliding. The root's path is the smooth one that agrees best
with the angles while the foot is there; the leg then follows the foot exactly, by inverse kinematics. In the air the
leg follows the angles, bent so that it leaves and meets the floor without a jolt.
"""

import numpy as np
from scipy.interpolate import BPoly, CubicSpline, PchipInterpolator
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from muscle_torch.embodiments import Embodiment

from .bimanual import HANG, Pose
from .chain import Chain
from .feet import LEG, OUTWARD, Foot, FootPath
from .hand_ik import HandIK

STRIDE = 106  # control steps: 1.06 s
STRIDES = 5
STANCE = 0.58  # of a stride that a foot is on the floor
FLAT = 0.20  # when the whole sole is
# every 5 % of a stride from heel contact [deg]: thigh forward, knee bent, toes up
THIGH = (20, 18, 18, 14, 8, 3, -2, -7, -12, -15, -17, -15, -9, 1, 11, 20, 24, 26, 24, 21)
KNEE = (5, 7, 14, 17, 13, 11, 9, 7, 5, 7, 15, 28, 44, 60, 67, 62, 49, 31, 11, 5)
ANKLE = (4, -5, -4, 1, 4, 6, 8, 10, 10, 10, 5, -4, -18, -15, -8, -3, 0, 2, 3, 5)
# of the foot on the floor, thigh - knee + ankle, with the sole level as long as heel and ball touch: phase -> [deg]
PITCH = {0.0: 21, 0.05: 7, 0.09: 0, 0.20: 0, 0.33: 0, 0.40: -5, 0.45: -13, 0.50: -27, 0.55: -47, 0.60: -69, 0.65: -88}
TOES_BEND = 0.45  # [rad] at most, backward while the heel is up
HALF_WIDTH = 0.065  # of the steps [m]
APART = 0.05  # outward lean of the leg in the air, past the other one [rad]
TOES_OUT = 0.10  # [rad]
SWAY, LIST, TURN = 0.022, 0.07, 0.07  # of the pelvis to each side [m], [rad], [rad]
EASE = 0.010  # the root stays this much lower than the angles have it: knees keep off their stop [m]
HIGHER = {"hip_flexion": 0.10, "knee_angle": 0.12, "ankle_angle": 0.15}  # in the middle of the swing [rad]
CONTACT_WEIGHT = 8.0
LEAVING, MEETING = 22, 14  # control steps after and before the floor in which the leg comes to the angles and from them

FRONT = Pose((0.10, 0.27, -0.44), (0.12, 0.06, -0.27), pro_sup=0.4)
BACK = Pose((0.16, -0.08, -0.50), (0.14, -0.12, -0.25), pro_sup=0.3)

Paths = dict[str, np.ndarray]


def walk(embodiment: Embodiment, random: np.random.Generator) -> Paths:
    """Straight ahead at an easy pace, from a right heel contact on."""
    frames = np.arange(STRIDES * STRIDE + 1)
    pelvis = _Pelvis(embodiment)
    paths: Paths = {"root": pelvis.root(frames / STRIDE)}
    for side, start in (("r", 0), ("l", STRIDE // 2)):
        cycle = _leg(embodiment, side, pelvis)
        paths |= {joint: path[(frames + start) % STRIDE] for joint, path in cycle.items()}
        paths |= _arm(embodiment, side, (frames + start) / STRIDE)
    phase = 2 * np.pi * frames / STRIDE
    trunk = {
        "axial_rotation": -1.6 * TURN * np.cos(phase),
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
    """The root's path as a function of the stride's phase; a right heel contact is at 0."""

    def __init__(self, embodiment: Embodiment) -> None:
        self._embodiment = embodiment
        self._coefficients = np.zeros((4, 2))  # forward and up: cosines and sines of twice and four times the phase
        self.stride, self.place, self._height = 0.0, 0.0, 0.0
        self._fit()

    def root(self, phase: np.ndarray) -> np.ndarray:
        """(T, 7)."""
        waves = self._waves(phase) @ self._coefficients
        turning = 2 * np.pi * phase
        sideways = -SWAY * np.sin(turning - 0.35)
        pos = np.column_stack((sideways, -(self.stride * phase + waves[:, 0]), self._height - EASE + waves[:, 1]))
        return np.column_stack((pos, self._turn(phase).as_quat(scalar_first=True)))

    def _turn(self, phase: np.ndarray) -> Rotation:
        """The side of the foot in front is forward; the side of the foot in the air hangs."""
        turning = 2 * np.pi * phase
        angles = np.column_stack((TURN * np.cos(turning), LIST * np.sin(turning)))
        return Rotation.from_euler("ZY", angles)

    @staticmethod
    def _waves(phase: np.ndarray) -> np.ndarray:
        angles = 4 * np.pi * np.outer(phase, (1, 2))
        return np.concatenate((np.cos(angles), np.sin(angles)), axis=1)

    def _fit(self) -> None:
        """Least squares: where the published angles put the root above the right foot while that is on the floor."""
        foot, phase = Foot(self._embodiment, "r"), _stance()
        path = _on_floor(foot, np.zeros(2))
        qpos = np.tile(self._embodiment.qpos0, (len(phase), 1))
        for joint, values in _published(phase, "r").items():
            qpos[:, self._embodiment.model.joint(joint).qposadr[0]] = values
        qpos[:, :3], qpos[:, 3:7] = 0.0, self._turn(phase).as_quat(scalar_first=True)
        qpos = self._embodiment.project(qpos)
        ankle = Chain(self._embodiment, "talus_r").place(qpos).pos
        on_floor = path.pos - path.mat @ self._embodiment.model.body("calcn_r").pos
        implied = on_floor - ankle
        # At heel contact the leg is longest: there it must reach.
        weight = np.where(phase < 0.02, CONTACT_WEIGHT, 1.0)[:, None]
        waves, one = self._waves(phase), np.ones((len(phase), 1))
        # forward = stride * phase + waves - (where the foot is); up = height + waves
        forward, *_ = np.linalg.lstsq(
            weight * np.hstack((waves, phase[:, None], -one)), -weight[:, 0] * implied[:, 1], rcond=None
        )
        up, *_ = np.linalg.lstsq(weight * np.hstack((waves, one)), weight[:, 0] * implied[:, 2], rcond=None)
        self._coefficients = np.column_stack((forward[:4], up[:4]))
        self.stride, self.place, self._height = float(forward[4]), float(forward[5]), float(up[4])


def _stance() -> np.ndarray:
    return np.arange(round(STANCE * STRIDE) + 1) / STRIDE


def _on_floor(foot: Foot, place: np.ndarray) -> FootPath:
    """The foot's path from heel contact to toe off; `place` (2,) of the heel bone while the sole is level."""
    phase = _stance()
    pitch = _pitch(phase)
    toes = -TOES_BEND * np.tanh(np.clip(-pitch, 0, None) / TOES_BEND)
    return foot.rolling(place, TOES_OUT, pitch, toes, flat=round(FLAT * STRIDE))


def _leg(embodiment: Embodiment, side: str, pelvis: _Pelvis) -> Paths:
    """One stride of a leg from its heel contact on, joint -> (STRIDE,)."""
    foot, phase = Foot(embodiment, side), _stance()
    start = 0.0 if side == "r" else 0.5
    place = np.array([OUTWARD[side] * HALF_WIDTH, -(pelvis.place + start * pelvis.stride)])
    joints = (*foot.leg, foot.toe_joint)
    ids = [embodiment.model.joint(joint).qposadr[0] for joint in joints]
    whole = np.arange(STRIDE + 1) / STRIDE
    published = np.column_stack((*_in_the_air(whole, side).values(), np.zeros(STRIDE + 1)))
    qpos = np.tile(embodiment.qpos0, (len(phase), 1))
    qpos[:, :7] = pelvis.root(phase + start)
    qpos[:, ids] = published[: len(phase)]
    stance = foot.step_to(qpos, _on_floor(foot, place))[:, ids]
    return dict(zip(joints, _closed(stance, published).T, strict=True))


def _closed(stance: np.ndarray, published: np.ndarray) -> np.ndarray:
    """The stance (K+1, J) and after it the published angles (STRIDE+1, J), bent to join both its ends; (STRIDE, J)."""
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


def _arm(embodiment: Embodiment, side: str, phase: np.ndarray) -> Paths:
    """Back when the leg of that side is in front."""
    solver = HandIK(embodiment)
    poses = [BACK, HANG, FRONT, HANG.at(forward=-0.03)]
    keys = [solver.solve(side, pose.hand, pose.elbow, pro_sup=pose.pro_sup) for pose in poses]
    paths = {}
    for joint in keys[0]:
        values = np.array([key[joint] for key in (*keys, keys[0])])
        paths[joint] = CubicSpline([0, 0.25, 0.5, 0.75, 1.0], values, bc_type="periodic")(phase % 1)
    return paths
