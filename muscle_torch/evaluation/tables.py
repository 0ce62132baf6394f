"""Evaluations as text: what learning brought, clip by clip, backend against backend."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

# key of the evaluation file -> label, factor to the shown unit, whether less is better
ROWS = {
    "err_site_abs": ("site position error [mm]", 1e3, True),
    "err_rpos": ("site error relative to anchor [mm]", 1e3, True),
    "err_joint_pos": ("joint angle error [rad]", 1.0, True),
    "err_joint_vel": ("joint velocity error [rad/s]", 1.0, True),
    "err_root_xyz": ("root position error [mm]", 1e3, True),
    "err_root_yaw": ("root heading error [rad]", 1.0, True),
    "success_rate": ("clips followed to the end [%]", 1e2, False),
    "frame_coverage": ("frames covered [%]", 1e2, False),
    "mean_episode_length": ("episode length [control steps]", 1.0, False),
    "mean_episode_return": ("episode return", 1.0, False),
}


def comparison_table(untrained: Mapping[str, Any], zero: Mapping[str, Any], final: Mapping[str, Any]) -> str:
    """What learning brought, one row a quantity; the last column is against the better of the two baselines."""
    lines = [f"{final['num_clips']} motions from start to end, {final['num_frames']} frames"]
    lines.append(f"{'':36s}{'untrained':>11s}{'relaxed':>11s}{'trained':>11s}{'reduction':>12s}")
    for key, (label, factor, less_is_better) in ROWS.items():
        values = [found[key] for found in (untrained, zero, final)]
        if values[2] is None:
            continue
        cells = "".join(f"{_number(value, factor):>11s}" for value in values)
        lines.append(f"{label:36s}{cells}{_reduction(values) if less_is_better else '':>12s}")
    broken = {name: m["nan_worlds"] for name, m in (("untrained", untrained), ("relaxed", zero), ("trained", final))}
    lines += [f"NaN in {count} of the {name} motions" for name, count in broken.items() if count]
    return "\n".join(lines)


def clip_table(metrics: Mapping[str, Any]) -> str:
    """One line a clip, worst first: lost motions by coverage, then by site error."""

    def badness(row: Mapping[str, Any]) -> tuple[float, float]:
        error = row["err_site_abs"]
        return row["frame_coverage"] if row["early_termination_rate"] else 1.0, -(math.inf if error is None else error)

    width = max(len("all"), *(len(row["name"]) for row in metrics["per_clip"]))
    head = f"{'clip':{width}s}{'frames':>8s}{'covered':>9s}{'site':>10s}{'relative':>10s}{'joints':>9s}{'return':>9s}"
    unit = f"{'':{width}s}{'':>8s}{'[%]':>9s}{'[mm]':>10s}{'[mm]':>10s}{'[rad]':>9s}{'':>9s}"
    lines = [head, unit]
    for row in [*sorted(metrics["per_clip"], key=badness), {**metrics, "name": "all"}]:
        mark = " lost" if row["early_termination_rate"] and row["name"] != "all" else ""
        lines.append(
            f"{row['name']:{width}s}{row['num_frames']:8d}{_number(row['frame_coverage'], 100):>9s}"
            f"{_number(row['err_site_abs'], 1e3):>10s}{_number(row['err_rpos'], 1e3):>10s}"
            f"{_number(row['err_joint_pos'], 1):>9s}{_number(row['mean_episode_return'], 1):>9s}{mark}"
        )
    return "\n".join(lines)


def backend_table(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Two backends' summaries side by side, one row a metric, in SI units: name -> summary, first the baseline."""
    (one, first), (two, second) = found.items()
    away = difference(first, second)
    width = max(len(name) for name in away)
    lines = [f"{'':{width}s}{one:>14s}{two:>14s}{'difference':>14s}"]
    for name, value in away.items():
        cells = "".join(f"{_number(v, 1):>14s}" for v in (first[name], second[name], value))
        lines.append(f"{name:{width}s}{cells}")
    return "\n".join(lines)


def difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, float | None]:
    """other - one of every number that is not a count of clips or frames."""
    names = [name for name, value in one.items() if isinstance(value, int | float) and not name.startswith("num_")]
    return {name: None if other[name] is None else other[name] - one[name] for name in names}


def _number(value: float | None, factor: float) -> str:
    return "-" if value is None else f"{value * factor:.4g}"


def _reduction(values: Sequence[float | None]) -> str:
    baselines = [value for value in values[:2] if value is not None]
    if not baselines or values[2] is None or min(baselines) <= 0:
        return ""
    return f"{100 * (1 - values[2] / min(baselines)):.0f} %"
