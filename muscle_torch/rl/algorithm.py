"""Interface of the algorithms. The trainer steps the environments for them, counts, logs, saves and resumes."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor

from muscle_torch.config import Config

from .contracts import ActorCritic, Step, Teacher, TrainingEnv
from .process_group import ProcessGroup


class Algorithm(ABC):
    """A learning algorithm, a row of ALGORITHMS.

    For each update the trainer runs, without gradients:

        for steps in algorithm.prepare(progress):
            observation = algorithm.begin(observation)
            repeat `steps` times:
                action = algorithm.act(observation)
                step = env.advance(action)
                algorithm.record(step, done)
                observation = env.restart(done)
        metrics = algorithm.update(observation)

    The section of the config with the algorithm's name holds its options.

    Attributes:
        counted: False if the algorithm only searches initial weights: its control steps do not count in `total_steps`,
            and a run that starts from a checkpoint skips it.
        warm_up: Whether the first rollout is only observed, so that statistics exist before the first update.
    """

    counted: ClassVar[bool] = True
    warm_up: ClassVar[bool] = False

    def __init__(
        self,
        env: TrainingEnv,
        policy: ActorCritic,
        cfg: Config,
        processes: ProcessGroup,
        teacher: Teacher | None = None,
    ):
        """Make optimizers and storage.

        Args:
            env: Environments of this process.
            policy: Policy to train; the same on all processes.
            cfg: Configuration of the whole run.
            processes: Group of the processes that train together.
            teacher: Controller to imitate; None: there is none.
        """
        self.env, self.policy, self.cfg, self.processes = env, policy, cfg, processes
        self.teacher = teacher

    @classmethod  # noqa: B027
    def check(cls, env: TrainingEnv, policy: ActorCritic, cfg: Config) -> None:
        """Check whether the algorithm can run; by default always.

        Args:
            env: Environments of this process.
            policy: Policy to train.
            cfg: Configuration of the whole run.

        Raises:
            InputError: It cannot run with this environment, policy or configuration.
        """

    @classmethod
    @abstractmethod
    def num_steps(cls, cfg: Config) -> int:
        """Return the number of control steps of one update in each environment."""

    @classmethod
    def num_updates(cls, cfg: Config, budget: float, num_envs: int) -> int:
        """Return the number of updates for a budget, at least 1.

        Args:
            cfg: Configuration of the whole run.
            budget: Control steps of all environments together.
            num_envs: Number of environments of all processes.
        """
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
            observation: The latest observation (W, D); None resets the environments.
        """
        return self.env.begin() if observation is None else observation

    @abstractmethod
    def act(self, observation: Tensor) -> Tensor:
        """Return the action (W, actions) for an observation (W, D)."""

    @abstractmethod
    def record(self, step: Step, done: Tensor) -> bool:
        """Store the result of the last action; return whether the rollout continues.

        Args:
            step: Result of `env.advance`.
            done: Which episodes have ended, bool (W,).
        """

    def observe(self) -> None:  # noqa: B027
        """Add the rollout to the statistics; called after a warm-up, which has no update."""

    @abstractmethod
    def update(self, observation: Tensor) -> dict[str, float]:
        """Improve the policy; return metrics.

        Args:
            observation: Observation after the last control step, (W, D).
        """

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return the state for exact resume that is the same on all processes."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a result of `state_dict`."""

    def shard_state(self) -> dict[str, Any]:
        """Return the state for exact resume of this process's environments: tensors with first axis W."""
        return {}

    def load_shard_state(self, state: Mapping[str, Any]) -> None:  # noqa: B027
        """Continue from a result of `shard_state`."""
