"""Evaluate a trained policy: every motion from start to end. `python tools/evaluate.py checkpoint=runs/my_run`."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from muscle_torch.config import Config, config_from_dict, key, parse_words, run_command
from muscle_torch.errors import InputError


@dataclasses.dataclass(frozen=True)
class EvaluateOptions:
    checkpoint: str = key("", "the trained policy: a checkpoint file or a run folder")
    motion: Any = key("", "generated motion name, file, folder, glob, or a list; empty: those it was trained on")
    num_envs: int = key(0, "worlds, one motion at a time each; 0: as many as motions, 64 at most")
    device: str = key("auto", "auto, cpu, cuda or cuda:N")
    backend: str = key("auto", "physics: auto (warp on CUDA, mujoco on a CPU), warp, mujoco, or both to compare them")
    threads: int = key(0, "physics threads on a CPU; 0: all cores")
    stochastic: bool = key(False, "draw actions as while training instead of taking their mean")
    seeds: int = key(1, "repetitions with other random numbers, averaged; more than 1 needs stochastic=true")
    seed: int = key(0, "the first of them")
    distances: bool = key(
        True, "also Euclidean, time warping and Frechet distances (about a second for 10 s of motion)"
    )
    evaluation_termination: dict[str, float] = key(
        {}, "thresholds in place of the training's, such as {root_deviation: 0.3}"
    )
    archive: str = key("", "also write the rollouts (the first seed's) to this .npz file, in mm-evalkit's format")
    motion_group: str = key("", "name of the set of motions, noted in the archive")
    output: str = key("", "where the metrics go: a .json file or a folder; empty: eval/metrics.json of the run")


def main(words: Sequence[str]) -> int:
    """Runs one evaluation; returns the exit code."""
    options = parse_words(EvaluateOptions, words)
    if not options.checkpoint:
        raise InputError("no checkpoint given: write checkpoint=<run folder or checkpoint file>")
    if options.seeds < 1:
        raise InputError(f"seeds={options.seeds}: at least 1 is needed")
    if options.seeds > 1 and not options.stochastic:
        raise InputError(
            f"seeds={options.seeds} would repeat the same rollout: add stochastic=true, or leave seeds out"
        )
    from muscle_torch.evaluation import backend_table, clip_table, difference, write_evaluation
    from muscle_torch.models import load_policy

    policy = load_policy(options.checkpoint)
    cfg = evaluation_config(config_from_dict(policy.config), options)
    backends = ("mujoco", "warp") if options.backend == "both" else (options.backend,)
    archives = (Path(options.archive) if options.archive else None, None)
    found = {b: _evaluate(cfg, policy, options, b, archive) for b, archive in zip(backends, archives, strict=False)}
    metrics = found[backends[0]]
    print(clip_table(metrics))
    print(_summary(metrics))
    if len(found) > 1:
        metrics |= {"backends": {name: _without_clips(one) for name, one in found.items()}}
        metrics |= {"difference": difference(*found.values())}
        print(f"\n{backend_table(found)}")
    path = output_path(options)
    write_evaluation(path, {**metrics, "task": cfg.task, "checkpoint": options.checkpoint})
    print(f"written to {path}")
    return 0


def _evaluate(cfg: Config, policy: Any, options: EvaluateOptions, backend: str, archive: Path | None) -> dict[str, Any]:
    """All seeds on one backend; the archive is that of the first seed."""
    from muscle_torch.envs import make_env
    from muscle_torch.evaluation import average, evaluate, policy_mean, policy_sample
    from muscle_torch.evaluation.archive_recorder import ArchiveRecorder
    from muscle_torch.evaluation.trajectory_distance import Distances
    from muscle_torch.motion.rollout_archive import write_archive

    device = "cpu" if options.backend == "both" and backend == "mujoco" else options.device
    env = make_env(dataclasses.replace(cfg, backend=backend, device=device), options.num_envs or None, evaluation=True)
    policy.to(env.device)
    try:
        found = []
        for seed in range(options.seed, options.seed + options.seeds):
            act = policy_sample(policy, seed) if options.stochastic else policy_mean(policy)
            recorder = ArchiveRecorder(env) if archive is not None and not found else None
            watchers = [*([Distances()] if options.distances else []), *([recorder] if recorder else [])]
            found.append(evaluate(env, act, progress=_show, watchers=watchers))
            if archive is not None and recorder is not None:
                write_archive(archive, recorder.archive(options.motion_group))
                print(f"rollouts written to {archive}")
                if recorder.broken:
                    print(f"not in it, for they broke in their first step: {', '.join(recorder.broken)}")
        return found[0] if len(found) == 1 else average(found)
    finally:
        env.close()


def _summary(metrics: dict[str, Any]) -> str:
    text = (
        f"\n{metrics['num_clips']} motions: {100 * metrics['success_rate']:.1f} % followed to the end, "
        f"{100 * metrics['frame_coverage']:.1f} % of {metrics['num_frames']} frames covered"
    )
    if metrics.get("num_seeds"):
        text += f"; mean of {metrics['num_seeds']} seeds (success +- {100 * metrics['std']['success_rate']:.1f} %)"
    if metrics["nan_worlds"]:
        text += f"\nNaN in {metrics['nan_worlds']:g} motions: their errors stop there"
    return text


def _without_clips(metrics: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in metrics.items() if name not in ("per_clip", "per_seed")}


def evaluation_config(cfg: Config, options: EvaluateOptions) -> Config:
    """The training's config with what was asked for; thresholds not named stay its evaluation thresholds."""
    return dataclasses.replace(
        cfg,
        motion=options.motion or cfg.motion,
        evaluation_termination={**cfg.evaluation_termination, **options.evaluation_termination},
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
