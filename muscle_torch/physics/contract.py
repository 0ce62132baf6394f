"""What every physics backend does: W copies of one MuJoCo model, stepped together, read through torch tensors."""

import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping

import mujoco
import torch
from torch import Tensor

from muscle_torch.errors import InputError, nearest

# Fields of the acceleration stage: after a step they are those of its last substep (as in plain `mj_step`),
# while everything of the position and velocity stages agrees with qpos and qvel.
ACCELERATION_FIELDS = ("actuator_force", "sensordata", "qfrc_actuator", "qacc")

FIELDS = (
    *("qpos", "qvel", "act", "ctrl", "time", "qacc_warmstart"),
    *("xpos", "xquat", "xmat", "xipos", "site_xpos", "site_xmat", "geom_xpos", "geom_xmat", "subtree_com", "cvel"),
    *("actuator_length", "actuator_velocity", "ten_length", "qfrc_bias", "qfrc_passive"),
    *ACCELERATION_FIELDS,
)


class Physics(ABC):
    """W worlds of one model. First axis W, float32 and `device` outside; state lives here, changed in place."""

    model: mujoco.MjModel
    num_worlds: int
    device: torch.device
    _announced: frozenset[str] = frozenset()

    @abstractmethod
    def reset(self, worlds: Tensor, qpos: Tensor, qvel: Tensor) -> None:
        """Puts the chosen worlds to rest in a pose and recomputes all their fields (`mj_forward`).

        worlds (W,) bool; qpos (W, nq) and qvel (W, nv), rows of the other worlds ignored. Activation, control,
        warm start and time become 0.
        """

    @abstractmethod
    def step(self, ctrl: Tensor, substeps: int) -> None:
        """One control step: `substeps` MuJoCo steps under constant ctrl (W, nu).

        Afterwards position and velocity fields agree with the new qpos and qvel; the acceleration stage
        (`ACCELERATION_FIELDS`: actuator_force, touch sensors, ...) is that of the last substep.
        """

    @abstractmethod
    def kick(self, change: Tensor) -> None:
        """Change the velocities of all worlds at once by `change` (W, nv), as impulses do.

        Position and velocity fields then agree with the new qvel; activations, controls, time and the acceleration
        stage (`ACCELERATION_FIELDS`, all sensors among them) stay as they are.
        """

    @abstractmethod
    def field(self, name: str, rows: tuple[int, ...] | None = None) -> Tensor:
        """An MjData field of all worlds: float32 (W, ...), flattened as in MuJoCo's Python (site_xmat: (W, nsite, 9)).

        `rows` selects along the field's first MjData axis (site ids, body ids, ...). Read-only; valid until the
        next step, reset or load_state: ask again after each. Raises InputError for an unknown name.
        """

    @abstractmethod
    def bad_worlds(self) -> Tensor:
        """(W,) bool: worlds that the last step made invalid or that hold non-finite numbers; reset clears them.

        Such a world's fields mean nothing: it was put back to the model's default pose, at rest.
        The other worlds are untouched. No host synchronisation on CUDA.
        """

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """Copies of all that continues exactly, in the backend's own precision."""

    @abstractmethod
    def load_state(self, state: dict[str, Tensor]) -> None:
        """Continues from what `state()` returned, to the bit. Raises InputError where it is another model's."""

    @abstractmethod
    def set_model_field(self, name: str, values: Tensor) -> None:
        """Gives an MjModel field a value per world: values (W, ...) or one (1, ...) for all, e.g. actuator_gainprm."""

    @abstractmethod
    def overflow(self) -> dict[str, int]:
        """How often fixed-size buffers ran over since the last call, by kind; empty where none did. Synchronises.

        The first time that a kind does, one line on standard error names the remedy.
        """

    @abstractmethod
    def close(self) -> None:
        """Frees threads and memory; the object cannot be used afterwards."""

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
    if name not in FIELDS:
        raise InputError(f"unknown physics field {name!r}{nearest(name, FIELDS)}")


def check_state(state: dict[str, Tensor], expected: dict[str, torch.Size]) -> None:
    """Raises InputError where a stored state is another model's, world count's or backend's."""
    found = {k: tuple(v.shape) for k, v in state.items()}
    wanted = {k: tuple(v) for k, v in expected.items()}
    for name in wanted:
        if found.get(name) != wanted[name]:
            raise InputError(
                f"stored physics state does not fit: {name} has shape {found.get(name)}, needed {wanted[name]}; "
                "resume with the same model, num_envs and backend"
            )


def model_field_shape(model: mujoco.MjModel, name: str) -> tuple[int, ...]:
    """Shape of an MjModel array. Raises InputError for an unknown name."""
    shape = getattr(getattr(model, name, None), "shape", None)
    if shape is None or name.startswith("_"):
        known = [n for n in dir(model) if hasattr(getattr(model, n, None), "shape")]
        raise InputError(f"unknown model field {name!r}{nearest(name, known)}")
    return tuple(shape)


def per_world(values: Tensor, num_worlds: int, shape: tuple[int, ...], name: str) -> Tensor:
    """`values` as (W, *shape); raises InputError where it does not broadcast."""
    if tuple(values.shape[1:]) != shape or values.shape[0] not in (1, num_worlds):
        raise InputError(f"{name} has shape {tuple(values.shape)}, needed {(num_worlds, *shape)} or {(1, *shape)}")
    return values.expand(num_worlds, *shape)
