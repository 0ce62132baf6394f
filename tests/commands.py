"""Running the scripts a user runs: in this process by their `main`, or as the shell would."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parents[1]


def script(path: str) -> ModuleType:
    """The module that the script at `path` (from the root) is, with its `main`."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Registered while it is loaded: dataclasses look their own module up.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def train(*words: str, cwd: Path, timeout: float = 300, **options: Any) -> subprocess.CompletedProcess[str]:
    """`python train.py ...` in the folder `cwd`."""
    command = [sys.executable, str(ROOT / "train.py"), *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False, **options)
