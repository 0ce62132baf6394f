"""Several processes train as one: the same update, one folder, and one end, whatever happens to one of them."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from commands import ROOT, train
from several_processes import CASE, SHAPES, STORED, UPDATES, finish, launch, make_trainer

from muscle_torch.config import load_config
from muscle_torch.rl import ppo_update
from muscle_torch.rl.muon import assign_by_cost
from muscle_torch.rl.process_group import SingleProcess
from muscle_torch.rl.resharding import select_shard
from muscle_torch.storage.checkpoint import load_checkpoint

WORKER = [sys.executable, str(ROOT / "tests" / "several_processes.py")]
TRAIN = [sys.executable, str(ROOT / "train.py")]
TOY = ["task=toy_arm", "num_envs=8", "threads=1", "ppo.num_steps=16", "device=cpu", "evaluate=false"]
DIFFERS = ("speed/", "memory/")


def rows(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def joined(told: list[dict], update: int, trainer) -> None:
    """Both processes' rollouts, world beside world, as if one had collected them."""
    rollout, episodes = trainer.algorithm.rollout, trainer.episodes
    parts = [one["rollouts"][update] for one in told]
    for name in STORED:
        getattr(rollout, name).copy_(torch.cat([part[name] for part in parts], dim=1))
    episodes.finished = sum(part["finished"] for part in parts)
    episodes.terms = {name: sum(part["terms"][name] for part in parts) / len(parts) for name in parts[0]["terms"]}
    episodes._rewards, trainer.observation = list(rollout.reward), rollout.observation[-1].clone()
    counts = [one["counts"][max(0, update - 1)] for one in told]
    trainer.env._adaptation._ended.copy_(sum(ended for ended, _ in counts))
    trainer.env._adaptation._failed.copy_(sum(failed for _, failed in counts))


def test_processes_that_divide_muon_make_the_step_of_one(tmp_path):
    """To the bit, though each orthogonalises only its share."""
    for code, _, err in finish(launch([*WORKER, "orthogonalise_and_tell", str(tmp_path)], 3, ROOT / "tests")):
        assert code == 0, err
    told = [torch.load(tmp_path / f"{rank}.pt") for rank in range(3)]
    for one in told:
        alone, together = one["weights"]
        assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))
        assert all(torch.equal(a, b) for a, b in zip(told[0]["weights"][1], together, strict=True))
        assert all(torch.isfinite(weight).all() for weight in alone)
    whole = 4 * len(SHAPES)  # steps, matrices
    assert all(one["done"][0] == whole for one in told) and sum(one["done"][1] for one in told) == whole


def test_matrices_are_dealt_by_what_they_cost():
    """Products of (m, n), m <= n, cost m m n twice and m m m: 192, 24, 24, 40, 81."""
    shapes = [torch.Size(shape) for shape in [(4, 4), (2, 2), (2, 2), (2, 4), (3, 3)]]
    assert assign_by_cost(shapes, 1) == [[0, 4, 3, 1, 2]]
    assert assign_by_cost(shapes, 2) == [[0], [4, 3, 1, 2]]
    assert assign_by_cost(shapes, 3) == [[0], [4], [3, 1, 2]]
    assert assign_by_cost(shapes, 7)[5:] == [[], []]


@pytest.mark.parametrize("policy", ["gated_residual", "moe"])
def test_two_processes_make_the_update_of_one_with_the_joined_batch(tmp_path, monkeypatch, policy):
    worker = [*WORKER, "learn_and_tell", str(tmp_path), policy]
    for code, _, err in finish(launch(worker, 2, ROOT / "tests")):
        assert code == 0, err
    told = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    a, b = (one["rollouts"][0]["action"] for one in told)
    assert not torch.equal(a, b), "the processes must not draw the same random numbers"
    cfg = load_config("toy_arm", policy=policy, **CASE)
    whole = make_trainer(cfg)
    whole.policy.load_state_dict(told[0]["weights"])
    worlds, updates, order = cfg.num_envs // 2, iter(range(UPDATES + 1)), iter(range(1000))

    def replay(steps):
        joined(told, next(updates), whole)

    def union(count, parts, device):
        kept = [one["minibatches"][index] for one, index in zip(told, [next(order)] * 2, strict=True)]
        # Sample t * W + w of a process is t * 2W + w, or t * 2W + W + w, of both.
        moved = [[ids // worlds * cfg.num_envs + ids % worlds + rank * worlds for ids in kept[rank]] for rank in (0, 1)]
        return [torch.cat(pair) for pair in zip(*moved, strict=True)]

    whole._rollout = replay
    monkeypatch.setattr(ppo_update, "minibatches", union)
    for update in range(UPDATES):
        found = whole.iteration()
        for one in told:
            for name, value in one["metrics"][update].items():
                if not name.startswith(DIFFERS):
                    assert found[name] == pytest.approx(value, rel=1e-4, abs=1e-5, nan_ok=True), (update, name)
    for one in told:
        assert one["metrics"][-1]["curriculum/threshold_ratio"] < 1 and one["metrics"][-1]["ppo/kl"] != 0
        for name, value in whole.policy.state_dict().items():
            assert torch.allclose(value, one["after"][name], rtol=1e-6, atol=1e-6), name
        assert torch.allclose(whole.algorithm.return_normalizer.moments, one["moments"], rtol=1e-6)
        assert torch.equal(whole.env.goal._sampler.weights, one["clips"])
        assert torch.equal(whole.env.termination.thresholds, one["thresholds"])
    assert all(torch.equal(value, told[1]["after"][name]) for name, value in told[0]["after"].items())


def run_two(folder: Path, *words: str, **options) -> list[tuple[int, str, str]]:
    return finish(launch([*TRAIN, *TOY, *words], 2, folder, **options))


def test_a_run_of_two_goes_on_exactly_with_two_and_plainly_with_one(tmp_path):
    words = ("save_interval=2", "optimizer.schedule=constant", "optimizer=muon")
    straight = run_two(tmp_path, *words, "experiment=straight", "max_iterations=4")
    assert [code for code, _, _ in straight] == [0, 0], straight
    assert "steps/s" in straight[0][1] and straight[1][1] == "", "only the first process speaks"
    pair = (*words, "experiment=pair", "resume=auto")
    for updates in (2, 4):
        assert [code for code, _, _ in run_two(tmp_path, *pair, f"max_iterations={updates}")] == [0, 0]
    runs = [tmp_path / "runs" / name for name in ("pair", "straight")]
    kept = [[{k: v for k, v in row.items() if not k.startswith(DIFFERS)} for row in rows(run)] for run in runs]
    assert kept[0] == kept[1] and [row["step"] for row in kept[0]] == [128, 256, 384, 512]  # 8 worlds in all
    weights = [load_checkpoint(run)["policy"] for run in runs]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    alone = train(*TOY, *pair, "max_iterations=6", cwd=tmp_path)
    assert alone.returncode == 0, alone.stderr
    assert [row["step"] for row in rows(runs[0])] == [128 * (i + 1) for i in range(6)]
    assert load_checkpoint(runs[0])["env"]["goal"]["clip"].shape == (8,)


def test_worlds_are_divided_anew_among_another_number_of_processes():
    """Two processes saved, one continues, four continue: every world is somewhere once, as it was."""
    trainer = make_trainer(load_config("toy_arm", **CASE | {"num_envs": 4}))
    parts = []
    for _ in range(2):
        trainer.iteration()
        parts.append(trainer._shard_state())
    parts[0]["env"]["nan_resets"] += 3

    def own(rank: int, size: int) -> dict:
        processes = SingleProcess()
        processes.rank, processes.size = rank, size
        return select_shard(parts, processes, seed=5, device=torch.device("cpu"))

    for size in (1, 4):
        again = [own(rank, size) for rank in range(size)]
        for read in (
            lambda part: part["observation"],
            lambda part: part["env"]["physics"]["integration"],
            lambda part: part["env"]["goal"]["_row"],
            lambda part: part["episode"][1],
            lambda part: part["algorithm_shard"]["running_return"],
        ):
            assert torch.equal(torch.cat([read(part) for part in again]), torch.cat([read(part) for part in parts]))
        assert sum(int(part["env"]["nan_resets"]) for part in again) == 3
        assert len({part["rng"].numpy().tobytes() for part in again}) == size
    assert own(1, 2) is parts[1]


def one_line(ended: list[tuple[int, str, str]]) -> str:
    lines = [line for _, _, err in ended for line in err.splitlines()]
    assert [code for code, _, _ in ended] == [2, 2] and len(lines) == 1, ended
    return lines[0]


def test_worlds_that_do_not_divide_are_one_line(tmp_path):
    words = [word for word in TOY if not word.startswith("num_envs")]
    line = one_line(finish(launch([*TRAIN, *words, "num_envs=9"], 2, tmp_path)))
    assert line == "error: num_envs=9 cannot be divided among 2 processes: use 8 or 10"
    assert not list(tmp_path.iterdir())


def test_different_settings_are_found_at_the_start(tmp_path):
    line = one_line(finish(launch([*TRAIN, *TOY, ["ppo.epochs=2", "ppo.epochs=3"]], 2, tmp_path)))
    assert "ppo.epochs is 2 for process 0 and 3 for process 1" in line
    assert not list(tmp_path.iterdir())


def test_what_one_process_cannot_do_is_one_line_of_all(tmp_path):
    assert "motion" in one_line(run_two(tmp_path, "motion=missing.npz"))


@pytest.mark.skipif(sys.platform != "linux", reason="threads are listed in /proc")
def test_a_failed_process_leaves_no_thread_of_its_group(tmp_path):
    """A thread of gloo that outlives the group aborts the interpreter's exit, now and then."""
    for code, _, err in finish(launch([*WORKER, "fail_and_list_threads", str(tmp_path)], 2, ROOT / "tests")):
        assert code == 0, err
    for rank in (0, 1):
        names = json.loads((tmp_path / f"{rank}.json").read_text())
        assert names and not [name for name in names if "gloo" in name], names


def wait_for_rows(run: Path, count: int, started) -> None:
    give_up = time.monotonic() + 120
    while not (run / "metrics.jsonl").exists() or len(rows(run)) < count:
        assert time.monotonic() < give_up and all(process.poll() is None for process in started), finish(started, 1)
        time.sleep(0.1)


def test_a_process_that_dies_ends_all_with_the_reason_within_a_minute(tmp_path):
    started = launch([*TRAIN, *TOY, "experiment=dead", "save_interval=1"], 2, tmp_path)
    wait_for_rows(tmp_path / "runs" / "dead", 2, started)
    started[1].kill()
    killed = time.monotonic()
    (code, _, err), _ = finish(started, 70)
    assert code == 1 and time.monotonic() - killed < 60
    assert "process 1" in err and "has sent no heartbeat" in err and len(err.splitlines()) == 1, err
    assert load_checkpoint(tmp_path / "runs" / "dead")["update"] >= 1


def test_a_process_that_fails_tells_the_others_why(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import os\nfrom muscle_torch.models.actor_critic import MLPPolicy\n\n\n"
        "class Mine(MLPPolicy):\n    def anneal(self, progress):\n"
        "        if os.environ['RANK'] == '1' and progress > 0.3:\n            raise ArithmeticError('lost my mind')\n"
    )
    first, second = run_two(tmp_path, "policy=mine.py:Mine", "max_iterations=5")
    assert first[0] == 1 and second[0] == 1
    assert "process 1" in first[2] and "ArithmeticError: lost my mind" in first[2] and len(first[2].splitlines()) == 1


def test_a_signal_to_one_process_stops_all_after_the_same_update(tmp_path):
    started = launch([*TRAIN, *TOY, "experiment=told", "max_iterations=100000"], 2, tmp_path)
    run = tmp_path / "runs" / "told"
    wait_for_rows(run, 2, started)
    started[1].send_signal(signal.SIGTERM)
    assert [code for code, _, _ in finish(started)] == [75, 75]
    stored = load_checkpoint(run)
    assert stored["update"] == len(rows(run)) and len(stored["others"]) == 1


def test_torchrun_starts_them(tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", *TRAIN[1:], *TOY]
    words = ["experiment=torchrun", "max_iterations=3"]
    done = subprocess.run([*command, *words], cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    assert [row["step"] for row in rows(tmp_path / "runs" / "torchrun")] == [128, 256, 384]
