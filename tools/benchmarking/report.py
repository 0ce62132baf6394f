"""Output of `tools/benchmark.py`: a table, a plot, and the comparison of two result files."""

import json
from pathlib import Path
from typing import Any

from muscle_torch.config import explain_library
from muscle_torch.errors import InputError

COLUMNS = {
    "env_steps_per_s": "environment",
    "env_inference_steps_per_s": "+ inference",
    "train_steps_per_s": "+ learning",
    "raw_rollout_steps_per_s": "mujoco.rollout",
}
# Keys in which two results must agree to be compared.
SAME = ("task", "preset", "embodiment", "policy", "precision", "num_envs")


def table(result: dict[str, Any]) -> str:
    """Return the results of one setting as text."""
    head = (
        f"{_title(result)}, {result['num_envs']} worlds, {result['backend']} on {result['device']}, "
        f"{result['threads']} threads, {_steps(result)}: control steps per second"
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
    lines += [f"of training: {shares}", *_physics(result["physics_stages"])]
    lines += [*_cases(result.get("physics_cases", {})), *_gaps(result.get("launch_gaps"))]
    lines.append(f"peak memory {result['peak_memory_bytes'] / 2**30:.2f} GiB")
    return "\n".join(lines)


def _steps(result: dict[str, Any]) -> str:
    """Return the substeps of a control step, with integrator and frequency if the file contains them."""
    text = f"{result['substeps']} substeps"
    if "integrator" in result:  # absent in older files
        text += f" of {result['integrator']} at {result['control_frequency']:g} Hz"
    return text


def _physics(timing: dict[str, Any]) -> list[str]:
    """Return the lines of the physics' stages, the largest first."""
    stages, kernels = timing["stages"], timing["kernels"]
    total = sum(stages.values())
    lines = [f"{'of physics':16s}{'microseconds':>12s}{'share':>12s}   per control step and world"]
    for name, value in sorted(stages.items(), key=lambda stage: -stage[1]):
        lines.append(f"{name.replace('_', ' '):16s}{value:12,.2f}{100 * value / total:10.0f} %")
    lines.append(f"together {total:,.2f}, in one piece {timing['whole']:,.2f}")
    if kernels is None:
        lines[-1] += ", on one thread"
    else:
        lines[-1] += f", launched one by one {timing['launched_singly']:,.2f}; {kernels:.0f} kernels per control step"
    return lines


def _cases(cases: dict[str, dict[str, Any]]) -> list[str]:
    """Return one line per case of the physics alone; `x` is its speed relative to the first case."""
    lines = []
    for name, case in cases.items():
        if "failed" in case:
            lines.append(f"{name:16s} failed: {case['failed']}")
            continue
        ratio = case["control_steps_per_s"] / next(iter(cases.values()))["control_steps_per_s"]
        line = f"{name:16s}{case['control_steps_per_s']:12,.0f}{ratio:10.2f} x"
        line += f"   reset of all {case['reset_ms']:.1f} ms, of few {case['reset_few_ms']:.1f}"
        if "rows_max" in case:
            line += (
                f"; iterations {case['iterations_mean']:.1f}, at most {case['iterations_max']:.0f}; rows at most "
                f"{case['rows_max']:.0f} of {case['rows_buffer']}, candidates {case['candidates_mean']:.1f} of "
                f"{case['candidates_buffer']}"
            )
        lines.append(line + (f"; OVERFLOW {case['overflow']}" if case["overflow"] else ""))
    return ["physics alone: control steps per second", *lines] if lines else []


def _gaps(gaps: dict[str, float | None] | None) -> list[str]:
    if gaps is None:
        return []
    busy = "" if gaps["busy"] is None else f", of which the GPU computes {gaps['busy']:,.0f}"
    return [
        f"a control step of all worlds: {gaps['whole']:,.0f} microseconds, the host's part {gaps['host']:,.0f}{busy}"
    ]


def compared(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> str:
    """Return the ratios of speeds and of the physics' stages for every setting that both files contain.

    Raises:
        InputError: The files have no setting in common.
    """
    by_setting = {_setting(result): result for result in second}
    pairs = [(result, by_setting[_setting(result)]) for result in first if _setting(result) in by_setting]
    if not pairs:
        raise InputError(f"the two files have no setting in common: {', '.join(SAME)} must be the same")
    lines = [f"{'second / first':44s}" + "".join(f"{label:>16s}" for label in COLUMNS.values())]
    for result, other in pairs:
        lines.append(_ratios(result, [(other.get(name), result.get(name)) for name in COLUMNS]))
    staged = [(a, b) for a, b in pairs if "physics_stages" in a and "physics_stages" in b]  # absent in older files
    if staged:
        names = [name.replace("_", " ") for name in staged[0][0]["physics_stages"]["stages"]]
        lines.append(f"{'time of the first / of the second':44s}" + "".join(f"{name:>16s}" for name in names))
    for result, other in staged:
        before, after = (one["physics_stages"]["stages"] for one in (result, other))
        lines.append(_ratios(result, [(before[name], after[name]) for name in before]))
    return "\n".join(lines)


def _ratios(result: dict[str, Any], values: list[tuple[float | None, float | None]]) -> str:
    """Return one line of ratios, with `-` for missing values."""
    title = f"{_title(result)}, {result['num_envs']} worlds"
    ratios = [f"{above / below:.3f}" if above and below else "-" for above, below in values]
    return f"{title:44s}" + "".join(f"{ratio:>16s}" for ratio in ratios)


def read_results(path: str | Path) -> list[dict[str, Any]]:
    """Return the results of a benchmark file. Raises InputError if it cannot be read or is another kind of file."""
    try:
        contents = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{path} is no benchmark file: {error}") from None
    results = contents.get("results", [contents]) if isinstance(contents, dict) else []
    if not results or any("train_steps_per_s" not in result for result in results):
        raise InputError(f"{path} is no benchmark file: create one with tools/benchmark.py output={path}")
    return results


def plot(results: list[dict[str, Any]], path: Path) -> None:
    """Plot speed, parts of a control step and stages of its physics over the number of worlds, one column per setting.

    Raises:
        InputError: The file cannot be written.
    """
    from matplotlib.figure import Figure

    groups: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        groups.setdefault(_title(result), []).append(result)
    figure = Figure(figsize=(1.2 + 4.8 * len(groups), 9.6), layout="constrained")
    axes = figure.subplots(3, len(groups), squeeze=False)
    for column, (title, group) in enumerate(groups.items()):
        group.sort(key=lambda result: result["num_envs"])
        worlds = [str(result["num_envs"]) for result in group]
        speed = axes[0][column]
        for name, label in COLUMNS.items():
            values = [result.get(name) or float("nan") for result in group]
            if any(value == value for value in values):
                speed.plot(worlds, values, marker="o", markersize=4, label=label)
        speed.set_title(title, fontsize=9)
        speed.set_ylim(bottom=0)
        speed.set_ylabel("control steps / s")
        _stack(axes[1][column], worlds, [result["profile"] for result in group])
        _stack(axes[2][column], worlds, [result["physics_stages"]["stages"] for result in group])
        axes[1][column].set_title("a control step", fontsize=9)
        one_thread = ", on one thread" if group[0]["backend"] == "mujoco" else ""
        axes[2][column].set_title(f"its physics{one_thread}", fontsize=9)
        axes[2][column].set_xlabel("worlds")
    for row in axes:
        row[-1].legend(fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0), reverse=True)
    try:
        figure.savefig(str(path), dpi=120)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot write {path}: {error}; choose another plot=") from None


def _stack(axes: Any, worlds: list[str], times: list[dict[str, float]]) -> None:
    """Draw one stacked bar per number of worlds."""
    below = [0.0] * len(times)
    for name in times[0]:
        values = [parts[name] for parts in times]
        axes.bar(worlds, values, bottom=below, label=name.replace("_", " "), width=0.6)
        below = [a + b for a, b in zip(below, values, strict=True)]
    axes.set_ylabel("microseconds per control step")
    axes.set_xlim(-0.8, len(worlds) - 0.2)


def _title(result: dict[str, Any]) -> str:
    preset = f" preset={result['preset']}" if result.get("preset") else ""
    chosen = [f"{k}={v}" for k, v in result["embodiment"].items() if k != "name" and v]
    options = f" ({', '.join(chosen)})" if chosen else ""
    return f"{result['task']}{preset}{options}, {result['policy']}, {result['precision']}"


def _setting(result: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(str(result[name]) for name in SAME)


if __name__ == "__main__":
    explain_library(__doc__ or "", "tools/benchmark.py")
