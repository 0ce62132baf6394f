"""How many observations are processed at once, where a whole rollout would take several times its memory."""

CHUNK = 1 << 26  # numbers


def rows_at_once(size: int) -> int:
    """Return how many observations (size,) make one chunk, at least 1."""
    return max(1, CHUNK // size)
