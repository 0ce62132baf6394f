"""A body of one's own from MuJoCo XML with muscles: `python examples/own_body.py`.

A row in EMBODIMENTS (muscle_torch/embodiments/options.py) makes it available to `train.py` and all tools.
"""

import mujoco
import numpy as np

from muscle_torch.config import Row
from muscle_torch.embodiments import EMBODIMENTS, Embodiment, make_embodiment
from muscle_torch.embodiments.options import BodyOptions
from muscle_torch.envs import VecTask, make_env
from muscle_torch.motion import MotionClip

XML = """
<mujoco model="finger"><option timestep="0.002"/>
  <default><geom type="capsule" size="0.01" contype="0" conaffinity="0" mass="0.1"/></default>
  <worldbody><body name="base"><geom type="sphere" size="0.015"/><site name="base_mimic"/><site name="origin"/>
    <body name="finger"><joint name="knuckle" axis="0 1 0" range="-60 60" damping="0.05" armature="0.001"/>
      <geom fromto="0 0 0 0.3 0 0"/><site name="tip_mimic" pos="0.3 0 0"/></body></body></worldbody>
  <actuator><muscle name="up" joint="knuckle" gear="0.02" force="60" lengthrange="-0.04 0.04"/>
    <muscle name="down" joint="knuckle" gear="-0.02" force="60" lengthrange="-0.04 0.04"/></actuator></mujoco>
"""


def make(options: BodyOptions) -> Embodiment:
    """Describe the body: sites that follow a motion (the anchor first), control rate, groups of muscles."""
    model, build_spec = mujoco.MjModel.from_xml_string(XML), lambda: mujoco.MjSpec.from_string(XML)
    tracked = {"site_names": ("base_mimic", "tip_mimic"), "root_joint": None, "touch_sensors": ()}
    muscles = {"groups": {"knuckle": ("up", "down")}, "left_right": ()}
    rate = {"control_frequency": 50.0, "substeps": 10}  # 50 Hz: 10 substeps of 2 ms
    named = {"key": "finger", "name": "Finger", "model_version": "1", "options": options}
    return Embodiment(model=model, build_spec=build_spec, **named, **tracked, **muscles, **rate)


def main(path: str = "swing.npz") -> tuple[float, float]:
    """Write a motion to `path`, and step the body; return its angle [rad], up positive, excited and relaxed."""
    EMBODIMENTS["finger"] = Row(f"{__file__}:make", BodyOptions)
    body = make_embodiment("finger")
    angle = 0.6 * np.sin(np.linspace(0, 4 * np.pi, 200, dtype=np.float32))
    clip = MotionClip("swing", angle[:, None], body.control_frequency, body.joint_names, body.name, body.model_version)
    options = {"embodiment": "finger", "goal": {"start": "beginning"}, "termination": {"mean_site_deviation": 1.0}}
    env = VecTask(make_env("toy_arm", num_envs=2, motion=str(clip.save(path)), device="cpu", **options))
    env.reset()
    excited = env.zero_actions()
    excited[:, body.actuator_names.index("up")] = 1.0
    angles = []
    for step in range(100):  # one second excited, one second relaxed
        env.step(excited if step < 50 else env.zero_actions())
        angles.append(float(env.env.physics.field("qpos")[0, 0]))
    env.close()
    highest, last = -min(angles), -angles[-1]
    print(
        f"excited, the finger rises to {np.degrees(highest):.0f} deg; relaxed, it falls to {np.degrees(last):.0f} deg"
    )
    return highest, last


if __name__ == "__main__":
    main()
