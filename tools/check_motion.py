"""Check whether a body can follow a motion: `python tools/check_motion.py motion=walk body=fullbody`.

Reports for each clip how far the zero-moment point lies outside the feet (mean, 95th percentile, fraction of frames
beyond 20 mm), the required friction, and the largest joint moment beyond the capacity of the muscles. `filter=true`
filters each clip first and adds the largest shift of the pelvis; `clips=folder` stores the filtered clips.
`output=x.json` stores the figures. The exit code is 1 if no body can follow one of the clips and infeasible=reject.
"""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from muscle_torch.config import key, parse_words, run_command
from muscle_torch.errors import InputError

COLUMNS = (
    *("motion", "frames", "ZMP outside, mean [mm]", "95 % [mm]", "beyond 20 mm [%]", "no foot stands [%]"),
    *("friction, 95 %", "moment beyond muscles [Nm]", "joint", "shift [mm]"),
)


@dataclasses.dataclass(frozen=True)
class CheckMotionOptions:
    """Options of the program."""

    motion: Any = key("all", "generated motion name, file, folder, glob, or a list")
    body: str = key("fullbody", "the body (muscle_torch/embodiments); it needs feet")
    filter: bool = key(False, "apply the dynamic filter to each clip first")
    infeasible: str = key("keep", "clips that no body can follow: keep (exit code 0) or reject (exit code 1)")
    clips: str = key("", "folder for the filtered clips (filter=true), <motion>.npz")
    output: str = key("", "JSON file for the figures")


def main(words: Sequence[str]) -> int:
    """Check every clip, print a table and the reasons for infeasible clips; return the exit code."""
    options = parse_words(CheckMotionOptions, words)
    if options.clips and not options.filter:
        raise InputError("clips= stores filtered clips: also set filter=true")
    from muscle_torch.biomechanics.report import text_table
    from muscle_torch.embodiments import make_embodiment
    from muscle_torch.motion import load_motion
    from muscle_torch.motion.feasibility import Infeasible
    from muscle_torch.motion.support import Soles

    infeasible = Infeasible.of(options.infeasible)
    body = make_embodiment(options.body)
    Soles.of(body)  # raise for a body without feet before any motion is loaded
    rows, issues = [], []
    for clip in load_motion(options.motion, body):
        figures, reasons = _check(clip, body, options)
        rows.append(figures)
        issues += [f"{clip.name}: no body can follow it: {reason}" for reason in reasons]
    print(text_table(COLUMNS, [_row(figures) for figures in rows]))
    for line in issues:
        print(line, file=sys.stderr)
    if options.output:
        _write(Path(options.output), rows)
    return int(bool(issues) and infeasible is Infeasible.reject)


def _check(clip: Any, body: Any, options: CheckMotionOptions) -> tuple[dict[str, Any], list[str]]:
    """Return the figures of one clip, and why no body can follow it."""
    import numpy as np

    from muscle_torch.motion.dynamic_filter import filter_clip
    from muscle_torch.motion.feasibility import assess_clip

    shift = 0.0
    if options.filter:
        motion = filter_clip(clip, body)
        clip, shift = motion.clip, float(np.linalg.norm(motion.shift, axis=1).max())
        if options.clips:
            clip.save(Path(options.clips) / f"{clip.name}.npz")
    feasibility = assess_clip(clip, body)
    figures = {"motion": clip.name, "frames": len(feasibility.reaction.force), **feasibility.row(), "shift_max": shift}
    return figures, feasibility.issues()


def _row(figures: dict[str, Any]) -> tuple[Any, ...]:
    return (
        figures["motion"],
        figures["frames"],
        f"{1000 * figures['zmp_distance']:.2f}",
        f"{1000 * figures['zmp_distance_p95']:.1f}",
        f"{100 * figures['zmp_outside_rate']:.1f}",
        f"{100 * figures['unsupported_rate']:.1f}",
        f"{figures['friction_demand_p95']:.2f}",
        f"{figures['moment_excess']:.0f}",
        figures["moment_excess_name"],
        f"{1000 * figures['shift_max']:.1f}",
    )


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    from muscle_torch.retargeting.report import write_json

    write_json(path, {"clips": rows})


if __name__ == "__main__":
    run_command(main, CheckMotionOptions, __doc__ or "")
