"""States and reference solutions that the physics tests share."""

import mujoco
import numpy as np
import torch

from muscle_torch.embodiments import Embodiment, make_embodiment
from muscle_torch.physics import Physics

SUBSTEPS = 5

# A ball that lies on a touch sensor, moved sideways by a muscle-like actuator: every kind of sensor in few numbers
BALL = """
<mujoco><option timestep="0.002"/><worldbody>
  <geom name="floor" type="plane" size="1 1 .1"/>
  <body name="ball" pos="0 0 0.099"><freejoint/>
    <geom name="ball" size="0.1" mass="2"/><site name="skin" type="sphere" size="0.12"/></body>
  <body name="slider" pos="0 1 1"><joint name="slide" type="slide" axis="1 0 0" damping="1"/>
    <geom size="0.1" mass="1" contype="0" conaffinity="0"/></body></worldbody>
  <actuator><general name="push" joint="slide" dyntype="filter" dynprm="0.05" gainprm="10"/></actuator>
  <sensor><touch name="touch" site="skin"/><framepos name="place" objtype="site" objname="skin"/>
    <velocimeter name="speed" site="skin"/><accelerometer name="push" site="skin"/></sensor>
</mujoco>
"""


def ball_model() -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_string(BALL)


def random_states(body: Embodiment, count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Poses in the middle half of the joint ranges with the couplings met, small velocities; float32 (count, n)."""
    model, rng = body.model, np.random.default_rng(seed)
    qpos = np.tile(model.qpos0, (count, 1))
    low, high = model.jnt_range[body.scalar_joint_ids].T
    qpos[:, body.joint_qpos_ids] = low + rng.uniform(0.25, 0.75, (count, len(low))) * (high - low)
    qvel = np.zeros((count, model.nv))
    free = np.setdiff1d(body.joint_qvel_ids, body.joint_qvel_ids[_coupled(body)])
    qvel[:, free] = 0.1 * rng.standard_normal((count, len(free)))
    return torch.from_numpy(body.project(qpos)).float(), torch.from_numpy(qvel).float()


def _coupled(body: Embodiment) -> np.ndarray:
    return np.isin(body.joint_qpos_ids, body.dependent.qpos_ids)


def random_ctrl(nu: int, count: int, steps: int, seed: int = 1) -> torch.Tensor:
    """(steps, count, nu) in [0, 1]."""
    return torch.rand(steps, count, nu, generator=torch.Generator().manual_seed(seed))


def everyone(physics: Physics) -> torch.Tensor:
    return torch.ones(physics.num_worlds, dtype=torch.bool, device=physics.device)


def embodiment(name: str) -> Embodiment:
    return make_embodiment(name)


def plain_data(model: mujoco.MjModel, qpos: torch.Tensor, qvel: torch.Tensor) -> list[mujoco.MjData]:
    """One ordinary MjData per world in the given states."""
    datas = [mujoco.MjData(model) for _ in range(len(qpos))]
    for data, q, v in zip(datas, qpos.cpu().numpy(), qvel.cpu().numpy(), strict=True):
        data.qpos[:], data.qvel[:] = q, v
    return datas


def forwarded(model: mujoco.MjModel, physics: Physics, world: int) -> mujoco.MjData:
    """A fresh MjData forwarded at the world's qpos, qvel, act and ctrl."""
    data = mujoco.MjData(model)
    for name in ("qpos", "qvel", "act", "ctrl"):
        getattr(data, name)[:] = physics.field(name)[world].cpu().numpy()
    mujoco.mj_forward(model, data)
    return data


def late_sensors(model: mujoco.MjModel) -> np.ndarray:
    """(nsensordata,) bool: numbers of acceleration-stage sensors."""
    late = np.zeros(model.nsensordata, dtype=bool)
    for address, size, stage in zip(model.sensor_adr, model.sensor_dim, model.sensor_needstage, strict=True):
        late[address : address + size] = stage == mujoco.mjtStage.mjSTAGE_ACC
    return late
