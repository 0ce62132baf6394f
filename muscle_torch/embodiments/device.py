"""The description of an exoskeleton: its joint motors, their limits and their dynamics."""

from typing import NamedTuple


class Device(NamedTuple):
    """Joint motors worn by a body. Torques have the sign of the joint angle."""

    motors: tuple[str, ...]  # names of the actuators, one per joint; their control is a torque [N m]
    joints: tuple[str, ...]  # names of the joints
    low: tuple[float, ...]  # lowest torque of each motor [N m]
    high: tuple[float, ...]  # highest torque [N m]
    lag: float  # time constant of the first-order lag from command to torque [s]; 0: none
    slew: float  # highest rate of change of the torque [N m/s]; inf: none
    body_mass: float  # mass of the body without the device [kg]
