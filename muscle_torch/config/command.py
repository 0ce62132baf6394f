"""What every command line program shares: `--help`, one-line errors, exit codes."""

import dataclasses
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from muscle_torch.errors import InputError

from .kinds import KINDS, Choice, row, table
from .loading import load_config
from .schema import Config


def run_command(main: Callable[[Sequence[str]], int | None], help_schema: type, description: str) -> None:
    """Run a command line program: `--help`, one-line errors with exit code 2, Ctrl-C with 130."""
    words = sys.argv[1:]
    try:
        if any(w in ("-h", "--help", "help") for w in words):
            rest = [w for w in words if w not in ("-h", "--help", "help")]
            config = load_config(words=rest) if help_schema is Config and rest else None
            print(f"{description}\n\nEvery option is a `key=value` word.\n\n{help_text(help_schema, config)}")
            return
        code = main(words) or 0
    except InputError as error:
        if os.environ.get("MUSCLE_TORCH_DEBUG"):
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        code = 130
    sys.exit(code)


def help_text(schema: type, values: Any = None, prefix: str = "") -> str:
    """Return one line a key: name, value, meaning, unit, type.

    Args:
        schema: Dataclass whose fields were made with `key` and `kind`.
        values: Instance whose values are shown, and whose chosen rows' options are listed; None: the defaults.
        prefix: What the names begin with.
    """
    lines = []
    for f in dataclasses.fields(schema):
        if "kind" in f.metadata:
            lines += _kind_lines(f, getattr(values, f.name) if values is not None else None)
            continue
        value = getattr(values, f.name) if values is not None else _default(f)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            lines.append(help_text(type(value), value, f"{prefix}{f.name}."))
            continue
        type_name = f.type if isinstance(f.type, str) else getattr(f.type, "__name__", str(f.type))
        unit = f" [{f.metadata['unit']}]" if f.metadata.get("unit") else ""
        shown = "''" if value == "" else value
        lines.append(f"  {prefix + f.name + '=' + str(shown):44s} {f.metadata.get('help', '')}{unit} ({type_name})")
    return "\n".join(lines)


def _kind_lines(field: dataclasses.Field, chosen: Choice | tuple[Choice, ...] | None) -> list[str]:
    """Return the line of a key that chooses, and one line for each option of what it chose."""
    key, several = field.name, KINDS[field.name].several
    names = field.metadata["kind"] if several else [field.metadata["kind"]]
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
