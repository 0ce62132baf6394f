"""Check a body's muscles: `python tools/check_muscles.py body=fullbody experiment=hip_moment_arms.csv`.

Moves every joint through its range, compares moment arms by their definition (-dL/dq) with MuJoCo's moment matrix and
left with right, detects jumps, plots force-length and force-velocity curves, compares segment masses with
anthropometric tables and moment arms with measured ones. Sums the passive torques of the muscles over the postures of a
walk, which a policy must overcome. Reports one verdict per muscle; report.html contains the figures.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from muscle_torch.config import key, parse_words, run_command
from muscle_torch.errors import InputError


@dataclasses.dataclass(frozen=True)
class CheckOptions:
    """Options of the program."""

    body: str = key("fullbody", "the body (muscle_torch/embodiments)")
    embodiment: dict[str, Any] = key({}, "options of the body, such as embodiment.fingers=true")
    points: int = key(61, "positions over each joint's range")
    muscles: list[str] = key([], "muscles to plot; empty: the strongest of the right side")
    experiment: str = key(
        "",
        "CSV of measured moment arms: study, curve, <joint>_deg, moment_arm_m; published: knee and ankle, literature",
    )
    mapping: str = key("", "YAML that maps the measured curves to muscles; empty: experimental_arms.yaml")
    postures: str = key("", "motion for the passive torques; empty: the generated walk, or the default posture")
    all: bool = key(False, "print all muscles instead of only those with defects (table.csv contains all)")
    output: str = key("muscle_check", "folder for the report and its table")


def main(words: Sequence[str]) -> int:
    """Run the checks, print tables and write the report; return the exit code."""
    options = parse_words(CheckOptions, words)
    if options.points < 5:
        raise InputError(f"points={options.points}: must be at least 5")
    from muscle_torch.biomechanics.anthropometry import SEGMENT_COLUMNS, segment_table
    from muscle_torch.biomechanics.experiments import EXPERIMENT_COLUMNS, compare_with_measured, experiment_rows
    from muscle_torch.biomechanics.muscle_checks import VERDICT_COLUMNS, check_muscles, muscle_report
    from muscle_torch.biomechanics.passive import JOINT_COLUMNS, MUSCLE_COLUMNS, joint_rows, muscle_rows
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
    motion, passive = passive_over(body, options.postures)
    for columns, rows in ((JOINT_COLUMNS, joint_rows(body, passive)), (MUSCLE_COLUMNS, muscle_rows(body, passive))):
        if rows:
            print(f"passive, over {motion}\n{text_table(columns, rows)}", end="\n\n")
    passed = sum(row[-1] == "ok" for row in check.rows)
    print(f"{body.name}: {passed} of {len(check.rows)} muscles ok, {len(check.sweeps)} joints moved")
    folder = Path(options.output)
    write_table(folder / "table.csv", VERDICT_COLUMNS, check.rows)
    write_table(folder / "passive_joints.csv", JOINT_COLUMNS, joint_rows(body, passive, len(passive.joints)))
    write_table(folder / "passive_muscles.csv", MUSCLE_COLUMNS, muscle_rows(body, passive, len(body.muscle_ids)))
    report = muscle_report(body, check, measured, tuple(options.muscles), (motion, passive))
    path = report.write(folder / "report.html")
    print(f"written to {path}")
    return 0


def passive_over(body: Any, motion: str) -> tuple[str, Any]:
    """Return a description of the postures, and the passive forces in them."""
    import numpy as np

    from muscle_torch.biomechanics.passive import evenly_spaced, passive_forces
    from muscle_torch.motion import load_motion
    from muscle_torch.motion.generated import generated_names

    motion = motion or ("walk" if "walk" in generated_names(body) else "")
    if not motion:
        return "the default posture", passive_forces(body, body.qpos0[None])
    qpos = np.concatenate([clip.qpos.astype(float) for clip in load_motion(motion, body)])
    return f"the postures of {Path(motion).stem}", passive_forces(body, evenly_spaced(qpos))


if __name__ == "__main__":
    run_command(main, CheckOptions, __doc__ or "")
