"""Versions of installed packages."""

from importlib import metadata


def package_version(name: str) -> str | None:
    """Return the installed version of a package by its PyPI name; None if it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
