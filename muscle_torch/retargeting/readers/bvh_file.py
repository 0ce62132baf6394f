"""Parser of BVH files: a hierarchy of joints with their channels, and a row of numbers for each frame.

Programs disagree on capitals, spaces after colons, decimal points and names of two words; all variants are accepted.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from muscle_torch.biomechanics.text_tables import read_text
from muscle_torch.errors import InputError

from .skeleton import check_numbers

FRAMES = re.compile(r"\s*frames\s*:?\s*(\d+)", re.IGNORECASE)
FRAME_TIME = re.compile(r"\s*frame\s*time\s*:?\s*(\S*)", re.IGNORECASE)


@dataclass
class Bvh:
    """A motion of J joints, including end sites, parents first; T frames."""

    names: list[str] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)  # -1: the root
    offsets: list[np.ndarray] = field(default_factory=list)  # (3,) from the parent with all rotations zero
    channels: list[list[str]] = field(default_factory=list)  # such as Xposition, Zrotation
    values: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))  # (T, channels)
    frame_time: float = 0.0  # [s], 0: not stated

    def rotations(self) -> np.ndarray:
        """Return the rotation (T, J, 3, 3) of every joint relative to its parent."""
        turns = np.tile(np.eye(3), (len(self.values), len(self.names), 1, 1))
        for joint, (kinds, block) in enumerate(self._blocks()):
            order = [i for i, kind in enumerate(kinds) if kind.endswith("rotation")]
            if order:
                letters = "".join(kinds[i][0] for i in order)
                turns[:, joint] = Rotation.from_euler(letters, block[:, order], degrees=True).as_matrix()
        return turns

    def translations(self) -> np.ndarray:
        """Return the position (T, J, 3) of every joint in its parent's axes.

        Position channels replace OFFSET. Some programs write the difference from OFFSET instead, which is assumed if
        the channels of a joint below the root are nearer to 0 than to its OFFSET.
        """
        places = np.tile(np.array(self.offsets), (len(self.values), 1, 1))
        for joint, (kinds, block) in enumerate(self._blocks()):
            columns = {"XYZ".index(kind[0]): i for i, kind in enumerate(kinds) if kind.endswith("position")}
            if not columns:
                continue
            axes = list(columns)
            stored, offset = block[:, list(columns.values())], self.offsets[joint][axes]
            deviation = np.median(np.linalg.norm(stored - offset, axis=1))
            differs = self.parents[joint] >= 0 and np.median(np.linalg.norm(stored, axis=1)) < deviation
            places[:, joint, axes] = stored + offset if differs else stored
        return places

    def _blocks(self) -> list[tuple[list[str], np.ndarray]]:
        ends = np.cumsum([len(kinds) for kinds in self.channels])
        return [(kinds, self.values[:, end - len(kinds) : end]) for kinds, end in zip(self.channels, ends, strict=True)]


def parse_bvh(path: Path) -> Bvh:
    """Parse a BVH file. Raises InputError if it is not a BVH file or is truncated."""
    lines = read_text(path).splitlines()
    motion = next((i for i, line in enumerate(lines) if line.split()[:1] and line.split()[0].upper() == "MOTION"), None)
    bvh = Bvh()
    with _one_line(path):
        _hierarchy(lines[:motion], bvh)
    if not bvh.names:
        raise InputError(f"{path}: not a BVH file, it has no HIERARCHY; export it again")
    if motion is None:
        raise InputError(f"{path}: not a complete BVH file, it has no MOTION; copy or export it again")
    with _one_line(path):
        frames, rows = _motion(lines[motion + 1 :], bvh)
    width = sum(len(kinds) for kinds in bvh.channels)
    if any(len(row) != width for row in rows[:frames]):  # a frame may be broken over lines
        flat = [value for row in rows for value in row]
        rows = [flat[i : i + width] for i in range(0, len(flat), width)] if len(flat) == frames * width else []
    if not frames or len(rows) < frames:
        raise InputError(
            f"{path}: states {frames} frames of {width} values but contains fewer: the file is truncated; copy it again"
        )
    bvh.values = np.array(rows[:frames])
    check_numbers(bvh.values, str(path))
    return bvh


@contextmanager
def _one_line(path: Path) -> Iterator[None]:
    try:
        yield
    except (IndexError, ValueError) as error:
        raise InputError(f"{path}: not a complete BVH file ({error}); copy it again") from None


def _hierarchy(lines: list[str], bvh: Bvh) -> None:
    stack: list[int] = []
    # A brace may be on the line of the joint's name.
    for line in "\n".join(lines).replace("{", "\n{\n").replace("}", "\n}\n").splitlines():
        words = line.split()
        keyword = words[0].upper() if words else ""
        if keyword in ("ROOT", "JOINT", "END"):
            end = keyword == "END"
            bvh.names.append(f"{bvh.names[stack[-1]]}_end" if end else " ".join(words[1:]))
            bvh.parents.append(stack[-1] if stack else -1)
            bvh.offsets.append(np.zeros(3))
            bvh.channels.append([])
        elif keyword == "{":
            stack.append(len(bvh.names) - 1)
        elif keyword == "}":
            stack.pop()
        elif keyword == "OFFSET":
            bvh.offsets[stack[-1]] = np.array(_numbers(line.split(None, 1)[1]))
            if bvh.offsets[stack[-1]].shape != (3,):
                raise ValueError(f"OFFSET of {bvh.names[stack[-1]]!r} is not 3 numbers")
        elif keyword == "CHANNELS":
            bvh.channels[stack[-1]] = [word[0].upper() + word[1:].lower() for word in words[2:]]


def _motion(lines: list[str], bvh: Bvh) -> tuple[int, list[list[float]]]:
    """Return the stated number of frames and the numbers of each line; sets the frame time."""
    frames = 0
    for number, line in enumerate(lines):
        if match := FRAMES.match(line):
            frames = int(match[1])
        elif match := FRAME_TIME.match(line):
            bvh.frame_time = _numbers(match[1])[0]
            return frames, [_numbers(row) for row in lines[number + 1 :] if row.strip()]
    raise ValueError("it has no Frame Time")


def _numbers(text: str) -> list[float]:
    """Parse numbers separated by spaces or commas; a comma is a decimal comma if the text has no point."""
    if "," in text:
        text = text.replace(",", " ") if "." in text or re.search(r",\s", text) else text.replace(",", ".")
    return [float(word) for word in text.split()]
