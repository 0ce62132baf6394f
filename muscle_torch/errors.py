"""The one exception a user is meant to read: printed as a single line, exit code 2, no traceback."""


class InputError(ValueError):
    """Something the user gave is wrong. The message says what, where, and what to do."""


def nearest(name: str, known: list[str] | tuple[str, ...], count: int = 3) -> str:
    """`", did you mean 'a' or 'b'?"` from the known names most like `name`; the whole list where none is near."""
    import difflib

    close = difflib.get_close_matches(name, known, n=count, cutoff=0.5)
    if close:
        return ", did you mean " + " or ".join(repr(c) for c in close) + "?"
    shown = ", ".join(sorted(known)[:20])
    return f"; known: {shown}{', ...' if len(known) > 20 else ''}"
