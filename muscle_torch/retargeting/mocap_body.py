"""Method `mocap_body`, for comparison: the simulated body is dragged by mocap bodies through soft welds."""

import mujoco
import numpy as np
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation, Slerp

from .fit import Proportions, Targets, spread_frames
from .gmr import frame_goals, initial_qpos

RATE = 30.0  # [Hz] of the targets; the result is resampled
STEPS, FIRST_STEPS = 100, 1000
TIMESTEP = 0.002  # [s]


def drag(targets: Targets, body: Proportions) -> np.ndarray:
    """Simulate qpos (T, nq); floor and filter are applied afterwards."""
    embodiment = body.tree.embodiment
    stride = max(1, round(targets.rate / RATE))
    chosen = spread_frames(targets.num_frames, stride)
    few = targets.at(chosen)
    goals = frame_goals(few, body)
    spec = embodiment.build_spec()
    spec.option.timestep = TIMESTEP
    # Without muscles and contacts: only joints, couplings and welds matter here.
    spec.option.disableflags = mujoco.mjtDisableBit.mjDSBL_ACTUATION | mujoco.mjtDisableBit.mjDSBL_CONTACT
    for name in goals:
        spec.worldbody.add_body(name=f"target_{name}", mocap=True)
        weld = spec.add_equality(
            type=mujoco.mjtEq.mjEQ_WELD, objtype=mujoco.mjtObj.mjOBJ_BODY, name1=f"target_{name}", name2=name
        )
        torque = 0.5 if name.startswith("humerus") else 1.0
        weld.data = np.array([0, 0, 0, 0, 0, 0, 1, 0, 0, 0, torque, 0])
    model = spec.compile()
    data = mujoco.MjData(model)
    data.qpos[:] = initial_qpos(few, body)
    mocap_ids = {name: model.body_mocapid[model.body(f"target_{name}").id] for name in goals}
    quats = {name: Rotation.from_matrix(turn).as_quat(scalar_first=True) for name, (turn, _) in goals.items()}
    out = np.empty((few.num_frames, model.nq))
    for t in range(few.num_frames):
        for name, (_, at) in goals.items():
            data.mocap_pos[mocap_ids[name]], data.mocap_quat[mocap_ids[name]] = at[t], quats[name][t]
        mujoco.mj_step(model, data, FIRST_STEPS if t == 0 else STEPS)
        out[t] = data.qpos
    return _all_frames(out, chosen, targets.num_frames, body.free)


def _all_frames(qpos: np.ndarray, known: np.ndarray, count: int, free: bool) -> np.ndarray:
    at = np.arange(count)
    out = CubicSpline(known, qpos)(at)
    if free:
        turns = Rotation.from_quat(qpos[:, 3:7], scalar_first=True)
        out[:, 3:7] = Slerp(known, turns)(at).as_quat(scalar_first=True)
    return out
