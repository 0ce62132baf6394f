"""Indices of a body's elements in MuJoCo's arrays, resolved once from an embodiment."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from muscle_torch.biomechanics.metabolic import MuscleSizes, muscle_sizes
from muscle_torch.embodiments import Embodiment
from muscle_torch.embodiments.deficits import strength_groups
from muscle_torch.embodiments.device import Device
from muscle_torch.motion import RelativeSites

Index = slice | Tensor


@dataclass(frozen=True, eq=False)
class ModelIndices:
    """Indices of a body. They exclude props and motors."""

    name: str
    has_root: bool  # free joint: the first 7 numbers of qpos, the first 6 of qvel
    joint_qpos: Index  # hinges and slides in qpos
    joint_qvel: Index  # the same in qvel
    site_ids: tuple[int, ...]  # tracked sites, anchor first
    site_body_ids: tuple[int, ...]  # bodies to which they are fixed
    com_ids: tuple[int, ...]  # bodies whose subtree centre is the reference point of their `cvel`
    touch_ids: tuple[int, ...]  # touch sensors in sensordata
    relative_sites: RelativeSites
    muscle_range: Tensor  # longest minus shortest length of each muscle [m], (muscles,)
    muscle_sizes: MuscleSizes  # for the metabolic proxy
    strength_groups: Tensor  # (muscles, groups) weights that average over the muscles of a group
    device: Device | None  # the exoskeleton
    device_qpos: Index  # joints of its motors in qpos
    device_qvel: Index  # the same in qvel
    control_step: float  # [s]
    rows: dict[str, tuple[int, ...]]  # physics field -> rows to read, for fields that are read in part

    @classmethod
    def of(cls, embodiment: Embodiment, device: torch.device) -> "ModelIndices":
        """Resolve the indices of a body; tensors are on the device."""
        model = embodiment.model
        roots = model.body_rootid[embodiment.site_body_ids]
        sensors = embodiment.resolve("sensor", embodiment.touch_sensors)
        sites, bodies = tuple(embodiment.site_ids.tolist()), tuple(embodiment.site_body_ids.tolist())
        centres = tuple(np.unique(roots).tolist() if np.ptp(roots) == 0 else roots.tolist())
        touch = tuple(model.sensor_adr[sensors].tolist())
        worn = [model.joint(name) for name in embodiment.device.joints] if embodiment.device else []
        lengths = model.actuator_lengthrange[embodiment.muscle_ids]
        return cls(
            name=embodiment.name,
            has_root=embodiment.has_root,
            joint_qpos=as_index(embodiment.joint_qpos_ids, device),
            joint_qvel=as_index(embodiment.joint_qvel_ids, device),
            site_ids=sites,
            site_body_ids=bodies,
            com_ids=centres,
            touch_ids=touch,
            relative_sites=RelativeSites(torch.from_numpy(model.site_quat[embodiment.site_ids]).float().to(device)),
            muscle_range=torch.from_numpy(np.ptp(lengths, axis=1)).float().to(device),
            muscle_sizes=MuscleSizes(*(values.float().to(device) for values in muscle_sizes(embodiment))),
            strength_groups=_group_means(embodiment).to(device),
            device=embodiment.device,
            device_qpos=as_index(np.array([joint.qposadr[0] for joint in worn], dtype=np.int64), device),
            device_qvel=as_index(np.array([joint.dofadr[0] for joint in worn], dtype=np.int64), device),
            control_step=1.0 / embodiment.control_frequency,
            rows=embodiment.field_rows
            | {"site_xpos": sites, "site_xmat": sites, "sensordata": touch}
            | {"xquat": bodies, "cvel": bodies, "subtree_com": centres},
        )


def _group_means(embodiment: Embodiment) -> Tensor:
    """Return weights (muscles, groups) that average over the muscles of each strength group."""
    groups = strength_groups(embodiment)
    weights = torch.zeros(len(embodiment.muscle_ids), len(groups))
    for column, names in enumerate(groups.values()):
        weights[torch.from_numpy(embodiment.muscle_columns(names)), column] = 1.0 / len(names)
    return weights


def as_index(ids: np.ndarray, device: torch.device) -> Index:
    """Return a slice if the ids are consecutive, which avoids a copy; else a tensor."""
    if len(ids) and np.array_equal(ids, np.arange(ids[0], ids[0] + len(ids))):
        return slice(int(ids[0]), int(ids[0]) + len(ids))
    return torch.from_numpy(ids).to(device)
