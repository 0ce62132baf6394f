"""Batched rotations in torch. Quaternions are (w, x, y, z) with unit norm; matrices are (..., 3, 3).

Branch-free and without host synchronization, so safe inside CUDA graphs.
"""

import torch
from torch import Tensor


def quat_mul(a: Tensor, b: Tensor) -> Tensor:
    """Return the Hamilton product a * b, (..., 4): the rotation b followed by a."""
    aw, ax, ay, az = a.unbind(-1)
    bw, bx, by, bz = b.unbind(-1)
    return torch.stack(
        (
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ),
        dim=-1,
    )


def quat_conj(q: Tensor) -> Tensor:
    """Return the conjugate, which is the inverse rotation, (..., 4)."""
    return torch.cat((q[..., :1], -q[..., 1:]), dim=-1)


def quat_normalize(q: Tensor) -> Tensor:
    """Scale to unit norm, (..., 4); the zero quaternion stays zero."""
    return torch.nn.functional.normalize(q, dim=-1, eps=torch.finfo(q.dtype).tiny)


def quat_to_matrix(q: Tensor) -> Tensor:
    """Convert quaternions (..., 4) to rotation matrices (..., 3, 3)."""
    w, x, y, z = q.unbind(-1)
    x2, y2, z2 = x + x, y + y, z + z
    wx, wy, wz = w * x2, w * y2, w * z2
    xx, xy, xz = x * x2, x * y2, x * z2
    yy, yz, zz = y * y2, y * z2, z * z2
    rows = (1 - (yy + zz), xy - wz, xz + wy, xy + wz, 1 - (xx + zz), yz - wx, xz - wy, yz + wx, 1 - (xx + yy))
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def matrix_to_quat(matrix: Tensor) -> Tensor:
    """Convert rotation matrices (..., 3, 3) to quaternions (..., 4) with w >= 0.

    Each row of 4 q q^T is a multiple of q and linear in the matrix. Normalizing the row with the largest diagonal entry
    loses no precision, even at half a turn.
    """
    r00, r01, r02, r10, r11, r12, r20, r21, r22 = matrix.flatten(-2).unbind(-1)
    wx, wy, wz = r21 - r12, r02 - r20, r10 - r01
    xy, xz, yz = r10 + r01, r02 + r20, r21 + r12
    ww, xx, yy, zz = 1 + r00 + r11 + r22, 1 + r00 - r11 - r22, 1 - r00 + r11 - r22, 1 - r00 - r11 + r22
    rows = torch.stack((ww, wx, wy, wz, wx, xx, xy, xz, wy, xy, yy, yz, wz, xz, yz, zz), dim=-1).unflatten(-1, (4, 4))
    largest = torch.diagonal(rows, dim1=-2, dim2=-1).argmax(-1)[..., None, None].expand(*matrix.shape[:-2], 1, 4)
    q = quat_normalize(rows.gather(-2, largest).squeeze(-2))
    return torch.where(q[..., :1] < 0, -q, q)


def quat_to_rotvec(q: Tensor) -> Tensor:
    """Convert quaternions (..., 4) to rotation vectors (..., 3): axis times angle in [0, pi] [rad]."""
    q = torch.where(q[..., :1] < 0, -q, q)
    sine = torch.linalg.vector_norm(q[..., 1:], dim=-1, keepdim=True)
    # angle / sin(angle / 2) tends to 2 as the angle goes to 0, where the quotient is 0 / 0.
    small = sine < 1e-7
    scale = 2 * torch.atan2(sine, q[..., :1]) / torch.where(small, torch.ones_like(sine), sine)
    return q[..., 1:] * torch.where(small, torch.full_like(scale, 2.0), scale)


def matrix_to_rotvec(matrix: Tensor) -> Tensor:
    """Convert matrices (..., 3, 3) to rotation vectors (..., 3) [rad], angle in [0, pi]; accurate near 0 and pi."""
    return quat_to_rotvec(matrix_to_quat(matrix))


def quat_angle(a: Tensor, b: Tensor) -> Tensor:
    """Return the angle of the rotation from a to b, in [0, pi] [rad], (...,).

    Unlike acos of the dot product, it is accurate at small angles.
    """
    difference = torch.linalg.vector_norm(a - b, dim=-1)
    total = torch.linalg.vector_norm(a + b, dim=-1)
    return 4 * torch.atan2(torch.minimum(difference, total), torch.maximum(difference, total))


def yaw(q: Tensor) -> Tensor:
    """Return the heading about the world z axis, in (-pi, pi] [rad], (..., 4) -> (...,)."""
    w, x, y, z = q.unbind(-1)
    return torch.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
