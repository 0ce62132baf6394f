"""The real command, on the toy arm: it runs, stops on Ctrl-C, resumes exactly, fine-tunes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from muscle_torch.checkpoint import load_checkpoint

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

    tuned = train(*SMALL, "max_iterations=1", "experiment=b", "checkpoint=runs/a", "evaluate=false", cwd=tmp_path)
    assert tuned.returncode == 0, tuned.stderr
    taken = train(*SMALL, "max_iterations=1", "experiment=a", cwd=tmp_path)
    assert taken.returncode == 2 and "resume=" in taken.stderr


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
