"""Progress of an evaluation: a bar on a terminal, one line elsewhere."""

import sys
from collections.abc import Sequence
from typing import Any

from tqdm import tqdm

from .callback import EvaluationCallback


class ProgressBar(EvaluationCallback):
    """Shows how many control steps of all batches are done: `with ProgressBar(env, "evaluating") as bar:`."""

    def __init__(self, env: Any, label: str, trials: Sequence[int] | None = None, max_steps: int | None = None):
        """Count the control steps to come.

        Args:
            env: Whose trials are played.
            label: What is done, such as "evaluating trained".
            trials: Which ones; None: all.
            max_steps: Of each trial at most so many control steps.
        """
        lengths = env.goal.trials.lengths.tolist()
        steps = sorted((lengths[i] - 1 for i in (range(len(lengths)) if trials is None else trials)), reverse=True)
        most = steps[0] if max_steps is None else max_steps
        total = sum(min(longest, most) for longest in steps[:: env.num_envs])  # a batch takes as long as its longest
        unit = env.goal.trials.unit
        self._text = f"{label}: {len(steps)} {unit}{'' if len(steps) == 1 else 's'}"
        self._bar = tqdm(total=total, desc=self._text, unit="step", disable=None, leave=False)

    def __enter__(self) -> "ProgressBar":
        if self._bar.disable:
            print(self._text, file=sys.stdout, flush=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def on_step_end(self, env: Any, transition: Any) -> None:
        self._bar.update()
