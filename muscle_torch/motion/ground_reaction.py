"""The force that a motion needs from the ground, its zero-moment point, and the support under it.

Newton and Euler over the whole body (recursive, without muscles, springs and contacts) give the force and the moment
that must act on the root for the motion to happen as it is. Only the ground can give them: its pressure must then have
its centre, the zero-moment point, inside the polygon that the standing feet span (Vukobratovic and Borovac 2004).
"""

from dataclasses import dataclass

import mujoco
import numpy as np

from muscle_torch.embodiments import Embodiment

from .low_pass import derivatives
from .support import NEAR, BodySurface, Soles, distance, hull, standing_feet, support_mask

UNLOADED = 0.1  # of the body's weight: with less force the ground is not needed, and the zero-moment point undefined


@dataclass(frozen=True, eq=False)
class GroundReaction:
    """Of a motion of T frames; world axes, the floor at z = 0."""

    force: np.ndarray  # (T, 3) [N] that the ground must give
    moment: np.ndarray  # (T, 3) [Nm] about the world's origin
    mass: float  # of the body [kg]
    weight: float  # of the body [N]
    mass_centre: np.ndarray  # (T, 3) [m]
    points: np.ndarray  # (T, P, 3) [m] lowest places of the soles' points
    stands: np.ndarray  # (T, F) bool, feet
    corners: tuple[np.ndarray, ...]  # T polygons (K, 2) [m] of the standing feet; K = 0 if none stands
    other_contact: np.ndarray  # (T,) bool, another part of the body (hand, knee, back) is on the floor

    @property
    def loaded(self) -> np.ndarray:
        """(T,) frames in which the ground must carry more than a tenth of the weight."""
        return self.force[:, 2] > UNLOADED * self.weight

    @property
    def zero_moment_point(self) -> np.ndarray:
        """(T, 2) [m] on the floor; NaN where the ground is not needed."""
        up = np.where(self.loaded, self.force[:, 2], np.nan)
        return np.column_stack((-self.moment[:, 1] / up, self.moment[:, 0] / up))

    @property
    def supported(self) -> np.ndarray:
        """(T,) frames in which a foot stands, touches the floor, and no other part of the body does.

        What a hand or a knee carries is unknown, so a body on all fours is not judged.
        """
        return np.array([len(polygon) > 0 for polygon in self.corners], dtype=bool) & ~self.other_contact

    @property
    def unsupported(self) -> np.ndarray:
        """(T,) frames in which the ground must carry the body and no part of it touches the floor."""
        return self.loaded & ~self.supported & ~self.other_contact

    @property
    def distance(self) -> np.ndarray:
        """(T,) [m] of the zero-moment point from the support polygon.

        0 inside, where the ground is not needed, where no foot stands (`unsupported`), and where other parts touch the
        floor: there is no polygon then.
        """
        out, places = np.zeros(len(self.force)), self.zero_moment_point
        for frame in np.flatnonzero(self.loaded & self.supported):
            out[frame] = distance(self.corners[frame], places[frame])
        return out

    @property
    def friction_demand(self) -> np.ndarray:
        """(T,) horizontal over vertical force; 0 where the ground is not needed."""
        up = np.where(self.loaded, self.force[:, 2], np.inf)
        return np.linalg.norm(self.force[:, :2], axis=1) / up


def ground_reaction(
    embodiment: Embodiment, qpos: np.ndarray, rate: float, soles: Soles | None = None
) -> GroundReaction:
    """Compute what a motion needs from the ground, and the support that its feet offer.

    Args:
        embodiment: A body with feet.
        qpos: Positions (T, nq), float64, T at least 7. Velocities and accelerations are central differences, so noise
            of a recording shows as noise of the force.
        rate: Frames a second [Hz].
        soles: `Soles.of(embodiment)`, if made before.

    Returns:
        Force, moment, centre of mass and support of each frame.

    Raises:
        InputError: If the body has no feet, or the motion is too short.
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
        turned = data.xmat[root].reshape(3, 3) @ needed[3:6]  # a free joint's moment is in the body's axes
        moment[t] = turned + np.cross(data.xpos[root], force[t])
        centre[t] = data.subtree_com[root]
        points[t] = soles.lowest(data)
        other_contact[t] = rest.lowest(data) < NEAR
        # cvel's linear part is that of the point of the body that is at the subtree's centre of mass.
        velocity = data.cvel[bodies, 3:] + np.cross(data.cvel[bodies, :3], points[t] - centre[t])
        speed[t] = np.linalg.norm(velocity[:, :2], axis=1)
    stands = standing_feet(points, speed, soles, rate)
    bears = support_mask(points, stands, soles)
    corners = tuple(hull(frame[mask, :2]) for frame, mask in zip(points, bears, strict=True))
    mass = float(model.body_subtreemass[root])
    weight = mass * -model.opt.gravity[2]
    return GroundReaction(force, moment, mass, weight, centre, points, stands, corners, other_contact)
