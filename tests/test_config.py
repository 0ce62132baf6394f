"""Configuration: layers, strictness, nearest names."""

import pytest

from muscle_torch.config import Config, config_from_dict, config_to_dict, help_text, load_config, tasks
from muscle_torch.errors import InputError


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
    for name in ("num_envs=", "ppo.clip=", "network.hidden=", "optimizer.learning_rate="):
        assert name in text
    assert all(len(line.split()) > 2 for line in text.splitlines())
