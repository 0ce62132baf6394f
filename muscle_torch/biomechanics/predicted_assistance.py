"""Predict without learning what weakness and a device change: static optimisation of the same motion and moments.

The motion stays that of the recording: neither compensation by another gait nor adaptation to the device is predicted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from muscle_torch.embodiments import Embodiment
from muscle_torch.embodiments.weakened import weakened
from muscle_torch.errors import InputError

from .gait import LEG_JOINTS, MOMENTS, SIDES, Gait
from .metabolic import bhargava_power, muscle_masses, proxy_of
from .reference_gait import ReferenceGait
from .series import TimeSeries
from .sign_check import POINTS, leg_poses
from .static_optimisation import muscle_forces, static_optimisation

PADDING = 2  # frames of the neighbouring cycles, for velocities at both ends


@dataclass(frozen=True, eq=False)
class Task:
    """A motion and the joint moments that muscles and device have to produce together, T frames."""

    name: str
    qpos: np.ndarray  # (T, nq)
    rate: float  # [Hz]
    moments: TimeSeries  # (T, joints) [Nm] at independent joints, as <joint>_<side>
    phase: dict[str, np.ndarray]  # side -> fraction of the gait cycle since its strike, (T,)
    mass: float  # of the subject [kg]
    speed: float  # [m/s]
    periodic: bool  # one cycle: the last frame is followed by the first


@dataclass(frozen=True, eq=False)
class Prediction:
    """Muscles that meet a task under one condition, T frames."""

    activations: np.ndarray  # (T, muscles)
    residual: np.ndarray  # (T, joints) moments that neither muscles nor device produce [Nm]
    proxy: np.ndarray  # (T, muscles) [kg]
    power: np.ndarray  # metabolic power (Bhargava et al. 2004), (T, muscles) [W]
    torque: dict[str, np.ndarray]  # of the device: <joint>_<side> -> (T,) [Nm]


def leg_task(embodiment: Embodiment, gait: ReferenceGait, mass: float, side: str = "r") -> Task:
    """Return the task of one leg over a cycle: pelvis upright and at rest, sagittal moments only.

    Args:
        embodiment: The body.
        gait: The cycle, with the model's signs and a stride time.
        mass: Of the subject, with which moments per mass are multiplied [kg].
        side: r or l.
    """
    phase = np.arange(POINTS) / POINTS
    cycle, rate = gait.at(100.0 * phase), POINTS / gait.stride_time
    values = mass * np.stack([cycle.moments[joint] for joint in MOMENTS], axis=1)
    names = tuple(f"{joint}_{side}" for joint in MOMENTS)
    moments = TimeSeries(np.arange(POINTS) / rate, values, names, ("Nm",) * len(names), gait.name)
    return Task(gait.name, leg_poses(embodiment, gait, side), rate, moments, {side: phase}, mass, gait.speed, True)


def walk_task(gait: Gait, qpos: np.ndarray, speed: float) -> Task:
    """Return the task of both legs in a recording: all moments of hips, knees and ankles.

    Args:
        gait: With moments, and at least one strike of each foot.
        qpos: (T, nq).
        speed: Of the subject [m/s].

    Raises:
        InputError: A foot has no strike, or strikes do not determine the stride time.
    """
    assert gait.moments is not None, "the caller computed them"
    strikes = {side: one.starts for side, one in gait.contacts.items()}
    period = stride_period(strikes, gait.name)
    phase = {side: (gait.angles.time - starts[0]) / period % 1.0 for side, starts in strikes.items()}
    moments = gait.moments.select([name for name in LEG_JOINTS if name in gait.moments])
    return Task(gait.name, qpos, gait.rate, moments, phase, gait.mass, speed, False)


def stride_period(strikes: Mapping[str, np.ndarray], name: str) -> float:
    """Return the mean stride time [s]; from strike to strike of the same foot, or else twice the step time.

    Args:
        strikes: Side -> times of the strikes [s].
        name: Of the recording, for errors.

    Raises:
        InputError: A foot has no strike, or there are too few.
    """
    silent = next((SIDES[side] for side, times in strikes.items() if not len(times)), "")
    if silent:
        raise InputError(f"{name}: the {silent} foot has no strike, which the torque profile needs")
    strides = np.concatenate([np.diff(times) for times in strikes.values()])
    steps = np.diff(np.sort(np.concatenate(list(strikes.values()))))
    return float(strides.mean()) if len(strides) else 2.0 * float(steps.mean())


def predict(embodiment: Embodiment, task: Task, strength: np.ndarray, torque: Mapping[str, np.ndarray]) -> Prediction:
    """Solve a task with muscles of some strength and the torques of a device.

    Args:
        embodiment: The body with normal strength.
        task: Motion and moments.
        strength: Of the muscles, (muscles,).
        torque: Of the device: <joint>_<side> -> (T,) [Nm], positive towards larger angles.
    """
    weak = weakened(embodiment, strength)
    support = np.stack([torque.get(name, np.zeros(len(task.qpos))) for name in task.moments.names], axis=1)
    required, inside = task.moments.values - support, slice(None)
    qpos, rate = task.qpos, task.rate
    if task.periodic:
        qpos, required = (np.concatenate((one[-PADDING:], one, one[:PADDING])) for one in (qpos, required))
        inside = slice(PADDING, -PADDING)
    time = np.arange(len(qpos)) / rate
    moments = TimeSeries(time, required, task.moments.names, task.moments.units, task.name)
    solved = static_optimisation(weak, qpos, moments, rate)
    activations = solved.activations.values
    forces = [muscle_forces(weak, *paths) for paths in zip(solved.lengths, solved.velocities, strict=True)]
    active, passive = np.array(forces).transpose(1, 0, 2)
    proxy = proxy_of(embodiment, activations, active * activations + passive, solved.velocities)
    power = bhargava_power(weak, activations, solved.lengths, solved.velocities, muscle_masses(embodiment))
    return Prediction(activations[inside], solved.residual.values[inside], proxy[inside], power[inside], dict(torque))


def sides_of(task: Task) -> Sequence[str]:
    """Return the sides of the task, right before left."""
    return [side for side in SIDES if side in task.phase]
