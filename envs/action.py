"""From a policy's action to the control of every muscle."""

import numpy as np
import torch
from torch import Tensor

from muscle_torch.config import EnvConfig
from muscle_torch.embodiments import Embodiment, similarity
from muscle_torch.errors import InputError

from .actions.muscles import excitation, zero_action


class ActionMap:
    """`to_muscles` (what terms and penalties see), then `to_controls`.

    With `env.synergies` = s > 0 an action is made of synergies: one number drives all muscles that pull alike, its
    opposite their antagonists. muscles = M action with M M^T = (1 - s) I + s C, where C holds the cosines between the
    muscles' moment arms: independent noise of standard deviation 1 on the actions is noise of standard deviation 1 on
    every muscle, correlated by C. The columns of M are ordered by how much they move. M is invertible: every muscle
    can still be driven alone. `env.tone` is added to every muscle's action.
    """

    def __init__(self, config: EnvConfig, embodiment: Embodiment, device: torch.device):
        if not 0 <= config.synergies < 1:
            raise InputError(f"env.synergies={config.synergies}: choose a share from 0 to below 1")
        self.mapping, self.tone = config.action_mapping, config.tone
        self.names = embodiment.muscle_names
        self._num_actuators = embodiment.model.nu
        # None: every actuator is a muscle. Others, such as motors, get control 0.
        self._muscles: Tensor | None = None
        if len(self.names) < self._num_actuators:
            self._muscles = torch.from_numpy(embodiment.muscle_ids).to(device)
        self._range = _control_range(embodiment, device)
        self._mixing: Tensor | None = None
        none = zero_action(config.action_mapping, len(self.names)) - config.tone
        if config.synergies:
            mixing = _mixing(similarity(embodiment), config.synergies)
            self._mixing = torch.from_numpy(mixing).float().to(device)
            none = torch.from_numpy(np.linalg.solve(mixing, none.double().numpy())).float()
            self.names = tuple(f"synergy_{k}" for k in range(len(self.names)))
        self.zero_action = none.to(device)  # it excites no muscle, (muscles,)

    def to_muscles(self, action: Tensor) -> Tensor:
        """(W, muscles) -> the action of each muscle, before it is clipped to [-1, 1], (W, muscles)."""
        if self._mixing is not None:
            action = action @ self._mixing.T
        return action + self.tone if self.tone else action

    def to_controls(self, muscles: Tensor) -> Tensor:
        """(W, muscles) -> controls of the physics (W, nu)."""
        controls = excitation(muscles, self.mapping, *self._range)
        if self._muscles is None:
            return controls
        whole = controls.new_zeros(len(controls), self._num_actuators)
        return whole.index_copy_(1, self._muscles, controls)


def _mixing(cosines: np.ndarray, share: float) -> np.ndarray:
    """A root M (muscles, muscles) of (1 - share) I + share C, its columns by falling weight."""
    weights, directions = np.linalg.eigh((1 - share) * np.eye(len(cosines)) + share * cosines)
    # A direction's sign is arbitrary: the one that excites more than it relaxes, so that every machine takes the same.
    signs = np.where(directions.sum(axis=0) < 0, -1.0, 1.0)
    return (directions * signs * np.sqrt(weights))[:, ::-1].copy()


def _control_range(embodiment: Embodiment, device: torch.device) -> tuple[float | Tensor, float | Tensor]:
    """Lowest and highest control: numbers where all muscles share them, else (muscles,)."""
    limits = torch.from_numpy(embodiment.model.actuator_ctrlrange[embodiment.muscle_ids]).float()
    if (limits == limits[0]).all():
        return float(limits[0, 0]), float(limits[0, 1])
    low, high = limits.to(device).unbind(1)
    return low, high
