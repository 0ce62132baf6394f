"""Atomic writes: readers get the old or the complete new file, from any process and thread."""

import re
import threading

import pytest
from commands import ROOT

from muscle_torch.errors import InputError
from muscle_torch.storage.files import write_atomically


def test_the_file_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "new" / "folder" / "x.npz"
    with write_atomically(path) as temporary:
        temporary.write_text("whole")
        assert not path.exists() and temporary.parent == path.parent
        assert temporary not in path.parent.glob("*.npz")  # a folder of motions must not list it
    assert path.read_text() == "whole" and list(path.parent.iterdir()) == [path]


def test_an_error_leaves_the_previous_file(tmp_path):
    path = tmp_path / "x.json"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), write_atomically(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_failing_disk_is_a_one_line_error_with_the_remedy(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(InputError, match=r"cannot write .*x.json: .*; choose another output=$"),
        write_atomically(tmp_path / "file" / "x.json", "choose another output="),
    ):
        pass
    with pytest.raises(InputError, match="No space left"), write_atomically(tmp_path / "x.json") as temporary:
        temporary.write_text("half")
        raise OSError(28, "No space left on device")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_threads_that_write_the_same_file_do_not_mix(tmp_path):
    path, inside = tmp_path / "x.txt", threading.Barrier(2)

    def write(letter: str) -> None:
        with write_atomically(path) as temporary:
            inside.wait(timeout=30)
            temporary.write_text(letter * 100_000)
            inside.wait(timeout=30)

    writers = [threading.Thread(target=write, args=(letter,)) for letter in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert path.read_text() in ("a" * 100_000, "b" * 100_000) and list(tmp_path.iterdir()) == [path]


def test_nothing_else_moves_files_into_place():
    """No other file of the package renames or creates temporary files."""
    folders = ("muscle_torch", "envs", "models", "tools")
    sources = [path for folder in folders for path in (ROOT / folder).rglob("*.py")] + [ROOT / "train.py"]
    pattern = re.compile(r"os\.(replace|rename)\(|mkstemp|\.partial\b")
    users = {path.relative_to(ROOT).as_posix() for path in sources if pattern.search(path.read_text(encoding="utf-8"))}
    assert users == {"muscle_torch/storage/files.py"}
