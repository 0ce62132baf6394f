"""Evaluations as text tables: comparison of controllers, trial by trial, backend against backend."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from .tally import file_key
from .trials import Headline


class Quantity(NamedTuple):
    """How a table displays a key of the evaluation file."""

    label: str
    unit: str  # displayed unit; empty: that of the file (SI)
    factor: float  # from the file's SI unit to the displayed one
    heading: str = ""  # short heading for a narrow column


# Errors of motion goals; the headline of another goal defines its label and unit.
MOTION_ERRORS = {
    "err_site_abs": Quantity("site position error", "mm", 1e3, "site"),
    "err_rpos": Quantity("site error relative to anchor", "mm", 1e3, "relative"),
    "err_joint_pos": Quantity("joint angle error", "rad", 1.0, "joints"),
    "err_joint_vel": Quantity("joint velocity error", "rad/s", 1.0, "speeds"),
    "err_root_xyz": Quantity("root position error", "mm", 1e3, "root"),
    "err_root_yaw": Quantity("root heading error", "rad", 1.0, "heading"),
}
RATES = {
    "success_rate": Quantity("successful trials", "%", 1e2),
    "frame_coverage": Quantity("frames covered", "%", 1e2),
    "mean_episode_length": Quantity("episode length", "control steps", 1.0),
    "mean_episode_return": Quantity("episode return", "", 1.0),
}
CLIP_RATES = RATES | {"success_rate": Quantity("clips followed to the end", "%", 1e2)}
NARROW_ERRORS = 3  # number of errors in the table of trials


def quantities(metrics: Mapping[str, Any], headline: Headline | None = None) -> dict[str, Quantity]:
    """Return the errors in an evaluation with their label and unit, the most informative first."""
    chosen = {key: quantity for key, quantity in MOTION_ERRORS.items() if key in metrics}
    if headline is not None and (key := file_key(headline.name)) in metrics and key not in chosen:
        chosen = {key: Quantity(headline.label, headline.unit, headline.factor), **chosen}
    remaining = [key for key in metrics if key.startswith("err_") and key not in chosen]
    return chosen | {key: Quantity(key.removeprefix("err_").replace("_", " ") + " error", "", 1.0) for key in remaining}


def comparison_table(columns: Mapping[str, Mapping[str, Any]], headline: Headline | None = None) -> str:
    """Return the comparison of controllers, one row per quantity.

    Args:
        columns: Heading -> evaluation, the trained controller last. The table's last column is the reduction of its
            error relative to the best of the other columns.
        headline: Headline of the goal.
    """
    final = list(columns.values())[-1]
    rates = CLIP_RATES if "num_clips" in final else RATES
    errors = quantities(final, headline)
    rows = {key: quantity for key, quantity in (errors | rates).items() if final.get(key) is not None}
    labels = {key: f"{quantity.label} [{quantity.unit}]".removesuffix(" []") for key, quantity in rows.items()}
    first = max(36, *(len(label) + 1 for label in labels.values()))
    width = max(11, *(len(heading) + 2 for heading in columns))
    lines = [
        _title(final),
        " " * first + "".join(f"{heading:>{width}s}" for heading in columns) + f"{'reduction':>12s}",
    ]
    for key, quantity in rows.items():
        values = [metrics[key] for metrics in columns.values()]
        cells = "".join(f"{_number(value, quantity.factor):>{width}s}" for value in values)
        lines.append(f"{labels[key]:{first}s}{cells}{_reduction(values) if key in errors else '':>12s}")
    unit = "motions" if "num_clips" in final else "trials"
    broken = {heading: metrics["nan_worlds"] for heading, metrics in columns.items()}
    lines += [f"NaN in {count} of the {heading} {unit}" for heading, count in broken.items() if count]
    return "\n".join(lines)


def trial_table(metrics: Mapping[str, Any], headline: Headline | None = None) -> str:
    """Return one line per trial, worst first: lost motions by coverage, failed trials, then by the main error."""
    clips = "per_clip" in metrics
    rows = metrics["per_clip" if clips else "per_trial"]
    size, rate = ("num_frames", "frame_coverage") if clips else ("num_steps", "success_rate")
    errors = quantities(metrics, headline)
    main = next(iter(errors), None)

    def failed(row: Mapping[str, Any]) -> bool:
        return bool(row["early_termination_rate"] if clips else row["success_rate"] < 1)

    def badness(row: Mapping[str, Any]) -> tuple[float, float]:
        error = row[main] if main else 0.0
        reached = row[rate] if failed(row) else 1.0
        return reached, -(math.inf if error is None else error)

    columns = {
        size: Quantity("", "", 1, size.removeprefix("num_")),
        rate: Quantity("", "%", 1e2, "covered" if clips else "success"),
        **dict(list(errors.items())[:NARROW_ERRORS]),
        "mean_episode_return": Quantity("", "", 1.0, "return"),
    }
    width = max(len("all"), *(len(row["name"]) for row in rows))
    headings = [quantity.heading or quantity.label for quantity in columns.values()]
    widths = [max(10, len(heading) + 2) for heading in headings]
    units = [f"[{quantity.unit}]" if quantity.unit else "" for quantity in columns.values()]
    lines = [_line("clip" if clips else "trial", width, headings, widths), _line("", width, units, widths)]
    for row in [*sorted(rows, key=badness), {**metrics, "name": "all"}]:
        cells = [_number(row[key], quantity.factor) for key, quantity in columns.items()]
        mark = (" lost" if clips else " failed") if failed(row) and row["name"] != "all" else ""
        lines.append(_line(row["name"], width, cells, widths) + mark)
    return "\n".join(lines)


def group_table(metrics: Mapping[str, Any]) -> str:
    """Return one line per group of trials: success with its 95 % interval, and the means of the goal's further results.

    Args:
        metrics: Evaluation of a goal other than motions; empty text if its trials are of one group.
    """
    groups = metrics.get("per_group", {})
    if not groups:
        return ""
    rows = {**groups, "all": metrics}
    outcomes = list(metrics.get("outcome", {}))
    width = max(5, *(len(name) for name in rows))
    headings = ["trials", "success", "95 % interval", *(name.replace("_", " ") for name in outcomes)]
    widths = [max(9, len(heading) + 2) for heading in headings]
    lines = [_line("group", width, headings, widths)]
    for name, row in rows.items():
        low, high = (100 * bound for bound in row["success_interval"])
        cells = [str(row["num_trials"]), f"{100 * row['success_rate']:.1f} %", f"{low:.0f} to {high:.0f} %"]
        lines.append(_line(name, width, [*cells, *(f"{row['outcome'][key]:.3g}" for key in outcomes)], widths))
    return "\n".join(lines)


def backend_table(evaluations: Mapping[str, Mapping[str, Any]]) -> str:
    """Return two backends' summaries side by side, one row per metric, in SI units: name -> summary, baseline first."""
    (one, first), (two, second) = evaluations.items()
    change = difference(first, second)
    width = max(len(name) for name in change)
    lines = [f"{'':{width}s}{one:>14s}{two:>14s}{'difference':>14s}"]
    for name, value in change.items():
        cells = "".join(f"{_number(v, 1):>14s}" for v in (first[name], second[name], value))
        lines.append(f"{name:{width}s}{cells}")
    return "\n".join(lines)


def difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, float | None]:
    """Return other - one for every number that is not a count of trials or frames."""
    names = [name for name, value in one.items() if isinstance(value, int | float) and not name.startswith("num_")]
    return {name: None if other[name] is None else other[name] - one[name] for name in names}


def _title(metrics: Mapping[str, Any]) -> str:
    if "num_clips" in metrics:
        return f"{metrics['num_clips']} motions from start to end, {metrics['num_frames']} frames"
    return f"{metrics['num_trials']} trials from start to end, {metrics['num_steps']} control steps"


def _line(name: str, width: int, cells: Sequence[str], widths: Sequence[int]) -> str:
    return f"{name:{width}s}" + "".join(f"{cell:>{w}s}" for cell, w in zip(cells, widths, strict=True))


def _number(value: float | None, factor: float) -> str:
    if isinstance(value, int):
        return str(value)
    return "-" if value is None else f"{value * factor:.4g}"


def _reduction(values: Sequence[float | None]) -> str:
    baselines = [value for value in values[:-1] if value is not None]
    if not baselines or values[-1] is None or min(baselines) <= 0:
        return ""
    return f"{100 * (1 - values[-1] / min(baselines)):.0f} %"
