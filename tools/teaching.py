"""The teacher of the stage dagger, for train.py: make it, and leave out motions that it cannot follow."""

import dataclasses
from typing import Any

import torch

from muscle_torch.config import Config, explain_library
from muscle_torch.envs import make_env
from muscle_torch.errors import InputError
from muscle_torch.evaluation import Controller, make_controller
from muscle_torch.evaluation.evaluate import run_trials
from muscle_torch.evaluation.progress import ProgressBar


def make_teacher(cfg: Config, env: Any, resumed: bool, say: Any = print) -> Controller | None:
    """Return the controller that the stage dagger imitates; None if the run has no such stage.

    In a new run the teacher first plays every motion once. Motions that it loses are left out of training.

    Args:
        cfg: The config.
        env: The training environment.
        resumed: Whether the run continues; its motions are then those of its checkpoint.
        say: Reports the motions that are left out.

    Raises:
        InputError: The teacher does not exist, cannot drive the body or follows no motion.
    """
    if "dagger" not in cfg.stages:
        return None
    if cfg.partner:
        raise InputError("stages=[dagger]: the teacher drives the whole body; leave partner= out")
    if env.goal.trials.unit != "clip":
        raise InputError(f"stages=[dagger]: the teacher needs motions to follow; task={cfg.task} has none")
    if not resumed:
        _leave_out_lost(cfg, env, say)
    return _controller(cfg)


def _controller(cfg: Config) -> Controller:
    name, processes = cfg.dagger.teacher, cfg.dagger.processes
    return make_controller(name, {"processes": processes} if processes > 1 else None)


@torch.no_grad()
def _leave_out_lost(cfg: Config, env: Any, say: Any) -> None:
    """Let the teacher play every motion with the thresholds of training; give those that it loses no weight."""
    strict = dataclasses.replace(cfg, evaluation_termination=cfg.termination)
    trial = make_env(strict, None, evaluation=True, assets=env.goal.assets)
    teacher = _controller(cfg)
    with ProgressBar(trial, "teacher") as bar:
        rows = run_trials(trial, teacher, callbacks=[bar])
    trial.close()
    lost = [clip for clip, row in sorted(rows.items()) if row["early_termination_rate"] > 0]
    for clip in lost:
        row = rows[clip]
        say(f"{row['name']}: left out, because {cfg.dagger.teacher} loses it after {100 * row['frame_coverage']:.0f} % "
            "of its frames")  # fmt: skip
    if len(lost) == len(rows):
        raise InputError(f"stages=[dagger]: {cfg.dagger.teacher} follows none of the motions; choose another motion=")
    env.goal.leave_out(lost)


if __name__ == "__main__":
    explain_library(__doc__ or "", "train.py")
