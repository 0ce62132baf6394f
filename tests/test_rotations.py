"""Rotations: against SciPy, near no rotation and near half a turn."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from muscle_torch import rotations


def _spread(count: int = 500) -> tuple[np.ndarray, Rotation]:
    """Rotation vectors of every size, from 1e-8 rad to half a turn."""
    axes = np.random.default_rng(0).normal(size=(count, 3))
    axes /= np.linalg.norm(axes, axis=-1, keepdims=True)
    vectors = (
        axes * np.concatenate((np.geomspace(1e-8, 3, count // 2), math.pi - np.geomspace(1e-6, 1, count // 2)))[:, None]
    )
    return vectors, Rotation.from_rotvec(vectors)


def _quat(rotation: Rotation) -> torch.Tensor:
    return torch.from_numpy(rotation.as_quat(scalar_first=True))


def test_conversions_agree_with_scipy():
    vectors, rotation = _spread()
    matrix = torch.from_numpy(rotation.as_matrix())
    torch.testing.assert_close(rotations.quat_to_matrix(_quat(rotation)), matrix, rtol=0, atol=1e-12)
    torch.testing.assert_close(rotations.matrix_to_rotvec(matrix), torch.from_numpy(vectors), rtol=0, atol=1e-9)
    torch.testing.assert_close(rotations.quat_to_rotvec(_quat(rotation)), torch.from_numpy(vectors), rtol=0, atol=1e-9)
    single = rotations.matrix_to_rotvec(matrix.float())
    turns = Rotation.from_rotvec(single.numpy()).inv() * rotation
    assert turns.magnitude().max() < 2e-6


def test_half_turn_and_no_turn():
    for axis in torch.eye(3):
        turn = 2 * torch.outer(axis, axis) - torch.eye(3)
        vector = rotations.matrix_to_rotvec(turn)
        torch.testing.assert_close(vector.abs(), math.pi * axis)
    assert torch.equal(rotations.matrix_to_rotvec(torch.eye(3).expand(2, 5, 3, 3)), torch.zeros(2, 5, 3))
    tiny = torch.tensor([[1.0, -1e-6, 0], [1e-6, 1.0, 0], [0, 0, 1.0]])
    torch.testing.assert_close(rotations.matrix_to_rotvec(tiny), torch.tensor([0, 0, 1e-6]), rtol=1e-5, atol=0)


def test_products_and_inverses_agree_with_scipy():
    _, a = _spread()
    b = a[::-1]
    product = rotations.quat_mul(_quat(a), _quat(b))
    torch.testing.assert_close(
        rotations.quat_to_matrix(product), torch.from_numpy((a * b).as_matrix()), rtol=0, atol=1e-12
    )
    unit = rotations.quat_mul(_quat(a), rotations.quat_conj(_quat(a)))
    torch.testing.assert_close(unit, torch.tensor([1.0, 0, 0, 0]).double().expand(500, 4), rtol=0, atol=1e-12)
    torch.testing.assert_close(rotations.quat_normalize(3 * _quat(a)), _quat(a))


@pytest.mark.parametrize("angle", [0.0, 1e-4, 0.3, 3.0, math.pi])
def test_quat_angle_is_the_angle_in_between(angle):
    _, start = _spread(50)
    end = start * Rotation.from_rotvec([0, 0, angle])
    for sign in (1, -1):  # q and -q are the same rotation
        angles = rotations.quat_angle(_quat(start).float(), sign * _quat(end).float())
        torch.testing.assert_close(angles, torch.full((50,), angle), rtol=0, atol=1e-6)


def test_yaw_is_the_heading():
    headings = np.linspace(-3, 3, 13)
    tilted = Rotation.from_euler("ZYX", np.stack((headings, 0.4 * headings, np.full(13, 0.2)), -1))
    torch.testing.assert_close(rotations.yaw(_quat(tilted)), torch.from_numpy(headings))
