"""The benchmark's sweep, its profile of a step, its plot, and the comparison of two files."""

import json
import time

import pytest
import torch
from commands import script
from env_cases import all_equal, play, small_env

from muscle_torch.errors import InputError
from muscle_torch.tools.benchmarking.physics_cases import CASES

TOY = ("task=toy_arm", "threads=1", "ppo.num_steps=16", "device=cpu", "policy.hidden=[16]", "steps=10", "repeats=1")
benchmark = script("tools/benchmark.py")


def test_a_sweep_is_measured_drawn_and_compared(tmp_path, capsys):
    path = tmp_path / "speed.json"
    words = (*TOY, "num_envs=[8,4]", "policy=[mlp,gated_residual]", f"output={path}", f"plot={tmp_path / 'speed.png'}")
    assert benchmark.main(words) == 0
    results = json.loads(path.read_text())["results"]
    settings = [(r["policy"], r["num_envs"], r["precision"]) for r in results]
    assert settings == [(p, n, "float32") for p in ("mlp", "gated_residual") for n in (4, 8)]
    assert (tmp_path / "speed.png").read_bytes()[1:4] == b"PNG"
    faster = [r | {"train_steps_per_s": 2 * r["train_steps_per_s"]} for r in results[1:]]
    stages = results[1]["physics_stages"]["stages"]
    faster[0]["physics_stages"] = {"stages": stages | {"solver": stages["solver"] / 4}}
    (tmp_path / "faster.json").write_text(json.dumps({"results": faster}))
    capsys.readouterr()
    assert benchmark.main([f"compare=[{path},{tmp_path / 'faster.json'}]"]) == 0
    _, *speeds, head, solver, _, _ = capsys.readouterr().out.splitlines()
    assert len(speeds) == 3 and all(line.split()[-4:] == ["1.000", "1.000", "2.000", "1.000"] for line in speeds)
    column = slice(head.index("solver") - 10, head.index("solver") + 6)
    assert solver[column].split() == ["4.000"] and set(solver.split()[-10:]) <= {"1.000", "4.000", "-"}


@pytest.mark.parametrize("backend", ["mujoco", "warp"])
def test_cases_of_the_physics_and_the_host_s_part(tmp_path, capsys, backend):
    """Each case has a speed; on Warp also what its solver and buffers needed, and too small buffers are named."""
    path = tmp_path / "cases.json"
    assert benchmark.main((*TOY, f"backend={backend}", "num_envs=4", "cases=true", f"output={path}")) == 0
    result, shown = json.loads(path.read_text()), capsys.readouterr().out
    cases = result["physics_cases"]
    only_warp = {"half the rows", "large buffers"}
    assert set(CASES) - set(cases) == (only_warp if backend == "mujoco" else set())
    assert all(case["control_steps_per_s"] > 0 and case["overflow"] == {} for case in cases.values())
    gaps = result["launch_gaps"]
    assert gaps["busy"] is None and 0.5 < gaps["host"] / gaps["whole"] <= 1.0
    assert "published solver" in shown and "the host's part" in shown
    if backend == "warp":
        assert cases["large buffers"]["rows_buffer"] == 768 and cases["half the rows"]["rows_buffer"] == 4
        assert 1 <= cases["as configured"]["iterations_max"] <= 5 and "rows at most" in shown


def test_files_without_stages_are_compared_by_speed(tmp_path, capsys):
    """As those of earlier versions are."""
    path = tmp_path / "speed.json"
    assert benchmark.main((*TOY, "num_envs=4", f"output={path}")) == 0
    shown = capsys.readouterr().out
    result = json.loads(path.read_text())
    stages = result["physics_stages"]["stages"]
    assert f"muscle paths    {stages['muscle_paths']:12,.2f}" in shown and "on one thread" in shown
    del result["physics_stages"]
    (tmp_path / "old.json").write_text(json.dumps(result))
    assert benchmark.main([f"compare=[{tmp_path / 'old.json'},{path}]"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_the_profile_is_the_time_of_a_step():
    """Parts that sleep are found where they sleep; the environment is as it was afterwards."""
    env = small_env(num_envs=4)
    physics, reward = type(env.physics).step, env.reward

    def slow(ctrl, substeps):
        time.sleep(0.01)
        return physics(env.physics, ctrl, substeps)

    def act(observation):
        time.sleep(0.02)
        return torch.zeros(4, 2)

    env.physics.step = slow
    begin = time.perf_counter()
    parts = script("tools/benchmarking/step_profile.py").profile(env, act, 10)
    whole = 1e6 * (time.perf_counter() - begin) / 40
    assert parts["physics"] >= 2500 and parts["inference"] >= 5000 and parts["observation"] > 0 and parts["reward"] > 0
    assert 0.5 * whole < sum(parts.values()) <= whole
    assert env.reward is reward
    assert all_equal(
        play(small_env(num_envs=4), torch.zeros(3, 4, 2)), play(small_env(num_envs=4), torch.zeros(3, 4, 2))
    )


def test_what_cannot_be_compared_is_named(tmp_path):
    (tmp_path / "other.json").write_text("{}")
    for words in (["compare=[a.json]"], ["compare=[a.json,b.json]"], [f"compare=[{tmp_path}/other.json,b.json]"]):
        with pytest.raises(InputError, match=r"compare|a\.json|other\.json"):
            benchmark.main(words)


def test_presets_are_swept_and_what_cannot_be_measured_is_left_out(tmp_path, capsys):
    """With a narrower network than the presets'."""
    path = tmp_path / "presets.json"
    small = ("policy.hidden=[16,16]", "ppo.minibatches=1", "ppo.num_steps=4", "steps=2", "repeats=1", "threads=1")
    words = (*small, "task=bimanual", "preset=[paper,release]", "num_envs=2", "device=cpu", f"output={path}")
    assert benchmark.main(words) == 0
    results = json.loads(path.read_text())["results"]
    found = [(r["preset"], r["embodiment"]["fingers"], r["num_envs"]) for r in results]
    assert found == [("paper", False, 2), ("release", True, 2)]
    capsys.readouterr()
    assert benchmark.main((*TOY, "num_envs=[1,4]", "ppo.minibatches=32", f"output={path}")) == 0
    assert [r["num_envs"] for r in json.loads(path.read_text())["results"]] == [4]
    assert "skipped: toy_arm, 1 worlds: ppo.minibatches=32" in capsys.readouterr().err
    with pytest.raises(InputError, match="none of the settings"):
        benchmark.main((*TOY, "num_envs=[1,4]", "ppo.minibatches=320"))
