"""Latent and muscles of policy=intention: `python tools/latent.py rollout=rollouts.npz emg=trials/ pairs.biceps=...`.

rollout= is an archive written by tools/evaluate.py archive=...; checkpoint= first plays the motions. The analysis
contains the number of directions that latent and layers use (principal components), how well each muscle is forecast
from joint angles, latent and the other muscles (simplex projection), and with emg= the agreement of excitations and EMG
of the same trials: error, correlation, and the error of the best constant. It prints tables and writes a folder with
report.html, tables and figures.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from muscle_torch.biomechanics.trial_emg import TrialEmgSettings
from muscle_torch.config import config_from_dict, key, parse_words, run_command
from muscle_torch.errors import InputError


@dataclasses.dataclass(frozen=True)
class LatentOptions(TrialEmgSettings):
    """Options of the latent analysis."""

    rollout: str = key("", "rollout archive (.npz) of policy=intention, written by tools/evaluate.py archive=")
    checkpoint: str = key("", "or checkpoint file or run folder of the policy; its motions are played first")
    motion: Any = key("", "checkpoint=: motions to play; empty: those of its training")
    episode: int = key(-1, "index of the episode to analyse; -1: all")
    emg: str = key("", "EMG of the same trials: a folder with one file per trial, or a file if there is one episode")
    pairs: dict[str, str] = key({}, "pairs.<channel>=<muscle of the model>")
    rate: float = key(0.0, "sampling rate of emg= if its files have no time column or a wrong one", "Hz")
    start: float = key(0.0, "time of the trial's start in the recordings", "s")
    starts: str = key("", "the same for each trial: a CSV with columns trial,start")
    muscles: list[str] = key([], "muscles to forecast; empty: those of pairs=, else the most active")
    dimension: int = key(3, "number of delayed values of each signal, E (published: 3)")
    lag: int = key(1, "delay between them (published: 1)", "control steps")
    horizon: int = key(5, "forecast horizon (published: 5)", "control steps")
    shuffles: int = key(20, "number of permutations for the chance level")
    threads: int = key(0, "checkpoint=: physics threads on a CPU; 0: all cores")
    output: str = key("latent_report", "folder for the report, its tables and figures")


def main(words: Sequence[str]) -> int:
    """Analyse rollouts, write the report, and return the exit code."""
    options = parse_words(LatentOptions, words)
    if bool(options.rollout) == bool(options.checkpoint):
        raise InputError("nothing to analyse: set either rollout=<archive> or checkpoint=<run folder>")
    from muscle_torch.biomechanics.latent_analysis import (
        FORECAST_COLUMNS,
        VARIANCE_COLUMNS,
        ForecastSettings,
        analyse_latents,
    )
    from muscle_torch.biomechanics.latent_report import figures, latent_report, summary
    from muscle_torch.biomechanics.report import text_table, write_table
    from muscle_torch.biomechanics.trial_emg import COLUMNS

    archive = read_rollouts(options)
    pairs, notes = read_emg(options, archive) if options.emg else ([], [])
    settings = ForecastSettings(options.dimension, options.lag, options.horizon, options.shuffles)
    analysis = analyse_latents(archive, pairs, options.muscles, settings)
    analysis.notes[:0] = notes
    folder = Path(options.output)
    tables = {
        "emg": (COLUMNS, [pair.row() for pair in pairs]),
        "variance": (VARIANCE_COLUMNS, analysis.variance_rows()),
        "forecast": (FORECAST_COLUMNS, analysis.forecast_rows()),
    }
    for name, (columns, rows) in tables.items():
        if rows:
            print(text_table(columns, rows), end="\n\n")
            write_table(folder / f"{name}.csv", columns, rows)
    for note in analysis.notes:
        print(f"left out or assumed: {note}")
    print(summary(analysis))
    report = latent_report(analysis).write(folder / "report.html")
    for name, figure in figures(analysis).items():
        figure.savefig(folder / f"{name}.png", dpi=150, bbox_inches="tight")
    print(f"written to {report}")
    return 0


def read_rollouts(options: LatentOptions) -> Any:
    """Return the rollout archive, restricted to the requested episode."""
    from muscle_torch.motion.rollout_archive import read_archive

    archive = read_archive(options.rollout) if options.rollout else roll_out(options)
    if options.episode >= len(archive.episodes):
        raise InputError(f"episode={options.episode}: choose 0 to {len(archive.episodes) - 1}, or -1 for all")
    if options.episode < 0:
        return archive
    return dataclasses.replace(archive, episodes=(archive.episodes[options.episode],))


def roll_out(options: LatentOptions) -> Any:
    """Play the motions with the policy and write the archive into the output folder."""
    import torch

    from muscle_torch.envs import make_env
    from muscle_torch.evaluation import PolicyController, evaluate
    from muscle_torch.evaluation.archive_recorder import ArchiveRecorder
    from muscle_torch.models import load_policy
    from muscle_torch.motion.rollout_archive import write_archive

    policy = load_policy(options.checkpoint)
    if "latent" not in policy.activity(torch.zeros(1, policy.policy.spec["observation_size"])):
        raise InputError(f"{options.checkpoint} is a policy={policy.policy.spec['name']}, which has no latent")
    cfg = config_from_dict(policy.config)
    cfg = dataclasses.replace(cfg, motion=options.motion or cfg.motion, device="cpu", threads=options.threads)
    env = make_env(cfg, None, evaluation=True)
    try:
        recorder = ArchiveRecorder(env, policy.activity)
        evaluate(env, PolicyController(policy), callbacks=[recorder])
    finally:
        env.close()
    archive, path = recorder.archive(), Path(options.output) / "rollouts.npz"
    write_archive(path, archive)
    print(f"rollouts written to {path}")
    return archive


def read_emg(options: LatentOptions, archive: Any) -> tuple[Any, list[str]]:
    """Return excitation and EMG of each pair, and notes on omissions and assumptions."""
    from muscle_torch.biomechanics.trial_emg import compare_trials, read_recordings, read_starts

    names = [episode.name for episode in archive.episodes]
    recordings = read_recordings(options.emg, names, options.rate)
    starts = read_starts(options.starts, names, options.start)
    return compare_trials(archive, recordings, dict(options.pairs), options, starts)


if __name__ == "__main__":
    run_command(main, LatentOptions, __doc__ or "")
