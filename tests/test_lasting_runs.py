"""Runs that last: schedulers, kills, failing disks; one command that starts a run and goes on with it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import ROOT, train
from soak import SoakOptions, soak

from muscle_torch.rl.logger import Logger
from muscle_torch.rl.stop import REQUEUE
from muscle_torch.storage.checkpoint import load_checkpoint

SMALL = ("task=toy_arm", "num_envs=16", "threads=1", "ppo.num_steps=16", "device=cpu", "evaluate=false")
posix = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")


def rows(run: Path) -> list[dict]:
    path = run / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def start(folder: Path, *words: str) -> subprocess.Popen:
    command = [sys.executable, str(ROOT / "train.py"), *words]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_rows(process: subprocess.Popen, run: Path, count: int) -> None:
    give_up = time.monotonic() + 120
    while len((run / "metrics.jsonl").read_text().splitlines() if (run / "metrics.jsonl").exists() else "") < count:
        assert time.monotonic() < give_up and process.poll() is None
        time.sleep(0.1)


@posix
@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1"])
def test_a_scheduler_that_stops_a_run_can_queue_the_same_command_again(tmp_path, name):
    words = (*SMALL, "experiment=job", "resume=auto", "save_interval=1000")
    run = tmp_path / "runs" / "job"
    process = start(tmp_path, *words, "max_iterations=100000")  # there is no such run yet: it begins one
    wait_for_rows(process, run, 3)
    process.send_signal(getattr(signal, name))
    out, err = process.communicate(timeout=60)
    assert process.returncode == REQUEUE == 75, err
    assert name in out and "Traceback" not in err
    before = rows(run)
    assert load_checkpoint(run)["update"] == len(before)
    done = train(*words, f"max_iterations={len(before) + 2}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    after = rows(run)
    assert after[: len(before)] == before and [row["step"] for row in after] == [
        256 * (i + 1) for i in range(len(after))
    ]
    assert len(after) == len(before) + 2


def test_resume_auto_takes_the_tasks_newest_run_and_refuses_other_values(tmp_path):
    first = train(*SMALL, "resume=auto", "max_iterations=1", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    more = train(*SMALL, "resume=auto", "max_iterations=2", cwd=tmp_path)
    assert more.returncode == 0 and "resuming" in more.stdout, more.stderr
    (run,) = (tmp_path / "runs").iterdir()
    assert [row["step"] for row in rows(run)] == [256, 512]
    other = train(*SMALL, "resume=auto", "max_iterations=3", "ppo.gamma=0.5", cwd=tmp_path)
    assert other.returncode == 2 and "ppo.gamma is 0.95" in other.stderr and len(other.stderr.splitlines()) == 1


def test_rows_after_the_checkpoint_are_dropped_and_torn_ones_too(tmp_path):
    logger = Logger(tmp_path)
    for step in (10, 20, 30):
        logger.write(step, {"x": float(step)})
    logger.close()
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 4')
    again = Logger(tmp_path, start_step=20)
    again.write(30, {"x": -1.0})
    again.close()
    assert [(row["step"], row["x"]) for row in rows(tmp_path)] == [(10, 10.0), (20, 20.0), (30, -1.0)]
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(tmp_path))
    board.Reload()
    assert [(event.step, event.value) for event in board.Scalars("x")] == [(10, 10.0), (20, 20.0), (30, -1.0)]


def test_a_log_that_cannot_be_written_is_one_warning(tmp_path, capsys):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        logger = Logger(disk)
        logger.write(1, {"x": 1.0})
        (disk / "filler").write_bytes(bytes(shutil.disk_usage(disk).free))
        for step in range(2, 50):
            logger.write(step, {"x": 1.0})
        (disk / "filler").unlink()
        logger.write(50, {"x": 1.0})
        logger.close()
        assert [row["step"] for row in rows(disk)] == [1, 50]
    finally:
        subprocess.run(["umount", disk], check=True)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and all(line.startswith("warning: cannot write") for line in lines)  # the log, TensorBoard


@posix
@pytest.mark.slow
def test_kills_at_random_moments_cost_at_most_one_save_interval(tmp_path):
    found = soak(SoakOptions(updates=300, kills=6, save_interval=5, folder=str(tmp_path)))
    assert found["most_updates_lost_by_a_kill"] <= 5
