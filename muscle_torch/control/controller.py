"""`MuscleControl`: follow reference motion with muscles, without anything learned."""

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
    """What planning took since the controller was made."""

    steps: int = 0  # control steps, over all worlds
    iterations: int = 0  # of Newton's method
    unconverged: int = 0  # control steps whose programme stopped at its limit of iterations, with feasible activations


class MuscleControl:
    """Computed muscle control with contacts: one quadratic programme a world and control step.

    It keeps nothing of a world between control steps: the activations in the physics are all its memory.

    Attributes:
        body: The body as the controller sees it.
        options: Its gains.
        clips: The motions, as they are stored.
        effort: What planning took so far.
    """

    def __init__(
        self,
        embodiment: Embodiment,
        clips: Sequence[MotionClip],
        options: MuscleControlOptions | None = None,
        cache: bool = True,
    ) -> None:
        """Make a controller of these clips; each is filtered and tabulated when it is first followed.

        Args:
            embodiment: A body with feet, or one that is fixed to the world.
            clips: The motions, as they are stored.
            options: Gains, processes, and what happens with infeasible motions; None: the defaults.
            cache: Keep tables on disk.

        Raises:
            InputError: A free body has no feet, or an actuator is neither a muscle nor a motor.
        """
        self.body, self.options = ControlBody(embodiment), options or MuscleControlOptions()
        self.clips, self.effort = list(clips), Effort()
        self._cache = cache
        self._tables: dict[int, ClipTables] = {}
        self._pool = PlannerPool(self.body, self.options)

    def tables(self, clip: int) -> ClipTables:
        """Return the tables of a clip, by its index. Raises InputError if it is infeasible and to be refused."""
        if clip not in self._tables:
            self._tables[clip] = clip_tables(self.clips[clip], self.body, self.options, self._cache)
            self._pool.add(clip, self._tables[clip].reference)
        return self._tables[clip]

    def controls(
        self, qpos: np.ndarray, qvel: np.ndarray, act: np.ndarray, clip: np.ndarray, frame: np.ndarray
    ) -> np.ndarray:
        """Return the controls (W, nu) of the next control step: excitations in [0, 1], motors in their range.

        Args:
            qpos: (W, nq) in the world frame of the clips.
            qvel: (W, nv).
            act: (W, na) activations.
            clip: (W,) indices of the clips that the worlds follow.
            frame: (W,) frames at which the bodies should be now.
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
                f"muscle control: the programme of a control step stopped after {steps.iterations.max()} iterations; "
                "feasible activations are used all the same, and `effort.unconverged` counts such steps",
                stacklevel=2,
            )
        self.effort.unconverged += unconverged
        return steps.controls

    def close(self) -> None:
        """Stop the processes of the pool."""
        self._pool.close()
