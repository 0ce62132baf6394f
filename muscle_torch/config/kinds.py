"""Kinds: keys that choose a row of a table, and the options of that row.

`policy=mlp` chooses, `policy.hidden=[64,64]` sets an option of the chosen row; `actions=[muscles,motors]` chooses
several, `actions.motors.limit=0.5` sets an option of one of them. The order of the arguments does not matter. Tables
hold import paths and torch-free option classes, so nothing heavy is imported before a row is used.
"""

import dataclasses
import importlib
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_origin

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from muscle_torch.errors import InputError, nearest

NAME, NAMES = "name", "names"


class Row(NamedTuple):
    """One row of a table such as POLICIES or GOALS."""

    path: str  # "package.module:name" of the class or function
    options: type  # frozen dataclass, documented with `key`

    def load(self) -> Any:
        """Import the module and return the object that `path` names."""
        return import_object(self.path)


@dataclasses.dataclass(frozen=True)
class Choice:
    """A row of a table, chosen by name, with its options."""

    name: str
    options: Any  # instance of the row's option class


class Kind(NamedTuple):
    """Where the table of a key is defined, and what else may be chosen."""

    table: str  # "package.module:TABLE", a dict of name -> Row
    several: bool = False  # whether the key chooses a list
    user_class: str = ""  # row whose options a user-defined class ("module:Class") takes; empty: rows only
    file: str = ""  # row that the path of a file or folder chooses; empty: rows only


KINDS: dict[str, Kind] = {
    "embodiment": Kind("muscle_torch.embodiments.options:EMBODIMENTS"),
    "exoskeleton": Kind("muscle_torch.embodiments.exoskeleton_options:EXOSKELETONS"),
    "goal": Kind("muscle_torch.envs.goals.options:GOALS"),
    "actions": Kind("muscle_torch.envs.actions.options:ACTION_SPACES", several=True),
    "assistance": Kind("muscle_torch.envs.actions.assistance_options:ASSISTANCE", file="policy"),
    "policy": Kind("muscle_torch.models.options:POLICIES", user_class="mlp"),
    "exploration": Kind("muscle_torch.models.options:EXPLORATIONS"),
    "optimizer": Kind("muscle_torch.rl.options:OPTIMIZERS"),
}


class Layer(NamedTuple):
    """One layer of settings; later layers override earlier ones."""

    values: Mapping[str, Any]
    strict: bool  # from the user: an option that the chosen row does not have is an error


def import_object(path: str) -> Any:
    """Return the object named by "package.module:name" or "folder/file.py:name".

    Raises:
        InputError: The file, module or name does not exist.
    """
    where, _, name = path.rpartition(":")
    module = _module(where, path)
    if not hasattr(module, name):
        public = [n for n in vars(module) if not n.startswith("_")]
        raise InputError(f"{where} has no {name!r}{nearest(name, public)}")
    return getattr(module, name)


def table(key: str) -> dict[str, Row]:
    """Return the table of a kind: name -> row."""
    return import_object(KINDS[key].table)


def row(key: str, name: str) -> Row:
    """Return a row of a kind's table, or a row for a user-defined class.

    A user-defined class may declare its options as a dataclass in the attribute `Options`.

    Args:
        key: The kind, a key of `KINDS`.
        name: Name of the row, or "module:Class" or the path of a file if the kind allows it.

    Raises:
        InputError: The table has no such row.
    """
    rows, kind = table(key), KINDS[key]
    if name in rows:
        return rows[name]
    if kind.user_class and ":" in name:
        return Row(name, getattr(import_object(name), "Options", rows[kind.user_class].options))
    if kind.file and ("/" in name or Path(name).exists()):  # whether it exists is reported when it is loaded
        return rows[kind.file]
    hint = "; name your own class as module:Class or file.py:Class" if kind.user_class else ""
    hint = ", or an existing file or folder" if kind.file else hint
    raise InputError(f"unknown {key} {name!r}{nearest(name, list(rows))}; choose from {', '.join(rows)}{hint}")


def choose(key: str, default: str | None, layers: Sequence[Layer]) -> Choice:
    """Return the row that the last layer names, with the options merged over all layers.

    If a later layer names another row, options of earlier layers are kept as far as that row has them.

    Args:
        key: The kind.
        default: Row to use if no layer names one; None: a layer must.
        layers: Settings in order of increasing priority.

    Raises:
        InputError: The row or an option of a strict layer is unknown, or no row is named.
    """
    stated = [_single(key, layer.values[key]) for layer in layers if key in layer.values]
    name = next((str(values[NAME]) for values in reversed(stated) if NAME in values), default)
    if name is None:
        raise InputError(f"{key}.{next(iter(stated[-1]), '')}: also choose {key}=, one of {', '.join(table(key))}")
    strict = [layer.strict for layer in layers if key in layer.values]
    options = [({k: v for k, v in values.items() if k != NAME}, s) for values, s in zip(stated, strict, strict=True)]
    return Choice(name, _options(key, name, key, options))


def choose_several(key: str, default: Sequence[str], layers: Sequence[Layer]) -> tuple[Choice, ...]:
    """Return the rows that the last layer names, each with its options merged over all layers.

    Args:
        key: The kind.
        default: Rows to use if no layer names any.
        layers: Settings in order of increasing priority.

    Raises:
        InputError: The list is empty, names a row twice, or sets options of a row that is not in it.
    """
    stated = [(_list(key, layer.values[key]), layer.strict) for layer in layers if key in layer.values]
    names = [str(n) for n in next((v[NAMES] for v, _ in reversed(stated) if NAMES in v), default)]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{key}={names}: {name!r} is listed twice: remove one")
    if not names:
        raise InputError(f"{key} is empty: choose from {', '.join(table(key))}")
    for values, strict in stated:
        for name in values:
            if name != NAMES and name not in names and (strict or name not in table(key)):
                raise InputError(f"{key}.{name}: {name!r} is not in {key}={names}: add it, or remove its options")
    choices = []
    for name in names:
        options = [(values[name], strict) for values, strict in stated if name in values]
        choices.append(Choice(name, _options(key, name, f"{key}.{name}", options)))
    return tuple(choices)


def to_plain(value: Any) -> Any:
    """Return dataclasses, choices and enums as plain containers, for YAML, JSON and checkpoints."""
    if isinstance(value, Choice):
        return {NAME: value.name, **to_plain(value.options)}
    if dataclasses.is_dataclass(value):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): to_plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(inner) for inner in value]
    return str(value) if isinstance(value, str) else value


def structured(schema: type, values: Sequence[Mapping[str, Any]], prefix: str = "") -> Any:
    """Return a type-checked instance of a dataclass.

    Args:
        schema: The dataclass.
        values: Layers of values on top of its defaults; later layers override earlier ones.
        prefix: Prefix of the key names in error messages.

    Raises:
        InputError: A value has the wrong type.
    """
    values = [_with_lists(schema, one) for one in values]
    try:
        return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), *values))
    except OmegaConfBaseException as error:
        name = prefix + (getattr(error, "full_key", "") or "")
        raise InputError(f"bad value for {name!r}: {str(error).splitlines()[0]}") from None


def _with_lists(schema: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Wrap single numbers and words of list-valued keys in a list: `policy.hidden=256` becomes [256]."""
    types = {field.name: field.type for field in dataclasses.fields(schema)}
    wrapped = {}
    for name, value in values.items():
        kind = types.get(name)
        if dataclasses.is_dataclass(kind) and isinstance(kind, type) and isinstance(value, Mapping):
            value = _with_lists(kind, value)
        elif get_origin(kind) is list and isinstance(value, int | float | str) and not _is_reference(value):
            value = [value]
        wrapped[name] = value
    return wrapped


def _is_reference(value: Any) -> bool:
    return isinstance(value, str) and "${" in value


def check_keys(schema: type, values: Mapping[str, Any], what: str, prefix: str = "") -> None:
    """Check that a dataclass, including nested dataclasses, has all keys of `values`.

    Args:
        schema: The dataclass.
        values: Values to check, nested like the dataclass.
        what: What a key is called in the error message, such as "option".
        prefix: Prefix of the key names in the error message.

    Raises:
        InputError: A key is unknown, and the message suggests the nearest ones; or a dataclass has a single value.
    """
    known = {field.name: field for field in dataclasses.fields(schema)}
    for name, value in values.items():
        if name not in known:
            raise InputError(f"unknown {what} {prefix + str(name)!r}{nearest(str(name), list(known))}")
        inner = known[name].type
        if not dataclasses.is_dataclass(inner) or inner is Choice:
            continue
        if not isinstance(value, Mapping | inner):
            options = ", ".join(f"{prefix}{name}.{field.name}" for field in dataclasses.fields(inner))
            raise InputError(f"{prefix}{name}={value}: this is a group of options, set one of them: {options}")
        if isinstance(value, Mapping):
            check_keys(inner, value, what, f"{prefix}{name}.")  # type: ignore[arg-type]


def _options(key: str, name: str, prefix: str, layers: Sequence[tuple[Mapping[str, Any], bool]]) -> Any:
    schema = row(key, name).options
    names = {field.name for field in dataclasses.fields(schema)}
    kept = []
    for values, strict in layers:
        for option in values:
            if option not in names and (strict or not _rows_with(key, str(option))):
                raise _unknown_option(key, name, f"{prefix}.{option}", str(option), names)
        kept.append({option: value for option, value in values.items() if option in names})
        check_keys(schema, kept[-1], "option", f"{prefix}.")
    return structured(schema, kept, f"{prefix}.")


def _unknown_option(key: str, name: str, word: str, option: str, names: set[str]) -> InputError:
    rows = _rows_with(key, option)
    if rows:
        return InputError(f"unknown option {word!r}: {key}={name} does not have it; {', '.join(rows)} would")
    if not names:
        return InputError(f"unknown option {word!r}: {key}={name} takes no options")
    return InputError(f"unknown option {word!r} of {key}={name}{nearest(option, sorted(names))}")


def _rows_with(key: str, option: str) -> list[str]:
    """Return the names of the rows that have an option."""
    return [n for n, r in table(key).items() if option in {field.name for field in dataclasses.fields(r.options)}]


def _single(key: str, value: Any) -> dict[str, Any]:
    """Return {"name": ..., options...} for any of the accepted forms."""
    if isinstance(value, Choice):
        return to_plain(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, str):
        return {NAME: value}
    raise InputError(f"bad value for {key!r}: {value!r} is not a name; choose from {', '.join(table(key))}")


def _list(key: str, value: Any) -> dict[str, Any]:
    """Return {"names": [...], name: options} for any of the accepted forms."""
    if isinstance(value, Mapping):
        return {name: inner if name == NAMES else dict(inner or {}) for name, inner in value.items()}
    if isinstance(value, str):
        value = [value]
    parts = [_single(key, part) for part in value]
    unnamed = [part for part in parts if NAME not in part]
    if unnamed:
        raise InputError(f"bad value for {key!r}: {unnamed[0]} has no name")
    return {NAMES: [p[NAME] for p in parts], **{p[NAME]: {k: v for k, v in p.items() if k != NAME} for p in parts}}


def _module(where: str, path: str) -> Any:
    try:
        if not where.endswith(".py"):
            sys.path.insert(0, str(Path.cwd()))
            try:
                return importlib.import_module(where)
            finally:
                sys.path.pop(0)
        if not Path(where).is_file():
            raise InputError(f"file {where} of {path!r} does not exist (in {Path.cwd()})")
        spec = importlib.util.spec_from_file_location(Path(where).stem, where)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    except ModuleNotFoundError as error:
        raise InputError(f"cannot import {path!r}: {error} (write a file as path/to/file.py:Class)") from None
