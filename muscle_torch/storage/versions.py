"""Versions of installed packages."""

from importlib import metadata


def package_version(name: str) -> str | None:
    """Return the installed version of the package `name` (its name on PyPI); None if it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
