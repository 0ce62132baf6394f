"""Fine-tuning: one command from a trained policy to a new motion."""

import pytest
from commands import train

from muscle_torch.config import load_config
from muscle_torch.storage.checkpoint import load_checkpoint

TOY = ("task=toy_arm", "num_envs=8", "threads=1", "ppo.num_steps=16", "device=cpu")


@pytest.mark.parametrize(("preset", "budget"), [("finetune_gentle", 100_000_000), ("finetune_dynamic", 1_000_000_000)])
@pytest.mark.parametrize("task", ["toy_arm", "bimanual", "fullbody"])
def test_budgets_are_from_the_paper_and_other_options_from_the_task(task, preset, budget):
    cfg, plain = load_config(task, [f"preset={preset}"]), load_config(task)
    assert cfg.total_steps == budget and cfg.stages == ["ppo"] and cfg.reset_std > 0
    for section in ("policy", "exploration", "observation", "reward", "optimizer", "actions", "goal"):
        assert getattr(cfg, section) == getattr(plain, section), section
    assert cfg.curriculum.termination.enabled == (preset == "finetune_dynamic")


def test_one_command_continues_from_a_checkpoint(tmp_path):
    first = train(*TOY, "motion=swing", "max_iterations=2", "experiment=base", "evaluate=false", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    words = ("preset=finetune_gentle", "checkpoint=runs/base", "motion=reach", "max_iterations=1", "experiment=tuned")
    done = train(*TOY, *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    heading = next(line for line in done.stdout.splitlines() if "zero excitation" in line and "trained" in line)
    assert "at the start" in heading and "untrained" not in heading
    stored, base = (load_checkpoint(tmp_path / "runs" / name) for name in ("tuned", "base"))
    name = "critic.module.1.0.first.weight"
    assert (stored["untrained"][name] == base["policy"][name]).all()
    std = stored["policy"]["actor.module.exploration.log_std"].exp()
    assert std.tolist() == pytest.approx([0.3, 0.3], abs=1e-3)  # the critic alone learns at first
