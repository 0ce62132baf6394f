"""The published configurations: trained, saved, resumed and evaluated from the command line."""

import json

import pytest
from commands import train

from muscle_torch.config import load_config
from muscle_torch.storage.checkpoint import load_checkpoint

# Sizes only: worlds, updates, and the optimiser steps of an update, of which each takes seconds to minutes on a CPU.
SIZES = ("num_envs=8", "threads=1", "device=cpu", "ppo.minibatches=1", "capture_video=false")


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("task", ["bimanual", "fullbody"])
@pytest.mark.parametrize("preset", ["paper", "release"])
def test_a_preset_is_trained_saved_continued_and_evaluated(tmp_path, task, preset):
    words = [f"task={task}", f"preset={preset}", *SIZES, "experiment=run", "resume=auto"]
    first = train(*words, "max_iterations=1", "evaluate=false", cwd=tmp_path, timeout=1400)
    assert first.returncode == 0, first.stderr
    run = tmp_path / "runs" / "run"
    second = train(*words, "max_iterations=2", "evaluate=true", cwd=tmp_path, timeout=1400)
    assert second.returncode == 0, second.stderr
    cfg, stored = load_config(task, preset=preset), load_checkpoint(run)
    kept = stored["config"]
    assert stored["update"] == 2 and kept["network"]["hidden"] == cfg.network.hidden
    assert kept["policy"] == cfg.policy and kept["optimizer"]["name"] == "muon"
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [8 * cfg.ppo.num_steps, 16 * cfg.ppo.num_steps]
    assert all(
        row["ppo/first_ratio"] == pytest.approx(1.0, abs=1e-3) and row["ppo/skipped_updates"] == 0 for row in rows
    )
    assert rows[0]["ppo/grad_norm"] > 0
    assert all((run / "eval" / name / "metrics.json").exists() for name in ("untrained", "zero", "final"))
