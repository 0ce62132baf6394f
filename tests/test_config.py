"""Configuration: layers, strictness, nearest names."""

import dataclasses
from importlib import resources
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from muscle_torch.config import Config, config_from_dict, config_to_dict, help_text, load_config, tasks
from muscle_torch.errors import InputError
from muscle_torch.rl.optimizer import Optimizer


def test_later_layers_win():
    cfg = load_config("bimanual", ["ppo.epochs=3", "num_envs=8"], seed=5, ppo={"minibatches": 7})
    assert (cfg.ppo.epochs, cfg.ppo.minibatches, cfg.num_envs, cfg.seed) == (3, 7, 8, 5)
    paper = load_config("bimanual", ["preset=paper", "num_envs=16"])
    assert len(paper.network.hidden) == 16 and paper.num_envs == 16
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
    """A preset's block says all that a task may have changed, so it means the same on top of any task file."""
    block = OmegaConf.to_container(
        OmegaConf.load(Path(str(resources.files("muscle_torch.cfg"))) / f"preset/{preset}.yaml")
    )
    cfg = config_from_dict(block[task])
    assert cfg.num_envs * cfg.ppo.num_steps // cfg.ppo.minibatches == minibatch
    optimizer = Optimizer([torch.nn.Parameter(torch.ones(2, 2))], cfg.optimizer)
    optimizer.schedule(1.0, kl=0.0)
    assert optimizer.learning_rate == pytest.approx(last_rate)
    assert (cfg.exploration.initial_std, cfg.ppo.value_coef, cfg.optimizer.name) == (std, 0.5, "muon")
    if task in tasks():
        layered = load_config(task, [f"preset={preset}"])
        for section in ("network", "ppo", "observation"):
            assert getattr(layered, section) == getattr(cfg, section), section
        assert layered.reward.weights == cfg.reward.weights
        optimized = dataclasses.asdict(layered.optimizer)
        assert {k: optimized[k] for k in block[task]["optimizer"]} == block[task]["optimizer"]


@pytest.mark.parametrize(
    ("word", "offered"),
    [
        ("nume_envs=3", "num_envs"),
        ("ppo.epoch=2", "epochs"),
        ("task=bimanul", "bimanual"),
        ("preset=papr", "paper"),
        ("num_envs=many", "num_envs"),
        ("num_envs", "key=value"),
        ("--num_envs=3", "key=value"),
    ],
)
def test_mistakes_are_one_line_with_the_remedy(word, offered):
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
