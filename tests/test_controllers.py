"""Controllers: their inputs and side effects; tools without a checkpoint."""

import json
import re

import numpy as np
import pytest
import torch
from commands import ROOT, script
from env_cases import Acting, clip, saved, small_env
from test_video import renderer  # noqa: F401  a fixture: skips if nothing can be drawn

from muscle_torch.errors import InputError
from muscle_torch.evaluation import CONTROLLERS, PolicyController, ZeroController, evaluate, make_controller, play
from muscle_torch.models import make_policy


@pytest.fixture
def env(tmp_path):
    made = small_env(num_envs=3, motion=saved(tmp_path, clip(np.linspace(0, 0.5, 30))), evaluation=True)
    yield made
    made.close()


@pytest.fixture
def policy(env):
    torch.manual_seed(0)
    return make_policy("mlp", env)


@pytest.mark.parametrize("name", CONTROLLERS)
def test_every_controller_acts_in_every_environment(env, name):
    controller = make_controller(name)
    env.begin()
    controller.begin(env, torch.ones(3, dtype=torch.bool))
    assert controller.act(env).shape == (3, env.action_size)


def test_an_unknown_controller_is_a_one_line_error():
    with pytest.raises(InputError, match=r"policy=zerro.*'zero'.*checkpoint="):
        make_controller("zerro")


def test_the_mode_is_the_policys_mean_and_the_observation_the_newest(env, policy):
    observations = [env.begin()]
    controller = PolicyController(policy)
    for _ in range(3):
        action = controller.act(env)
        expected = policy.act(observations[-1]) if hasattr(policy, "act") else policy.actor.module(observations[-1])[0]
        assert torch.equal(action, expected.detach()) and not action.requires_grad
        observations.append(env.advance(action).observation)
        assert env.observation is observations[-1]


def test_samples_have_the_policys_distribution_and_random_numbers_of_their_own(env, policy):
    env.begin()
    controller = PolicyController(policy, stochastic=True, seed=3)
    torch.manual_seed(7)
    before = torch.get_rng_state()
    samples = torch.stack([controller.act(env) for _ in range(2000)])
    assert torch.equal(torch.get_rng_state(), before)
    loc, scale, _ = (value.detach() for value in policy.actor.module(env.observation))
    assert ((samples - loc) / scale).mean().abs() < 0.03
    assert ((samples - loc) / scale).std() == pytest.approx(1.0, abs=0.03)
    torch.manual_seed(8)  # of no effect
    controller.reseed(3)
    assert torch.equal(controller.act(env), samples[0])
    assert torch.equal(PolicyController(policy, stochastic=True, seed=3).act(env), samples[0])
    assert not torch.equal(PolicyController(policy, stochastic=True, seed=4).act(env), samples[0])


def test_a_policy_is_in_evaluation_mode_only_while_it_acts(env, policy):
    modes = []
    policy.normalizer.register_forward_pre_hook(lambda module, _: modes.append(module.training))
    policy.train()
    policy.critic.eval()  # part of it was not training
    evaluate(env, PolicyController(policy))
    assert modes and not any(modes)
    assert policy.training and not any(module.training for module in policy.critic.modules())


def test_an_action_of_the_wrong_shape_is_a_one_line_error(env):
    with pytest.raises(InputError, match=r"Acting.*\(3, 1\).*\(3, 2\)"):
        evaluate(env, Acting(lambda observation: torch.zeros(3, 1)))


def test_begin_is_called_once_for_every_batch(env, tmp_path):
    begun = []

    class Counting(ZeroController):
        def begin(self, env, worlds):
            begun.append((worlds.tolist(), env.episode_step.tolist()))

    motion = saved(tmp_path, *(clip(np.zeros(5), f"c{n}") for n in range(4)))
    many = small_env(num_envs=3, motion=motion, evaluation=True)
    play(many, Counting(), 1.0)
    many.close()
    assert begun == [([True] * 3, [0] * 3)] * 2


def test_evaluate_needs_no_checkpoint(tmp_path, capsys):
    main = script("tools/evaluate.py").main
    name = generated_motions()[0]
    words = ("task=toy_arm", "policy=zero", f"motion={name}", "device=cpu", "threads=1")
    assert main([*words, f"output={tmp_path / 'x.json'}"]) == 0
    metrics = json.loads((tmp_path / "x.json").read_text())
    assert metrics["num_clips"] == 1 and metrics["per_clip"][0]["name"] == name
    assert metrics["policy"] == "zero" and metrics["task"] == "toy_arm" and "checkpoint" not in metrics
    env = small_env(num_envs=1, motion=name, evaluation=True)
    assert metrics["err_site_abs"] == evaluate(env, ZeroController())["err_site_abs"]
    env.close()
    capsys.readouterr()
    assert main(list(words)) == 0  # only shown
    assert "written" not in capsys.readouterr().out
    for more, expected in (
        (["stochastic=true"], "policy=zero has none"),
        (["policy=zeor"], "'zero'"),
    ):
        with pytest.raises(InputError, match=expected):
            main([*words, *more])
    with pytest.raises(InputError, match="no controller"):
        main(["task=toy_arm"])


def test_the_controller_of_the_documentation_bends_the_arm():
    text = (ROOT / "docs" / "evaluation.md").read_text()
    example = next(block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "class Bend" in block)
    names: dict = {}
    exec(example, names)
    played = play(names["env"], names["Bend"](), max_seconds=1.0)[0]
    assert played.activation[-1, 0] > 0.9 and played.activation[-1, 1] == 0
    assert played.qpos[-1, 0] > played.qpos[0, 0] + 0.5


def generated_motions() -> list[str]:
    """Generated motions of the toy arm."""
    from muscle_torch.embodiments import make_embodiment
    from muscle_torch.motion import generated_names

    return list(generated_names(make_embodiment("toy_arm")))


def test_render_and_play_play_a_controller(tmp_path, renderer):  # noqa: F811
    import imageio_ffmpeg

    words = ["task=toy_arm", "policy=zero", f"motion={generated_motions()[0]}", "device=cpu", "threads=1"]
    output = tmp_path / "x.mp4"
    options = [f"output={output}", "width=64", "height=64", "max_seconds=0.5"]
    assert script("tools/render.py").main([*words, *options]) == 0
    assert imageio_ffmpeg.count_frames_and_secs(str(output))[0] == 16
    program = script("tools/play.py")
    viewer = program.make_viewer(program.parse_words(program.PlayOptions, [*words, "port=8378", "max_seconds=0.5"]))
    try:
        assert viewer.player.source_names == ("zero", program.MOTION_ONLY)
        assert viewer.player.trajectory.reference is not None and viewer.player.trajectory.activation is not None
    finally:
        viewer.close()
