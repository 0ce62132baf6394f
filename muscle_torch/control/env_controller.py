"""The controller `muscle_control` of imitation environments; it needs no checkpoint."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from muscle_torch.config.kinds import check_keys, structured
from muscle_torch.embodiments import Embodiment
from muscle_torch.embodiments.weakened import deficit_strength, weakened
from muscle_torch.errors import InputError
from muscle_torch.motion import MotionClip, MotionLibrary

from .controller import MuscleControl
from .options import MuscleControlOptions


class MuscleController:
    """Drives an imitation environment with `MuscleControl`, through any invertible action space.

    It implements `muscle_torch.evaluation.Controller`: `begin(env, worlds)` at the start of episodes, `act(env)` at
    every control step. An instance serves one environment, the first with which it is called.

    Attributes:
        options: Options of muscle control.
        control: The controller; None before the first `begin`.
    """

    def __init__(self, options: MuscleControlOptions | Mapping[str, Any] | None = None) -> None:
        """Store the options.

        Args:
            options: `MuscleControlOptions`, or a mapping of some of its fields; None: defaults.

        Raises:
            InputError: An option does not exist.
        """
        if not isinstance(options, MuscleControlOptions):
            values = dict(options or {})
            check_keys(MuscleControlOptions, values, "option", "control.")
            options = structured(MuscleControlOptions, [values], "control.")
        self.options: MuscleControlOptions = options
        self.control: MuscleControl | None = None

    def begin(self, env: Any, worlds: Tensor) -> None:
        """Create the controller of the environment, before the first episode.

        Args:
            env: The environment.
            worlds: Environments in which an episode starts, bool (W,).

        Raises:
            InputError: The goal has no motions, or the body has props or cannot be controlled.
        """
        if self.control is None:
            self.control = self._make(env)

    def act(self, env: Any) -> Tensor:
        """Plan a control step and return the corresponding actions, (W, actions).

        Raises:
            InputError: An action space has no inverse.
        """
        assert self.control is not None, "call begin first"
        qpos, qvel, act = (env.physics.field(name).cpu().double().numpy().copy() for name in ("qpos", "qvel", "act"))
        if self.control.body.root_size:
            qpos[:, :2] += env.goal.origin.cpu().double().numpy()  # episodes start above the world's origin
        clip, frame = env.goal.clip.cpu().numpy(), env.goal.frame.cpu().numpy()
        controls = self.control.controls(qpos, qvel, act, clip, frame)
        controls = torch.from_numpy(controls).to(env.device, torch.float32)
        return env.actions.from_controls(controls, env.physics, env.goal)

    def _make(self, env: Any) -> MuscleControl:
        library = getattr(env.goal, "library", None)
        if library is None:
            raise InputError(f"policy=muscle_control needs a motion to follow; {type(env.goal).__name__} has none")
        if env.embodiment.props:
            raise InputError(
                f"policy=muscle_control drives the body alone; leave {', '.join(env.embodiment.props)} out"
            )
        return MuscleControl(planning_body(env), library_clips(library), self.options)


def planning_body(env: Any) -> Embodiment:
    """Return the body with which to plan: with the configured deficit, and without the motors that it does not drive.

    Other changes of the muscles (`randomization`) are unknown to the controller.

    Args:
        env: The environment.
    """
    body: Embodiment = env.embodiment
    planned = {i for space in env.actions.spaces.values() if space.num_commands for i in space.actuators.tolist()}
    body = weakened(body, deficit_strength(body, env.config.deficit))
    body.model.actuator_gear[[i for i in body.motor_ids.tolist() if i not in planned]] = 0.0
    return body


def library_clips(library: MotionLibrary) -> list[MotionClip]:
    """Return the clips of a library, at the control rate."""
    body = library.embodiment
    identity = (body.control_frequency, body.joint_names, body.name, body.model_version)
    frames = [library.qpos[library.clip_rows(index)].cpu().numpy() for index in range(library.num_clips)]
    return [MotionClip(name, qpos, *identity) for name, qpos in zip(library.names, frames, strict=True)]
