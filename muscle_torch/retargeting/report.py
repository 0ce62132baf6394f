"""Reports of a retargeting run: a JSON file and a figure per clip, a table, lists of rejected and failed clips."""

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from muscle_torch.motion.feasibility import OUTSIDE_DISTANCE
from muscle_torch.storage.files import write_atomically

from .quality import PENETRATION, Quality
from .retarget import Result

STATUSES = ("passed", "rejected", "failed")
SUMMARY = "summary.json"  # in the folder of the clips' records


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write a JSON file atomically. Raises InputError if it cannot be written."""
    with write_atomically(path) as temporary:
        temporary.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any] | None:
    """Read a JSON object; None if there is none or it is damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def count_statuses(records: Iterable[dict[str, Any]]) -> dict[str, int]:
    """Count the records by status: passed, rejected, failed."""
    counts: dict[str, int] = dict.fromkeys(STATUSES, 0)
    for record in records:
        counts[record["status"]] += 1
    return counts


def write_summary(folder: Path, records: Iterable[dict[str, Any]]) -> None:
    """Write summary.csv, rejected.txt, failed.txt and summary.json, keeping one record in memory at a time.

    Args:
        folder: Where they are written.
        records: Records of all clips.
    """
    folder.mkdir(parents=True, exist_ok=True)
    counts: dict[str, int] = dict.fromkeys(STATUSES, 0)
    frames, sums, worst = 0, dict.fromkeys(_numbers(), 0.0), dict.fromkeys(_numbers(), 0.0)
    with (
        open(folder / "summary.csv", "w", newline="", encoding="utf-8") as table,
        open(folder / "rejected.txt", "w", encoding="utf-8") as rejected,
        open(folder / "failed.txt", "w", encoding="utf-8") as failed,
    ):
        writer = csv.DictWriter(table, ["name", "status", *Quality.__dataclass_fields__])
        writer.writeheader()
        for record in records:
            counts[record["status"]] += 1
            if record["status"] == "failed":
                failed.write(f"{record['name']}: {record['error']}\n")
                continue
            if record["status"] == "rejected":
                rejected.write(f"{record['name']}: {'; '.join(record['reasons'])}\n")
            quality = record["quality"]
            writer.writerow({"name": record["name"], "status": record["status"], **quality})
            frames += quality["frames"]
            for key in sums:
                sums[key] += quality[key]
                worst[key] = max(worst[key], quality[key])
    clips = max(counts["passed"] + counts["rejected"], 1)
    summary = {
        **counts,
        "frames": frames,
        "mean": {key: value / clips for key, value in sums.items()},
        "worst": worst,
    }
    write_json(folder / SUMMARY, summary)


def _numbers() -> Iterator[str]:
    for name, field in Quality.__dataclass_fields__.items():
        if field.type is float:
            yield name


def draw(result: Result, path: Path) -> None:
    """Plot landmark error, feet, zero-moment point, fastest joint and tendon steps over time."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    series, time = result.series, np.arange(result.quality.frames) / result.clip.frequency
    feet = [
        (1000 * series.lowest, "lowest point\nof feet [mm]", (-1000 * PENETRATION, "counts as penetration")),
        (1000 * series.zmp, "zero-moment point\noutside feet [mm]", (1000 * OUTSIDE_DISTANCE, "counts as outside")),
    ]
    rows = [
        (1000 * series.error, "landmark\nerror [mm]", None),
        *(feet if result.clip.has_root else []),
        (series.speed, "fastest joint\n[rad/s]", None),
        (100 * series.jump, "largest tendon\nstep [%]", None),
    ]
    figure, axes = pyplot.subplots(len(rows), 1, figsize=(7, 1.7 * len(rows)), sharex=True, layout="constrained")
    for axis, (values, label, line) in zip(axes, rows, strict=True):
        axis.plot(time, values, linewidth=1.0)
        if line is not None:
            axis.axhline(line[0], color="tab:red", linewidth=0.8, linestyle="--", label=line[1])
            axis.legend(loc="upper right", fontsize="small")
        axis.set_ylabel(label)
        axis.grid(alpha=0.3)
    axes[-1].set_xlabel("time [s]")
    quality = result.quality
    axes[0].set_title(
        f"{result.clip.name}: RMSE {1000 * quality.rmse:.1f} mm, fastest {quality.joint_speed_name}", fontsize="medium"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
