"""Plot learning curves of several runs: `python tools/curves.py "runs=[runs/a,runs/b]" output=curves.png`.

Reads the runs' TensorBoard files and plots a scalar against control steps or wall-clock time.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from muscle_torch.config import key, parse_words, run_command
from muscle_torch.errors import InputError, nearest

LONGEST_BREAK = 600.0  # [s] between two points; longer means that the run was stopped and resumed later


@dataclasses.dataclass(frozen=True)
class CurvesOptions:
    """Options of the program."""

    runs: list[str] = key([], "run folders")
    tag: str = key("err/site_abs_mm", "TensorBoard scalar to plot")
    against: str = key("minutes", "x axis: minutes (of running time) or steps (control steps)")
    labels: list[str] = key([], "labels of the runs; empty: their folder names")
    scale: float = key(1.0, "factor of the values, such as 1000 for millimetres")
    unit: str = key("", "unit in the axis label; empty: mm if the scalar's name ends in _mm")
    output: str = key("curves.png", "the figure: .png, .svg or .pdf")


def main(words: Sequence[str]) -> int:
    """Plot the curves; return the exit code."""
    options = parse_words(CurvesOptions, words)
    if not options.runs:
        raise InputError('no runs: set "runs=[runs/a,runs/b]"')
    if options.labels and len(options.labels) != len(options.runs):
        raise InputError(f"{len(options.labels)} labels= for {len(options.runs)} runs=: set one label per run")
    if options.against not in ("minutes", "steps"):
        raise InputError(f"against={options.against}: must be minutes or steps")
    labels = options.labels or [Path(run).name for run in options.runs]
    curves = {label: curve(run, options.tag) for label, run in zip(labels, options.runs, strict=True)}
    draw(curves, options)
    for label, (minutes, steps, values) in curves.items():
        last, least = options.scale * values[-1], options.scale * min(values)
        print(f"{label:30s} {steps[-1]:>12,d} steps {minutes[-1]:7.1f} min   last {last:.4g}   least {least:.4g}")
    print(f"written to {options.output}")
    return 0


def curve(run: str, tag: str) -> tuple[list[float], list[int], list[float]]:
    """Read a scalar of a run.

    Args:
        run: The run folder.
        tag: The scalar.

    Returns:
        Minutes of running time (without pauses of a resumed run), control steps, and values.

    Raises:
        InputError: The run has no such scalar.
    """
    from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator

    if not Path(run).is_dir():
        raise InputError(f"no run folder {run}: set runs= to folders written by train.py")
    events = EventAccumulator(run, size_guidance={SCALARS: 0})
    events.Reload()
    known = events.Tags()[SCALARS]
    if tag not in known:
        hint = nearest(tag, known) if known else ", because it has none yet"
        raise InputError(f"{run}: no TensorBoard scalar {tag!r}{hint}")
    points = events.Scalars(tag)
    # Time starts with the first scalar of any tag, so that a rarely written one starts late.
    began = min(events.Scalars(name)[0].wall_time for name in known)
    minutes, last, spent = [], began, 0.0
    for point in points:
        gap = point.wall_time - last
        spent += gap if gap < LONGEST_BREAK else 0.0
        last = point.wall_time
        minutes.append(spent / 60)
    return minutes, [point.step for point in points], [point.value for point in points]


def draw(curves: dict[str, tuple[list[float], list[int], list[float]]], options: Any) -> None:
    """Plot curves by label and write the figure. Raises InputError if it cannot be written."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.8, 3.8), layout="constrained")
    axes = figure.subplots()
    for label, (minutes, steps, values) in curves.items():
        across = with_gaps(minutes if options.against == "minutes" else steps, minutes)
        heights = with_gaps([options.scale * value for value in values], minutes)
        (line,) = axes.plot(across, heights, marker=".", markersize=3)
        text = f" {label}: {heights[-1]:.3g}"
        axes.annotate(text, (across[-1], heights[-1]), color=line.get_color(), fontsize=8, va="center")
    axes.set_xlabel("time [min]" if options.against == "minutes" else "control steps")
    axes.set_ylabel(axis_label(options.tag, options.unit))
    axes.set_ylim(bottom=0)
    axes.margins(x=0.02)
    axes.set_xlim(right=axes.get_xlim()[1] * 1.25)  # room for the labels
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    try:
        figure.savefig(options.output, dpi=130)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot write {options.output}: {error}; choose another output=") from None


def with_gaps(values: Sequence[float], minutes: Sequence[float]) -> list[float]:
    """Return values with NaN where a run paused, so that no line joins the points before and after.

    Args:
        values: One value per point.
        minutes: Running time of each point; a point after a pause has that of its predecessor.
    """
    out = list(values[:1])
    for previous, now, value in zip(minutes, minutes[1:], values[1:], strict=False):
        out += [value] if now > previous else [float("nan"), value]
    return out


def axis_label(tag: str, unit: str) -> str:
    """Return the label of the y axis: the scalar's name and its unit."""
    name = tag.split("/")[-1].replace("_", " ")
    if not unit and tag.endswith("_mm"):
        name, unit = name.removesuffix(" mm"), "mm"
    return f"{name} [{unit}]" if unit else name


if __name__ == "__main__":
    run_command(main, CurvesOptions, __doc__ or "")
