"""What an algorithm provides. The trainer steps the environments for it, counts, logs, saves and resumes."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor

from muscle_torch.config import Config

from .contracts import ActorCritic, Step, TrainingEnv
from .process_group import ProcessGroup


class Algorithm(ABC):
    """One way of learning, a row of ALGORITHMS. For each update the trainer does, without gradients:

        for steps in algorithm.prepare(progress):
            observation = algorithm.begin(observation)
            repeat `steps` times:
                action = algorithm.act(observation)
                step = env.advance(action)
                algorithm.record(step, done)
                observation = env.restart(done)
        metrics = algorithm.update(observation)

    The config's section of the algorithm's name holds its options.

    Attributes:
        counted: False if it only finds initial weights: its control steps do not count in `total_steps`, and it is
            skipped in a run that starts from a checkpoint.
        warm_up: Whether the first rollout is only observed, so that statistics exist before the first update.
    """

    counted: ClassVar[bool] = True
    warm_up: ClassVar[bool] = False

    def __init__(self, env: TrainingEnv, policy: ActorCritic, cfg: Config, processes: ProcessGroup):
        """Make what learning needs.

        Args:
            env: This process's environments.
            policy: What learns; alike on all processes.
            cfg: Of the whole run.
            processes: Those that train together.
        """
        self.env, self.policy, self.cfg, self.processes = env, policy, cfg, processes

    @classmethod  # noqa: B027
    def check(cls, env: TrainingEnv, policy: ActorCritic, cfg: Config) -> None:
        """Raise InputError if a run of this algorithm could not begin."""

    @classmethod
    @abstractmethod
    def num_steps(cls, cfg: Config) -> int:
        """Return the control steps of one update in each environment."""

    @classmethod
    def num_updates(cls, cfg: Config, budget: float, num_envs: int) -> int:
        """Return the number of updates for a budget [control steps] of `num_envs` environments; at least 1."""
        return max(1, round(budget / (num_envs * cls.num_steps(cfg))))

    def prepare(self, progress: float) -> Sequence[int]:
        """Prepare for an update; return the lengths [control steps] of its rollouts.

        Args:
            progress: Completed fraction of the schedules, in [0, 1].
        """
        return [self.num_steps(self.cfg)]

    def begin(self, observation: Tensor | None) -> Tensor:
        """Begin a rollout; return the observation (W, D) to act on.

        Args:
            observation: The newest one, (W, D); None if the environments are to be reset.
        """
        return self.env.begin() if observation is None else observation

    @abstractmethod
    def act(self, observation: Tensor) -> Tensor:
        """Return the action (W, actions) for an observation (W, D)."""

    @abstractmethod
    def record(self, step: Step, done: Tensor) -> bool:
        """Store what the last action led to; return whether the rollout goes on.

        Args:
            step: What `env.advance` returned.
            done: Which episodes have ended, bool (W,).
        """

    def observe(self) -> None:  # noqa: B027
        """Take statistics of the rollout in; called after a warm-up, which has no update."""

    @abstractmethod
    def update(self, observation: Tensor) -> dict[str, float]:
        """Improve the policy; return metrics.

        Args:
            observation: What follows the last control step, (W, D).
        """

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return what exact resume needs and all processes have alike."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` returned."""

    def shard_state(self) -> dict[str, Any]:
        """Return what exact resume needs of this process's environments: tensors of first axis W."""
        return {}

    def load_shard_state(self, state: Mapping[str, Any]) -> None:  # noqa: B027
        """Continue from what `shard_state` returned."""
