"""Reports as a single self-contained HTML file with text, tables and figures."""

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

STYLE = """
body{font:16px/1.5 system-ui,sans-serif;color:#1c2430;background:#f4f6f8;margin:0}
main{max-width:1160px;margin:0 auto;padding:28px 24px 60px;background:#fff}
h1{font-size:26px;margin:0 0 4px}h2{font-size:19px;margin:34px 0 8px;border-bottom:2px solid #dfe5ea;padding-bottom:4px}
p{margin:8px 0}p.lead{color:#526070;margin-top:0}img{max-width:100%;height:auto;display:block;margin:10px 0}
table{border-collapse:collapse;font-size:14px;margin:10px 0}th,td{padding:4px 10px;text-align:right}
th{background:#eef2f5;border-bottom:1px solid #cdd6de}td{border-bottom:1px solid #edf0f3}
th:first-child,td:first-child,th.wide,td.wide{text-align:left}
td{white-space:nowrap}td.wide{white-space:normal;min-width:120px}
.note{background:#fff6e0;border-left:4px solid #e0a100;padding:6px 12px}
.gloss{color:#526070;font-size:14px;padding-left:20px}
.scroll{overflow-x:auto}ul{margin:6px 0}footer{color:#7a8794;font-size:13px;margin-top:40px}
"""


class Report:
    """Collects sections in order; `write` creates the file. All text is escaped."""

    def __init__(self, title: str, lead: str) -> None:
        """Start with a title and a summary below it."""
        self.title, self._parts = title, [f"<h1>{_safe(title)}</h1><p class='lead'>{_safe(lead)}</p>"]

    def heading(self, text: str) -> None:
        """Add a section heading."""
        self._parts.append(f"<h2>{_safe(text)}</h2>")

    def text(self, *paragraphs: str) -> None:
        """Add paragraphs."""
        self._parts += [f"<p>{_safe(text)}</p>" for text in paragraphs]

    def notes(self, lines: Sequence[str], none: str = "None.") -> None:
        """Add a list of notes, or the sentence `none` if there are none."""
        if not lines:
            self._parts.append(f"<p>{_safe(none)}</p>")
            return
        items = "".join(f"<li>{_safe(line)}</li>" for line in lines)
        self._parts.append(f"<div class='note'><ul>{items}</ul></div>")

    def glossary(self, lines: Sequence[str]) -> None:
        """Add a list of definitions or assumptions."""
        self._parts.append("<ul class='gloss'>" + "".join(f"<li>{_safe(line)}</li>" for line in lines) + "</ul>")

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Add a table."""
        # Text is left-aligned and may wrap; numbers are right-aligned.
        wide = [any(isinstance(row[i], str) and len(row[i]) > 24 for row in rows) for i in range(len(columns))]
        kinds = [" class='wide'" if one else "" for one in wide]
        head = "".join(f"<th{kind}>{_safe(name)}</th>" for kind, name in zip(kinds, columns, strict=True))
        lines = [
            "".join(f"<td{kind}>{_safe(shown(cell))}</td>" for kind, cell in zip(kinds, row, strict=True))
            for row in rows
        ]
        body = "".join(f"<tr>{line}</tr>" for line in lines)
        self._parts.append(f"<div class='scroll'><table><tr>{head}</tr>{body}</table></div>")

    def figure(self, figure: Any, text: str) -> None:
        """Add a matplotlib figure as an image, with a caption."""
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight")
        data = base64.b64encode(buffer.getvalue()).decode()
        self._parts.append(
            f"<img alt='{_safe(text)}' src='data:image/png;base64,{data}'><p class='lead'>{_safe(text)}</p>"
        )

    def write(self, path: str | Path) -> Path:
        """Write the HTML file; return its path."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        body = "\n".join(self._parts)
        path.write_text(
            f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{_safe(self.title)}</title>"
            f"<meta name='viewport' content='width=device-width'><style>{STYLE}</style></head>"
            f"<body><main>{body}<footer>made by muscle_torch</footer></main></body></html>",
            encoding="utf-8",
        )
        return path


def text_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a table as text for a terminal."""
    cells = [list(columns), *([shown(cell) for cell in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    lines = ["  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
             for row in cells]  # fmt: skip
    return "\n".join((lines[0], "-" * len(lines[0]), *lines[1:]))


def write_table(path: str | Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Path:
    """Write a table as CSV with numbers in full precision; return the path.

    Args:
        path: The file.
        columns: Headings.
        rows: Cells of each row.
    """
    import csv

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([list(columns), *rows])
    return path


def shown(cell: Any) -> str:
    """Return a cell as text: three significant digits, "-" for NaN."""
    if isinstance(cell, float):
        return "-" if cell != cell else f"{cell:.3g}" if abs(cell) < 1000 else f"{cell:.0f}"
    return str(cell)


def _safe(text: str) -> str:
    return html.escape(str(text), quote=True)


GREY = "#4a535d"  # for references
COLORS = ("#1f5fa8", "#d1495b", "#2a9d6f", "#8a5fb0", "#c78a1b")


class Curve(NamedTuple):
    """One line with a band of one standard deviation."""

    label: str
    mean: np.ndarray  # (P,)
    sd: np.ndarray | None = None  # (P,)
    color: str = ""  # empty: the n-th curve has the n-th color
    style: str = "-"


class Panel(NamedTuple):
    """One pair of axes."""

    title: str
    curves: Sequence[Curve]
    unit: str = ""
    floor: float = -np.inf  # lower limit of bands, such as 0 for non-negative quantities
    marks: Sequence[float] = ()  # x of dotted vertical lines in the colors of the curves, such as toe-off


def grid(
    panels: Sequence[Panel], x: np.ndarray, x_label: str, columns: int = 4, zero: bool = False, width: float = 0.0
) -> Any:
    """Plot panels that share their x axis, with one legend on top.

    Args:
        panels: The panels.
        x: (P,).
        x_label: Label of the x axis.
        columns: Maximum number of columns.
        zero: Whether to draw the zero line.
        width: Of the figure [in]; 0: by the number of columns.
    """
    from matplotlib.figure import Figure

    columns = min(columns, max(len(panels), 1))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(width or 2.9 * columns, 2.3 * rows + 0.5), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.09, w_pad=0.06)  # type: ignore[union-attr]
    axes = np.atleast_1d(figure.subplots(rows, columns, squeeze=False)).ravel()
    handles: dict[str, Any] = {}
    for axis, panel in zip(axes, panels, strict=False):
        for index, curve in enumerate(panel.curves):
            color = curve.color or COLORS[index % len(COLORS)]
            (line,) = axis.plot(x, curve.mean, color=color, lw=1.7, ls=curve.style)
            handles.setdefault(curve.label, line)
            if curve.sd is not None:
                low = np.maximum(curve.mean - curve.sd, np.minimum(curve.mean, panel.floor))
                axis.fill_between(x, low, curve.mean + curve.sd, color=color, alpha=0.18, lw=0)
        for place, curve_color in zip(panel.marks, COLORS, strict=False):
            axis.axvline(place, color=curve_color, lw=0.9, ls=":", zorder=1)
        axis.set_title(panel.title, fontsize=9.5)
        axis.set_ylabel(panel.unit, fontsize=8)
        axis.tick_params(labelsize=7.5)
        axis.margins(x=0)
        if zero:
            axis.axhline(0.0, color="#99a3ad", lw=0.7, zorder=0)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    for axis in axes[max(len(panels) - columns, 0) : len(panels)]:
        axis.set_xlabel(x_label, fontsize=8)
    if any(len(panel.curves) > 1 for panel in panels):
        figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=len(handles), fontsize=9)
    return figure


def pretty(name: str) -> str:
    """Convert `tibialis_anterior_r` to `tibialis anterior (right)`."""
    stem, _, side = name.rpartition("_")
    return f"{stem.replace('_', ' ')} ({ {'r': 'right', 'l': 'left'}[side] })" if side in ("r", "l") else name
