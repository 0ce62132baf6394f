"""Preallocated storage for T steps of W environments, without host synchronization, and their advantages."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from tensordict import TensorDict
from torch import Tensor
from torchrl.objectives.value.functional import generalized_advantage_estimate

from .batching import rows_at_once
from .contracts import ActorCritic, Step, TrainingEnv


class Rollout:
    """Storage of one rollout, first axes (T, W)."""

    def __init__(self, steps: int, env: TrainingEnv):
        """Allocate the storage.

        Args:
            steps: T.
            env: Its `num_envs`, `device`, `observation_size` and `action_size` are read.
        """
        num_envs, device = env.num_envs, env.device
        self.steps = steps
        self._count = 0

        def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros(*shape, dtype=dtype, device=device)

        self.observation = zeros(steps + 1, num_envs, env.observation_size)
        # The last observation of an episode, before the reset, from which a truncated return is bootstrapped.
        self.final_observation = zeros(steps, num_envs, env.observation_size)
        self.action = zeros(steps, num_envs, env.action_size)
        self.log_prob = zeros(steps, num_envs)
        self.reward = zeros(steps, num_envs)
        self.terminated = zeros(steps, num_envs, dtype=torch.bool)
        self.done = zeros(steps, num_envs, dtype=torch.bool)

    def begin(self) -> None:
        """Begin a rollout at the first step."""
        self._count = 0

    def store_action(self, observation: Tensor, action: Tensor, log_prob: Tensor) -> None:
        """Store the observation (W, D), action (W, actions) and log_prob (W,) of the current step."""
        self.observation[self._count] = observation
        self.action[self._count] = action
        self.log_prob[self._count] = log_prob

    def store_step(self, step: Step, done: Tensor) -> None:
        """Store the result of the current step, `done` (W,) included, and advance to the next one."""
        self.final_observation[self._count] = step.observation
        self.reward[self._count] = step.reward
        self.terminated[self._count] = step.terminated
        self.done[self._count] = done
        self._count += 1

    @property
    def observations(self) -> Tensor:
        """Observations that were acted on, (T W, D)."""
        return self.observation[:-1].flatten(0, 1)

    @torch.no_grad()
    def advantages(
        self, policy: ActorCritic, reward: Tensor, gamma: float, lmbda: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compute advantages by TorchRL's generalized advantage estimation.

        The next value is that of the true next observation: after a truncation the one before the reset; after a
        termination it is zero.

        Args:
            policy: Policy whose `critic` is called.
            reward: (T, W); may differ from the stored rewards by a scale.
            gamma: Discount factor.
            lmbda: Trace decay.

        Returns:
            Advantage, value target and value, each (T, W).
        """
        steps = max(1, rows_at_once(self.observation.shape[2]) // self.observation.shape[1])
        values = torch.cat([critic_value(policy, part) for part in self.observation.split(steps)])
        following = values[1:].clone()
        ended = self.done.nonzero(as_tuple=True)  # synchronizes, once per rollout
        if len(ended[0]):
            following[ended] = critic_value(policy, self.final_observation[ended])

        def time_first(x: Tensor) -> Tensor:  # TorchRL expects time second to last: (W, T, 1)
            return x.transpose(0, 1).unsqueeze(-1)

        advantage, target = generalized_advantage_estimate(
            gamma,
            lmbda,
            time_first(values[:-1]),
            time_first(following),
            time_first(reward),
            time_first(self.done),
            time_first(self.terminated),
        )
        return advantage.squeeze(-1).transpose(0, 1), target.squeeze(-1).transpose(0, 1), values[:-1]


@contextmanager
def single_torch_thread(device: torch.device) -> Iterator[None]:
    """Use one torch thread on a CPU.

    A step's small tensor operations do not benefit from more threads, and idle threads would steal cores from the
    simulator.
    """
    threads = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def critic_value(policy: ActorCritic, observation: Tensor) -> Tensor:
    """Return the values (...) of observations (..., D)."""
    read = TensorDict({"observation": observation}, batch_size=observation.shape[:-1])
    return policy.critic(read)["state_value"].squeeze(-1)
