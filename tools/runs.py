"""List runs, the newest first: `python tools/runs.py` (task, control steps, headline, start, state).

The headline is the goal's main metric in the final evaluation or, marked with *, in the newest training update. A run
is `finished` if its final evaluation exists or its budget is used, `running` if it wrote in the last two minutes, and
otherwise `stopped`: `python train.py resume=runs/my_run` continues it.
"""

import dataclasses
import json
import math
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from muscle_torch.config import key, parse_words, run_command
from muscle_torch.errors import InputError, nearest

RECENT = 120.0  # [s] since the last line of the log of a running run
FINAL = Path("eval") / "final" / "metrics.json"
SORTS = ("date", "headline", "steps", "task", "name")


@dataclasses.dataclass(frozen=True)
class RunsOptions:
    """Options of the program."""

    runs_dir: str = key("runs", "folder of the run folders")
    task: str = key("", "list only runs of this task")
    sort: str = key("date", f"order: {', '.join(SORTS)} (date, steps: largest first; headline: best first)")


@dataclasses.dataclass(frozen=True)
class Run:
    """One run folder.

    Attributes:
        name: Name of the folder.
        task: Its task.
        steps: Control steps so far.
        budget: Control steps of the whole run.
        headline: The goal's main metric in its displayed unit; NaN: none yet.
        label: Its label and unit, such as "site error mm".
        rank: The metric, negated if higher is better.
        final: Whether it is that of the final evaluation.
        started: Start of the run, seconds since the epoch.
        state: finished, running or stopped.
    """

    name: str
    task: str
    steps: int
    budget: int
    headline: float
    label: str
    rank: float
    final: bool
    started: float
    state: str


def main(words: Sequence[str]) -> int:
    """Print the table; return the exit code."""
    options = parse_words(RunsOptions, words)
    if options.sort not in SORTS:
        raise InputError(f"unknown sort={options.sort}{nearest(options.sort, SORTS)}")
    runs = [read_run(path.parent) for path in sorted(Path(options.runs_dir).glob("*/config.yaml"))]
    runs = [run for run in runs if options.task in ("", run.task)]
    if not runs:
        of_task = f" of task={options.task}" if options.task else ""
        raise InputError(f"no runs{of_task} in {options.runs_dir}: set runs_dir=, or train one with train.py")
    print(table(sorted(runs, key=lambda run: sort_key(run, options.sort))))
    return 0


def read_run(folder: Path) -> Run:
    """Read a run folder.

    Raises:
        InputError: Its config, log or evaluation is damaged.
    """
    from omegaconf import OmegaConf

    config: Any = OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"))
    newest = _last_line(folder / "metrics.jsonl")
    final = _json(folder / FINAL) if (folder / FINAL).exists() else {}
    budget = config["total_steps"]
    if config["max_iterations"]:
        budget = config["max_iterations"] * int(config["num_envs"]) * config["ppo"]["num_steps"]
    steps = int(newest.get("step", 0))
    headline, label, rank = headline_of(config["goal"]["name"], final or newest)
    log = folder / "metrics.jsonl"
    state = "stopped"
    if final or steps >= budget:
        state = "finished"
    elif log.exists() and time.time() - log.stat().st_mtime < RECENT:
        state = "running"
    started = datetime.fromisoformat(_json(folder / "manifest.json")["started"]).timestamp()
    return Run(folder.name, config["task"], steps, budget, headline, label, rank, bool(final), started, state)


def headline_of(goal: str, metrics: Mapping[str, Any]) -> tuple[float, str, float]:
    """Return the main metric of a goal in its displayed unit, its label, and its rank: the lower the better.

    Args:
        goal: A key of the table of goals.
        metrics: A line of metrics.jsonl, or an evaluation; without the metric the result is NaN.
    """
    from muscle_torch.config.kinds import row
    from muscle_torch.evaluation.tally import file_key

    headline = row("goal", goal).load().headline
    stored = metrics.get(headline.name, metrics.get(file_key(headline.name)))
    value = math.nan if stored is None else stored * headline.factor
    return value, f"{headline.label} {headline.unit}", value if headline.lower_is_better else -value


def sort_key(run: Run, order: str) -> tuple[Any, ...]:
    """Return the value to sort runs by; `order` is one of `SORTS`."""
    best = (run.label, math.inf if math.isnan(run.rank) else run.rank)
    keys = {"date": (-run.started,), "headline": best, "steps": (-run.steps,), "task": (run.task,), "name": ()}
    return (*keys[order], run.name)


def table(runs: Sequence[Run]) -> str:
    """Return the runs as text, one line each."""
    headings = ("run", "task", "steps", "headline", "started", "state")
    rows = [headings, *(_cells(run) for run in runs)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(headings))]
    lines = ["  ".join(f"{cell:{width}s}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines)


def _cells(run: Run) -> tuple[str, ...]:
    steps = f"{run.steps:,}" + (f" of {run.budget:,}" if run.budget > run.steps else "")
    headline = "-" if math.isnan(run.headline) else f"{run.label} {run.headline:.1f}{'' if run.final else ' *'}"
    started = time.strftime("%Y-%m-%d %H:%M", time.localtime(run.started))
    return run.name, run.task, steps, headline, started, run.state


def _last_line(path: Path) -> dict[str, Any]:
    """Return the last complete line of a metrics.jsonl; empty if there is none."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for line in reversed(lines):
        try:
            return json.loads(line)
        except json.JSONDecodeError:  # being written
            continue
    return {}


def _json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise InputError(f"{path} is damaged ({error}): delete it, or the run") from None


if __name__ == "__main__":
    run_command(main, RunsOptions, __doc__ or "")
