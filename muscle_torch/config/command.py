"""Shared entry point of all command line programs: `--help`, `--list`, one-line errors, exit codes."""

import dataclasses
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any

from muscle_torch.errors import InputError

from .kinds import KINDS, Choice, row, table
from .loading import load_config
from .opengl import check_opengl
from .schema import Config
from .words import plain_words

# Keys that a first run is likely to change; `--help` lists them first.
IMPORTANT = ("task", "motion", "num_envs", "total_steps", "device", "threads", "seed", "experiment", "checkpoint")
IMPORTANT += ("resume", "preset", "capture_video", "policy", "actions", "goal", "embodiment")
HELP, LIST, VERSION = ("-h", "--help", "help"), ("--list", "list"), ("--version",)
FORMS = "Options are written `key=value`; `--key=value` and `--key value` are equivalent."


def run_command(main: Callable[[Sequence[str]], int | None], help_schema: type, description: str) -> None:
    """Run a command line program and exit.

    Handles `--help`, `--list` and `--version`. Exits with code 2 after an InputError, which is printed as one line, and
    with 130 after Ctrl-C. MUSCLE_TORCH_DEBUG=1 also prints the traceback.

    Args:
        main: The program; takes the arguments as `key=value` words and returns the exit code (None: 0).
        help_schema: Dataclass whose keys `--help` lists.
        description: First lines of the help text.
    """
    words = sys.argv[1:]
    try:
        check_opengl()
        _print_information(words, help_schema, description)
        code = main(plain_words(words)) or 0
    except _InformationPrinted:
        code = 0
    except InputError as error:
        if os.environ.get("MUSCLE_TORCH_DEBUG"):
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        code = 130
    sys.exit(code)


class _InformationPrinted(Exception):
    """Help, a list or the version was requested and has been printed."""


def _print_information(words: Sequence[str], schema: type, description: str) -> None:
    """Handle `--help`, `--list` or `--version`; raise `_InformationPrinted` if one of them was among the words."""
    rest = [word for word in words if word not in (*HELP, *LIST, *VERSION)]
    if any(word in HELP for word in words):
        config = load_config(words=rest) if schema is Config else None
        text = f"{description}\n\n{FORMS}\n\n{help_text(schema, config, first=IMPORTANT)}"
        if config is not None:
            text += f"\n\nChoices for task={config.task} (`--list` prints all):\n{_choices(config)}"
        print(text)
    elif any(word in LIST for word in words):
        print(_choices(None))
    elif any(word in VERSION for word in words):
        print(f"muscle_torch {metadata.version('muscle_torch')}")
    else:
        return
    raise _InformationPrinted


def _choices(config: Config | None) -> str:
    from .listing import choices  # imports the modules of all tables

    return choices(config)


def explain_library(description: str, command: str) -> None:
    """Print what a file in tools/ is for if it is a library that is run as a script, then exit.

    Args:
        description: The file's docstring.
        command: Path of the program that uses it.
    """
    print(f"{description.strip()}\n\nThis file is a library, not a program: `python {command} --help`.")
    sys.exit(0 if any(word in HELP for word in sys.argv[1:]) else 2)


def help_text(schema: type, values: Any = None, prefix: str = "", first: Sequence[str] = ()) -> str:
    """Return the help text: per key one line with name, value, meaning, unit and type.

    Args:
        schema: Dataclass whose fields were made with `key` and `kind`.
        values: Instance whose values and chosen options are shown; None: the defaults.
        prefix: Prefix of the key names, such as "ppo.".
        first: Keys to list first; the others follow in field order.
    """
    fields = {field.name: field for field in dataclasses.fields(schema)}
    names = [name for name in first if name in fields]
    return "\n".join(
        line
        for name in [*names, *(name for name in fields if name not in names)]
        for line in _field_lines(fields[name], values, prefix)
    )


def _field_lines(field: dataclasses.Field, values: Any, prefix: str) -> list[str]:
    if "kind" in field.metadata:
        return _kind_lines(field, getattr(values, field.name) if values is not None else None)
    value = getattr(values, field.name) if values is not None else _default(field)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [help_text(type(value), value, f"{prefix}{field.name}.")]
    type_name = field.type if isinstance(field.type, str) else getattr(field.type, "__name__", str(field.type))
    unit = f" [{field.metadata['unit']}]" if field.metadata.get("unit") else ""
    shown = "''" if value == "" else value
    meaning = field.metadata.get("help", "")
    return [f"  {prefix + field.name + '=' + str(shown):44s} {meaning}{unit} ({type_name})"]


def _kind_lines(field: dataclasses.Field, chosen: Choice | tuple[Choice, ...] | None) -> list[str]:
    """Return the line of a key that chooses rows of a table, then one line for each option of the chosen rows."""
    key, several = field.name, KINDS[field.name].several
    names = field.metadata["kind"] if several else [field.metadata["kind"]]
    if chosen is None and names == [None]:
        return [f"  {key + '=':44s} {field.metadata['help']} (one of: {', '.join(table(key))})"]
    if chosen is None:
        choices = [Choice(name, row(key, name).options()) for name in names]
    else:
        choices = list(chosen) if isinstance(chosen, tuple) else [chosen]
    shown = f"[{','.join(c.name for c in choices)}]" if several else choices[0].name
    lines = [f"  {key + '=' + shown:44s} {field.metadata['help']} (one of: {', '.join(table(key))})"]
    if several:
        lines[0] = lines[0].replace("(one of:", "(some of:")
    for choice in choices:
        prefix = f"{key}.{choice.name}." if several else f"{key}."
        options = help_text(type(choice.options), choice.options, prefix)
        lines += [options] if options else []
    return lines


def _default(field: dataclasses.Field) -> Any:
    return field.default_factory() if field.default is dataclasses.MISSING else field.default  # type: ignore[misc]
