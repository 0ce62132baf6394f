"""Atomic file writes."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from muscle_torch.errors import InputError

PARTIAL = ".partial"  # suffix of unfinished files, which patterns such as *.npz or *.pt do not match


@contextmanager
def write_atomically(path: Path, remedy: str = "free disk space or choose another location") -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` if the block ends without an error.

    A crash, a full disk or an exception leaves the previous file, or none. The folder is created if necessary, and the
    contents are synced to disk before the rename. The temporary path has another suffix than `path`, so a writer that
    derives the format from the suffix needs the format explicitly. The temporary path is unique per process and thread:
    several may write the same file, and the last one wins.

    Args:
        path: The file to write.
        remedy: Advice if the file cannot be written, the end of the error message.

    Raises:
        InputError: The file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}{PARTIAL}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}; {remedy}") from None
    finally:
        if temporary.parent.is_dir():
            temporary.unlink(missing_ok=True)
