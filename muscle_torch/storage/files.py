"""Files that appear complete or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from muscle_torch.errors import InputError


@contextmanager
def write_atomically(path: Path, remedy: str = "free disk space or choose another place") -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` when the block ends without an error.

    A crash, a full disk or an exception leaves the previous file, or none. The folder is created if it does not
    exist, and the contents reach the disk before the name does. The temporary name keeps the suffix of `path`, from
    which some writers derive the format.

    Args:
        path: The file to write.
        remedy: What the user can do if the file cannot be written; the end of the error message.

    Raises:
        InputError: The file cannot be written.
    """
    temporary = path.with_name(f"{path.stem}.partial{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}; {remedy}") from None
    finally:
        temporary.unlink(missing_ok=True)
