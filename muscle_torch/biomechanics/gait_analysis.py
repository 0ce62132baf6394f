"""Gait analysis of `tools/analyze.py`: tables in the terminal, and a folder with tables and the report."""

from collections.abc import Sequence
from pathlib import Path

from muscle_torch.motion.rollout_archive import RolloutArchive

from .analyze_options import AnalyzeOptions
from .cycles import Cycles
from .gait_numbers import NUMBER_COLUMNS, walk_numbers
from .gait_report import (
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
from .muscle_activity import activity_tables
from .recordings import write_series
from .report import text_table, write_table
from .walks import moments_of_file, read_reference_curves, read_walks, smoothed


def analyse_walks(options: AnalyzeOptions, archives: Sequence[RolloutArchive] = ()) -> None:
    """Analyse rollouts, motions or a recording; print tables and write the report.

    Args:
        options: Options of the program.
        archives: Rollouts of checkpoint=, one per seed.
    """
    folder = Path(options.output)
    walks = smoothed(read_walks(options, archives), options.angle_cutoff)
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


def write_curves(path: Path, cycles: dict[tuple[str, str], Cycles]) -> None:
    """Write mean and standard deviation of every curve as columns."""
    if not cycles:
        return
    first = next(iter(cycles.values()))
    titles, columns = ["percent"], [first.percent.tolist()]
    for (quantity, side), one in cycles.items():
        for index, name in enumerate(one.names):
            titles += [f"{quantity} {name}_{side} [{one.units[index]}]", f"{quantity} {name}_{side} sd"]
            columns += [one.mean[:, index].tolist(), one.sd[:, index].tolist()]
    write_table(path, titles, list(zip(*columns, strict=True)))
