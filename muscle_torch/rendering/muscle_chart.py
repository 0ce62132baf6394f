"""Bar chart of muscle activations for the viewer: one row per pair of muscles, left and right of its name."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from .colors import muscle_color

OTHER = "other"  # group of the muscles that are in no group


class Row(NamedTuple):
    """A row of the chart: a pair of muscles, or a single one on the right."""

    label: str
    left: int | None  # muscle id
    right: int


def chart_rows(
    groups: Mapping[str, tuple[str, ...]], pairs: Sequence[tuple[str, str]], names: tuple[str, ...]
) -> dict[str, list[Row]]:
    """Return the rows of each group of muscles; muscles without a group are under `other`.

    Args:
        groups: Group -> names of its muscles.
        pairs: (left, right) names of paired muscles.
        names: Names of all muscles.
    """
    ids = {name: index for index, name in enumerate(names)}
    left_of = {right: left for left, right in pairs}
    lefts = set(left_of.values())
    grouped = {name for members in groups.values() for name in members}
    everything = {**groups, OTHER: tuple(name for name in names if name not in grouped)}
    rows = {}
    for group, members in everything.items():
        shown = [name for name in members if name in ids and name not in lefts]
        if shown:
            rows[group] = [_row(name, left_of.get(name), ids) for name in shown]
    return rows


def _row(right: str, left: str | None, ids: Mapping[str, int]) -> Row:
    if left is None:
        return Row(right, None, ids[right])
    return Row(right.removesuffix("_r"), ids[left], ids[right])


def chart_html(rows: Sequence[Row], names: tuple[str, ...], activation: np.ndarray | None) -> str:
    """Return the HTML of a chart. Hovering over a bar shows the muscle's full name and activation.

    Args:
        rows: Rows, of `chart_rows`.
        names: Names of all muscles.
        activation: (muscles,) in [0, 1]; None: all zero.
    """
    level = np.zeros(len(names)) if activation is None else np.clip(activation, 0.0, 1.0)
    paired = any(row.left is not None for row in rows)
    lines = []
    if paired:
        lines.append(_line("<b>left</b>", "", "<b>right</b>", paired))
    for row in rows:
        left = "" if row.left is None else _bar(names[row.left], float(level[row.left]), "margin-left:auto;")
        lines.append(_line(left, row.label, _bar(names[row.right], float(level[row.right])), paired))
    return f'<div style="margin:4px 10px;font-size:10px;line-height:13px">{"".join(lines)}</div>'


def _line(left: str, label: str, right: str, paired: bool) -> str:
    name = f'<div style="width:86px;overflow:hidden;text-align:{"center" if paired else "left"}">{label}</div>'
    sides = [f'<div style="flex:1;text-align:right">{left}</div>'] if paired else []
    return f'<div style="display:flex;gap:4px">{"".join(sides)}{name}<div style="flex:1">{right}</div></div>'


def _bar(name: str, level: float, style: str = "") -> str:
    red, green, blue = (round(255 * float(value)) for value in muscle_color(np.array(level))[:3])
    shape = f"{style}height:10px;width:{100 * level:.0f}%;min-width:1px;background:rgb({red},{green},{blue})"
    return f'<div title="{name} {level:.2f}" style="background:#eee"><div style="{shape}"></div></div>'
