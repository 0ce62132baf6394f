"""Callbacks of an evaluation."""

from collections.abc import Mapping, Sequence
from typing import Any


class EvaluationCallback:
    """Observer of an evaluation; subclasses override the hooks they need."""

    def on_batch_begin(self, env: Any, trials: Sequence[int]) -> None:
        """Handle the reset of up to W trials to their start, one per environment."""

    def on_step_begin(self, env: Any) -> None:
        """Handle the start of a control step."""

    def on_step_end(self, env: Any, transition: Any) -> None:
        """Handle the end of a control step, with its `muscle_torch.envs.Transition`."""

    def on_batch_end(self, env: Any, steps: Sequence[int]) -> Sequence[Mapping[str, float | None]]:
        """Return entries to add to the row of each trial in the evaluation; empty: none.

        Args:
            env: The environment.
            steps: Control steps of each trial that count: until it was lost, diverged or ended.
        """
        return ()
