"""Per-world strength and time constants: what is drawn reaches the muscles, on every backend."""

import numpy as np
import pytest
import torch
from env_cases import all_equal, play, small_env

from muscle_torch.config import load_config
from muscle_torch.embodiments import make_embodiment
from muscle_torch.envs import make_env
from muscle_torch.envs.muscle_randomization import MuscleRandomization
from muscle_torch.errors import InputError
from muscle_torch.physics import BACKENDS, make_physics

WORLDS = 6


def env_with(backend: str = "mujoco", task: str = "toy_arm", **changes):
    return make_env(task, WORLDS, device="cpu", backend=backend, threads=1, **changes)


def pull(env, excitation: float = 1.0, substeps: int = 2) -> torch.Tensor:
    """Force of the muscles (W, nu) [N] that have been excited from the same pose and rest.

    In the first substep the activation is still 0 and all worlds move alike; the second has the force of one pose.
    """
    start = torch.zeros(env.num_envs, dtype=torch.long)
    env.assign((start, start))
    env.physics.step(torch.full((env.num_envs, env.action_size), excitation), substeps)
    return env.physics.field("actuator_force").clone()


@pytest.mark.parametrize("backend", sorted(BACKENDS))
def test_twice_the_strength_is_twice_the_force(backend):
    """And drawn factors differ from world to world: the force of each is its factor times the model's own."""
    nominal = pull(env_with(backend))
    assert (nominal < -0.1).all()  # muscles pull
    twice = env_with(backend, randomization={"strength": {"all": [2.0, 2.0]}})
    assert torch.allclose(pull(twice), 2 * nominal, rtol=1e-4)
    drawn = env_with(backend, randomization={"strength": {"elbow": [0.5, 5.0]}})
    factor = drawn.muscles.factors["strength"].float()
    assert len(set(factor[:, 0].tolist())) == WORLDS and factor.min() > 0.5 and factor.max() < 5
    assert torch.equal(factor[:, 0], factor[:, 1])  # one factor a world and group
    assert torch.allclose(pull(drawn), factor * nominal, rtol=1e-4)


@pytest.mark.parametrize("backend", sorted(BACKENDS))
def test_time_constants_set_how_fast_activation_rises_and_falls(backend):
    """MuJoCo: at rest the effective constant of activating is 0.5 tau, of deactivating tau / (0.5 + 1.5 act)."""
    slow = {"activation_time": {"all": [3.0, 3.0]}, "deactivation_time": {"all": [2.0, 2.0]}}
    env = env_with(backend, randomization=slow)
    step = env.embodiment.model.opt.timestep
    pull(env, substeps=1)
    risen = env.physics.field("act").clone()
    assert torch.allclose(risen, torch.full_like(risen, step / (0.5 * 3 * 0.01)), rtol=1e-4)
    env.physics.step(torch.zeros(WORLDS, 2), 1)
    expected = risen - step * risen * (0.5 + 1.5 * risen) / (2 * 0.04)
    assert torch.allclose(env.physics.field("act"), expected, rtol=1e-4)


def test_both_backends_move_the_same_way():
    changes = {"strength": {"all": [0.5, 3.0]}, "activation_time": {"all": [0.5, 2.0]}}
    envs = [env_with(backend, randomization=changes) for backend in ("mujoco", "warp")]
    assert torch.equal(*(env.muscles.factors["strength"] for env in envs))
    start = torch.zeros(WORLDS, dtype=torch.long)
    for env in envs:
        env.assign((start, start))
    for _ in range(20):
        qpos = [env.advance(torch.full((WORLDS, 2), 0.3)) and env.physics.field("qpos").clone() for env in envs]
    assert torch.allclose(*qpos, atol=1e-3)
    assert qpos[0].std() > 0.01  # the worlds moved apart from each other


def test_limbs_of_the_full_body_vary_apart():
    changes = {"strength": {"upper_limb": [2.0, 2.0], "lower_limb": [0.5, 0.9]}}
    full = make_embodiment("fullbody")
    config = load_config("bimanual", randomization=changes).randomization
    varied = MuscleRandomization(config, full, WORLDS, seed=0, middle=False)
    factor = varied.factors["strength"]
    ids = {name: full.resolve("actuator", full.groups[name]) for name in ("upper_limb", "trunk", "lower_limb")}
    assert (factor[:, ids["upper_limb"]] == 2).all() and (factor[:, ids["trunk"]] == 1).all()
    legs = factor[:, ids["lower_limb"]]
    assert (legs == legs[:, :1]).all() and len(set(legs[:, 0].tolist())) == WORLDS
    for substeps, exact in ((1, True), (2, False)):
        nominal, changed = (forces(full, substeps, variation) for variation in (None, varied))
        error = (changed / nominal / factor.float() - 1).abs()[nominal.abs() > 0.1]
        assert len(error) > 100
        # In the first substep only the passive force acts; then the worlds have moved apart, by little.
        assert error.max() < 1e-5 if exact else error.median() < 0.01


def forces(body, substeps: int, variation: MuscleRandomization | None) -> torch.Tensor:
    """Of all muscles excited fully from the default pose (W, nu) [N]."""
    physics = make_physics(body.model, WORLDS, "cpu", "mujoco", threads=2)
    if variation is not None:
        variation.apply(physics)
    physics.step(torch.ones(WORLDS, body.model.nu), substeps)
    return physics.field("actuator_force").clone()


def test_the_draw_is_seeded_and_the_evaluation_is_the_middle():
    changes = {"randomization": {"strength": {"all": [0.6, 1.0]}}}
    first, again, other = (small_env(**changes, seed=seed).muscles.factors["strength"] for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    middle = small_env(**changes, evaluation=True).muscles.factors["strength"]
    assert middle.numpy() == pytest.approx(0.8)
    assert small_env().muscles.factors == {}


def test_a_snapshot_holds_the_muscles():
    changes = {"num_envs": WORLDS, "randomization": {"strength": {"all": [0.5, 3.0]}}}
    env, other = small_env(**changes, seed=1), small_env(**changes, seed=2)
    for one in (env, other):
        one.begin()
    play(env, torch.rand(10, WORLDS, 2))
    other.load_snapshot(env.snapshot())
    actions = torch.rand(40, WORLDS, 2)
    assert all_equal(play(env, actions), play(other, actions))
    with pytest.raises(InputError, match="randomization"):
        small_env(num_envs=WORLDS).load_snapshot(env.snapshot())


@pytest.mark.parametrize(
    ("strength", "message"),
    [
        ({"elbows": [1.0, 2.0]}, "did you mean 'elbow'"),
        ({"all": [2.0, 1.0]}, r"strength.all=\[2.0, 1.0\]"),
        ({"all": [1.0]}, "lowest and highest"),
        ({"all": [0.0, 1.0]}, "lowest and highest"),
    ],
)
def test_ranges_that_make_no_sense_are_named(strength, message):
    with pytest.raises(InputError, match=message):
        small_env(randomization={"strength": strength})


def test_ranges_are_written_on_the_command_line():
    config = load_config("toy_arm", ["randomization.strength.elbow=[0.5,2]"])
    assert config.randomization.strength == {"elbow": [0.5, 2.0]}
    assert np.ptp(small_env(randomization=config.randomization.__dict__).muscles.factors["strength"].numpy()) > 0
