"""Tracked sites relative to the anchor (the first site), exactly as MuscleMimic computes them.

Observation, reward, termination and metrics of the simulated body and of the reference all go through here.
"""

import torch
from torch import Tensor

from muscle_torch.rotations import matrix_to_rotvec


def site_velocity(pos: Tensor, cvel: Tensor, com: Tensor) -> tuple[Tensor, Tensor]:
    """Velocity of each site point in world axes from MuJoCo's spatial velocities.

    pos (..., S, 3) [m]; cvel (..., S, 6) of each site's body: angular [rad/s], then linear [m/s] at com (..., 1, 3),
    the centre of mass of the root's subtree. Returns (angvel, linvel), each (..., S, 3).
    """
    angvel = cvel[..., :3]
    return angvel, cvel[..., 3:] + torch.linalg.cross(angvel, pos - com)


def relative_sites(pos: Tensor, mat: Tensor, angvel: Tensor, linvel: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(rpos, rrot, rvel) of sites 1..S-1 relative to the anchor: (..., S-1, 3), (..., S-1, 3), (..., S-1, 6).

    pos, angvel, linvel (..., S, 3) and mat (..., S, 3, 3), all in world axes.

    rpos = p_i - p_0 [m] in world axes; rrot = rotation vector of R_0' R_i [rad];
    rvel = [(R_0' R_i)' w_i - w_0, R_0 (v_0 - v_i)] [rad/s, m/s]. The frames of rvel are mixed and its linear part has
    the opposite sign of rpos' derivative: published policies were trained on just this, so it stays.
    """
    anchor_t = mat[..., 0, :, :].transpose(-1, -2)
    # One (3, 3) @ (3, 3 (S-1)) product a world instead of S-1 small ones.
    others = mat[..., 1:, :, :].transpose(-3, -2).flatten(-2)
    relative = (anchor_t @ others).unflatten(-1, (-1, 3)).transpose(-3, -2)
    rpos = pos[..., 1:, :] - pos[..., :1, :]
    angular = (relative * angvel[..., 1:, :, None]).sum(-2) - angvel[..., :1, :]
    linear = (linvel[..., :1, :] - linvel[..., 1:, :]) @ anchor_t
    return rpos, matrix_to_rotvec(relative), torch.cat((angular, linear), dim=-1)
