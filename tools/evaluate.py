"""Evaluate a trained policy: every motion from start to end. `python tools/evaluate.py checkpoint=runs/my_run`."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

try:
    from muscle_torch.config import Config, config_from_dict, key, parse_words, run_command
    from muscle_torch.errors import InputError
except ImportError as error:
    if error.name and error.name.split(".")[0] not in ("muscle_torch", "omegaconf"):
        raise
    print("error: muscle_torch is not installed: run `pip install -r requirements.txt` first", file=sys.stderr)
    sys.exit(2)


@dataclasses.dataclass(frozen=True)
class EvaluateOptions:
    checkpoint: str = key("", "the trained policy: a checkpoint file or a run folder")
    motion: Any = key("", "generated motion name, file, folder, glob, or a list; empty: those it was trained on")
    num_envs: int = key(0, "worlds, one motion at a time each; 0: as many as motions, 64 at most")
    device: str = key("auto", "auto, cpu, cuda or cuda:N")
    backend: str = key("auto", "physics: auto (warp on CUDA, mujoco on a CPU), warp or mujoco")
    threads: int = key(0, "physics threads on a CPU; 0: all cores")
    output: str = key("", "where the metrics go: a .json file or a folder; empty: eval/metrics.json of the run")


def main(words: Sequence[str]) -> int:
    """Runs one evaluation; returns the exit code."""
    options = parse_words(EvaluateOptions, words)
    if not options.checkpoint:
        raise InputError("no checkpoint given: write checkpoint=<run folder or checkpoint file>")
    from muscle_torch.envs import make_env
    from muscle_torch.evaluation import clip_table, evaluate, policy_mean, write_evaluation
    from muscle_torch.models import load_policy
    from muscle_torch.physics import resolve_device

    policy = load_policy(options.checkpoint, device=str(resolve_device(options.device)))
    cfg = evaluation_config(config_from_dict(policy.config), options)
    env = make_env(cfg, options.num_envs or None, evaluation=True)
    try:
        metrics = evaluate(env, policy_mean(policy), progress=_show)
    finally:
        env.close()
    print(clip_table(metrics))
    print(
        f"\n{metrics['num_clips']} motions: {100 * metrics['success_rate']:.1f} % followed to the end, "
        f"{100 * metrics['frame_coverage']:.1f} % of {metrics['num_frames']} frames covered"
    )
    if metrics["nan_worlds"]:
        print(f"NaN in {metrics['nan_worlds']} motions: their errors stop there")
    path = output_path(options)
    write_evaluation(path, {**metrics, "task": cfg.task, "checkpoint": options.checkpoint})
    print(f"written to {path}")
    return 0


def evaluation_config(cfg: Config, options: EvaluateOptions) -> Config:
    """The training's config with what was asked for; the thresholds stay its evaluation thresholds."""
    return dataclasses.replace(
        cfg,
        motion=options.motion or cfg.motion,
        device=options.device,
        backend=options.backend,
        threads=options.threads,
    )


def output_path(options: EvaluateOptions) -> Path:
    """`output=`, or `eval/metrics.json` of the run folder the checkpoint lies in."""
    if options.output:
        given = Path(options.output)
        return given if given.suffix == ".json" else given / "metrics.json"
    checkpoint = Path(options.checkpoint)
    if checkpoint.is_dir():
        return checkpoint / "eval" / "metrics.json"
    run = checkpoint.parent.parent if checkpoint.parent.name == "checkpoints" else checkpoint.parent
    return run / "eval" / "metrics.json"


def _show(done: int, total: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{done} of {total} motions", end="\n" if done == total else "", file=sys.stderr, flush=True)


if __name__ == "__main__":
    run_command(main, EvaluateOptions, __doc__ or "")
