"""Analysis of bodies without feet by `tools/analyze.py`: tables in the terminal, and a folder with the report."""

import re
from collections.abc import Sequence
from pathlib import Path

from muscle_torch.embodiments import Embodiment
from muscle_torch.motion.rollout_archive import RolloutArchive

from .analyze_options import AnalyzeOptions
from .movement_report import movement_report, movement_tables
from .movement_tables import GLOSSARY, series_of
from .movements import read_movements
from .muscle_activity import activity_tables
from .recordings import write_series
from .report import text_table, write_table

GROUPS = "Mean activation by group"  # of all muscles; the movement's table separates the sides


def analyse_movements(options: AnalyzeOptions, embodiment: Embodiment, archives: Sequence[RolloutArchive] = ()) -> None:
    """Analyse rollouts or motions of a body without feet; print tables and write the report.

    Args:
        options: Options of the program.
        embodiment: The body.
        archives: Rollouts, one archive per seed.
    """
    folder = Path(options.output)
    movements = read_movements(options, embodiment, archives)
    tables = movement_tables(movements)
    mass = options.mass or float(embodiment.model.body_mass.sum())
    extra = []
    if movements.activity is not None:
        extra = [one for one in activity_tables(movements.activity, options.synergies, mass) if one[0] != GROUPS]
        extra = [one for one in extra if one[2]]
    for title, columns, rows in (*tables, *extra):
        print(f"{title}\n{text_table(columns, rows)}", end="\n\n")
        write_table(folder / f"{_file_name(title.split('(')[0].strip())}.csv", columns, rows)
    for line in GLOSSARY:
        print(line)
    for note in movements.left_out:
        print(f"excluded or assumed: {note}")
    for index, (one, other) in enumerate(movements.pairs):
        stem = f"{index:03d}_{_file_name(one.name)}_seed{one.seed}"
        write_series(folder / "curves" / f"{stem}.csv", series_of(one, other, embodiment))
    report = movement_report(movements, extra, movements.left_out, assumptions(options))
    print(f"written to {report.write(folder / 'report.html')}")


def assumptions(options: AnalyzeOptions) -> list[str]:
    """Return the assumptions of the analysis, one line each."""
    low_pass = f"low-passed at {options.cutoff:g} Hz" if options.cutoff else "not filtered"
    lines = [
        f"mass: {f'{options.mass:g} kg' if options.mass else 'the model' + chr(39) + 's'}; signs and zeros of angles: "
        "the model's; joints that follow others are not listed",
        f"net moments: inverse dynamics of the motion, {low_pass}, with gravity, without contacts; they include those "
        "about coupled joints",
        "paths: the tracked sites at the ends of the limbs in world axes, z up; speeds are those of the joints' "
        "velocities, not filtered",
    ]
    if options.archive or options.checkpoint:
        lines.append("moments of the muscles: generalized actuator forces of the rollout, at the end of each step")
    return lines


def _file_name(text: str) -> str:
    """Return a text as a file name."""
    return re.sub(r"[^\w.-]+", "_", text).strip("_").lower()
