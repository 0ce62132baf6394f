"""Location of the test data: `MUSCLE_TORCH_DATA`, by default the folder `shared` beside the checkout."""

import os
from pathlib import Path

# Before torch is imported, here and in the commands that tests start: side by side, one thread each is fastest.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

DATA = Path(os.environ.get("MUSCLE_TORCH_DATA", Path(__file__).parents[2] / "shared"))
_used: set[str] = set()


def data_file(name: str) -> Path:
    """Return the path of a recording or reference file; skip the test if it is missing."""
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{name} not found in {DATA} (set MUSCLE_TORCH_DATA)")
    _used.add(os.environ.get("PYTEST_CURRENT_TEST", name).split(" ")[0])
    return path


def pytest_collection_modifyitems(items):
    """Skip what is marked gpu where there is no CUDA device."""
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="no CUDA device"))


def pytest_sessionfinish(session):
    # Workers of pytest-xdist count apart; the controller adds up.
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["data_tests"] = sorted(_used)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    _used.update(getattr(node, "workeroutput", {}).get("data_tests", ()))


def pytest_terminal_summary(terminalreporter):
    terminalreporter.write_line(f"tests that read recordings or oracles: {len(_used)}")
