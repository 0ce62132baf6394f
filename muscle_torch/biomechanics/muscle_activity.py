"""Quantities over all muscles: effort, co-activation, metabolic power, synergies."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import mujoco
import numpy as np

from muscle_torch.embodiments import Embodiment
from muscle_torch.errors import InputError
from muscle_torch.motion.rollout_archive import RolloutArchive

from .emg_map import load_map, model_activity
from .emg_report import CO_CONTRACTION_COLUMNS, SILENT, co_contractions
from .gait import LEG_JOINTS
from .metabolic import bhargava_power, minetti_power
from .report import pretty
from .series import TimeSeries
from .static_optimisation import static_optimisation

SUFFICIENT_VAF = 0.90  # variability accounted for (Torres-Oviedo 2006)


@dataclass(frozen=True, eq=False)
class MuscleActivity:
    """Muscle activity over T frames."""

    embodiment: Embodiment
    activations: TimeSeries  # (T, muscles)
    lengths: np.ndarray  # (T, muscles) [m]
    velocities: np.ndarray  # (T, muscles) [m/s], lengthening positive
    source: str
    residual: TimeSeries | None = None  # of static optimisation [Nm]


def activity_of_rollouts(embodiment: Embodiment, archives: Sequence[RolloutArchive]) -> MuscleActivity:
    """Return a policy's activations over all episodes, concatenated, with the muscles' lengths and velocities."""
    episodes = [episode for archive in archives for episode in archive.episodes]
    values = np.concatenate([episode.activation for episode in episodes])
    states = [muscle_states(embodiment, episode.qpos, episode.qvel) for episode in episodes]
    lengths, velocities = (np.concatenate(parts) for parts in zip(*states, strict=True))
    time = np.arange(len(values)) * archives[0].dt
    names = embodiment.muscle_names
    activations = TimeSeries(time, values, names, ("",) * len(names), "rollouts")
    return MuscleActivity(embodiment, activations, lengths, velocities, "the policy")


def activity_of_motion(embodiment: Embodiment, qpos: np.ndarray, moments: TimeSeries, rate: float) -> MuscleActivity:
    """Run static optimisation of the leg muscles for measured moments.

    Args:
        embodiment: The body.
        qpos: (T, nq).
        moments: Joint moments [Nm] that include those of the legs.
        rate: Frame rate [Hz].
    """
    solved = static_optimisation(embodiment, qpos, moments.select(LEG_JOINTS), rate)
    paths = solved.lengths, solved.velocities
    return MuscleActivity(embodiment, solved.activations, *paths, "static optimisation (legs)", solved.residual)


def muscle_states(embodiment: Embodiment, qpos: np.ndarray, qvel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return length [m] and velocity [m/s], lengthening positive, of every muscle, (T, muscles) each.

    Args:
        embodiment: The body.
        qpos: (T, num_qpos).
        qvel: (T, num_qvel).
    """
    model, data = embodiment.model, mujoco.MjData(embodiment.model)
    lengths, velocities = np.zeros((2, len(qpos), len(embodiment.muscle_ids)))
    for frame in range(len(qpos)):
        data.qpos[: embodiment.num_qpos], data.qvel[: embodiment.num_qvel] = qpos[frame], qvel[frame]
        mujoco.mj_fwdPosition(model, data)
        mujoco.mj_fwdVelocity(model, data)
        lengths[frame] = data.actuator_length[embodiment.muscle_ids]
        velocities[frame] = data.actuator_velocity[embodiment.muscle_ids]
    return lengths, velocities


def activity_tables(
    activity: MuscleActivity, largest: int, mass: float
) -> list[tuple[str, tuple[str, ...], list[tuple]]]:
    """Return (title, columns, rows) of the report's tables.

    Args:
        activity: The activity.
        largest: Maximum number of synergies; 0: none.
        mass: The subject's mass [kg].
    """
    body, values = activity.embodiment, activity.activations.values
    lengths, velocities = activity.lengths[: len(values)], activity.velocities[: len(values)]
    power = minetti_power(body, values, velocities).sum(axis=1)
    bhargava = bhargava_power(body, values, lengths, velocities).sum(axis=1)
    rows: list[tuple] = [
        ("activations from", activity.source, ""),
        ("effort: mean squared activation", float(np.mean(values**2)), ""),
        ("mean activation of all muscles", float(values.mean()), ""),
        ("metabolic power of the muscles (Minetti and Alexander 1997)", float(power.mean()), "W"),
        ("metabolic power of the muscles (Bhargava et al. 2004)", float(bhargava.mean()), "W"),
        ("metabolic power by body mass (Minetti and Alexander)", float(power.mean()) / mass, "W/kg"),
    ]
    if activity.residual is not None:
        rms = np.sqrt(np.mean(activity.residual.values**2, axis=0))
        worst = int(rms.argmax())
        name = activity.residual.names[worst]
        rows.append((f"largest residual moment of the muscles, about {name}", float(rms[worst]), "Nm"))
    tables: list[tuple[str, tuple[str, ...], list[tuple]]] = [("Effort and cost", ("quantity", "value", "unit"), rows)]
    means = {group: _mean_activation(activity, names) for group, names in body.groups.items() if names}
    groups = [(group, len(body.groups[group]), mean) for group, mean in means.items() if mean > SILENT]
    tables.append(("Mean activation by group", ("group", "muscles", "activation"), groups))
    mapped = _anatomical(activity)
    pairs = [(" and ".join(map(pretty, pair.split(" and "))), index) for pair, index in co_contractions(mapped).rows]
    tables.append(("Co-activation", CO_CONTRACTION_COLUMNS, pairs))
    if largest and mapped.values.max() > 1e-3:
        by_rank = vaf_by_rank(np.maximum(mapped.values, 0.0), largest)
        sufficient = sufficient_synergies(by_rank)
        title = f"Muscle synergies ({sufficient or f'more than {largest}'} for {100 * SUFFICIENT_VAF:.0f} %)"
        vaf = [(rank, 100 * one.vaf, 100 * float(one.muscle_vaf.min())) for rank, one in enumerate(by_rank, 1)]
        tables.append((title, ("synergies", "variability accounted for [%]", "of the worst muscle [%]"), vaf))
    return tables


def _anatomical(activity: MuscleActivity) -> TimeSeries:
    """Return the activity of anatomical muscles, averaged over their actuators; of a body without them all columns."""
    table = load_map()
    muscles = tuple(f"{muscle}_{side}" for muscle in table.actuators for side in "rl")
    names = set(activity.embodiment.muscle_names)
    if not any(names.issuperset(table.patterns(*muscle.rsplit("_", 1))) for muscle in muscles):
        return activity.activations
    return model_activity(activity.activations, muscles, table, activity.embodiment)[0]


def _mean_activation(activity: MuscleActivity, muscles: Sequence[str]) -> float:
    names = activity.embodiment.muscle_names
    return float(activity.activations.values[:, [names.index(muscle) for muscle in muscles]].mean())


@dataclass(frozen=True, eq=False)
class Synergies:
    """K synergies of M muscles: activity (T, M) ~ timing @ weights."""

    timing: np.ndarray  # (T, K)
    weights: np.ndarray  # (K, M)
    vaf: float  # variability accounted for
    muscle_vaf: np.ndarray  # (M,) of each muscle


def extract_synergies(activity: np.ndarray, rank: int, seed: int = 0) -> Synergies:
    """Extract synergies by non-negative matrix factorization, ordered by contribution, with a largest weight of 1 each.

    Args:
        activity: Non-negative, (T, M).
        rank: Number of synergies.
        seed: Seed of the initialization.

    Raises:
        InputError: The activity is negative or all zero, or the rank is impossible.
    """
    activity = np.asarray(activity, dtype=float)
    if (activity < -1e-9).any():
        raise InputError("synergies need non-negative activity: use envelopes or activations")
    if not 1 <= rank <= min(activity.shape):
        raise InputError(
            f"cannot extract {rank} synergies of {activity.shape[1]} muscles from {activity.shape[0]} samples"
        )
    if not activity.any():
        raise InputError("synergies need non-zero activity; check the recording")
    try:
        from sklearn.decomposition import NMF
        from sklearn.exceptions import ConvergenceWarning
    except ImportError:
        raise InputError("synergies need scikit-learn: pip install 'muscle_torch[biomech]'") from None
    model = NMF(n_components=rank, init="nndsvda", max_iter=1000, tol=1e-5, random_state=seed)  # pyright: ignore[reportArgumentType]
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", ConvergenceWarning
        )  # the quality of the fit is reported as variability accounted for
        timing = model.fit_transform(np.maximum(activity, 0.0))
    weights = model.components_
    top = weights.max(axis=1)
    top = np.where(top > 0, top, 1.0)
    timing, weights = timing * top, weights / top[:, None]
    order = np.argsort(-(timing.sum(axis=0) * weights.sum(axis=1)))
    timing, weights = timing[:, order], weights[order]
    error = (activity - timing @ weights) ** 2
    muscle_vaf = 1.0 - error.sum(axis=0) / np.maximum((activity**2).sum(axis=0), 1e-12)
    return Synergies(timing, weights, variability_accounted_for(activity, timing @ weights), muscle_vaf)


def variability_accounted_for(activity: np.ndarray, rebuilt: np.ndarray) -> float:
    """Return the uncentred VAF: 1 - sum of squared errors over sum of squares (Torres-Oviedo 2006)."""
    return float(1.0 - np.sum((activity - rebuilt) ** 2) / np.sum(activity**2))


def vaf_by_rank(activity: np.ndarray, largest: int, seed: int = 0) -> list[Synergies]:
    """Return the synergies of rank 1, 2, ... `largest`.

    Args:
        activity: Non-negative, (T, M).
        largest: Maximum rank.
        seed: Seed of the initialization.
    """
    return [extract_synergies(activity, rank, seed) for rank in range(1, min(largest, *activity.shape) + 1)]


def sufficient_synergies(by_rank: list[Synergies], vaf: float = SUFFICIENT_VAF) -> int:
    """Return the smallest rank that accounts for `vaf`; 0 if none does."""
    return next((rank for rank, one in enumerate(by_rank, 1) if one.vaf >= vaf), 0)
