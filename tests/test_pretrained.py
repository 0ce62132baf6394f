"""Policies that come with the package, and the small folders of `tools/share.py`."""

import json

import pytest
import torch
from commands import script

from muscle_torch.config import config_from_dict, parse_words
from muscle_torch.errors import InputError
from muscle_torch.evaluation import PolicyController, evaluate
from muscle_torch.models import load_policy, make_policy
from muscle_torch.pretrained import PRETRAINED, pretrained_checkpoint, pretrained_metrics
from muscle_torch.storage.checkpoint import absolute_checkpoint, load_checkpoint, load_weights
from muscle_torch.tools.training import make_environment

LARGEST = 2e6  # bytes
TINY = ["task=toy_arm", "num_envs=4", "threads=1", "device=cpu", "max_iterations=1", "ppo.num_steps=8"]
TINY += ["ppo.minibatches=1", "policy.hidden=[16]", "evaluate=false"]


@pytest.mark.parametrize("name", PRETRAINED)
def test_pretrained_policies_are_as_accurate_as_stated(name):
    """On two of their motions, in a new environment: the site error is within 10 % of the file's."""
    assert pretrained_checkpoint(name).stat().st_size <= LARGEST
    stated = {row["name"]: row for row in json.loads(pretrained_metrics(name).read_text())["per_clip"]}
    policy = load_policy(f"pretrained:{name}")
    motions = sorted(stated, key=lambda motion: stated[motion]["num_frames"])[:2]
    config = config_from_dict({**policy.config, "motion": motions, "device": "cpu", "threads": 1})
    env = make_environment(config, evaluation=True)
    metrics = evaluate(env, PolicyController(policy))
    assert [row["name"] for row in metrics["per_clip"]] == motions
    for row in metrics["per_clip"]:
        assert row["err_site_abs"] == pytest.approx(stated[row["name"]]["err_site_abs"], rel=0.1)
    fresh = make_policy(config.policy, env, config.exploration)
    load_weights(fresh, load_checkpoint(f"pretrained:{name}"), env, config.task)  # a fine-tune starts here
    observation = env.begin()
    torch.testing.assert_close(fresh.eval().distribution(observation).mode, policy.act(observation))
    env.close()


def test_a_misspelled_pretrained_policy_is_reported():
    with pytest.raises(InputError, match=r"no pretrained policy 'bimanul', did you mean 'bimanual'\?"):
        load_policy("pretrained:bimanul")
    assert absolute_checkpoint("pretrained:bimanual") == "pretrained:bimanual"


def test_play_without_arguments_shows_the_arms():
    program = script("tools/play.py")
    shown = {
        (): "pretrained:bimanual",
        ("motion=wave",): "pretrained:bimanual",
        ("task=bimanual",): "",
        ("policy=zero",): "",
        ("checkpoint=runs/a",): "runs/a",
    }
    for words, checkpoint in shown.items():
        assert program.complete(parse_words(program.PlayOptions, words)).checkpoint == checkpoint


def test_an_evaluation_of_a_pretrained_policy_is_not_written_into_the_package():
    program = script("tools/evaluate.py")
    options = parse_words(program.EvaluateOptions, ["checkpoint=pretrained:bimanual"])
    assert program.output_path(options) is None


def test_share_writes_a_small_checkpoint_that_acts_as_the_run(tmp_path, capsys):
    assert script("train.py").main([*TINY, f"runs_dir={tmp_path}", "experiment=a"]) == 0
    run, folder = tmp_path / "a", tmp_path / "shared"
    assert script("tools/share.py").main([f"checkpoint={run}", f"output={folder}", "threads=1"]) == 0
    assert "policy.pt" in capsys.readouterr().out
    stored, full = load_checkpoint(folder / "policy.pt"), load_checkpoint(run)
    assert "algorithm" not in stored and stored["config"]["runs_dir"] == "runs"
    assert stored["config"]["policy"] == full["config"]["policy"]
    observation = torch.randn(5, stored["observation_size"])
    assert torch.equal(load_policy(folder / "policy.pt").act(observation), load_policy(run).act(observation))
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["task"] == "toy_arm" and metrics["step"] == full["step"] and metrics["err_site_abs"] > 0
    with pytest.raises(InputError, match="output="):
        script("tools/share.py").main([f"checkpoint={run}"])
