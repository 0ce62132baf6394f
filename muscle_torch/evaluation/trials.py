"""What evaluation knows of a goal: which trials there are, and how well one was met. The only file that asks for it."""

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from muscle_torch.motion import MotionLibrary

CLIP = "clip"  # unit of a motion goal's trials


class Trials(NamedTuple):
    """The trials that an evaluation plays, each once; T of them."""

    names: list[str]
    lengths: Tensor  # frames of each: its control steps + 1, (T,)
    starts: tuple[Tensor, ...]  # where each begins, in the goal's own form, (T,) each
    unit: str  # what a trial is called: "clip" of a motion goal, "trial" of any other


class Headline(Protocol):
    """The one error that says how well a goal is met (`muscle_torch.envs.goals.headline`)."""

    @property
    def name(self) -> str: ...  # "err/<name>"
    @property
    def label(self) -> str: ...
    @property
    def unit(self) -> str: ...
    @property
    def factor(self) -> float: ...  # from the SI unit to `unit`


def trials_of(env: Any) -> Trials:
    """Return the trials of the environment's goal."""
    if hasattr(env, "goal"):
        return env.goal.trials
    library: MotionLibrary = env.library
    clips = torch.arange(library.num_clips, device=env.device)
    return Trials(list(library.names), library.length.to(env.device), (clips, torch.zeros_like(clips)), CLIP)


def begin_trials(env: Any, ids: Tensor) -> None:
    """Put environment i at the start of trial ids[i], (W,)."""
    start = tuple(column[ids] for column in trials_of(env).starts)
    if hasattr(env, "goal"):
        env.assign(start)
    else:
        env.assign(*start)


def success_of(env: Any) -> Tensor:
    """Return whether the goal is met at this moment, bool (W,). Motions: yes; one that is lost ends the episode."""
    if hasattr(env, "goal"):
        return env.goal.success()
    return torch.ones(env.num_envs, dtype=torch.bool, device=env.device)


def ghost_of(env: Any) -> Tensor | None:
    """Return the pose that the body should have now, in its world, (W, nq); None if the goal knows no such pose."""
    if hasattr(env, "goal"):
        return env.goal.ghost()
    library: MotionLibrary = env.library
    pose = library.qpos[library.rows(env.clip, env.frame)]
    if env.embodiment.root_joint is not None:  # the environment puts the start of each clip at the origin
        pose[:, :2] -= library.qpos[library.start[env.clip], :2]
    return pose


def headline_of(env: Any) -> Headline:
    """Return the headline of the environment's goal."""
    return env.goal.headline if hasattr(env, "goal") else env.headline


def motions_of(env: Any) -> MotionLibrary | None:
    """Return the motions that are followed, clip i being trial i; None if the goal is another one."""
    if trials_of(env).unit != CLIP:
        return None
    return env.goal.library if hasattr(env, "goal") else env.library


def failure_rates(env: Any) -> tuple[list[str], Tensor]:
    """Return the names of the groups that a training environment counts failures by, and their running rates, (G,)."""
    return env.library.names, env.clip_failure_rate
