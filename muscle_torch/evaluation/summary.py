"""From rows of trials to one summary, and from several seeds to their mean."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from .tally import file_key
from .trials import CLIP, Headline

PLAIN = ("success_rate", "early_termination_rate", "mean_episode_length", "mean_episode_return")  # means over trials
COUNTS = ("nan_worlds", "early_termination_count")  # added up over trials
SHARED = ("name", "headline", "num_clips", "num_frames", "num_trials", "num_steps")  # alike in all seeds
PER_TRIAL = ("per_clip", "per_trial")


def summarize(rows: Sequence[Mapping[str, Any]], unit: str, headline: Headline) -> dict[str, Any]:
    """Return the evaluation file's contents.

    Rates and lengths are means over trials; coverage, errors and reward terms are weighted by time, as in MuscleMimic's
    `evaluate_all`.

    Args:
        rows: One a trial, of `Tally.row`.
        unit: What a trial is called; motions keep the keys of the published evaluation.
        headline: The error that the file of another goal names as `headline`.
    """
    steps = [row["num_frames"] - 1 if unit == CLIP else row["num_steps"] for row in rows]
    known = ("name", "num_frames", "num_steps", "frame_coverage", *COUNTS, *PLAIN)
    by_time = [name for name in rows[0] if name not in known]
    counts = {name: sum(row[name] for row in rows) for name in COUNTS}
    means = {name: _mean(rows, name) for name in PLAIN}
    weighted = {name: _mean(rows, name, steps) for name in by_time}
    if unit == CLIP:
        frames = [row["num_frames"] for row in rows]
        sizes = {"num_clips": len(rows), "num_frames": sum(frames)}
        coverage = {"frame_coverage": _mean(rows, "frame_coverage", steps)}
        return {**sizes, **counts, **means, **coverage, **weighted, "per_clip": list(rows)}
    sizes = {"num_trials": len(rows), "num_steps": sum(steps)}
    interval = {"success_interval": wilson_interval(round(sum(row["success_rate"] for row in rows)), len(rows))}
    name = {"headline": file_key(headline.name)}
    return {**sizes, **counts, **means, **interval, **weighted, **name, "per_trial": list(rows)}


def wilson_interval(successes: int, trials: int) -> list[float]:
    """Return the 95 % confidence interval [low, high] of a rate (Wilson 1927)."""
    from scipy.stats import binomtest  # slow to import

    interval = binomtest(successes, trials).proportion_ci(confidence_level=0.95, method="wilson")
    return [float(interval.low), float(interval.high)]


def average(evaluations: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return several evaluations of the same trials (seeds) as one: means, standard deviations, and each summary."""
    per_trial = next(name for name in PER_TRIAL if name in evaluations[0])
    summaries = [{name: value for name, value in one.items() if name != per_trial} for one in evaluations]
    spread = [name for name, value in summaries[0].items() if name not in (*COUNTS, *SHARED, "success_interval")]
    means = _mean_of(summaries)
    if "success_interval" in means:
        total = means["num_trials"] * len(evaluations)
        means["success_interval"] = wilson_interval(round(means["success_rate"] * total), total)
    return {
        **means,
        "num_seeds": len(evaluations),
        "std": {name: _standard_deviation([one[name] for one in summaries]) for name in spread},
        "per_seed": summaries,
        per_trial: [_mean_of(rows) for rows in zip(*(one[per_trial] for one in evaluations), strict=True)],
    }


def _mean(rows: Sequence[Mapping[str, Any]], name: str, weights: Sequence[float] | None = None) -> float | None:
    weights = weights or [1.0] * len(rows)
    known = [(row[name], weight) for row, weight in zip(rows, weights, strict=True) if row[name] is not None]
    return math.fsum(v * w for v, w in known) / math.fsum(w for _, w in known) if known else None


def _mean_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Key by key; names and sizes, which all share, are taken from the first."""
    means: dict[str, Any] = {}
    for name, first in rows[0].items():
        known = [row[name] for row in rows if row[name] is not None]
        if name in SHARED or isinstance(first, list):
            means[name] = first
        else:
            means[name] = math.fsum(known) / len(known) if known else None
    return means


def _standard_deviation(values: Sequence[float | None]) -> float | None:
    """Over the seeds (n - 1)."""
    known = [value for value in values if value is not None]
    return statistics.stdev(known) if len(known) > 1 else None
