"""What all muscles together do: effort, co-activation, synergies, metabolic power."""

from dataclasses import dataclass

import mujoco
import numpy as np

from muscle_torch.embodiments import Embodiment

from .archive import Archive
from .emg_comparison import CO_CONTRACTION_COLUMNS, co_contractions
from .emg_map import load_map, model_activity
from .inverse_dynamics import derivatives
from .metabolic import metabolic_power
from .series import TimeSeries
from .static_optimisation import static_optimisation
from .synergies import ENOUGH, enough_synergies, vaf_by_rank

LEG = ("hip_flexion", "hip_adduction", "hip_rotation", "knee_angle", "ankle_angle")
LEG_JOINTS = tuple(f"{joint}_{side}" for side in "rl" for joint in LEG)


@dataclass(frozen=True, eq=False)
class MuscleActivity:
    """`activations` (T, nu) a column an actuator, `velocities` (T, nu) [m/s]; `residual` of static optimisation."""

    embodiment: Embodiment
    activations: TimeSeries
    velocities: np.ndarray
    source: str
    residual: TimeSeries | None = None


def activity_of_archive(embodiment: Embodiment, archive: Archive, episode: int) -> MuscleActivity:
    """A policy's activations, with the muscles' velocities of the motion it made."""
    activations = archive.activation_series(episode, embodiment)
    qpos = archive.episodes[episode].qpos.astype(float)
    return MuscleActivity(
        embodiment, activations, muscle_velocities(embodiment, qpos, 1.0 / archive.step), "the policy"
    )


def activity_of_motion(embodiment: Embodiment, qpos: np.ndarray, moments: TimeSeries, rate: float) -> MuscleActivity:
    """Static optimisation of the legs' muscles for measured moments."""
    solved = static_optimisation(embodiment, qpos, moments.select(LEG_JOINTS), rate)
    return MuscleActivity(embodiment, solved.activations, solved.velocities, "static optimisation", solved.residual)


def muscle_velocities(embodiment: Embodiment, qpos: np.ndarray, rate: float) -> np.ndarray:
    """(T, nu) [m/s] by MuJoCo, from the motion's own velocities."""
    model, data = embodiment.model, mujoco.MjData(embodiment.model)
    qvel, _ = derivatives(model, qpos, rate)
    rows = np.zeros((len(qpos), model.nu))
    for frame in range(len(qpos)):
        data.qpos[:], data.qvel[:] = qpos[frame], qvel[frame]
        mujoco.mj_fwdPosition(model, data)
        mujoco.mj_fwdVelocity(model, data)
        rows[frame] = data.actuator_velocity
    return rows


def activity_tables(activity: MuscleActivity, largest: int) -> list[tuple[str, tuple[str, ...], list[tuple]]]:
    """(title, columns, rows) for the report."""
    body, values = activity.embodiment, activity.activations.values
    power = metabolic_power(body.model, values, activity.velocities[: len(values)]).sum(axis=1)
    mass = float(body.model.body_mass.sum())
    rows: list[tuple] = [
        ("activations from", activity.source, ""),
        ("effort: mean squared activation", float(np.mean(values**2)), ""),
        ("mean activation", float(values.mean()), ""),
        ("metabolic power of the muscles (Minetti and Alexander 1997)", float(power.mean()), "W"),
        ("the same by body mass", float(power.mean()) / mass, "W/kg"),
    ]
    if activity.residual is not None:
        rms = np.sqrt(np.mean(activity.residual.values**2, axis=0))
        worst = int(rms.argmax())
        name = activity.residual.names[worst]
        rows.append((f"largest moment the muscles miss, about {name}", float(rms[worst]), "Nm"))
    tables: list[tuple[str, tuple[str, ...], list[tuple]]] = [("Effort and cost", ("quantity", "value", "unit"), rows)]
    groups = [
        (group, len(names), round(float(values[:, [body.actuator_names.index(n) for n in names]].mean()), 6))
        for group, names in body.groups.items()
        if names
    ]
    tables.append(("Mean activation by group", ("group", "muscles", "activation"), groups))
    wanted = tuple(f"{muscle}_{side}" for muscle in load_map().actuators for side in "rl")
    mapped, _ = model_activity(activity.activations, wanted, load_map(), body)
    together = co_contractions(mapped)
    tables.append(("Co-activation", CO_CONTRACTION_COLUMNS, together.rows))
    if largest and mapped.values.max() > 1e-3:
        found = vaf_by_rank(np.maximum(mapped.values, 0.0), largest)
        enough = enough_synergies(found)
        title = f"Muscle synergies ({enough or f'more than {largest}'} for {100 * ENOUGH:.0f} %)"
        vaf = [(rank, 100 * one.vaf, 100 * float(one.muscle_vaf.min())) for rank, one in enumerate(found, 1)]
        tables.append((title, ("synergies", "variability accounted for [%]", "of the worst muscle [%]"), vaf))
    return tables
