"""Analyse the movement of a policy, a motion or a recording: `python tools/analyze.py checkpoint=runs/my_run`.

Set one of: checkpoint= (a policy, rolled out on motion= or on its training motions), archive= (rollouts written by
tools/evaluate.py archive=...), motion= (a motion clip, or OpenSim coordinates with or without ground forces). The
report of a walk contains joint angles and moments, ground reaction force, stance, step length and speed over the gait
cycle, compared with reference= (by default, for a policy, with the motion that it follows); and effort, co-activation,
metabolic cost and muscle synergies if activations are known. The report of a body without feet, such as the arms,
contains joint angles, velocities and moments, activations by muscle group, and the paths of the hands with their speed
and smoothness. forces= without a motion analyses the strides of a force recording. rollout= with trial= compares a
rollout with force plates, joint moments and EMG of the trial that it follows. conditions= compares rollouts of one body
under several conditions, such as able, weakened and assisted, paired by motion and seed. Prints tables and writes a
folder with report.html.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from muscle_torch.biomechanics.analyze_options import AnalyzeOptions
from muscle_torch.config import config_from_dict, parse_words, run_command
from muscle_torch.errors import InputError


def main(words: Sequence[str]) -> int:
    """Run the analysis that the options select; return the exit code."""
    options = parse_words(AnalyzeOptions, words)
    if options.conditions:
        from muscle_torch.biomechanics.condition_report import compare_conditions

        compare_conditions(options)
    elif options.rollout or options.trial:
        from muscle_torch.biomechanics.laboratory_analysis import compare_rollout

        compare_rollout(options)
    elif options.checkpoint or options.archive or options.motion:
        analyse(options)
    elif options.forces:
        from muscle_torch.biomechanics.force_report import analyse_forces

        analyse_forces(options)
    else:
        raise InputError("nothing to analyse: set checkpoint=, archive=, motion= or forces=")
    return 0


def analyse(options: AnalyzeOptions) -> None:
    """Analyse the walks of a body with feet, or the movements of another body."""
    from muscle_torch.biomechanics.gait_analysis import analyse_walks
    from muscle_torch.biomechanics.movement_analysis import analyse_movements
    from muscle_torch.biomechanics.movements import analysed_body, has_feet
    from muscle_torch.motion.rollout_archive import read_archive

    archives = roll_out(options) if options.checkpoint else []
    if options.archive and not archives:
        files = [options.archive] if isinstance(options.archive, str) else list(options.archive)
        archives = [read_archive(file) for file in files]
    body = analysed_body(options, archives)
    if has_feet(body):
        analyse_walks(options, archives)
    else:
        analyse_movements(options, body, archives)


def roll_out(options: AnalyzeOptions) -> list[Any]:
    """Play the motions with the policy, once per seed, and write an archive of each."""
    from muscle_torch.envs import make_env
    from muscle_torch.evaluation import PolicyController, evaluate
    from muscle_torch.evaluation.archive_recorder import ArchiveRecorder
    from muscle_torch.models import load_policy
    from muscle_torch.motion.rollout_archive import write_archive

    if options.seeds < 1:
        raise InputError(f"seeds={options.seeds}: must be at least 1")
    policy = load_policy(options.checkpoint)
    cfg = config_from_dict(policy.config)
    cfg = dataclasses.replace(cfg, motion=options.motion or cfg.motion, device=options.device, threads=options.threads)
    env = make_env(cfg, None, evaluation=True)
    policy.to(env.device)
    try:
        archives = []
        for seed in range(options.seeds):
            recorder = ArchiveRecorder(env, policy.activity)
            controller = PolicyController(policy, stochastic=seed > 0, seed=seed)
            evaluate(env, controller, callbacks=[recorder])
            path = Path(options.output) / (f"rollouts_seed{seed}.npz" if seed else "rollouts.npz")
            archives.append(recorder.archive(seed=seed))
            write_archive(path, archives[-1])
            print(f"rollouts written to {path}")
        return archives
    finally:
        env.close()


if __name__ == "__main__":
    run_command(main, AnalyzeOptions, __doc__ or "")
