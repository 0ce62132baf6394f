"""Command line arguments: `key=value`, `--key=value` and `--key value` are equivalent."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from .kinds import KINDS, NAME, NAMES

_COLON = re.compile(r"([{,]\s*[\w.-]+):(?=[^\s:/\\])")  # after a key, and without the space that YAML requires


def plain_words(words: Sequence[str]) -> list[str]:
    """Return the arguments as `key=value`. A `--key` without a value becomes `key=true`."""
    plain: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--") or len(word) == 2:
            plain.append(word)
            continue
        name, equals, value = word[2:].partition("=")
        if not equals:
            value = rest.pop(0) if rest and not _is_option(rest[0]) else "true"
        plain.append(f"{name.replace('-', '_')}={value}")
    return plain


def spaced(word: str) -> str:
    """Return a word `key={name:value}` with the space after each colon that YAML requires."""
    name, equals, value = word.partition("=")
    return name + equals + (_COLON.sub(r"\1: ", value) if value.startswith("{") else value)


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return keyword arguments with dotted keys as nested dicts: `{"env.horizon": 5}` -> `{"env": {"horizon": 5}}`.

    A dotted key sets one value and leaves its siblings unchanged.
    """
    result = {name: value for name, value in values.items() if "." not in name}
    for dotted, value in values.items():
        if "." not in dotted:
            continue
        first, *path = dotted.split(".")
        result[first] = inner = _opened(first, result.get(first))
        for name in path[:-1]:
            below = inner.get(name)
            inner[name] = dict(below) if isinstance(below, Mapping) else {}
            inner = inner[name]
        inner[path[-1]] = value
    return result


def _is_option(word: str) -> bool:
    name, equals, _ = word.partition("=")
    return word.startswith("--") or bool(equals and name.replace(".", "").isidentifier())


def _opened(name: str, value: Any) -> dict[str, Any]:
    """Return a value as a dict to which options can be added; a choice keeps its name."""
    if isinstance(value, Mapping):
        return dict(value)
    if name in KINDS and value is not None:
        return {NAMES if KINDS[name].several else NAME: value}
    return {}
