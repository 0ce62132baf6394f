"""Simulation of W copies of one MuJoCo model, on a GPU or a CPU, with one interface (`Physics`)."""

import dataclasses
import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import mujoco
import torch

from muscle_torch.errors import InputError, nearest

from .contract import ACCELERATION_FIELDS, FIELDS, Physics

if TYPE_CHECKING:
    from .mujoco_physics import MujocoPhysics
    from .warp_physics import WarpPhysics

__all__ = [
    "ACCELERATION_FIELDS",
    "BACKENDS",
    "FIELDS",
    "MujocoPhysics",
    "Physics",
    "Resources",
    "WarpPhysics",
    "make_physics",
    "resolve_device",
]


_CLASSES = {"MujocoPhysics": "mujoco_physics", "WarpPhysics": "warp_physics"}


def __getattr__(name: str) -> Any:
    if name not in _CLASSES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_CLASSES[name]}"), name)


@dataclasses.dataclass(frozen=True)
class Resources:
    """Device, threads and buffer sizes of a backend.

    Attributes:
        device: Device of the simulation and of all tensors.
        threads: Threads of MuJoCo C; 0: all cores.
        contacts: Contact candidates per world that Warp's buffer holds; None: measured.
        constraint_rows: Constraint rows per world that Warp's buffer holds; None: measured.
    """

    device: torch.device
    threads: int = 0
    contacts: int | None = None
    constraint_rows: int | None = None


def _mujoco(model: mujoco.MjModel, num_worlds: int, resources: Resources) -> Physics:
    from .mujoco_physics import MujocoPhysics

    if resources.device.type != "cpu":
        raise InputError("backend=mujoco runs on a CPU; choose device=cpu, or backend=warp for a GPU")
    return MujocoPhysics(model, num_worlds, threads=resources.threads)


def _warp(model: mujoco.MjModel, num_worlds: int, resources: Resources) -> Physics:
    from .warp_physics import WarpPhysics  # takes 2 s to import, so only if it is used

    return WarpPhysics(model, num_worlds, resources.device, resources.contacts, resources.constraint_rows)


BACKENDS: dict[str, Callable[[mujoco.MjModel, int, Resources], Physics]] = {"mujoco": _mujoco, "warp": _warp}


def make_physics(
    model: mujoco.MjModel,
    num_worlds: int,
    device: str = "auto",
    backend: str = "auto",
    threads: int = 0,
    contacts: int | None = None,
    constraint_rows: int | None = None,
) -> Physics:
    """Make the physics of `num_worlds` copies of a model.

    Args:
        model: MuJoCo model; its options select solver, iterations and integrator.
        num_worlds: Number of worlds, W.
        device: auto, cpu, cuda or cuda:N.
        backend: mujoco (CPU, float64), warp (GPU or CPU, float32), or auto (warp on CUDA, mujoco on a CPU).
        threads: Threads of MuJoCo C; 0: all cores.
        contacts: Contact candidates per world, on average, that Warp's buffer holds; None: measured by a short
            rollout. MuJoCo C has no such buffers.
        constraint_rows: Constraint rows per world that Warp's buffer holds; None: measured.

    Returns:
        The physics; every world is at rest in the model's default pose.

    Raises:
        InputError: Device or backend is unknown or not available, or the backend cannot simulate the model.
    """
    if num_worlds < 1:
        raise InputError(f"num_envs={num_worlds}: at least one world is needed")
    if backend != "auto" and backend not in BACKENDS:
        raise InputError(f"unknown backend {backend!r}{nearest(backend, ['auto', *BACKENDS])}")
    if backend == "mujoco" and device == "auto":
        device = "cpu"
    chosen = resolve_device(device)
    if backend == "auto":
        backend = "warp" if chosen.type != "cpu" else "mujoco"
    return BACKENDS[backend](model, num_worlds, Resources(chosen, threads, contacts, constraint_rows))


def resolve_device(device: str | torch.device) -> torch.device:
    """Return the torch device of auto (CUDA if available, else the CPU), cpu, cuda or cuda:N.

    Raises:
        InputError: The device is unknown or not available.
    """
    if str(device) == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise InputError(f"unknown device {str(device)!r}; use auto, cpu, cuda or cuda:N") from None
    if chosen.type not in ("cpu", "cuda"):
        raise InputError(f"device={chosen} is not supported; use auto, cpu, cuda or cuda:N")
    if chosen.type == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise InputError(f"device={chosen} but torch {torch.__version__} has no CUDA device; use device=cpu")
    index = torch.cuda.current_device() if chosen.index is None else chosen.index
    if index >= torch.cuda.device_count():
        raise InputError(f"device={chosen} but there are only {torch.cuda.device_count()} CUDA devices; use a lower N")
    return torch.device("cuda", index)
