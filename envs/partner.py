"""Two agents on one body: the learner's view of an environment in which a frozen partner acts too.

An exoskeleton's motors learn beside a trained muscle policy, or the muscles beside trained motors: train the two in
turn with `partner=<checkpoint of the other>`. Reward, terms and errors are the learner's.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from muscle_torch.config import Config
from muscle_torch.errors import InputError
from muscle_torch.physics import Physics

from .actions.action_space import ActionSpaces
from .goals.goal import Goal, Headline, Start
from .muscle_env import MuscleEnv, Transition
from .observations import Observer


class Partner(Protocol):
    """A trained policy, such as `muscle_torch.models.load_policy` returns."""

    config: dict[str, Any]  # of its training run

    def act(self, observation: Tensor) -> Tensor:
        """Return the action (W, actions) for an observation (W, D)."""
        ...


class PartnerEnv:
    """An environment as its learner sees it: its own observations and actions; the partner's are filled in.

    It offers what training and evaluation use of a `MuscleEnv`.
    """

    def __init__(self, env: MuscleEnv, learner: Sequence[str], partner: Partner, config: Config):
        """Split the actions of an environment between the two.

        Args:
            env: Its action spaces are those of both, the learner's first.
            learner: Names of the learner's action spaces.
            partner: The frozen policy.
            config: Of the partner's training run.

        Raises:
            InputError: The partner observes what this environment does not have.
        """
        self._env, self._partner = env, partner
        sizes = [len(space.actuators) for name, space in env.actions.spaces.items() if name in learner]
        self._commands = slice(0, sum(sizes))
        self._partner_commands = slice(sum(sizes), env.actions.num_commands)
        env.agent = self._commands
        self.action_size = sum(len(env.actions.spaces[name].names) for name in learner)
        self.action_names = env.action_names[: self.action_size]
        self.zero_action = env.zero_action[: self.action_size]
        self._muscle = tuple(config.observation.muscle)
        self._observer = Observer(config.observation, env.goal, self._partner_state())
        self._partner_observation = self._observer.begin(self._partner_state())

    # What training uses

    @property
    def num_envs(self) -> int:
        return self._env.num_envs

    @property
    def device(self) -> torch.device:
        return self._env.device  # type: ignore[return-value]

    @property
    def observation_size(self) -> int:
        return self._env.observation_size

    @property
    def headline(self) -> Headline:
        return self._env.headline

    def begin(self) -> Tensor:
        """Reset every environment; return the learner's observation (W, D)."""
        observation = self._env.begin()
        self._partner_observation = self._observer.begin(self._partner_state())
        return observation

    def advance(self, action: Tensor) -> Transition:
        """Apply the learner's action (W, actions) and the partner's for one control step."""
        partner = self._partner.act(self._partner_observation)
        step = self._env.advance(torch.cat((action.to(partner), partner), dim=1))
        self._partner_observation = self._observer.add(self._partner_observation, self._partner_state())
        return step

    def restart(self, done: Tensor) -> Tensor:
        """Begin a new episode in the environments `done` (W,) bool; return the observation of all of them (W, D)."""
        observation = self._env.restart(done)
        first = self._observer.begin(self._partner_state())
        self._partner_observation = torch.where(done.unsqueeze(1), first, self._partner_observation)
        return observation

    def adapt(self, total: Callable[[Tensor], Tensor] = lambda counts: counts) -> dict[str, float]:
        """Let curricula and sampling follow how the episodes since the last call ended; return metrics."""
        return self._env.adapt(total)

    def health(self) -> dict[str, Tensor]:
        """Return counters (), to be added up over processes."""
        return self._env.health()

    def facts(self) -> dict[str, Any]:
        """Return what a checkpoint stores to check that it fits another environment."""
        return self._env.facts() | {"action_size": self.action_size}

    def snapshot(self) -> dict[str, Any]:
        """Return copies of all that exact resume needs."""
        return self._env.snapshot() | {"partner_observation": self._partner_observation.clone()}

    def load_snapshot(self, snapshot: dict[str, Any]) -> None:
        """Continue from a snapshot to the bit."""
        self._env.load_snapshot(snapshot)
        self._partner_observation = snapshot["partner_observation"].to(self.device, copy=True)

    def close(self) -> None:
        self._env.close()

    # What evaluation and rendering use besides

    @property
    def config(self) -> Config:
        return self._env.config

    @property
    def embodiment(self) -> Any:
        return self._env.embodiment

    @property
    def physics(self) -> Physics:
        return self._env.physics

    @property
    def goal(self) -> Goal:
        return self._env.goal

    @property
    def actions(self) -> ActionSpaces:
        return self._env.actions

    @property
    def evaluation(self) -> bool:
        return self._env.evaluation

    @property
    def observation(self) -> Tensor:
        return self._env.observation

    @property
    def observation_layout(self) -> dict[str, slice]:
        return self._env.observation_layout

    @property
    def failure_rate(self) -> Tensor:
        return self._env.failure_rate

    def draw(self, count: int, beginning: bool = False) -> Start:
        """Draw starts of training episodes, tensors (count,); beginning: at the beginning of a clip or trial."""
        return self._env.draw(count, beginning)

    def set_seed(self, seed: int) -> None:
        """Restart the environment's random numbers."""
        self._env.set_seed(seed)

    def assign(self, start: Start) -> Tensor:
        """Reset every environment to a start of the goal's; return the learner's observations (W, D)."""
        observation = self._env.assign(start)
        self._partner_observation = self._observer.begin(self._partner_state())
        return observation

    def _partner_state(self) -> Any:
        state = self._env.state(agent=self._partner_commands)
        state.quantities = self._muscle
        return state


def joint_actions(config: Config, partner: Config) -> Config:
    """Return the learner's config with the action spaces of both, the learner's first.

    Raises:
        InputError: Both drive the same actuators, or they pursue different goals.
    """
    names = [choice.name for choice in config.actions]
    shared = [choice.name for choice in partner.actions if choice.name in names]
    if shared:
        raise InputError(
            f"partner={config.partner} acts through {shared[0]} as well: train with actions= that the partner lacks"
        )
    if partner.goal != config.goal:
        raise InputError(
            f"partner={config.partner} was trained with goal {partner.goal}, this run has {config.goal}: use the same"
        )
    return dataclasses.replace(config, actions=(*config.actions, *partner.actions), partner="")
