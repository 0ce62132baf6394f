"""Remove the machine code of all GPUs except compute capability 9.0 from Warp's native library, so that it compresses.

`python slim.py warp.so` works in place. The library contains fat binaries: containers with one entry per architecture.
Each keeps its entry for sm_90; the rest of it is filled with zeros.
"""

import mmap
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

ARCHITECTURE, CUBIN = 90, 2
MAGIC = struct.pack("<I", 0xBA55ED50)
HEADER = struct.Struct("<IHHQ")  # magic, version, size of this header, size of the entries
ENTRY = struct.Struct("<HHIQ")  # kind, version, size of this header, size of the code
ARCHITECTURE_AT = 28  # bytes into an entry


def slim(path: Path) -> tuple[int, int]:
    """Blank other architectures' code in a library.

    Returns:
        Number of containers changed, and number of bytes blanked.
    """
    containers = freed = 0
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as data:
        for start, end in _containers(data):
            kept = b"".join(data[a:b] for a, b, matches in _entries(data, start, end) if matches)
            if not kept:  # device code that is linked into kernels
                continue
            struct.pack_into("<Q", data, start - HEADER.size + 8, len(kept))
            data[start:end] = kept.ljust(end - start, b"\0")
            containers, freed = containers + 1, freed + end - start - len(kept)
    return containers, freed


def _containers(data: mmap.mmap) -> Iterator[tuple[int, int]]:
    """Yield the begin and end offset of the entries of each container."""
    at = data.find(MAGIC)
    while at >= 0:
        _, version, header, size = HEADER.unpack_from(data, at)
        start, end = at + HEADER.size, at + HEADER.size + size
        valid = version == 1 and header == HEADER.size and end <= len(data) and _is_whole(data, start, end)
        if valid:
            yield start, end
        at = data.find(MAGIC, end if valid else at + 4)


def _is_whole(data: mmap.mmap, start: int, end: int) -> bool:
    """Return whether the entries fill the container exactly, because the magic number also occurs by chance."""
    while start < end:
        _, _, header, size = ENTRY.unpack_from(data, start)
        start += header + size
        if header == 0:
            return False
    return start == end


def _entries(data: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, bool]]:
    """Yield begin and end offset of each entry, and whether it is machine code of the architecture."""
    while start < end:
        kind, _, header, size = ENTRY.unpack_from(data, start)
        (architecture,) = struct.unpack_from("<I", data, start + ARCHITECTURE_AT)
        yield start, start + header + size, kind == CUBIN and architecture == ARCHITECTURE
        start += header + size


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print(__doc__)
        sys.exit(0 if sys.argv[1:] else 2)
    count, saved = slim(Path(sys.argv[1]))
    if not count:
        sys.exit(f"error: {sys.argv[1]} holds no code for sm_{ARCHITECTURE}: Warp's build has changed")
    print(f"{sys.argv[1]}: {count} containers, {saved / 2**20:.0f} MiB of other GPUs' code blanked")
