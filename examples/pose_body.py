"""Pose a body and read muscle lengths and moment arms: `python examples/pose_body.py`."""

import math

import mujoco
import numpy as np

from muscle_torch.embodiments import make_embodiment, moment_matrix

JOINT, MUSCLES = "elbow_flex_r", ("BIClong", "BRA", "TRIlat")


def main() -> tuple[np.ndarray, np.ndarray]:
    """Bend the right elbow; return lengths [m] and moment arms [m] of the muscles, each (angles, muscles)."""
    body = make_embodiment("bimanual")
    data = mujoco.MjData(body.model)
    joint, columns = body.model.joint(JOINT), body.muscle_columns(MUSCLES)
    rows = []
    print(f"{JOINT:>12s}" + "".join(f"{f'{name} length, arm':>26s}" for name in MUSCLES))
    for degrees in (0, 30, 60, 90, 120):
        qpos = body.qpos0
        qpos[joint.qposadr[0]] = math.radians(degrees)
        data.qpos[:] = body.project(qpos)  # joints that depend on others follow
        mujoco.mj_forward(body.model, data)
        lengths = data.actuator_length[body.muscle_ids][columns]
        # MuJoCo's moment is the change of length per radian; a flexor shortens, and its moment arm is positive.
        arms = -moment_matrix(body, data)[columns, joint.dofadr[0]]
        cells = [f"{1e3 * length:14.1f} mm {1e3 * arm:6.1f} mm" for length, arm in zip(lengths, arms, strict=True)]
        print(f"{degrees:8d} deg" + "".join(cells))
        rows.append((lengths, arms))
    lengths, arms = zip(*rows, strict=True)
    return np.array(lengths), np.array(arms)


if __name__ == "__main__":
    main()
