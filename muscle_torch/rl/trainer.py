"""The training loop: collect, update, log and save, for each stage of a run."""

import copy
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from muscle_torch.config import Config, config_to_dict
from muscle_torch.config.schema import LogService
from muscle_torch.errors import InputError
from muscle_torch.storage.checkpoint import restore_policy, save_checkpoint

from .contracts import ActorCritic, Teacher, TrainingEnv
from .episodes import EpisodeStatistics
from .logger import Logger, NoLogger, device_bytes, resident_bytes
from .precision import prepare
from .process_group import SEED_STEP, ProcessGroup, SingleProcess
from .resharding import select_shard
from .rollout import single_torch_thread
from .stages import Stage, plan_stages
from .stop import StopSignals


class Trainer:
    """Trains a policy on an environment.

    `run()` trains to the end of the budget; `iteration()` makes one update.

    Attributes:
        env: Environments of this process.
        policy: The policy, trained in place.
        cfg: Configuration of the whole run.
        run_dir: Run folder; None: nothing is written.
        processes: Group of the processes that train together.
        teacher: Controller that the stage dagger imitates.
        stages: Stages of the run.
        algorithm: Algorithm of the current stage.
        update: Number of updates so far; stages that do not count are left out.
        step: Number of control steps so far, of all processes; stages that do not count are left out.
        observation: Latest observation (W, D); None before the first rollout.
    """

    def __init__(
        self,
        env: TrainingEnv,
        policy: ActorCritic,
        cfg: Config,
        run_dir: Path | None,
        processes: ProcessGroup | None = None,
        teacher: Teacher | None = None,
    ):
        """Prepare a run.

        Args:
            env: Environments of this process.
            policy: Policy to train, on the device of `env`.
            cfg: Configuration of the whole run.
            run_dir: Folder for checkpoints and logs; None: nothing is written, and `run` cannot be called.
            processes: Group of the processes that train together; None: this one.
            teacher: Controller that the stage dagger imitates; None: there is none.

        Raises:
            InputError: A budget, stage or precision of the config is invalid for this environment and policy.
        """
        self.env, self.policy, self.cfg, self.run_dir = env, policy, cfg, run_dir
        self.processes, self.teacher = processes or SingleProcess(), teacher
        check_budget(cfg)
        self.stages = plan_stages(env, policy, cfg, env.num_envs * self.processes.size)
        self.processes.begin(policy, cfg.seed)
        self._untrained = copy.deepcopy(policy).requires_grad_(False)
        prepare(policy, cfg.precision, cfg.compile, env.observation_size, env.device)
        self.episodes = EpisodeStatistics(env.num_envs, env.device)
        self.update, self.step = 0, 0
        self.observation: Tensor | None = None
        self._best = float("-inf")  # highest score of the headline so far
        self._seconds: dict[str, float] = {}
        self._begin_stage(0)

    @property
    def stage(self) -> Stage:
        """The current stage."""
        return self.stages[self.stage_index]

    @property
    def finished(self) -> bool:
        """Whether the whole budget is used."""
        return self.stage_index == len(self.stages) - 1 and self.stage_update >= self.stage.updates

    @property
    def total_steps(self) -> int:
        """Control steps of the whole run, of all processes."""
        return sum(stage.updates * stage.steps_per_update for stage in self.stages)

    @property
    def progress(self) -> float:
        """Completed fraction of the stage's schedules, in [0, 1]."""
        counted = [index for index, stage in enumerate(self.stages) if stage.counted]
        completed = self.cfg.schedule_start if self.stage_index in counted[:1] else 0.0
        return completed + (1 - completed) * self.stage_update / self.stage.updates

    def untrained_policy(self) -> ActorCritic:
        """Return the policy before the first update; in a fine-tuned run the loaded one."""
        return self._untrained

    def run(self, after_update: Callable[[int, int, Any], None] | None = None, stop: StopSignals | None = None) -> int:
        """Train to the end of the budget.

        Args:
            after_update: Callback after each counted update, with (updates so far, control steps so far, logger).
            stop: Signals that end the run early, after saving; None: handlers are not installed.

        Returns:
            0, or the exit code of the signal that stopped the run. Logs and checkpoints are written in either case.
        """
        assert self.run_dir is not None
        stop = stop or StopSignals()
        with stop.deferred():
            logger = self.open_log() if self.processes.first else NoLogger()
            try:
                while not self.finished and not self._stopped(stop):
                    stage, number = self.stage, self.stage_update + 1
                    metrics = self.iteration()
                    if stage.counted:
                        self._report(logger, metrics)
                        if after_update is not None:
                            after_update(self.update, self.step, logger)
                    else:
                        values = ", ".join(f"{name} {value:.3f}" for name, value in metrics.items())
                        logger.say(f"{stage.name} {number}/{stage.updates}: {values}")
                    if self.stage is not stage and not stage.counted:
                        logger.start_clock(self.step)
                    if self.stage is not stage or self.finished or self._save_is_due(stage):
                        logger.flush()
                        self.save(metrics)
                if stop.code:
                    logger.flush()
                    self.save({})
            finally:
                logger.close()
        return stop.code

    def open_log(self) -> Logger:
        """Return the run's log, to be closed, from the current step on. Raises InputError if it cannot be opened."""
        assert self.run_dir is not None
        return Logger(self.run_dir, self.step, mirror=self.cfg.logger == LogService.wandb)

    def iteration(self) -> dict[str, float]:
        """Collect and update once; return the metrics by name."""
        self.collect()
        return self.learn()

    @torch.no_grad()
    def collect(self) -> None:
        """Collect the rollouts of the next update; before a stage's first update, a warm-up rollout if it needs one."""
        if self.observation is None and self.algorithm.warm_up:
            self._rollout(self.algorithm.num_steps(self.cfg))
            self.algorithm.observe()
        begin = time.perf_counter()
        self._seconds = {"inference": 0.0, "environment": 0.0}
        for steps in self.algorithm.prepare(self.progress):
            self._rollout(steps)
        self._seconds["collecting"] = time.perf_counter() - begin

    def learn(self) -> dict[str, float]:
        """Update the policy from the collected rollouts; return the metrics by name."""
        assert self.observation is not None, "call collect first"
        begin, stage = time.perf_counter(), self.stage
        metrics = self.algorithm.update(self.observation)
        self.stage_update += 1
        if stage.counted:
            self.update += 1
            self.step += stage.steps_per_update
            metrics = self.episodes.metrics(self.processes) | metrics | self._health()
            self._seconds["learning"] = time.perf_counter() - begin
            metrics |= self._speed(stage) | self.env.adapt(self.processes.sum)
        if self.stage_update >= stage.updates and self.stage_index + 1 < len(self.stages):
            if not stage.counted:
                self.observation = None  # its episodes were trials
            self._begin_stage(self.stage_index + 1)
        return metrics

    def state_dict(self) -> dict[str, Any]:
        """Return the state for exact resume; complete on rank 0 only, which gathers the shards of the other ranks."""
        first, *other_shards = self.processes.gather(self._shard_state()) or [{}]
        return first | {
            "policy": copy.deepcopy(self.policy.state_dict()),
            "untrained": copy.deepcopy(self._untrained.state_dict()),
            "algorithm": copy.deepcopy(self.algorithm.state_dict()),
            "stage": self.stage_index,
            "stage_update": self.stage_update,
            "update": self.update,
            "step": self.step,
            "best": self._best,
            "others": other_shards,
        }

    def load_state(self, stored: dict[str, Any]) -> None:
        """Continue exactly from the contents of a checkpoint or a result of `state_dict()`.

        If another number of processes saved it, the environments are redistributed in their current state, but the
        random number generators are seeded again.

        Args:
            stored: Contents of the checkpoint.
        """
        restore_policy(self.policy, stored)
        self._untrained.load_state_dict(stored["untrained"], strict=False)
        if stored["stage"] != self.stage_index:
            self._begin_stage(stored["stage"])
        self.algorithm.load_state_dict(copy.deepcopy(stored["algorithm"]))
        self.stage_update = stored["stage_update"]
        self.update, self.step, self._best = stored["update"], stored["step"], stored["best"]
        parts = [{name: stored[name] for name in self._SHARD}, *stored.get("others", [])]
        seed = self.cfg.seed + self.update
        self._load_shard(select_shard(parts, self.processes, seed, self.env.device))
        if len(parts) != self.processes.size:
            self.env.set_seed(seed + SEED_STEP * self.processes.rank)

    def save(self, metrics: dict[str, float]) -> None:
        """Save `last.pt`, `best.pt` if the headline is the best so far, and the newest `step_<N>.pt`.

        Args:
            metrics: Metrics of the last update, among them the headline.
        """
        if self.run_dir is None:
            return
        folder, headline = self.run_dir / "checkpoints", self.env.headline
        score = metrics.get(headline.name, float("nan")) * (-1 if headline.lower_is_better else 1)
        improved = score > self._best
        self._best = score if improved else self._best
        contents = self.state_dict() | self._metadata()
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

    def _begin_stage(self, index: int) -> None:
        self.stage_index, self.stage_update = index, 0
        if hasattr(self, "algorithm"):
            del self.algorithm  # before the next one allocates its storage
        self.algorithm = self.stage.algorithm(self.env, self.policy, self.cfg, self.processes, self.teacher)

    def _rollout(self, steps: int) -> None:
        """Step the environments for the algorithm, for at most `steps` control steps."""
        algorithm, env = self.algorithm, self.env
        if self.observation is None:
            self.episodes.forget()
        self.episodes.begin()
        seconds = dict.fromkeys(("inference", "environment"), 0.0)
        with single_torch_thread(env.device):
            observation = algorithm.begin(self.observation)
            for _ in range(steps):
                begin = time.perf_counter()
                action = algorithm.act(observation)
                acted = time.perf_counter()
                step = env.advance(action)
                done = step.terminated | step.truncated
                self.episodes.add(step, done)
                if not algorithm.record(step, done):
                    break
                observation = env.restart(done)
                seconds["inference"] += acted - begin
                seconds["environment"] += time.perf_counter() - acted
        self.observation = observation
        self._seconds = {name: self._seconds.get(name, 0.0) + value for name, value in seconds.items()}

    def _stopped(self, stop: StopSignals) -> bool:
        """Return whether to stop; a signal to one process stops all after the same update."""
        stop.code = self.processes.all_reduce_max(stop.code)
        return stop.code > 0

    def _save_is_due(self, stage: Stage) -> bool:
        return stage.counted and self.update % self.cfg.save_interval == 0

    def _report(self, logger: Logger | NoLogger, metrics: dict[str, float]) -> None:
        if self.update % self.cfg.log_interval == 0 or self.finished:
            logger.write(self.step, metrics, self.env.headline)
            logger.progress(self.step, self.total_steps, metrics, self.env.headline)

    def _health(self) -> dict[str, float]:
        counters = self.env.health()
        totals = self.processes.sum(torch.stack(list(counters.values()))).tolist()
        return {f"health/{name}": float(total) for name, total in zip(counters, totals, strict=True)}

    def _speed(self, stage: Stage) -> dict[str, float]:
        seconds = self._seconds
        spent = seconds["collecting"] + seconds["learning"]
        metrics = {
            "speed/steps_per_s": stage.steps_per_update / spent,
            "speed/environment_share": seconds["environment"] / spent,
            "speed/inference_share": seconds["inference"] / spent,
            "speed/learning_share": seconds["learning"] / spent,
            "memory/resident_bytes": float(resident_bytes()),
        }
        if self.env.device.type == "cuda":
            metrics["memory/device_bytes"] = float(device_bytes(self.env.device))
        return metrics

    _SHARD = ("algorithm_shard", "env", "observation", "episode", "rng", "cuda_rng")

    def _shard_state(self) -> dict[str, Any]:
        """Return the state that differs between processes."""
        device = self.env.device
        return {
            "algorithm_shard": self.algorithm.shard_state(),
            "env": self.env.snapshot(),
            "observation": None if self.observation is None else self.observation.clone(),
            "episode": (self.episodes.episode_return.clone(), self.episodes.episode_length.clone()),
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        }

    def _load_shard(self, stored: dict[str, Any]) -> None:
        self.algorithm.load_shard_state(stored["algorithm_shard"])
        self.env.load_snapshot(stored["env"])
        observation = stored["observation"]
        self.observation = None if observation is None else observation.to(self.env.device)
        episode_return, episode_length = stored["episode"]
        self.episodes.episode_return.copy_(episode_return)
        self.episodes.episode_length.copy_(episode_length)
        torch.set_rng_state(stored["rng"].cpu())
        if stored["cuda_rng"] is not None and self.env.device.type == "cuda":
            torch.cuda.set_rng_state(stored["cuda_rng"].cpu(), self.env.device)

    def _metadata(self) -> dict[str, Any]:
        """Return metadata to check compatibility and rebuild the policy."""
        about = {"task": self.cfg.task, "config": config_to_dict(self.cfg), "policy_spec": self.policy.spec}
        return about | self.env.facts() | {"progress": self.progress}


def check_budget(cfg: Config) -> None:
    """Raise InputError if an interval or budget of the config is out of range."""
    for name in ("log_interval", "save_interval", "total_steps"):
        if getattr(cfg, name) < 1:
            raise InputError(f"{name}={getattr(cfg, name)}: at least 1 is needed")
    for name in ("max_iterations", "keep_checkpoints", "keep_videos", "validation_interval", "validation_clips"):
        if getattr(cfg, name) < 0:
            raise InputError(f"{name}={getattr(cfg, name)}: cannot be negative")
