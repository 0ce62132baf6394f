"""Run scripts in this process through their `main`, or as subprocesses."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parents[1]


def script(path: str) -> ModuleType:
    """Return the module of the script at `path` (relative to the root), with its `main`."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Registered while it is loaded: dataclasses look their own module up.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def train(*words: str, cwd: Path, timeout: float = 300, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run `python train.py ...` in the folder `cwd`."""
    command = [sys.executable, str(ROOT / "train.py"), *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False, **options)
