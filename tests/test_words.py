"""Words of the source: documented public names, parameters named in docstrings, names that say what they hold."""

import pytest
from commands import ROOT
from words import figures, sources

DOCUMENTED, NAMED = 95, 70  # percent
FOLDERS = [
    *(f"muscle_torch/{path.parent.name}" for path in sorted((ROOT / "muscle_torch").glob("*/__init__.py"))),
    *("muscle_torch/errors.py", "muscle_torch/rotations.py", "models", "envs", "train.py", "tools/benchmarking"),
    *(f"tools/{path.name}" for path in sorted((ROOT / "tools").glob("[a-z]*.py"))),
]


@pytest.mark.parametrize("folder", FOLDERS)
def test_public_names_are_documented(folder: str):
    row = figures(sources(folder))
    assert row.documented >= DOCUMENTED, f"add a docstring to {', '.join(row.undocumented)}"


@pytest.mark.parametrize("folder", FOLDERS)
def test_docstrings_name_the_parameters(folder: str):
    """Of public functions with three or more."""
    row = figures(sources(folder))
    assert row.named >= NAMED, f"describe the parameters {', '.join(row.unnamed)}"


@pytest.mark.parametrize("folder", FOLDERS)
def test_names_say_what_they_hold(folder: str):
    row = figures(sources(folder))
    assert not row.vague, f"choose a specific name for {', '.join(row.vague)}"
