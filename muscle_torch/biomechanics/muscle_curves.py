"""Force-length and force-velocity curves of MuJoCo's muscles, and where on them a body works."""

from dataclasses import dataclass

import mujoco
import numpy as np

from muscle_torch.embodiments import Embodiment

WEAK = 0.05  # active force below this part of the maximum counts as none


@dataclass(frozen=True, eq=False)
class MuscleCurves:
    """Of one muscle; lengths in optimal fibre lengths L0, velocities in parts of the maximal one, forces in F0."""

    lengths: np.ndarray
    active: np.ndarray  # force-length
    passive: np.ndarray
    velocities: np.ndarray  # -1: shortens at the maximal velocity
    force_velocity: np.ndarray


def optimal_length(model: mujoco.MjModel, actuator: int) -> tuple[float, float]:
    """(L0, LT) [m] optimal fibre length and tendon length, as MuJoCo derives them from the length range."""
    low, high = model.actuator_lengthrange[actuator]
    first, last = model.actuator_gainprm[actuator, :2]
    fibre = (high - low) / max(last - first, 1e-12)
    return float(fibre), float(low - first * fibre)


def peak_force(model: mujoco.MjModel, actuator: int) -> float:
    """F0 [N]."""
    force, scale = model.actuator_gainprm[actuator, 2], model.actuator_gainprm[actuator, 3]
    return float(force if force >= 0 else scale / max(model.actuator_acc0[actuator], 1e-12))


def normalised_lengths(model: mujoco.MjModel, actuator: int, lengths: np.ndarray) -> np.ndarray:
    """Actuator lengths [m] in optimal fibre lengths."""
    fibre, tendon = optimal_length(model, actuator)
    return (lengths - tendon) / fibre


def muscle_curves(model: mujoco.MjModel, actuator: int, points: int = 61) -> MuscleCurves:
    """The curves from MuJoCo's own gain and bias functions."""
    fibre, tendon = optimal_length(model, actuator)
    prm, lengthrange = model.actuator_gainprm[actuator, :9], model.actuator_lengthrange[actuator]
    acc0, top = model.actuator_acc0[actuator], peak_force(model, actuator)
    lengths, velocities = np.linspace(0.3, 1.9, points), np.linspace(-1.2, 1.2, points)
    fastest = prm[6] * fibre

    def gain(length: float, velocity: float) -> float:
        return -mujoco.mju_muscleGain(tendon + length * fibre, velocity * fastest, lengthrange, acc0, prm) / top

    active = np.array([gain(length, 0.0) for length in lengths])
    bias = model.actuator_biasprm[actuator, :9]
    passive = np.array([-mujoco.mju_muscleBias(tendon + x * fibre, lengthrange, acc0, bias) / top for x in lengths])
    speed = np.array([gain(1.0, velocity) for velocity in velocities])
    return MuscleCurves(lengths, active, passive, velocities, speed)


def active_share(model: mujoco.MjModel, actuator: int, lengths: np.ndarray) -> float:
    """Share of the given actuator lengths [m] at which the muscle can pull with more than `WEAK` of F0."""
    curve = muscle_curves(model, actuator, 161)
    force = np.interp(normalised_lengths(model, actuator, lengths), curve.lengths, curve.active, left=0.0, right=0.0)
    return float(np.mean(force > WEAK))


def parameter_asymmetry(embodiment: Embodiment) -> dict[str, str]:
    """Left muscles whose force, length range or curve differs from the right one's, in words."""
    model, names, found = embodiment.model, embodiment.actuator_names, {}
    for left, right in embodiment.left_right:
        i, j = names.index(left), names.index(right)
        if abs(peak_force(model, i) - peak_force(model, j)) > 1e-6 * peak_force(model, j):
            found[left] = f"F0 {peak_force(model, i):.4g} N, right {peak_force(model, j):.4g} N"
        elif np.abs(model.actuator_lengthrange[i] - model.actuator_lengthrange[j]).max() > 1e-6:
            found[left] = f"length range {model.actuator_lengthrange[i]} m, right {model.actuator_lengthrange[j]} m"
        elif np.abs(model.actuator_gainprm[i, :9] - model.actuator_gainprm[j, :9]).max() > 1e-6:
            found[left] = "other curve parameters than the right one"
    return found
