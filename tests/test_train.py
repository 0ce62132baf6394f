"""The real command, on the toy arm: it runs, stops on Ctrl-C, resumes exactly, fine-tunes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from muscle_torch.storage.checkpoint import load_checkpoint

ROOT = Path(__file__).parents[1]
SMALL = ["task=toy_arm", "num_envs=16", "threads=2", "ppo.num_steps=16"]


def train(*words, cwd, **options):
    command = [sys.executable, str(ROOT / "train.py"), *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False, **options)


def metrics(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_a_run_writes_everything_and_can_be_fine_tuned(tmp_path):
    done = train(*SMALL, "max_iterations=4", "experiment=a", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs" / "a"
    # A block of two layers of 64 with LayerNorms, a skip and a gate; then the head. The actor has a deviation a muscle.
    inputs = load_checkpoint(run)["observation_size"]
    block = (inputs + 1) * 64 + 128 + 65 * 64 + 128 + (inputs + 1) * 64 + 1
    assert f"actor with {block + 65 * 2 + 2:,} parameters, critic with {block + 65:,}" in done.stdout
    for name in ("config.yaml", "manifest.json", "metrics.jsonl", "checkpoints/last.pt"):
        assert (run / name).is_file(), name
    for policy in ("untrained", "zero", "final"):
        found = json.loads((run / "eval" / policy / "metrics.json").read_text())
        assert found["num_clips"] >= 2 and found["err_site_abs"] > 0
    assert [m["step"] for m in metrics(run)] == [256, 512, 768, 1024]
    assert list(run.glob("**/events.out.tfevents*"))

    tune = (*SMALL, "max_iterations=1", "checkpoint=runs/a", "evaluate=false", "optimizer.learning_rate=1e-3")
    for name, words, rate in (
        ("b", [], 1e-3),
        ("c", ["schedule_start=-1"], 0.0),
        ("d", ["schedule_start=0.75"], 2.5e-4),
    ):
        tuned = train(*tune, f"experiment={name}", *words, cwd=tmp_path)
        assert tuned.returncode == 0, tuned.stderr
        assert metrics(tmp_path / "runs" / name)[0]["ppo/learning_rate"] == pytest.approx(rate, abs=2e-6)
    taken = train(*SMALL, "max_iterations=1", "experiment=a", cwd=tmp_path)
    assert taken.returncode == 2 and "resume=" in taken.stderr


@pytest.mark.parametrize("final_std", [0.0, 0.02])
def test_fine_tuning_takes_the_noise_or_resets_it(tmp_path, final_std):
    """The standard deviation of the first update: the checkpoint's, or reset_std; its own network keeps the rest."""
    std = [f"exploration.final_std={final_std}", "max_iterations=3", "evaluate=false"]
    assert train(*SMALL, *std, "experiment=a", cwd=tmp_path).returncode == 0
    last = metrics(tmp_path / "runs" / "a")[-1]["ppo/std"]
    for name, words, expected in (("b", [], last), ("c", ["reset_std=0.4"], 0.4)):
        done = train(*SMALL, *std, f"experiment={name}", "checkpoint=runs/a", *words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert metrics(tmp_path / "runs" / name)[0]["ppo/std"] == pytest.approx(expected, rel=0.02)
    again = train("resume=runs/c", "max_iterations=5", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    refused = train(*SMALL, *std, "experiment=e", "checkpoint=runs/a", "reset_std=-1", cwd=tmp_path)
    assert refused.returncode == 2 and "reset_std" in refused.stderr


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_ctrl_c_saves_and_the_printed_command_continues(tmp_path):
    command = [
        sys.executable,
        str(ROOT / "train.py"),
        *SMALL,
        "total_steps=100000000",
        "experiment=c",
        "evaluate=false",
    ]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    run = tmp_path / "runs" / "c"
    give_up = time.monotonic() + 120
    while not (run / "metrics.jsonl").exists() or len(metrics_so_far(run)) < 3:
        assert time.monotonic() < give_up and process.poll() is None
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "resume=runs/c" in out and "Traceback" not in err
    before = metrics(run)
    more = len(before) + 2
    done = train("resume=runs/c", f"max_iterations={more}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    after = metrics(run)
    assert [m["step"] for m in after] == [256 * (i + 1) for i in range(more)]
    assert after[: len(before)] == before


def metrics_so_far(run: Path) -> list[str]:
    return (run / "metrics.jsonl").read_text().splitlines()
