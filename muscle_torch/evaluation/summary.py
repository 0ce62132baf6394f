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
NESTED = ("group", "outcome", "per_group")
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
    excluded = ("name", "num_frames", "num_steps", "frame_coverage", *COUNTS, *PLAIN, *NESTED)
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
    further = {**success_summary(rows), **counts, **means, **weighted, "headline": file_key(headline.name)}
    return {**sizes, **further, **_by_group(rows), "per_trial": list(rows)}


def success_summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return success rate, its interval and the mean of each further result of the goal over trials."""
    successes = sum(row["success_rate"] for row in rows)
    rates = {"success_rate": successes / len(rows), "success_interval": wilson_interval(round(successes), len(rows))}
    outcomes = [row["outcome"] for row in rows if "outcome" in row]
    return rates | ({"outcome": _mean_of(outcomes)} if outcomes else {})


def _by_group(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return `per_group`: the success in each group of trials; nothing if there is only one group."""
    names = list(dict.fromkeys(row["group"] for row in rows if "group" in row))
    if len(names) < 2:
        return {}
    members = {name: [row for row in rows if row.get("group") == name] for name in sorted(names)}
    return {"per_group": {name: {"num_trials": len(some), **success_summary(some)} for name, some in members.items()}}


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
    spread = [
        name for name, value in summaries[0].items() if name not in (*COUNTS, *SHARED, *NESTED, "success_interval")
    ]
    means = _mean_of(summaries)
    for one in (means, *means.get("per_group", {}).values()):
        if "success_interval" in one:
            total = one["num_trials"] * len(evaluations)
            one["success_interval"] = wilson_interval(round(one["success_rate"] * total), total)
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
        if name in SHARED or isinstance(first, list | str):
            means[name] = first
        elif isinstance(first, dict):
            means[name] = _mean_of(present)
        else:
            means[name] = math.fsum(present) / len(present) if present else None
    return means


def _standard_deviation(values: Sequence[float | None]) -> float | None:
    """Return the sample standard deviation (n - 1) over the seeds; None for fewer than two values."""
    present = [value for value in values if value is not None]
    return statistics.stdev(present) if len(present) > 1 else None
