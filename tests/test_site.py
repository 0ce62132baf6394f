"""The documentation site builds without warnings, and its API reference describes the package."""

import os
import subprocess
import sys

import pytest
from commands import ROOT

pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")
pytest.importorskip("mkdocstrings_handlers.python", reason="the extra `docs` is not installed")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the built site."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def test_pages_of_the_root_and_links_between_pages_work(site):
    index = (site / "index.html").read_text(encoding="utf-8")
    assert 'href="retargeting/"' in index and 'href="docs/' not in index and (site / "bimanual.webp").is_file()
    assert (site / "contributing" / "index.html").is_file() and (site / "examples" / "pose_body.py").is_file()
    assert 'href="../examples/pose_body.py"' in (site / "python" / "index.html").read_text(encoding="utf-8")


def test_the_api_reference_has_signatures_and_arguments(site):
    page = (site / "api" / "models" / "index.html").read_text(encoding="utf-8")
    assert 'id="muscle_torch.models.build.load_policy"' in page and "Checkpoint file, run folder" in page
    assert "InputError" in page
