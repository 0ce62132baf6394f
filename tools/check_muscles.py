"""Check a body's muscles: `python tools/check_muscles.py body=fullbody experiment=hip_moment_arms.csv`.

Moves every joint through its range and compares moment arms by the definition (-dL/dq) with MuJoCo's moment matrix and
left with right, looks for jumps, draws force-length and force-velocity curves, weighs the segments against the
anthropometric tables, and sets moment arms beside measured ones. One verdict a muscle; report.html holds the pictures.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from muscle_torch.config import key, parse_words, run_command
from muscle_torch.errors import InputError


@dataclasses.dataclass(frozen=True)
class CheckOptions:
    body: str = key("fullbody", "the body (muscle_torch/embodiments)")
    embodiment: dict[str, Any] = key({}, "options of the body, such as embodiment.fingers=true")
    points: int = key(61, "positions over each joint's range")
    muscles: list[str] = key([], "muscles to draw; empty: the strongest of the right side")
    experiment: str = key("", "CSV of measured moment arms: study, curve, <joint>_deg, moment_arm_m")
    mapping: str = key("", "YAML that says which muscles its curves belong to; empty: experimental_arms.yaml")
    all: bool = key(False, "print every muscle's line; otherwise only the defects (table.csv holds all)")
    output: str = key("muscle_check", "folder for the report and its table")


def main(words: Sequence[str]) -> int:
    """Checks, prints, writes the report; returns the exit code."""
    options = parse_words(CheckOptions, words)
    if options.points < 5:
        raise InputError(f"points={options.points}: at least 5 positions over a joint's range")
    from muscle_torch.biomechanics.anthropometry import SEGMENT_COLUMNS, segment_table
    from muscle_torch.biomechanics.experiments import EXPERIMENT_COLUMNS, compare_with_measured, experiment_rows
    from muscle_torch.biomechanics.muscle_checks import VERDICT_COLUMNS, check_muscles, muscle_report
    from muscle_torch.biomechanics.report import text_table, write_table
    from muscle_torch.embodiments import make_embodiment

    body = make_embodiment(options.body, **options.embodiment)
    body.resolve("actuator", options.muscles)
    measured = compare_with_measured(body, options.experiment, options.mapping) if options.experiment else []
    check = check_muscles(body, options.points)
    shown = check.rows if options.all else [row for row in check.rows if row[-1] != "ok"]
    if shown:
        print(text_table(VERDICT_COLUMNS, shown), end="\n\n")
    for columns, rows in ((SEGMENT_COLUMNS, segment_table(body)), (EXPERIMENT_COLUMNS, experiment_rows(measured))):
        if rows:
            print(text_table(columns, rows), end="\n\n")
    for line in check.joints:
        print(f"joint {line}")
    good = sum(row[-1] == "ok" for row in check.rows)
    print(f"{body.name}: {good} of {len(check.rows)} muscles ok, {len(check.sweeps)} joints moved")
    folder = Path(options.output)
    write_table(folder / "table.csv", VERDICT_COLUMNS, check.rows)
    path = muscle_report(body, check, measured, tuple(options.muscles)).write(folder / "report.html")
    print(f"written to {path}")
    return 0


if __name__ == "__main__":
    run_command(main, CheckOptions, __doc__ or "")
