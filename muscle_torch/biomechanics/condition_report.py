"""Report of `tools/analyze.py conditions=`: tables, figures and one HTML page."""

from pathlib import Path
from typing import Any

import numpy as np

from .analyze_options import AnalyzeOptions
from .condition_curves import Curves, all_curves
from .condition_tables import TRIAL_COLUMNS, study_tables, trial_rows
from .conditions import Study, read_study
from .gait import SIDES
from .gait_report import named
from .report import Curve, Panel, Report, grid, text_table, write_table

TITLES = {
    "angle": "Joint angles",
    "moment": "Joint moments of muscles and device",
    "power": "Joint powers of muscles and device",
    "torque": "Torque of the device",
    "activation": "Muscle activations",
}
METHODS = (
    "changes: mean over pairs of the same motion and seed, in brackets the 95 % percentile bootstrap interval over the "
    "pairs; a single pair has no interval",
    "averages over time use the frames that every condition of a pair has played; curves use complete gait cycles",
    "moments, powers, torques and costs are divided by the mass of the body in the first condition",
    "metabolic power: Bhargava et al. 2004 with rigid tendons; proxy: sum over muscles of mass * (activation^2 + "
    "positive power over F0 vmax); a weakened muscle keeps its mass",
    "strength: of the muscles in each condition over the model's, from the recorded forces",
)


def compare_conditions(options: AnalyzeOptions) -> None:
    """Compare rollouts of several conditions; print tables and write the report, its tables and figures."""
    study = read_study(options.conditions)
    output = Path(options.output)
    folder, page = (output.parent, output) if output.suffix == ".html" else (output, output / "report.html")
    tables = {"trials": ("Trials", TRIAL_COLUMNS, trial_rows(study))} | study_tables(study)
    for name, (title, columns, rows) in tables.items():
        print(f"{title}\n{text_table(columns, rows)}", end="\n\n")
        write_table(folder / f"{page.stem}_{name}.csv", columns, rows)
    figures = condition_figures(study)
    for quantity, figure in figures.items():
        figure.savefig(folder / f"{page.stem}_{quantity}.png", dpi=150, bbox_inches="tight")
    print(f"written to {condition_report(study, list(tables.values()), figures).write(page)}")


def condition_figures(study: Study) -> dict[str, Any]:
    """Return quantity -> figure, with one curve per condition; quantities without a complete cycle are absent."""
    curves = {condition.label: all_curves(condition, study.mass) for condition in study.conditions}
    figures = {quantity: _figure(quantity, curves) for quantity in TITLES}
    return {quantity: figure for quantity, figure in figures.items() if figure is not None}


def _figure(quantity: str, curves: dict[str, Curves]) -> Any:
    panels, percent = [], np.zeros(0)
    for side, leg in SIDES.items():
        present = {label: one[quantity, side] for label, one in curves.items() if (quantity, side) in one}
        if not present:
            continue
        first = next(iter(present.values()))
        percent = first.percent
        for index, name in enumerate(first.names):
            lines = [Curve(label, one.mean[:, index], one.sd[:, index]) for label, one in present.items()]
            if any(np.ptp(line.mean) > 0 for line in lines):
                panels.append(Panel(f"{named(name)} ({leg})", lines, first.units[index]))
    return grid(panels, percent, "gait cycle [%]", columns=3, zero=True) if panels else None


def condition_report(study: Study, tables: list[Any], figures: dict[str, Any]) -> Report:
    """Return the report.

    Args:
        study: The conditions.
        tables: (title, columns, rows).
        figures: Of `condition_figures`.
    """
    labels = [condition.label for condition in study.conditions]
    pairs = len(study.conditions[0].trials)
    report = Report(
        f"Conditions: {', '.join(labels)}",
        f"{pairs} {'pair' if pairs == 1 else 'pairs'} of motion and seed; body of {study.mass:.1f} kg.",
    )
    for title, columns, rows in tables:
        report.heading(title)
        report.table(columns, rows)
    for quantity, title in TITLES.items():
        if quantity in figures:
            report.heading(title)
            report.figure(figures[quantity], f"{title} over the gait cycle. Bands: one standard deviation over cycles.")
    if not figures:
        report.text("No condition has a complete gait cycle, so there are no curves.")
    report.heading("Methods")
    report.glossary(METHODS)
    return report
