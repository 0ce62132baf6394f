"""From a config to an environment: body, goal, actions, physics, terms."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from muscle_torch.config import Choice, Config, config_from_dict, load_config, with_overrides
from muscle_torch.config.kinds import row
from muscle_torch.embodiments import Embodiment, configured_embodiment
from muscle_torch.errors import InputError
from muscle_torch.physics import make_physics, resolve_device

from .actions.action_space import ActionSpaces, control_limits
from .goals.goal import Goal
from .model_indices import ModelIndices
from .muscle_env import MuscleEnv
from .partner import Partner, PartnerEnv, joint_actions

MOST_EVALUATED_AT_ONCE = 64


def make_env(
    task: str | Config = "bimanual",
    num_envs: int | None = None,
    device: str | torch.device | None = None,
    *,
    motion: str | Path | Sequence[str | Path] | None = None,
    evaluation: bool = False,
    assets: Any = None,
    **overrides: Any,
) -> MuscleEnv:
    """Return the environment of a task.

    Args:
        task: Name of a file in cfg/task, or a config.
        num_envs: Number of environments W; None: the config's, or in evaluation one for each trial, at most 64.
        device: "auto", "cpu", "cuda" or "cuda:N"; None: the config's.
        motion: A generated motion's name, a file, a folder, a glob, or a list of these; None: the config's.
        evaluation: Play the goal's trials in order, each to its end, with the thresholds of
            `evaluation_termination`.
        assets: `goal.assets` of another environment, such as its motion library, to share instead of loading again.
        **overrides: Further keys of the config (`ppo={"epochs": 2}`, `policy="mlp"`).

    Raises:
        InputError: A key, a value, a motion or a device that does not exist.
    """
    named = {"num_envs": num_envs, "device": None if device is None else str(device), "motion": motion}
    overrides |= {name: value for name, value in named.items() if value is not None}
    config = with_overrides(task, **overrides) if isinstance(task, Config) else load_config(task, **overrides)
    if config.partner:
        raise InputError("partner= needs the partner's policy: train with train.py, or call make_partner_env")
    worlds = _number_of(config)
    chosen = resolved_device(config)
    goal_class: type[Goal] = row("goal", config.goal.name).load()
    embodiment = configured_embodiment(config)
    assets = goal_class.load_assets(config, embodiment, chosen) if assets is None else assets.to(chosen)
    body = ModelIndices.of(embodiment, chosen)
    generator = torch.Generator(chosen).manual_seed(config.seed)

    def make_goal(count: int) -> Goal:
        return goal_class(config.goal.options, embodiment, body, assets, count, generator)  # type: ignore[call-arg]

    goal = make_goal(worlds)
    if evaluation:
        trials = goal.trials
        count = min(len(trials.names), MOST_EVALUATED_AT_ONCE) if num_envs is None else worlds
        goal = goal if count == worlds else make_goal(count)
        episode = dataclasses.replace(config.env, horizon=int(trials.lengths.max()))
        config = dataclasses.replace(config, num_envs=count, env=episode)
        worlds = count
    actions = make_actions(config.actions, embodiment, worlds, chosen)
    buffers = {"contacts": config.physics.contacts, "constraint_rows": config.physics.constraint_rows}
    physics = make_physics(embodiment.model, worlds, str(chosen), config.backend, config.threads, **buffers)
    return MuscleEnv(config, embodiment, body, goal, actions, physics, evaluation)


def make_partner_env(task: str | Config, partner: Partner, num_envs: int | None = None, **options: Any) -> PartnerEnv:
    """Return one agent's view of an environment in which a frozen partner acts too.

    Args:
        task: Of the learner; its `actions` and `observation` are the learner's.
        partner: The frozen policy, from `muscle_torch.models.load_policy`; it acts through the action spaces and sees
            the observation that it was trained with.
        num_envs: Number of environments W; None: the config's.
        **options: Further arguments of `make_env`.

    Raises:
        InputError: The two drive the same actuators or pursue different goals.
    """
    named = ("device", "motion", "evaluation", "assets")
    overrides = {name: value for name, value in options.items() if name not in named}
    config = with_overrides(task, **overrides) if isinstance(task, Config) else load_config(task, **overrides)
    theirs = config_from_dict(partner.config)
    joint = joint_actions(config, theirs)
    env = make_env(joint, num_envs, **{name: value for name, value in options.items() if name in named})
    return PartnerEnv(env, [choice.name for choice in config.actions], partner, theirs)


def make_actions(
    choices: Sequence[Choice], embodiment: Embodiment, num_envs: int, device: torch.device
) -> ActionSpaces:
    """Return the action spaces of a config, joined in order.

    Raises:
        InputError: The body does not have what a space drives.
    """
    spaces = {c.name: row("actions", c.name).load()(c.options, embodiment, num_envs, device) for c in choices}
    return ActionSpaces(spaces, control_limits(embodiment).to(device))


def resolved_device(config: Config) -> torch.device:
    """Return the device for a config.

    Raises:
        InputError: It is not available.
    """
    return resolve_device("cpu" if config.device == "auto" and config.backend == "mujoco" else config.device)


def _number_of(config: Config) -> int:
    if isinstance(config.num_envs, str):
        raise InputError("num_envs=max is for train.py; here, write a number of environments")
    if config.num_envs < 1:
        raise InputError(f"num_envs={config.num_envs}: at least one environment is needed")
    return config.num_envs
