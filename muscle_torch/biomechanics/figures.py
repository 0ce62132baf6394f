"""Pictures: grids of cycle curves. Drawn without a window."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

COLOURS = ("#1f5fa8", "#d1495b", "#2a9d6f", "#8a5fb0", "#c78a1b")


class Curve(NamedTuple):
    """One line with a band of one standard deviation. `mean`, `sd` (P,)."""

    label: str
    mean: np.ndarray
    sd: np.ndarray | None = None


class Panel(NamedTuple):
    title: str
    curves: Sequence[Curve]
    unit: str = ""
    note: str = ""


def grid(panels: Sequence[Panel], x: np.ndarray, x_label: str, columns: int = 4, zero: bool = False) -> Any:
    """A figure of panels that share their x axis `x` (P,); one legend on top; `zero` draws the zero line."""
    from matplotlib.figure import Figure

    columns = min(columns, max(len(panels), 1))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(2.9 * columns, 2.15 * rows + 0.5), layout="constrained")
    axes = np.atleast_1d(figure.subplots(rows, columns, squeeze=False)).ravel()
    handles: dict[str, Any] = {}
    for axis, panel in zip(axes, panels, strict=False):
        for index, curve in enumerate(panel.curves):
            colour = COLOURS[index % len(COLOURS)]
            (line,) = axis.plot(x, curve.mean, color=colour, lw=1.7)
            handles.setdefault(curve.label, line)
            if curve.sd is not None:
                axis.fill_between(x, curve.mean - curve.sd, curve.mean + curve.sd, color=colour, alpha=0.18, lw=0)
        axis.set_title(panel.title, fontsize=9.5)
        axis.set_ylabel(panel.unit, fontsize=8)
        axis.tick_params(labelsize=7.5)
        axis.margins(x=0)
        if zero:
            axis.axhline(0.0, color="#99a3ad", lw=0.7, zorder=0)
        if panel.note:
            axis.text(0.98, 0.96, panel.note, transform=axis.transAxes, ha="right", va="top", fontsize=7.5)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    for axis in axes[max(len(panels) - columns, 0) : len(panels)]:
        axis.set_xlabel(x_label, fontsize=8)
    if len(handles) > 1:
        figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=len(handles), fontsize=9)
    return figure
