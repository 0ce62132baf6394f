"""Makes `.typing/muscle_torch`: links that show editors and pyright the package as it is installed.

`envs/`, `models/`, `cfg/` and `tools/` stand at the root but are `muscle_torch.envs` and so on. setuptools resolves
them at run time; a type checker reads folders only. Run again after adding a file to `muscle_torch/`.
"""

import os
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
INSIDE = ("envs", "models", "cfg", "tools")


def make_links(root: Path = ROOT) -> Path:
    """Renews the links below `root`; returns the folder for the type checker's search path."""
    package = root / ".typing" / "muscle_torch"
    if package.exists():
        shutil.rmtree(package)
    package.mkdir(parents=True)
    entries = [p for p in (root / "muscle_torch").iterdir() if p.name != "__pycache__"]
    for entry in [*entries, *(root / name for name in INSIDE)]:
        # Relative, so that the checkout can be moved.
        (package / entry.name).symlink_to(os.path.relpath(entry, package), target_is_directory=entry.is_dir())
    return package.parent


if __name__ == "__main__":
    if len(sys.argv) > 1:  # runs without muscle_torch, and takes no options
        print(f"{__doc__}\nUsage: python tools/typing_links.py")
        sys.exit(0 if sys.argv[1:] in (["-h"], ["--help"]) else 2)
    try:
        print(f"links made in {make_links()}")
    except OSError as error:
        print(f"error: cannot make links: {error} (on Windows, turn on developer mode)", file=sys.stderr)
        sys.exit(2)
