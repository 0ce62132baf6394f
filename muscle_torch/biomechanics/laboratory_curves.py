"""Comparison of a rollout with laboratory measurements of the same trial: curves on one clock, and their agreement.

Each curve has three versions: measured, simulated, and static optimisation of the recorded motion. Forces are in
weights of the respective body, moments in Nm/kg; muscle activity has no common unit, so each curve is divided by its
peak.
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
CUTOFFS = {"force": 20.0, "moment": 6.0, "muscle": 6.0}  # [Hz] low-pass of all curves of a kind, including measured
FORCES = ("vertical force", "fore-aft force")
SHUFFLES = 10_000
MIN_FRAMES = 20  # common to the rollout and all recordings
ROW = ("curve", "unit", "r", "RMSE", "lag [ms]", "r at lag")
OPTIMISED = ("optimised r", "optimised RMSE", "optimised lag [ms]", "optimised r at lag")
COLUMNS = {
    "force": (*ROW, "RMSE [N]", "peak measured [N]", "simulated [N]"),
    "moment": (*ROW, "peak measured [Nm/kg]", "simulated", *OPTIMISED),
    "muscle": (*ROW, "peak activation", *OPTIMISED, "optimised peak", "shuffled r", "shuffled RMSE"),
}


@dataclass(frozen=True, eq=False)
class ComparedCurve:
    """Measured and modelled curves of one quantity."""

    kind: str  # force, moment or muscle
    name: str
    unit: str
    measured: np.ndarray  # (T,)
    simulated: np.ndarray  # (T,)
    optimised: np.ndarray | None  # (T,) static optimisation, if available
    scale: tuple[float, float, float]  # divisor of each of the three curves


@dataclass(frozen=True, eq=False)
class Comparison:
    """Comparison of an episode with its trial."""

    name: str
    time: np.ndarray  # (T,) of the trial [s]
    curves: tuple[ComparedCurve, ...]
    clock: Clock
    mass: float  # of the subject [kg]
    model_mass: float  # [kg]
    notes: tuple[str, ...]

    @property
    def rate(self) -> float:
        """Frame rate [Hz]."""
        return float(1.0 / (self.time[1] - self.time[0]))

    def of(self, kind: str) -> tuple[ComparedCurve, ...]:
        """Return the curves of a kind: force, moment or muscle."""
        return tuple(curve for curve in self.curves if curve.kind == kind)


@dataclass(frozen=True)
class Chance:
    """Mean r of muscles with their EMG channels, compared with random assignments of muscles to channels."""

    r: float
    mean: float
    high: float  # 95th percentile
    beaten: float  # fraction of the assignments that agree at least as well as the true one


def compare_with_laboratory(
    embodiment: Embodiment, archive: RolloutArchive, episode: int, laboratory: Laboratory, table: MuscleMap,
    mass: float = 0.0, cutoff: float = 6.0, swap_plates: bool = False,
) -> Comparison:  # fmt: skip
    """Compare an episode of a rollout with its trial.

    Args:
        embodiment: The archive's body.
        archive: Rollouts.
        episode: Index of the episode, which followed a clip of the trial.
        laboratory: The trial.
        table: Names of EMG channels.
        mass: The subject's mass [kg]; 0: from the force plates.
        cutoff: Low-pass of the recorded motion before static optimisation [Hz].
        swap_plates: Exchange right and left of a force file whose names identify the feet.

    Raises:
        InputError: The clip is of another trial, the clocks do not overlap, or the mass is unknown.
    """
    one = archive.episodes[episode]
    clock = _clock(embodiment, archive, episode, laboratory)
    time = clock.start + np.arange(len(one.qpos)) * archive.dt
    time, frames, notes = _measured_part(laboratory, time, one.name)
    if len(one.qpos) < len(one.reference) - 1:
        notes.append(f"{one.name} was followed for {len(one.qpos)} of {len(one.reference) - 1} frames; the rest is not "
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
    """Compute the chance level of correlations between EMG channels (rows) and model muscles (columns), (M, M), M >= 2.

    All assignments are counted if there are at most `SHUFFLES`, otherwise that many are drawn at random.
    """
    random, count = np.random.default_rng(0), len(table)
    if factorial(count) <= SHUFFLES:
        drawn = np.array(list(permutations(range(count))))
    else:
        drawn = np.argsort(random.random((SHUFFLES, count)), axis=1)
    means = np.nanmean(table[np.arange(count), drawn], axis=1)
    true_mean = float(np.nanmean(np.diag(table)))
    return Chance(
        true_mean, float(means.mean()), float(np.percentile(means, 95)), float(np.mean(means >= true_mean - 1e-12))
    )


def correlations(
    curves: Sequence[ComparedCurve], rate: float, optimised: bool = False, at_lag: bool = False
) -> np.ndarray:
    """Return Pearson's r of each measured curve (row) with each model curve (column), (M, M).

    Args:
        curves: M curves.
        rate: Their rate [Hz].
        optimised: Use static optimisation instead of the simulation.
        at_lag: Use the best lag of each pair.
    """
    models = [curve.optimised if optimised and curve.optimised is not None else curve.simulated for curve in curves]
    if at_lag:
        return np.array([[best_lag(c.measured, m, rate, LONGEST_LAG).r for m in models] for c in curves])
    return np.array([[pearson(c.measured, m) for m in models] for c in curves])


def episode_of(embodiment: Embodiment, archive: RolloutArchive, laboratory: Laboratory) -> int:
    """Return the index of the first episode that followed a clip of the trial. Raises InputError if there is none."""
    reasons = []
    for index in range(len(archive.episodes)):
        try:
            _clock(embodiment, archive, index, laboratory)
        except InputError as error:
            reasons.append(str(error))
            continue
        return index
    more = f" (the same holds for {len(reasons) - 1} more episodes)" if len(reasons) > 1 else ""
    raise InputError(f"{reasons[0]}{more}" if reasons else "the archive contains no episodes; evaluate again")


def _clock(embodiment: Embodiment, archive: RolloutArchive, episode: int, laboratory: Laboratory) -> Clock:
    one = archive.episodes[episode]
    if not len(one.reference):
        raise InputError(f"{one.name} followed no motion; use a rollout of a clip of the trial")
    angles = from_model(one.reference.astype(float), embodiment, 1.0 / archive.dt)
    return find_clock(laboratory, angles, one.name)


def agreement_rows(comparison: Comparison, kind: str) -> list[tuple]:
    """Return one row (`COLUMNS[kind]`) per curve."""
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
            rest = [other for position, other in enumerate(curves) if position != index]
            shuffled = [(pearson(one.measured, o.simulated), rmse(one.measured, o.simulated)) for o in rest]
            chance = np.nanmean(shuffled, axis=0).tolist() if rest else [float("nan")] * 2
            row += (one.scale[1], *baseline, one.scale[2], *chance)
        rows.append(row)
    return rows


def curve_series(comparison: Comparison) -> TimeSeries:
    """Return all curves as columns `<curve>, measured` and so on, over the trial's clock."""
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
    """Return r, RMSE, lag [ms] (positive: the model is later) and r at that lag."""
    lag = best_lag(measured, model, rate, LONGEST_LAG)
    return pearson(measured, model), rmse(measured, model), 1e3 * lag.seconds, lag.r


@dataclass(frozen=True, eq=False)
class RecordedOnModel:
    """Static optimisation of the recorded motion with its force plates."""

    ground: dict[str, np.ndarray]  # side -> (T, 2) upward and forward force [N]
    moments: TimeSeries
    activations: TimeSeries


def recorded_on_model(
    embodiment: Embodiment, laboratory: Laboratory, time: np.ndarray, mass: float, cutoff: float, swap_plates: bool
) -> RecordedOnModel | str:
    """Run inverse dynamics and static optimisation on the recorded motion.

    Args:
        embodiment: The body.
        laboratory: The trial.
        time: Times of the trial, (T,) [s].
        mass: The subject's mass [kg].
        cutoff: Low-pass of the motion [Hz].
        swap_plates: Exchange right and left of the force plates.

    Returns:
        The result, or a note if there are no force plates.
    """
    if laboratory.forces is None:
        return "no static optimisation, because there are no force plates"
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
    """Return the unit vector (2,) from the first to the last of two positions (2, 2) on the ground."""
    path = ends[1] - ends[0]
    length = float(np.linalg.norm(path))
    if length < 0.3:
        raise InputError(f"the body travels only {length:.2f} m: fore-aft forces need overground walking")
    return path / length


def _measured_part(laboratory: Laboratory, time: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return the times covered by every recording, the rollout's frames at these times, and notes."""
    parts = {"motion": laboratory.angles, "force plates": laboratory.forces, "joint moments": laboratory.moments,
             "EMG": laboratory.emg}  # fmt: skip
    if len(time) < MIN_FRAMES:
        raise InputError(f"{name} was lost after {len(time)} frames; a comparison needs at least {MIN_FRAMES}")
    inside = np.ones(len(time), dtype=bool)
    for what, series in parts.items():
        if series is None:
            continue
        covered = (time >= series.time[0] - 1e-9) & (time <= series.time[-1] + 1e-9)
        if covered.sum() < MIN_FRAMES:
            raise InputError(
                f"{series.source}: its {what} cover {series.time[0]:.2f} to {series.time[-1]:.2f} s, but the rollout "
                f"of {name} is at {time[0]:.2f} to {time[-1]:.2f} s of the trial: put them on the trial's clock"
            )
        inside &= covered
    frames = np.flatnonzero(inside)
    if len(frames) < MIN_FRAMES:
        raise InputError(f"trial={laboratory.folder}: its recordings share fewer than {MIN_FRAMES} frames with {name}")
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
            reference = _smooth(at[name], time, "moment") / masses[0]
            title = f"{joint.split('_')[0]} moment ({leg})"
            curves.append(ComparedCurve("moment", title, "Nm/kg", reference, model, optimised, (*masses, masses[0])))
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
        curves.append(ComparedCurve("muscle", name, "of peak", scaled[0], scaled[1], best, scale))
    return curves, left_out


def _smooth(values: np.ndarray, time: np.ndarray, kind: str) -> np.ndarray:
    return butterworth(values, 1.0 / (time[1] - time[0]), CUTOFFS[kind], "low", 4)
