"""Action to excitation."""

import pytest
import torch

from muscle_torch.envs.actions.muscles import excitation, zero_action
from muscle_torch.errors import InputError

ACTION = torch.tensor([[-3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0]])


def test_half_keeps_negative_controls_and_full_uses_the_whole_range():
    assert excitation(ACTION, "half").tolist() == [[-1.0, -1.0, -0.5, 0.0, 0.5, 1.0, 1.0]]
    assert excitation(ACTION, "full").tolist() == [[0.0, 0.0, 0.25, 0.5, 0.75, 1.0, 1.0]]


@pytest.mark.parametrize("mapping", ["half", "full"])
def test_the_zero_action_excites_nothing(mapping):
    assert (excitation(zero_action(mapping, 5)[None], mapping) <= 0).all()


def test_unknown_mapping_offers_the_nearest():
    with pytest.raises(InputError, match="'full'"):
        excitation(ACTION, "ful")
