"""Progress of an evaluation: a bar on a terminal, a single line otherwise."""

import sys
from collections.abc import Sequence
from typing import Any

from tqdm import tqdm

from .callback import EvaluationCallback


class ProgressBar(EvaluationCallback):
    """Shows the completed control steps of all batches: `with ProgressBar(env, "evaluating") as bar:`."""

    def __init__(self, env: Any, label: str, trials: Sequence[int] | None = None, max_steps: int | None = None):
        """Compute the total number of control steps.

        Args:
            env: The environment whose trials are played.
            label: Description such as "evaluating trained".
            trials: Indices of the trials; None: all.
            max_steps: Maximum number of control steps per trial; None: no limit.
        """
        lengths = env.goal.trials.lengths.tolist()
        steps = sorted((lengths[i] - 1 for i in (range(len(lengths)) if trials is None else trials)), reverse=True)
        limit = steps[0] if max_steps is None else max_steps
        total = sum(min(longest, limit) for longest in steps[:: env.num_envs])  # a batch takes as long as its longest
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
