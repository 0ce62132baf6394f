"""Cross-entropy method (CEM) over a small set of policy parameters, run before PPO.

A few parameters that act on all muscles at once (reflex gains) are hard to improve by a policy gradient, which explores
per muscle and per step. A search that evaluates whole sets of them in parallel environments improves them easily.
Rubinstein and Kroese 2004; reflex gains obtained this way: Geyer and Herr 2010.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from muscle_torch.config import Config
from muscle_torch.errors import InputError

from .algorithm import Algorithm
from .contracts import ActorCritic, Searchable, Step, Teacher, TrainingEnv, TrialEnv
from .process_group import ProcessGroup

ELITE = 6  # the elite is one sixth of the candidates
KEEP = 0.3  # weight of the previous mean and spread, so that the spread does not collapse before the mean converges
CHECK = 10  # control steps between two checks whether any environment is still active


class CEM(Algorithm):
    """Search a policy's `search_space` for a number of rounds; the policy then adopts the mean of the best candidates.

    An update is a round. All candidates of a round begin from the same starts; in its first trial these are the
    beginnings of the motions. The score of a candidate is the reward that its environments collect until they
    terminate. Trials get longer each round: early rounds select candidates that do not fall immediately, later ones
    those that stay upright. If the search is stopped before its last round, the policy is not changed.
    """

    counted = False
    env: TrialEnv

    def __init__(
        self,
        env: TrainingEnv,
        policy: ActorCritic,
        cfg: Config,
        processes: ProcessGroup,
        teacher: Teacher | None = None,
    ):
        super().__init__(env, policy, cfg, processes, teacher)
        self.options, self.search = cfg.cem, cast(Searchable, policy)
        self.mean, self.spread = self.search.search_space()
        # The same seed on all processes, so that they evaluate the same candidates.
        self._random = torch.Generator(device=self.mean.device).manual_seed(cfg.seed)
        self._count = min(self.options.candidates, env.num_envs)
        self._candidate_of_enver = torch.arange(env.num_envs, device=env.device) % self._count
        self._round, self._steps, self._trial, self._step = 0, 0, 0, 0
        self._candidates, self._earned_in_trials = self.mean.expand(self._count, -1), []

    @classmethod
    def check(cls, env: TrainingEnv, policy: ActorCritic, cfg: Config) -> None:
        if not isinstance(policy, Searchable):
            name = policy.spec.get("name", type(policy).__name__)
            raise InputError(f"stages={cfg.stages}: policy={name} has no parameters that cem can search: remove cem")
        for name in ("rounds", "candidates", "trials", "steps"):
            if getattr(cfg.cem, name) < 1:
                raise InputError(f"cem.{name}={getattr(cfg.cem, name)}: at least 1 is needed")

    @classmethod
    def num_steps(cls, cfg: Config) -> int:
        return cfg.cem.steps

    @classmethod
    def num_updates(cls, cfg: Config, budget: float, num_envs: int) -> int:
        return cfg.cem.rounds

    @torch.no_grad()
    def prepare(self, progress: float) -> Sequence[int]:
        options = self.options
        noise = torch.randn((self._count, len(self.mean)), generator=self._random, device=self.mean.device)
        self._candidates = self.mean + self.spread * noise
        self._candidates[0] = self.mean
        self._round += 1
        self._steps = max(CHECK, options.steps * self._round // options.rounds)
        self._trial, self._earned_in_trials = 0, []
        return [self._steps] * options.trials

    def begin(self, observation: Tensor | None) -> Tensor:
        """Begin a trial: all candidates from the same starts; in the first trial those of an evaluation."""
        num_envs, device = self.env.num_envs, self.env.device
        share = torch.arange(num_envs, device=device) // self._count
        drawn = self.env.draw(-(-num_envs // self._count), beginning=self._trial == 0)
        self._trial, self._step = self._trial + 1, 0
        self._earned_in_trials.append(torch.zeros(num_envs, device=device))
        self._alive = torch.ones(num_envs, dtype=torch.bool, device=device)
        self._candidate_of_env = self._candidates[self._candidate_of_enver]
        return self.env.assign(tuple(values.to(device)[share] for values in drawn))

    def act(self, observation: Tensor) -> Tensor:
        return self.search.search_action(observation, self._candidate_of_env)

    def record(self, step: Step, done: Tensor) -> bool:
        self._alive = self._alive & ~step.terminated
        self._earned_in_trials[-1] += torch.where(self._alive, step.reward, 0.0)
        self._alive = self._alive & ~step.truncated
        check = self._step % CHECK == 0
        self._step += 1
        return not check or bool(self._alive.any())

    @torch.no_grad()
    def update(self, observation: Tensor) -> dict[str, float]:
        earned = torch.zeros(self.env.num_envs, device=self.env.device)
        for earned_in_trial in self._earned_in_trials:
            earned = earned + earned_in_trial / self._steps
        earned = earned / self.options.trials
        score = torch.zeros(self._count, device=self.env.device).index_add_(0, self._candidate_of_enver, earned)
        environments = torch.bincount(self._candidate_of_enver, minlength=self._count).to(score)
        score = self.processes.sum(score) / self.processes.sum(environments)
        best = self._candidates[score.topk(max(2, self._count // ELITE)).indices]
        self.mean = KEEP * self.mean + (1 - KEEP) * best.mean(0)
        self.spread = KEEP * self.spread + (1 - KEEP) * best.std(0)
        if self._round == self.options.rounds:
            self.search.adopt(self.mean)
        return {"cem/reward": float(score.mean()), "cem/best_reward": float(score.max())}

    def state_dict(self) -> dict[str, Any]:
        state = {"mean": self.mean.clone(), "spread": self.spread.clone(), "round": self._round}
        return state | {"generator": self._random.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.mean, self.spread = (state[name].to(self.mean, copy=True) for name in ("mean", "spread"))
        self._round = state["round"]
        self._random.set_state(state["generator"].cpu())
