"""Summaries: from trials to one summary, and from several seeds to their mean."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from .tally import file_key
from .trials import CLIP, Headline

# Means over trials.
PLAIN = ("success_rate", "early_termination_rate", "mean_episode_length", "mean_episode_return", "mpjpe")
COUNTS = ("nan_worlds", "early_termination_count")  # sums over trials
SHARED = ("name", "headline", "num_clips", "num_frames", "num_trials", "num_steps")  # equal for all seeds
PER_TRIAL = ("per_clip", "per_trial")


def summarize(rows: Sequence[Mapping[str, Any]], unit: str, headline: Headline) -> dict[str, Any]:
    """Return the contents of the evaluation file.

    Rates and lengths are means over trials; coverage, errors and reward terms are weighted by duration, as in
    MuscleMimic's `evaluate_all`.

    Args:
        rows: One per trial, of `Tally.row`.
        unit: Name of a trial; for "clip" the keys are those of the published evaluation.
        headline: The error that files of other goals name as `headline`.
    """
    steps = [row["num_frames"] - 1 if unit == CLIP else row["num_steps"] for row in rows]
    excluded = ("name", "num_frames", "num_steps", "frame_coverage", *COUNTS, *PLAIN)
    by_time = [name for name in rows[0] if name not in excluded]
    counts = {name: sum(row[name] for row in rows) for name in COUNTS}
    means = {name: _mean(rows, name) for name in PLAIN if name in rows[0]}
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


def with_accumulated_mpjpe(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return an evaluation with `mpjpe_accumulated`, the published system's MPJPE.

    Its list of errors is never cleared, so that the value of a clip is the mean over all frames of this and all earlier
    clips.

    Args:
        metrics: Contents of the evaluation file, with `mpjpe` in every row.
    """
    rows, total, steps = [], 0.0, 0.0
    for row in metrics["per_clip"]:
        total, steps = total + row["mpjpe"] * row["mean_episode_length"], steps + row["mean_episode_length"]
        rows.append({**row, "mpjpe_accumulated": total / steps})
    return {**metrics, "mpjpe_accumulated": _mean(rows, "mpjpe_accumulated"), "per_clip": rows}


def wilson_interval(successes: int, trials: int) -> list[float]:
    """Return the 95 % confidence interval [low, high] of a rate (Wilson 1927)."""
    from scipy.stats import binomtest  # slow to import

    interval = binomtest(successes, trials).proportion_ci(confidence_level=0.95, method="wilson")
    return [float(interval.low), float(interval.high)]


def average(evaluations: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Average evaluations of the same trials (seeds): means, standard deviations, and each summary."""
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
    present = [(row[name], weight) for row, weight in zip(rows, weights, strict=True) if row[name] is not None]
    return math.fsum(v * w for v, w in present) / math.fsum(w for _, w in present) if present else None


def _mean_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the mean of each key; names and sizes, which are equal in all rows, are taken from the first."""
    means: dict[str, Any] = {}
    for name, first in rows[0].items():
        present = [row[name] for row in rows if row[name] is not None]
        if name in SHARED or isinstance(first, list):
            means[name] = first
        else:
            means[name] = math.fsum(present) / len(present) if present else None
    return means


def _standard_deviation(values: Sequence[float | None]) -> float | None:
    """Return the sample standard deviation (n - 1) over the seeds; None for fewer than two values."""
    present = [value for value in values if value is not None]
    return statistics.stdev(present) if len(present) > 1 else None
