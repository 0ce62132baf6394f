"""A penalty spot: ball, goal frame and goalkeeper from primitives, in the sizes of football and of MyoSuite's scene.

The ball lies at the origin and the goal is ahead of it along x.
"""

from dataclasses import dataclass

import mujoco

from .props import Ball, Prop

GOAL_LINE = 10.0  # [m] from the ball
HALF_WIDTH, BAR_HEIGHT = 3.3, 2.2  # inner edges of the posts from the middle, and lower edge of the bar [m]
POST = 0.06  # radius of posts and bar [m]
BALL = Ball(radius=0.117, mass=0.45, position=(0.0, 0.0, 0.117))
SOLID = {"contype": 1, "conaffinity": 1, "condim": 3}
GHOSTLY = {"contype": 0, "conaffinity": 0}  # drawn, without contacts


@dataclass(frozen=True)
class GoalFrame:
    """Two posts and a bar that deflect the ball, and a net that is only drawn."""

    name: str = "goal"

    def add_to(self, spec: mujoco.MjSpec) -> None:
        """Append the frame's body and geoms to a spec."""
        body = spec.worldbody.add_body(name=self.name, pos=[GOAL_LINE, 0.0, 0.0])
        side, top = HALF_WIDTH + POST, BAR_HEIGHT + POST
        capsule, box = mujoco.mjtGeom.mjGEOM_CAPSULE, mujoco.mjtGeom.mjGEOM_BOX
        ends = {
            "goal_left": [0, side, 0, 0, side, top],
            "goal_right": [0, -side, 0, 0, -side, top],
            "goal_bar": [0, -side, top, 0, side, top],
        }
        for name, fromto in ends.items():
            body.add_geom(name=name, type=capsule, fromto=fromto, size=[POST, 0, 0], rgba=[1, 1, 1, 1], **SOLID)
        body.add_geom(
            name="goal_net", type=box, pos=[1.0, 0, top / 2], size=[0.01, side, top / 2], rgba=[1, 1, 1, 0.3], **GHOSTLY
        )


@dataclass(frozen=True)
class Keeper:
    """A heavy box on a rail along the goal line; the goal sets its velocity."""

    name: str = "keeper"
    mass: float = 200.0  # [kg]
    half_size: tuple[float, float, float] = (0.15, 0.25, 0.85)  # [m]

    def add_to(self, spec: mujoco.MjSpec) -> None:
        """Append the keeper's body, its slide joint along y and its geom to a spec."""
        height = self.half_size[2] + 0.02  # above the floor, with which it must not collide
        body = spec.worldbody.add_body(name=self.name, pos=[GOAL_LINE, 0.0, height])
        body.add_joint(name=self.name, type=mujoco.mjtJoint.mjJNT_SLIDE, axis=[0, 1, 0])
        box = mujoco.mjtGeom.mjGEOM_BOX
        body.add_geom(name=self.name, type=box, size=self.half_size, mass=self.mass, rgba=[0.9, 0.6, 0.1, 1], **SOLID)


def penalty_scene() -> tuple[Prop, ...]:
    """Return ball, goal frame and keeper, in this order."""
    return BALL, GoalFrame(), Keeper()
