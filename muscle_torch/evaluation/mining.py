"""Hard negative mining: a sequence of experts, each trained on the trials that the previous one fails.

The steps are those of KINESIS (arXiv 2503.14637): train on all trials, evaluate, keep the failed ones, train the next
expert on them from the weights of the last, and so on, until few are left. Training and evaluation are arguments, so
this file knows neither.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from muscle_torch.errors import InputError

from .evaluate import write_evaluation

SUMMARY = ("num_clips", "success_rate", "frame_coverage", "err_site_abs")

# Train expert `index` on trials; the state holds the earlier experts. Returns after the training has finished.
Train = Callable[[int, Sequence[str]], None]
# Evaluate expert `index` on trials; returns the contents of the evaluation file.
Evaluate = Callable[[int, Sequence[str]], Mapping[str, Any]]


@dataclass
class Expert:
    """One trained and evaluated expert.

    Attributes:
        trials: Names of the trials that it was trained and evaluated on.
        failed: Names of those that it failed.
        metrics: Its evaluation on them, SUMMARY only.
    """

    trials: list[str]
    failed: list[str]
    metrics: dict[str, Any] = field(default_factory=dict)


@dataclass
class MiningState:
    """Progress of a mining run, written after every expert.

    Attributes:
        path: File of the state.
        trials: Names of all trials.
        experts: The evaluated experts, in order.
        gate: Evaluation of the finished mixture on all trials, SUMMARY only; empty before.
    """

    path: Path
    trials: list[str]
    experts: list[Expert] = field(default_factory=list)
    gate: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path, trials: Sequence[str]) -> "MiningState":
        """Return the stored state, or a new one.

        Args:
            path: File of the state.
            trials: Names of all trials.

        Raises:
            InputError: The file is damaged or of other trials.
        """
        if not path.exists():
            return cls(path, list(trials))
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            experts = [Expert(**expert) for expert in stored["experts"]]
            state = cls(path, stored["trials"], experts, stored["gate"])
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise InputError(f"{path} is damaged ({error}): choose another experiment=, or remove the file") from None
        if state.trials != list(trials):
            raise InputError(
                f"{path} belongs to {len(state.trials)} other motions than the {len(trials)} of this command: use the "
                "same motion=, or choose another experiment="
            )
        return state

    def save(self) -> None:
        """Write the state atomically."""
        experts = [asdict(expert) for expert in self.experts]
        write_evaluation(self.path, {"trials": self.trials, "experts": experts, "gate": self.gate})

    @property
    def remaining(self) -> list[str]:
        """Trials that the next expert has to learn."""
        return self.experts[-1].failed if self.experts else self.trials


def mine(state: MiningState, train: Train, evaluate: Evaluate, experts: int, stop_below: int) -> None:
    """Train and evaluate experts until enough exist or few trials are left; continue from the state.

    Args:
        state: Progress, saved after every expert.
        train: Trains an expert on trials; called again for an expert whose evaluation was not stored.
        evaluate: Evaluates an expert on trials.
        experts: Number of experts at most.
        stop_below: Stop when fewer trials than this are left.

    Raises:
        InputError: There is nothing to train on, or a limit is out of range.
    """
    if experts < 1 or stop_below < 1 or not state.trials:
        raise InputError(f"experts={experts}, stop_below={stop_below}: both must be at least 1, with motions to follow")
    while len(state.experts) < experts and len(state.remaining) >= (stop_below if state.experts else 1):
        index, trials = len(state.experts), list(state.remaining)
        train(index, trials)
        metrics = evaluate(index, trials)
        state.experts.append(Expert(trials, failed_trials(metrics), summary(metrics)))
        state.gate = {}  # a mixture of fewer experts is out of date
        state.save()


def failed_trials(metrics: Mapping[str, Any]) -> list[str]:
    """Return the names of the trials that an evaluation did not complete, in its order."""
    rows = metrics.get("per_clip", metrics.get("per_trial", ()))
    return [row["name"] for row in rows if row["success_rate"] < 1]


def summary(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metrics of SUMMARY that an evaluation has."""
    return {name: metrics[name] for name in SUMMARY if name in metrics}


def mining_table(state: MiningState) -> str:
    """Return one line per expert on its own trials, then the mixture on all trials."""
    rows = [(f"expert {index}", expert.metrics) for index, expert in enumerate(state.experts)]
    rows += [("mixture", state.gate)] if state.gate else []
    lines = [f"{'':12s}{'motions':>10s}{'success [%]':>13s}{'covered [%]':>13s}{'site error [mm]':>17s}"]
    for name, metrics in rows:
        error = metrics.get("err_site_abs")
        cells = f"{100 * metrics['success_rate']:13.1f}{100 * metrics['frame_coverage']:13.1f}"
        cells += f"{'-' if error is None else f'{1e3 * error:.1f}':>17s}"
        lines.append(f"{name:12s}{metrics['num_clips']:10d}{cells}")
    return "\n".join(lines)
