"""Chunk size for processing the observations of a rollout, which would otherwise take several times its memory."""

CHUNK = 1 << 26  # scalars


def rows_at_once(size: int) -> int:
    """Return the number of observations of `size` scalars in one chunk, at least 1."""
    return max(1, CHUNK // size)
