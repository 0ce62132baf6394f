"""Record an evaluation as a rollout archive (`muscle_torch.motion.rollout_archive`)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import mujoco
import numpy as np
import torch
from torch import Tensor

from muscle_torch.embodiments import Embodiment
from muscle_torch.motion.rollout_archive import Episode, RolloutArchive

from .callback import EvaluationCallback
from .trials import motions_of

BEFORE = {"qpos": "qpos", "qvel": "qvel", "activation": "act", "muscle_force": "actuator_force", "touch": "sensordata"}
PREFIX = "network/"  # of what the policy computes, among the columns
AFTER = {"excitation": "ctrl", "joint_force": "qfrc_actuator", "sensor_force": "sensordata"}


class ArchiveRecorder(EvaluationCallback):
    """Callback that records rollouts: `evaluate(env, controller, callbacks=[ArchiveRecorder(env)])`.

    Needs about 5 kB of memory per frame of the full body, plus what `activity` returns.
    """

    def __init__(self, env: Any, activity: Callable[[Tensor], Mapping[str, Tensor]] | None = None):
        """Prepare for the environment's body.

        Args:
            env: Made with `make_env(..., evaluation=True)`.
            activity: From an observation (W, D) to what the policy computes, by name, each (W, width): the method
                `activity` of what `load_policy` returns. None: nothing is stored of it.
        """
        self._activity = activity
        body: Embodiment = env.embodiment
        self._body, self._episodes = body, dict[int, Episode]()
        self._joints = torch.from_numpy(body.joint_qvel_ids)
        sensors = body.resolve("sensor", body.touch_sensors)
        touch = tuple(int(address) for address in body.model.sensor_adr[sensors])
        self._rows = body.field_rows | {"sensordata": touch}
        self._motors = tuple(body.motor_ids.tolist())
        self._steps: list[dict[str, Tensor]] = []
        self._trials: tuple[int, ...] = ()

    def on_batch_begin(self, env: Any, trials: Sequence[int]) -> None:
        self._trials, self._steps = tuple(trials), []

    def on_step_begin(self, env: Any) -> None:
        self._steps.append({name: self._read(env, field) for name, field in BEFORE.items()})
        if self._activity is not None:
            activity = self._activity(env.observation)
            count = len(self._trials)
            self._steps[-1] |= {PREFIX + name: values[:count].cpu() for name, values in activity.items()}

    def on_step_end(self, env: Any, transition: Any) -> None:
        row = {name: self._read(env, field) for name, field in AFTER.items()}
        row["joint_force"] = row["joint_force"][:, self._joints]
        if self._motors:
            force = env.physics.field("actuator_force", self._motors)[: len(self._trials)]
            row["motor_force"] = force.to("cpu", copy=True)
        row["reward"] = transition.reward[: len(self._trials)].to("cpu", copy=True)
        self._steps[-1] |= row

    def on_batch_end(self, env: Any, steps: Sequence[int]) -> Sequence[Mapping[str, float | None]]:
        columns = {name: torch.stack([step[name] for step in self._steps], dim=1) for name in self._steps[0]}
        for world, (trial, count) in enumerate(zip(self._trials, steps, strict=True)):
            rows = {name: values[world, :count].clone().numpy() for name, values in columns.items()}
            # The last row of an environment that diverged contains NaN.
            count = _finite_rows(rows)
            self._episodes[trial] = self._episode(env, trial, {name: v[:count] for name, v in rows.items()})
        return ()

    @property
    def broken(self) -> list[str]:
        """Names of the trials that diverged (NaN) in their first step, so that there is nothing to store."""
        return [episode.name for episode in self._episodes.values() if not len(episode.qpos)]

    def archive(self, motion_group: str = "", seed: int = 0) -> RolloutArchive:
        """Return all recorded episodes in the order of the trials, without the `broken` ones.

        Args:
            motion_group: Name of the set of motions.
            seed: Seed of the rollouts, by which conditions are paired.
        """
        body = self._body
        model, joints = body.model, body.scalar_joint_ids
        slide = model.jnt_type[joints] == mujoco.mjtJoint.mjJNT_SLIDE
        return RolloutArchive(
            **body.identity,
            dt=1.0 / body.control_frequency,
            joint_names=body.joint_names,
            muscle_names=body.muscle_names,
            force_joint_names=tuple(body.joint_names[j] for j in joints),
            force_joint_units=tuple("N" if linear else "Nm" for linear in slide),
            sensor_names=body.touch_sensors,
            mass=float(model.body_mass[: body.sizes.bodies].sum()),
            motion_group=motion_group,
            episodes=tuple(e for _, e in sorted(self._episodes.items()) if len(e.qpos)),
            motor_names=body.motor_names,
            seed=seed,
        )

    def _read(self, env: Any, field: str) -> Tensor:
        return env.physics.field(field, self._rows.get(field))[: len(self._trials)].to("cpu", copy=True)

    def _episode(self, env: Any, trial: int, rows: dict[str, np.ndarray]) -> Episode:
        library, reference = motions_of(env), np.zeros((0, rows["qpos"].shape[1]), np.float32)
        if library is not None:
            reference = library.qpos[library.clip_rows(trial)].cpu().numpy()
            if self._body.has_root:  # the environment moves the start of each clip to the origin
                rows["qpos"][:, :2] += reference[0, :2]
        steps = np.arange(1, len(rows["qpos"]) + 1)
        name = env.goal.trials.names[trial]
        network = {key.removeprefix(PREFIX): rows.pop(key) for key in list(rows) if key.startswith(PREFIX)}
        return Episode(trial, name, reference, reference_step=steps, network=network, **rows)


def _finite_rows(rows: Mapping[str, np.ndarray]) -> int:
    """Return the number of leading rows that contain only finite numbers."""
    finite = np.all([np.isfinite(v).reshape(len(v), -1).all(axis=1) for v in rows.values()], axis=0)
    return len(finite) if finite.all() else int(np.argmin(finite))
