"""What all muscles together do: effort, co-activation, metabolic power, synergies."""

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
from .muscle_mechanics import optimal_length, peak_force
from .report import pretty
from .series import TimeSeries
from .static_optimisation import static_optimisation

ENOUGH = 0.90  # of the variability accounted for (Torres-Oviedo 2006)


@dataclass(frozen=True, eq=False)
class MuscleActivity:
    """`activations` and `velocities` [m/s] (T, muscles), a column a muscle; `residual` of static optimisation."""

    embodiment: Embodiment
    activations: TimeSeries
    velocities: np.ndarray
    source: str
    residual: TimeSeries | None = None


def activity_of_rollouts(embodiment: Embodiment, archives: Sequence[RolloutArchive]) -> MuscleActivity:
    """A policy's activations over all episodes, one after the other, with the muscles' velocities there."""
    episodes = [episode for archive in archives for episode in archive.episodes]
    values = np.concatenate([episode.activation for episode in episodes])
    velocities = [muscle_velocities(embodiment, episode.qpos, episode.qvel) for episode in episodes]
    time = np.arange(len(values)) * archives[0].dt
    names = embodiment.muscle_names
    activations = TimeSeries(time, values, names, ("",) * len(names), "rollouts")
    return MuscleActivity(embodiment, activations, np.concatenate(velocities), "the policy")


def activity_of_motion(embodiment: Embodiment, qpos: np.ndarray, moments: TimeSeries, rate: float) -> MuscleActivity:
    """Static optimisation of the legs' muscles for measured moments."""
    solved = static_optimisation(embodiment, qpos, moments.select(LEG_JOINTS), rate)
    return MuscleActivity(
        embodiment, solved.activations, solved.velocities, "static optimisation (legs)", solved.residual
    )


def muscle_velocities(embodiment: Embodiment, qpos: np.ndarray, qvel: np.ndarray) -> np.ndarray:
    """(T, muscles) [m/s], lengthening positive."""
    model, data = embodiment.model, mujoco.MjData(embodiment.model)
    rows = np.zeros((len(qpos), len(embodiment.muscle_ids)))
    for frame in range(len(qpos)):
        data.qpos[: embodiment.num_qpos], data.qvel[: embodiment.num_qvel] = qpos[frame], qvel[frame]
        mujoco.mj_fwdPosition(model, data)
        mujoco.mj_fwdVelocity(model, data)
        rows[frame] = data.actuator_velocity[embodiment.muscle_ids]
    return rows


def activity_tables(
    activity: MuscleActivity, largest: int, mass: float
) -> list[tuple[str, tuple[str, ...], list[tuple]]]:
    """(title, columns, rows) for the report; `mass` [kg] of the subject, up to `largest` synergies."""
    body, values = activity.embodiment, activity.activations.values
    power = metabolic_power(body, values, activity.velocities[: len(values)]).sum(axis=1)
    rows: list[tuple] = [
        ("activations from", activity.source, ""),
        ("effort: mean squared activation", float(np.mean(values**2)), ""),
        ("mean activation of all muscles", float(values.mean()), ""),
        ("metabolic power of the muscles (Minetti and Alexander 1997)", float(power.mean()), "W"),
        ("the same by body mass", float(power.mean()) / mass, "W/kg"),
    ]
    if activity.residual is not None:
        rms = np.sqrt(np.mean(activity.residual.values**2, axis=0))
        worst = int(rms.argmax())
        name = activity.residual.names[worst]
        rows.append((f"largest moment the muscles miss, about {name}", float(rms[worst]), "Nm"))
    tables: list[tuple[str, tuple[str, ...], list[tuple]]] = [("Effort and cost", ("quantity", "value", "unit"), rows)]
    means = {group: _mean_activation(activity, names) for group, names in body.groups.items() if names}
    groups = [(group, len(body.groups[group]), mean) for group, mean in means.items() if mean > SILENT]
    tables.append(("Mean activation by group", ("group", "muscles", "activation"), groups))
    wanted = tuple(f"{muscle}_{side}" for muscle in load_map().actuators for side in "rl")
    mapped, _ = model_activity(activity.activations, wanted, load_map(), body)
    together = [(" and ".join(map(pretty, pair.split(" and "))), index) for pair, index in co_contractions(mapped).rows]
    tables.append(("Co-activation", CO_CONTRACTION_COLUMNS, together))
    if largest and mapped.values.max() > 1e-3:
        found = vaf_by_rank(np.maximum(mapped.values, 0.0), largest)
        enough = enough_synergies(found)
        title = f"Muscle synergies ({enough or f'more than {largest}'} for {100 * ENOUGH:.0f} %)"
        vaf = [(rank, 100 * one.vaf, 100 * float(one.muscle_vaf.min())) for rank, one in enumerate(found, 1)]
        tables.append((title, ("synergies", "variability accounted for [%]", "of the worst muscle [%]"), vaf))
    return tables


def _mean_activation(activity: MuscleActivity, muscles: Sequence[str]) -> float:
    names = activity.embodiment.muscle_names
    return float(activity.activations.values[:, [names.index(muscle) for muscle in muscles]].mean())


def metabolic_power(embodiment: Embodiment, activations: np.ndarray, velocities: np.ndarray) -> np.ndarray:
    """(T, muscles) power [W] of every muscle: activation * F0 * vmax * phi(v / vmax).

    activations (T, muscles); velocities (T, muscles) of the actuators [m/s], lengthening positive as in MuJoCo. The
    tendon is rigid, so the fibre has the actuator's velocity. Heat and work of the muscles alone: no basal rate.
    """
    model, muscles = embodiment.model, embodiment.muscle_ids.tolist()
    force = np.array([peak_force(model, i) for i in muscles])
    fastest = np.array([optimal_length(model, i)[0] * model.actuator_gainprm[i, 6] for i in muscles])
    return activations * force * fastest * energy_rate(-velocities / fastest)


def energy_rate(shortening: np.ndarray) -> np.ndarray:
    """phi of the shortening velocity over the maximal one (clipped to -1..1): the paper's fit to measured rates."""
    x = np.clip(shortening, -1.0, 1.0)
    return (0.054 + 0.506 * x + 2.46 * x**2) / (1.0 - 1.13 * x + 12.8 * x**2 - 1.64 * x**3)


@dataclass(frozen=True, eq=False)
class Synergies:
    """activity (T, M) ~ timing (T, K) @ weights (K, M); `vaf` of the whole, `muscle_vaf` (M,) of each muscle."""

    timing: np.ndarray
    weights: np.ndarray
    vaf: float
    muscle_vaf: np.ndarray


def extract_synergies(activity: np.ndarray, rank: int, seed: int = 0) -> Synergies:
    """`rank` synergies of `activity` (T, M), not negative. Each synergy's largest weight is 1; order by their share.

    Raises InputError for negative or constant-zero input, or a rank that the data cannot have.
    """
    activity = np.asarray(activity, dtype=float)
    if (activity < -1e-9).any():
        raise InputError("synergies need activity that is not negative: use envelopes or activations")
    if not 1 <= rank <= min(activity.shape):
        raise InputError(f"{rank} synergies of {activity.shape[1]} muscles in {activity.shape[0]} samples")
    if not activity.any():
        raise InputError("synergies need some activity: everything is zero")
    try:
        from sklearn.decomposition import NMF
        from sklearn.exceptions import ConvergenceWarning
    except ImportError:
        raise InputError("synergies need scikit-learn: pip install 'muscle_torch[biomech]'") from None
    model = NMF(n_components=rank, init="nndsvda", max_iter=1000, tol=1e-5, random_state=seed)  # pyright: ignore[reportArgumentType]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the variability accounted for tells how good the fit is
        timing = model.fit_transform(np.maximum(activity, 0.0))
    weights = model.components_
    top = weights.max(axis=1)
    top = np.where(top > 0, top, 1.0)
    timing, weights = timing * top, weights / top[:, None]
    order = np.argsort(-(timing.sum(axis=0) * weights.sum(axis=1)))
    timing, weights = timing[:, order], weights[order]
    rest = (activity - timing @ weights) ** 2
    each = 1.0 - rest.sum(axis=0) / np.maximum((activity**2).sum(axis=0), 1e-12)
    return Synergies(timing, weights, variability_accounted_for(activity, timing @ weights), each)


def variability_accounted_for(activity: np.ndarray, rebuilt: np.ndarray) -> float:
    """VAF, uncentred: 1 - sum of squared errors over sum of squares (Torres-Oviedo 2006)."""
    return float(1.0 - np.sum((activity - rebuilt) ** 2) / np.sum(activity**2))


def vaf_by_rank(activity: np.ndarray, largest: int, seed: int = 0) -> list[Synergies]:
    """Synergies of rank 1, 2, ... `largest`."""
    return [extract_synergies(activity, rank, seed) for rank in range(1, min(largest, *activity.shape) + 1)]


def enough_synergies(found: list[Synergies], vaf: float = ENOUGH) -> int:
    """The least rank that accounts for `vaf`; 0 where none does."""
    return next((rank for rank, one in enumerate(found, 1) if one.vaf >= vaf), 0)
