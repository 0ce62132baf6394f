"""The environment behind other packages' interfaces, driven by the packages themselves."""

import copy

import numpy as np
import pytest
import torch
from commands import ROOT
from env_cases import clip, saved, small_env

from muscle_torch.envs import VecTask
from muscle_torch.errors import InputError

gymnasium = pytest.importorskip("gymnasium")
pytest.importorskip("rsl_rl")

from gymnasium.utils import env_checker  # noqa: E402
from gymnasium.wrappers import vector as wrappers  # noqa: E402
from rsl_rl.runners import OnPolicyRunner  # noqa: E402

from muscle_torch.envs.faces.gymnasium_env import GymnasiumEnv  # noqa: E402
from muscle_torch.envs.faces.rsl_rl_env import RslRlEnv  # noqa: E402

RUNNER = {
    "num_steps_per_env": 16,
    "save_interval": 100,
    "obs_groups": {"actor": ["policy"], "critic": ["policy", "goal"]},
    "multi_gpu": None,
    "algorithm": {"class_name": "PPO", "num_learning_epochs": 2, "num_mini_batches": 2},
    "actor": {
        "class_name": "MLPModel",
        "hidden_dims": [32],
        "obs_normalization": True,
        "distribution_cfg": {"class_name": "GaussianDistribution", "init_std": 0.3},
    },
    "critic": {"class_name": "MLPModel", "hidden_dims": [32], "obs_normalization": True},
}


@pytest.fixture
def gym_env():
    made = GymnasiumEnv(small_env("toy_arm", 4, env={"horizon": 5}))
    yield made
    made.close()


@pytest.fixture
def falling(tmp_path):
    """A gymnasium environment of three worlds whose relaxed arm loses a bent elbow's motion."""
    motion = saved(tmp_path, clip(torch.full((60,), 1.5)))
    options = {"termination": {"mean_site_deviation": 0.02}, "goal": {"start": "beginning"}, "env": {"horizon": 200}}
    made = GymnasiumEnv(small_env("toy_arm", 3, motion=motion, **options))
    yield made
    made.close()


# Those of its checks that hold for many worlds as for one (the others want a single bool for `terminated`).
CHECKS = ["reset_return_type", "reset_options", "reset_seed_determinism"]


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.filterwarnings("error")
def test_gymnasiums_own_checks_pass(gym_env, check):
    getattr(env_checker, f"check_{check}")(gym_env)


def test_gymnasium_arrays_are_in_their_spaces(gym_env):
    observation, info = gym_env.reset(seed=3)
    assert observation in gym_env.observation_space and info == {}
    gym_env.action_space.seed(0)
    for _ in range(6):
        observation, reward, terminated, truncated, _ = gym_env.step(gym_env.action_space.sample())
        assert observation in gym_env.observation_space and np.isfinite(reward).all()
        assert terminated.dtype == truncated.dtype == np.bool_ and reward.shape == terminated.shape == (4,)
    assert gym_env.metadata["autoreset_mode"] is gymnasium.vector.AutoresetMode.SAME_STEP


def test_gymnasium_gives_what_the_vec_task_gives(gym_env):
    """The same seed and actions: the same numbers, the true last observation apart from the new first one."""
    task = VecTask(small_env("toy_arm", 4, env={"horizon": 5}))
    task.env.set_seed(11, static_seed=True)
    observation, _ = gym_env.reset(seed=11)
    assert np.array_equal(observation, task.reset().numpy())
    ended = 0
    for action in 2 * torch.rand(12, 4, 2, generator=torch.Generator().manual_seed(1)) - 1:
        observation, reward, terminated, truncated, info = gym_env.step(action.numpy())
        expected, rewards, done, extras = task.step(action)
        assert np.array_equal(observation, expected.numpy()) and np.array_equal(reward, rewards.double().numpy())
        assert np.array_equal(terminated | truncated, done.numpy())
        assert np.array_equal(truncated & ~terminated, extras["time_outs"].numpy())
        assert np.array_equal(info["reward/qpos"], extras["terms"]["reward/qpos"].numpy())
        for world in done.nonzero().flatten().tolist():
            ended += 1
            assert info["_final_obs"][world]
            assert np.array_equal(info["final_obs"][world], extras["final_observation"][world].numpy())
            assert not np.array_equal(info["final_obs"][world], observation[world])
    assert ended >= 8
    task.close()


def test_gymnasium_tells_losing_from_running_out_of_time(falling):
    """Relaxed, the arm falls and is lost; held on the motion to its last frame, it runs out of time."""
    falling.reset(seed=0)
    relaxed = -np.ones((3, 2), dtype=np.float32)
    for _ in range(59):
        _, _, terminated, truncated, info = falling.step(relaxed)
        if terminated.any():
            break
    assert terminated.all() and not truncated.any()
    assert info["err/site_abs"].min() > 0.02 and all(len(row) for row in info["final_obs"])
    falling.env.termination.thresholds.fill_(1e3)
    falling.reset(seed=0)
    for _ in range(59):
        _, _, terminated, truncated, _ = falling.step(relaxed)
    assert truncated.all() and not terminated.any()


@pytest.mark.parametrize("mode", ["next_step", "disabled"])
def test_gymnasiums_other_modes_return_the_last_observation_first(gym_env, mode):
    """The same seed and actions as in same_step: the last observation is the step's own, the new episode's is later."""
    other = GymnasiumEnv(small_env("toy_arm", 4, env={"horizon": 5}), autoreset=mode)
    gym_env.reset(seed=2), other.reset(seed=2)
    action = np.full((4, 2), 0.1, dtype=np.float32)
    done = np.zeros(4, dtype=bool)
    while not done.any():
        observation, _, terminated, truncated, info = gym_env.step(action)
        done = terminated | truncated
        last, _, *flags, plain = other.step(action)
    assert "final_obs" not in plain and np.array_equal(flags[0] | flags[1], done)
    for world in range(4):
        assert np.array_equal(last[world], info["final_obs"][world] if done[world] else observation[world])
    if mode == "disabled":
        first, _ = other.reset(options={"reset_mask": done})
    else:
        first, reward, terminated, truncated, _ = other.step(action)
        assert not reward[done].any() and not (terminated | truncated)[done].any()
        assert (other.env.episode_step.numpy()[done] == 0).all()
    assert np.array_equal(first[done], observation[done])
    other.close()


def test_gymnasium_resets_only_the_worlds_of_a_mask(gym_env):
    gym_env.reset(seed=0)
    for _ in range(2):
        before = gym_env.step(np.zeros((4, 2), dtype=np.float32))[0]
    mask = np.array([True, False, False, True])
    after, _ = gym_env.reset(options={"reset_mask": mask})
    assert np.array_equal(after[~mask], before[~mask])
    assert gym_env.env.episode_step.tolist() == [0, 2, 2, 0]


def test_gymnasium_statistics_wrapper_counts_episodes_and_returns(gym_env):
    env = wrappers.RecordEpisodeStatistics(gym_env)
    env.reset(seed=5)
    total, ended = np.zeros(4), 0
    for _ in range(17):
        _, reward, terminated, truncated, info = env.step(np.full((4, 2), 0.2, dtype=np.float32))
        total += reward
        for world in (terminated | truncated).nonzero()[0]:
            ended += 1
            assert info["_episode"][world] and info["episode"]["l"][world] <= 5
            assert info["episode"]["r"][world] == pytest.approx(total[world], rel=1e-6)
            total[world] = 0
    assert env.episode_count == ended >= 12


def test_gymnasiums_other_wrappers_stack_on_top():
    """Those of observations accept no other mode than next_step."""
    gym_env = GymnasiumEnv(small_env("toy_arm", 4, env={"horizon": 5}), autoreset="next_step")
    env = wrappers.NormalizeReward(wrappers.NormalizeObservation(wrappers.ClipAction(gym_env)))
    env = wrappers.DictInfoToList(env)
    env.reset(seed=0)
    for _ in range(6):
        observation, reward, *_, info = env.step(np.full((4, 2), 3.0, dtype=np.float32))
    assert np.isfinite(observation).all() and np.isfinite(reward).all()
    assert len(info) == 4 and "reward/qpos" in info[0]


def test_a_policy_learns_through_the_gymnasium_interface(tmp_path):
    """The best of random constant actions become the next mean: the reward of holding a bent elbow rises."""
    motion = saved(tmp_path, clip(torch.full((60,), 1.2)))
    options = {"termination": {"mean_site_deviation": 1e3}, "goal": {"start": "beginning"}}
    base = GymnasiumEnv(small_env("toy_arm", 64, motion=motion, **options))
    env = wrappers.RecordEpisodeStatistics(base, buffer_length=64)
    generator = np.random.default_rng(0)
    mean, returns = np.full(2, -0.8), []
    for _ in range(6):
        env.reset(seed=0)
        action = mean + 0.5 * generator.standard_normal((64, 2))
        for _ in range(59):
            env.step(action.astype(np.float32))
        score = np.array(env.return_queue)
        returns.append(score.mean())
        mean = action[score.argsort()[-16:]].mean(0)
    assert returns[-1] > 1.2 * returns[0]
    env.close()


def test_gymnasium_names_what_is_wrong(gym_env):
    with pytest.raises(InputError, match="'next_step'"):
        GymnasiumEnv(gym_env.env, autoreset="nextstep")
    with pytest.raises(InputError, match="reset"):
        gym_env.step(np.zeros((4, 2), dtype=np.float32))
    gym_env.reset()
    with pytest.raises(InputError, match=r"\(4, 3\).*\(4, 2\)"):
        gym_env.step(np.zeros((4, 3), dtype=np.float32))
    with pytest.raises(InputError, match="4 booleans"):
        gym_env.reset(options={"reset_mask": np.array([True])})


@pytest.fixture
def rsl_env():
    made = RslRlEnv(small_env("toy_arm", 8, env={"horizon": 6}), groups={"goal": ["phase", "muscle_force"]})
    yield made
    made.close()


def test_rsl_rl_trains_two_iterations(rsl_env, tmp_path):
    runner = OnPolicyRunner(rsl_env, copy.deepcopy(RUNNER), log_dir=str(tmp_path), device="cpu")
    before = [p.clone() for p in runner.alg.actor.parameters()]
    runner.learn(2, init_at_random_ep_len=True)
    after = list(runner.alg.actor.parameters())
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(p.isfinite().all() for p in after) and (tmp_path / "model_1.pt").is_file()
    assert len(runner.logger.lenbuffer) > 8  # episodes ended and were counted
    # The environment is not left in inference mode: everyone else can still use it.
    rsl_env.env.begin()
    rsl_env.env.advance(torch.zeros(8, 2))
    assert not rsl_env.get_observations()["policy"].is_inference()
    action = runner.get_inference_policy()(rsl_env.get_observations())
    assert action.shape == (8, 2)


def test_rsl_rl_groups_are_columns_of_the_observation(rsl_env):
    observations, layout = rsl_env.get_observations(), rsl_env.env.observation_layout
    phase, force = observations["policy"][:, layout["phase"]], observations["policy"][:, layout["muscle_force"]]
    assert force.shape == (8, 2)  # one of several quantities a muscle: every other column
    assert torch.equal(observations["goal"], torch.cat([phase, force], dim=1))
    with pytest.raises(InputError, match="'phase'"):
        RslRlEnv(rsl_env.env, groups={"goal": ["phse"]})


def test_rsl_rl_time_outs_are_the_horizons(rsl_env):
    rsl_env.env.termination.thresholds.fill_(1e3)
    rsl_env.env.assign((torch.zeros(8, dtype=torch.long), torch.zeros(8, dtype=torch.long)))
    ended = [rsl_env.step(torch.zeros(8, 2)) for _ in range(6)]
    assert [bool(done.any()) for _, _, done, _ in ended] == [False] * 5 + [True]
    _, reward, done, extras = ended[-1]
    assert done.all() and extras["time_outs"].all() and reward.shape == (8,)
    assert extras["log"]["/reward/qpos"].shape == ()
    rsl_env.env.assign((torch.zeros(8, dtype=torch.long), torch.zeros(8, dtype=torch.long)))
    rsl_env.episode_length_buf = torch.arange(8) % 6
    _, _, done, _ = rsl_env.step(torch.zeros(8, 2))
    assert done.tolist() == [False] * 5 + [True, False, False]
    assert rsl_env.episode_length_buf.tolist() == [1, 2, 3, 4, 5, 0, 1, 2]


@pytest.mark.parametrize("number", [0, 1, 2], ids=["gymnasium", "rsl_rl", "mujoco"])
def test_the_documented_examples_run(number, tmp_path, monkeypatch):
    text = (ROOT / "docs" / "other_frameworks.md").read_text(encoding="utf-8")
    blocks = [part.split("```")[0] for part in text.split("```python\n")[1:]]
    assert len(blocks) == 3
    monkeypatch.chdir(tmp_path)
    exec(compile(blocks[number], "other_frameworks.md", "exec"), {})
    assert number != 1 or (tmp_path / "runs" / "rsl_rl" / "model_1.pt").is_file()
