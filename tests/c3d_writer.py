"""Write C3D files byte by byte for Intel, DEC or SGI processors, for tests of what ezc3d cannot write."""

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

BLOCK = 512
PROCESSORS = {"intel": 84, "dec": 85, "sgi": 86}
Parameters = dict[str, dict[str, Any]]


class _Encoder:
    def __init__(self, processor: str) -> None:
        self.processor = processor
        self.order = ">" if processor == "sgi" else "<"

    def int16(self, *values: int) -> bytes:
        return struct.pack(f"{self.order}{len(values)}H", *(value & 0xFFFF for value in values))

    def floats(self, values: np.ndarray | float) -> bytes:
        values = np.atleast_1d(np.asarray(values, dtype=np.float32)).ravel()
        if self.processor != "dec":
            return values.astype(f"{self.order}f4").tobytes()
        halves = (values * 4).astype("<f4").view("<u2").reshape(-1, 2)
        return halves[:, ::-1].tobytes()

    def parameter(self, name: str, group: int, value: Any) -> bytes:
        if isinstance(value, (list, tuple)) and all(isinstance(text, str) for text in value):
            width = max(map(len, value), default=0)
            kind, dims, data = -1, (width, len(value)), "".join(text.ljust(width) for text in value).encode("latin-1")
        else:
            array = np.asarray(value)
            whole = np.issubdtype(array.dtype, np.integer)
            flat = array.ravel(order="F")
            kind, dims = (2 if whole else 4), array.shape
            data = self.int16(*flat.tolist()) if whole else self.floats(flat)
        body = struct.pack("bB", kind, len(dims)) + bytes(dims) + data + b"\0"
        return struct.pack("bb", len(name), group) + name.encode() + self.int16(len(body) + 2) + body


def write_c3d(
    path: Path,
    points: dict[str, np.ndarray],
    rate: float,
    analog: np.ndarray | None = None,
    samples: int = 1,
    units: str = "mm",
    processor: str = "intel",
    integer_scale: float = 0.0,
    extra: Parameters | None = None,
) -> Path:
    """Write markers (T, 3) in `units` and analog channels (T * samples, C).

    NaN are hidden markers. integer_scale: of one step, for points stored as integers; 0: floats.
    extra: group -> parameter -> value, more parameters or other values.
    """
    encoder, labels = _Encoder(processor), list(points)
    frames = len(next(iter(points.values())))
    analog = np.zeros((frames, 0)) if analog is None else analog
    scale = integer_scale or -1.0
    groups: Parameters = {
        "POINT": {"USED": len(labels), "FRAMES": frames, "DATA_START": 0, "SCALE": scale, "RATE": float(rate),
                  "UNITS": [units]},
        "ANALOG": {"USED": analog.shape[1], "RATE": float(rate * samples), "GEN_SCALE": 1.0,
                   "SCALE": np.ones(analog.shape[1]), "OFFSET": np.zeros(analog.shape[1], dtype=int),
                   "LABELS": [f"channel{i}" for i in range(analog.shape[1])], "UNITS": ["V"] * analog.shape[1]},
    }  # fmt: skip
    for number, start in enumerate(range(0, len(labels), 255), start=1):
        groups["POINT"][f"LABELS{number if number > 1 else ''}"] = labels[start : start + 255]
    for group, parameters in (extra or {}).items():
        groups[group] = groups.get(group, {}) | parameters
    section = _section(encoder, groups, 0)
    blocks = -(-len(section) // BLOCK)
    start = 2 + blocks
    section = _section(encoder, groups, start)
    header = bytearray(BLOCK)
    header[0:2] = bytes((2, 0x50))
    header[2:12] = encoder.int16(len(labels), analog.shape[1] * samples, 1, frames, 0)
    header[12:16] = encoder.floats(scale)
    header[16:20] = encoder.int16(start, samples)
    header[20:24] = encoder.floats(rate)
    section = bytearray(section.ljust(blocks * BLOCK, b"\0"))
    section[2:4] = bytes((blocks, PROCESSORS[processor]))
    path.write_bytes(bytes(header) + bytes(section) + _data(encoder, points, analog.reshape(frames, -1), integer_scale))
    return path


def _section(encoder: _Encoder, groups: Parameters, data_block: int) -> bytes:
    groups["POINT"]["DATA_START"] = data_block
    parts = [bytes((1, 0x50, 0, 0))]
    for number, (name, parameters) in enumerate(groups.items(), start=1):
        parts.append(struct.pack("bb", len(name), -number) + name.encode() + encoder.int16(3) + b"\0")
        parts += [encoder.parameter(key, number, value) for key, value in parameters.items()]
    return b"".join(parts) + b"\0\0"


def _data(encoder: _Encoder, points: dict[str, np.ndarray], analog: np.ndarray, step: float) -> bytes:
    rows: list[bytes] = []
    stacked = np.stack(list(points.values()), axis=1)
    for frame in range(len(stacked)):
        hidden = np.isnan(stacked[frame]).any(axis=1)
        values = np.column_stack((np.where(hidden[:, None], 0.0, stacked[frame]), np.where(hidden, -1.0, 0.0)))
        if step:
            values[:, :3] = np.round(values[:, :3] / step)
            rows.append(encoder.int16(*values.astype(int).ravel().tolist()))
            rows.append(encoder.int16(*analog[frame].astype(int).tolist()))
        else:
            rows += [encoder.floats(values), encoder.floats(analog[frame]) if analog.size else b""]
    data = b"".join(rows)
    return data.ljust(-(-len(data) // BLOCK) * BLOCK, b"\0")


def plates(kinds: Sequence[int], channels: Sequence[Sequence[int]], matrices: np.ndarray | None = None) -> Parameters:
    """The group FORCE_PLATFORM of plates of 0.6 m; channels count from 1; matrices (6, 6, plates) for type 4."""
    longest = max(map(len, channels))
    corners = np.array([[300.0, -300.0, -300.0, 300.0], [300.0, 300.0, -300.0, -300.0], [0.0] * 4])
    group = {
        "USED": len(kinds),
        "TYPE": np.array(kinds),
        "ZERO": np.array([1, 0]),
        "CORNERS": np.stack([corners] * len(kinds), axis=2),
        "ORIGIN": np.tile([[0.0], [0.0], [-40.0]], (1, len(kinds))),
        "CHANNEL": np.array([[*ids, *[0] * (longest - len(ids))] for ids in channels]).T,
    }
    return {"FORCE_PLATFORM": group | ({} if matrices is None else {"CAL_MATRIX": matrices})}
