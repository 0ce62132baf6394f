"""What every command line program shares: `--help`, one-line errors, exit codes."""

import dataclasses
import os
import sys
import traceback
from collections.abc import Callable, Sequence

from muscle_torch.errors import InputError


def run_command(main: Callable[[Sequence[str]], int | None], help_schema: type, description: str) -> None:
    """Runs a command line program: `--help`, one-line errors with exit code 2, Ctrl-C with 130."""
    words = sys.argv[1:]
    if any(w in ("-h", "--help", "help") for w in words):
        print(f"{description}\n\nEvery option is a `key=value` word.\n\n{help_text(help_schema)}")
        return
    try:
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


def help_text(schema: type, prefix: str = "") -> str:
    """One line a key: name, default, type, unit, meaning."""
    lines = []
    for f in dataclasses.fields(schema):
        default = f.default_factory() if f.default is dataclasses.MISSING else f.default  # type: ignore[misc]
        if dataclasses.is_dataclass(default):
            lines.append(help_text(type(default), f"{prefix}{f.name}."))
            continue
        kind = getattr(f.type, "__name__", str(f.type)) if not isinstance(f.type, str) else f.type
        unit = f" [{f.metadata['unit']}]" if f.metadata.get("unit") else ""
        shown = "''" if default == "" else default
        lines.append(f"  {prefix + f.name + '=' + str(shown):44s} {f.metadata.get('help', '')}{unit} ({kind})")
    return "\n".join(lines)
