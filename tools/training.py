"""The steps of train.py: open the run folder, fit into memory, build, validate, evaluate, film."""

import dataclasses
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from muscle_torch.config import Config, explain_library
from muscle_torch.envs import make_env, make_partner_env, resolved_device
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
from muscle_torch.physics.memory import estimate, fitting, free_memory, full_memory_is_one_line
from muscle_torch.rl import Trainer, rows_at_once
from muscle_torch.rl.process_group import ProcessGroup
from muscle_torch.storage.checkpoint import load_checkpoint, load_weights
from muscle_torch.storage.run_folder import find_run, fine_tuning, write_facts

VALIDATION_VIDEO_SECONDS, VIDEO_SECONDS = 10.0, 60.0  # of a trial
MOST_PLANNED = 20_000  # frames that muscle control follows at the end of a run
PLANNING = 0.012  # [s] that it takes for one


class Run(NamedTuple):
    """A run folder and what it starts from."""

    config: Config
    folder: Path
    resumed: dict[str, Any] | None  # checkpoint that is continued exactly
    weights: dict[str, Any] | None  # checkpoint that a new run starts from


def open_run(cfg: Config, words: Sequence[str]) -> Run:
    """Find the run folder, and the checkpoint to continue or to start from.

    Raises:
        InputError: The folder is missing, taken, or holds no checkpoint.
    """
    # Absolute, so that a run can be continued and evaluated from any folder.
    paths = {name: absolute_paths(getattr(cfg, name), cfg.embodiment.name) for name in ("motion", "validation_motion")}
    partner = str(Path(cfg.partner).absolute()) if cfg.partner else ""
    cfg, folder, resumed = find_run(dataclasses.replace(cfg, **paths, partner=partner), words)
    weights = load_checkpoint(cfg.checkpoint) if cfg.checkpoint and resumed is None else None
    return Run(cfg if weights is None else fine_tuning(cfg, weights), folder, resumed, weights)


def make_environment(cfg: Config, num_envs: int | None = None, device: str | None = None, **options: Any) -> Any:
    """Return the environment of a config; with `partner=`, the learner's view of it."""
    if cfg.partner:
        return make_partner_env(cfg, load_policy(cfg.partner), num_envs, device=device, **options)
    return make_env(cfg, num_envs, device, **options)


def fit_num_envs(cfg: Config, processes: ProcessGroup) -> tuple[Config, Any]:
    """Estimate the memory, with `num_envs=max` choose the largest number, and load what environments share.

    Returns:
        The config with a number of environments, and the goal's assets.

    Raises:
        InputError: The requested number does not fit.
    """

    def measure() -> tuple[int, Any]:
        device = processes.device or resolved_device(cfg)
        # One environment on the CPU shows how large everything is; random numbers are left as they were.
        probe = make_environment(cfg, 1, "cpu", backend="mujoco", threads=1)
        with torch.random.fork_rng(devices=[]):
            policy = make_policy(cfg.policy, probe, cfg.exploration)
        memory = estimate(probe, policy, cfg, device.type == "cuda", rows_at_once(probe.observation_size))
        number = fitting(cfg, memory, device, processes.local_size, processes.size)
        if processes.first:
            print(memory.line(number // processes.size, free_memory(device)))
        probe.close()
        return number, probe.goal.assets.to(device)

    number, assets = processes.local_leader_first(measure)
    return dataclasses.replace(cfg, num_envs=-processes.all_reduce_max(-number)), assets


def build(cfg: Config, run: Run, assets: Any, processes: ProcessGroup) -> tuple[Any, Any]:
    """Return this process's environments and the policy, with the weights that the run starts from."""
    torch.manual_seed(cfg.seed)
    env = make_environment(processes.shard(cfg), assets=assets)
    policy = make_policy(cfg.policy, env, cfg.exploration).to(env.device)
    if run.weights is not None:
        load_weights(policy, run.weights, env, cfg.task, cfg.reset_std)
    return env, policy


def begin(trainer: Trainer, run: Run, processes: ProcessGroup) -> None:
    """Continue the stored run, or create the run folder; print what is trained."""
    if run.resumed is not None:
        trainer.load_state(run.resumed)
    else:
        trainer.run_dir = processes.broadcast(lambda: write_facts(trainer.cfg, run.folder))
    if not processes.first:
        return
    counts = [sum(p.numel() for p in part.parameters()) for part in (trainer.policy.actor, trainer.policy.critic)]
    print(f"{trainer.cfg.policy.name}: actor with {counts[0]:,} parameters, critic with {counts[1]:,}")
    if trainer.step:
        print(f"continuing {run.folder} after {trainer.step:,} steps")


def report_out_of_memory(cfg: Config) -> Any:
    """Return a context that turns out-of-memory errors into one line that suggests a smaller num_envs."""
    return full_memory_is_one_line(cfg, int(cfg.num_envs))


def make_validation(trainer: Trainer) -> Validation | None:
    """Return what evaluates the policy every `validation_interval` updates; None if the interval is 0."""
    cfg, assets, folder = trainer.cfg, trainer.env.goal.assets, trainer.run_dir
    if not cfg.validation_interval or folder is None:
        return None
    motion: dict[str, Any] = {"motion": cfg.validation_motion} if cfg.validation_motion else {"assets": assets}
    trials = len(trainer.env.goal.trials.names)
    count = cfg.validation_clips if cfg.validation_motion else min(cfg.validation_clips, trials)
    env = make_environment(cfg, count or None, evaluation=True, **motion)
    film = _film_of_one(env.embodiment) if cfg.capture_video else None
    options = {"interval": cfg.validation_interval, "most": cfg.validation_clips, "keep_videos": cfg.keep_videos}
    return Validation(env, trainer.env, PolicyController(trainer.policy), folder, film=film, **options)


def evaluate(trainer: Trainer) -> None:
    """Compare the trained policy with the untrained one and with doing nothing, trial by trial; film it if asked."""
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
        print(compare_controllers(env, controllers, folder / "eval", headings))
        report_held_out(env, controllers["final"], folder / "eval" / "held_out" / "metrics.json")
    if cfg.evaluate and cfg.evaluation_robustness:
        report_robustness(env, controllers["final"], folder / "eval" / "final" / "robustness.json")
    if cfg.capture_video:
        _film(env, trainer, folder / "videos" / "final.mp4")
    env.close()


def comparable(cfg: Config, env: Any) -> list[str]:
    """Return the controllers to compare with; muscle control is left out, with a line, if it would take very long."""
    frames = int(env.goal.trials.lengths.sum())
    if "muscle_control" in cfg.evaluation_controllers and frames > MOST_PLANNED:
        print(
            f"eval/muscle_control is left out: {frames:,} frames take about {frames * PLANNING / 60:.0f} minutes; "
            "see them with tools/evaluate.py policy=muscle_control"
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
    """Run every motion under every disturbance; print the table and write its rows."""
    rows = robustness_rows(robustness(env, controller))
    print(f"\nunder disturbances:\n{robustness_table(rows)}")
    write_evaluation(path, {"robustness": rows})


def last_lines(trainer: Trainer, seconds: float) -> str:
    """Return what a finished run prints last: how long it took, where it is, and what to do next, ready to copy."""
    cfg, run = trainer.cfg, trainer.run_dir
    tools = Path(__file__).resolve().parent
    view, render = (
        f"python {_shown(tools / f'{name}.py')} {shlex.quote(f'checkpoint={run}')}" for name in ("view", "render")
    )
    return (
        f"done in {seconds:.0f} s; everything is in {run} (tensorboard --logdir {cfg.runs_dir}). Next:\n"
        f"  {view}   # in the browser\n"
        f"  {render} output={Path(str(run)).name}.mp4   # a video"
    )


def _shown(path: Path) -> str:
    """Return a path relative to the working directory where that is shorter."""
    relative = os.path.relpath(path)
    return relative if len(relative) < len(str(path)) else str(path)


def _film_of_one(embodiment: Any) -> Callable[[Any, Path], None]:
    """Return what films one trajectory; raise InputError now if nothing can be drawn, before training begins."""
    from muscle_torch.rendering.scene import choose_gl
    from muscle_torch.rendering.video import film

    choose_gl()
    return lambda trajectory, path: film(embodiment, [trajectory], path, max_seconds=VALIDATION_VIDEO_SECONDS)


def _film(env: Any, trainer: Trainer, path: Path) -> None:
    """Film the trained policy; if that fails, the run is complete all the same."""
    from muscle_torch.rendering.video import film

    trajectories = play(env, PolicyController(trainer.policy), max_seconds=VIDEO_SECONDS)
    try:
        film(env.embodiment, trajectories, path)
    except InputError as error:
        print(f"warning: no video: {error}", file=sys.stderr)


if __name__ == "__main__":
    explain_library(__doc__ or "", "train.py")
