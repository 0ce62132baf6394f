"""From a config to an environment: body, motions, physics, terms."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch

from muscle_torch.config import Config, config_from_dict, config_to_dict, load_config
from muscle_torch.embodiments import configured_embodiment
from muscle_torch.errors import InputError, nearest
from muscle_torch.motion import MotionLibrary, Sampler, load_motion
from muscle_torch.physics import make_physics, resolve_device

from .muscle_env import MuscleEnv

MOST_EVALUATED_AT_ONCE = 64


def make_env(
    task: str | Config = "bimanual",
    num_envs: int | None = None,
    device: str | torch.device | None = None,
    *,
    motion: Any = None,
    evaluation: bool = False,
    library: MotionLibrary | None = None,
    **overrides: Any,
) -> MuscleEnv:
    """The environment of a task (`cfg/task/<task>.yaml`) or of a config; `overrides` are the config's own keys.

    num_envs: worlds; None: the config's, or in evaluation one a clip. motion: a generated motion's name, a file, a
    folder, a glob, or a list of these. evaluation: clips in order from their first frame, as long as the longest one,
    with the thresholds of `evaluation_termination`. library: motions that another environment has loaded already.
    """
    given = {"num_envs": num_envs, "device": None if device is None else str(device), "motion": motion}
    overrides |= {name: value for name, value in given.items() if value is not None}
    config = _overridden(task, overrides) if isinstance(task, Config) else load_config(task, **overrides)
    if config.num_envs == "max":
        raise InputError("num_envs=max is for train.py; here, give a number of worlds")
    if config.num_envs < 1:
        raise InputError(f"num_envs={config.num_envs}: at least one world is needed")
    chosen = resolved_device(config)
    embodiment = configured_embodiment(config)
    if library is None:
        library = MotionLibrary(
            load_motion(config.motion or "all", embodiment),
            embodiment,
            chosen,
            interpolation=config.motion_interpolation,
            threads=config.threads,
        )
    if evaluation:
        count = min(library.num_clips, MOST_EVALUATED_AT_ONCE) if num_envs is None else config.num_envs
        episode = dataclasses.replace(config.env, horizon=int(library.length.max()), start="beginning")
        config = dataclasses.replace(config, num_envs=count, env=episode)
    generator = torch.Generator(chosen).manual_seed(config.seed)
    sampler = Sampler(library, generator, start=config.env.start)
    physics = make_physics(embodiment.model, config.num_envs, str(chosen), config.backend, config.threads)
    return MuscleEnv(config, embodiment, library, sampler, physics, evaluation)


def resolved_device(config: Config) -> torch.device:
    """Where the environment of a config lives. Raises InputError where that is not to be had."""
    return resolve_device("cpu" if config.device == "auto" and config.backend == "mujoco" else config.device)


def _overridden(config: Config, overrides: Mapping[str, Any]) -> Config:
    known = [f.name for f in dataclasses.fields(Config)]
    for name in overrides:
        if name not in known:
            raise InputError(f"unknown argument {name!r}{nearest(name, known)}")
    return config_from_dict(_merged(config_to_dict(config), overrides)) if overrides else config


def _merged(values: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """`values` with `overrides` on top, nested dicts merged."""
    merged = dict(values)
    for name, value in overrides.items():
        inner = merged.get(name)
        merged[name] = _merged(inner, value) if isinstance(value, Mapping) and isinstance(inner, Mapping) else value
    return merged
