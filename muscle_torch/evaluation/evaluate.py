"""Evaluation: every trial once, from its start to its end, and what learning brought.

Errors are averaged over whole trials: a body that has lost its motion is kept going, so a policy cannot look precise by
falling early. Rates, coverage, length and return stop where the evaluation thresholds were first exceeded. Definitions:
the per-step errors and reward terms of the environment (MuscleMimic's info keys).
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from muscle_torch.errors import InputError
from muscle_torch.storage.files import write_atomically

from .callback import EvaluationCallback
from .controller import Controller
from .progress import ProgressBar
from .summary import summarize
from .tables import comparison_table
from .tally import Tally
from .trials import begin_trials

HEADINGS = {
    "untrained": "untrained",
    "zero": "zero excitation",
    "muscle_control": "muscle control",
    "final": "trained",
}  # of the comparison's columns
Progress = Callable[[int], object]


def evaluate(
    env: Any,
    controller: Controller,
    *,
    trials: Sequence[int] | None = None,
    callbacks: Sequence[EvaluationCallback] = (),
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Play every trial of the environment's goal from start to end; return the evaluation file's contents.

    Args:
        env: Made with `make_env(..., evaluation=True)`, so that `terminated` means its evaluation thresholds. It is
            never restarted within a trial, and neither its horizon nor its number of environments limits what is
            evaluated.
        controller: Chooses the actions.
        trials: Which ones; None: all.
        callbacks: Observe every control step.
        progress: Called with the number of trials that each batch finished, as `tqdm.update` takes it.

    Returns:
        Metrics of all trials together and, under `per_clip` (other goals than motions: `per_trial`), of each.

    Raises:
        InputError: The controller's action has another shape than the environment's.
    """
    rows = run_trials(env, controller, trials, callbacks, progress=progress)
    return summarize([rows[trial] for trial in sorted(rows)], env.goal.trials.unit, env.goal.headline)


@torch.no_grad()
def run_trials(
    env: Any,
    controller: Controller,
    trials: Sequence[int] | None = None,
    callbacks: Sequence[EvaluationCallback] = (),
    *,
    progress: Progress | None = None,
    max_steps: int | None = None,
) -> dict[int, dict[str, Any]]:
    """Play trials in batches; return their rows by trial. max_steps: of each trial at most so many control steps."""
    lengths = env.goal.trials.lengths.tolist()
    # Long trials share a batch, so that few environments wait for the longest one.
    order = sorted(range(len(lengths)) if trials is None else trials, key=lambda trial: -lengths[trial])
    rows: dict[int, dict[str, Any]] = {}
    for first in range(0, len(order), env.num_envs):
        batch = order[first : first + env.num_envs]
        rows |= zip(batch, _run_batch(env, controller, batch, callbacks, max_steps), strict=True)
        if progress is not None:
            progress(len(batch))
    return rows


def _run_batch(
    env: Any, controller: Controller, batch: Sequence[int], callbacks: Sequence[EvaluationCallback], most: int | None
) -> list[dict[str, Any]]:
    """One trial an environment; idle environments repeat the last one and are not counted."""
    trials = env.goal.trials
    ids = torch.tensor([*batch, *[batch[-1]] * (env.num_envs - len(batch))], device=env.device)
    last_step = trials.lengths[ids] - 1
    longest = int(last_step.max())
    begin_trials(env, ids)
    controller.begin(env, torch.ones(env.num_envs, dtype=torch.bool, device=env.device))
    tally = Tally.of(env.num_envs, env.device)
    for callback in callbacks:
        callback.on_batch_begin(env, batch)
    for step in range(1, (longest if most is None else min(longest, most)) + 1):
        action = controller.act(env)
        if action.shape != (env.num_envs, env.action_size):
            raise InputError(
                f"{type(controller).__name__}.act returned an action of shape {tuple(action.shape)}; return "
                f"{(env.num_envs, env.action_size)}: one row an environment"
            )
        for callback in callbacks:
            callback.on_step_begin(env)
        transition = env.advance(action)
        tally.add(transition, step <= last_step, env.goal.success())
        for callback in callbacks:
            callback.on_step_end(env, transition)
    rows = [tally.row(trials, world, trial) for world, trial in enumerate(batch)]
    for callback in callbacks:
        added = callback.on_batch_end(env, tally.length[: len(batch)].tolist())
        rows = [{**row, **more} for row, more in zip(rows, added, strict=True)] if added else rows
    return rows


def compare_controllers(
    env: Any, controllers: Mapping[str, Controller], folder: Path, headings: Mapping[str, str] | None = None
) -> str:
    """Evaluate several controllers on the same trials; return their table.

    Args:
        env: Made with `make_env(..., evaluation=True)`.
        controllers: Name -> controller, the trained one last. Each writes `folder/<name>/metrics.json`.
        folder: `eval` of the run folder.
        headings: Name -> heading of its column, if it is another one than `HEADINGS` has.
    """
    shown = HEADINGS | dict(headings or {})
    columns: dict[str, dict[str, Any]] = {}
    for name, controller in controllers.items():
        heading = shown.get(name, name)
        with ProgressBar(env, f"evaluating {heading}") as bar:
            metrics = evaluate(env, controller, callbacks=[bar])
        write_evaluation(folder / name / "metrics.json", metrics)
        columns[heading] = metrics
    return comparison_table(columns, env.goal.headline)


def write_evaluation(path: Path, metrics: Mapping[str, Any]) -> None:
    """Write the evaluation file whole or not at all. Raises InputError if it cannot be written."""
    # Turned to text first: a value that JSON cannot hold must not leave a file behind.
    text = json.dumps(metrics, indent=2, allow_nan=False) + "\n"
    with write_atomically(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
