"""Metabolic cost: masses, the proxy by hand, per environment and at rest, and two published models by hand."""

import numpy as np
import pytest
import torch
from env_cases import small_env

from muscle_torch.biomechanics.metabolic import (
    DENSITY,
    SPECIFIC_TENSION,
    active_force,
    bhargava_power,
    energy_rate,
    minetti_power,
    muscle_masses,
    muscle_sizes,
    passive_force,
    proxy_of,
)
from muscle_torch.biomechanics.muscle_mechanics import optimal_length, peak_force
from muscle_torch.embodiments import make_embodiment
from muscle_torch.envs.rewards import PENALTIES


@pytest.fixture(scope="module")
def body():
    return make_embodiment("fullbody")


def test_the_legs_have_as_much_muscle_as_people(body):
    """Two legs of an adult hold 15 to 22 kg of muscle; right and left are equal."""
    masses = muscle_masses(body)
    assert 15.0 < masses[body.muscle_columns(body.groups["lower_limb"])].sum() < 22.0
    soleus, other = body.muscle_columns(("soleus_r", "soleus_l"))
    assert masses[soleus] == pytest.approx(masses[other], rel=1e-6) and 0.3 < masses[soleus] < 1.2
    index = int(body.muscle_ids[soleus])
    volume = peak_force(body.model, index) / SPECIFIC_TENSION * optimal_length(body.model, index)[0]
    assert masses[soleus] == pytest.approx(DENSITY * volume)


def test_the_proxy_by_hand(body):
    """Half active and still: mass / 4. Shortening adds power over F0 vmax, lengthening nothing."""
    sizes, count = muscle_sizes(body), len(body.muscle_names)
    column = body.muscle_columns(["soleus_r"])[0]
    activation, force, velocity = np.zeros((3, 3, count))
    activation[:, column], force[:, column] = 0.5, -1000.0
    velocity[:, column] = 0.0, -0.1, 0.1
    proxy, mass, power = proxy_of(body, activation, force, velocity), sizes.mass[column], sizes.max_power[column]
    expected = mass * torch.tensor([0.25, 0.25 + 100.0 / power, 0.25])
    np.testing.assert_allclose(proxy[:, column], expected, rtol=1e-6)
    assert np.count_nonzero(proxy) == 3


def test_every_environment_has_its_own_cost_and_none_at_rest():
    """At rest 0; with all muscles fully active and still 1, whatever the strength."""
    env = small_env("toy_arm", 3)
    env.begin()
    physics = env.physics
    rest = {"act": torch.zeros(3, 2), "actuator_velocity": torch.zeros(3, 2)}
    assert torch.count_nonzero(env.state().read("act")) == 0
    for _ in range(5):
        action = torch.full((3, env.action_size), -1.0)
        action[1], action[2, 0] = 1.0, 1.0
        env.advance(action)
    state = env.state()
    sizes = muscle_sizes(env.embodiment)
    power = (physics.field("actuator_force") * physics.field("actuator_velocity")).clamp(min=0.0) / sizes.max_power
    by_muscle = sizes.mass * (physics.field("act").square() + power)
    expected = (by_muscle.sum(dim=1) / sizes.mass.sum()).float()
    torch.testing.assert_close(PENALTIES["metabolic"](state), expected, rtol=1e-4, atol=1e-8)
    cost = PENALTIES["metabolic"](state)
    assert cost[1] > cost[2] > cost[0]
    at_rest = env.state()
    at_rest.read = lambda name: rest.get(name, torch.full((3, 2), -50.0))
    assert torch.equal(PENALTIES["metabolic"](at_rest), torch.zeros(3))
    at_rest = env.state()
    at_rest.read = lambda name: rest["act"] + 1.0 if name == "act" else rest.get(name, torch.full((3, 2), -50.0))
    torch.testing.assert_close(PENALTIES["metabolic"](at_rest), torch.ones(3))
    env.close()


def test_minetti_and_alexander_by_hand(body):
    """Still and fully active, a muscle burns 0.054 F0 vmax; it burns most while it shortens."""
    assert energy_rate(np.array(0.0)) == pytest.approx(0.054)
    assert energy_rate(np.array(0.3)) > energy_rate(np.array(0.0)) > energy_rate(np.array(-0.1))
    index = body.actuator_names.index("soleus_r")
    activations = np.zeros((1, body.model.nu))
    activations[0, index] = 1.0
    power = minetti_power(body, activations, np.zeros_like(activations))
    fastest = optimal_length(body.model, index)[0] * body.model.actuator_gainprm[index, 6]
    assert power.sum() == pytest.approx(0.054 * peak_force(body.model, index) * fastest)


def test_bhargava_by_hand():
    """At optimal length, fully active and still: activation and maintenance heat of both fibres. No cost at rest."""
    body = make_embodiment("toy_arm")
    fibre, tendon = np.array([optimal_length(body.model, i) for i in body.muscle_ids]).T
    lengths, still, full = (tendon + fibre)[None], np.zeros((1, 2)), np.ones((1, 2))
    masses = muscle_masses(body)
    heat = 0.5 * (40.0 + 74.0) + 0.5 * (133.0 + 111.0)
    np.testing.assert_allclose(bhargava_power(body, full, lengths, still), heat * masses[None], rtol=1e-9)
    assert not bhargava_power(body, still, lengths, still).any()
    # Shortening adds heat 0.16 F_iso + 0.18 F and work F per unit of velocity.
    speed = -0.1 * fibre[None]
    force, isometric = active_force(body, lengths, speed), active_force(body, lengths, still)
    assert (force > 0).all() and (force < isometric).all()
    passive = passive_force(body, lengths)
    expected = heat * masses + (0.16 * isometric + 0.18 * (force + passive) + force) * 0.1 * fibre
    np.testing.assert_allclose(bhargava_power(body, full, lengths, speed), expected, rtol=1e-9)
    # Strong lengthening returns work, but never more than was spent.
    assert (bhargava_power(body, full, lengths, 5.0 * fibre[None]) >= 0.0).all()
