"""Proximal policy optimization."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor

from muscle_torch.config import Config
from muscle_torch.errors import InputError

from .algorithm import Algorithm
from .batching import rows_at_once
from .contracts import ActorCritic, LatentPolicy, Step, Teacher, TrainingEnv
from .latents import LatentRollout
from .optimizer import make_optimizer
from .ppo_update import PPOUpdate, count_minibatches
from .process_group import ProcessGroup
from .return_normalizer import ReturnNormalizer
from .rollout import Rollout


class PPO(Algorithm):
    """PPO (Schulman et al. 2017) with generalized advantage estimation and clipped updates."""

    warm_up = True

    def __init__(
        self,
        env: TrainingEnv,
        policy: ActorCritic,
        cfg: Config,
        processes: ProcessGroup,
        teacher: Teacher | None = None,
    ):
        super().__init__(env, policy, cfg, processes, teacher)
        self.options = cfg.ppo
        self.optimizer = make_optimizer(cfg.optimizer, policy.parameters(), processes, policy.critic.parameters())
        self.learner = PPOUpdate(policy, self.optimizer, cfg.ppo, processes)
        self.rollout = Rollout(cfg.ppo.num_steps, env)
        self.latents = LatentRollout(policy, cfg.ppo.num_steps, env) if isinstance(policy, LatentPolicy) else None
        self.return_normalizer = ReturnNormalizer(env.num_envs, cfg.ppo.gamma, env.device, processes)
        self.updates = 0
        self.last_kl = 0.0

    @classmethod
    def check(cls, env: TrainingEnv, policy: ActorCritic, cfg: Config) -> None:
        options, samples = cfg.ppo, env.num_envs * cfg.ppo.num_steps
        for name in ("num_steps", "minibatches", "epochs"):
            if getattr(options, name) < 1:
                raise InputError(f"ppo.{name}={getattr(options, name)}: at least 1 is needed")
        if options.smallest_minibatch < 0:
            raise InputError(
                f"ppo.smallest_minibatch={options.smallest_minibatch}: cannot be negative; 0 sets no limit"
            )
        if count_minibatches(options, samples) > samples:
            raise InputError(f"ppo.minibatches={options.minibatches} for {samples} samples: use fewer")

    @classmethod
    def num_steps(cls, cfg: Config) -> int:
        return cfg.ppo.num_steps

    def prepare(self, progress: float) -> Sequence[int]:
        self.optimizer.schedule(progress, self.last_kl)
        if self.policy.normalizer is not None:
            self.policy.normalizer.commit()
        self.policy.anneal(progress)
        return [self.options.num_steps]

    def begin(self, observation: Tensor | None) -> Tensor:
        self.rollout.begin()
        if self.latents is not None:
            self.latents.begin(reset=observation is None)
        return super().begin(observation)

    def act(self, observation: Tensor) -> Tensor:
        act = self.policy.distribution if self.latents is None else self.latents.act
        distribution = act(observation)
        action = distribution.sample()
        self.rollout.store_action(observation, action, distribution.log_prob(action))
        return action

    def record(self, step: Step, done: Tensor) -> bool:
        self.rollout.store_step(step, done)
        if self.latents is not None:
            self.latents.store_step(done)
        return True

    def observe(self) -> None:
        """Add the rollout to the normalizer's statistics, which take effect before the next rollout."""
        normalizer = self.policy.normalizer
        if normalizer is not None:
            observations = self.rollout.observations
            for part in observations.split(
                rows_at_once(observations.shape[1])
            ):  # copies of all at once would dominate the memory
                normalizer.observe(part)
            if self.processes.size > 1:
                normalizer.merge(self.processes.moments, self.processes.size)

    def update(self, observation: Tensor) -> dict[str, float]:
        self.rollout.observation[-1] = observation
        batch, value, target = self.batch(self._scaled_reward())
        metrics = self.learner.update(batch, learn_actor=self.updates >= self.options.critic_warmup)
        metrics["explained_variance"] = explained_variance(value, target, self.processes)
        self.observe()
        self.updates += 1
        self.last_kl = metrics["kl"]
        metrics["learning_rate"] = self.optimizer.learning_rate
        return {f"ppo/{name}": number for name, number in (metrics | self._std()).items()}

    def batch(self, reward: Tensor) -> tuple[TensorDict, Tensor, Tensor]:
        """Return the batch of an update: samples (T W,), values (T, W) and value targets (T, W).

        Args:
            reward: Rewards of the rollout, (T, W), possibly scaled.
        """
        rollout = self.rollout
        advantage, target, value = rollout.advantages(self.policy, reward, self.options.gamma, self.options.gae_lambda)
        samples = {} if self.latents is None else self.latents.samples()
        batch = TensorDict(
            {
                "observation": rollout.observation[:-1],
                "action": rollout.action,
                "action_log_prob": rollout.log_prob,
                "advantage": advantage.unsqueeze(-1),
                "value_target": target.unsqueeze(-1),
                "state_value": value.unsqueeze(-1),
                **samples,
            },
            batch_size=rollout.reward.shape,
        )
        return batch.reshape(-1), value, target

    def state_dict(self) -> dict[str, Any]:
        return {
            "optimizer": self.optimizer.state_dict(),
            "return_moments": self.return_normalizer.moments.clone(),
            "updates": self.updates,
            "last_kl": self.last_kl,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.optimizer.load_state_dict(state["optimizer"])
        self.return_normalizer.moments.copy_(state["return_moments"])
        self.updates, self.last_kl = state["updates"], state["last_kl"]

    def shard_state(self) -> dict[str, Any]:
        latents = {} if self.latents is None else self.latents.state()
        return {"running_return": self.return_normalizer.running.clone(), **latents}

    def load_shard_state(self, state: Mapping[str, Any]) -> None:
        self.return_normalizer.running.copy_(state["running_return"])
        if self.latents is not None:
            self.latents.load_state(dict(state))

    def _scaled_reward(self) -> Tensor:
        if not self.options.normalize_reward:
            return self.rollout.reward
        self.return_normalizer.observe(self.rollout.reward, self.rollout.done)
        return self.return_normalizer(self.rollout.reward)

    @torch.no_grad()
    def _std(self) -> dict[str, float]:
        """Return the mean standard deviation of the actions, if their distribution has one."""
        try:
            return {"std": float(self.policy.distribution(self.rollout.observation[0]).stddev.mean())}
        except NotImplementedError:
            return {}


def explained_variance(value: Tensor, target: Tensor, processes: ProcessGroup) -> float:
    """Return 1 - var(target - value) / var(target); 0 if the target does not vary.

    Args:
        value: Predicted values (T, W).
        target: Value targets (T, W).
        processes: Group of the processes whose samples are counted.
    """
    pair = torch.stack((target - value, target)).flatten(1)
    residual, total = processes.moments(pair.mean(1), pair.var(1, correction=0))[1].tolist()
    return 1 - residual / total if total > 1e-8 else 0.0
