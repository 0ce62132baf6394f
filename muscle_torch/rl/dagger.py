"""Data set aggregation (DAgger): clone a teacher on the states that the student visits.

Ross, Gordon and Bagnell 2011. At first the teacher drives the episodes, with noise on its actions, so that recoveries
are seen (DART: Laskey et al. 2017); then the student does. The teacher labels every state, and the student regresses
the labels of all states so far.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from muscle_torch.config import Choice, Config
from muscle_torch.errors import InputError

from .algorithm import Algorithm
from .contracts import ActorCritic, Step, Teacher, TrainingEnv
from .labelled_states import LabelledStates
from .optimizer import make_optimizer
from .process_group import ProcessGroup

NOISE_MEMORY = 0.8  # of the noise from one control step to the next
FINAL_RATE = 0.1  # learning rate at the end of the stage, as a fraction


class Dagger(Algorithm):
    """Supervised regression of the mode of the policy's distribution on the actions of a teacher.

    An update is a round: a rollout, in which every state is labelled, and gradient steps on the aggregated data set.
    The driver of an episode, teacher or student, is drawn at its start. The checkpoint holds the data set.
    """

    def __init__(
        self,
        env: TrainingEnv,
        policy: ActorCritic,
        cfg: Config,
        processes: ProcessGroup,
        teacher: Teacher | None = None,
    ):
        super().__init__(env, policy, cfg, processes, teacher)
        if teacher is None:
            raise InputError(f"stages={cfg.stages}: dagger needs a teacher; pass one to Trainer")
        self.options = options = cfg.dagger
        rate = {"learning_rate": options.learning_rate, "schedule": "linear", "min_ratio": FINAL_RATE}
        choice = Choice(cfg.optimizer.name, dataclasses.replace(cfg.optimizer.options, **rate))
        self.optimizer = make_optimizer(choice, policy.parameters(), processes)
        processes.watch_gradients(self.optimizer.parameters)
        steps = max(options.num_steps, options.capacity // (env.num_envs * processes.size))
        sizes = (env.num_envs, env.observation_size, env.action_size)
        self.states = LabelledStates(steps, *sizes, env.device)
        self._label: Teacher = teacher
        self._share = options.teacher_share
        self._begun = torch.ones(env.num_envs, dtype=torch.bool, device=env.device)  # episode has just begun
        self._taught = torch.zeros_like(self._begun)  # the teacher drives the episode
        self._noise = torch.zeros(env.num_envs, env.action_size, device=env.device)
        self._ended = torch.zeros(2, device=env.device)  # episodes of the student: all, and those not lost

    @classmethod
    def check(cls, env: TrainingEnv, policy: ActorCritic, cfg: Config) -> None:
        options = cfg.dagger
        for name in ("num_steps", "gradient_steps", "batch", "capacity", "processes"):
            if getattr(options, name) < 1:
                raise InputError(f"dagger.{name}={getattr(options, name)}: at least 1 is needed")
        for name in ("teacher_share", "fade"):
            if not 0 <= getattr(options, name) <= 1:
                raise InputError(f"dagger.{name}={getattr(options, name)}: choose a fraction from 0 to 1")
        if options.noise < 0:
            raise InputError(f"dagger.noise={options.noise}: cannot be negative")

    @classmethod
    def num_steps(cls, cfg: Config) -> int:
        return cfg.dagger.num_steps

    def prepare(self, progress: float) -> Sequence[int]:
        self.optimizer.schedule(progress, 0.0)
        fade = self.options.fade
        self._share = self.options.teacher_share * (max(0.0, 1 - progress / fade) if fade else 0.0)
        return [self.options.num_steps]

    def begin(self, observation: Tensor | None) -> Tensor:
        if observation is None:
            self._begun.fill_(True)
        self._ended.zero_()
        return super().begin(observation)

    def act(self, observation: Tensor) -> Tensor:
        self._label.begin(self.env, self._begun)
        drawn = torch.rand(len(self._begun), device=self._begun.device) < self._share
        self._taught = torch.where(self._begun, drawn, self._taught)
        self._noise *= ~self._begun.unsqueeze(1)
        self._begun = torch.zeros_like(self._begun)
        label = self._label.act(self.env)
        self.states.add(observation, label)
        action = torch.where(self._taught.unsqueeze(1), label, self.policy.distribution(observation).mode)
        fresh = (1 - NOISE_MEMORY**2) ** 0.5 * self.options.noise
        self._noise = NOISE_MEMORY * self._noise + fresh * torch.randn_like(self._noise)
        return action + self._noise

    def record(self, step: Step, done: Tensor) -> bool:
        student = done & ~self._taught
        self._ended += torch.stack((student.sum(), (student & ~step.terminated).sum()))
        self._begun = done.clone()
        return True

    def update(self, observation: Tensor) -> dict[str, float]:
        states, labels = self.states.newest(self.options.num_steps)
        self._observe(states)
        metrics = self._agreement(states, labels)
        losses = torch.stack([self._step() for _ in range(self.options.gradient_steps)])
        ended, whole = self.processes.sum(self._ended).tolist()
        return {
            "dagger/loss": float(self.processes.mean(losses.mean())),
            **metrics,
            "dagger/teacher_share": self._share,
            "dagger/success_rate": whole / ended if ended else float("nan"),
            "dagger/samples": float(len(self.states) * self.processes.size),
            "dagger/learning_rate": self.optimizer.learning_rate,
        }

    def state_dict(self) -> dict[str, Any]:
        return {"optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.optimizer.load_state_dict(state["optimizer"])

    def shard_state(self) -> dict[str, Any]:
        episodes = {"begun": self._begun.clone(), "taught": self._taught.clone(), "noise": self._noise.clone()}
        return episodes | self.states.state()

    def load_shard_state(self, state: Mapping[str, Any]) -> None:
        self.states.load_state(state)
        self._begun, self._taught, self._noise = (
            state[name].to(self.env.device, copy=True) for name in ("begun", "taught", "noise")
        )

    def _observe(self, states: Tensor) -> None:
        normalizer = self.policy.normalizer
        if normalizer is None:
            return
        normalizer.observe(states)
        if self.processes.size > 1:
            normalizer.merge(self.processes.moments, self.processes.size)
        normalizer.commit()

    @torch.no_grad()
    def _agreement(self, states: Tensor, labels: Tensor) -> dict[str, float]:
        """Return the fraction of the labels' variance that the policy explains, before it trains on them."""
        error = (self.policy.distribution(states).mode - labels).square().sum()
        spread = (labels - labels.mean(0)).square().sum()
        error, spread = self.processes.sum(torch.stack((error, spread))).tolist()
        return {"dagger/r2": 1 - error / spread if spread > 0 else 0.0}

    @torch.enable_grad()
    def _step(self) -> Tensor:
        """Take one gradient step; return the loss ()."""
        states, labels = self.states.draw(self.options.batch)
        loss = (self.policy.distribution(states).mode - labels).square().mean()
        extra = self.policy.auxiliary_loss(self.processes.mean)
        self.optimizer.zero_grad()
        (loss if extra is None else loss + extra).backward()
        self.processes.finish_gradients()
        reached = [p for p in self.optimizer.parameters if p.grad is not None]
        norm = nn.utils.clip_grad_norm_(reached, 1.0)
        self.optimizer.step(torch.isfinite(norm))
        return loss.detach()
