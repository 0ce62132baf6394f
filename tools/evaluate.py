"""Evaluate a trained policy, or a controller without a checkpoint: every trial from start to end.

`python tools/evaluate.py checkpoint=runs/my_run`, or without a checkpoint `python tools/evaluate.py task=toy_arm
policy=zero output=zero.json`.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from muscle_torch.config import Config, key, parse_words, run_command, with_overrides
from muscle_torch.errors import InputError
from muscle_torch.pretrained import PREFIX
from muscle_torch.tools.controlled_env import ControlOptions, control_config, make_controlled_env, run_folder_of

IMAGES = (".png", ".pdf", ".svg")
ROBUSTNESS_ENVS = 28  # default number of environments for robustness=true: the number of runs per motion


@dataclasses.dataclass(frozen=True)
class EvaluateOptions(ControlOptions):
    """Options of the program."""

    backend: str = key("auto", "physics: auto (warp on CUDA, mujoco on a CPU), warp, mujoco, or both to compare them")
    num_envs: int = key(0, "number of environments, each plays one motion at a time; 0: one per motion, at most 64")
    stochastic: bool = key(False, "sample actions as in training instead of taking their mean")
    seeds: int = key(1, "number of repetitions to average, with different seeds; above 1 needs stochastic=true")
    seed: int = key(0, "first seed")
    distances: bool = key(
        True, "also compute Euclidean, time warping and Frechet distances (about 1 s per 10 s of motion)"
    )
    robustness: bool = key(
        False, "also run every motion under noise, pushes, other starts, weaker and stronger muscles (28 runs each)"
    )
    evaluation_termination: dict[str, float] = key(
        {},
        "thresholds instead of the training's, such as {mean_site_deviation: 0.1}; for a free body also root_deviation",
    )
    legacy_mpjpe: bool = key(
        False, "also write mpjpe_accumulated: KINESIS' MPJPE, in which errors of earlier clips leak into later ones"
    )
    archive: str = key("", "also write the rollouts of the first seed to this .npz file, in mm-evalkit's format")
    map: str = key("", "also write a map of the targets, reached or not, to this image file (goal=root_target)")
    motion_group: str = key("", "name of the set of motions, stored in the archive")
    output: str = key(
        "", "a .json file or a folder for the metrics; empty: eval/ of the checkpoint's run, or not written"
    )


def main(words: Sequence[str]) -> int:
    """Run the evaluation; return the exit code."""
    options = parse_words(EvaluateOptions, words)
    _check(options)
    from muscle_torch.evaluation import backend_table, difference, group_table, write_evaluation

    cfg = evaluation_config(options)
    _check_goal(options, cfg)
    backends = ("mujoco", "warp") if options.backend == "both" else (options.backend,)
    archives = (Path(options.archive) if options.archive else None, None)
    results = {b: _evaluate(cfg, options, b, archive) for b, archive in zip(backends, archives, strict=False)}
    metrics, table = results[backends[0]]
    print(table)
    print("\n".join(filter(None, (_summary(metrics), group_table(metrics)))))
    if options.map:
        _write_map(Path(options.map), metrics)
    if len(results) > 1:
        summaries = {name: _without_trials(one) for name, (one, _) in results.items()}
        metrics |= {"backends": summaries, "difference": difference(*summaries.values())}
        print(f"\n{backend_table(summaries)}")
    if options.robustness:
        metrics["robustness"] = _run_robustness(cfg, options, backends[0])
    path = output_path(options)
    if path is not None:
        source = {"checkpoint": options.checkpoint} if options.checkpoint else {}
        source |= {"policy": options.policy} if options.policy else {}
        write_evaluation(path, {**metrics, "task": cfg.task, **source})
        print(f"written to {path}")
    return 0


def _check(options: EvaluateOptions) -> None:
    if options.seeds < 1:
        raise InputError(f"seeds={options.seeds}: must be at least 1")
    if options.seeds > 1 and not options.stochastic:
        raise InputError(f"seeds={options.seeds} would repeat the same rollout: add stochastic=true, or remove seeds=")
    if options.map and Path(options.map).suffix not in IMAGES:
        raise InputError(f"map={options.map}: the name must end in {', '.join(IMAGES)}")


def _check_goal(options: EvaluateOptions, cfg: Config) -> None:
    """Raise InputError if the goal does not measure what an option writes, before anything is simulated."""
    if options.map and cfg.goal.name != "root_target":
        raise InputError(f"map= shows the targets of goal=root_target, but this task has {cfg.goal.name}: leave it out")
    if options.legacy_mpjpe and cfg.goal.name != "kinesis":
        raise InputError(
            f"legacy_mpjpe=true: the MPJPE is of goal=kinesis, this task has {cfg.goal.name}; leave it out"
        )


def _evaluate(cfg: Config, options: EvaluateOptions, backend: str, archive: Path | None) -> tuple[dict[str, Any], str]:
    """Return the metrics over all seeds on one backend, and the table of trials; archive the first seed."""
    from tqdm import tqdm

    from muscle_torch.evaluation import average, evaluate, trial_table, with_accumulated_mpjpe
    from muscle_torch.evaluation.archive_recorder import ArchiveRecorder
    from muscle_torch.evaluation.trajectory_distance import Distances

    device = "cpu" if options.backend == "both" and backend == "mujoco" else options.device
    cfg = with_overrides(cfg, backend=backend, device=device)
    env, controller = make_controlled_env(options, cfg, options.num_envs, stochastic=options.stochastic)
    activity = None if options.policy else controller.policy.activity
    try:
        seeds: list[dict[str, Any]] = []
        for seed in range(options.seed, options.seed + options.seeds):
            if options.stochastic:
                controller.reseed(seed)
            recorder = ArchiveRecorder(env, activity) if archive is not None and not seeds else None
            callbacks = [*([Distances()] if options.distances else []), *([recorder] if recorder else [])]
            with tqdm(total=len(env.goal.trials.names), unit="trial", disable=None) as bar:
                seeds.append(evaluate(env, controller, callbacks=callbacks, progress=bar.update))
            if archive is not None and recorder is not None:
                _write_archive(archive, recorder, options.motion_group, seed)
        metrics = seeds[0] if len(seeds) == 1 else average(seeds)
        if options.legacy_mpjpe:
            metrics = with_accumulated_mpjpe(metrics)
        return metrics, trial_table(metrics, env.goal.headline)
    finally:
        env.close()


def _write_map(path: Path, metrics: dict[str, Any]) -> None:
    from muscle_torch.evaluation.figures import target_map
    from muscle_torch.storage.files import write_atomically

    figure = target_map(metrics)
    with write_atomically(path, "choose another map=") as temporary:
        figure.savefig(temporary, format=path.suffix.removeprefix("."), dpi=120)
    print(f"map written to {path}")


def _run_robustness(cfg: Config, options: EvaluateOptions, backend: str) -> list[dict[str, Any]]:
    """Run the robustness evaluation; print the table and return its rows."""
    from tqdm import tqdm

    from muscle_torch.evaluation import robustness, robustness_rows, robustness_table
    from muscle_torch.evaluation.robustness import number_of_runs

    env, controller = make_controlled_env(
        options, with_overrides(cfg, backend=backend), options.num_envs or ROBUSTNESS_ENVS
    )
    try:
        with tqdm(total=number_of_runs(env), unit="run", disable=None) as bar:
            rows = robustness_rows(robustness(env, controller, progress=bar.update))
    finally:
        env.close()
    print(f"\n{robustness_table(rows)}")
    return rows


def _write_archive(path: Path, recorder: Any, motion_group: str, seed: int) -> None:
    from muscle_torch.motion.rollout_archive import write_archive

    write_archive(path, recorder.archive(motion_group, seed))
    print(f"rollouts written to {path}")
    if recorder.broken:
        print(f"not in it, because they diverged in the first step: {', '.join(recorder.broken)}")


def _summary(metrics: dict[str, Any]) -> str:
    if "num_clips" in metrics:
        text = (
            f"\n{metrics['num_clips']} motions: {100 * metrics['success_rate']:.1f} % followed to the end, "
            f"{100 * metrics['frame_coverage']:.1f} % of {metrics['num_frames']} frames covered"
        )
    else:
        low, high = (100 * bound for bound in metrics["success_interval"])
        text = (
            f"\n{metrics['num_trials']} trials: {100 * metrics['success_rate']:.1f} % successful "
            f"(95 % interval {low:.1f} to {high:.1f} %)"
        )
    if "mpjpe" in metrics:
        text += f", MPJPE while followed {1e3 * metrics['mpjpe']:.1f} mm"
    if "mpjpe_accumulated" in metrics:
        text += f" (accumulated over clips as published: {1e3 * metrics['mpjpe_accumulated']:.1f} mm)"
    if metrics.get("num_seeds"):
        text += f"; mean of {metrics['num_seeds']} seeds (success +- {100 * metrics['std']['success_rate']:.1f} %)"
    if metrics["nan_worlds"]:
        unit = "motions" if "num_clips" in metrics else "trials"
        text += f"\nNaN in {metrics['nan_worlds']:g} {unit}: their errors stop there"
    return text


def _without_trials(metrics: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in metrics.items() if name not in ("per_clip", "per_trial", "per_seed")}


def evaluation_config(options: EvaluateOptions) -> Config:
    """Return the training config with the tool's options; thresholds not listed keep their evaluation value."""
    cfg = control_config(dataclasses.replace(options, backend="auto") if options.backend == "both" else options)
    thresholds = {**cfg.evaluation_termination, **options.evaluation_termination}
    return dataclasses.replace(cfg, evaluation_termination=thresholds)


def output_path(options: EvaluateOptions) -> Path | None:
    """Return the metrics file: of `output=`, else in the checkpoint's run, or None.

    The default is `eval/metrics.json` in the run of a checkpoint and `eval/<name>.json` for a controller. The
    evaluation of a pretrained policy is not written.
    """
    if options.output:
        path = Path(options.output)
        return path if path.suffix == ".json" else path / "metrics.json"
    if not options.checkpoint or options.checkpoint.startswith(PREFIX):
        return None
    # Not eval/<name>/metrics.json: training wrote that for its own motions.
    return run_folder_of(options.checkpoint) / "eval" / f"{options.policy or 'metrics'}.json"


if __name__ == "__main__":
    run_command(main, EvaluateOptions, __doc__ or "")
