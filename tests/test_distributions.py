"""Distributions of actions: densities, entropies and samples have the values worked out by hand."""

import math

import pytest
import torch
from torch.distributions import AffineTransform, Normal, TanhTransform, TransformedDistribution

from muscle_torch.models import DiagonalNormal, TanhNormal
from muscle_torch.models.distributions import SATURATION

LOC = torch.tensor([[0.5, -1.0, 0.0], [0.0, 2.0, -0.3]])
SCALE = torch.tensor([[1.0, 0.2, 0.5], [2.0, 0.1, 0.7]])


def test_diagonal_normal_by_hand():
    distribution = DiagonalNormal(LOC, SCALE)
    action = torch.tensor([[0.5, -0.8, 0.25], [1.0, 2.0, 0.4]])
    z = (action - LOC) / SCALE
    density = (-0.5 * z.square() - SCALE.log() - 0.5 * math.log(2 * math.pi)).sum(-1)
    assert torch.allclose(distribution.log_prob(action), density, atol=1e-6)
    assert torch.allclose(distribution.entropy(), (SCALE.log() + 0.5 * math.log(2 * math.pi * math.e)).sum(-1))
    assert torch.equal(distribution.mode, LOC) and torch.equal(distribution.stddev, SCALE)
    assert distribution.batch_shape == (2,) and distribution.event_shape == (3,)


def test_samples_are_one_draw_of_standard_noise_and_carry_no_gradient():
    """loc + scale * noise, to the bit: recorded runs stay what they were."""
    loc = LOC.clone().requires_grad_()
    torch.manual_seed(3)
    sample = DiagonalNormal(loc, SCALE).sample()
    torch.manual_seed(3)
    assert torch.equal(sample, LOC + SCALE * torch.randn_like(LOC)) and not sample.requires_grad
    many = DiagonalNormal(loc, SCALE).sample(torch.Size([20000]))
    assert many.shape == (20000, 2, 3)
    assert torch.allclose(many.mean(0), LOC, atol=0.08) and torch.allclose(many.std(0), SCALE, rtol=0.05)
    (gradient,) = torch.autograd.grad(DiagonalNormal(loc, SCALE).rsample().sum(), loc)
    assert torch.equal(gradient, torch.ones(2, 3))
    wide = DiagonalNormal(LOC[0], SCALE[0]).expand(torch.Size([4]))
    assert wide.batch_shape == (4,) and torch.equal(wide.mode, LOC[0].expand(4, 3))


def test_tanh_normal_is_the_transformed_normal():
    distribution = TanhNormal(LOC, SCALE)
    assert distribution.support.check(distribution.sample()).all()
    assert torch.equal(distribution.mode, LOC.tanh())
    theirs = TransformedDistribution(Normal(LOC, SCALE), [AffineTransform(0.0, 1.0), TanhTransform(cache_size=1)])
    action = theirs.rsample()
    assert torch.allclose(distribution.log_prob(action), theirs.log_prob(action).sum(-1), atol=1e-4)


def test_the_density_of_the_tanh_normal_integrates_to_one_and_its_entropy_is_unbiased():
    loc, scale = torch.tensor([0.4]), torch.tensor([0.6])
    distribution = TanhNormal(loc, scale)
    grid = torch.linspace(-1, 1, 200_001)[1:-1]
    density = distribution.log_prob(grid.unsqueeze(1))
    assert float(torch.trapezoid(density.exp(), grid)) == pytest.approx(1.0, abs=1e-3)
    entropy = float(torch.trapezoid(-density.exp() * density, grid))
    torch.manual_seed(0)
    estimates = TanhNormal(loc.expand(100_000, 1), scale.expand(100_000, 1)).entropy()
    assert estimates.shape == (100_000,) and float(estimates.mean()) == pytest.approx(entropy, abs=0.01)


def test_saturated_actions_have_finite_densities_and_gradients():
    loc = torch.tensor([[5.0, -5.0]], requires_grad=True)
    log_prob = TanhNormal(loc, torch.ones(1, 2)).log_prob(torch.tensor([[1.0, -1.0]]))
    (gradient,) = torch.autograd.grad(log_prob.sum(), loc)
    assert torch.isfinite(log_prob).all()
    assert torch.allclose(gradient, torch.tensor([[1.0, -1.0]]) * (math.atanh(1 - SATURATION) - 5.0), atol=0.02)
