"""Figures of the text of the source: what is documented, which parameters are named, which names are too general.

`python tests/words.py [folder ...]` prints one row a folder.
"""

import ast
import functools
import io
import re
import statistics
import sys
import tokenize
from pathlib import Path
from typing import NamedTuple

from commands import ROOT

# Names that do not say what they hold.
VAGUE = {"found", "given", "wanted", "seen", "told", "asked", "own", "others", "behind", "held", "said"}
FOLDERS = ("muscle_torch", "envs", "models", "tools", "train.py")
Function = ast.FunctionDef | ast.AsyncFunctionDef


class Figures(NamedTuple):
    """Counts of one folder; the shares are in percent."""

    files: int
    lines: int
    functions: int
    median_function: float  # lines
    longest_function: int
    comments: float  # share of the lines
    docstrings: float  # share of the lines
    documented: float  # public modules, classes and functions with a docstring
    named: float  # parameters of public functions with three or more that stand in the docstring
    sections: int  # docstrings with Args, Returns or Raises
    annotated: float  # parameters with a type
    undocumented: tuple[str, ...]
    unnamed: tuple[str, ...]
    vague: tuple[str, ...]


def figures(paths: list[Path]) -> Figures:
    """Measure source files as one folder."""
    lines = comments = doc_lines = sections = 0
    lengths: list[int] = []
    public: list[tuple[str, bool]] = []
    parameters: list[tuple[str, bool]] = []
    annotated: list[bool] = []
    vague: list[str] = []
    for path in paths:
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        lines += len(text.splitlines())
        tokens = tokenize.generate_tokens(io.StringIO(text).readline)
        comments += sum(token.type == tokenize.COMMENT for token in tokens)
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | Function):
                doc_lines += _docstring_lines(node)
                sections += bool(re.search(r"^\s*(Args|Returns|Raises):$", ast.get_docstring(node) or "", re.M))
            if isinstance(node, Function):
                lengths.append((node.end_lineno or node.lineno) - node.lineno + 1)
                annotated += [argument.annotation is not None for argument in _arguments(node)]
        place = path.relative_to(ROOT).as_posix()
        vague += [f"{place}:{name}" for name in sorted(_names(tree) & VAGUE)]
        for qualified, node in _public(tree, place):
            docstring = ast.get_docstring(node) or ""
            inherited = not docstring and _documented_in_a_base(qualified)
            public.append((qualified, bool(docstring) or inherited))
            if isinstance(node, Function) and not inherited and len(_arguments(node)) >= 3:
                parameters += [
                    (f"{qualified}({argument.arg})", re.search(rf"\b{argument.arg}\b", docstring) is not None)
                    for argument in _arguments(node)
                ]
    return Figures(
        files=len(paths),
        lines=lines,
        functions=len(lengths),
        median_function=statistics.median(lengths or [0]),
        longest_function=max(lengths, default=0),
        comments=100 * comments / max(lines, 1),
        docstrings=100 * doc_lines / max(lines, 1),
        documented=_share([yes for _, yes in public]),
        named=_share([yes for _, yes in parameters]),
        sections=sections,
        annotated=_share(annotated),
        undocumented=tuple(name for name, yes in public if not yes),
        unnamed=tuple(name for name, yes in parameters if not yes),
        vague=tuple(vague),
    )


def sources(folder: str) -> list[Path]:
    """Return the Python files of a folder of the repository, or the file of that name."""
    path = ROOT / folder
    return [path] if path.is_file() else sorted(path.rglob("*.py"))


def _share(values: list[bool]) -> float:
    return 100 * sum(values) / len(values) if values else 100.0


def _docstring_lines(node: ast.Module | ast.ClassDef | Function) -> int:
    if ast.get_docstring(node) is None:
        return 0
    first = node.body[0]
    return (first.end_lineno or first.lineno) - first.lineno + 1


def _arguments(node: Function) -> list[ast.arg]:
    """Return the parameters of a function without self and cls."""
    every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return [argument for argument in every if argument.arg not in ("self", "cls")]


def _names(tree: ast.AST) -> set[str]:
    """Return every name that the module assigns, defines or takes as a parameter."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, Function | ast.ClassDef):
            names.add(node.name.strip("_"))
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr.strip("_"))
    return names


@functools.cache
def _classes() -> dict[str, tuple[set[str], set[str]]]:
    """Return the bases and the documented methods of every class of the repository, by class name."""
    classes: dict[str, tuple[set[str], set[str]]] = {}
    for folder in FOLDERS:
        for path in sources(folder):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef):
                    bases = {ast.unparse(base).split("[")[0].split(".")[-1] for base in node.bases}
                    methods = {
                        item.name for item in node.body if isinstance(item, Function) and ast.get_docstring(item)
                    }
                    known = classes.setdefault(node.name, (set(), set()))
                    known[0].update(bases)
                    known[1].update(methods)
    return classes


def _documented_in_a_base(qualified: str) -> bool:
    """Return whether a base class of the repository documents the method `path:Class:method`."""
    parts = qualified.split(":")
    if len(parts) < 3:
        return False
    classes, pending, visited = _classes(), [parts[-2]], set()
    while pending:
        name = pending.pop()
        if name in visited or name not in classes:
            continue
        visited.add(name)
        bases, methods = classes[name]
        if parts[-1] in methods and name != parts[-2]:
            return True
        pending += bases
    return False


def _public(tree: ast.Module, place: str) -> list[tuple[str, ast.Module | ast.ClassDef | Function]]:
    """Return (name, node) of the module and its public classes, functions and methods."""
    nodes: list[tuple[str, ast.Module | ast.ClassDef | Function]] = [(place, tree)]

    def visit(parent: ast.Module | ast.ClassDef, prefix: str) -> None:
        for node in parent.body:
            if isinstance(node, ast.ClassDef | Function) and not node.name.startswith("_"):
                nodes.append((f"{prefix}:{node.name}", node))
                if isinstance(node, ast.ClassDef):
                    visit(node, f"{prefix}:{node.name}")

    visit(tree, place)
    return nodes


def main() -> None:
    folders = sys.argv[1:] or [
        *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "muscle_torch").iterdir() if path.is_dir()),
        *("muscle_torch/errors.py", "muscle_torch/rotations.py", "envs", "models", "tools", "train.py", "tests"),
    ]
    shown = [name for name in Figures._fields if name not in ("undocumented", "unnamed", "vague")]
    print(f"{'':28s}" + "".join(f"{name.replace('_function', '')[:11]:>12s}" for name in shown) + f"{'vague':>12s}")
    for folder in folders:
        row = figures(sources(folder))
        if row.files:
            cells = "".join(f"{getattr(row, name):12.4g}" for name in shown)
            print(f"{folder:28s}{cells}{len(row.vague):12d}")


if __name__ == "__main__":
    main()
