"""Callbacks of an evaluation."""

from collections.abc import Mapping, Sequence
from typing import Any


class EvaluationCallback:
    """Observes every control step of an evaluation; a subclass overrides what it needs."""

    def on_batch_begin(self, env: Any, trials: Sequence[int]) -> None:
        """Trials (at most W, one an environment) were put at their start."""

    def on_step_begin(self, env: Any) -> None:
        """A control step is about to be made."""

    def on_step_end(self, env: Any, transition: Any) -> None:
        """A control step was made (`muscle_torch.envs.Transition`)."""

    def on_batch_end(self, env: Any, steps: Sequence[int]) -> Sequence[Mapping[str, float | None]]:
        """Return what each trial's row of the evaluation should hold in addition; empty: nothing.

        Args:
            env: The environment.
            steps: Control steps of each trial that count: up to where it was lost, broke or ended.
        """
        return ()
