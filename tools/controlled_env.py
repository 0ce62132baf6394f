"""From the words of a tool to an environment and what controls it: shared by evaluate.py, render.py and view.py."""

import dataclasses
from pathlib import Path
from typing import Any

from muscle_torch.config import Config, config_from_dict, explain_library, key, load_config, with_overrides
from muscle_torch.errors import InputError


@dataclasses.dataclass(frozen=True)
class ControlOptions:
    """Keys that the tools share."""

    checkpoint: str = key("", "the trained policy: a checkpoint file or a run folder")
    policy: str = key("", "a controller in place of the checkpoint's policy: zero or muscle_control")
    control: dict[str, Any] = key({}, "options of policy=muscle_control, such as control.infeasible=reject")
    task: str = key("bimanual", "cfg/task/<task>.yaml, where there is no checkpoint")
    embodiment: dict[str, Any] = key({}, "without a checkpoint: options of the body, such as embodiment.fingers=true")
    motion: list[str] = key([], "generated motion names, files, folders, globs; empty: those of the training or task")
    device: str = key("auto", "auto, cpu, cuda or cuda:N")
    backend: str = key("auto", "physics: auto (warp on CUDA, mujoco on a CPU), warp or mujoco")
    threads: int = key(0, "physics threads on a CPU; 0: all cores")


def control_config(options: ControlOptions) -> Config:
    """Return the config of the checkpoint's training, or that of the task, with the tool's words on top."""
    if options.checkpoint:
        from muscle_torch.storage.checkpoint import load_checkpoint

        cfg = config_from_dict(load_checkpoint(options.checkpoint)["config"])
    else:
        cfg = load_config(options.task, embodiment=options.embodiment)
    changes = {"device": options.device, "backend": options.backend, "threads": options.threads}
    return with_overrides(cfg, motion=options.motion or cfg.motion, **changes)


def make_controlled_env(
    options: ControlOptions,
    config: Config | None = None,
    num_envs: int = 0,
    *,
    stochastic: bool = False,
    seed: int = 0,
) -> tuple[Any, Any]:
    """Return (environment made for evaluation, controller).

    Args:
        options: `checkpoint=` or `policy=` names the controller; with both, the environment is the checkpoint's.
        config: In place of `control_config(options)`.
        num_envs: Environments side by side; 0: as many as trials, 64 at most.
        stochastic: Sample the checkpoint's policy. It then acts on the CPU, so that the random numbers are the same
            on every device.
        seed: Of the samples.

    Raises:
        InputError: Neither names a controller, or a controller that is no distribution is to be sampled.
    """
    from muscle_torch.evaluation import PolicyController, make_controller
    from muscle_torch.models import load_policy
    from muscle_torch.tools.training import make_environment

    if not (options.checkpoint or options.policy):
        raise InputError(
            "no controller: write checkpoint=<run folder or checkpoint file>, or policy=muscle_control task=<task>"
        )
    if options.policy and stochastic:
        raise InputError(f"stochastic=true draws from a policy's distribution; policy={options.policy} has none")
    controller = make_controller(options.policy, options.control) if options.policy else None
    policy = None if options.policy else load_policy(options.checkpoint)
    env = make_environment(config or control_config(options), num_envs or None, evaluation=True)
    if policy is not None:
        controller = PolicyController(policy if stochastic else policy.to(env.device), stochastic=stochastic, seed=seed)
    return env, controller


def trajectories_of(options: ControlOptions, max_seconds: float) -> tuple[Any, list[Any]]:
    """Return (body, trajectories): the trials as the controller plays them, or without one the motions as they are.

    Args:
        options: `checkpoint=` or `policy=` names the controller, if there is one.
        max_seconds: At most so much of each trial [s].

    Raises:
        InputError: There is neither a controller nor a motion.
    """
    from muscle_torch.embodiments import configured_embodiment
    from muscle_torch.evaluation import play

    config = control_config(options)
    if not (options.checkpoint or options.policy):
        embodiment = configured_embodiment(config)
        return embodiment, motions_alone(config, embodiment, max_seconds)
    env, controller = make_controlled_env(options, config)
    try:
        return env.embodiment, play(env, controller, max_seconds)
    finally:
        env.close()


def motions_alone(config: Config, embodiment: Any, max_seconds: float) -> list[Any]:
    """Return trajectories of a config's motions as they are, at most `max_seconds` of each; nothing is simulated."""
    from muscle_torch.evaluation import Trajectory
    from muscle_torch.motion import load_motion

    if not config.motion:
        raise InputError(f"task={config.task} follows no motion: write motion=, checkpoint= or policy=zero")
    return [Trajectory.of_clip(clip, max_seconds) for clip in load_motion(config.motion, embodiment)]


def run_folder_of(checkpoint: str) -> Path:
    """Return the run folder that a checkpoint file lies in; a run folder is its own."""
    path = Path(checkpoint)
    if path.is_dir():
        return path
    return path.parent.parent if path.parent.name == "checkpoints" else path.parent


if __name__ == "__main__":
    explain_library(__doc__ or "", "tools/evaluate.py")
