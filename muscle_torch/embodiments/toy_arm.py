"""A one-hinge arm with a flexor and an extensor, for tests and quick experiments."""

from functools import partial

import mujoco

from muscle_torch.errors import InputError

from .embodiment import Embodiment
from .options import ToyArmOptions

# The upper arm is fixed; the elbow bends forward (+x). Gravity straightens it (0 rad), so the flexor must hold every
# other position. The extensor wraps around the elbow.
XML = """
<mujoco model="toy_arm">
  <option timestep="0.002"/>
  <visual><global offwidth="1920" offheight="1080"/></visual>
  <default>
    <geom contype="0" conaffinity="0" rgba="0.86 0.80 0.70 1"/>
    <site size="0.008" rgba="0.5 0.1 0.1 1"/>
    <default class="tracked"><site type="box" group="4" size="0.03 0.02 0.01" rgba="1 0 0 0.5"/></default>
  </default>
  <worldbody>
    <light pos="0.5 -1 3" dir="-0.2 0.4 -1"/>
    <body name="upper_arm" pos="0 0 1.3">
      <geom name="upper_arm" type="capsule" fromto="0 0 0 0 0 -0.3" size="0.03" mass="2"/>
      <site name="anchor_mimic" class="tracked"/>
      <site name="flexor_origin" pos="0.035 0 -0.05"/>
      <site name="extensor_origin" pos="-0.035 0 -0.05"/>
      <site name="extensor_side" pos="-0.05 0 -0.32" rgba="0 0 0 0"/>
      <geom name="elbow_wrap" type="cylinder" pos="0 0 -0.3" euler="90 0 0" size="0.032 0.03" mass="0"
        rgba="0.75 0.68 0.58 1"/>
      <body name="forearm" pos="0 0 -0.3">
        <joint name="elbow" type="hinge" axis="0 -1 0" limited="true" range="0 131.8" damping="0.2" armature="0.002"/>
        <geom name="forearm" type="capsule" fromto="0 0 0 0 0 -0.26" size="0.025" mass="1.2"/>
        <site name="elbow_mimic" class="tracked"/>
        <site name="flexor_insertion" pos="0.028 0 -0.06"/>
        <site name="extensor_insertion" pos="-0.03 0 -0.06"/>
        <body name="hand" pos="0 0 -0.3">
          <geom name="hand" type="ellipsoid" size="0.03 0.02 0.05" mass="0.4"/>
          <site name="hand_mimic" class="tracked"/>
        </body>
      </body>
    </body>
  </worldbody>
  <tendon>
    <spatial name="flexor_tendon" width="0.012" rgba="0.6 0.15 0.15 1">
      <site site="flexor_origin"/><site site="flexor_insertion"/>
    </spatial>
    <spatial name="extensor_tendon" width="0.012" rgba="0.6 0.15 0.15 1">
      <site site="extensor_origin"/><geom geom="elbow_wrap" sidesite="extensor_side"/><site site="extensor_insertion"/>
    </spatial>
  </tendon>
  <actuator>
    <muscle name="flexor" tendon="flexor_tendon" force="400" lengthrange="0.17 0.394" range="0.5 1.3" lmin="0.3"
      ctrllimited="true" ctrlrange="-1 1"/>
    <muscle name="extensor" tendon="extensor_tendon" force="400" lengthrange="0.245 0.445" range="0.5 1.3"
      ctrllimited="true" ctrlrange="-1 1"/>
  </actuator>
</mujoco>
"""

# Elbow torque at full control [N m], about half of the flexor's.
MOTOR_TORQUE = 5.0


def build_spec(options: ToyArmOptions) -> mujoco.MjSpec:
    """Return a new spec of the arm, with or without motor and load.

    Raises:
        InputError: The load is negative.
    """
    if options.load < 0:
        raise InputError(f"embodiment.load={options.load}: must not be negative")
    spec = mujoco.MjSpec.from_string(XML)
    spec.geom("hand").mass += options.load
    if options.motor:
        motor = spec.add_actuator(name="elbow_motor", target="elbow", trntype=mujoco.mjtTrn.mjTRN_JOINT)
        motor.set_to_motor()
        motor.gear[0] = MOTOR_TORQUE
        motor.ctrllimited, motor.ctrlrange = mujoco.mjtLimited.mjLIMITED_TRUE, [-1.0, 1.0]
    return spec


def make(options: ToyArmOptions) -> Embodiment:
    """Build the arm: 100 Hz control, 5 substeps of 2 ms."""
    return Embodiment(
        key="toy_arm",
        name="ToyArm",
        options=options,
        model=build_spec(options).compile(),
        model_version="toy-1",
        control_frequency=100.0,
        substeps=5,
        site_names=("anchor_mimic", "elbow_mimic", "hand_mimic"),
        root_joint=None,
        touch_sensors=(),
        groups={"elbow": ("flexor", "extensor")},
        left_right=(),
        build_spec=partial(build_spec, options),
    )
