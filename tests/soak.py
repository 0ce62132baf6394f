"""A training run killed at random moments and continued with `resume=auto`, over and over.

By hand, for as long as wanted: `python tests/soak.py updates=3000 kills=40 folder=/tmp/soak`.
"""

import dataclasses
import json
import logging
import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from commands import ROOT
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from muscle_torch.config import key, parse_words, run_command
from muscle_torch.storage.checkpoint import load_checkpoint

WORDS = ("task=toy_arm", "num_envs=16", "threads=1", "ppo.num_steps=16", "device=cpu", "evaluate=false")
PER_UPDATE = 256


@dataclasses.dataclass(frozen=True)
class SoakOptions:
    updates: int = key(3000, "length of the run", "updates")
    kills: int = key(40, "how often it is killed")
    save_interval: int = key(20, "as train.py's", "updates")
    seed: int = key(0, "of the moments")
    folder: str = key("soak", "where the runs go")


def soak(options: SoakOptions) -> dict[str, float]:
    """Runs it to its end; the figures. Asserts after every kill that the files are whole and what was lost."""
    folder = Path(options.folder)
    folder.mkdir(parents=True, exist_ok=True)
    draw = random.Random(options.seed)
    words = (*WORDS, f"max_iterations={options.updates}", f"save_interval={options.save_interval}", "resume=auto")
    run, lost, memory = folder / "runs" / "killed", 0, []
    begin = time.monotonic()
    for _ in range(options.kills):
        process = _start((*words, "experiment=killed"), folder)
        # Some while it starts, most while it learns: counted from the first row it writes.
        if draw.random() < 0.8:
            _wait_for_a_row(process, run)
        time.sleep(draw.uniform(0.0, 5.0))
        process.kill()
        process.wait()
        lost = max(lost, _lost(run, options.save_interval))
    whole = _start((*words, "experiment=killed"), folder)
    while whole.poll() is None:
        memory.append(_resident(whole.pid))
        time.sleep(0.2)
    assert whole.returncode == 0, (folder / "output.txt").read_text()[-2000:]
    killed_seconds = time.monotonic() - begin
    assert _start((*words, "experiment=straight"), folder).wait() == 0
    _compare(run, folder / "runs" / "straight", options.updates)
    settled = [m for m in memory if m][len(memory) // 3 :]
    return {
        "updates": options.updates,
        "kills": options.kills,
        "most_updates_lost_by_a_kill": lost,
        "save_interval": options.save_interval,
        "resident_MB_at_a_third": settled[0] / 1e6 if settled else 0.0,
        "resident_MB_at_the_end": settled[-2] / 1e6 if len(settled) > 1 else 0.0,
        "folder_MB": sum(p.stat().st_size for p in run.rglob("*") if p.is_file()) / 1e6,
        "seconds": killed_seconds,
    }


def _start(words: Sequence[str], folder: Path) -> subprocess.Popen:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with open(folder / "output.txt", "a") as out:
        command = [sys.executable, str(ROOT / "train.py"), *words]
        return subprocess.Popen(command, cwd=folder, stdout=out, stderr=out, env=environment)


def _rows(run: Path) -> list[str]:
    path = run / "metrics.jsonl"
    return path.read_text().splitlines() if path.exists() else []


def _wait_for_a_row(process: subprocess.Popen, run: Path) -> None:
    path = run / "metrics.jsonl"
    since = time.time()
    while process.poll() is None and not (path.exists() and path.stat().st_mtime > since and _rows(run)):
        time.sleep(0.02)


def _lost(run: Path, save_interval: int) -> int:
    """Updates between the last row and the last checkpoint, after a kill."""
    rows = _rows(run)
    if not (run / "checkpoints" / "last.pt").exists():
        assert len(rows) <= save_interval, "nothing was saved in time"
        return len(rows)
    saved = load_checkpoint(run)["update"]
    steps = [json.loads(row)["step"] for row in rows[: saved + 1][:saved]]
    assert steps == [PER_UPDATE * (i + 1) for i in range(saved)], f"rows before update {saved} are not all there"
    assert len(rows) - saved <= save_interval
    return max(0, len(rows) - saved)


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def _compare(killed: Path, straight: Path, updates: int) -> None:
    """The run that was killed ends, to the bit, where one that was not does, with the same log."""
    logs = [[json.loads(row) for row in _rows(run)] for run in (killed, straight)]
    kept = [[{k: v for k, v in row.items() if not k.startswith(("speed/", "memory/"))} for row in log] for log in logs]
    assert kept[0] == kept[1]
    wanted = [PER_UPDATE * (i + 1) for i in range(updates)]
    assert [row["step"] for row in kept[0]] == wanted
    logging.getLogger("tensorboard").setLevel(logging.ERROR)  # it tells of every purge
    board = EventAccumulator(str(killed), size_guidance={"scalars": 0})
    board.Reload()
    assert [event.step for event in board.Scalars("ppo/kl")] == wanted
    weights = [load_checkpoint(run)["policy"] for run in (killed, straight)]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def main(words: Sequence[str]) -> int:
    for name, value in soak(parse_words(SoakOptions, words)).items():
        print(f"{name:32s}{value:12,.1f}")
    return 0


if __name__ == "__main__":
    run_command(main, SoakOptions, __doc__ or "")
