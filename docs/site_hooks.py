"""Hooks of the documentation site: README and CONTRIBUTING become pages, and links work as on GitHub."""

import importlib.util
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md"}
# Start of a link in the repository -> start on the site, for pages in docs/ and for pages at the root.
LINKS = {"](../README.md": "](index.md", "](../CONTRIBUTING.md": "](contributing.md", "](../examples/": "](examples/"}
ROOT_LINKS = {"](docs/": "](", "](README.md": "](index.md", "](CONTRIBUTING.md": "](contributing.md"}


def on_config(config):
    """Make the links through which the API reference reads the package; return the config."""
    path = ROOT / "tools" / "typing_links.py"
    spec = importlib.util.spec_from_file_location("typing_links", path)
    links = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(links)
    links.make_links()
    return config


def on_files(files, config):
    """Add the root's pages and the examples; return the files."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    for path in sorted((ROOT / "examples").glob("*.*")):
        files.append(File.generated(config, f"examples/{path.name}", abs_src_path=str(path)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Return a page's text with the site's links."""
    for start, replacement in (ROOT_LINKS if page.file.src_uri in PAGES.values() else LINKS).items():
        markdown = markdown.replace(start, replacement)
    return markdown
