"""Learning curves of several runs in one picture: `python tools/curves.py "runs=[runs/a,runs/b]" output=curves.png`.

Read from the runs' TensorBoard files, against control steps or against the time they took.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from muscle_torch.config import key, parse_words, run_command
from muscle_torch.errors import InputError, nearest

LONGEST_BREAK = 600.0  # [s] between two points; a longer one is a run that was stopped and continued later


@dataclasses.dataclass(frozen=True)
class CurvesOptions:
    runs: list[str] = key([], "run folders")
    tag: str = key("err/site_abs", "what to draw, a scalar's name in TensorBoard")
    against: str = key("minutes", "minutes (of running) or steps (control steps)")
    labels: list[str] = key([], "names of the runs in the picture; empty: their folders'")
    scale: float = key(1.0, "the values are multiplied by this, such as 1000 for millimetres")
    unit: str = key("", "written behind the tag")
    output: str = key("curves.png", "the picture: .png, .svg or .pdf")


def main(words: Sequence[str]) -> int:
    """Draws one picture; returns the exit code."""
    options = parse_words(CurvesOptions, words)
    if not options.runs:
        raise InputError('no runs given: write "runs=[runs/a,runs/b]"')
    if options.labels and len(options.labels) != len(options.runs):
        raise InputError(f"{len(options.labels)} labels= for {len(options.runs)} runs=: give as many")
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
    """(minutes of running, control steps, values) of a run's scalar; pauses of a run continued later are left out.

    Raises InputError where the run has no such scalar.
    """
    from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator

    if not Path(run).is_dir():
        raise InputError(f"no run folder {run}: give one that train.py wrote")
    events = EventAccumulator(run, size_guidance={SCALARS: 0})
    events.Reload()
    known = events.Tags()[SCALARS]
    if tag not in known:
        hint = nearest(tag, known) if known else ": it has none yet"
        raise InputError(f"{run}: no TensorBoard scalar {tag!r}{hint}")
    found = events.Scalars(tag)
    # The clock starts with whatever was written first, so that a scalar written rarely starts late.
    began = min(events.Scalars(name)[0].wall_time for name in known)
    minutes, last, spent = [], began, 0.0
    for point in found:
        gap = point.wall_time - last
        spent += gap if gap < LONGEST_BREAK else 0.0
        last = point.wall_time
        minutes.append(spent / 60)
    return minutes, [point.step for point in found], [point.value for point in found]


def draw(curves: dict[str, tuple[list[float], list[int], list[float]]], options: Any) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.subplots()
    for label, (minutes, steps, values) in curves.items():
        across = minutes if options.against == "minutes" else steps
        axes.plot(across, [options.scale * value for value in values], marker=".", markersize=3, label=label)
    axes.set_xlabel("minutes" if options.against == "minutes" else "control steps")
    axes.set_ylabel(f"{options.tag} [{options.unit}]" if options.unit else options.tag)
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8, frameon=False)
    try:
        figure.savefig(options.output, dpi=130)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot write {options.output}: {error}; choose another output=") from None


if __name__ == "__main__":
    run_command(main, CurvesOptions, __doc__ or "")
