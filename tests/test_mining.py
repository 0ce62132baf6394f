"""Hard negative mining: which trials the next expert gets, and that a stopped run continues."""

import json

import pytest
import torch
from commands import script
from env_cases import clip, saved

from muscle_torch.errors import InputError
from muscle_torch.evaluation.mining import MiningState, failed_trials, mine, mining_table
from muscle_torch.models import load_policy
from muscle_torch.storage.checkpoint import load_checkpoint

TRIALS = [f"clip_{i}" for i in range(8)]


class Stub:
    """Experts that fail a known set of trials; records every call."""

    def __init__(self, failures: list[list[str]], stop_in: int = -1):
        self.failures, self.stop_in = failures, stop_in
        self.trained: list[tuple[int, list[str]]] = []

    def train(self, index, trials):
        if index == self.stop_in:
            raise KeyboardInterrupt
        self.trained.append((index, list(trials)))

    def evaluate(self, index, trials):
        assert self.trained[-1] == (index, list(trials))
        failed = self.failures[index]
        rows = [{"name": name, "success_rate": float(name not in failed)} for name in trials]
        rate = 1 - len(failed) / len(trials)
        return {"num_clips": len(rows), "success_rate": rate, "frame_coverage": rate, "per_clip": rows}


def test_each_expert_gets_exactly_the_failures_of_the_previous_one(tmp_path):
    first, second = ["clip_1", "clip_4", "clip_6"], ["clip_4"]
    stub, state = Stub([first, second, []]), MiningState.open(tmp_path / "mining.json", TRIALS)
    mine(state, stub.train, stub.evaluate, experts=5, stop_below=1)
    assert stub.trained == [(0, TRIALS), (1, first), (2, second)]
    assert [expert.failed for expert in state.experts] == [first, second, []]
    assert MiningState.open(tmp_path / "mining.json", TRIALS) == state
    table = mining_table(state)
    assert "expert 0" in table and "62.5" in table and "66.7" in table


@pytest.mark.parametrize(("experts", "stop_below", "number"), [(1, 1, 1), (2, 1, 2), (5, 2, 2), (5, 4, 1)])
def test_it_stops_when_enough_experts_exist_or_few_trials_are_left(tmp_path, experts, stop_below, number):
    stub = Stub([["clip_1", "clip_4", "clip_6"], ["clip_4"], []])
    state = MiningState.open(tmp_path / "mining.json", TRIALS)
    mine(state, stub.train, stub.evaluate, experts, stop_below)
    assert len(stub.trained) == len(state.experts) == number


def test_a_stopped_run_continues_with_the_expert_that_was_not_evaluated(tmp_path):
    failures = [["clip_1", "clip_4"], ["clip_4"], []]
    state = MiningState.open(tmp_path / "mining.json", TRIALS)
    with pytest.raises(KeyboardInterrupt):
        mine(state, (stopped := Stub(failures, stop_in=1)).train, stopped.evaluate, 3, 1)
    again, stub = MiningState.open(tmp_path / "mining.json", TRIALS), Stub(failures)
    assert [expert.failed for expert in again.experts] == failures[:1]
    mine(again, stub.train, stub.evaluate, 3, 1)
    assert stub.trained == [(1, failures[0]), (2, failures[1])]
    assert [path.name for path in tmp_path.iterdir()] == ["mining.json"]


def test_a_state_of_other_motions_and_limits_out_of_range_are_one_line(tmp_path):
    path = tmp_path / "mining.json"
    MiningState(path, TRIALS).save()
    with pytest.raises(InputError, match="same motion="):
        MiningState.open(path, TRIALS[1:])
    path.write_text("{")
    with pytest.raises(InputError, match="damaged"):
        MiningState.open(path, TRIALS)
    stub = Stub([[]])
    with pytest.raises(InputError, match="at least 1"):
        mine(MiningState(path, TRIALS), stub.train, stub.evaluate, 0, 1)
    assert failed_trials({"per_trial": [{"name": "a", "success_rate": 0.0}, {"name": "b", "success_rate": 1.0}]}) == [
        "a"
    ]


TOY = ("task=toy_arm", "num_envs=8", "threads=1", "device=cpu", "policy=mlp", "policy.hidden=[16]", "evaluate=false",
       "max_iterations=2", "ppo.num_steps=16", "ppo.epochs=2", "gate_hidden=[16,8]")  # fmt: skip


def test_one_command_mines_two_experts_and_a_gate_and_continues(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    times = torch.linspace(0, 6, 80)
    easy, hard = clip(torch.full((30,), 0.5), "easy"), clip(1.2 + torch.sin(4 * times), "hard")
    motion = f"motion=[{','.join(saved(tmp_path, easy, hard))}]"
    main = script("tools/mine_experts.py").main
    words = (*TOY, motion, "experts=1", "evaluation_termination.mean_site_deviation=0.0001", "experiment=mined")
    assert main(words) == 0
    assert "the result is runs/mined/expert_0" in capfd.readouterr().out
    more = [word.replace("experts=1", "experts=2") for word in words]
    assert main(more) == 0
    output = capfd.readouterr().out
    folder = tmp_path / "runs" / "mined"
    state = json.loads((folder / "mining.json").read_text())
    assert state["experts"][0]["trials"] == ["easy", "hard"] and state["experts"][0]["failed"]
    assert state["experts"][1]["trials"] == state["experts"][0]["failed"]
    assert (
        state["gate"]["num_clips"] == 2 and "expert 0: " not in output and "the result is runs/mined/gate_2" in output
    )
    first, second, gate = (load_checkpoint(folder / name) for name in ("expert_0", "expert_1", "gate_2"))
    assert all(torch.equal(value, second["untrained"][name]) for name, value in first["policy"].items())
    mixture = load_policy(folder / "gate_2").policy
    for expert, stored in zip(mixture.experts, (first, second), strict=True):
        assert all(torch.equal(value, stored["policy"][name]) for name, value in expert.state_dict().items())
    assert gate["policy_spec"]["gate_hidden"] == [16, 8]
    assert main(more) == 0  # finished: only the table
    assert "gate over" not in capfd.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("task=toy_reach",), "follows no motions"),
        (("task=toy_arm", "resume=auto"), "resume= is not needed"),
        (("task=legs", "resume=auto"), "resume= is not needed"),  # goal=kinesis follows motions as well
        (("task=toy_arm", "policy=experts"), "network of an expert"),
        (("task=toy_arm", "gate_hidden=[8,0]"), "at least 1 unit"),
        (("task=toy_arm", "expert=2"), "expert"),
    ],
)
def test_bad_input_is_one_line(words, message):
    with pytest.raises(InputError, match=message) as caught:
        script("tools/mine_experts.py").main(words)
    assert "\n" not in str(caught.value)
