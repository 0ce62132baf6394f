"""Delimited text tables as written by laboratories and spreadsheets.

Supports UTF-8, UTF-16 and Windows code page 1252; tabs, semicolons, commas, bars or spaces between columns; decimal
commas; quoted names; Excel's `sep=` line; lines above the names; a row of units below them; words for missing values.
"""

import csv
import re
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import numpy as np

from muscle_torch.errors import InputError

MISSING = frozenset(("", "na", "n/a", "nan", "null", "none", "-", "--", "?", "missing", "n.a.",
                     "#n/a", "#na", "#num!", "#div/0!", "#value!"))  # fmt: skip
DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+([eE][+-]?\d+)?")
DECIMAL_POINT = re.compile(r"[+-]?\d*\.\d+([eE][+-]?\d+)?")
WHOLE = re.compile(r"[+-]?\d+")
BRACKETED = re.compile(r"^(.*?)\s*[\[(]([^\])]*)[\])]$")
UNIT = re.compile(
    r"(k|m|u|µ|μ|n|c)?(v|volts?|n|nm|n[·.* ]?m|m|g|hz|pa|w)(/(s2?|s\^2|s²|kg|bw))*|"
    r"s|secs?|seconds?|msecs?|ms|milliseconds?|us|µs|μs|min|minutes?|samples?|frames?|"
    r"rad|rads?/s|radians?|degs?|deg/s|degrees?|°|bw|%.*|a\.?u\.?|of \w+|1|newtons?|metres?|meters?",
    re.IGNORECASE,
)
SIDE_WORDS = frozenset(("r", "l", "right", "left", "rt", "lt", "dx", "sx"))
SAMPLE = 20  # last lines from which the separator is detected: names and preambles are at the top
COMMENT = "#"


class Row(NamedTuple):
    """Cells of one line, without surrounding spaces and quotes; `line` counts from 1."""

    line: int
    cells: list[str]


@dataclass(frozen=True, eq=False)
class TextTable:
    """A table of T rows and C columns."""

    names: tuple[str, ...]
    units: tuple[str, ...]  # "" if not stated
    values: np.ndarray  # (T, C), NaN for missing values
    notes: tuple[str, ...] = ()  # what was skipped or assumed


def read_text(path: Path) -> str:
    """Read a text file in UTF-8, UTF-16 (with BOM) or code page 1252. Raises InputError for other files."""
    if not path.is_file():
        raise InputError(f"{path} does not exist (in {Path.cwd()})")
    data = path.read_bytes()
    try:
        if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
            return data.decode("utf-16")
        if any(byte in data for byte in (b"\x00", b"\x01", b"\x02", b"\x03", b"\x04")):
            raise InputError(f"{path}: not a text file; export it as text (tables as CSV)")
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        # Five bytes are undefined in code page 1252; they never occur in a number.
        return data.decode("cp1252", errors="replace")


def read_rows(path: str | Path) -> tuple[list[Row], list[Row], str]:
    """Return the rows of cells, the commented rows (#) above them, and the separator ("" for spaces)."""
    lines = read_text(Path(path)).splitlines()
    first = 0
    separator = ""
    separator_line = re.fullmatch(r"\"?sep=(.)\"?", lines[0].strip("\ufeff \r")) if lines else None
    if separator_line:
        first, separator = 1, separator_line.group(1)
    numbered = [(n, line) for n, line in enumerate(lines[first:], first + 1) if line.strip(" \t\r;,")]
    tail = [line for _, line in numbered if not line.startswith(COMMENT)][-SAMPLE:]
    separator = separator or separator_of(tail)
    comments = [Row(n, split(line.lstrip("# "), separator)) for n, line in numbered if line.startswith(COMMENT)]
    rows = [Row(n, split(line, separator)) for n, line in numbered if not line.startswith(COMMENT)]
    return rows, comments, separator


def separator_of(lines: list[str]) -> str:
    """Return the separator between the columns of lines of numbers: tab, `;`, `|`, `,` or "" for spaces."""
    for separator in ("\t", ";", "|", ","):
        if not lines or sum(separator in line for line in lines) < 0.8 * len(lines):
            continue
        # `0,01 0,52`: decimal commas separated by spaces.
        words = [word for line in lines for word in line.split()]
        decimal_commas = len(words) > len(lines) and all(
            DECIMAL_COMMA.fullmatch(word) or WHOLE.fullmatch(word) for word in words
        )
        if separator != "," or not decimal_commas:
            return separator
    return ""


def split(line: str, separator: str) -> list[str]:
    """Return the cells of one line without surrounding quotes and spaces."""
    if not separator:
        return line.split()
    if '"' not in line:
        cells = line.split(separator)
        return [cell.strip() for cell in cells] if " " in line or "\t" in line else cells
    cells = next(csv.reader(StringIO(line), delimiter=separator, skipinitialspace=True), [])
    return [cell.strip().strip('"') for cell in cells]


def is_number(cell: str, decimal: str = ".") -> bool:
    """Return whether a cell is a number or a missing value."""
    try:
        number(cell, decimal)
    except ValueError:
        return False
    return True


def number(cell: str, decimal: str = ".") -> float:
    """Return the value of a cell, NaN for a missing one. Raises ValueError if it is not a number."""
    if cell.lower() in MISSING:
        return float("nan")
    return float(cell.replace("\u2212", "-").replace(decimal, "."))


def decimal_mark(rows: list[Row], separator: str) -> str:
    """Return "," if the numbers have decimal commas, otherwise "."."""
    cells = [cell for row in rows[-SAMPLE:] for cell in row.cells]
    commas = any(DECIMAL_COMMA.fullmatch(cell) for cell in cells)
    return "," if commas and not any(DECIMAL_POINT.fullmatch(cell) for cell in cells) else "."


def read_table(path: str | Path) -> TextTable:
    """Read a table with one line of names and units from brackets or a row of units.

    Lines above the names are skipped, with a note.

    Raises:
        InputError: The file is not such a table; the message names the line.
    """
    path = Path(path)
    rows, comments, separator = read_rows(path)
    if len(rows) + len(comments) < 2:
        raise InputError(f"{path}: {max(len(rows) - 1, 0)} rows below the names; a recording needs at least 2")
    decimal = decimal_mark(rows, separator)
    first = _first_of_numbers(rows, decimal)
    if first is None:
        bad = next((cell for cell in rows[-1].cells if not is_number(cell, decimal)), "")
        raise InputError(f"{path}: line {rows[-1].line}: {bad!r} is not a number")
    names, units, skipped = _head(path, rows[:first], comments, rows[first])
    values = numbers(path, rows[first:], len(names), decimal)
    names, units, values = _without_empty_ends(names, units, values)
    notes = []
    if skipped:
        notes.append(f"{path}: lines 1 to {skipped[-1].line} above the names are skipped")
    if decimal == ",":
        notes.append(f"{path}: read with decimal commas")
    return TextTable(tuple(names), tuple(units), values, tuple(notes))


def numbers(path: Path, rows: list[Row], columns: int, decimal: str = ".") -> np.ndarray:
    """Convert rows to numbers (T, columns); NaN for missing cells.

    Args:
        path: The file, for messages.
        rows: The rows.
        columns: Number of columns.
        decimal: Decimal mark.

    Raises:
        InputError: A cell is not a number, or a row has another number of columns; the message names the line.
    """
    values = []
    for line, cells in rows:
        while len(cells) > columns and not cells[-1]:
            cells = cells[:-1]
        if len(cells) != columns:
            doubled = len(cells) in (2 * columns, 2 * columns - 1) and columns > 1
            hint = "; if it has decimal commas, export it with semicolons between the columns" if doubled else ""
            raise InputError(f"{path}: line {line} has {len(cells)} values, but there are {columns} names{hint}")
        try:
            values.append(
                [float(cell) for cell in cells]
            )  # fast path for rows without missing values or decimal commas
        except ValueError:
            try:
                values.append([number(cell, decimal) for cell in cells])
            except ValueError:
                bad = next(cell for cell in cells if not is_number(cell, decimal))
                raise InputError(f"{path}: line {line}: {bad!r} is not a number") from None
    return np.array(values, dtype=float).reshape(-1, columns)


def name_and_unit(title: str) -> tuple[str, str]:
    """Split `force [N]` into `("force", "N")`. Round brackets that contain no unit belong to the name."""
    match = BRACKETED.match(title)
    if not match or not match.group(1) or match.group(2).strip().lower() in SIDE_WORDS:
        return title, ""
    name, unit = match.group(1), match.group(2).strip()
    return (name, unit) if title.endswith("]") or UNIT.fullmatch(unit) else (title, "")


def _first_of_numbers(rows: list[Row], decimal: str) -> int | None:
    """Return the index of the first row of numbers that is as wide as the last rows; None if there is none."""
    widths = [len(row.cells) for row in rows[-SAMPLE:]]
    width = max(set(widths), key=widths.count)
    for index, row in enumerate(rows):
        present = [cell for cell in row.cells if cell.lower() not in MISSING]
        if len(row.cells) == width and present and all(is_number(cell, decimal) for cell in present):
            return index
    return None


def _head(
    path: Path, above: list[Row], comments: list[Row], first: Row
) -> tuple[list[str], list[str], list[Row]]:  # fmt: skip
    """Return names, units and skipped rows from the rows above the first row of numbers."""
    if not above:  # numpy writes the names after a #
        commented = [row for row in comments if row.line < first.line and len(row.cells) == len(first.cells)]
        if not commented or all(is_number(cell) for cell in commented[-1].cells):
            raise InputError(f"{path}: the first line contains numbers; write the column names there")
        above = commented[-1:]
    titles, unit_cells = above[-1].cells, None
    if len(above) > 1 and len(above[-2].cells) == len(titles):
        if _are_units(titles):
            titles, unit_cells, above = above[-2].cells, titles, above[:-1]
        elif is_number(titles[0]) and titles[0]:  # not names, but a row with a word among its numbers
            bad = next(cell for cell in titles if not is_number(cell))
            raise InputError(f"{path}: line {above[-1].line}: {bad!r} is not a number")
    while len(titles) > len(first.cells) and not titles[-1]:
        titles = titles[:-1]
    pairs = [name_and_unit(title) for title in titles]
    names = [name or f"column_{i}" for i, (name, _) in enumerate(pairs, 1)]
    units = [unit for _, unit in pairs]
    if unit_cells is not None:
        units = [unit or cell.strip("[]()") for unit, cell in zip(units, unit_cells, strict=True)]
    return names, units, above[:-1]


def _are_units(cells: list[str]) -> bool:
    """Return whether a row consists only of units and empty cells."""
    present = [cell.strip("[]()") for cell in cells if cell.lower() not in MISSING]
    return bool(present) and all(UNIT.fullmatch(cell) for cell in present)


def _without_empty_ends(
    names: list[str], units: list[str], values: np.ndarray
) -> tuple[list[str], list[str], np.ndarray]:  # fmt: skip
    """Remove nameless, empty columns caused by separators at the ends of lines."""
    while len(names) > 1 and names[-1] == f"column_{len(names)}" and np.isnan(values[:, -1]).all():
        names, units, values = names[:-1], units[:-1], values[:, :-1]
    return names, units, values
