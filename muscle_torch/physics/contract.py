"""Interface of the physics backends: W copies of one MuJoCo model, stepped together and read as torch tensors."""

import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping

import mujoco
import torch
from torch import Tensor

from muscle_torch.errors import InputError, nearest

# Fields of the acceleration stage. After a step they hold the values of its last substep (as in plain `mj_step`),
# whereas all fields of the position and velocity stages agree with qpos and qvel.
ACCELERATION_FIELDS = ("actuator_force", "sensordata", "qfrc_actuator", "qacc")

FIELDS = (
    *("qpos", "qvel", "act", "ctrl", "time", "qacc_warmstart"),
    *("xpos", "xquat", "xmat", "xipos", "site_xpos", "site_xmat", "geom_xpos", "geom_xmat", "subtree_com", "cvel"),
    *("actuator_length", "actuator_velocity", "ten_length", "qfrc_bias", "qfrc_passive"),
    *ACCELERATION_FIELDS,
)


class Physics(ABC):
    """W worlds of one model, stepped together.

    All tensors are on `device`, have first axis W and, unless stated otherwise, type float32. Units are MuJoCo's (SI),
    positions and orientations are in the world frame, quaternions are (w, x, y, z). The methods change the state in
    place.

    Attributes:
        model: The model of all worlds. Set its arrays for single worlds by `set_model_field`.
        num_worlds: W.
        device: Device of all tensors.
    """

    model: mujoco.MjModel
    num_worlds: int
    device: torch.device
    _announced: frozenset[str] = frozenset()

    @abstractmethod
    def reset(self, worlds: Tensor, qpos: Tensor, qvel: Tensor) -> None:
        """Set pose and velocity of some worlds and compute all their fields (`mj_forward`).

        Activations, controls, warm start and time of these worlds become 0; the other worlds are unchanged.

        Args:
            worlds: Which worlds to reset, bool (W,).
            qpos: Generalized positions (W, nq); rows of other worlds are ignored.
            qvel: Generalized velocities (W, nv); rows of other worlds are ignored.
        """

    @abstractmethod
    def step(self, ctrl: Tensor, substeps: int) -> None:
        """Advance all worlds by one control step: `substeps` MuJoCo steps under constant controls.

        Afterwards the fields of the position and velocity stages agree with the new qpos and qvel. Those of the
        acceleration stage (`ACCELERATION_FIELDS`) are those of the last substep.

        Args:
            ctrl: Controls (W, nu).
            substeps: Number of MuJoCo steps.
        """

    @abstractmethod
    def kick(self, change: Tensor) -> None:
        """Change the velocities of all worlds at once, as impulses do.

        The fields of the position and velocity stages then agree with the new qvel. Activations, controls, time and
        the acceleration stage (`ACCELERATION_FIELDS`, which include all sensors) are unchanged.

        Args:
            change: Added to qvel, (W, nv).
        """

    @abstractmethod
    def field(self, name: str, rows: tuple[int, ...] | None = None) -> Tensor:
        """Return an MjData field of all worlds.

        Args:
            name: One of FIELDS.
            rows: Indices along the field's first MjData axis (site ids, body ids); None: all.

        Returns:
            Float32 (W, ...), flattened as in MuJoCo's Python bindings (site_xmat: (W, nsite, 9)). Read-only, and valid
            until the next `reset`, `step`, `kick` or `load_state`; call `field` again after each of these.

        Raises:
            InputError: The name is unknown.
        """

    @abstractmethod
    def bad_worlds(self) -> Tensor:
        """Return which worlds diverged in the last step or hold non-finite numbers, bool (W,); a reset clears them.

        Such a world was put to rest in the model's default pose, so its fields have no meaning; the other worlds are
        unaffected. No host synchronization on CUDA.
        """

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """Return copies of all that exact continuation needs, in the backend's own precision."""

    @abstractmethod
    def load_state(self, state: dict[str, Tensor]) -> None:
        """Continue from a stored state, to the bit.

        Args:
            state: What `state()` returned.

        Raises:
            InputError: The state has the shapes of another model, number of worlds or backend.
        """

    @abstractmethod
    def set_model_field(self, name: str, values: Tensor) -> None:
        """Set an MjModel array for each world.

        Args:
            name: MjModel's name of the array, such as actuator_gainprm.
            values: (W, ...), or (1, ...) for the same values in all worlds.

        Raises:
            InputError: The name is unknown, the shape does not fit, or the backend has one array for all worlds.
        """

    @abstractmethod
    def overflow(self) -> dict[str, int]:
        """Return how often each kind of fixed-size buffer overflowed since the last call; empty if none did.

        Synchronizes the host. At the first overflow of a kind, prints one line with the remedy to standard error.
        """

    @abstractmethod
    def close(self) -> None:
        """Release threads and memory; the object cannot be used afterwards."""

    def _announce(self, counts: Mapping[str, int], remedies: Mapping[str, str]) -> None:
        """Print a line for each kind of overflow that has not been announced yet."""
        for kind in counts.keys() - self._announced:
            print(
                f"warning: the physics had no room for all {kind} in {counts[kind]} worlds and left some out: "
                f"{remedies[kind]}",
                file=sys.stderr,
            )
        self._announced |= counts.keys()


def check_field(name: str) -> None:
    """Raise InputError unless `name` is one of FIELDS."""
    if name not in FIELDS:
        raise InputError(f"unknown physics field {name!r}{nearest(name, FIELDS)}")


def check_state(state: dict[str, Tensor], expected: dict[str, torch.Size]) -> None:
    """Raise InputError if a stored state belongs to another model, number of worlds or backend.

    Args:
        state: Stored tensors by name.
        expected: Their shapes.
    """
    stored = {name: tuple(tensor.shape) for name, tensor in state.items()}
    for name, shape in expected.items():
        if stored.get(name) != tuple(shape):
            raise InputError(
                f"stored physics state does not fit: {name} has shape {stored.get(name)}, needed {tuple(shape)}; "
                "resume with the same model, num_envs and backend"
            )


def model_field_shape(model: mujoco.MjModel, name: str) -> tuple[int, ...]:
    """Return the shape of an MjModel array. Raises InputError if the name is unknown."""
    shape = getattr(getattr(model, name, None), "shape", None)
    if shape is None or name.startswith("_"):
        known = [n for n in dir(model) if hasattr(getattr(model, n, None), "shape")]
        raise InputError(f"unknown model field {name!r}{nearest(name, known)}")
    return tuple(shape)


def per_world(values: Tensor, num_worlds: int, shape: tuple[int, ...], name: str) -> Tensor:
    """Broadcast values of a model array to all worlds.

    Args:
        values: (W, *shape) or (1, *shape).
        num_worlds: W.
        shape: Shape of the array in one world.
        name: Name of the array, for the error message.

    Raises:
        InputError: The values do not broadcast to (W, *shape).
    """
    if tuple(values.shape[1:]) != shape or values.shape[0] not in (1, num_worlds):
        raise InputError(f"{name} has shape {tuple(values.shape)}, needed {(num_worlds, *shape)} or {(1, *shape)}")
    return values.expand(num_worlds, *shape)
