"""Create `.typing/muscle_torch`: links that show editors and pyright the package as it is installed.

`envs/`, `models/`, `cfg/` and `tools/` are at the root but are imported as `muscle_torch.envs` and so on. setuptools
resolves them at run time, while a type checker reads only folders. Run again after adding a file to `muscle_torch/`.
"""

import os
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
INSIDE = ("envs", "models", "cfg", "tools")


def make_links(root: Path = ROOT) -> Path:
    """Renew the links below `root`; return the folder for the type checker's search path."""
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
    if len(sys.argv) > 1:  # runs without muscle_torch and has no options
        print(f"{__doc__}\nUsage: python tools/typing_links.py")
        sys.exit(0 if sys.argv[1:] in (["-h"], ["--help"]) else 2)
    try:
        print(f"links created in {make_links()}")
    except OSError as error:
        print(f"error: cannot create links: {error} (on Windows, turn on developer mode)", file=sys.stderr)
        sys.exit(2)
