"""Create environments from configs: body, goal, action spaces, physics and terms."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from muscle_torch.config import Choice, Config, config_from_dict, load_config, with_overrides
from muscle_torch.config.kinds import KINDS, row, table
from muscle_torch.embodiments import Embodiment, configured_embodiment
from muscle_torch.embodiments.props import attach
from muscle_torch.errors import InputError
from muscle_torch.physics import make_physics, resolve_device

from .actions.action_space import ActionSpaces, control_limits
from .fatigue import FatiguedActions
from .goals.goal import Goal
from .model_indices import ModelIndices
from .muscle_env import MuscleEnv
from .partner import Partner, PartnerEnv, joint_actions

MAX_EVALUATION_ENVS = 64
IDLE = "zero"  # assistance without torque


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
    """Create the environment of a task.

    Args:
        task: Name of a file in cfg/task, or a config.
        num_envs: Number of environments W; None: that of the config, or in evaluation one per trial, at most 64.
        device: "auto", "cpu", "cuda" or "cuda:N"; None: that of the config.
        motion: Name of a built-in motion, a file, a folder, a glob, or a list of these; None: that of the config.
        evaluation: Play the goal's trials in order and to their end, with the thresholds of `evaluation_termination`.
        assets: `goal.assets` of another environment, such as its motion library, to share instead of loading them.
        **overrides: Other keys of the config: `ppo={"epochs": 2}`, `policy="mlp"`.

    Returns:
        A TorchRL environment with batch size (W,).

    Raises:
        InputError: A key, value, motion or device does not exist, or the config has a `partner`.
    """
    named = {"num_envs": num_envs, "device": None if device is None else str(device), "motion": motion}
    overrides |= {name: value for name, value in named.items() if value is not None}
    config = with_overrides(task, **overrides) if isinstance(task, Config) else load_config(task, **overrides)
    if config.partner or learned_assistance(config):
        raise InputError("partner= and a learned assistance= require a policy: use train.py, or call make_partner_env")
    requested = _checked_num_envs(config)
    torch_device = resolved_device(config)
    goal_class: type[Goal] = row("goal", config.goal.name).load()
    body_alone = configured_embodiment(config)
    embodiment = _with_props(body_alone, config)
    assets = goal_class.load_assets(config, body_alone, torch_device) if assets is None else assets.to(torch_device)
    body = ModelIndices.of(embodiment, torch_device)
    generator = torch.Generator(torch_device).manual_seed(config.seed)

    def make_goal(count: int) -> Goal:
        return goal_class(config.goal.options, embodiment, body, assets, count, generator)  # type: ignore[call-arg]

    count = requested
    goal = make_goal(count)
    if evaluation:
        trials = goal.trials
        count = min(len(trials.names), MAX_EVALUATION_ENVS) if num_envs is None else requested
        goal = goal if count == requested else make_goal(count)
        episode = dataclasses.replace(config.env, horizon=int(trials.lengths.max()))
        config = dataclasses.replace(config, num_envs=count, env=episode)
    actions = make_actions(config.actions, embodiment, count, torch_device, config.assistance)
    if config.fatigue.enabled:
        options = {"middle": evaluation, "idle_torque": actions.torque}
        actions = FatiguedActions(actions.spaces, config.fatigue, embodiment, count, generator, **options)
    buffers = {"contacts": config.physics.contacts, "constraint_rows": config.physics.constraint_rows}
    physics = make_physics(embodiment.model, count, str(torch_device), config.backend, config.threads, **buffers)
    return MuscleEnv(config, embodiment, body, goal, actions, physics, evaluation)


def task_embodiment(config: Config) -> Embodiment:
    """Return the body of a config with its physics settings and the props of its goal beside it.

    Args:
        config: Configuration.

    Raises:
        InputError: As `configured_embodiment`, or the goal is not possible for the body.
    """
    return _with_props(configured_embodiment(config), config)


def _with_props(embodiment: Embodiment, config: Config) -> Embodiment:
    goal_class: type[Goal] = row("goal", config.goal.name).load()
    props = goal_class.props(config.goal.options, embodiment)
    return attach(embodiment, *props) if props else embodiment


def make_partner_env(task: str | Config, partner: Partner, num_envs: int | None = None, **options: Any) -> PartnerEnv:
    """Create the learner's view of an environment that it shares with a frozen partner.

    Args:
        task: Task of the learner, with its `actions` and `observation`.
        partner: The frozen policy, from `muscle_torch.models.load_policy`. It uses the action spaces and observations
            with which it was trained.
        num_envs: Number of environments W; None: that of the config.
        **options: Other arguments of `make_env`.

    Returns:
        The environment; its observations and actions are those of the learner.

    Raises:
        InputError: Both drive the same actuators, or their goals differ.
    """
    named = ("device", "motion", "evaluation", "assets")
    overrides = {name: value for name, value in options.items() if name not in named}
    config = with_overrides(task, **overrides) if isinstance(task, Config) else load_config(task, **overrides)
    partner_config = config_from_dict(partner.config)
    joint = joint_actions(config, partner_config)
    env = make_env(joint, num_envs, **{name: value for name, value in options.items() if name in named})
    return PartnerEnv(env, [choice.name for choice in config.actions], partner, partner_config)


def make_actions(
    choices: Sequence[Choice],
    embodiment: Embodiment,
    num_envs: int,
    device: torch.device,
    assistance: Choice | None = None,
) -> ActionSpaces:
    """Create the action spaces of a config, joined in order, and the controller of the exoskeleton.

    Args:
        choices: Names and options of the action spaces.
        embodiment: The body.
        num_envs: Number of environments W.
        device: Device of all tensors.
        assistance: Controller of the exoskeleton; None: none.

    Raises:
        InputError: The body lacks the actuators of a space, or two spaces drive the same actuator.
    """
    spaces = {c.name: row("actions", c.name).load()(c.options, embodiment, num_envs, device) for c in choices}
    if assistance is not None and assistance.name != IDLE:
        driver = row("assistance", assistance.name)
        spaces["assistance"] = driver.load()(assistance.options, embodiment, num_envs, device)
    worn = embodiment.device
    idle = None if worn is None else torch.zeros(num_envs, len(worn.motors), device=device)
    return ActionSpaces(spaces, control_limits(embodiment).to(device), idle)


def learned_assistance(config: Config) -> str:
    """Return the checkpoint that `assistance=` names; empty if it names a controller."""
    rows = table("assistance")
    name = config.assistance.name
    if name == KINDS["assistance"].file:
        raise InputError(f"assistance={name}: write the checkpoint or run folder of the trained device instead")
    return "" if name in rows else name


def resolved_device(config: Config) -> torch.device:
    """Return the device for a config.

    Raises:
        InputError: The device is not available.
    """
    return resolve_device("cpu" if config.device == "auto" and config.backend == "mujoco" else config.device)


def _checked_num_envs(config: Config) -> int:
    if isinstance(config.num_envs, str):
        raise InputError("num_envs=max is for train.py only: specify a number of environments")
    if config.num_envs < 1:
        raise InputError(f"num_envs={config.num_envs}: must be at least 1")
    return config.num_envs
