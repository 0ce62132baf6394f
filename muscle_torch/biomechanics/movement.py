"""Analysis of a movement on the model: joint angles, velocities and moments, and the paths of the hands.

For bodies without feet, such as arms; `gait.py` is the counterpart for walks.
"""

from dataclasses import dataclass, replace

import mujoco
import numpy as np

from muscle_torch.embodiments import Embodiment
from muscle_torch.embodiments.independent import IndependentJoints
from muscle_torch.motion.kinematics import site_motion
from muscle_torch.motion.rollout_archive import RolloutArchive

from .gait import muscle_moments
from .inverse_dynamics import derivatives, inverse_dynamics, smooth_motion
from .series import TimeSeries, check_rate
from .smoothness import log_dimensionless_jerk, path_length, spectral_arc_length


@dataclass(frozen=True, eq=False)
class Movement:
    """T frames of one movement, for J independent joints and S tracked sites."""

    name: str
    seed: int
    angles: TimeSeries  # (T, J) [deg], slides [m]
    velocities: TimeSeries  # (T, J) [deg/s], slides [m/s]
    moments: TimeSeries  # (T, J) net joint moments of inverse dynamics [Nm], slides [N]
    sites: np.ndarray  # (T, S, 3) world [m]
    site_velocities: np.ndarray  # (T, S, 3) world [m/s]
    muscle_moments: TimeSeries | None = None  # of a rollout [Nm], at the end of each control step
    activations: TimeSeries | None = None  # (T, muscles)

    @property
    def rate(self) -> float:
        """Frame rate [Hz]."""
        return self.angles.rate

    @property
    def seconds(self) -> float:
        """Duration of T frames [s]."""
        return len(self.sites) / self.rate

    def cut(self, frames: int) -> "Movement":
        """Return the first frames."""

        def first(series: TimeSeries) -> TimeSeries:
            return replace(series, time=series.time[:frames], values=series.values[:frames])

        return replace(
            self,
            angles=first(self.angles),
            velocities=first(self.velocities),
            moments=first(self.moments),
            sites=self.sites[:frames],
            site_velocities=self.site_velocities[:frames],
            muscle_moments=first(self.muscle_moments) if self.muscle_moments is not None else None,
            activations=first(self.activations) if self.activations is not None else None,
        )


@dataclass(frozen=True)
class PathMeasures:
    """Measures of a point's path."""

    length: float  # [m]
    mean_speed: float  # [m/s]
    peak_speed: float  # [m/s]
    peak_time: float  # [s]
    arc_length: float  # `spectral_arc_length`
    jerk: float  # `log_dimensionless_jerk`


def movement_of(
    embodiment: Embodiment,
    qpos: np.ndarray,
    rate: float,
    name: str = "",
    qvel: np.ndarray | None = None,
    seed: int = 0,
    cutoff: float = 6.0,
    angle_cutoff: float = 0.0,
    mass: float = 0.0,
) -> Movement:
    """Analyse a movement of the model.

    Args:
        embodiment: The body.
        qpos: (T, num_qpos).
        rate: Frame rate [Hz].
        name: Name in tables and figures.
        qvel: (T, num_qvel); None: the derivative of qpos.
        seed: Seed of the rollout.
        cutoff: Low-pass before inverse dynamics [Hz]; 0: off.
        angle_cutoff: Low-pass of the motion before everything else [Hz]; 0: off. `qvel` is then ignored.
        mass: The subject's mass, for inverse dynamics [kg]; 0: the model's.

    Raises:
        InputError: The motion is too short, or the frame rate is too low.
    """
    check_rate(rate, 10.0, name or "the motion")
    qpos = np.asarray(qpos, dtype=float)
    if angle_cutoff:
        qpos, qvel = smooth_motion(embodiment, qpos, rate, angle_cutoff), None
    if qvel is None:
        qvel, _ = derivatives(embodiment.model, qpos, rate)
    joints = IndependentJoints(embodiment).joints
    model, ids = embodiment.model, embodiment.resolve("joint", joints)
    slide = model.jnt_type[ids] == mujoco.mjtJoint.mjJNT_SLIDE
    scale, unit = np.where(slide, 1.0, 180.0 / np.pi), tuple("m" if one else "deg" for one in slide)
    time = np.arange(len(qpos)) / rate
    angles = TimeSeries(time, scale * qpos[:, model.jnt_qposadr[ids]], joints, unit, name)
    speeds = angles.with_values(scale * qvel[:, model.jnt_dofadr[ids]], tuple(f"{one}/s" for one in unit))
    solved = inverse_dynamics(embodiment, qpos, rate, None, joints, mass=mass, cutoff=cutoff)
    tracked = site_motion(embodiment, qpos, qvel)
    return Movement(name, seed, angles, speeds, solved.moments, tracked.pos, tracked.linvel)


def rollout_movement(
    embodiment: Embodiment, archive: RolloutArchive, episode: int, cutoff: float = 6.0, angle_cutoff: float = 0.0
) -> Movement:
    """Analyse an episode, with its activations and the moments of its muscles.

    Args:
        embodiment: The archive's body.
        archive: Rollouts.
        episode: Index of the episode.
        cutoff: Low-pass before inverse dynamics [Hz]; 0: off.
        angle_cutoff: Low-pass of the motion before everything else [Hz]; 0: off.
    """
    one, rate = archive.episodes[episode], 1.0 / archive.dt
    movement = movement_of(embodiment, one.qpos, rate, one.name, one.qvel.astype(float), archive.seed, cutoff,
                           angle_cutoff)  # fmt: skip
    names = embodiment.muscle_names
    activations = TimeSeries(movement.angles.time, one.activation.astype(float), names, ("",) * len(names), one.name)
    produced = muscle_moments(embodiment, archive, episode, movement.angles.names)
    return replace(movement, activations=activations, muscle_moments=produced)


def end_points(embodiment: Embodiment) -> dict[str, int]:
    """Return name -> index among the tracked sites of the ends of the limbs: sites with no tracked site beyond them.

    The names are without the suffix of tracked sites: "left hand".
    """
    parents, bodies = embodiment.model.body_parentid, [int(body) for body in embodiment.site_body_ids]
    inner: set[int] = set()
    for body in bodies:
        while body > 0:
            body = int(parents[body])
            inner.add(body)
    last = {body: index for index, body in enumerate(bodies)}  # of several sites on one body the last
    return {
        embodiment.site_names[index].removesuffix("_mimic").replace("_", " "): index
        for body, index in sorted(last.items(), key=lambda item: item[1])
        if body not in inner
    }


def path_measures(movement: Movement, site: int) -> PathMeasures:
    """Return the measures of the path of a tracked site.

    Args:
        movement: The movement.
        site: Index among the tracked sites.
    """
    velocity = movement.site_velocities[:, site]
    speed = np.linalg.norm(velocity, axis=1)
    return PathMeasures(
        path_length(movement.sites[:, site]),
        float(speed.mean()),
        float(speed.max()),
        float(movement.angles.time[speed.argmax()]),
        spectral_arc_length(speed, movement.rate),
        log_dimensionless_jerk(velocity, movement.rate),
    )
