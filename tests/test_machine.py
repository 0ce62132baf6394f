"""Cores and package versions of the machine."""

import os
from importlib import metadata

from muscle_torch.config import threads
from muscle_torch.storage.versions import package_version


def test_an_affinity_mask_limits_the_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5, 7}, raising=False)
    assert threads.usable_cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 12)
    assert threads.usable_cores() == 12
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert threads.usable_cores() == 1


def test_the_version_of_a_missing_package_is_none():
    assert package_version("mujoco") == metadata.version("mujoco")
    assert package_version("no-such-package-at-all") is None
