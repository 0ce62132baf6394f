"""`MuscleControl`: follow reference motions with muscles, without learning."""

import dataclasses
import warnings
from collections.abc import Sequence

import numpy as np

from muscle_torch.embodiments import Embodiment
from muscle_torch.motion import MotionClip

from .body import ControlBody
from .options import MuscleControlOptions
from .pool import PlannerPool, World
from .tables import ClipTables, clip_tables


@dataclasses.dataclass
class Effort:
    """Cost of planning since the controller was created."""

    steps: int = 0  # control steps, summed over environments
    iterations: int = 0  # of Newton's method
    unconverged: int = 0  # control steps that reached the iteration limit; their activations are feasible


class MuscleControl:
    """Computed muscle control with contacts: one quadratic program per environment and control step.

    It stores no state between control steps; all memory is in the activations of the physics.

    Attributes:
        body: The controller's view of the body.
        options: Gains.
        clips: The unfiltered motions.
        effort: Cost of planning so far.
    """

    def __init__(
        self,
        embodiment: Embodiment,
        clips: Sequence[MotionClip],
        options: MuscleControlOptions | None = None,
        cache: bool = True,
    ) -> None:
        """Create a controller for some clips; each is filtered and tabulated on first use.

        Args:
            embodiment: A body with feet, or one that is fixed to the world.
            clips: The motions; their filtered copies are followed.
            options: Gains, number of processes and treatment of infeasible motions; None: defaults.
            cache: Whether to use the on-disk cache.

        Raises:
            InputError: A free body has no feet, or an actuator is neither a muscle nor a motor.
        """
        self.body, self.options = ControlBody(embodiment), options or MuscleControlOptions()
        self.clips, self.effort = list(clips), Effort()
        self._cache = cache
        self._tables: dict[int, ClipTables] = {}
        self._pool = PlannerPool(self.body, self.options)

    def tables(self, clip: int) -> ClipTables:
        """Return the tables of a clip.

        Args:
            clip: Index of the clip.

        Raises:
            InputError: The clip is infeasible, and `options.infeasible` is reject.
        """
        if clip not in self._tables:
            self._tables[clip] = clip_tables(self.clips[clip], self.body, self.options, self._cache)
            self._pool.add(clip, self._tables[clip].reference)
        return self._tables[clip]

    def controls(
        self, qpos: np.ndarray, qvel: np.ndarray, act: np.ndarray, clip: np.ndarray, frame: np.ndarray
    ) -> np.ndarray:
        """Compute the controls of the next control step.

        Args:
            qpos: Poses in the world frame of the clips, (W, nq).
            qvel: Velocities, (W, nv).
            act: Activations, (W, na).
            clip: Index of the clip of each environment, (W,).
            frame: Current frame of the clip, (W,).

        Returns:
            Controls, (W, nu): excitations of muscles in [0, 1], controls of motors within their range.

        Raises:
            InputError: A clip is infeasible, and `options.infeasible` is reject.
        """
        for index in np.unique(clip).tolist():
            self.tables(index)
        columns = (qpos, qvel, act, clip.tolist(), frame.tolist())
        steps = self._pool.plan([World(*row) for row in zip(*columns, strict=True)])
        self.effort.steps += len(steps.controls)
        self.effort.iterations += int(steps.iterations.sum())
        unconverged = int((~steps.converged).sum())
        if unconverged and not self.effort.unconverged:
            warnings.warn(
                f"muscle control: the solver stopped after {steps.iterations.max()} iterations in a control step; its "
                "feasible activations are used, and `effort.unconverged` counts such steps",
                stacklevel=2,
            )
        self.effort.unconverged += unconverged
        return steps.controls

    def close(self) -> None:
        """Stop the planning processes."""
        self._pool.close()
