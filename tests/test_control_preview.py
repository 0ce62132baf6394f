"""Footholds: the capture point by hand, clearance, room between the feet."""

import numpy as np
import pytest

from muscle_torch.control.options import StepOptions
from muscle_torch.control.preview import placement
from muscle_torch.control.reference import landing_times, swing_phase

PLAIN = StepOptions(capture=1.0, forward_margin=0.0, sideways_margin=0.0, farthest=10.0)
LATERAL = np.array([1.0, 0.0, 0.0])


def test_no_error_no_shift():
    np.testing.assert_array_equal(placement(np.zeros(3), LATERAL, 1.0, StepOptions()), 0.0)


def test_at_landing_the_foothold_is_the_divergent_component():
    error = np.array([0.03, -0.05, 0.4])
    np.testing.assert_allclose(placement(error, LATERAL, 0.0, PLAIN), [0.03, -0.05, 0.0], atol=1e-12)


def test_before_landing_it_is_what_the_error_will_have_grown_to():
    error, growth = np.array([0.02, 0.0, 0.0]), 0.5
    np.testing.assert_allclose(placement(error, LATERAL, growth, PLAIN)[0], 0.02 * np.exp(0.5), rtol=1e-12)


def test_what_the_standing_foot_can_undo_does_not_grow():
    options = StepOptions(capture=1.0, forward_margin=0.1, sideways_margin=0.01, farthest=10.0)
    shift = placement(np.array([0.03, 0.05, 0.0]), LATERAL, 0.5, options)
    np.testing.assert_allclose(shift, [0.02 * np.exp(0.5) + 0.01, 0.05, 0.0], rtol=1e-12)


def test_a_foothold_has_a_farthest_place():
    shift = placement(np.array([3.0, 4.0, 0.0]), LATERAL, 0.0, StepOptions(farthest=0.2))
    assert np.linalg.norm(shift) == pytest.approx(0.2)


def test_swings_ramp_between_stances_and_not_at_the_ends():
    stands = np.array([False] * 20 + [True] * 3 + [False] * 30 + [True] * 3)
    phase = swing_phase(stands, StepOptions(rise_time=0.05, fall_time=0.10), 100.0)
    assert (phase[stands] == 0).all() and phase[0] == 1.0 and phase[36] == 1.0
    assert (np.diff(phase[23:29]) >= 0).all() and (np.diff(phase[43:54]) <= 0).all()


def test_landing_counts_down():
    stands = np.array([[True], [False], [False], [True], [False]])
    np.testing.assert_allclose(landing_times(stands, 100.0)[:, 0], [0.0, 0.02, 0.01, 0.0, np.inf])
