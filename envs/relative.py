"""`muscle_torch.motion.relative_sites` from quaternions: the same with a third of its kernels, each control step."""

import torch
from torch import Tensor

# conj(a) * b = b @ matrix(a): which entry of a = (w, x, y, z) stands where in the matrix, and with which sign.
_ENTRY = ((0, 1, 2, 3), (1, 0, 3, 2), (2, 3, 0, 1), (3, 2, 1, 0))
_SIGN = ((1.0, -1.0, -1.0, -1.0), (1.0, 1.0, -1.0, 1.0), (1.0, 1.0, 1.0, -1.0), (1.0, -1.0, 1.0, 1.0))


class RelativeSites:
    """Positions, rotation vectors and velocities of sites 1..S-1 against site 0, as `relative_sites` defines them."""

    def __init__(self, site_quat: Tensor):
        """site_quat (S, 4): orientation of each site on its body."""
        device = site_quat.device
        self._entry = torch.tensor(_ENTRY, device=device).flatten()
        self._sign = torch.tensor(_SIGN, device=device).flatten()
        turned = (site_quat - torch.tensor([1.0, 0.0, 0.0, 0.0], device=device)).abs().max() > 1e-6
        # body * site = conj(conj(body)) * site, for the bodies whose sites are turned
        self._site_quat = site_quat.unsqueeze(1) if turned else None

    def __call__(
        self, pos: Tensor, body_quat: Tensor, mat: Tensor, angvel: Tensor, linvel: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(rpos (W, S-1, 3), rrot (W, S-1, 3), rvel (W, S-1, 6)).

        pos (W, S, 3), mat (W, S, 3, 3), angvel and linvel (W, S, 3) of the sites; body_quat (W, S, 4) of their bodies;
        all in world axes.
        """
        quat = body_quat
        if self._site_quat is not None:
            inverse = torch.cat((quat[..., :1], -quat[..., 1:]), dim=-1)
            quat = (self._site_quat @ self._matrix(inverse)).squeeze(-2)
        turn = quat[:, 1:] @ self._matrix(quat[:, 0])
        others = pos.shape[1] - 1
        to_anchor = mat[:, 0].transpose(-1, -2)
        slower = linvel[:, :1] - linvel[:, 1:]
        vectors = torch.cat((angvel[:, 1:], slower), dim=1) @ to_anchor  # R_0 applied to each
        angular = (vectors[:, :others].unsqueeze(-2) @ mat[:, 1:]).squeeze(-2) - angvel[:, :1]
        rvel = torch.cat((angular, vectors[:, others:]), dim=-1)
        return pos[:, 1:] - pos[:, :1], _rotvec(turn), rvel

    def _matrix(self, quat: Tensor) -> Tensor:
        """(..., 4) -> (..., 4, 4) with `conj(quat) * other = other @ matrix`."""
        return (quat[..., self._entry] * self._sign).unflatten(-1, (4, 4))


def _rotvec(quat: Tensor) -> Tensor:
    """Axis times angle in [0, pi] [rad], (..., 4) -> (..., 3), whatever the quaternion's sign and length."""
    scalar, vector = quat[..., :1], quat[..., 1:]
    sine = torch.linalg.vector_norm(vector, dim=-1, keepdim=True)
    half = torch.atan2(sine, scalar.abs()) / sine.clamp(min=1e-30)
    return vector * torch.copysign(2 * half, scalar)
