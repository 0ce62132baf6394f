"""The training loop: collect, estimate advantages, update, log, save."""

import copy
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tensordict import TensorDict
from torch import nn

from muscle_torch.errors import InputError
from muscle_torch.storage.checkpoint import restore_policy, save_checkpoint

from .batching import rows_at_once
from .cem import search
from .logger import Logger, NoLogger, resident_bytes
from .optimizer import Optimizer
from .ppo import PPO, explained_variance
from .precision import prepare
from .process_group import ProcessGroup, SingleProcess, select_shard
from .return_normalizer import ReturnNormalizer
from .rollout import Rollout, distribution
from .stop import StopSignals


class Trainer:
    """PPO on an environment's fast path. `run()` trains to the end of the budget; `iteration()` is one update.

    env: `begin`, `advance`, `restart`, `adapt`, `snapshot`, `load_snapshot` (see `muscle_torch.envs`).
    policy: `.actor`, `.critic`, optionally `.normalizer` and `.anneal`. run_dir: None writes nothing.
    processes: those that the worlds are divided among; `env` holds this one's, `cfg` is of the whole.
    """

    def __init__(
        self, env: Any, policy: nn.Module, cfg: Any, run_dir: Path | None, processes: ProcessGroup | None = None
    ):
        self.env, self.policy, self.cfg, self.run_dir = env, policy, cfg, run_dir
        self.processes = processes or SingleProcess()
        check_budget(cfg)
        self.processes.begin(policy, cfg.seed)
        self._untrained = copy.deepcopy(policy).requires_grad_(False)
        prepare(policy, cfg.precision, cfg.compile, env.observation_size, env.device)
        samples = env.num_envs * cfg.ppo.num_steps
        self.per_update = samples * self.processes.size
        self.num_updates = cfg.max_iterations or max(1, round(cfg.total_steps / self.per_update))
        if cfg.ppo.minibatches > samples:
            raise InputError(f"ppo.minibatches={cfg.ppo.minibatches} for {samples} samples: use fewer")
        if cfg.search.rounds and not hasattr(policy, "search_space"):
            raise InputError(f"search.rounds={cfg.search.rounds}: policy={cfg.policy} has nothing to search for; use 0")
        self.optimizer = Optimizer(policy.parameters(), cfg.optimizer, self.processes)
        self.ppo = PPO(policy, self.optimizer, cfg.ppo, self.processes)
        self.rollout = Rollout(cfg.ppo.num_steps, env)
        self.reward_scale = ReturnNormalizer(env.num_envs, cfg.ppo.gamma, env.device, self.processes)
        self.update = 0  # updates made
        self.best = float("inf")
        self.last_kl = 0.0
        self.observation: torch.Tensor | None = None

    @property
    def step(self) -> int:
        """Control steps learned from so far, all worlds together."""
        return self.update * self.per_update

    @property
    def progress(self) -> float:
        """Share of the schedules that is behind, 0 to 1."""
        behind = self.cfg.schedule_start
        return behind + (1 - behind) * self.update / self.num_updates

    def untrained_policy(self) -> nn.Module:
        """The policy as it was before the first update (resumed or fine-tuned runs: as they were given)."""
        return self._untrained

    def run(self, after_update: Callable[[int, int, Any], None] | None = None, stop: StopSignals | None = None) -> int:
        """Trains; 0, or the exit code of the signal that stopped it (everything saved).

        after_update: called with (updates so far, control steps so far, logger) after each.
        """
        assert self.run_dir is not None
        stop = stop or StopSignals()
        with stop.deferred():
            if self.observation is None:
                self.prepare(stop)
                if self.cfg.search.rounds and not stop.code:
                    self.save({})  # a search takes minutes
            logger = Logger(self.run_dir, self.step) if self.processes.first else NoLogger()
            try:
                while self.update < self.num_updates and not self._stopped(stop):
                    metrics = self.iteration()
                    if self.update % self.cfg.log_interval == 0 or self.update == self.num_updates:
                        logger.write(self.step, metrics)
                        logger.progress(self.step, self.num_updates * self.per_update, metrics)
                    if after_update is not None:
                        after_update(self.update, self.step, logger)
                    if self.update % self.cfg.save_interval == 0 or self.update == self.num_updates:
                        logger.flush()
                        self.save(metrics)
                if stop.code:
                    logger.flush()
                    self.save({})
            finally:
                logger.close()
        return stop.code

    def _stopped(self, stop: StopSignals) -> bool:
        """A signal to one process stops all after the same update."""
        stop.code = self.processes.all_reduce_max(stop.code)
        return stop.code > 0

    def prepare(self, stop: StopSignals | None = None) -> None:
        """Before the first update: the search, if one is asked for, and a rollout to normalise by."""
        if self.cfg.search.rounds and not self.cfg.checkpoint:
            stopped = (lambda: self._stopped(stop)) if stop else (lambda: False)
            search(self.env, self.policy, self.cfg.search, self.cfg.seed, self.processes, stopped, self._tell)
            if stop and stop.code:
                return
        self.observation = self.rollout.collect(self.policy, self.env.begin())
        self._observe()

    def _tell(self, line: str) -> None:
        if self.processes.first:
            print(line, flush=True)

    def iteration(self) -> dict[str, float]:
        """One rollout and one update; the metrics."""
        if self.observation is None:
            self.prepare()
        begin = time.perf_counter()
        progress = self.progress
        self.optimizer.schedule(progress, self.last_kl)
        if (normalizer := getattr(self.policy, "normalizer", None)) is not None:
            normalizer.commit()
        if (anneal := getattr(self.policy, "anneal", None)) is not None:
            anneal(progress)
        assert self.observation is not None
        self.observation = self.rollout.collect(self.policy, self.observation)
        collected = time.perf_counter()
        batch, value, target = self.batch(self._scaled_reward())
        found = self.ppo.update(batch, learn_actor=self.update >= self.cfg.ppo.critic_warmup)
        found["explained_variance"] = explained_variance(value, target, self.processes)
        self._observe()
        self.last_kl = found["kl"]
        self.update += 1
        return self._metrics(found, begin, collected) | self.env.adapt(self.processes.sum)

    def batch(self, reward: torch.Tensor) -> tuple[TensorDict, torch.Tensor, torch.Tensor]:
        """The rollout under `reward` (T, W), as an update takes it: (samples (T W,), values, targets (T, W))."""
        rollout, cfg = self.rollout, self.cfg.ppo
        advantage, target, value = rollout.advantages(self.policy, reward, cfg.gamma, cfg.gae_lambda)
        samples = TensorDict(
            {
                "observation": rollout.observation[:-1],
                "action": rollout.action,
                "action_log_prob": rollout.log_prob,
                "advantage": advantage.unsqueeze(-1),
                "value_target": target.unsqueeze(-1),
                "state_value": value.unsqueeze(-1),
            },
            batch_size=rollout.reward.shape,
        )
        return samples.reshape(-1), value, target

    def _scaled_reward(self) -> torch.Tensor:
        if not self.cfg.ppo.normalize_reward:
            return self.rollout.reward
        self.reward_scale.observe(self.rollout.reward, self.rollout.done)
        return self.reward_scale(self.rollout.reward)

    def _observe(self) -> None:
        """Shows the rollout to the normaliser; it takes effect before the next rollout."""
        normalizer = getattr(self.policy, "normalizer", None)
        if normalizer is not None:
            seen = self.rollout.observation[:-1].flatten(0, 1)
            for part in seen.split(rows_at_once(seen.shape[1])):  # as a whole, its copies would take most memory of all
                normalizer.observe(part)
            self.processes.merge(normalizer)

    def _metrics(self, found: dict[str, float], begin: float, collected: float) -> dict[str, float]:
        rollout, spent = self.rollout, time.perf_counter() - begin
        overflow = torch.full_like(self.env.nan_resets, sum(self.env.physics.overflow().values()))
        health = self.processes.sum(torch.stack((self.env.nan_resets, overflow)))
        episodes, total_return, total_length, early = self.processes.sum(rollout.finished).tolist()
        reward, *terms = self.processes.mean(torch.stack((rollout.reward.mean(), *rollout.terms.values()))).tolist()
        physics = rollout.seconds["physics"]
        learning = time.perf_counter() - collected
        scale = distribution_std(self.policy, rollout.observation[0])
        metrics = {
            "episode/return": total_return / episodes if episodes else float("nan"),
            "episode/length": total_length / episodes if episodes else float("nan"),
            "episode/early_termination_rate": early / episodes if episodes else 0.0,
            "episode/reward": reward,
            **{name: value / rollout.steps for name, value in zip(rollout.terms, terms, strict=True)},
            **{f"ppo/{name}": value for name, value in found.items()},
            "ppo/std": scale,
            "ppo/learning_rate": self.optimizer.learning_rate,
            "speed/steps_per_s": self.per_update / spent,
            "speed/environment_share": physics / spent,
            "speed/inference_share": rollout.seconds["inference"] / spent,
            "speed/learning_share": learning / spent,
            "health/nan_resets": float(health[0]),
            "health/overflow": float(health[1]),
            "memory/resident_bytes": float(resident_bytes()),
        }
        if self.env.device.type == "cuda":
            metrics["memory/device_bytes"] = float(torch.cuda.max_memory_allocated(self.env.device))
        return metrics

    def state_dict(self) -> dict[str, Any]:
        """All that an exact continuation needs; whole on the first process, to which the others send their part."""
        own, *others = self.processes.gather(self._own_state()) or [{}]
        return own | {
            "policy": copy.deepcopy(self.policy.state_dict()),
            "optimizer": copy.deepcopy(self.optimizer.state_dict()),
            "untrained": copy.deepcopy(self._untrained.state_dict()),
            "update": self.update,
            "best": self.best,
            "last_kl": self.last_kl,
            "others": others,
        }

    def _own_state(self) -> dict[str, Any]:
        """What each process has for itself."""
        device = self.env.device
        return {
            "reward_scale": self.reward_scale.state_dict(),
            "env": self.env.snapshot(),
            "observation": None if self.observation is None else self.observation.clone(),
            "episode": (self.rollout.episode_return.clone(), self.rollout.episode_length.clone()),
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        }

    def load_state(self, stored: dict[str, Any]) -> None:
        """Continues from a checkpoint's contents (or `state_dict()`) exactly.

        Where another number of processes saved it, the worlds are divided anew and go on where they were, but every
        process draws new random numbers.
        """
        restore_policy(self.policy, stored)
        self._untrained.load_state_dict(stored["untrained"], strict=False)
        self.optimizer.load_state_dict(copy.deepcopy(stored["optimizer"]))
        self.update = stored["update"]
        self.best, self.last_kl = stored["best"], stored["last_kl"]
        parts = [{name: stored[name] for name in self._OWN}, *stored.get("others", [])]
        self._load_own(select_shard(parts, self.processes, self.cfg.seed + self.update, self.env.device))

    _OWN = ("reward_scale", "env", "observation", "episode", "rng", "cuda_rng")

    def _load_own(self, stored: dict[str, Any]) -> None:
        self.reward_scale.load_state_dict(stored["reward_scale"])
        self.env.load_snapshot(stored["env"])
        if stored["observation"] is not None:
            self.observation = stored["observation"].to(self.env.device)
        episode_return, episode_length = stored["episode"]
        self.rollout.episode_return.copy_(episode_return)
        self.rollout.episode_length.copy_(episode_length)
        torch.set_rng_state(stored["rng"].cpu())
        if stored["cuda_rng"] is not None and self.env.device.type == "cuda":
            torch.cuda.set_rng_state(stored["cuda_rng"].cpu(), self.env.device)

    def save(self, metrics: dict[str, float]) -> None:
        """`last.pt`, `best.pt` where the site error has never been lower, and the newest `step_<N>.pt`."""
        if self.run_dir is None:
            return
        folder = self.run_dir / "checkpoints"
        error = metrics.get("err/site_abs", float("inf"))
        improved, self.best = error < self.best, min(error, self.best)
        contents = self.state_dict() | self._facts()
        if not self.processes.first:
            return
        save_checkpoint(folder / "last.pt", contents)
        if improved:
            save_checkpoint(folder / "best.pt", contents)
        if self.cfg.keep_checkpoints:
            save_checkpoint(folder / f"step_{self.step}.pt", contents)
            kept = sorted(folder.glob("step_*.pt"), key=lambda p: int(p.stem.split("_")[1]))
            for old in kept[: -self.cfg.keep_checkpoints]:
                old.unlink()

    def _facts(self) -> dict[str, Any]:
        """What says whether a checkpoint fits elsewhere, and how to build its policy."""
        return {
            "task": self.cfg.task,
            "config": dataclasses.asdict(self.cfg),
            "policy_spec": getattr(self.policy, "spec", {}),
            **self.env.embodiment.identity,
            "observation_size": self.env.observation_size,
            "action_size": self.env.action_size,
            "step": self.step,
            "progress": self.progress,
        }


def check_budget(cfg: Any) -> None:
    """Raises InputError for numbers that no training can be made of."""
    at_least_one = {"ppo.num_steps": cfg.ppo.num_steps, "ppo.minibatches": cfg.ppo.minibatches}
    at_least_one |= {"ppo.epochs": cfg.ppo.epochs, "log_interval": cfg.log_interval}
    at_least_one |= {"save_interval": cfg.save_interval, "total_steps": cfg.total_steps}
    for name, value in at_least_one.items():
        if value < 1:
            raise InputError(f"{name}={value}: at least 1 is needed")
    for name in ("max_iterations", "keep_checkpoints", "keep_videos", "validation_interval", "validation_clips"):
        if getattr(cfg, name) < 0:
            raise InputError(f"{name}={getattr(cfg, name)}: cannot be negative")


def distribution_std(policy: nn.Module, observation: torch.Tensor) -> float:
    """Mean standard deviation of the action."""
    with torch.no_grad():
        return float(distribution(policy, observation)[1].mean())
