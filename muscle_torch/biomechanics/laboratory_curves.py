"""A rollout beside the laboratory's measurements of the same trial: curves on one clock, and how well they agree.

Three columns of curves: measured, simulated, and what static optimisation of the recorded motion gives. Forces are in
weights of the respective body, moments in Nm/kg of it; muscle activity has no common unit, so each curve is divided by
its own peak within the time compared.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from math import factorial

import numpy as np

from muscle_torch.embodiments import Embodiment
from muscle_torch.errors import InputError
from muscle_torch.motion.rollout_archive import RolloutArchive

from .agreement import best_lag, pearson, rmse
from .coordinates import from_model
from .emg_map import MuscleMap, model_activity
from .gait import GRAVITY, LEG_JOINTS, MOMENTS, SIDES, activation_series, opensim_gait
from .laboratory import Clock, Laboratory, find_clock, subject_mass
from .muscle_activity import activity_of_motion
from .rollout_dynamics import rollout_dynamics
from .series import TimeSeries, butterworth

LONGEST_LAG = 0.15  # [s]
CUTOFFS = {"force": 20.0, "moment": 6.0, "muscle": 6.0}  # [Hz] low-pass of all curves of a kind, measured ones too
FORCES = ("vertical force", "fore-aft force")
SHUFFLES = 10_000
FEWEST = 20  # frames that all recordings have to share with the rollout
ROW = ("curve", "unit", "r", "RMSE", "lag [ms]", "r at lag")
OPTIMISED = ("optimised r", "optimised RMSE", "optimised lag [ms]", "optimised r at lag")
COLUMNS = {
    "force": (*ROW, "RMSE [N]", "peak measured [N]", "simulated [N]"),
    "moment": (*ROW, "peak measured [Nm/kg]", "simulated", *OPTIMISED),
    "muscle": (*ROW, "peak activation", *OPTIMISED, "optimised peak", "shuffled r", "shuffled RMSE"),
}


@dataclass(frozen=True, eq=False)
class ComparedCurve:
    """Curves (T,) of one quantity in one unit; `optimised` is that of static optimisation, None where it gives none.

    `scale`: what the measured, the simulated and the optimised curve were divided by.
    """

    kind: str  # force, moment or muscle
    name: str
    unit: str
    measured: np.ndarray
    simulated: np.ndarray
    optimised: np.ndarray | None
    scale: tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Comparison:
    """`time` (T,) [s] of the trial; masses [kg] of the subject and of the model."""

    name: str
    time: np.ndarray
    curves: tuple[ComparedCurve, ...]
    clock: Clock
    mass: float
    model_mass: float
    notes: tuple[str, ...]

    @property
    def rate(self) -> float:
        return float(1.0 / (self.time[1] - self.time[0]))

    def of(self, kind: str) -> tuple[ComparedCurve, ...]:
        return tuple(curve for curve in self.curves if curve.kind == kind)


@dataclass(frozen=True)
class Chance:
    """Mean r of muscles with their channels, and what random assignments of the muscles to the channels give."""

    r: float
    mean: float
    high: float  # 95th percentile
    beaten: float  # share of the assignments that agree at least as well as the right one


def compare_with_laboratory(
    embodiment: Embodiment, archive: RolloutArchive, episode: int, laboratory: Laboratory, table: MuscleMap,
    mass: float = 0.0, cutoff: float = 6.0, swap_plates: bool = False,
) -> Comparison:  # fmt: skip
    """Set an episode of a rollout beside its trial.

    Args:
        embodiment: the archive's body.
        archive: rollouts.
        episode: which of them; it followed a clip of the trial.
        laboratory: the trial.
        table: names of EMG channels.
        mass: the subject's [kg]; 0: as the force plates weigh it.
        cutoff: [Hz] low-pass of the recorded motion before static optimisation.
        swap_plates: exchange right and left of a force file that names the feet.

    Raises:
        InputError: the clip is of another trial, the clocks do not meet, or the mass is not known.
    """
    one = archive.episodes[episode]
    clock = _clock(embodiment, archive, episode, laboratory)
    time = clock.start + np.arange(len(one.qpos)) * archive.dt
    time, frames, notes = _measured_part(laboratory, time, one.name)
    if len(one.qpos) < len(one.reference) - 1:
        notes.append(f"{one.name} was followed for {len(one.qpos)} of {len(one.reference) - 1} frames: the rest is not "
                     "compared")  # fmt: skip
    mass = mass or subject_mass(laboratory)
    recorded = recorded_on_model(embodiment, laboratory, time, mass, cutoff, swap_plates)
    if isinstance(recorded, str):
        notes.append(recorded)
        recorded = None
    dynamics = rollout_dynamics(embodiment, one)
    curves: list[ComparedCurve] = []
    if recorded is not None:
        ahead = _ahead(one.reference[[0, -1], :2])
        sim = {side: np.stack((force[:, 2], force[:, :2] @ ahead), axis=1) for side, force in dynamics.ground.items()}
        curves += _forces(recorded, time, {s: f[frames] for s, f in sim.items()}, (mass, archive.mass))
    if laboratory.moments is not None:
        curves += _moments(laboratory.moments, recorded, time, dynamics.moments[frames], (mass, archive.mass))
    if laboratory.emg is not None:
        active = activation_series(archive, episode)
        active = TimeSeries(time, active.values[frames], active.names, active.units, active.source)
        muscles, left_out = _muscles(laboratory.emg, recorded, active, table, embodiment)
        curves, notes = curves + muscles, notes + list(left_out)
    return Comparison(one.name, time, tuple(curves), clock, mass, archive.mass, (*laboratory.notes, *notes))


def chance_level(table: np.ndarray) -> Chance:
    """Return the chance level of (M, M) correlations of channels (rows) with model muscles (columns), M at least 2.

    Up to `SHUFFLES` assignments are all counted, of more as many are drawn.
    """
    random, count = np.random.default_rng(0), len(table)
    if factorial(count) <= SHUFFLES:
        drawn = np.array(list(permutations(range(count))))
    else:
        drawn = np.argsort(random.random((SHUFFLES, count)), axis=1)
    means = np.nanmean(table[np.arange(count), drawn], axis=1)
    right = float(np.nanmean(np.diag(table)))
    return Chance(right, float(means.mean()), float(np.percentile(means, 95)), float(np.mean(means >= right - 1e-12)))


def correlations(
    curves: Sequence[ComparedCurve], rate: float, optimised: bool = False, at_lag: bool = False
) -> np.ndarray:
    """Return (M, M) Pearson's r of each measured curve (row) with each model curve (column).

    `optimised`: the model is static optimisation instead of the simulation; `at_lag`: at the best lag of each pair.
    """
    models = [curve.optimised if optimised and curve.optimised is not None else curve.simulated for curve in curves]
    if at_lag:
        return np.array([[best_lag(c.measured, m, rate, LONGEST_LAG).r for m in models] for c in curves])
    return np.array([[pearson(c.measured, m) for m in models] for c in curves])


def episode_of(embodiment: Embodiment, archive: RolloutArchive, laboratory: Laboratory) -> int:
    """Return the first episode that followed a clip of the trial. Raises InputError if there is none."""
    reasons = []
    for index in range(len(archive.episodes)):
        try:
            _clock(embodiment, archive, index, laboratory)
        except InputError as error:
            reasons.append(str(error))
            continue
        return index
    more = f" (so are {len(reasons) - 1} more episodes)" if len(reasons) > 1 else ""
    raise InputError(f"{reasons[0]}{more}" if reasons else "the archive holds no episode")


def _clock(embodiment: Embodiment, archive: RolloutArchive, episode: int, laboratory: Laboratory) -> Clock:
    one = archive.episodes[episode]
    if not len(one.reference):
        raise InputError(f"{one.name} followed no motion: a rollout of a clip of the trial is needed")
    angles = from_model(one.reference.astype(float), embodiment, 1.0 / archive.dt)
    return find_clock(laboratory, angles, one.name)


def agreement_rows(comparison: Comparison, kind: str) -> list[tuple]:
    """Return one row (`COLUMNS[kind]`) a curve."""
    curves, rows = comparison.of(kind), []
    for index, one in enumerate(curves):
        row = (one.name, one.unit, *_agreement(one.measured, one.simulated, comparison.rate))
        peaks = [float(np.abs(curve).max()) for curve in (one.measured, one.simulated)]
        baseline = (float("nan"),) * 4
        if one.optimised is not None:
            baseline = _agreement(one.measured, one.optimised, comparison.rate)
        if kind == "force":
            newtons = [scale * curve for scale, curve in zip(one.scale, (one.measured, one.simulated), strict=False)]
            row += (rmse(*newtons), *(float(np.abs(curve).max()) for curve in newtons))
        elif kind == "moment":
            row += (*peaks, *baseline)
        else:
            others = [other for place, other in enumerate(curves) if place != index]
            shuffled = [(pearson(one.measured, o.simulated), rmse(one.measured, o.simulated)) for o in others]
            chance = np.nanmean(shuffled, axis=0).tolist() if others else [float("nan")] * 2
            row += (one.scale[1], *baseline, one.scale[2], *chance)
        rows.append(row)
    return rows


def curve_series(comparison: Comparison) -> TimeSeries:
    """Return all curves as columns over the trial's clock, `<curve>, measured` and so on."""
    names, units, columns = [], [], []
    for one in comparison.curves:
        for source in ("measured", "simulated", "optimised"):
            values = getattr(one, source)
            if values is not None:
                names.append(f"{one.name}, {source}")
                units.append(one.unit)
                columns.append(values)
    return TimeSeries(comparison.time, np.stack(columns, axis=1), tuple(names), tuple(units), comparison.name)


def _agreement(measured: np.ndarray, model: np.ndarray, rate: float) -> tuple[float, float, float, float]:
    """r, RMSE, lag [ms] (positive: the model comes later) and r once that is undone."""
    lag = best_lag(measured, model, rate, LONGEST_LAG)
    return pearson(measured, model), rmse(measured, model), 1e3 * lag.seconds, lag.r


@dataclass(frozen=True, eq=False)
class RecordedOnModel:
    """The recorded motion with its plates on the model, at the times compared.

    `ground`: side -> (T, 2) upward and forward force [N]; `moments` and `activations` of static optimisation.
    """

    ground: dict[str, np.ndarray]
    moments: TimeSeries
    activations: TimeSeries


def recorded_on_model(
    embodiment: Embodiment, laboratory: Laboratory, time: np.ndarray, mass: float, cutoff: float, swap_plates: bool
) -> RecordedOnModel | str:
    """Return inverse dynamics and static optimisation of the recorded motion at `time` (T,) [s] of the trial.

    If there are no force plates for it, return in words that there is none. `mass` [kg] of the subject, `cutoff` [Hz].
    """
    if laboratory.forces is None:
        return "without force plates there is no static optimisation to compare with"
    margin = 1.0 / cutoff if cutoff else 0.0
    start, end = time[0] - margin, time[-1] + margin
    gait, qpos = opensim_gait(embodiment, laboratory.files["motion"], laboratory.files["forces"], mass,
                              swap_plates=swap_plates, cutoff=cutoff, start=start or 1e-9, end=end)  # fmt: skip
    assert gait.moments is not None
    activity = activity_of_motion(embodiment, qpos, gait.moments, gait.rate)
    assert activity.residual is not None
    reached = gait.moments.select(LEG_JOINTS)
    reached = reached.with_values(reached.values - activity.residual.values)
    clock = gait.angles.time
    time = np.clip(time, clock[0], clock[-1])  # it may end within a step of the last frame
    ahead = _ahead(np.stack([gait.angles[n][[0, -1]] for n in ("pelvis_tx", "pelvis_tz")], 1))
    ground = {}
    for side, force in gait.forces.items():
        pair = np.stack((force[:, 1], force[:, [0, 2]] @ ahead), axis=1)
        ground[side] = TimeSeries(clock, pair, FORCES).at(time).values
    return RecordedOnModel(ground, reached.at(time), activity.activations.at(time))


def _ahead(ends: np.ndarray) -> np.ndarray:
    """(2,) unit vector from the first to the last place (2, 2) on the ground."""
    way = ends[1] - ends[0]
    length = float(np.linalg.norm(way))
    if length < 0.3:
        raise InputError(f"the body gets on by only {length:.2f} m: fore-aft forces need a walk over ground")
    return way / length


def _measured_part(laboratory: Laboratory, time: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """The times that every recording covers, the rollout's frames there, and in words what else there was."""
    parts = {"motion": laboratory.angles, "force plates": laboratory.forces, "joint moments": laboratory.moments,
             "EMG": laboratory.emg}  # fmt: skip
    if len(time) < FEWEST:
        raise InputError(f"{name} was lost after {len(time)} frames: at least {FEWEST} are needed to compare it")
    inside = np.ones(len(time), dtype=bool)
    for what, series in parts.items():
        if series is None:
            continue
        covered = (time >= series.time[0] - 1e-9) & (time <= series.time[-1] + 1e-9)
        if covered.sum() < FEWEST:
            raise InputError(
                f"{series.source}: its {what} cover {series.time[0]:.2f} to {series.time[-1]:.2f} s, the rollout of "
                f"{name} is at {time[0]:.2f} to {time[-1]:.2f} s of the trial: another clock?"
            )
        inside &= covered
    frames = np.flatnonzero(inside)
    if len(frames) < FEWEST:
        raise InputError(f"trial={laboratory.folder}: its recordings share less than {FEWEST} frames with {name}")
    left_out = len(time) - len(frames)
    notes = [f"{left_out} of {len(time)} frames of {name} lie outside the recordings"] if left_out else []
    return time[frames], frames, notes


def _forces(
    recorded: RecordedOnModel, time: np.ndarray, simulated: Mapping[str, np.ndarray], masses: tuple[float, float]
) -> list[ComparedCurve]:
    weights, curves = (masses[0] * GRAVITY, masses[1] * GRAVITY), []
    for column, name in enumerate(FORCES):
        for side, foot in SIDES.items():
            pair = [_smooth(values[side][:, column], time, "force") for values in (recorded.ground, simulated)]
            measured, model = (curve / weight for curve, weight in zip(pair, weights, strict=True))
            curves.append(ComparedCurve("force", f"{name} ({foot})", "BW", measured, model, None, (*weights, 1.0)))
    return curves


def _moments(
    measured: TimeSeries, recorded: RecordedOnModel | None, time: np.ndarray, simulated: np.ndarray,
    masses: tuple[float, float],
) -> list[ComparedCurve]:  # fmt: skip
    curves, at = [], measured.at(time)
    for joint in MOMENTS:
        for side, leg in SIDES.items():
            name = f"{joint}_{side}"
            if name not in at:
                continue
            model = _smooth(simulated[:, LEG_JOINTS.index(name)], time, "moment") / masses[1]
            optimised = None if recorded is None else _smooth(recorded.moments[name], time, "moment") / masses[0]
            theirs = _smooth(at[name], time, "moment") / masses[0]
            title = f"{joint.split('_')[0]} moment ({leg})"
            curves.append(ComparedCurve("moment", title, "Nm/kg", theirs, model, optimised, (*masses, masses[0])))
    return curves


def _muscles(
    emg: TimeSeries, recorded: RecordedOnModel | None, active: TimeSeries, table: MuscleMap, embodiment: Embodiment
) -> tuple[list[ComparedCurve], tuple[str, ...]]:
    simulated, left_out = model_activity(active, emg.names, table, embodiment)
    optimised = None
    if recorded is not None:
        optimised, _ = model_activity(recorded.activations, simulated.names, table, embodiment)
    at, curves = emg.at(active.time), []
    for name in simulated.names:
        sources = [one[name] for one in (at, simulated, optimised) if one is not None]
        smooth = [_smooth(values, active.time, "muscle").clip(0.0, top)
                  for values, top in zip(sources, (np.inf, 1.0, 1.0), strict=False)]  # fmt: skip
        peaks = [float(values.max()) or 1.0 for values in smooth]
        scaled = [values / peak for values, peak in zip(smooth, peaks, strict=True)]
        best, top = (scaled[2], peaks[2]) if optimised is not None else (None, float("nan"))
        scale = (peaks[0], peaks[1], top)
        curves.append(ComparedCurve("muscle", name, "of its peak", scaled[0], scaled[1], best, scale))
    return curves, left_out


def _smooth(values: np.ndarray, time: np.ndarray, kind: str) -> np.ndarray:
    return butterworth(values, 1.0 / (time[1] - time[0]), CUTOFFS[kind], "low", 4)
