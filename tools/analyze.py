"""Gait of a recording or a policy: `python tools/analyze.py motion=walk.mot forces=grf.mot reference=people.npz`.

One of: motion= (OpenSim coordinates with or without ground forces, or a motion clip of the body), archive= (a rollout
archive), checkpoint= (a policy, rolled out on motion=; the archive is written too). Joint angles and moments, ground
reaction forces in body weights, stance share, step length and speed, over the gait cycle and against reference curves;
muscle synergies, effort, co-activation and metabolic cost where activations are known. Writes report.html and tables.
"""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

try:
    from muscle_torch.config import config_from_dict, key, parse_words, run_command
    from muscle_torch.errors import InputError
except ImportError as error:
    if error.name and error.name.split(".")[0] not in ("muscle_torch", "omegaconf"):
        raise
    print("error: muscle_torch is not installed: run `pip install -r requirements.txt` first", file=sys.stderr)
    sys.exit(2)


@dataclasses.dataclass(frozen=True)
class AnalyzeOptions:
    motion: str = key("", "OpenSim coordinates (.mot, .sto) or a motion clip (.npz); with checkpoint=: what it follows")
    forces: str = key("", "ground reaction forces of that motion (.mot, .sto): inverse dynamics")
    archive: str = key("", "a rollout archive (.npz)")
    checkpoint: str = key("", "a policy: checkpoint file or run folder")
    seeds: int = key(1, "checkpoint: rollouts of each motion; the first takes the mean action, others sample")
    episode: int = key(-1, "which episode of the archive, or which motion of several; -1: all together, or the first")
    reference: str = key("", "curves to compare with: .npz with angle_deg, moment_Nm, grf_pctBW and their names")
    mass: float = key(0.0, "the subject's mass; 0: the model's own", "kg")
    height: float = key(0.0, "the subject's height, stated in the report", "m")
    convention: str = key("auto", "sign of knee flexion in motion=: rajagopal (+), gait2392 (-) or auto")
    swap_plates: bool = key(False, "the force file has right and left exchanged")
    start: float = key(0.0, "analysed from here; 0: the beginning", "s")
    end: float = key(0.0, "to here; 0: the end", "s")
    cutoff: float = key(6.0, "low-pass of the motion before inverse dynamics (Winter 2009: 6)", "Hz")
    moments: str = key("", "joint moments of the same motion by another program (.sto), compared over time")
    points: int = key(101, "points of a normalised cycle")
    synergies: int = key(8, "largest number of muscle synergies tried; 0: none")
    optimise: bool = key(False, "static optimisation of the muscles in inverse dynamics (needs forces=)")
    body: str = key("full_body", "the body")
    fingers: bool = key(False, "with movable fingers")
    device: str = key("auto", "checkpoint: auto, cpu, cuda or cuda:N")
    threads: int = key(0, "checkpoint: physics threads on a CPU; 0: all cores")
    output: str = key("gait_report", "folder for the report, its tables and the archive")


def main(words: Sequence[str]) -> int:
    """Reads or rolls out, analyses, writes the report; returns the exit code."""
    options = parse_words(AnalyzeOptions, words)
    if not (options.motion or options.archive):
        raise InputError("nothing to analyse: give motion=<file>, archive=<file> or checkpoint= with motion=")
    from muscle_torch.biomechanics.gait_analysis import walk_numbers
    from muscle_torch.biomechanics.gait_report import COLUMNS, comparison_rows, gait_report, pooled_cycles
    from muscle_torch.biomechanics.reference_curves import read_reference
    from muscle_torch.biomechanics.report import text_table, write_table
    from muscle_torch.embodiments import make_embodiment

    reference = read_reference(options.reference) if options.reference else None
    folder = Path(options.output)
    if options.checkpoint:
        options = dataclasses.replace(options, archive=str(roll_out(options, folder / "rollouts.npz")))
    body = make_embodiment(options.body, options.fingers)
    gait, activity = read_gait(options, body)
    gaits = [gait, *other_episodes(options, body)]
    cycles, notes = pooled_cycles(gaits, options.points)
    notes += [*gait.notes, *(f"events: {note}" for c in gait.contacts.values() for note in c.left_out)]
    print(text_table(("quantity", "right", "left", "unit"), walk_numbers(gait)), end="\n\n")
    rows = comparison_rows(cycles, reference)
    if rows:
        print(text_table(COLUMNS, rows), end="\n\n")
    tables = muscle_tables(options, activity)
    if activity is not None:
        from muscle_torch.biomechanics.files import write_series

        write_series(folder / "activations.sto", activity.activations)
    if options.moments:
        from muscle_torch.biomechanics.files import read_series
        from muscle_torch.biomechanics.gait_report import MOMENT_COLUMNS, moment_rows

        rows_over_time = moment_rows(gait, read_series(options.moments), options.convention)
        tables.append((f"Joint moments against {Path(options.moments).name}", MOMENT_COLUMNS, rows_over_time))
    for title, columns, table in tables:
        print(f"{title}\n{text_table(columns, table)}", end="\n\n")
    for note in notes:
        print(f"left out or assumed: {note}")
    write_table(folder / "table.csv", COLUMNS, rows)
    write_curves(folder / "cycles.csv", cycles)
    path = gait_report(gait, cycles, reference, tables, notes, assumptions(options), len(gaits)).write(
        folder / "report.html"
    )
    print(f"written to {path}")
    return 0


def read_gait(options: AnalyzeOptions, body: Any) -> tuple[Any, Any]:
    """The walk, and the muscles' activity where it is known."""
    from muscle_torch.biomechanics.gait_analysis import gait_of
    from muscle_torch.biomechanics.gait_sources import archive_gait, opensim_gait
    from muscle_torch.biomechanics.muscle_activity import activity_of_archive, activity_of_motion
    from muscle_torch.motion import load_motion

    if options.archive:
        gait, archive = archive_gait(body, options.archive, max(options.episode, 0))
        return gait, activity_of_archive(body, archive, max(options.episode, 0))
    if Path(options.motion).suffix.lower() in (".mot", ".sto"):
        gait, qpos = opensim_gait(body, options.motion, options.forces, options.mass, options.convention,
                                  options.swap_plates, options.cutoff, options.start, options.end)  # fmt: skip
        if not options.optimise:
            return gait, None
        if gait.moments is None:
            raise InputError("optimise=true needs forces=<ground reaction forces>")
        return gait, activity_of_motion(body, qpos, gait.moments, gait.rate)
    if options.forces:
        raise InputError("forces= goes with OpenSim coordinates (.mot, .sto); a motion clip has another ground frame")
    clips = load_motion(options.motion, body)
    if options.episode >= len(clips):
        raise InputError(f"{options.motion} has {len(clips)} motions, episode={options.episode}")
    clip = clips[max(options.episode, 0)]
    return gait_of(body, clip.qpos.astype(float), clip.frequency, clip.name, options.mass), None


def other_episodes(options: AnalyzeOptions, body: Any) -> list[Any]:
    """The walks of an archive's further episodes, where all are wanted."""
    if not options.archive or options.episode >= 0:
        return []
    from muscle_torch.biomechanics.archive import read_archive
    from muscle_torch.biomechanics.gait_sources import archive_gait

    count = len(read_archive(options.archive).episodes)
    return [archive_gait(body, options.archive, index)[0] for index in range(1, count)]


def roll_out(options: AnalyzeOptions, path: Path) -> Path:
    """Plays the motions with the policy, `seeds` times each, and writes the archive."""
    from muscle_torch.biomechanics.archive import write_archive
    from muscle_torch.biomechanics.rollout import kinetics_of, record_rollouts, sampled
    from muscle_torch.envs import make_env
    from muscle_torch.evaluation import policy_mean
    from muscle_torch.models import load_policy
    from muscle_torch.physics import resolve_device

    policy = load_policy(options.checkpoint, device=str(resolve_device(options.device)))
    cfg = dataclasses.replace(config_from_dict(policy.config), motion=options.motion, device=options.device,
                              threads=options.threads)  # fmt: skip
    env = make_env(cfg, None, evaluation=True)
    try:
        episodes: list[dict[str, Any]] = []
        for seed in range(max(options.seeds, 1)):
            act = sampled(policy.actor, seed) if seed else policy_mean(policy)
            for first in range(0, env.library.num_clips, env.num_envs):
                clips = range(first, min(first + env.num_envs, env.library.num_clips))
                episodes += record_rollouts(env, act, list(clips))
        return write_archive(path, episodes, env.embodiment.joint_names, kinetics_of(env.embodiment))
    finally:
        env.close()


def muscle_tables(options: AnalyzeOptions, activity: Any) -> list[tuple[str, tuple[str, ...], list[tuple]]]:
    if activity is None:
        return []
    from muscle_torch.biomechanics.muscle_activity import activity_tables

    return activity_tables(activity, options.synergies)


def assumptions(options: AnalyzeOptions) -> list[str]:
    """What the reader has to know to repeat it."""
    mass = f"{options.mass:g} kg, as given" if options.mass else "the model's own"
    lines = [f"mass: {mass}; height: {f'{options.height:g} m' if options.height else 'not given'}"]
    lines.append("signs: hip flexion, knee flexion, dorsiflexion positive; zeros as in the Rajagopal 2016 model")
    if options.forces:
        lines.append(f"motion low-passed at {options.cutoff:g} Hz; ground forces act on the calcaneus; arms at rest")
    if options.archive:
        lines.append("moments are those of the muscles (generalised actuator forces); ground forces are vertical only, "
                     "from the touch sensors of foot and toes")  # fmt: skip
    return lines


def write_curves(path: Path, cycles: dict[tuple[str, str], Any]) -> None:
    """Mean and standard deviation of every curve, a column each."""
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
