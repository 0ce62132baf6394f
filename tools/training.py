"""The steps of train.py: open the run folder, fit into memory, build, validate, evaluate, render."""

import dataclasses
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from muscle_torch.config import Config, explain_library, load_config, with_overrides
from muscle_torch.envs import make_env, make_partner_env, resolved_device
from muscle_torch.envs.factory import IDLE, learned_assistance
from muscle_torch.errors import InputError
from muscle_torch.evaluation import (
    PolicyController,
    compare_controllers,
    make_controller,
    play,
    robustness,
    robustness_rows,
    robustness_table,
    trial_table,
    write_evaluation,
)
from muscle_torch.evaluation import evaluate as run_evaluation
from muscle_torch.evaluation.validation import Validation
from muscle_torch.models import load_policy, make_policy
from muscle_torch.motion.load import absolute_paths
from muscle_torch.physics.memory import estimate, free_memory, oom_as_input_error, resolve_num_envs
from muscle_torch.rl import Trainer, rows_at_once
from muscle_torch.rl.ppo_update import count_minibatches
from muscle_torch.rl.process_group import ProcessGroup
from muscle_torch.storage.checkpoint import absolute_checkpoint, load_checkpoint, load_weights
from muscle_torch.storage.run_folder import create_run_folder, find_run, fine_tuning
from muscle_torch.tools.run_summary import log_result

VALIDATION_VIDEO_SECONDS, VIDEO_SECONDS = 10.0, 60.0  # of a trial
MAX_PLANNED_FRAMES = 20_000  # for muscle control at the end of a run
PLANNING_TIME = 0.012  # [s] per frame


class Run(NamedTuple):
    """A run folder and its starting point."""

    config: Config
    folder: Path
    resumed: dict[str, Any] | None  # checkpoint to resume exactly
    weights: dict[str, Any] | None  # checkpoint to initialize a new run from


def open_run(cfg: Config, words: Sequence[str]) -> Run:
    """Determine the run folder, and the checkpoint to resume or to start from.

    Args:
        cfg: The requested config.
        words: Command line arguments.

    Raises:
        InputError: The folder is missing, already contains a run, or has no checkpoint.
    """
    cfg, automatic = recipe_of_device(cfg, words)
    # Absolute, so that a run can be resumed and evaluated from any folder.
    paths: dict[str, Any] = {
        name: absolute_paths(getattr(cfg, name), cfg.embodiment.name) for name in ("motion", "validation_motion")
    }
    paths["partner"] = absolute_checkpoint(cfg.partner) if cfg.partner else ""
    device = learned_assistance(cfg)
    if device:
        paths["assistance"] = dataclasses.replace(cfg.assistance, name=str(Path(device).absolute()))
    cfg, folder, resumed = find_run(dataclasses.replace(cfg, **paths), words)
    if automatic and resumed is None:
        print(f"preset=gpu: chosen because the device is {resolved_device(cfg)}; preset=cpu keeps the task's recipe")
    weights = load_checkpoint(cfg.checkpoint) if cfg.checkpoint and resumed is None else None
    return Run(cfg if weights is None else fine_tuning(cfg, weights), folder, resumed, weights)


def recipe_of_device(cfg: Config, words: Sequence[str]) -> tuple[Config, bool]:
    """Return the config, and whether the GPU's recipe was put under the words.

    It is on a GPU, unless the words or the task name a preset or a checkpoint, whose network stays.
    """
    if cfg.preset or cfg.checkpoint or resolved_device(cfg).type == "cpu":
        return cfg, False
    return load_config(words=[*words, "preset=gpu"]), True


def make_environment(cfg: Config, num_envs: int | None = None, device: str | None = None, **options: Any) -> Any:
    """Return the environment of a config; with `partner=` or a learned `assistance=`, the learner's view of it.

    Args:
        cfg: The config.
        num_envs: Number of environments; None: the config's.
        device: Device; None: the config's.
        **options: Further arguments of `make_env`.
    """
    assistance = learned_assistance(cfg)
    if assistance and cfg.partner:
        raise InputError(f"assistance={assistance} and partner={cfg.partner} are both policies: leave one out")
    if assistance:
        cfg = with_overrides(cfg, assistance={"name": IDLE}, partner=assistance)
    if cfg.partner:
        return make_partner_env(cfg, load_policy(cfg.partner), num_envs, device=device, **options)
    return make_env(cfg, num_envs, device, **options)


def fit_num_envs(cfg: Config, processes: ProcessGroup) -> tuple[Config, Any]:
    """Estimate the memory, resolve `num_envs=max`, and load the assets that environments share.

    Args:
        cfg: The config.
        processes: The process group.

    Returns:
        The config with a number of environments, and the goal's assets.

    Raises:
        InputError: The requested number does not fit.
    """

    def measure() -> tuple[int, Any]:
        device = processes.device or resolved_device(cfg)
        # One environment on the CPU shows the size of everything; the random state is preserved.
        probe = make_environment(cfg, 1, "cpu", backend="mujoco", threads=1)
        with torch.random.fork_rng(devices=[]):
            policy = make_policy(cfg.policy, probe, cfg.exploration)
        chunk = rows_at_once(probe.observation_size)
        memory = estimate(probe, policy, _with_counted_minibatches(cfg), device.type == "cuda", chunk)
        number = resolve_num_envs(cfg, memory, device, processes.local_size, processes.size)
        if processes.first:
            print(memory.line(number // processes.size, free_memory(device)))
        probe.close()
        return number, probe.goal.assets.to(device)

    number, assets = processes.local_leader_first(measure)
    return dataclasses.replace(cfg, num_envs=-processes.all_reduce_max(-number)), assets


def _with_counted_minibatches(cfg: Config) -> Config:
    """Return the config with the number of minibatches that its rollouts are divided into; as it is for max."""
    if not isinstance(cfg.num_envs, int):
        return cfg
    number = count_minibatches(cfg.ppo, cfg.num_envs * cfg.ppo.num_steps)
    return dataclasses.replace(cfg, ppo=dataclasses.replace(cfg.ppo, minibatches=number))


def build(cfg: Config, run: Run, assets: Any, processes: ProcessGroup) -> tuple[Any, Any]:
    """Return this process's environments and the policy, initialized with the run's weights.

    Args:
        cfg: The config with a number of environments.
        run: Starting point.
        assets: The goal's shared assets.
        processes: The process group.
    """
    torch.manual_seed(cfg.seed)
    env = make_environment(processes.shard(cfg), assets=assets)
    policy = make_policy(cfg.policy, env, cfg.exploration).to(env.device)
    if run.weights is not None:
        load_weights(policy, run.weights, env, cfg.task, cfg.reset_std)
    return env, policy


def begin(trainer: Trainer, run: Run, processes: ProcessGroup) -> None:
    """Resume the stored run, or create the run folder; print a summary of the policy.

    Args:
        trainer: The trainer.
        run: Starting point.
        processes: The process group.
    """
    if run.resumed is not None:
        trainer.load_state(run.resumed)
    else:
        trainer.run_dir = processes.broadcast(lambda: create_run_folder(trainer.cfg, run.folder))
    if not processes.first:
        return
    counts = [sum(p.numel() for p in part.parameters()) for part in (trainer.policy.actor, trainer.policy.critic)]
    if trainer.cfg.env.graph and trainer.env.device.type == "cpu":
        print("env.graph=true is ignored: it needs CUDA, and on a CPU the terms are computed one by one")
    print(f"{trainer.cfg.policy.name}: actor with {counts[0]:,} parameters, critic with {counts[1]:,}")
    if trainer.step:
        print(f"resuming {run.folder} at {trainer.step:,} steps")


def report_out_of_memory(cfg: Config) -> Any:
    """Return a context that turns out-of-memory errors into one line that suggests a smaller num_envs."""
    return oom_as_input_error(cfg, int(cfg.num_envs))


def make_validation(trainer: Trainer) -> Validation | None:
    """Return the periodic validation; None if `validation_interval` is 0."""
    cfg, assets, folder = trainer.cfg, trainer.env.goal.assets, trainer.run_dir
    if not cfg.validation_interval or folder is None:
        return None
    motion: dict[str, Any] = {"motion": cfg.validation_motion} if cfg.validation_motion else {"assets": assets}
    trials = len(trainer.env.goal.trials.names)
    count = cfg.validation_clips if cfg.validation_motion else min(cfg.validation_clips, trials)
    env = make_environment(cfg, count or None, evaluation=True, **motion)
    film = _film_of_one(env.embodiment) if cfg.capture_video else None
    options = {"interval": cfg.validation_interval, "max_trials": cfg.validation_clips, "keep_videos": cfg.keep_videos}
    return Validation(env, trainer.env, PolicyController(trainer.policy), folder, film=film, **options)


def evaluate(trainer: Trainer) -> None:
    """Compare the trained policy with the untrained one and with baselines, trial by trial; render it if requested."""
    cfg, folder = trainer.cfg, trainer.run_dir
    assert folder is not None, "a run that writes has a folder"
    if not (cfg.evaluate or cfg.capture_video):
        return
    env = make_environment(cfg, evaluation=True, assets=trainer.env.goal.assets)
    if cfg.evaluate:
        controllers = {
            "untrained": PolicyController(trainer.untrained_policy()),
            **{name: make_controller(name) for name in comparable(cfg, env)},
            "final": PolicyController(trainer.policy),
        }
        headings = {"untrained": "at the start"} if cfg.checkpoint else {}
        table = compare_controllers(env, controllers, folder / "eval", headings)
        print(table)
        log_result(trainer, env, table)
        report_held_out(env, controllers["final"], folder / "eval" / "held_out" / "metrics.json")
    if cfg.evaluate and cfg.evaluation_robustness:
        report_robustness(env, controllers["final"], folder / "eval" / "final" / "robustness.json")
    if cfg.capture_video:
        _film(env, trainer, folder / "videos" / "final.mp4")
    env.close()


def comparable(cfg: Config, env: Any) -> list[str]:
    """Return the controllers to compare with, without muscle control (and a message) if it would take very long."""
    frames = int(env.goal.trials.lengths.sum())
    if "muscle_control" in cfg.evaluation_controllers and frames > MAX_PLANNED_FRAMES:
        print(
            f"eval/muscle_control is skipped: {frames:,} frames take about {frames * PLANNING_TIME / 60:.0f} minutes; "
            "run it with tools/evaluate.py policy=muscle_control"
        )
        return [name for name in cfg.evaluation_controllers if name != "muscle_control"]
    return list(cfg.evaluation_controllers)


def report_held_out(env: Any, controller: Any, path: Path) -> None:
    """Evaluate on the trials that training never drew, if there are any; print the table and write the file."""
    trials = env.goal.held_out
    if not trials:
        return
    metrics = run_evaluation(env, controller, trials=trials)
    write_evaluation(path, metrics)
    print(f"\nheld out from training:\n{trial_table(metrics, env.goal.headline)}")


def report_robustness(env: Any, controller: Any, path: Path) -> None:
    """Run every motion under every disturbance; print the table and write its rows.

    Args:
        env: Made with `evaluation=True`.
        controller: Chooses the actions.
        path: The file.
    """
    rows = robustness_rows(robustness(env, controller))
    print(f"\nunder disturbances:\n{robustness_table(rows)}")
    write_evaluation(path, {"robustness": rows})


def last_lines(trainer: Trainer, seconds: float) -> str:
    """Return the last lines of a finished run: its duration, its folder, and the next commands."""
    cfg, run = trainer.cfg, trainer.run_dir
    tools = Path(__file__).resolve().parent
    watch, render = (
        f"python {_shown(tools / f'{name}.py')} {shlex.quote(f'checkpoint={run}')}" for name in ("play", "render")
    )
    return (
        f"done in {seconds:.0f} s; everything is in {run} (tensorboard --logdir {cfg.runs_dir}). Next:\n"
        f"  {watch}   # in the browser\n"
        f"  {render} output={Path(str(run)).name}.mp4   # a video"
    )


def _shown(path: Path) -> str:
    """Return a path relative to the working directory if that is shorter."""
    relative = os.path.relpath(path)
    return relative if len(relative) < len(str(path)) else str(path)


def _film_of_one(embodiment: Any) -> Callable[[Any, Path], None]:
    """Return the function that films one trajectory.

    Raises:
        InputError: No graphics backend works; raised before training begins.
    """
    from muscle_torch.rendering.scene import choose_gl
    from muscle_torch.rendering.video import film

    choose_gl()
    return lambda trajectory, path: film(embodiment, [trajectory], path, max_seconds=VALIDATION_VIDEO_SECONDS)


def _film(env: Any, trainer: Trainer, path: Path) -> None:
    """Render the trained policy; a failure is only a warning, because the run is complete."""
    from muscle_torch.rendering.video import film

    trajectories = play(env, PolicyController(trainer.policy), max_seconds=VIDEO_SECONDS)
    try:
        film(env.embodiment, trajectories, path)
    except InputError as error:
        print(f"warning: no video: {error}", file=sys.stderr)


if __name__ == "__main__":
    explain_library(__doc__ or "", "train.py")
