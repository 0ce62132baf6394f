"""The state that terms read: the body after a control step and the last action, read lazily from the physics."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from muscle_torch.biomechanics.metabolic import metabolic_proxy
from muscle_torch.motion import site_velocity

from .model_indices import ModelIndices

MUSCLE_FIELDS = {
    "length": "actuator_length",
    "velocity": "actuator_velocity",
    "force": "actuator_force",
    "excitation": "ctrl",
    "activation": "act",
}


@dataclass(eq=False, kw_only=True)
class State:
    """State of W environments after a control step. Valid until the next physics step.

    Goals extend it by their quantities, such as a reference or a target.

    Attributes:
        body: Indices of the body.
        read: Returns a physics field, (W, ...), with the rows in `ModelIndices.rows`.
        action: Unclipped commands of this control step; 0 after a reset, (W, commands).
        previous_action: Commands of the previous control step, (W, commands).
        previous_qvel: Velocity before this control step, (W, nv); stored only if a penalty needs it.
        quantities: Observed muscle quantities, keys of `MUSCLE_FIELDS`.
        strength: Strength of each muscle over that of the model, (W, muscles).
        device_torque: Torque of each motor of the exoskeleton [N m], (W, motors); None without one.
    """

    body: ModelIndices
    read: Callable[[str], Tensor]
    action: Tensor
    previous_action: Tensor
    previous_qvel: Tensor | None = None
    quantities: tuple[str, ...] = ()
    strength: Tensor | None = None
    device_torque: Tensor | None = None

    @cached_property
    def qpos(self) -> Tensor:
        """Pose of the body, (W, nq)."""
        return self.read("qpos")

    @cached_property
    def qvel(self) -> Tensor:
        """Velocity of the body, (W, nv)."""
        return self.read("qvel")

    @cached_property
    def site_pos(self) -> Tensor:
        """World positions of the tracked sites, anchor first [m], (W, S, 3)."""
        return self.read("site_xpos")

    @cached_property
    def rpos(self) -> Tensor:
        """Positions of the sites relative to the anchor, world axes [m], (W, S-1, 3)."""
        # Not from `_relative`: many tasks read positions only, and the rest takes most of the time.
        return self.site_pos[:, 1:] - self.site_pos[:, :1]

    @property
    def rrot(self) -> Tensor:
        """Rotation vectors of the sites in the anchor's frame [rad], (W, S-1, 3)."""
        return self._relative[1]

    @property
    def rvel(self) -> Tensor:
        """Velocities of the sites relative to the anchor, angular [rad/s] then linear [m/s], (W, S-1, 6).

        Frames are mixed as in the published system; see `muscle_torch.motion.relative_sites`.
        """
        return self._relative[2]

    @cached_property
    def metabolic(self) -> Tensor:
        """Metabolic proxy of all muscles over their mass, (W,): 0 at rest, 1 if all are fully active and still."""
        force, velocity, sizes = self.read("actuator_force"), self.read("actuator_velocity"), self.body.muscle_sizes
        proxy = metabolic_proxy(self.read("act"), force, velocity, sizes)
        return proxy.sum(dim=1) / sizes.mass.sum().clamp(min=1e-12)

    @cached_property
    def _relative(self) -> tuple[Tensor, Tensor, Tensor]:
        velocity = site_velocity(self.site_pos, self.read("cvel"), self.read("subtree_com"))
        mat = self.read("site_xmat").unflatten(-1, (3, 3))
        return self.body.relative_sites(self.site_pos, self.read("xquat"), mat, *velocity)
