"""A mouse's forelimb of 4 hinges and 9 muscles: our own arm, or with `path=` a copy of the published one.

Our arm has the size and mass of the published one (Leonardis et al. 2025) and the same joint and muscle names; all
other numbers were chosen independently. It resembles a right forelimb and was not fitted to an animal.
"""

from functools import partial

import mujoco

from .embodiment import Embodiment
from .mouse_file import load_mouse_arm, mouse_version
from .options import MouseOptions

# x points outward, y forward, z up. At zero the upper arm hangs down and the forearm points forward.
XML = """
<mujoco model="mouse_arm">
  <compiler angle="degree"/>
  <option integrator="RK4" timestep="0.00125" solver="CG" iterations="6" ls_iterations="6"/>
  <statistic center="0 0.004 0.014" extent="0.02"/>
  <visual><global offwidth="1920" offheight="1080"/><map znear="0.05"/></visual>
  <default>
    <geom contype="0" conaffinity="0" rgba="0.86 0.80 0.70 1"/>
    <site size="0.0002" rgba="0.5 0.1 0.1 1"/>
    <joint type="hinge" limited="true" armature="5e-8" damping="1e-5" solreflimit="0.01 1"/>
    <tendon width="0.00015" rgba="0.6 0.15 0.15 1"/>
    <muscle ctrllimited="true" ctrlrange="-1 1" vmax="12" range="0.7 1.2"/>
    <default class="tracked"><site type="box" group="4" size="0.0006 0.0004 0.0002" rgba="1 0 0 0.5"/></default>
  </default>
  <worldbody>
    <light pos="0.05 0.05 0.1" dir="-0.5 -0.5 -1"/>
    <body name="scapula" pos="0 0 0.02">
      <geom type="ellipsoid" size="0.0015 0.003 0.003" pos="-0.0025 -0.001 0" mass="0"/>
      <site name="shoulder_mimic" class="tracked"/>
      <site name="Pec_C_Origin" pos="-0.0030 0.0022 -0.0012"/>
      <site name="Lat_Origin" pos="-0.0022 -0.0036 -0.0030"/>
      <site name="PD_Origin" pos="0.0000 -0.0024 0.0004"/>
      <site name="AD_Origin" pos="-0.0002 0.0024 0.0006"/>
      <site name="MD_Origin" pos="0.0018 0.0000 0.0006"/>
      <site name="Triceps_Long_Origin" pos="-0.0002 -0.0013 -0.0004"/>
      <site name="Biceps_Long_Origin" pos="0.0003 0.0012 0.0004"/>
      <body name="humerus">
        <joint name="sh_elv" axis="0 -1 0" range="-20 45"/>
        <joint name="sh_extension" axis="1 0 0" range="-50 50"/>
        <joint name="sh_rotation" axis="0 0 1" range="-40 40"/>
        <geom type="capsule" fromto="0 0 0 0 0 -0.008" size="0.0007" mass="0.00013"/>
        <site name="Pec_C_Insertion" pos="0.0004 0.0007 -0.0024"/>
        <site name="Lat_Insertion" pos="-0.0004 0.0002 -0.0024"/>
        <site name="PD_Insertion" pos="0.0010 -0.0003 -0.0024"/>
        <site name="AD_Insertion" pos="0.0007 0.0004 -0.0028"/>
        <site name="MD_Insertion" pos="0.0006 0.0010 -0.0028"/>
        <site name="Triceps_Lateral_Origin" pos="0.0004 -0.0009 -0.0030"/>
        <site name="Brachialis_Origin" pos="0.0002 0.0009 -0.0045"/>
        <site name="Biceps_Long_Groove" pos="0.0003 0.0013 -0.0020"/>
        <body name="ulna" pos="0 0 -0.008">
          <joint name="elbow" axis="1 0 0" range="-60 60"/>
          <geom type="capsule" fromto="0 0 0 0 0.009 0" size="0.0006" mass="0.00013"/>
          <site name="elbow_mimic" class="tracked"/>
          <site name="Triceps_Lateral_Insertion" pos="0.0001 -0.0012 0.0004"/>
          <site name="Triceps_Long_Insertion" pos="-0.0001 -0.0012 0.0004"/>
          <site name="Brachialis_Insertion" pos="-0.0002 0.0016 0.0003"/>
          <site name="Biceps_Long_Insertion" pos="0.0003 0.0018 0.0003"/>
          <body name="paw" pos="0 0.009 0">
            <geom type="ellipsoid" size="0.0015 0.0025 0.0010" pos="0 0.0015 0" mass="0.00071"/>
            <site name="wrist_mimic" class="tracked" pos="0 0.003 0"/>
          </body>
        </body>
      </body>
    </body>
  </worldbody>
  <tendon>
    <spatial name="Pec_C"><site site="Pec_C_Origin"/><site site="Pec_C_Insertion"/></spatial>
    <spatial name="Lat"><site site="Lat_Origin"/><site site="Lat_Insertion"/></spatial>
    <spatial name="PD"><site site="PD_Origin"/><site site="PD_Insertion"/></spatial>
    <spatial name="AD"><site site="AD_Origin"/><site site="AD_Insertion"/></spatial>
    <spatial name="MD"><site site="MD_Origin"/><site site="MD_Insertion"/></spatial>
    <spatial name="Triceps_Lateral"><site site="Triceps_Lateral_Origin"/>
      <site site="Triceps_Lateral_Insertion"/></spatial>
    <spatial name="Triceps_Long"><site site="Triceps_Long_Origin"/><site site="Triceps_Long_Insertion"/></spatial>
    <spatial name="Brachialis"><site site="Brachialis_Origin"/><site site="Brachialis_Insertion"/></spatial>
    <spatial name="Biceps_Long"><site site="Biceps_Long_Origin"/><site site="Biceps_Long_Groove"/>
      <site site="Biceps_Long_Insertion"/></spatial>
  </tendon>
  <actuator>
    <muscle name="Pec_C" tendon="Pec_C" force="0.8" lengthrange="0.00235 0.00615"/>
    <muscle name="Lat" tendon="Lat" force="0.8" lengthrange="0.0027 0.0067"/>
    <muscle name="PD" tendon="PD" force="0.9" lengthrange="0.0012 0.0049"/>
    <muscle name="AD" tendon="AD" force="1.0" lengthrange="0.00185 0.0053"/>
    <muscle name="MD" tendon="MD" force="0.9" lengthrange="0.0021 0.0045"/>
    <muscle name="Triceps_Lateral" tendon="Triceps_Lateral" force="0.6" lengthrange="0.0038 0.00585"/>
    <muscle name="Triceps_Long" tendon="Triceps_Long" force="0.8" lengthrange="0.00545 0.0097"/>
    <muscle name="Brachialis" tendon="Brachialis" force="0.6" lengthrange="0.002 0.0048"/>
    <muscle name="Biceps_Long" tendon="Biceps_Long" force="0.5" lengthrange="0.0056 0.01075"/>
  </actuator>
</mujoco>
"""
GROUPS = {
    "shoulder": ("Pec_C", "Lat", "PD", "AD", "MD", "Triceps_Long", "Biceps_Long"),
    "elbow": ("Triceps_Lateral", "Triceps_Long", "Brachialis", "Biceps_Long"),
}


def build_spec(options: MouseOptions) -> mujoco.MjSpec:
    """Return a new spec of our arm, or of the published one in `options.path`."""
    return load_mouse_arm(options.path) if options.path else mujoco.MjSpec.from_string(XML)


def make(options: MouseOptions) -> Embodiment:
    """Build the arm: 400 Hz control, 2 substeps of 1.25 ms."""
    return Embodiment(
        key="mouse",
        name="MouseForelimb" if options.path else "MouseArm",
        options=options,
        model=build_spec(options).compile(),
        model_version=mouse_version(options.path) if options.path else "mouse-1",
        control_frequency=400.0,
        substeps=2,
        site_names=("shoulder_mimic", "elbow_mimic", "wrist_mimic"),
        root_joint=None,
        touch_sensors=(),
        groups=GROUPS,
        left_right=(),
        build_spec=partial(build_spec, options),
    )
