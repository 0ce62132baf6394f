"""A small symmetric biped for tests of muscle control: free trunk, two legs of five hinges, feet that feel the floor.

Every hinge has a pair of muscles, or a motor. Exactly symmetric, so that mirror laws hold to rounding.
"""

from functools import partial

import mujoco
import numpy as np

from muscle_torch.embodiments import Embodiment
from muscle_torch.embodiments.options import BodyOptions
from muscle_torch.motion import MotionClip

HINGES = {"hip_flexion": "1 0 0", "hip_adduction": "0 1 0", "knee": "1 0 0", "ankle": "1 0 0", "subtalar": "0 1 0"}
STRENGTH = {"hip_flexion": 300, "hip_adduction": 250, "knee": 300, "ankle": 200, "subtalar": 100}  # [Nm]
ARM = 0.05  # [m] moment arm of every muscle


def _leg(side: str) -> str:
    x = {"r": -0.1, "l": 0.1}[side]

    def hinge(name: str) -> str:
        return f'<joint name="{name}_{side}" axis="{HINGES[name]}" range="-100 100" limited="true"/>'

    return f"""
    <body name="thigh_{side}" pos="{x} 0 -0.1">
      {hinge("hip_flexion")}{hinge("hip_adduction")}
      <geom type="capsule" fromto="0 0 0 0 0 -0.4" size="0.05" mass="6"/>
      <site name="hip_{side}"/>
      <body name="shank_{side}" pos="0 0 -0.4">
        {hinge("knee")}
        <geom type="capsule" fromto="0 0 0 0 0 -0.4" size="0.04" mass="3"/>
        <site name="knee_{side}"/>
        <body name="foot_{side}" pos="0 0 -0.4">
          {hinge("ankle")}{hinge("subtalar")}
          <geom name="sole_{side}" type="box" pos="0 -0.05 -0.04" size="0.05 0.12 0.02" mass="1.2" contype="1"/>
          <site name="ankle_{side}"/>
          <site name="touch_{side}" type="box" pos="0 -0.05 -0.05" size="0.06 0.13 0.03"/>
        </body>
      </body>
    </body>"""


def _actuators(motors: bool) -> str:
    lines = []
    for side in "rl":
        for name, strength in STRENGTH.items():
            joint = f"{name}_{side}"
            if motors:
                lines.append(f'<motor name="{joint}" joint="{joint}" gear="{strength}" ctrlrange="-1 1"/>')
            for sign, suffix in ((1, "minus"), (-1, "plus")) if not motors else ():
                lines.append(
                    f'<muscle name="{name}_{suffix}_{side}" joint="{joint}" gear="{sign * ARM}" ctrlrange="0 1" '
                    f'ctrllimited="true" lengthrange="-0.1 0.1" range="0.75 1.05" force="{strength / ARM}"/>'
                )
    return "\n".join(lines)


def build_spec(motors: bool = False) -> mujoco.MjSpec:
    """The editable model."""
    sensors = "".join(f'<touch name="foot_{side}" site="touch_{side}"/>' for side in "rl")
    return mujoco.MjSpec.from_string(f"""
<mujoco>
  <option timestep="0.002"/>
  <default>
    <geom contype="0" conaffinity="0"/>
    <joint damping="1" armature="0.01"/>
  </default>
  <worldbody>
    <geom name="floor" type="plane" size="5 5 0.1" conaffinity="1"/>
    <body name="trunk" pos="0 0 0.96">
      <freejoint name="root"/>
      <geom type="capsule" fromto="0 0 0 0 0 0.5" size="0.1" mass="30"/>
      <site name="root_site"/>
      {_leg("r")}{_leg("l")}
    </body>
  </worldbody>
  <actuator>{_actuators(motors)}</actuator>
  <sensor>{sensors}</sensor>
</mujoco>""")


def make_biped(motors: bool = False) -> Embodiment:
    """The biped with muscles, or with motors at its hinges."""
    muscles = [(f"{name}_{end}_l", f"{name}_{end}_r") for name in STRENGTH for end in ("minus", "plus")]
    return Embodiment(
        key="biped",
        name="Biped",
        options=BodyOptions(),
        model=build_spec(motors).compile(),
        model_version="test-1",
        control_frequency=100.0,
        substeps=5,
        site_names=("root_site", *(f"{part}_{side}" for side in "rl" for part in ("hip", "knee", "ankle"))),
        root_joint="root",
        touch_sensors=("foot_r", "foot_l"),
        groups={},
        left_right=() if motors else tuple(muscles),
        build_spec=partial(build_spec, motors),
    )


def squat(embodiment: Embodiment, frames: int = 150, depth: float = 0.5) -> MotionClip:
    """Bend both knees by up to `depth` [rad] and stretch them, feet flat on the floor."""
    model = embodiment.model
    bend = depth * 0.5 * (1 - np.cos(2 * np.pi * np.arange(frames) / (frames - 1)))
    qpos = np.tile(model.qpos0, (frames, 1))
    for side in "rl":
        # The body faces -y: positive turns about x take a leg backwards.
        for joint, sign in (("hip_flexion", -0.5), ("knee", 1.0), ("ankle", -0.5)):
            qpos[:, model.joint(f"{joint}_{side}").qposadr[0]] = sign * bend
    qpos[:, 2] = 0.1 + 0.8 * np.cos(0.5 * bend) + 0.06 - 1e-3
    names = embodiment.joint_names
    return MotionClip("squat", qpos.astype(np.float32), 100.0, names, embodiment.name, embodiment.model_version)
