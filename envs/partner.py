"""Two agents on one body: the learner's view of an environment that it shares with a frozen partner.

For example, an exoskeleton's motors learn beside a trained muscle policy, or muscles beside trained motors. Train them
alternately with `partner=<checkpoint of the other>`. Reward, terms and errors are those of the learner.
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
from .muscle_env import MuscleEnv
from .observations import Observer
from .step_terms import Transition


class Partner(Protocol):
    """A trained policy, as from `muscle_torch.models.load_policy`.

    Attributes:
        config: Configuration of its training run.
    """

    config: dict[str, Any]

    def act(self, observation: Tensor) -> Tensor:
        """Return the action (W, actions) for an observation (W, D)."""
        ...


class PartnerEnv:
    """The learner's view of an environment: its observations and actions; the partner's actions are added.

    It provides the part of the interface of `MuscleEnv` that training, evaluation and rendering use.

    Attributes:
        action_size: Number of the learner's actions.
        action_names: Name of each of them.
        zero_action: The learner's action without effect, (actions,).
    """

    def __init__(self, env: MuscleEnv, learner: Sequence[str], partner: Partner, config: Config):
        """Split the actions of an environment between the two.

        Args:
            env: Environment with the action spaces of both, the learner's first.
            learner: Names of the learner's action spaces.
            partner: The frozen policy.
            config: Configuration of the partner's training run.

        Raises:
            InputError: The environment lacks a term that the partner observes.
        """
        self._env, self._partner = env, partner
        sizes = [space.num_commands for name, space in env.actions.spaces.items() if name in learner]
        self._commands = slice(0, sum(sizes))
        self._partner_commands = slice(sum(sizes), env.actions.num_commands)
        env.agent = self._commands
        self.action_size = sum(len(env.actions.spaces[name].names) for name in learner)
        self.action_names = env.action_names[: self.action_size]
        self.zero_action = env.zero_action[: self.action_size]
        self._muscle = tuple(config.observation.muscle)
        self._observer = Observer(config.observation, env.goal, self._partner_state())
        self._partner_observation = self._observer.begin(self._partner_state())

    # Used in training

    @property
    def num_envs(self) -> int:
        """Number of environments W."""
        return self._env.num_envs

    @property
    def device(self) -> torch.device:
        """Device of all tensors."""
        return self._env.device  # type: ignore[return-value]

    @property
    def observation_size(self) -> int:
        """Size D of the learner's observation."""
        return self._env.observation_size

    @property
    def headline(self) -> Headline:
        """The main metric of the goal."""
        return self._env.headline

    def begin(self) -> Tensor:
        """Reset every environment; return the learner's observation (W, D)."""
        observation = self._env.begin()
        self._partner_observation = self._observer.begin(self._partner_state())
        return observation

    def advance(self, action: Tensor) -> Transition:
        """Apply the learner's action (W, actions) and the partner's for one control step; see `MuscleEnv.advance`."""
        partner = self._partner.act(self._partner_observation)
        step = self._env.advance(torch.cat((action.to(partner), partner), dim=1))
        self._partner_observation = self._observer.add(self._partner_observation, self._partner_state())
        return step

    def restart(self, done: Tensor) -> Tensor:
        """Start a new episode in the environments `done` (W,) bool; return observations of all environments (W, D)."""
        observation = self._env.restart(done)
        first = self._observer.begin(self._partner_state())
        self._partner_observation = torch.where(done.unsqueeze(1), first, self._partner_observation)
        return observation

    def adapt(self, total: Callable[[Tensor], Tensor] = lambda counts: counts) -> dict[str, float]:
        """Adapt curricula and sampling to the episodes that ended since the last call; return metrics."""
        return self._env.adapt(total)

    def health(self) -> dict[str, Tensor]:
        """Return counters (), to be summed over processes."""
        return self._env.health()

    def facts(self) -> dict[str, Any]:
        """Return metadata with which checkpoints check their compatibility."""
        return self._env.facts() | {"action_size": self.action_size, "action_names": list(self.action_names)}

    def snapshot(self) -> dict[str, Any]:
        """Return copies of all state that exact resume needs."""
        return self._env.snapshot() | {"partner_observation": self._partner_observation.clone()}

    def load_snapshot(self, snapshot: dict[str, Any]) -> None:
        """Restore a snapshot; the continuation is bit-identical."""
        self._env.load_snapshot(snapshot)
        self._partner_observation = snapshot["partner_observation"].to(self.device, copy=True)

    def close(self) -> None:
        """Release the physics."""
        self._env.close()

    # Used in evaluation and rendering

    @property
    def config(self) -> Config:
        """Configuration, with the action spaces of both."""
        return self._env.config

    @property
    def embodiment(self) -> Any:
        """The body."""
        return self._env.embodiment

    @property
    def physics(self) -> Physics:
        """The simulated worlds."""
        return self._env.physics

    @property
    def goal(self) -> Goal:
        """The objective."""
        return self._env.goal

    @property
    def actions(self) -> ActionSpaces:
        """Action spaces of both."""
        return self._env.actions

    @property
    def evaluation(self) -> bool:
        """Whether `begin` plays the goal's trials in order."""
        return self._env.evaluation

    @property
    def observation(self) -> Tensor:
        """The learner's newest observation, (W, D)."""
        return self._env.observation

    @property
    def observation_layout(self) -> dict[str, slice]:
        """Observation term of the learner -> its columns."""
        return self._env.observation_layout

    @property
    def failure_rate(self) -> Tensor:
        """Running failure rate of each of the goal's groups, (G,)."""
        return self._env.failure_rate

    def draw(self, count: int, beginning: bool = False) -> Start:
        """Draw starts of training episodes, tensors (count,); with `beginning`, at the first frame of clip or trial."""
        return self._env.draw(count, beginning)

    def set_seed(self, seed: int) -> None:
        """Seed the environment's random numbers."""
        self._env.set_seed(seed)

    def assign(self, start: Start) -> Tensor:
        """Reset every environment to a given start; return the learner's observations (W, D)."""
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
        InputError: Both drive the same actuators, or their goals differ.
    """
    names = [choice.name for choice in config.actions]
    shared = [choice.name for choice in partner.actions if choice.name in names]
    if shared:
        raise InputError(
            f"{config.partner} acts through {shared[0]} as well: choose a policy that does not for partner= or "
            "assistance=, or other actions="
        )
    if partner.goal != config.goal:
        before, now = ({"name": goal.name, **vars(goal.options)} for goal in (partner.goal, config.goal))
        name = next(name for name in before if before[name] != now.get(name))
        key = "goal" if name == "name" else f"goal.{name}"
        raise InputError(
            f"{config.partner} was trained with {key}={before[name]}, this run has {key}={now[name]}: use the same"
        )
    return dataclasses.replace(config, actions=(*config.actions, *partner.actions), partner="")
