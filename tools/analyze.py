"""Analyse the gait of a policy, a motion or a recording: `python tools/analyze.py checkpoint=runs/my_run`.

Set one of: checkpoint= (a policy, rolled out on motion= or on its training motions), archive= (rollouts written by
tools/evaluate.py archive=...), motion= (a motion clip, or OpenSim coordinates with or without ground forces). The
report contains joint angles and moments, ground reaction force, stance, step length and speed over the gait cycle,
compared with reference= (by default, for a policy, with the motion that it follows); and effort, co-activation,
metabolic cost and muscle synergies if activations are known. forces= without a motion analyses the strides of a force
recording. rollout= with trial= compares a rollout with force plates, joint moments and EMG of the trial that it
follows. Prints tables and writes a folder with report.html.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from muscle_torch.config import config_from_dict, key, parse_words, run_command
from muscle_torch.errors import InputError

RECORDINGS = (".mot", ".sto", ".mat")


@dataclasses.dataclass(frozen=True)
class AnalyzeOptions:
    """Options of the program."""

    checkpoint: str = key("", "a policy: checkpoint file, run folder or pretrained:<name>")
    archive: Any = key("", "rollouts of tools/evaluate.py (.npz), or a list of such files (seeds)")
    rollout: str = key("", "rollout archive (.npz) of a clip of trial=, to compare with its plates, moments and EMG")
    trial: str = key("", "folder of the recorded trial: motion, force plates, joint moments, EMG (.sto, .mot, .csv)")
    emg: str = key("", "trial=: EMG file, if the folder contains none or several; also motion=, forces=, moments=")
    map: str = key("", "trial=: your own table of muscles (YAML or CSV), extends biomechanics/emg_muscles.yaml")
    side: str = key("r", "trial=: side of EMG channels whose name contains none: r or l")
    motion: Any = key("", "OpenSim coordinates (.mot, .sto) or motion clips; with checkpoint=: motions to follow")
    forces: str = key("", "ground forces for inverse dynamics of motion=; alone (also .c3d, .txt): analyse its strides")
    rate: float = key(0.0, "sampling rate of forces= if its time column is missing or wrong", "Hz")
    reference: str = key("", "to compare with: curves (.npz with angle_deg, moment_Nm, grf_pctBW), a clip, or a .mot")
    reference_forces: str = key("", "ground reaction forces of reference=, if it is an OpenSim motion")
    reference_mass: float = key(0.0, "mass of the subject of reference=, if it is an OpenSim motion", "kg")
    reference_trial: int = key(0, "use only this trial of the curves in reference= (from 1); 0: the mean of all")
    seeds: int = key(1, "checkpoint=: rollouts of each motion; the first uses the mean action, the others sample")
    episode: int = key(-1, "index of the episode in the rollouts, or of the motion; -1: all together")
    force_threshold: float = key(0.0, "a foot is on the plate above this; 0: 20, or 50 for forces= alone", "N")
    mass: float = key(0.0, "the subject's mass; 0: the model's", "kg")
    height: float = key(0.0, "the subject's height, stated in the report", "m")
    leg_length: float = key(0.0, "the subject's leg length, hip to ankle; 0: from motion= if it contains the size", "m")
    angle_unit: str = key("auto", "angles of an OpenSim motion=: deg, rad, or auto (as stated in the header)")
    convention: str = key("auto", "sign of knee flexion in motion=: rajagopal (+), gait2392 (-) or auto")
    swap_plates: bool = key(False, "exchange right and left in the force file")
    start: float = key(0.0, "start of the analysed part of an OpenSim motion; 0: the beginning", "s")
    end: float = key(0.0, "end of the analysed part; 0: the end", "s")
    cutoff: float = key(6.0, "low-pass of an OpenSim motion before inverse dynamics (Winter 2009: 6)", "Hz")
    angle_cutoff: float = key(0.0, "low-pass of the angles before segmentation into cycles; 0: off", "Hz")
    moments: str = key("", "joint moments of the same motion from another program (.sto), to compare over time")
    inverse_dynamics: bool = key(True, "false: use the moments in moments= instead of computing them")
    points: int = key(101, "points of a normalized cycle")
    synergies: int = key(8, "maximum number of muscle synergies; 0: none")
    optimise: bool = key(False, "static optimisation of the muscles after inverse dynamics (needs forces=)")
    embodiment: dict[str, Any] = key({}, "options of the body, such as embodiment.fingers=true")
    device: str = key("auto", "checkpoint: auto, cpu, cuda or cuda:N")
    threads: int = key(0, "checkpoint: physics threads on a CPU; 0: all cores")
    output: str = key("gait_report", "folder for the report, its tables and the rollouts")


def main(words: Sequence[str]) -> int:
    """Read or roll out, analyse and write the report; return the exit code."""
    options = parse_words(AnalyzeOptions, words)
    if options.rollout or options.trial:
        return compare_rollout(options)
    if not (options.motion or options.archive or options.checkpoint):
        if options.forces:
            return analyse_forces(options)
        raise InputError("nothing to analyse: set checkpoint=, archive=, motion= or forces=")
    from muscle_torch.biomechanics.gait_numbers import NUMBER_COLUMNS, walk_numbers
    from muscle_torch.biomechanics.gait_report import (
        ALONE_COLUMNS,
        COLUMNS,
        EPISODE_COLUMNS,
        MOMENT_COLUMNS,
        comparison_rows,
        curve_rows,
        gait_report,
        missing_curves,
        moment_rows,
        pooled_cycles,
    )
    from muscle_torch.biomechanics.muscle_activity import activity_tables
    from muscle_torch.biomechanics.recordings import write_series
    from muscle_torch.biomechanics.report import text_table, write_table

    folder = Path(options.output)
    walks = smoothed(read_walks(options), options.angle_cutoff)
    reference = read_reference_curves(options, walks)
    cycles, notes = pooled_cycles(walks.gaits, options.points)
    notes = [*walks.left_out, *dict.fromkeys(note for gait in walks.gaits for note in gait.notes), *notes]
    notes += [f"events: {note}" for gait in walks.gaits for c in gait.contacts.values() for note in c.left_out]
    if walks.episodes:
        print(text_table(EPISODE_COLUMNS, walks.episodes), end="\n\n")
    columns, rows = ALONE_COLUMNS, curve_rows(cycles)
    if reference is not None:
        columns, rows = COLUMNS, comparison_rows(cycles, reference)
        notes += missing_curves(cycles, reference)
    for titles, table in ((NUMBER_COLUMNS, walk_numbers(walks.gaits)), (columns, rows)):
        if table:
            print(text_table(titles, table), end="\n\n")
    tables, mass = [], walks.gaits[0].mass
    if walks.activity is not None:
        tables = activity_tables(walks.activity, options.synergies, mass)
    other_moments = moments_of_file(options) if options.moments and options.inverse_dynamics else None
    if other_moments is not None:
        print(f"{text_table(MOMENT_COLUMNS, moment_rows(walks.gaits[0], other_moments))}", end="\n\n")
    for title, columns, table in tables:
        print(f"{title}\n{text_table(columns, table)}", end="\n\n")
    for note in notes:
        print(f"excluded or assumed: {note}")
    write_table(folder / "table.csv", columns, rows)
    write_curves(folder / "cycles.csv", cycles)
    for side, contacts in walks.gaits[0].contacts.items():
        events = list(zip(contacts.starts.tolist(), contacts.ends.tolist(), strict=True))
        write_table(folder / f"events_{side}.csv", ("touchdown_s", "liftoff_s"), events)
    if options.optimise and walks.activity is not None:
        write_series(folder / "activations.sto", walks.activity.activations)
    report = gait_report(walks, cycles, reference, tables, notes, assumptions(options), other_moments)
    print(f"written to {report.write(folder / 'report.html')}")
    return 0


def analyse_forces(options: AnalyzeOptions) -> int:
    """Analyse a force recording without motion: strides, stance, vertical force."""
    from muscle_torch.biomechanics.force_report import force_report, force_table, force_walk
    from muscle_torch.biomechanics.gait_events import read_forces
    from muscle_torch.biomechanics.report import text_table

    walk = force_walk(
        read_forces(options.forces, options.rate), options.mass, options.force_threshold or 50.0, options.points
    )
    print(text_table(*force_table(walk)), end="\n\n")
    for note in walk.left_out:
        print(f"excluded or assumed: {note}")
    report = force_report(walk, Path(options.forces).name)
    print(f"written to {report.write(Path(options.output) / 'report.html')}")
    return 0


def compare_rollout(options: AnalyzeOptions) -> int:
    """Compare a rollout with force plates, joint moments and EMG of the trial that it follows."""
    from muscle_torch.biomechanics.emg_map import load_map
    from muscle_torch.biomechanics.gait import body_of
    from muscle_torch.biomechanics.laboratory import read_laboratory
    from muscle_torch.biomechanics.laboratory_curves import (
        COLUMNS,
        agreement_rows,
        compare_with_laboratory,
        curve_series,
        episode_of,
    )
    from muscle_torch.biomechanics.laboratory_report import CHANCE_COLUMNS, chance_rows, laboratory_report, summary
    from muscle_torch.biomechanics.recordings import write_series
    from muscle_torch.biomechanics.report import text_table, write_table
    from muscle_torch.motion.rollout_archive import read_archive

    if not (options.rollout and options.trial):
        raise InputError("set both rollout=<archive> and trial=<folder of the recorded trial>, or neither")
    archive, table = read_archive(options.rollout), load_map(options.map)
    if options.episode >= len(archive.episodes):
        raise InputError(
            f"{options.rollout} has {len(archive.episodes)} episodes, so episode={options.episode} does not exist"
        )
    files = {"motion": options.motion, "forces": options.forces, "moments": options.moments, "emg": options.emg}
    laboratory = read_laboratory(options.trial, table, files, options.side, options.convention)
    body = body_of(archive)
    episode = options.episode if options.episode >= 0 else episode_of(body, archive, laboratory)
    one = compare_with_laboratory(body, archive, episode, laboratory, table, options.mass, options.cutoff,
                                  options.swap_plates)  # fmt: skip
    folder = Path(options.output)
    tables = {kind: (columns, agreement_rows(one, kind)) for kind, columns in COLUMNS.items() if one.of(kind)}
    for kind, (columns, rows) in tables.items():
        print(text_table(columns, rows), end="\n\n")
        write_table(folder / f"{kind}s.csv", columns, rows)
    write_series(folder / "curves.csv", curve_series(one))
    if len(one.of("muscle")) > 1:
        print(text_table(CHANCE_COLUMNS, chance_rows(one)), end="\n\n")
    for note in one.notes:
        print(f"excluded or assumed: {note}")
    print(summary(one))
    print(f"written to {laboratory_report(one).write(folder / 'report.html')}")
    return 0


def read_walks(options: AnalyzeOptions) -> Any:
    """Return the walks of checkpoint=, archive= or motion=."""
    from muscle_torch.biomechanics.gait_report import Walks
    from muscle_torch.motion.rollout_archive import read_archive

    if options.checkpoint:
        return walks_of_rollouts(options, roll_out(options))
    if options.archive:
        files = [options.archive] if isinstance(options.archive, str) else list(options.archive)
        return walks_of_rollouts(options, [read_archive(file) for file in files])
    if is_recording(options.motion):
        return walk_of_recording(options)
    if options.forces or options.optimise:
        raise InputError(
            "forces= and optimise= apply only to OpenSim coordinates (.mot, .sto), not to clips; remove them"
        )
    return Walks(gaits_of_clips(options, options.motion, options.mass))


def smoothed(walks: Any, cutoff: float) -> Any:
    """Return the walks with their angles low-passed [Hz]; 0: unchanged."""
    from muscle_torch.biomechanics.series import low_pass

    if not cutoff:
        return walks
    gaits = [dataclasses.replace(gait, angles=low_pass(gait.angles, cutoff)) for gait in walks.gaits]
    return dataclasses.replace(walks, gaits=gaits)


def is_recording(motion: Any) -> bool:
    """Return whether `motion=` is a file of OpenSim coordinates."""
    return isinstance(motion, str) and Path(motion).suffix.lower() in RECORDINGS


def walks_of_rollouts(options: AnalyzeOptions, archives: Sequence[Any]) -> Any:
    """Return every episode of every archive (one per seed), excluding with a note those without a step."""
    from muscle_torch.biomechanics.gait import angle_error, body_of, followed_gait, rollout_gait, walking_bodies
    from muscle_torch.biomechanics.gait_report import Walks
    from muscle_torch.biomechanics.muscle_activity import activity_of_rollouts

    body, count = body_of(archives[0]), len(archives[0].episodes)
    walking_bodies(body)
    if options.episode >= count:
        raise InputError(f"there are {count} episodes, so episode={options.episode} does not exist")
    walks = Walks([], activity=activity_of_rollouts(body, archives))
    for seed, archive in enumerate(archives):
        if archive.joint_names != archives[0].joint_names:
            raise InputError(
                f"archive= contains rollouts of {archives[0].embodiment} and of {archive.embodiment}; use one body"
            )
        for index, episode in enumerate(archive.episodes):
            if options.episode not in (-1, index):
                continue
            try:
                gait, followed = rollout_gait(body, archive, index), followed_gait(body, archive, index)
            except InputError as error:
                walks.left_out.append(f"{episode.name}, seed {seed}, {len(episode.qpos)} frames: {error}")
                continue
            walks.gaits.append(gait)
            walks.followed.append(followed)
            seconds = [archive.dt * len(q) for q in (episode.qpos, episode.reference)]
            strides = [max(len(gait.contacts[side].starts) - 1, 0) for side in "rl"]
            walks.episodes.append((episode.name, seed, *seconds, *strides, angle_error(gait, followed)))
    if not walks.gaits:
        raise InputError(f"no episode can be analysed: {walks.left_out[0]}")
    return walks


def walk_of_recording(options: AnalyzeOptions) -> Any:
    """Return the walk of OpenSim coordinates, with inverse dynamics and static optimisation if requested."""
    from muscle_torch.biomechanics.gait import opensim_gait
    from muscle_torch.biomechanics.gait_report import Walks
    from muscle_torch.biomechanics.ground_forces import ON_GROUND
    from muscle_torch.biomechanics.muscle_activity import activity_of_motion
    from muscle_torch.embodiments import make_embodiment

    body = make_embodiment("fullbody", **options.embodiment)
    gait, qpos = opensim_gait(body, options.motion, options.forces, options.mass, options.convention,
                              options.swap_plates, options.cutoff, options.start, options.end,
                              options.force_threshold or ON_GROUND, options.angle_unit, options.leg_length,
                              options.rate)  # fmt: skip
    if not options.inverse_dynamics:
        gait = dataclasses.replace(gait, moments=moments_of_file(options))
    if not options.optimise:
        return Walks([gait])
    if gait.moments is None:
        raise InputError("optimise=true needs forces=<ground reaction forces>")
    return Walks([gait], activity=activity_of_motion(body, qpos, gait.moments, gait.rate))


def moments_of_file(options: AnalyzeOptions) -> Any:
    """Return the moments of moments= with the model's signs; the sign of the knee follows from the motion."""
    from muscle_torch.biomechanics.coordinates import in_model_signs, knee_convention
    from muscle_torch.biomechanics.recordings import read_series

    if not options.moments:
        raise InputError("inverse_dynamics=false needs moments=<joint moments of the same motion>")
    angles = read_series(options.motion) if is_recording(options.motion) else None
    convention = knee_convention(angles, options.convention) if angles else "rajagopal"
    return in_model_signs(read_series(options.moments), convention)


def gaits_of_clips(options: AnalyzeOptions, motion: Any, mass: float) -> list[Any]:
    """Return the gaits of motion clips.

    Args:
        options: Body, episode and leg length.
        motion: Value of `motion=`.
        mass: The subject's mass [kg]; 0: the model's.
    """
    import numpy as np

    from muscle_torch.biomechanics.gait import gait_of, model_leg
    from muscle_torch.embodiments import make_embodiment
    from muscle_torch.motion import load_motion

    body = make_embodiment("fullbody", **options.embodiment)
    clips = load_motion(motion, body)
    if options.episode >= len(clips):
        raise InputError(f"{motion} has {len(clips)} motions, so episode={options.episode} does not exist")
    chosen = clips if options.episode < 0 else [clips[options.episode]]
    leg = model_leg(body) / options.leg_length if options.leg_length else 0.0
    gaits = [
        gait_of(body, clip.qpos.astype(float), clip.frequency, clip.name, mass, scale=leg or clip.scale)
        for clip in chosen
    ]
    unknown = (
        "the clip does not contain the subject's size: speed and lengths are the model's; set leg_length= for both"
    )
    return [gait if gait.no_walk or np.isfinite(gait.scale) else
            dataclasses.replace(gait, notes=(*gait.notes, unknown)) for gait in gaits]  # fmt: skip


def read_reference_curves(options: AnalyzeOptions, walks: Any) -> Any:
    """Return the curves of reference=, or else those of the motions that a policy follows, or None."""
    from muscle_torch.biomechanics.gait import opensim_gait
    from muscle_torch.biomechanics.gait_report import curves_of, pooled_cycles
    from muscle_torch.biomechanics.reference_curves import is_curve_file, read_reference
    from muscle_torch.embodiments import make_embodiment

    if not options.reference:
        return curves_of(pooled_cycles(walks.followed, 101)[0], "reference motion") if walks.followed else None
    if is_curve_file(options.reference):
        curves = read_reference(options.reference, options.convention)
        return curves.trial(options.reference_trial) if options.reference_trial else curves
    if is_recording(options.reference):
        body = make_embodiment("fullbody", **options.embodiment)
        gaits = [opensim_gait(body, options.reference, options.reference_forces, options.reference_mass)[0]]
    else:
        gaits = gaits_of_clips(dataclasses.replace(options, episode=-1), options.reference, 0.0)
    cycles, notes = pooled_cycles(gaits, 101)
    if not cycles:
        reasons = [*(gait.no_walk for gait in gaits if gait.no_walk), *notes]
        raise InputError(f"reference={options.reference} contains no complete gait cycle ({reasons[0]})")
    return curves_of(cycles, Path(options.reference).stem)


def roll_out(options: AnalyzeOptions) -> list[Any]:
    """Play the motions with the policy, once per seed, and write an archive of each."""
    from muscle_torch.biomechanics.gait import walking_bodies
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
        walking_bodies(env.embodiment)
        archives = []
        for seed in range(options.seeds):
            recorder = ArchiveRecorder(env, policy.activity)
            controller = PolicyController(policy, stochastic=seed > 0, seed=seed)
            evaluate(env, controller, callbacks=[recorder])
            path = Path(options.output) / (f"rollouts_seed{seed}.npz" if seed else "rollouts.npz")
            archives.append(recorder.archive())
            write_archive(path, archives[-1])
            print(f"rollouts written to {path}")
        return archives
    finally:
        env.close()


def assumptions(options: AnalyzeOptions) -> list[str]:
    """Return the assumptions of the analysis, one line each."""
    mass = f"{options.mass:g} kg" if options.mass else "the model's"
    lines = [f"mass: {mass}; height: {f'{options.height:g} m' if options.height else 'unknown'}"]
    lines.append("signs: hip flexion, knee flexion, dorsiflexion positive; zeros as in the Rajagopal 2016 model")
    if options.forces:
        lines.append(f"motion low-passed at {options.cutoff:g} Hz; ground forces act on the calcaneus; arms at rest")
    if options.archive or options.checkpoint:
        lines.append("moments are those of the muscles (generalized actuator forces); ground forces are vertical only, "
                     "from the touch sensors of foot and toes")  # fmt: skip
        lines.append("angle error: mean absolute difference from the reference, hips, knees and ankles (MPJAE)")
    return lines


def write_curves(path: Path, cycles: dict[tuple[str, str], Any]) -> None:
    """Write mean and standard deviation of every curve as columns."""
    from muscle_torch.biomechanics.report import write_table

    if not cycles:
        return
    first = next(iter(cycles.values()))
    titles, columns = ["percent"], [first.percent.tolist()]
    for (quantity, side), one in cycles.items():
        for index, name in enumerate(one.names):
            titles += [f"{quantity} {name}_{side} [{one.units[index]}]", f"{quantity} {name}_{side} sd"]
            columns += [one.mean[:, index].tolist(), one.sd[:, index].tolist()]
    write_table(path, titles, list(zip(*columns, strict=True)))


if __name__ == "__main__":
    run_command(main, AnalyzeOptions, __doc__ or "")
