"""Python snippets and commands of README and docs."""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

from commands import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)
PLACEHOLDER = "x"  # stem of a file for the reader to write, as in `envs/goals/x.py`


class Command(NamedTuple):
    """One command line of a page."""

    page: str
    script: str  # path from the root, or "-m pytest" and the like
    words: tuple[str, ...]

    @property
    def id(self) -> str:
        return f"{self.page}: {self.script} {' '.join(self.words)}"[:110]


def snippets(page: Path) -> list[str]:
    """Return the Python code blocks of a page, in order."""
    return [code for language, code in _BLOCK.findall(page.read_text(encoding="utf-8")) if language == "python"]


def commands() -> list[Command]:
    """Return every `python ...` command of all pages once, in order."""
    every: list[Command] = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        blocks = [code for language, code in _BLOCK.findall(text) if language != "python"]
        prose = _BLOCK.sub("", text)
        indented = [line for line in prose.splitlines() if line.startswith("    ")]
        inline = re.findall(r"`(python [^`]*)`", prose)
        lines = "\n".join([*blocks, *indented]).replace("\\\n", " ").splitlines() + inline
        every += [_command(page.name, part) for line in lines for part in line.split("&&") if _is_command(part)]
    return list(dict.fromkeys(every))


def paths(page: Path) -> list[str]:
    """Return the paths of a page that begin at a file or folder of the root, in code spans and code blocks."""
    roots = "|".join(re.escape(path.name) for path in sorted(ROOT.iterdir()) if path.name not in (".git", "runs"))
    words = re.findall(rf"(?<![\w/.$<>-])((?:{roots})(?:/[\w.-]+)*/?)(?![\w*<{{/])", page.read_text(encoding="utf-8"))
    return sorted({word.rstrip(".") for word in words if "/" in word or "." in word})


def links(page: Path) -> list[tuple[str, str]]:
    """Return the (file, anchor) of every relative link of a page; the file is empty for links inside the page."""
    targets = re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text(encoding="utf-8"))
    return [(target.partition("#")[0], target.partition("#")[2]) for target in targets]


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", _BLOCK.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _is_command(line: str) -> bool:
    return re.match(r"\s*([A-Z] +)?(exec )?python ", line) is not None


def _command(page: str, line: str) -> Command:
    words = shlex.split(line.replace("\n", " "), comments=True)
    words = words[words.index("python") + 1 :]
    if words[0] == "-m":
        return Command(page, " ".join(words[:2]), tuple(words[2:]))
    return Command(page, words[0], tuple(words[1:]))
