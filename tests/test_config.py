"""Configuration: layers, strictness, nearest names."""

import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from muscle_torch.config import Config, config_from_dict, config_to_dict, help_text, load_config, tasks
from muscle_torch.errors import InputError
from muscle_torch.rl.optimizer import make_optimizer
from muscle_torch.rl.ppo_update import count_minibatches


def test_later_layers_win():
    cfg = load_config("bimanual", ["ppo.epochs=3", "num_envs=8"], seed=5, ppo={"minibatches": 7})
    assert (cfg.ppo.epochs, cfg.ppo.minibatches, cfg.num_envs, cfg.seed) == (3, 7, 8, 5)
    paper = load_config("bimanual", ["preset=paper", "num_envs=16"])
    assert len(paper.policy.options.hidden) == 16 and paper.num_envs == 16
    # 8192 worlds, rollouts of 10, 32 minibatches: the published minibatch of 2560.
    published = load_config("bimanual", ["preset=paper"])
    assert published.num_envs * published.ppo.num_steps // published.ppo.minibatches == 2560
    assert published.ppo.epochs == 1


@pytest.mark.parametrize(
    ("preset", "task", "minibatch", "last_rate", "std"),
    [
        ("paper", "bimanual", 2560, 4e-5, 0.2),  # table 9
        ("paper", "fullbody", 12800, 4e-5, 3.0),  # table 8
        ("release", "bimanual", 2560, 4e-4, 0.2),
        ("release", "fullbody", 1280, 0.0, 3.0),
    ],
)
def test_presets_are_the_published_ones_and_whole(preset, task, minibatch, last_rate, std):
    """A preset sets every option that a task may change, so it means the same for every task."""
    block = OmegaConf.to_container(
        OmegaConf.load(Path(str(resources.files("muscle_torch.cfg"))) / f"preset/{preset}.yaml")
    )
    block[task]["embodiment"]["name"] = task
    cfg = config_from_dict(block[task])
    assert cfg.num_envs * cfg.ppo.num_steps // cfg.ppo.minibatches == minibatch
    optimizer = make_optimizer(cfg.optimizer, [torch.nn.Parameter(torch.ones(2, 2))])
    optimizer.schedule(1.0, kl=0.0)
    assert optimizer.learning_rate == pytest.approx(last_rate)
    assert cfg.precision == "tf32"
    assert (cfg.exploration.options.initial_std, cfg.ppo.value_coef, cfg.optimizer.name) == (std, 0.5, "muon")
    if task in tasks():
        layered = load_config(task, [f"preset={preset}"])
        for section in ("policy", "exploration", "ppo", "observation", "goal"):
            assert getattr(layered, section) == getattr(cfg, section), section
        assert layered.reward.weights == cfg.reward.weights
        optimized = config_to_dict(layered)["optimizer"]
        assert {k: optimized[k] for k in block[task]["optimizer"]} == block[task]["optimizer"]


@pytest.mark.parametrize("task", tasks())
def test_the_gpus_recipe_is_there_for_every_task(task):
    """Gated residual, one pass, at least 16,000 samples a minibatch whatever the number of environments; TF32."""
    cfg = load_config(task, ["preset=gpu"])
    assert (cfg.policy.name, cfg.ppo.epochs, cfg.stages, cfg.precision) == ("gated_residual", 1, ["ppo"], "tf32")
    for num_envs in (1024, 4096, cfg.num_envs, 65536):
        samples = num_envs * cfg.ppo.num_steps
        assert samples // count_minibatches(cfg.ppo, samples) >= 16_000
    plain = load_config(task)
    assert (cfg.goal, cfg.actions, cfg.observation, cfg.reward) == (
        *(plain.goal, plain.actions, plain.observation, plain.reward),
    )
    own = load_config(task, ["preset=cpu"])
    assert config_to_dict(own) == config_to_dict(plain) | {"preset": "cpu"}


@pytest.mark.parametrize(
    ("word", "offered"),
    [
        ("nume_envs=3", "num_envs"),
        ("ppo.epoch=2", "epochs"),
        ("task=bimanul", "bimanual"),
        ("preset=papr", "paper"),
        ("num_envs=many", "num_envs"),
        ("num_envs", "key=value"),
        ("-num_envs=3", "key=value"),
    ],
)
def test_errors_are_one_line_with_the_remedy(word, offered):
    with pytest.raises(InputError) as caught:
        load_config(words=[word])
    assert offered in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("task", tasks())
def test_every_task_loads_and_survives_storage(task):
    cfg = load_config(task)
    assert config_from_dict(config_to_dict(cfg)) == cfg


def test_help_names_every_key_with_its_meaning():
    text = help_text(Config)
    for name in ("num_envs=", "ppo.clip=", "policy.hidden=", "optimizer.learning_rate="):
        assert name in text
    assert all(len(line.split()) > 2 for line in text.splitlines())


def test_help_lists_the_options_of_the_chosen_kinds():
    chosen = load_config("toy_reach", ["policy=moe", "actions=[muscles,motors]", "embodiment.motor=true"])
    text = help_text(Config, chosen)
    for name in ("goal.radius=", "policy.mixture.experts=", "actions.motors.limit=", "embodiment.motor=True"):
        assert name in text, name
    assert "goal.lookahead" not in text and "embodiment.fingers" not in text


@pytest.mark.parametrize(
    "words",
    [["policy=moe", "policy.mixture.experts=3"], ["policy.mixture.experts=3", "policy=moe"]],
)
def test_choosing_and_setting_do_not_depend_on_the_order(words):
    cfg = load_config("toy_arm", words)
    assert (cfg.policy.name, cfg.policy.options.mixture.experts) == ("moe", 3)
    assert cfg.policy.options.hidden == [64, 64]  # the task's, which the new row has too


def test_lists_of_kinds():
    words = ["embodiment.motor=true", "actions.motors.limit=0.5", "actions=[muscles,motors]"]
    cfg = load_config("toy_arm", words)
    assert [c.name for c in cfg.actions] == ["muscles", "motors"]
    assert cfg.actions[0].options.mapping == "full" and cfg.actions[1].options.limit == 0.5
    same = load_config("toy_arm", embodiment={"motor": True}, actions=["muscles", {"name": "motors", "limit": 0.5}])
    assert same == cfg and config_from_dict(config_to_dict(cfg)) == cfg
    assert load_config("toy_arm", motion="a.npz").motion == load_config("toy_arm", ["motion=[a.npz]"]).motion


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("policy=mpl", "mlp"),
        ("policy.hiden=[8]", "hidden"),
        ("policy.mixture.experts=3", "moe would"),
        ("goal.radius=0.1", "target, root_target, direction, kick would"),
        ("goal=fly", "choose from motion, kinesis, target"),
        ("actions=[muscles,muscles]", "twice"),
        ("actions=[]", "choose from"),
        ("actions.motors.limit=0.5", "add it"),
        ("actions.muscles.mapping=ful", "full"),
        ("optimizer.momentum=0.5", "muon would"),
        ("policy.hidden=wide", "policy.hidden"),
        ("policy=nowhere.module:Net", "nowhere"),
        ("policy=nowhere.py:Net", "does not exist"),
        ("embodiment.fingers=true", "bimanual, fullbody would"),
        ("fatigue=true", "fatigue.enabled"),
        ("curriculum.reward=1", "curriculum.reward.lowest"),
        ("deficit={a:{b", "cannot read the options"),
    ],
)
def test_options_of_another_kind_are_a_one_line_error(word, expected):
    with pytest.raises(InputError) as caught:
        load_config("toy_arm", [word])
    assert expected in str(caught.value) and "\n" not in str(caught.value)


def test_a_colon_needs_no_space():
    """YAML reads {all:1} as a key `all:1` without a value, and {all:[1,2]} not at all."""
    cfg = load_config("toy_arm", ["deficit={all:0.5,flexor_r:[0.2,1]}", "randomization.strength={all:[1,1.2]}"])
    assert cfg.deficit == {"all": 0.5, "flexor_r": [0.2, 1]} and cfg.randomization.strength == {"all": [1, 1.2]}


def test_misspelled_words_are_reported_without_importing_torch():
    """Options are defined in files that do not import torch."""
    code = (
        "import sys\nfrom muscle_torch.config import load_config\nfrom muscle_torch.errors import InputError\n"
        "load_config('fullbody', ['preset=paper', 'actions.muscles.mapping=half', 'goal.stride=2'])\n"
        "assert not {'torch', 'torchrl', 'warp'} & set(sys.modules), 'torch was imported'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
