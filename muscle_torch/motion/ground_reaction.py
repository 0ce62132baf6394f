"""The ground force that a motion requires, its zero-moment point, and the support of the feet.

Recursive Newton-Euler over the whole body (without muscles, springs and contacts) gives the force and moment that must
act on the root to produce the motion. Only the ground can exert them, so the centre of its pressure, the zero-moment
point, must lie inside the support polygon of the standing feet (Vukobratovic and Borovac 2004).
"""

from dataclasses import dataclass

import mujoco
import numpy as np

from muscle_torch.embodiments import Embodiment

from .low_pass import derivatives
from .support import NEAR, BodySurface, Soles, distance, hull, standing_feet, support_mask

UNLOADED = 0.1  # fraction of body weight: with less ground force the zero-moment point is undefined


@dataclass(frozen=True, eq=False)
class GroundReaction:
    """Ground reaction required by a motion of T frames; world axes, the floor at z = 0."""

    force: np.ndarray  # (T, 3) [N] required ground force
    moment: np.ndarray  # (T, 3) [Nm] about the world origin
    mass: float  # of the body [kg]
    weight: float  # of the body [N]
    mass_centre: np.ndarray  # (T, 3) [m]
    points: np.ndarray  # (T, P, 3) [m] lowest surface points of the soles
    stands: np.ndarray  # (T, F) bool, standing feet
    corners: tuple[np.ndarray, ...]  # T support polygons (K, 2) [m]; K = 0 if no foot stands
    other_contact: np.ndarray  # (T,) bool, another body part (hand, knee, back) touches the floor

    @property
    def loaded(self) -> np.ndarray:
        """Frames in which the ground carries more than a tenth of the body weight, (T,) bool."""
        return self.force[:, 2] > UNLOADED * self.weight

    @property
    def zero_moment_point(self) -> np.ndarray:
        """Zero-moment point on the floor, (T, 2) [m]; NaN if the ground is unloaded."""
        up = np.where(self.loaded, self.force[:, 2], np.nan)
        return np.column_stack((-self.moment[:, 1] / up, self.moment[:, 0] / up))

    @property
    def supported(self) -> np.ndarray:
        """Frames in which a foot stands and no other part of the body touches the floor, (T,) bool.

        The load on a hand or a knee is unknown, so a body on all fours is not assessed.
        """
        return np.array([len(polygon) > 0 for polygon in self.corners], dtype=bool) & ~self.other_contact

    @property
    def unsupported(self) -> np.ndarray:
        """Frames in which the ground must carry the body but no part of it touches the floor, (T,) bool."""
        return self.loaded & ~self.supported & ~self.other_contact

    @property
    def distance(self) -> np.ndarray:
        """Distance from the zero-moment point to the support polygon, (T,) [m].

        0 inside the polygon, and 0 if there is none to compare with: unloaded ground, no standing foot (`unsupported`),
        or another part of the body on the floor.
        """
        out, points = np.zeros(len(self.force)), self.zero_moment_point
        for frame in np.flatnonzero(self.loaded & self.supported):
            out[frame] = distance(self.corners[frame], points[frame])
        return out

    @property
    def friction_demand(self) -> np.ndarray:
        """Horizontal over vertical force, (T,); 0 if the ground is unloaded."""
        up = np.where(self.loaded, self.force[:, 2], np.inf)
        return np.linalg.norm(self.force[:, :2], axis=1) / up


def ground_reaction(
    embodiment: Embodiment, qpos: np.ndarray, rate: float, soles: Soles | None = None
) -> GroundReaction:
    """Compute the ground reaction that a motion requires, and the support of its feet.

    Args:
        embodiment: A body with feet.
        qpos: Positions (T, nq), float64, T at least 7. Velocities and accelerations are central differences, so noise
            in a recording appears as noise in the force.
        rate: Frame rate [Hz].
        soles: `Soles.of(embodiment)`, if already computed.

    Returns:
        Force, moment, centre of mass and support of each frame.

    Raises:
        InputError: The body has no feet, or the motion is too short.
    """
    model, data = embodiment.model, mujoco.MjData(embodiment.model)
    soles = soles or Soles.of(embodiment)
    qvel, qacc = derivatives(model, qpos, rate)
    root = int(model.jnt_bodyid[int(embodiment.resolve("joint", [str(embodiment.root_joint)])[0])])
    bodies = model.geom_bodyid[soles.geom]
    frames, needed = len(qpos), np.zeros(model.nv)
    force, moment, centre = (np.zeros((frames, 3)) for _ in range(3))
    rest, other_contact = BodySurface.of(model, soles.geom), np.zeros(frames, dtype=bool)
    points, speed = np.zeros((frames, len(soles.geom), 3)), np.zeros((frames, len(soles.geom)))
    for t in range(frames):
        data.qpos[:], data.qvel[:], data.qacc[:] = qpos[t], qvel[t], qacc[t]
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_comVel(model, data)
        mujoco.mj_rne(model, data, 1, needed)
        force[t] = needed[:3]
        root_moment = data.xmat[root].reshape(3, 3) @ needed[3:6]  # a free joint's moment is in the body frame
        moment[t] = root_moment + np.cross(data.xpos[root], force[t])
        centre[t] = data.subtree_com[root]
        points[t] = soles.lowest(data)
        other_contact[t] = rest.lowest(data) < NEAR
        # The linear part of cvel is the velocity of the body point at the subtree's centre of mass.
        velocity = data.cvel[bodies, 3:] + np.cross(data.cvel[bodies, :3], points[t] - centre[t])
        speed[t] = np.linalg.norm(velocity[:, :2], axis=1)
    stands = standing_feet(points, speed, soles, rate)
    bears = support_mask(points, stands, soles)
    corners = tuple(hull(frame[mask, :2]) for frame, mask in zip(points, bears, strict=True))
    mass = float(model.body_subtreemass[root])
    weight = mass * -model.opt.gravity[2]
    return GroundReaction(force, moment, mass, weight, centre, points, stands, corners, other_contact)
