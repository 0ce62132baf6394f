"""Tracked sites relative to the anchor (the first site), exactly as MuscleMimic computes them.

Observations, rewards, terminations and metrics of the body and of the reference all use these functions: the motion
library from rotation matrices, once for all frames; the environment from quaternions, at every control step.
"""

import torch
from torch import Tensor

from muscle_torch.rotations import matrix_to_rotvec

# conj(a) * b = b @ matrix(a): index into a = (w, x, y, z), and sign, of each entry of the matrix.
_ENTRY = ((0, 1, 2, 3), (1, 0, 3, 2), (2, 3, 0, 1), (3, 2, 1, 0))
_SIGN = ((1.0, -1.0, -1.0, -1.0), (1.0, 1.0, -1.0, 1.0), (1.0, 1.0, 1.0, -1.0), (1.0, -1.0, 1.0, 1.0))


def site_velocity(pos: Tensor, cvel: Tensor, com: Tensor) -> tuple[Tensor, Tensor]:
    """Return the velocity of each site point in world axes from MuJoCo's spatial velocities.

    Args:
        pos: World position of the sites [m], (..., S, 3).
        cvel: Of each site's body: angular [rad/s], then linear [m/s] at `com`, (..., S, 6).
        com: Centre of mass of the root's subtree [m], (..., 1, 3).

    Returns:
        Angular and linear velocity, each (..., S, 3).
    """
    angvel = cvel[..., :3]
    return angvel, cvel[..., 3:] + torch.linalg.cross(angvel, pos - com)


def relative_sites_from_matrices(
    pos: Tensor, mat: Tensor, angvel: Tensor, linvel: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return position, rotation and velocity of sites 1..S-1 relative to the anchor.

    rpos = p_i - p_0 [m] in world axes; rrot = rotation vector of R_0' R_i [rad]; rvel = [(R_0' R_i)' w_i - w_0, R_0
    (v_0 - v_i)] [rad/s, m/s]. The frames of rvel are mixed and its linear part has the opposite sign of the derivative
    of rpos; this is kept because published policies were trained with it.

    Args:
        pos: World position of the sites [m], (..., S, 3).
        mat: Orientation of the sites, (..., S, 3, 3).
        angvel: Angular velocity in world axes [rad/s], (..., S, 3).
        linvel: Linear velocity in world axes [m/s], (..., S, 3).

    Returns:
        (rpos (..., S-1, 3), rrot (..., S-1, 3), rvel (..., S-1, 6)).
    """
    anchor_t = mat[..., 0, :, :].transpose(-1, -2)
    # One (3, 3) @ (3, 3 (S-1)) product per environment instead of S-1 small ones.
    stacked = mat[..., 1:, :, :].transpose(-3, -2).flatten(-2)
    relative = (anchor_t @ stacked).unflatten(-1, (-1, 3)).transpose(-3, -2)
    rpos = pos[..., 1:, :] - pos[..., :1, :]
    angular = (relative * angvel[..., 1:, :, None]).sum(-2) - angvel[..., :1, :]
    linear = (linvel[..., :1, :] - linvel[..., 1:, :]) @ anchor_t
    return rpos, matrix_to_rotvec(relative), torch.cat((angular, linear), dim=-1)


class RelativeSites:
    """`relative_sites_from_matrices` from quaternions: the same result with a third of the kernels."""

    def __init__(self, site_quat: Tensor):
        """Prepare index tables.

        Args:
            site_quat: Orientation of each site on its body, (S, 4).
        """
        device = site_quat.device
        self._entry = torch.tensor(_ENTRY, device=device).flatten()
        self._sign = torch.tensor(_SIGN, device=device).flatten()
        rotated = (site_quat - torch.tensor([1.0, 0.0, 0.0, 0.0], device=device)).abs().max() > 1e-6
        # body * site = conj(conj(body)) * site, needed if a site is rotated on its body
        self._site_quat = site_quat.unsqueeze(1) if rotated else None

    def __call__(
        self, pos: Tensor, body_quat: Tensor, mat: Tensor, angvel: Tensor, linvel: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return (rpos (W, S-1, 3), rrot (W, S-1, 3), rvel (W, S-1, 6)).

        Args:
            pos: World position of the sites [m], (W, S, 3).
            body_quat: Orientation of their bodies, (W, S, 4).
            mat: Orientation of the sites, (W, S, 3, 3).
            angvel: Angular velocity in world axes [rad/s], (W, S, 3).
            linvel: Linear velocity in world axes [m/s], (W, S, 3).
        """
        quat = body_quat
        if self._site_quat is not None:
            inverse = torch.cat((quat[..., :1], -quat[..., 1:]), dim=-1)
            quat = (self._site_quat @ self._matrix(inverse)).squeeze(-2)
        relative = quat[:, 1:] @ self._matrix(quat[:, 0])
        count = pos.shape[1] - 1
        to_anchor = mat[:, 0].transpose(-1, -2)
        relative_linvel = linvel[:, :1] - linvel[:, 1:]
        vectors = torch.cat((angvel[:, 1:], relative_linvel), dim=1) @ to_anchor  # R_0 applied to each row
        angular = (vectors[:, :count].unsqueeze(-2) @ mat[:, 1:]).squeeze(-2) - angvel[:, :1]
        rvel = torch.cat((angular, vectors[:, count:]), dim=-1)
        return pos[:, 1:] - pos[:, :1], _rotvec(relative), rvel

    def _matrix(self, quat: Tensor) -> Tensor:
        """Return (..., 4, 4) such that `conj(quat) * other = other @ matrix`, for quat (..., 4)."""
        return (quat[..., self._entry] * self._sign).unflatten(-1, (4, 4))


def _rotvec(quat: Tensor) -> Tensor:
    """`rotations.quat_to_rotvec` with fewer kernels, for quaternions of any norm; the last bits differ near 0."""
    scalar, vector = quat[..., :1], quat[..., 1:]
    sine = torch.linalg.vector_norm(vector, dim=-1, keepdim=True)
    half = torch.atan2(sine, scalar.abs()) / sine.clamp(min=1e-30)
    return vector * torch.copysign(2 * half, scalar)
