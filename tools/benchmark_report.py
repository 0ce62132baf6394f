"""What `tools/benchmark.py` shows of its figures: a table, a plot, and two result files side by side."""

import json
from pathlib import Path
from typing import Any

from muscle_torch.errors import InputError

COLUMNS = {
    "env_steps_per_s": "environment",
    "env_inference_steps_per_s": "+ inference",
    "train_steps_per_s": "+ learning",
    "raw_rollout_steps_per_s": "mujoco.rollout",
}
# What makes two results comparable.
SAME = ("task", "preset", "fingers", "policy", "precision", "num_envs")

MISSING = {"precision": "float32", "preset": ""}  # in files of earlier versions


def table(result: dict[str, Any]) -> str:
    """The figures of one setting, for reading."""
    head = (
        f"{_title(result)}, {result['num_envs']} worlds, {result['backend']} on {result['device']}, "
        f"{result['threads']} threads, {result['substeps']} substeps: control steps per second"
    )
    lines = [head, f"{'':16s}{'median':>12s}{'lowest':>12s}{'highest':>12s}"]
    for name, label in COLUMNS.items():
        values = result["samples"].get(name)
        if values:
            lines.append(f"{label:16s}{result[name]:12,.0f}{min(values):12,.0f}{max(values):12,.0f}")
    if result["env_over_raw"] is not None:
        lines.append(f"environment / mujoco.rollout: {result['env_over_raw']:.3f} (median of the repeats' ratios)")
    parts = result["profile"]
    total = sum(parts.values())
    shares = ", ".join(f"{name} {100 * value / total:.0f} %" for name, value in parts.items())
    lines.append(f"of training: {shares}")
    lines.append(f"peak memory {result['peak_memory_bytes'] / 2**30:.2f} GiB")
    return "\n".join(lines)


def compared(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> str:
    """Second over first for every setting that both have: above 1 the second is faster."""
    others = {_setting(result): result for result in second}
    lines = [f"{'second / first':44s}" + "".join(f"{label:>16s}" for label in COLUMNS.values())]
    for result in first:
        other = others.get(_setting(result))
        if other is None:
            continue
        ratios = [other[name] / result[name] if other.get(name) and result.get(name) else None for name in COLUMNS]
        shown = "".join(f"{'-' if ratio is None else f'{ratio:.3f}':>16s}" for ratio in ratios)
        title = f"{_title(result)}, {result['num_envs']} worlds"
        lines.append(f"{title:44s}{shown}")
    if len(lines) == 1:
        raise InputError(f"the two files have no setting in common: {', '.join(SAME)} must be the same")
    return "\n".join(lines)


def read_results(path: str | Path) -> list[dict[str, Any]]:
    """The results of a benchmark file. Raises InputError where it is none."""
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{path} is no benchmark file: {error}") from None
    results = found.get("results", [found]) if isinstance(found, dict) else []
    if not results or any("train_steps_per_s" not in result for result in results):
        raise InputError(f"{path} is no benchmark file: write one with tools/benchmark.py output={path}")
    return results


def plot(results: list[dict[str, Any]], path: Path) -> None:
    """Speed against worlds, and below it what a step's time goes to, one column a setting."""
    from matplotlib.figure import Figure

    groups: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        groups.setdefault(_title(result), []).append(result)
    figure = Figure(figsize=(1.2 + 4.4 * len(groups), 6.4), layout="constrained")
    axes = figure.subplots(2, len(groups), squeeze=False)
    for column, (title, group) in enumerate(groups.items()):
        group.sort(key=lambda result: result["num_envs"])
        worlds = [str(result["num_envs"]) for result in group]
        speed, parts = axes[0][column], axes[1][column]
        for name, label in COLUMNS.items():
            values = [result.get(name) or float("nan") for result in group]
            if any(value == value for value in values):
                speed.plot(worlds, values, marker="o", markersize=4, label=label)
        speed.set_title(title, fontsize=9)
        speed.set_ylim(bottom=0)
        speed.set_ylabel("control steps / s")
        below = [0.0] * len(group)
        for name in group[0]["profile"]:
            values = [result["profile"][name] for result in group]
            parts.bar(worlds, values, bottom=below, label=name, width=0.6)
            below = [a + b for a, b in zip(below, values, strict=True)]
        parts.set_xlabel("worlds")
        parts.set_ylabel("microseconds a control step")
    for row in axes:
        row[0].legend(fontsize=7, frameon=False)
    try:
        figure.savefig(str(path), dpi=120)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot write {path}: {error}; choose another plot=") from None


def _title(result: dict[str, Any]) -> str:
    preset = f" preset={result['preset']}" if result.get("preset") else ""
    fingers = " with fingers" if result.get("fingers") else ""
    return f"{result['task']}{preset}{fingers}, {result.get('policy')}, {result.get('precision', 'float32')}"


def _setting(result: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(result.get(name, MISSING.get(name)) for name in SAME)
