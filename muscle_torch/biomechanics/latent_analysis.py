"""Analysis of a policy's latent: the number of directions it uses, and how well it predicts the muscles."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from muscle_torch.errors import InputError, nearest
from muscle_torch.motion.rollout_archive import RolloutArchive

from .components import Variance, principal_variance
from .simplex import Forecast, forecast
from .trial_emg import MusclePair

LATENT, SPREAD = "latent", "latent_std"
VARIANCE_COLUMNS = ("signals", "size", "PC 1 [%]", "PC 2 [%]", "PC 3 [%]", "effective number", "variance")
FORECAST_COLUMNS = ("forecast of", "from", "rho", "shuffled", "persistence", "forecasts")
MOST_MUSCLES = 9  # forecast by default


@dataclass(frozen=True)
class ForecastSettings:
    """Parameters of `forecast`; the defaults are the published ones."""

    dimension: int = 3
    lag: int = 1
    horizon: int = 5
    shuffles: int = 20


@dataclass(frozen=True)
class ForecastRow:
    """One forecast: the predicted signal, the signal that predicts it, and the result."""

    target: str
    source: str
    result: Forecast


@dataclass(frozen=True)
class LatentAnalysis:
    """Result of the analysis.

    Attributes:
        archive: The analysed rollouts.
        variances: Principal components of the latent and of each layer, by name.
        forecasts: Forecasts of muscles and of their EMG.
        pairs: Excitation and EMG of muscles, if there is any EMG.
        notes: What was left out, and why.
    """

    archive: RolloutArchive
    variances: dict[str, Variance]
    forecasts: list[ForecastRow]
    pairs: list[MusclePair] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def variance_rows(self) -> list[tuple[Any, ...]]:
        """Return the values of VARIANCE_COLUMNS."""
        return [
            (name, len(one.fractions), *(100 * f for f in one.leading(3)), one.participation, one.total)
            for name, one in self.variances.items()
        ]

    def forecast_rows(self) -> list[tuple[Any, ...]]:
        """Return the values of FORECAST_COLUMNS."""
        return [(row.target, row.source, *row.result) for row in self.forecasts]


def analyse_latents(
    archive: RolloutArchive, pairs: Sequence[MusclePair], muscles: Sequence[str], settings: ForecastSettings
) -> LatentAnalysis:
    """Return the variance of the latent and the layers, and forecasts of the muscles and of their EMG.

    Args:
        archive: Rollouts of a policy whose activations are stored (policy=intention).
        pairs: Excitation and EMG of muscles, if there is any.
        muscles: Muscles to forecast; empty: those of `pairs`, else the most active ones.
        settings: Parameters of the forecasts.

    Raises:
        InputError: The archive holds no latent, or a muscle does not exist.
    """
    if not archive.episodes or LATENT not in archive.episodes[0].network:
        raise InputError("the rollouts contain no latent: use policy=intention, and write them with this version's "
                         "tools/evaluate.py archive=")  # fmt: skip
    variances, notes = {}, []
    for name in archive.episodes[0].network:
        if name == SPREAD:
            continue
        try:
            variances[name] = principal_variance([episode.network[name] for episode in archive.episodes])
        except InputError as error:
            notes.append(f"{name}: {error}")
    chosen = list(muscles) or list(dict.fromkeys(pair.muscle for pair in pairs)) or most_active(archive)
    for muscle in chosen:
        if muscle not in archive.muscle_names:
            raise InputError(
                f"muscles: {archive.embodiment} has no muscle {muscle!r}{nearest(muscle, archive.muscle_names)}"
            )
    forecasts = []
    for target, signals in targets_of(archive, chosen, pairs).items():
        for source, columns in sources_of(archive, target).items():
            try:
                result = forecast(
                    columns, signals, settings.dimension, settings.lag, settings.horizon, settings.shuffles
                )
                forecasts.append(ForecastRow(target, source, result))
            except InputError as error:
                notes.append(f"{target} from {source}: {error}")
    return LatentAnalysis(archive, variances, forecasts, list(pairs), notes)


def most_active(archive: RolloutArchive) -> list[str]:
    """Return the muscles whose excitation varies most, at most MOST_MUSCLES, in the order of the model."""
    spread = np.concatenate([episode.excitation for episode in archive.episodes]).std(axis=0)
    kept = sorted(np.argsort(-spread, kind="stable")[:MOST_MUSCLES].tolist())
    return [archive.muscle_names[index] for index in kept]


def targets_of(
    archive: RolloutArchive, muscles: Sequence[str], pairs: Sequence[MusclePair]
) -> dict[str, list[np.ndarray]]:
    """Return the target signals of each episode, (T,), by name; NaN where there is no EMG.

    Args:
        archive: Rollouts.
        muscles: Muscles whose excitations are targets.
        pairs: Pairs whose EMG is a target.
    """
    targets = {
        muscle: [episode.excitation[:, archive.muscle_names.index(muscle)] for episode in archive.episodes]
        for muscle in muscles
    }
    for pair in pairs:
        recorded = dict(zip(pair.trials, pair.full_emg, strict=True))
        unknown = [np.full(len(episode.qpos), np.nan) for episode in archive.episodes]
        targets[f"EMG {pair.channel}"] = [
            recorded.get(episode.name, nothing) for episode, nothing in zip(archive.episodes, unknown, strict=True)
        ]
    return targets


def sources_of(archive: RolloutArchive, target: str) -> dict[str, list[np.ndarray]]:
    """Return the source signals of each episode, (T, columns), by name; a target is not among its own sources."""
    other_muscles = [index for index, name in enumerate(archive.muscle_names) if name != target]
    joints = [episode.qpos for episode in archive.episodes]
    excitations = [episode.excitation[:, other_muscles] for episode in archive.episodes]
    sources = {"joint angles": joints, LATENT: [episode.network[LATENT] for episode in archive.episodes]}
    if other_muscles:
        both = [np.concatenate(pair, axis=1) for pair in zip(joints, excitations, strict=True)]
        sources["joint angles and excitations"] = both
    return sources
