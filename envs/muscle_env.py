"""The environment: W bodies that pursue a goal, as a TorchRL `EnvBase`.

`begin`, `assign`, `advance` and `restart` are the fast path: plain tensors without host synchronization on CUDA.
Returned tensors are never changed later. TorchRL's `reset`, `step` and `rollout` are built on them.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor
from torchrl.envs import EnvBase

from muscle_torch.config import Config
from muscle_torch.embodiments import Embodiment
from muscle_torch.errors import InputError
from muscle_torch.physics import Physics

from .actions.action_space import ActionSpaces
from .adaptation import Adaptation
from .goals.goal import Goal, Headline, Start
from .model_indices import ModelIndices
from .muscle_randomization import MuscleRandomization
from .observations import Observer
from .rewards import Reward
from .specs import Specs
from .state import State
from .step_terms import GraphedTerms, StepTerms, Terms, Transition, single_thread_exact
from .terminations import Termination


class MuscleEnv(EnvBase):
    """W environments with one body each: physics, terms and episodes. The goal defines the task.

    Attributes:
        config: Configuration.
        num_envs: Number of environments W.
        embodiment: The body.
        physics: The simulated worlds.
        goal: The objective.
        actions: Action spaces.
        muscles: Muscle randomization.
        observer: Observation terms.
        reward: Reward terms and penalties.
        termination: Termination terms.
        observation_size: Size D of the observation.
        observation_layout: Observation term -> its columns.
        action_size: Number of actions.
        action_names: Name of each action.
        zero_action: Action without effect: no excitation, no torque, (actions,).
        evaluation: Whether `begin` plays the goal's trials in order, with `evaluation_termination`.
        agent: Columns of the commands that terms read: all, or with a partner those of the learner.
        measure_errors: Whether `advance().terms` contains "err/<name>"; False saves time.
        episode_step: Control steps since each episode started, (W,).
        nan_resets: Number of divergences since the environment was created, ().
        observation_spec, action_spec, reward_spec, done_spec: TorchRL specs with batch size (W,).
    """

    def __init__(
        self,
        config: Config,
        embodiment: Embodiment,
        body: ModelIndices,
        goal: Goal,
        actions: ActionSpaces,
        physics: Physics,
        evaluation: bool = False,
    ):
        """Assemble the environment; `make_env` creates the parts.

        Args:
            config: Configuration.
            embodiment: The body.
            body: Its indices on the device of `physics`.
            goal: Objective of W environments.
            actions: Action spaces.
            physics: W worlds of `embodiment.model`.
            evaluation: Play the goal's trials in order.

        Raises:
            InputError: A term does not exist, or the body lacks what it reads; or the horizon is below 1.
        """
        super().__init__(device=physics.device, batch_size=torch.Size([physics.num_worlds]))
        if config.env.horizon < 1:
            raise InputError(f"env.horizon={config.env.horizon}: must be at least 1 control step")
        self.config, self.embodiment, self.physics = config, embodiment, physics
        self.goal, self.actions, self.evaluation = goal, actions, evaluation
        self.num_envs = physics.num_worlds
        # On CPU, branching on tensor values saves work; on CUDA it would force a synchronization.
        self._sync_is_free = physics.device.type == "cpu"
        self.action_names, self.zero_action = actions.names, actions.zero_action
        self.action_size = len(actions.names)
        self.agent = slice(None)
        self.measure_errors = True
        self._body = body
        self.muscles = MuscleRandomization.of(config, embodiment, self.num_envs, self.device, middle=evaluation)
        self.muscles.apply(physics)
        thresholds = config.evaluation_termination if evaluation else config.termination
        self.reward = Reward(config.reward, goal, self.device)
        self.termination = Termination(thresholds, goal, self.device)
        self._adaptation = None if evaluation else Adaptation(config, self.termination, self.reward, goal)
        self._make_buffers()
        self.observer = Observer(config.observation, goal, self.state())
        self.observation_layout, self.observation_size = self.observer.layout, self.observer.size
        self._observation = self.observer.begin(self.state())
        self._terms = self._make_terms()
        self._make_specs()

    def __repr__(self) -> str:
        """Return a summary: task, body, sizes and physics."""
        return (
            f"MuscleEnv(task={self.config.task}, goal={self.config.goal.name}, body={self.embodiment.name}, "
            f"num_envs={self.num_envs}, observation_size={self.observation_size}, action_size={self.action_size}, "
            f"physics={type(self.physics).__name__} on {self.device})"
        )

    # The fast path

    @torch.no_grad()
    def begin(self) -> Tensor:
        """Reset every environment; return observations (W, D). In evaluation, environment i plays trial i."""
        return self.assign(self.goal.in_order(self.num_envs) if self.evaluation else self.goal.draw(self.num_envs))

    def draw(self, count: int, beginning: bool = False) -> Start:
        """Draw starts of training episodes, tensors (count,); with `beginning`, at the first frame of clip or trial."""
        return self.goal.beginning(self.goal.draw(count)) if beginning else self.goal.draw(count)

    @torch.no_grad()
    def assign(self, start: Start) -> Tensor:
        """Reset every environment to a given start; return observations (W, D). Activations start at zero.

        Args:
            start: Tensors (W,) as from `goal.draw`; for motions (clip, frame).
        """
        if self._adaptation is not None:
            self._adaptation.forget()
        all_envs = torch.ones(self.num_envs, dtype=torch.bool, device=self.device)
        with single_thread_exact():
            self._place(all_envs, tuple(values.to(self.device) for values in start))
            self._observation = self.observer.begin(self.state())
        return self._observation

    @torch.no_grad()
    def refresh(self) -> Tensor:
        """Return observations (W, D) as at the start of an episode, after external changes of the physics."""
        with single_thread_exact():
            self._observation = self.observer.begin(self.state())
        return self._observation

    @torch.no_grad()
    def advance(self, action: Tensor) -> Transition:
        """Apply an action for one control step.

        Action spaces clip actions to their range; penalties read the unclipped commands. Controls are clamped, so that
        `physics.field("ctrl")` of a muscle is its excitation in [0, 1].

        Args:
            action: (W, actions), a tensor or NumPy array of any numeric type.

        Returns:
            Observation, reward, end of episode and terms. Ended episodes continue until `restart`.

        Raises:
            InputError: The shape is wrong.
        """
        with single_thread_exact():
            command = self.actions.to_actuators(self._checked(action))
            if self.reward.needs_previous_qvel:
                self._previous_qvel.copy_(self.physics.field("qvel", self._body.rows.get("qvel")))
            bad_start = self.physics.bad_worlds()  # MuJoCo C clears reset warnings when it steps, so read them first
            self._simulate(command)
            self.goal.step()
            self.episode_step += 1
            step = self._transition(self._terms.after_step(command), bad_start | self.physics.bad_worlds())
            self._command.copy_(command)
            return step

    def _checked(self, action: Tensor | np.ndarray) -> Tensor:
        action = torch.as_tensor(action)
        if action.shape != (self.num_envs, self.action_size):
            raise InputError(
                f"actions have shape {tuple(action.shape)}, needed {(self.num_envs, self.action_size)}: one row per "
                "environment"
            )
        return action.to(self.device, torch.float32)

    @torch.no_grad()
    def restart(self, done: Tensor) -> Tensor:
        """Start a new episode in some environments.

        Args:
            done: Which environments, bool (W,).

        Returns:
            Observations of all environments, (W, D); rows of the others are those that `advance` returned.
        """
        if self._sync_is_free and not done.any():
            return self._observation
        with single_thread_exact():
            self._place(done, self.goal.draw(self.num_envs))
            if self._sync_is_free:  # observe only the environments that changed
                ids = done.nonzero().squeeze(1)
                self._observation = self._observation.index_copy(0, ids, self.observer.begin(self.state(ids)))
            else:
                self._observation = torch.where(done.unsqueeze(1), self._terms.at_start(), self._observation)
        return self._observation

    @property
    def observation(self) -> Tensor:
        """The newest observation, as last returned by `begin`, `assign`, `advance` or `restart`, (W, D)."""
        return self._observation

    def field(self, name: str) -> Tensor:
        """Return the body's rows of a physics field, as terms read it, (W, ...), or one of the goal's `selections`.

        "substep_ctrl": the muscles' controls at each call of the action spaces in a control step, (W, calls, muscles).
        """
        if name == "substep_ctrl":
            return self._controls
        if name == "ctrl":  # observed before it is clamped, as in the published system
            return self._controls[:, -1]
        if name == "fatigue":  # a constant 0 for muscles that do not fatigue
            fatigued = self.actions.fatigued
            return torch.zeros_like(self._controls[:, -1]) if fatigued is None else fatigued
        return self.physics.field(*self.goal.selections.get(name, (name, self._body.rows.get(name))))

    def state(
        self,
        environments: Tensor | None = None,
        command: Tensor | None = None,
        agent: slice | None = None,
        read: Callable[[str], Tensor] | None = None,
    ) -> State:
        """Return the state that terms read.

        Args:
            environments: Ids (N,); None: all.
            command: Commands of this step (W, commands); None: those of the last step.
            agent: Columns of the commands that terms read; None: `self.agent`.
            read: Field -> values (W, ...); None: `field`.
        """
        field = read or self.field
        columns = self.agent if agent is None else agent
        previous = self._command[:, columns]

        def chosen(values: Tensor) -> Tensor:
            return values if environments is None else values.index_select(0, environments)

        return self.goal.state_type(
            body=self._body,
            read=lambda name: chosen(field(name)),
            action=chosen(previous) if command is None else command[:, columns],
            previous_action=chosen(previous),
            previous_qvel=chosen(self._previous_qvel),
            quantities=tuple(self.config.observation.muscle),
            strength=chosen(self.muscles.strength),
            device_torque=None if self.actions.torque is None else chosen(self.actions.torque),
            **self.goal.fields(environments),
        )

    # Once per training update

    def adapt(self, total: Callable[[Tensor], Tensor] = lambda counts: counts) -> dict[str, float]:
        """Adapt curricula and sampling to the episodes that ended since the last call; return metrics.

        Args:
            total: Sums counts over all processes (all-reduce).
        """
        return {} if self._adaptation is None else self._adaptation.update(total)

    @property
    def headline(self) -> Headline:
        """The main metric of the goal."""
        return self.goal.headline

    @property
    def failure_rate(self) -> Tensor:
        """Running failure rate of each of the goal's groups, (G,); 0.5 (the prior) for groups never drawn."""
        assert self._adaptation is not None, "evaluation environments have no running rates"
        return self._adaptation.failures.rate

    def health(self) -> dict[str, Tensor]:
        """Return counters () to sum over processes: divergences, and physics buffer overflows since the last call."""
        overflow = sum(self.physics.overflow().values())
        return {"nan_resets": self.nan_resets, "overflow": torch.full_like(self.nan_resets, overflow)}

    def facts(self) -> dict[str, Any]:
        """Return metadata with which checkpoints check their compatibility."""
        return {
            **self.embodiment.identity,
            "observation_size": self.observation_size,
            "action_size": self.action_size,
            "action_names": list(self.action_names),
        }

    def snapshot(self) -> dict[str, Any]:
        """Return copies of all state that exact resume needs."""
        stored: dict[str, Any] = {name: getattr(self, name).clone() for name in self._BUFFERS}
        stored |= {"muscles": self.muscles.state(), "physics": self.physics.state(), "goal": self.goal.state()}
        stored |= {"actions": self.actions.state(), "generator": self.goal.generator.get_state()}
        return stored | ({} if self._adaptation is None else {"adaptation": self._adaptation.state()})

    def load_snapshot(self, snapshot: dict[str, Any]) -> None:
        """Restore a snapshot; the continuation is bit-identical.

        Raises:
            InputError: The snapshot is from a different environment or version.
        """
        for name in self._BUFFERS:
            if name not in snapshot:
                raise InputError(
                    "the run was saved by another version of muscle_torch: start a new one with checkpoint="
                )
            if snapshot[name].shape != getattr(self, name).shape:
                raise InputError(
                    f"stored environment does not match: {name} has shape {tuple(snapshot[name].shape)}, needed "
                    f"{tuple(getattr(self, name).shape)}; resume with the same task, num_envs and observation"
                )
        self.muscles.load_state(snapshot["muscles"], self.physics)
        self.physics.load_state(snapshot["physics"])
        self.goal.load_state(snapshot["goal"])
        self.goal.generator.set_state(snapshot["generator"].cpu())
        self.actions.load_state(snapshot["actions"])
        if self._adaptation is not None and "adaptation" in snapshot:
            self._adaptation.load_state(snapshot["adaptation"])
        for name in self._BUFFERS:
            # Replaced, not filled: tensors returned earlier must not change.
            setattr(self, name, snapshot[name].to(self.device, copy=True))

    def __reduce__(self) -> Any:
        """Support `copy.deepcopy` and pickle: create the environment from its config and restore its snapshot."""
        return _rebuilt, (self.config, str(self.device), self.evaluation, self.snapshot())

    def close(self, *, raise_if_closed: bool = True) -> None:
        """Release the physics."""
        super().close(raise_if_closed=raise_if_closed)
        self.physics.close()

    # One control step

    _BUFFERS = ("episode_step", "nan_resets", "_command", "_controls", "_previous_qvel", "_observation")

    def _make_buffers(self) -> None:
        worlds = self.num_envs
        self.episode_step = torch.zeros(worlds, dtype=torch.long, device=self.device)
        self.nan_resets = torch.zeros((), dtype=torch.long, device=self.device)
        self._command = torch.zeros(worlds, self.actions.num_commands, device=self.device)
        muscles = self.embodiment.muscle_ids
        calls = self.embodiment.substeps if self.actions.every_substep else 1
        self._controls = torch.zeros(worlds, calls, len(muscles), device=self.device)  # of muscles, not clamped
        only_muscles = len(muscles) == self.embodiment.model.nu
        self._muscle_ids = None if only_muscles else torch.from_numpy(muscles).to(self.device)
        self._previous_qvel = torch.zeros(worlds, self.embodiment.num_qvel, device=self.device)
        props = self.embodiment.model.qpos0[self.embodiment.num_qpos :]
        # Cached: copying at each reset would synchronize.
        self._props_qpos = torch.from_numpy(props).float().to(self.device)

    def _place(self, environments: Tensor, start: Start) -> None:
        qpos, qvel = self.goal.place(environments, start)
        self.actions.begin(environments)
        self.episode_step = torch.where(environments, 0, self.episode_step)
        self._command = torch.where(environments.unsqueeze(1), 0.0, self._command)
        self._controls = torch.where(environments.view(-1, 1, 1), 0.0, self._controls)
        self.physics.reset(environments, *self._with_props(qpos, qvel))

    def _with_props(self, qpos: Tensor, qvel: Tensor) -> tuple[Tensor, Tensor]:
        """Append pose and velocity of the props, unless the goal returned them."""
        model = self.embodiment.model
        if qpos.shape[1] == model.nq:
            return qpos, qvel
        rest = self._props_qpos.expand(len(qpos), -1)
        still = qvel.new_zeros(len(qvel), model.nv - qvel.shape[1])
        return torch.cat((qpos, rest), dim=1), torch.cat((qvel, still), dim=1)

    def _simulate(self, command: Tensor) -> None:
        self.goal.move_props(self.physics)
        calls, applied = self._controls.shape[1], []
        substeps = self.embodiment.substeps // calls
        for _ in range(calls):
            controls = self.actions.to_controls(command, self.physics, self.goal)
            self.physics.step(self.actions.apply(controls, substeps), substeps)
            applied.append(controls if self._muscle_ids is None else controls.index_select(1, self._muscle_ids))
        self._controls = torch.stack(applied, dim=1)

    def _make_terms(self) -> StepTerms:
        if self.config.env.graph and not self._sync_is_free:
            return GraphedTerms(self, ("_command", "_controls", "_previous_qvel", "_observation"))
        return StepTerms(self)

    def _transition(self, step: Terms, bad: Tensor) -> Transition:
        observation, reward = step.observation, step.reward
        # A sum is finite only if all its summands are.
        broken = bad | ~torch.isfinite(observation.sum(dim=1) + reward)
        terminated = step.exceeded & ~broken
        truncated = (self.episode_step >= self.config.env.horizon) | self.goal.finished() | broken
        self.nan_resets += broken.sum()
        if self._adaptation is not None:
            self._adaptation.count(self.goal.group, terminated | truncated, terminated | broken)
        if not self._sync_is_free or broken.any():
            observation = torch.where(broken.unsqueeze(1), 0.0, observation)
            reward = torch.where(broken, 0.0, reward)
        self._observation = observation
        return Transition(observation, reward, terminated, truncated, step.values, broken)

    # TorchRL

    def _make_specs(self) -> None:
        specs = Specs.of(self.num_envs, self.observation_size, self.actions.low, self.actions.high, self.device)  # type: ignore[arg-type]
        self.observation_spec, self.action_spec, self.reward_spec, self.done_spec = specs

    def _reset(self, tensordict: TensorDictBase | None = None, **kwargs: Any) -> TensorDict:
        chosen = None if tensordict is None else tensordict.get("_reset", None)
        observation = self.begin() if chosen is None else self.restart(chosen.view(self.num_envs))
        running = torch.zeros(*self.batch_size, 1, dtype=torch.bool, device=self.device)
        return self._packed(observation=observation, **dict.fromkeys(("done", "terminated", "truncated"), running))

    def _step(self, tensordict: TensorDictBase) -> TensorDict:
        step = self.advance(tensordict["action"])
        terminated, truncated = step.terminated.unsqueeze(1), step.truncated.unsqueeze(1)
        return self._packed(
            observation=step.observation,
            reward=step.reward.unsqueeze(1),
            done=terminated | truncated,
            terminated=terminated,
            truncated=truncated,
        )

    def _packed(self, **tensors: Tensor) -> TensorDict:
        return TensorDict({k: v.clone() for k, v in tensors.items()}, batch_size=self.batch_size, device=self.device)

    def _set_seed(self, seed: int | None) -> None:
        if seed is not None:
            self.goal.generator.manual_seed(seed)


def _rebuilt(config: Config, device: str, evaluation: bool, snapshot: dict[str, Any]) -> MuscleEnv:
    from .factory import make_env  # imports this module

    env = make_env(config, config.num_envs, device, evaluation=evaluation)  # type: ignore[arg-type]
    env.load_snapshot(snapshot)
    return env
