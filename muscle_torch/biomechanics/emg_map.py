"""Map EMG channel names to the model's actuators, using `emg_muscles.yaml` or a similar table."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from muscle_torch.embodiments import Embodiment
from muscle_torch.errors import InputError, nearest

from .series import TimeSeries
from .text_tables import read_rows

SIDES = {"r": {"side": "_r", "arm": ""}, "l": {"side": "_l", "arm": "_left"}}
SIMILAR = 0.75  # difflib ratio; less similar names are not suggested
SIDE_NAMES = {"right": "r", "rt": "r", "rechts": "r", "dx": "r", "r": "r",
              "left": "l", "lt": "l", "links": "l", "sx": "l", "l": "l"}  # fmt: skip
_SIDES = "|".join(SIDE_NAMES)
SIDE_AT_END = re.compile(rf"^(.+?)[\s_.,\-]*(?:[(\[]|\b|_)({_SIDES})[)\]]?$", re.IGNORECASE)
SIDE_AT_START = re.compile(rf"^[(\[]?({_SIDES})(?:[)\]]|\b|_)[\s_.,\-]*(.+)$", re.IGNORECASE)
HEADS = ("actuator", "actuators", "actuator(s)", "muscle", "muscles", "model", "model muscle", "model muscles")


@dataclass(frozen=True)
class MuscleMap:
    """Table of muscles."""

    actuators: dict[str, tuple[str, ...]]  # muscle -> actuator name patterns
    names: dict[str, str]  # simplified channel name -> muscle

    def find(self, channel: str, side: str = "r", channels: Collection[str] = ()) -> tuple[str, str]:
        """Return the muscle and side of a channel.

        Args:
            channel: Its name, with or without a side (`TA`, `Soleus, right`, `BicepsBrachiiR`, `LTA`).
            side: Side for names without one, r or l.
            channels: All names of the recording; `BFL` is read as a left side only if there is a `BFR` too.

        Raises:
            InputError: No muscle has the name; the message suggests the nearest ones.
        """
        for text, side_of_name in _readings(channel, side, channels):
            if _plain(text) in self.names:
                return self.names[_plain(text)], side_of_name
        raise InputError(f"unknown muscle {channel!r}{nearest(_plain(channel), tuple(self.names))}")

    def patterns(self, muscle: str, side: str) -> tuple[str, ...]:
        """Return the actuator names of a muscle on one side."""
        return tuple(pattern.format(**SIDES[side]) for pattern in self.actuators[muscle])


def load_map(path: str | Path = "") -> MuscleMap:
    """Load a table of muscles on top of the built-in one.

    Args:
        path: YAML, or CSV with columns channel and actuators; empty: only the built-in table.

    Raises:
        InputError: The file is missing or not a table of muscles.
    """
    built_in = resources.files("muscle_torch.biomechanics") / "emg_muscles.yaml"
    table: dict[str, Any] = _yaml(Path(str(built_in)))
    if path:
        custom = _csv(Path(path)) if Path(path).suffix.lower() == ".csv" else _yaml(Path(path))
        redefined = {_plain(n) for muscle, row in custom.items() for n in (muscle, *row.get("also", ()))}
        for row in table.values():
            row["also"] = [n for n in row.get("also", ()) if _plain(n) not in redefined]
        table = table | custom
    actuators, names = {}, {}
    for muscle, row in table.items():
        if not isinstance(row, dict) or not row.get("actuators"):
            raise InputError(
                f"{path or built_in}: muscle {muscle!r} has no actuators; write `{muscle}: {{actuators: [...]}}`"
            )
        actuators[str(muscle)] = tuple(str(a) for a in row["actuators"])
        for name in (muscle, *row.get("also", ())):
            names[_plain(str(name))] = str(muscle)
    return MuscleMap(actuators, names)


def muscle_columns(series: TimeSeries, table: MuscleMap, side: str = "r") -> tuple[TimeSeries, tuple[str, ...]]:
    """Rename channels to `<muscle>_<side>`; unknown and repeated ones are left out, with notes.

    Args:
        series: The recording.
        table: Table of muscles.
        side: Side for names without one, r or l.

    Raises:
        InputError: No channel is known.
    """
    if side not in SIDES:
        raise InputError(f"side={side!r}: choose r or l")
    ids, names, left_out, unknown = [], [], [], []
    for index, channel in enumerate(series.names):
        try:
            muscle, side_of_name = table.find(channel, side, series.names)
        except InputError:
            close = get_close_matches(_plain(channel), table.names, 1, SIMILAR)
            unknown.append(f"{channel} (did you mean {table.names[close[0]]}?)" if close else channel)
            continue
        name = f"{muscle}_{side_of_name}"
        if name in names:
            left_out.append(f"channel {channel!r}: {name} is already taken by another channel")
            continue
        ids.append(index)
        names.append(name)
    if unknown:
        left_out.insert(0, f"unknown muscle names: {', '.join(unknown)}; define them in map=<table>")
    if not ids:
        raise InputError(f"{series.source or 'EMG'}: {left_out[0]}")
    selected = series.select([series.names[i] for i in ids]).renamed(names)
    return selected, tuple(left_out)


def model_activity(
    activations: TimeSeries, muscles: tuple[str, ...], table: MuscleMap, embodiment: Embodiment
) -> tuple[TimeSeries, tuple[str, ...]]:
    """Return the activation of muscles, averaged over their actuators weighted by maximal force.

    Args:
        activations: One column per muscle of the body.
        muscles: `<muscle>_<side>` of each requested column.
        table: Table of muscles.
        embodiment: The body.

    Returns:
        The columns (T, C), and notes on muscles that the body or the recording lacks.

    Raises:
        InputError: No requested muscle is available.
    """
    model, known = embodiment.model, embodiment.muscle_names
    columns, names, left_out = [], [], []
    for name in muscles:
        muscle, _, side = name.rpartition("_")
        actuators = table.patterns(muscle, side)
        missing = [a for a in actuators if a not in known or a not in activations.names]
        if missing:
            where = embodiment.name if missing[0] not in known else (activations.source or "the activations")
            left_out.append(f"{name}: {where} has no {missing[0]!r}{nearest(missing[0], activations.names)}")
            continue
        strength = np.abs(model.actuator_biasprm[embodiment.resolve("actuator", actuators), 2])
        strength = strength if strength.sum() > 0 else np.ones(len(actuators))
        values = np.stack([activations[a] for a in actuators], axis=1)
        columns.append(values @ strength / strength.sum())
        names.append(name)
    if not columns:
        raise InputError(f"nothing to compare: {left_out[0] if left_out else 'no muscle was requested'}")
    units = ("",) * len(names)
    return TimeSeries(activations.time, np.stack(columns, axis=1), tuple(names), units, activations.source), tuple(
        left_out
    )


def _readings(channel: str, side: str, channels: Collection[str]) -> list[tuple[str, str]]:
    """Return possible (name, side) readings of a channel: as it is, and with a side word or letter removed."""
    readings = [(channel, side)]
    for pattern, name, word in ((SIDE_AT_END, 1, 2), (SIDE_AT_START, 2, 1)):
        match = pattern.match(channel)
        if match:
            readings.append((match.group(name), SIDE_NAMES[match.group(word).lower()]))
    # `soleusr`, `BicepsBrachiiR`, `rSoleus`: a letter after a word, or one of another case before it.
    first, second, before, last = channel[:1], channel[1:2], channel[-2:-1], channel[-1:]
    if len(channel) > 3 and (last in ("r", "l") or (last in ("R", "L") and not before.isupper())):
        readings.append((channel[:-1], last.lower()))
    if len(channel) > 3 and first in ("r", "l", "R", "L") and second.isupper() and not channel.isupper():
        readings.append((channel[1:], first.lower()))
    # `TAR`, `LTA`: an abbreviation. Its L may mean lateral or long, unless the same name with an R exists too.
    if channel.isupper() and len(channel) > 2:
        pairs = ((channel[:-1], last, channel[:-1] + "R"), (channel[1:], first, "R" + channel[1:]))
        for name, letter, partner in pairs:
            if letter == "R" or (letter == "L" and partner in channels):
                readings.append((name, letter.lower()))
    # `Biceps.EMG4`, `Sensor 1.IM EMG1`: amplifiers append the socket to the muscle name.
    if "." in channel:
        readings += _readings(channel.split(".")[0], side, channels)
    return readings


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _yaml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        loaded = OmegaConf.to_container(OmegaConf.load(path))
    except (OmegaConfBaseException, ValueError) as error:
        raise InputError(f"{path}: not a table of muscles ({str(error).splitlines()[0]})") from None
    if not isinstance(loaded, dict):
        raise InputError(f"{path}: not a table of muscles: write `<muscle>: {{actuators: [...], also: [...]}}`")
    return {str(name): row for name, row in loaded.items()}


def _csv(path: Path) -> dict[str, Any]:
    """Read `channel,actuators` rows; actuators are separated by spaces, semicolons or plus signs."""
    rows, _, separator = read_rows(path)
    table: dict[str, Any] = {}
    for line, cells in rows:
        names = [name for name in re.split(r"[\s;,+]+", " ".join(cells[1:])) if name]
        if line == rows[0].line and " ".join(names).lower() in HEADS:
            continue
        if not names or not separator:
            raise InputError(f"{path}: line {line}: write `channel,actuator actuator ...`")
        table[cells[0]] = {"actuators": names, "also": []}
    return table
