"""Trained policies that come with the package: `checkpoint=pretrained:bimanual`.

Each has a folder with `policy.pt`, a checkpoint without the state of the optimizer, and `metrics.json`, its evaluation.
"""

from pathlib import Path
from typing import NamedTuple

from muscle_torch.errors import InputError, nearest

PREFIX = "pretrained:"


class Pretrained(NamedTuple):
    """Files of a policy, relative to this folder."""

    checkpoint: str
    metrics: str


# Name -> files. docs/pretrained.md lists how each was trained.
PRETRAINED: dict[str, Pretrained] = {
    "bimanual": Pretrained("bimanual/policy.pt", "bimanual/metrics.json"),
}


def pretrained_checkpoint(name: str) -> Path:
    """Return the checkpoint file of a pretrained policy. Raises InputError if there is no policy of that name."""
    return _file(name, "checkpoint")


def pretrained_metrics(name: str) -> Path:
    """Return the evaluation of a pretrained policy, a JSON file. Raises InputError if there is no such policy."""
    return _file(name, "metrics")


def _file(name: str, kind: str) -> Path:
    if name not in PRETRAINED:
        raise InputError(f"no pretrained policy {name!r}{nearest(name, list(PRETRAINED))}")
    return Path(__file__).parent / getattr(PRETRAINED[name], kind)
