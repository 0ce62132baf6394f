"""What the terms read: the body after a control step and the last action, read from the physics when a term asks."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

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
    """One control step of W environments. Valid until the physics moves on: nothing here is kept.

    A goal extends it by its own quantities: a reference, a target.
    """

    body: ModelIndices
    read: Callable[[str], Tensor]  # physics field -> (W, ...), rows as in `ModelIndices.rows`
    action: Tensor  # commands of the actuators, not clipped; 0 after a reset, (W, commands)
    previous_action: Tensor  # those of the control step before, (W, commands)
    previous_qvel: Tensor | None = None  # before this step, (W, nv); kept only for penalties that need it
    quantities: tuple[str, ...] = ()  # muscle quantities shown to the policy: keys of MUSCLE_FIELDS

    @cached_property
    def qpos(self) -> Tensor:
        """(W, nq)."""
        return self.read("qpos")

    @cached_property
    def qvel(self) -> Tensor:
        """(W, nv)."""
        return self.read("qvel")

    @cached_property
    def site_pos(self) -> Tensor:
        """World position of the tracked sites, anchor first [m], (W, S, 3)."""
        return self.read("site_xpos")

    @cached_property
    def rpos(self) -> Tensor:
        """Position of the sites relative to the anchor, world axes [m], (W, S-1, 3)."""
        # Not of `_relative`: many tasks look at positions alone, and the rest takes most of the time.
        return self.site_pos[:, 1:] - self.site_pos[:, :1]

    @property
    def rrot(self) -> Tensor:
        """Rotation vector of the sites in the anchor's frame [rad], (W, S-1, 3)."""
        return self._relative[1]

    @property
    def rvel(self) -> Tensor:
        """Velocity of the sites relative to the anchor, angular [rad/s] then linear [m/s], (W, S-1, 6).

        In the frames of the published system, which mixes them: see `muscle_torch.motion.relative_sites`.
        """
        return self._relative[2]

    @cached_property
    def _relative(self) -> tuple[Tensor, Tensor, Tensor]:
        velocity = site_velocity(self.site_pos, self.read("cvel"), self.read("subtree_com"))
        mat = self.read("site_xmat").unflatten(-1, (3, 3))
        return self.body.relative_sites(self.site_pos, self.read("xquat"), mat, *velocity)
