"""The measurements for a GPU machine run, on a few environments and the CPU, and write their figures."""

import json
import os
import struct
import subprocess
import sys

import pytest
from commands import ROOT

from muscle_torch.tools.benchmarking.gpu.slim import ARCHITECTURE, CUBIN, ENTRY, HEADER, slim

FOLDER = ROOT / "tools" / "benchmarking" / "gpu"


def run(home, *steps: str, **variables: str) -> subprocess.CompletedProcess:
    """Run steps dry."""
    environment = os.environ | {"DRY": "1", "GPU_HOME": str(home), "OUT": str(home / "out"), "PYTHON": sys.executable}
    command = ["bash", str(FOLDER / "measure.sh"), *steps]
    return subprocess.run(command, cwd=ROOT, env=environment | variables, capture_output=True, text=True, check=False)


def measure(home, *steps: str, **variables: str) -> list[dict]:
    """Run steps dry; return their figures."""
    done = run(home, *steps, **variables)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    return [json.loads(line) for line in (home / "out" / "results.jsonl").read_text().splitlines()]


def test_facts_and_learning(tmp_path):
    figures = measure(tmp_path, "facts", "learner")
    by_name = {figure["name"]: figure for figure in figures if "name" in figure}
    assert {"software", "matmul", "copy", "launch", "learner"} <= by_name.keys()
    assert by_name["learner"]["us_per_sample_update"] > by_name["learner"]["us_per_sample_optimizer"] > 0
    assert [figure["code"] for figure in figures if "step" in figure] == [0, 0]


@pytest.mark.slow
def test_every_step(tmp_path):
    steps = ("kernels", "physics", "profile", "tests", "bench", "sweep", "compiled", "most", "learn", "curve")
    figures = measure(tmp_path, *steps, LIMITS="learn=60 tests=300 kernels=300 physics=300")
    names = {figure.get("name") for figure in figures}
    assert {"kernels", "sizes", "physics", "profile", "bench_toy_arm", "sweep", "memory", "curve"} <= names
    assert not [figure for figure in figures if "failed" in figure]
    assert (tmp_path / "out" / "curve.png").stat().st_size > 1000


def test_an_unknown_step_is_an_error(tmp_path):
    done = run(tmp_path, "nothing")
    assert done.returncode == 1 and "no step nothing" in done.stdout + done.stderr


def container(*entries: tuple[int, int, bytes]) -> bytes:
    """A fat binary of (kind, architecture, code)."""
    body = b""
    for kind, architecture, code in entries:
        header = 32
        body += ENTRY.pack(kind, 1, header, len(code)).ljust(28, b"\0") + struct.pack("<I", architecture) + code
    return HEADER.pack(0xBA55ED50, 1, HEADER.size, len(body)) + body


def test_slimming_keeps_one_architecture(tmp_path):
    library = tmp_path / "library.so"
    before, after = b"code before " * 10, b" code after" * 10
    other, kept = b"o" * 1000, b"k" * 500
    fat = container((CUBIN, 80, other), (CUBIN, ARCHITECTURE, kept), (1, ARCHITECTURE, other))
    library.write_bytes(before + fat + after)
    assert slim(library) == (1, 2 * (32 + 1000))
    contents = library.read_bytes()
    assert len(contents) == len(before + fat + after) and contents.startswith(before) and contents.endswith(after)
    assert kept in contents and b"oo" not in contents
    assert slim(library) == (1, 0)  # a slim library stays as it is


def test_a_library_without_the_architecture_is_left_alone(tmp_path):
    library = tmp_path / "library.so"
    library.write_bytes(container((CUBIN, 80, b"x" * 100)))
    assert slim(library) == (0, 0) and b"xx" in library.read_bytes()
