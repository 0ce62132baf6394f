"""Muscle excitations as corrections of the feedforward."""

import torch
from torch import Tensor

from muscle_torch.embodiments import Embodiment
from muscle_torch.errors import InputError
from muscle_torch.physics import Physics

from ..goals.goal import Goal
from .action_space import ActionSpace
from .options import FeedforwardOptions


class FeedforwardActions(ActionSpace):
    """One number per muscle, added to the feedforward excitation of the current frame of the motion.

    excitation = clip(feedforward + scale * action, 0, 1), with the action clipped to [-1, 1]. An action of 0 plays the
    feedforward unchanged; `zero_action` excites no muscle. The feedforward is computed from the motion by inverse
    dynamics and static optimization (`muscle_torch.control.feedforward`), without simulation.
    """

    def __init__(self, options: FeedforwardOptions, embodiment: Embodiment, num_envs: int, device: torch.device):
        if not len(embodiment.muscle_ids):
            raise InputError(f"actions=[muscles_feedforward]: {embodiment.name} has no muscles")
        if not options.scale > 0 or options.lead < 0:
            raise InputError(
                f"actions.muscles_feedforward.scale={options.scale} lead={options.lead}: the scale must be above 0, "
                "the lead at least 0"
            )
        self._options = options
        self.names = embodiment.muscle_names
        self.actuators = torch.from_numpy(embodiment.muscle_ids).to(device)
        self.zero_action = torch.full((len(self.names),), -1.0, device=device)

    def to_actuators(self, action: Tensor) -> Tensor:
        return action

    def to_controls(self, command: Tensor, physics: Physics, goal: Goal) -> Tensor:
        """Return the corrected excitations, (W, muscles).

        Args:
            command: Corrections as actions, (W, muscles).
            physics: Not read.
            goal: Provides the feedforward.
        """
        correction = self._options.scale * command.clamp(-1.0, 1.0)
        return (goal.feedforward(self._options.lead) + correction).clamp(0.0, 1.0)

    def from_controls(self, controls: Tensor, physics: Physics, goal: Goal) -> Tensor:
        """Return the actions that lead to excitations; all of them are possible only with a scale of at least 1.

        Args:
            controls: Excitations, (W, muscles).
            physics: Not read.
            goal: Provides the feedforward.

        Returns:
            Actions, (W, muscles).
        """
        return (controls.clamp(0.0, 1.0) - goal.feedforward(self._options.lead)) / self._options.scale
