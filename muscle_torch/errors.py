"""The exception for bad user input: printed as a single line, exit code 2, no traceback."""


class InputError(ValueError):
    """Raised for invalid user input. The message states what is wrong, where, and what to do."""


def nearest(name: str, known: list[str] | tuple[str, ...], count: int = 3) -> str:
    """Return the end of an error message that suggests known names.

    Args:
        name: The unknown name.
        known: The valid names.
        count: Maximum number of suggestions.

    Returns:
        `", did you mean 'a' or 'b'?"`, or a list of known names (at most 20) if none is similar.
    """
    import difflib

    close = difflib.get_close_matches(name, known, n=count, cutoff=0.5)
    if close:
        return ", did you mean " + " or ".join(repr(c) for c in close) + "?"
    shown = ", ".join(sorted(known)[:20])
    return f"; known: {shown}{', ...' if len(known) > 20 else ''}"
