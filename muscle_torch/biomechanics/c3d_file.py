"""Checks of a C3D file's header before ezc3d reads it. Requires the extra `biomech` (ezc3d).

Format: https://www.c3d.org (user guide). Blocks of 512 bytes; the first is the header, followed by the parameters.
"""

import math
import struct
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from muscle_torch.errors import InputError

BLOCK = 512
INTEL, DEC, MIPS = 84, 85, 86  # processor types: byte order and floating-point format of the file
METRES = {
    **dict.fromkeys(("mm", "millimeter", "millimetre"), 1e-3),
    **dict.fromkeys(("cm", "centimeter", "centimetre"), 1e-2),
    **dict.fromkeys(("dm", "decimeter", "decimetre"), 0.1),
    **dict.fromkeys(("m", "meter", "metre"), 1.0),
    **dict.fromkeys(("um", "µm", "μm", "micrometer", "micrometre"), 1e-6),
    **dict.fromkeys(("in", "inch", "inches"), 0.0254),
    **dict.fromkeys(("ft", "foot", "feet"), 0.3048),
}


class Header(NamedTuple):
    """Counts of the header block."""

    points: int
    analog: int  # analog values per frame, over all channels
    frames: int
    scale: float  # of integer points; negative: points are floats
    data_block: int  # first block of data, counted from 1
    analog_rate: int  # analog samples per frame


def open_c3d(path: str | Path) -> Any:
    """Read a C3D file with ezc3d.

    ezc3d truncates ANALOG:RATE / POINT:RATE to obtain the number of analog samples per frame, so 1798.2 / 119.88 would
    give 14 instead of 15 and scramble all data. Such a file is read from a copy whose ratio is slightly above the
    integer.

    Raises:
        InputError: The file is missing, truncated, not a C3D file or has an unsupported byte order, or ezc3d is not
            installed.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist (in {Path.cwd()})")
    try:
        import ezc3d
    except ImportError:
        raise InputError("reading C3D needs ezc3d: pip install 'muscle_torch[biomech]'") from None
    content = path.read_bytes()
    processor = _processor(content, path)
    header = _header(content, processor)
    _check_length(content, header, path)
    exact = _with_whole_ratio(content, processor, header)
    try:
        if exact is None:
            return ezc3d.c3d(str(path))
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "copy.c3d"
            copy.write_bytes(exact)
            return ezc3d.c3d(str(copy))
    except (OSError, RuntimeError, ValueError, IndexError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: damaged C3D file ({reason}); copy or export it again") from None


def metres(unit: str) -> float | None:
    """Return a unit of length in metres by its name in any common spelling (mm, Meters, centimetre, ...), or None."""
    word = unit.strip().strip(".[]()").lower()
    return METRES.get(word, METRES.get(word.removesuffix("s")))


def texts(file: Any, group: str, name: str) -> list[str]:
    """Return the strings of a parameter and of its continuations: LABELS, LABELS2, LABELS3, ...

    A parameter can store at most 255 strings.

    Args:
        file: Of `open_c3d`.
        group: Parameter group, such as POINT.
        name: Parameter, such as LABELS.
    """
    parameters = file["parameters"].get(group, {})
    strings: list[str] = []
    number = 1
    while (key := name if number == 1 else f"{name}{number}") in parameters:
        strings += [str(text).strip() for text in parameters[key]["value"]]
        number += 1
    return strings


def rate_of(file: Any) -> float:
    """Return the frame rate [Hz], rounded to the precision of its 32-bit storage; 0 if the file states none."""
    stored = file["parameters"]["POINT"].get("RATE", {"value": ()})["value"]
    value = float(stored[0]) if len(stored) else float(file["header"]["points"]["frame_rate"])
    return float(f"{value:.7g}")


def _processor(content: bytes, path: Path) -> int:
    start = (content[0] - 1) * BLOCK if content else 0
    if len(content) < BLOCK or content[1] != 0x50 or start < 0 or len(content) < start + 4:
        raise InputError(f"{path}: not a C3D file, or incomplete; copy it again")
    processor = content[start + 3]
    if processor == MIPS:
        raise InputError(
            f"{path}: big-endian numbers (SGI, MIPS processors) are not supported by ezc3d; export it again as a C3D "
            "file for Intel (PC) processors"
        )
    if processor not in (INTEL, DEC):
        raise InputError(
            f"{path}: unknown processor type {processor} (known: {INTEL} Intel, {DEC} DEC, {MIPS} SGI); the file may "
            "be damaged: export it again"
        )
    return processor


def _float(content: bytes, offset: int, processor: int) -> float:
    """Decode a 4-byte number: IEEE, or the DEC F format (halves swapped, exponent larger by 2)."""
    four = content[offset : offset + 4]
    if processor == DEC:
        return struct.unpack("<f", four[2:] + four[:2])[0] / 4
    return struct.unpack("<f", four)[0]


def _header(content: bytes, processor: int) -> Header:
    word = struct.unpack("<10H", content[:20])
    return Header(word[1], word[2], word[4] - word[3] + 1, _float(content, 12, processor), word[8], word[9])


def _check_length(content: bytes, header: Header, path: Path) -> None:
    """Check the file's size against its header, because ezc3d reads missing data as zeros."""
    width = 4 if header.scale < 0 else 2
    size = (header.data_block - 1) * BLOCK + header.frames * (4 * header.points + header.analog) * width
    # The 16-bit frame numbers overflow in longer recordings.
    if 0 < header.frames < 65000 and len(content) < size:
        raise InputError(
            f"{path}: states {header.frames} frames but contains fewer: the file is truncated; copy it again"
        )


def _with_whole_ratio(content: bytes, processor: int, header: Header) -> bytes | None:
    """Return the file with a slightly larger ANALOG:RATE if ezc3d would truncate the ratio; None if not needed."""
    places = _numbers(content)
    if not {"POINT:RATE", "ANALOG:RATE"} <= places.keys() or not header.analog:
        return None
    frame_rate, rate = (_float(content, places[name], processor) for name in ("POINT:RATE", "ANALOG:RATE"))
    if frame_rate <= 0 or rate <= 0:
        return None
    ratio = rate / frame_rate
    samples = round(ratio) if abs(ratio - round(ratio)) < 0.01 else header.analog_rate
    if samples < 1 or math.floor(ratio) == samples:
        return None
    four = struct.pack("<f", frame_rate * samples * (1 + 2e-6) * (4 if processor == DEC else 1))
    if processor == DEC:
        four = four[2:] + four[:2]
    at = places["ANALOG:RATE"]
    return content[:at] + four + content[at + 4 :]


def _numbers(content: bytes) -> dict[str, int]:
    """Return the file offset of every parameter that is a single float, by `GROUP:NAME`."""
    at = (content[0] - 1) * BLOCK + 4
    groups: dict[int, str] = {}
    places: dict[tuple[int, str], int] = {}
    while at + 4 < len(content):
        length, group = (
            abs(struct.unpack("b", content[at : at + 1])[0]),
            struct.unpack("b", content[at + 1 : at + 2])[0],
        )
        if length == 0 or group == 0:
            break
        name = content[at + 2 : at + 2 + length].decode("latin-1").upper()
        at += 2 + length
        step = struct.unpack("<H", content[at : at + 2])[0]
        if group < 0:
            groups[-group] = name
        elif content[at + 2] == 4 and all(n == 1 for n in content[at + 4 : at + 4 + content[at + 3]]):
            places[group, name] = at + 4 + content[at + 3]
        if step == 0:
            break
        at += step
    return {f"{groups[group]}:{name}": place for (group, name), place in places.items() if group in groups}
