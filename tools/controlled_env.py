"""Environment and controller for the options of a tool, shared by evaluate.py, render.py and play.py."""

import dataclasses
from pathlib import Path
from typing import Any

from muscle_torch.config import Choice, Config, config_from_dict, explain_library, key, load_config, with_overrides
from muscle_torch.config.schema import kind
from muscle_torch.errors import InputError


@dataclasses.dataclass(frozen=True)
class ControlOptions:
    """Options shared by the tools."""

    checkpoint: str = key("", "the trained policy: a checkpoint file, a run folder or pretrained:<name>")
    policy: str = key("", "a controller instead of the checkpoint's policy: zero, random or muscle_control")
    control: dict[str, Any] = key({}, "options of policy=muscle_control, such as control.infeasible=reject")
    task: str = key("bimanual", "without a checkpoint: cfg/task/<task>.yaml")
    exoskeleton: Choice | None = kind(None, "another device than the checkpoint's or the task's (docs/exoskeleton.md)")
    assistance: Choice | None = kind(None, "another controller of the device, or the checkpoint of a trained device")
    actions: list[str] = key(
        [], "with policy=: action spaces instead of the task's; [muscles,exoskeleton]: muscle control drives the device"
    )
    deficit: Any = key("", "another muscle weakness: a preset such as none, or {plantarflexors_r: 0.5}")
    embodiment: dict[str, Any] = key({}, "without a checkpoint: options of the body, such as embodiment.fingers=true")
    physics: dict[str, Any] = key({}, "physics settings other than the body's, such as physics.timestep=0.002")
    motion: list[str] = key([], "generated motion names, files, folders or globs; empty: those of the training or task")
    device: str = key("auto", "auto, cpu, cuda or cuda:N")
    backend: str = key("auto", "physics: auto (warp on CUDA, mujoco on a CPU), warp or mujoco")
    threads: int = key(0, "physics threads on a CPU; 0: all cores")


def control_config(options: ControlOptions) -> Config:
    """Return the training config of the checkpoint, or that of the task, with the tool's options on top."""
    if options.checkpoint:
        from muscle_torch.storage.checkpoint import load_checkpoint

        cfg = config_from_dict(load_checkpoint(options.checkpoint)["config"])
    else:
        cfg = load_config(options.task, embodiment=options.embodiment)
    changes: dict[str, Any] = {"device": options.device, "backend": options.backend, "threads": options.threads}
    worn = {"exoskeleton": options.exoskeleton, "assistance": options.assistance}
    changes |= {name: choice for name, choice in worn.items() if choice is not None}
    changes |= {"physics": options.physics} if options.physics else {}
    if options.actions:
        if not options.policy:
            raise InputError("actions= needs policy=: the actions of a checkpoint are those of its training")
        changes["actions"] = options.actions
    elif options.policy == "muscle_control" and not options.checkpoint:
        # Corrections of the feedforward reach only a part of the excitations that it plans.
        names = ["muscles" if space.name == "muscles_feedforward" else space.name for space in cfg.actions]
        changes["actions"] = names
    if options.deficit:  # replaced, not merged
        cfg = dataclasses.replace(cfg, deficit=options.deficit)
    return with_overrides(cfg, motion=options.motion or cfg.motion, **changes)


def make_controlled_env(
    options: ControlOptions,
    config: Config | None = None,
    num_envs: int = 0,
    *,
    stochastic: bool = False,
    seed: int = 0,
) -> tuple[Any, Any]:
    """Return an environment made for evaluation, and its controller.

    Args:
        options: `checkpoint=` or `policy=` selects the controller; with both, the environment is the checkpoint's.
        config: Config of the environment; None: `control_config(options)`.
        num_envs: Number of environments; 0: as many as trials, at most 64.
        stochastic: Sample the checkpoint's policy. It then acts on the CPU, so that the random numbers are the same on
            every device.
        seed: Seed of the samples.

    Raises:
        InputError: No controller is selected, or one without a distribution is to be sampled.
    """
    from muscle_torch.evaluation import PolicyController, make_controller
    from muscle_torch.models import load_policy
    from muscle_torch.tools.training import make_environment

    if not (options.checkpoint or options.policy):
        raise InputError(
            "no controller: set checkpoint=<run folder or checkpoint file>, or policy=muscle_control task=<task>"
        )
    if options.policy and stochastic:
        raise InputError(
            f"stochastic=true samples from a policy's distribution, but policy={options.policy} has none; remove it"
        )
    controller = make_controller(options.policy, options.control) if options.policy else None
    policy = None if options.policy else load_policy(options.checkpoint)
    env = make_environment(config or control_config(options), num_envs or None, evaluation=True)
    if policy is not None:
        controller = PolicyController(policy if stochastic else policy.to(env.device), stochastic=stochastic, seed=seed)
    return env, controller


def trajectories_of(options: ControlOptions, max_seconds: float) -> tuple[Any, list[Any]]:
    """Return the body and its trajectories: trials played by the controller, or without one the motions themselves.

    Args:
        options: `checkpoint=` or `policy=` selects the controller, if any.
        max_seconds: Maximum duration of each trial [s].

    Raises:
        InputError: There is neither a controller nor a motion.
    """
    from muscle_torch.embodiments import configured_embodiment
    from muscle_torch.evaluation import play

    config = control_config(options)
    if not (options.checkpoint or options.policy):
        embodiment = configured_embodiment(config)
        return embodiment, motion_trajectories(config, embodiment, max_seconds)
    env, controller = make_controlled_env(options, config)
    try:
        return env.embodiment, play(env, controller, max_seconds)
    finally:
        env.close()


def motion_trajectories(config: Config, embodiment: Any, max_seconds: float) -> list[Any]:
    """Return the motions of a config without simulating them.

    Args:
        config: Names the motions.
        embodiment: The body.
        max_seconds: Maximum duration of each motion [s].

    Raises:
        InputError: The task follows no motion.
    """
    from muscle_torch.evaluation import Trajectory
    from muscle_torch.motion import load_motion

    if not config.motion:
        raise InputError(f"task={config.task} follows no motion: set motion=, checkpoint= or policy=zero")
    return [Trajectory.of_clip(clip, max_seconds) for clip in load_motion(config.motion, embodiment)]


def run_folder_of(checkpoint: str) -> Path:
    """Return the run folder of a checkpoint file; a run folder is returned unchanged."""
    path = Path(checkpoint)
    if path.is_dir():
        return path
    return path.parent.parent if path.parent.name == "checkpoints" else path.parent


if __name__ == "__main__":
    explain_library(__doc__ or "", "tools/evaluate.py")
