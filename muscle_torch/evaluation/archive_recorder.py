"""Record an evaluation as a rollout archive (`muscle_torch.motion.rollout_archive`)."""

from collections.abc import Mapping, Sequence
from typing import Any

import mujoco
import numpy as np
import torch
from torch import Tensor

from muscle_torch.embodiments import Embodiment
from muscle_torch.motion.rollout_archive import Episode, RolloutArchive

BEFORE = {"qpos": "qpos", "qvel": "qvel", "activation": "act", "muscle_force": "actuator_force", "touch": "sensordata"}
AFTER = {"excitation": "ctrl", "joint_force": "qfrc_actuator", "sensor_force": "sensordata"}


class ArchiveRecorder:
    """Watches an evaluation (`evaluate(env, act, watchers=[ArchiveRecorder(env)])`) and keeps what an archive holds.

    About 5 kB a frame of the full body stay in memory.
    """

    def __init__(self, env: Any):
        body: Embodiment = env.embodiment
        self._body, self._episodes = body, dict[int, Episode]()
        self._joints = torch.from_numpy(body.joint_qvel_ids)
        sensors = body.resolve("sensor", body.touch_sensors)
        touch = tuple(int(address) for address in body.model.sensor_adr[sensors])
        self._rows = body.field_rows | {"sensordata": touch}
        self._steps: list[dict[str, Tensor]] = []
        self._clips: tuple[int, ...] = ()

    def begin(self, env: Any, clips: Sequence[int]) -> None:
        self._clips, self._steps = tuple(clips), []

    def before(self, env: Any) -> None:
        self._steps.append({name: self._read(env, field) for name, field in BEFORE.items()})

    def after(self, env: Any, step: Any) -> None:
        row = {name: self._read(env, field) for name, field in AFTER.items()}
        row["joint_force"] = row["joint_force"][:, self._joints]
        row["reward"] = step.reward[: len(self._clips)].to("cpu", copy=True)
        self._steps[-1] |= row

    def end(self, env: Any, steps: Sequence[int]) -> Sequence[Mapping[str, float | None]]:
        columns = {name: torch.stack([step[name] for step in self._steps], dim=1) for name in self._steps[0]}
        for world, (clip, count) in enumerate(zip(self._clips, steps, strict=True)):
            rows = {name: values[world, :count].clone().numpy() for name, values in columns.items()}
            # What a world that broke last held is no number.
            count = _finite_rows(rows)
            self._episodes[clip] = self._episode(env.goal.library, clip, {name: v[:count] for name, v in rows.items()})
        return ()

    @property
    def broken(self) -> list[str]:
        """Clips that broke (NaN) in their first step: there is nothing of them to store."""
        return [episode.name for episode in self._episodes.values() if not len(episode.qpos)]

    def archive(self, motion_group: str = "") -> RolloutArchive:
        """All episodes so far, in the order of the clips, but for the `broken` ones."""
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
        )

    def _read(self, env: Any, field: str) -> Tensor:
        return env.physics.field(field, self._rows.get(field))[: len(self._clips)].to("cpu", copy=True)

    def _episode(self, library: Any, clip: int, rows: dict[str, np.ndarray]) -> Episode:
        start = int(library.start[clip])
        reference = library.qpos[start : start + int(library.length[clip])].cpu().numpy()
        if self._body.has_root:  # the environment puts the start of each clip at the origin
            rows["qpos"][:, :2] += reference[0, :2]
        steps = np.arange(1, len(rows["qpos"]) + 1)
        return Episode(clip=clip, name=library.names[clip], reference=reference, reference_step=steps, **rows)


def _finite_rows(rows: Mapping[str, np.ndarray]) -> int:
    """How many rows from the start hold only numbers."""
    good = np.all([np.isfinite(v).reshape(len(v), -1).all(axis=1) for v in rows.values()], axis=0)
    return len(good) if good.all() else int(np.argmin(good))
