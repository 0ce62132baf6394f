"""The environment: order of a step, resets, ends of episodes, broken worlds, exact continuation, TorchRL."""

import math

import pytest
import torch
from env_cases import ALL_REWARDS, CPU, actions, all_equal, clip, play, saved, small_env, tensors
from torchrl.envs.utils import check_env_specs

from muscle_torch.config import load_config
from muscle_torch.envs import VecTask, make_env
from muscle_torch.errors import InputError

TASKS = ["toy_arm", "bimanual"]


@pytest.fixture(params=TASKS)
def env(request):
    made = small_env(request.param, 6, env={"horizon": 7})
    yield made
    made.close()


@pytest.fixture
def ramp(tmp_path):
    """One world on one clip of 10 frames, an elbow that bends slowly."""
    motion = saved(tmp_path, clip(torch.linspace(0.3, 0.4, 10)))
    made = small_env("toy_arm", 1, motion=motion, termination={"mean_site_deviation": 1e3})
    yield made
    made.close()


def test_a_step_is_compared_with_the_next_frame(ramp):
    ramp.assign((torch.tensor([0]), torch.tensor([3])))
    step = ramp.advance(ramp.zero_action[None])
    assert ramp.goal.frame.tolist() == [4] and ramp.episode_step.tolist() == [1]
    error = ramp.physics.field("qpos")[0, 0] - ramp.goal.library.qpos[4, 0]
    assert float(step.terms["err/joint_pos"]) == pytest.approx(abs(float(error)), rel=1e-4)
    assert float(step.observation[0, ramp.observation_layout["phase"]]) == pytest.approx(4 / 10)


def test_an_episode_is_cut_off_at_the_last_frame_or_the_horizon(ramp, tmp_path):
    ramp.assign((torch.tensor([0]), torch.tensor([0])))
    cut = [bool(ramp.advance(ramp.zero_action[None]).truncated) for _ in range(9)]
    assert cut == [False] * 8 + [True]
    assert ramp.advance(ramp.zero_action[None]).truncated and ramp.goal.frame.tolist() == [9]  # and stays there
    motion = saved(tmp_path, clip(torch.linspace(0.3, 0.4, 10)))
    short = small_env("toy_arm", 1, motion=motion, env={"horizon": 4}, termination={"mean_site_deviation": 1e3})
    short.assign((torch.tensor([0]), torch.tensor([2])))
    assert [bool(short.advance(short.zero_action[None]).truncated) for _ in range(4)] == [False] * 3 + [True]
    short.close()


def test_losing_the_motion_terminates_and_does_not_truncate(tmp_path):
    motion = saved(tmp_path, clip(torch.full((50,), 1.5)))
    env = small_env("toy_arm", 1, motion=motion, termination={"mean_site_deviation": 0.02})
    env.assign((torch.tensor([0]), torch.tensor([0])))
    for _ in range(40):  # relaxed, the forearm falls
        step = env.advance(env.zero_action[None])
        if step.terminated:
            break
    assert step.terminated and not step.truncated and step.terms["err/site_abs"] > 0.02
    env.close()


def test_restart_changes_only_the_finished_worlds(env):
    env.begin()
    for action in actions(env, 3):
        step = env.advance(action)
    done = torch.tensor([True, False, False, True, False, False])
    before, frame = step.observation.clone(), env.goal.frame.clone()
    after = env.restart(done)
    assert torch.equal(step.observation, before)  # what was returned stays
    assert torch.equal(after[~done], before[~done]) and not torch.equal(after[done], before[done])
    assert torch.equal(env.goal.frame[~done], frame[~done]) and not env.episode_step[done].any()
    rows = env.goal.library.rows(env.goal.clip, env.goal.frame)
    assert torch.equal(env.physics.field("qpos")[done], env.goal.library.qpos[rows][done])
    assert torch.equal(env.physics.field("qvel")[done], env.goal.library.qvel[rows][done])
    assert not env.physics.field("act")[done].any()
    # looking at some worlds sees what looking at all of them does
    torch.testing.assert_close(after, env.observer.begin(env.state()), rtol=1e-5, atol=1e-6)


def test_a_restart_elsewhere_does_not_change_the_future():
    sequence = None
    futures = []
    for disturbed in (False, True):
        env = small_env("bimanual", 3, termination={"mean_site_deviation": 1e3})
        env.assign((torch.zeros(3, dtype=torch.long), torch.zeros(3, dtype=torch.long)))
        sequence = actions(env, 6) if sequence is None else sequence
        observations = []
        for index, action in enumerate(sequence):
            observations.append(env.advance(action).observation[1:])
            if disturbed and index == 2:
                env.restart(torch.tensor([True, False, False]))
        futures.append(observations)
        env.close()
    assert all_equal(*futures)


def test_episodes_start_on_frames_from_which_a_step_can_be_made(env):
    clips = []
    for _ in range(40):
        env.begin()
        assert (env.goal.frame <= env.goal.library.length[env.goal.clip] - 2).all() and (env.goal.frame >= 0).all()
        clips += env.goal.clip.tolist()
    assert set(clips) == set(range(env.goal.library.num_clips))


def test_the_same_seed_gives_the_same_rollout():
    rollouts = []
    for seed in (3, 3, 4):
        env = small_env("toy_arm", 5, seed=seed, env={"horizon": 6})
        rollouts.append([env.begin(), *play(env, actions(env, 20))])
        env.close()
    assert all_equal(rollouts[0], rollouts[1]) and not all_equal(rollouts[0], rollouts[2])


@pytest.mark.parametrize("task", TASKS)
def test_a_snapshot_continues_to_the_bit(task):
    penalties = {"joint_acc": 1e-4, "action_rate": 1e-3}
    block = {"env": {"horizon": 5}, "reward": ALL_REWARDS | {"penalties": penalties}}
    env, other = (small_env(task, 5, seed=seed, **block) for seed in (0, 1))
    env.begin()
    sequence = actions(env, 24)
    play(env, sequence[:8])
    snapshot = env.snapshot()
    look = env.restart(torch.zeros(5, dtype=torch.bool))
    future = play(env, sequence[8:])
    for one in (env, other):  # the same one again, and one with another past
        one.load_snapshot(snapshot)
        assert torch.equal(one.restart(torch.zeros(5, dtype=torch.bool)), look)
        assert all_equal(play(one, sequence[8:]), future)
    env.close()
    other.close()


def test_a_snapshot_survives_a_file_and_must_fit(tmp_path):
    env = small_env("toy_arm", 5)
    env.begin()
    torch.save(env.snapshot(), tmp_path / "env.pt")
    stored = torch.load(tmp_path / "env.pt", weights_only=True)
    env.load_snapshot(stored)
    other = small_env("toy_arm", 4)
    with pytest.raises(InputError, match="num_envs"):
        other.load_snapshot(stored)
    env.close()
    other.close()


@pytest.mark.parametrize("poison", ["action", "state"])
@pytest.mark.parametrize("task", TASKS)
def test_a_broken_world_is_cut_off_and_the_others_do_not_notice(task, poison):
    def run(poisoned: bool):
        env = small_env(task, 4, seed=2)
        env.begin()
        transitions = []
        for index, action in enumerate(actions(env, 6)):
            if poisoned and index == 2 and poison == "action":
                action[1] = math.nan
            if poisoned and index == 2 and poison == "state":  # faster than MuJoCo can follow
                qpos, qvel = env.physics.field("qpos").clone(), env.physics.field("qvel").clone()
                env.physics.reset(torch.arange(4) == 1, qpos, torch.full_like(qvel, 1e12))
            step = env.advance(action)
            transitions.append((step, env.restart(step.terminated | step.truncated), int(env.nan_resets)))
        env.close()
        return transitions

    clean, broken = run(False), run(True)
    unaffected = torch.tensor([0, 2, 3])
    for (a, after_a, _), (b, after_b, _) in zip(clean[:3], broken[:3], strict=True):
        assert all_equal([t[unaffected] for t in tensors(a)], [t[unaffected] for t in tensors(b)])
        assert torch.equal(after_a[unaffected], after_b[unaffected])
    step, after, count = broken[2]
    assert step.broken.tolist() == [False, True, False, False] and count == 1
    assert step.truncated[1] and not step.terminated[1] and step.reward[1] == 0 and not step.observation[1].any()
    assert torch.isfinite(after).all()
    assert [count for *_, count in broken] == [0, 0, 1, 1, 1, 1]  # once, and well again
    assert all(torch.isfinite(tensor).all() for tensor in tensors(broken[-1][0]))


def test_errors_can_be_left_out(env):
    env.begin()
    assert {"err/joint_pos", "err/joint_vel", "err/rpos", "err/site_abs"} <= set(env.advance(actions(env, 1)[0]).terms)
    env.measure_errors = False
    assert not any(name.startswith("err/") for name in env.advance(actions(env, 1)[0]).terms)


def test_torch_keeps_its_threads(env):
    before = torch.get_num_threads()
    env.begin()
    play(env, actions(env, 8))
    assert torch.get_num_threads() == before


def test_zero_action_excites_nothing():
    for mapping in ("half", "full"):
        env = small_env("toy_arm", 2, actions={"muscles": {"mapping": mapping}})
        env.begin()
        env.advance(env.zero_action.expand(2, -1))
        assert not env.physics.field("act").any()
        env.close()


def test_torchrl_specs_and_rollout(env):
    check_env_specs(env)
    steps = 15
    env.set_seed(5)
    rollout = env.rollout(steps, break_when_any_done=False)
    assert rollout.shape == (6, steps)
    after = rollout["next"]
    assert torch.equal(after["done"], after["terminated"] | after["truncated"])
    assert after["done"][:, :7].any(dim=1).all()  # the horizon is 7
    # what a step leads to is the next step's observation, unless the episode ended: then it is the true last one
    going_on = ~after["done"][:, :-1, 0]
    assert torch.equal(after["observation"][:, :-1][going_on], rollout["observation"][:, 1:][going_on])
    assert not torch.equal(after["observation"][:, :-1][~going_on], rollout["observation"][:, 1:][~going_on])
    env.set_seed(5)
    again = env.rollout(steps, break_when_any_done=False, policy=_Replay(rollout["action"]))
    assert torch.equal(again["next", "observation"], after["observation"])
    assert torch.equal(again["next", "reward"], after["reward"])


class _Replay(torch.nn.Module):
    def __init__(self, sequence: torch.Tensor):
        super().__init__()
        self.sequence, self.index = sequence, 0

    def forward(self, tensordict):
        tensordict["action"] = self.sequence[:, self.index]
        self.index += 1
        return tensordict


def test_vec_task_resets_itself():
    task, plain = (small_env("toy_arm", 5, env={"horizon": 6}) for _ in range(2))
    view = VecTask(task)
    assert torch.equal(view.reset(), plain.begin()) and not view.progress_buf.any()
    for action in actions(plain, 13):
        obs, reward, done, extras = view.step(action)
        step = plain.advance(action)
        after = plain.restart(step.terminated | step.truncated)
        assert torch.equal(obs, after) and torch.equal(reward, step.reward)
        assert torch.equal(done, step.terminated | step.truncated)
        assert torch.equal(extras["time_outs"], step.truncated & ~step.terminated)
        assert torch.equal(extras["final_observation"], step.observation)
        assert obs is view.obs_buf and reward is view.rew_buf and done is view.reset_buf
        assert torch.equal(view.progress_buf, plain.episode_step) and not view.progress_buf[done].any()
    assert view.zero_actions().shape == (5, view.num_actions) and view.num_obs == obs.shape[1]
    view.close()
    plain.close()


def test_make_env_takes_a_task_or_a_config_and_overrides(tmp_path):
    config = load_config("toy_arm", num_envs=3)
    motion = saved(tmp_path, clip(torch.linspace(0.3, 0.4, 10), "a"))
    env = make_env(config, motion=motion, env={"horizon": 5}, **CPU)
    assert (env.num_envs, env.config.env.horizon, env.goal.library.names) == (3, 5, ["a"])
    assert env.config.goal.options.stride == config.goal.options.stride  # nested keys are merged, not replaced
    env.close()


def test_evaluation_plays_every_clip_from_its_start(tmp_path):
    clips = [clip(torch.linspace(0.3, 0.4, n), f"c{n}") for n in (10, 30, 20)]
    thresholds = {"termination": {"mean_site_deviation": 1.0}, "evaluation_termination": {"mean_site_deviation": 0.5}}
    env = make_env("toy_arm", motion=saved(tmp_path, *clips), evaluation=True, **CPU, **thresholds)
    env.begin()
    assert env.num_envs == 3 and env.goal.clip.tolist() == [0, 1, 2] and env.goal.frame.tolist() == [0, 0, 0]
    assert env.config.env.horizon == 30
    assert env.termination.thresholds.tolist() == [0.5]
    env.close()
    fewer = make_env("toy_arm", 2, motion=saved(tmp_path, *clips), evaluation=True, **CPU)
    assert fewer.num_envs == 2
    fewer.close()
