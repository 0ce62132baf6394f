"""Check the architecture: which part may import which (static, from the source)."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LONGEST_FILE = 450
VAGUE_NAMES = {"utils.py", "common.py", "helpers.py", "misc.py"}

# Part -> parts it may import. Leaves import only other leaves (`errors` nothing), and everyone may import them.
LEAVES: dict[str, set[str]] = {
    "errors": set(),
    "rotations": set(),
    "config": {"errors"},
    "pretrained": {"errors"},
    "storage": {"errors", "config", "pretrained"},
}
BODIES = {"embodiments", "physics"}
ALLOWED: dict[str, set[str]] = {
    "models": set(),
    "rl": set(),
    "embodiments": {"physics"},
    "physics": set(),
    "motion": BODIES,
    "control": BODIES | {"motion"},
    "biomechanics": BODIES | {"motion"},
    "retargeting": BODIES | {"motion", "biomechanics"},  # biomechanics reads the same files
    "envs": BODIES | {"motion", "control", "biomechanics"},
    "evaluation": BODIES | {"motion"},
    "rendering": BODIES | {"motion", "evaluation"},
    "published": set(),
    "cfg": set(),
    "__init__": set(),
    "__main__": set(),
}
EVERYTHING = {"tools", "train"}  # scripts: they may import all of the above


def _sources() -> dict[Path, str]:
    """Return the part of each source file."""
    files: dict[Path, str] = {ROOT / "train.py": "train"}
    for path in sorted((ROOT / "muscle_torch").rglob("*.py")):
        files[path] = path.relative_to(ROOT / "muscle_torch").parts[0].removesuffix(".py")
    for folder in ("envs", "models", "cfg", "tools"):
        files |= dict.fromkeys(sorted((ROOT / folder).rglob("*.py")), folder)
    return files


SOURCES = _sources()
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES}


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _imports(nodes: list[ast.stmt] | ast.AST) -> list[tuple[str, int, list[str]]]:
    """Return (module, relative level, names) of every import in a tree."""
    imported: list[tuple[str, int, list[str]]] = []
    for top in nodes if isinstance(nodes, list) else [nodes]:
        for node in ast.walk(top):
            if isinstance(node, ast.Import):
                imported += [(alias.name, 0, []) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                imported.append((node.module or "", node.level, [alias.name for alias in node.names]))
    return imported


def _parts(path: Path) -> set[str]:
    """Return the parts of muscle_torch that a file imports absolutely."""
    used: set[str] = set()
    for module, level, names in _imports(TREES[path]):
        if level == 0 and module == "muscle_torch":
            used |= {name for name in names if name != "__version__"}
        elif level == 0 and module.startswith("muscle_torch."):
            used.add(module.split(".")[1])
    return used


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_imports_follow_the_table(path):
    part = SOURCES[path]
    if part in EVERYTHING:
        return
    assert part in ALLOWED.keys() | LEAVES.keys(), f"{_name(path)}: give the new part {part!r} a row in ALLOWED"
    allowed = LEAVES[part] if part in LEAVES else ALLOWED[part] | LEAVES.keys()
    wrong = _parts(path) - allowed
    assert not wrong - {part}, f"{part} must not import {sorted(wrong)}"
    assert not wrong, f"{_name(path)} imports its own folder absolutely: write `from .x import y`"


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_imports_stay_inside_the_package(path):
    for module, level, _ in _imports(TREES[path]):
        root = module.split(".")[0]
        assert level > 0 or root not in {"envs", "models", "cfg", "tools"}, f"import muscle_torch.{module} instead"
        if level > 0:
            assert SOURCES[path] not in EVERYTHING, "scripts run by path: import absolutely"
            depth = len(path.parent.relative_to(ROOT).parts) - (ROOT / "muscle_torch" in path.parents)
            assert level <= depth, "relative inside a part (its sub-folders included), absolute across"


def test_no_circles_between_modules():
    """Imports at module level; those inside functions are deferred on purpose."""
    modules = {_module(path): path for path in SOURCES}
    graph = {name: _targets(path, modules) for name, path in modules.items()}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, "circle: " + " -> ".join((*trail[trail.index(name) :], name))
        if name not in done:
            for target in graph[name]:
                visit(target, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def _module(path: Path) -> str:
    relative = path.relative_to(ROOT).with_suffix("")
    parts = relative.parts if relative.parts[0] in ("muscle_torch", "train") else ("muscle_torch", *relative.parts)
    return ".".join(parts).removesuffix(".__init__")


def _targets(path: Path, modules: dict[str, Path]) -> set[str]:
    outside_functions = [node for node in TREES[path].body if not isinstance(node, ast.FunctionDef | ast.ClassDef)]
    package = _module(path) if path.name == "__init__.py" else _module(path).rpartition(".")[0]
    imported: set[str] = set()
    for module, level, names in _imports(outside_functions):
        inside = package.rsplit(".", level - 1)[0] if level > 1 else package
        base = f"{inside}.{module}".rstrip(".") if level else module
        # `from . import x` and `from muscle_torch import x` name modules, other imports name what is in one.
        inner = {f"{base}.{name}" for name in names} & modules.keys()
        own_package = level > 0 and base == package
        imported |= inner | ({base} & modules.keys() if not own_package else set())
    return imported - {_module(path)}


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_files_are_short_and_well_named(path):
    assert path.name not in VAGUE_NAMES, "name the file after what is in it"
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE


def test_nothing_is_swallowed():
    """No bare `except:` or `except Exception`, except to clean up and re-raise."""
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ExceptHandler) and not isinstance(node.body[-1], ast.Raise):
                caught = node.type.id if isinstance(node.type, ast.Name) else node.type
                assert caught not in (None, "Exception", "BaseException"), f"{_name(path)}:{node.lineno}"
