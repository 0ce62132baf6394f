"""The command-line tools on the toy arm."""

import hashlib
import json
import os
import shutil
import statistics
from pathlib import Path

import pytest
import torch
from commands import ROOT, script, train

from muscle_torch.config import config_from_dict, help_text
from muscle_torch.envs import make_env
from muscle_torch.errors import InputError
from muscle_torch.evaluation import PolicyController, evaluate
from muscle_torch.models import DiagonalNormal, load_policy
from muscle_torch.motion.rollout_archive import read_archive

TOY = ("task=toy_arm", "num_envs=8", "threads=1", "ppo.num_steps=16", "device=cpu")
EXAMPLE = ROOT / "examples" / "my_policy.py"


def metrics(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def hashes(folder: Path) -> dict[str, str]:
    """Return the hashes of all files of a run."""
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory) -> Path:
    """Return a run of the example policy, trained for three updates from the command line."""
    folder = tmp_path_factory.mktemp("trained")
    words = (*TOY, f"policy={EXAMPLE}:MyPolicy", "max_iterations=3", "experiment=mine", "policy.hidden=[16]")
    done = train(*words, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "runs" / "mine"


def test_a_users_own_policy_trains_is_evaluated_and_loads_again(run_folder):
    assert [m["step"] for m in metrics(run_folder)] == [128, 256, 384]
    assert type(load_policy(run_folder).policy.policy).__name__ == "MyPolicy"
    assert json.loads((run_folder / "eval" / "final" / "metrics.json").read_text())["num_clips"] >= 2


def test_a_policy_is_found_by_module_path(tmp_path, monkeypatch):
    shutil.copy(EXAMPLE, tmp_path / "somebodys_policy.py")
    monkeypatch.syspath_prepend(str(tmp_path))
    words = (*TOY, "policy=somebodys_policy:MyPolicy", "max_iterations=2", "evaluate=false", f"runs_dir={tmp_path}")
    assert script("train.py").main([*words, "experiment=mine"]) == 0
    assert len(metrics(tmp_path / "mine")) == 2


def test_evaluate_reports_every_clip_and_leaves_the_checkpoint_alone(run_folder, capsys):
    checkpoint = run_folder / "checkpoints" / "last.pt"
    before = (checkpoint.read_bytes(), checkpoint.stat().st_mtime_ns)
    main = script("tools/evaluate.py").main
    assert main([f"checkpoint={run_folder}", "device=cpu", "threads=1"]) == 0
    metrics = json.loads((run_folder / "eval" / "metrics.json").read_text())
    final = json.loads((run_folder / "eval" / "final" / "metrics.json").read_text())
    # The same policy, motions and thresholds as at the end of training.
    for name in ("num_clips", "success_rate", "frame_coverage", "err_site_abs", "mean_episode_return"):
        assert metrics[name] == pytest.approx(final[name], rel=1e-4), name
    shown = capsys.readouterr().out
    assert all(row["name"] in shown for row in metrics["per_clip"])
    assert (checkpoint.read_bytes(), checkpoint.stat().st_mtime_ns) == before


def test_evaluate_takes_motions_worlds_and_an_output(run_folder, tmp_path):
    main = script("tools/evaluate.py").main
    name = json.loads((run_folder / "eval" / "final" / "metrics.json").read_text())["per_clip"][0]["name"]
    words = [f"checkpoint={run_folder / 'checkpoints' / 'last.pt'}", "device=cpu", "threads=1", "num_envs=2"]
    assert main([*words, f"motion={name}", f"output={tmp_path / 'one.json'}"]) == 0
    metrics = json.loads((tmp_path / "one.json").read_text())
    assert metrics["num_clips"] == 1 and metrics["per_clip"][0]["name"] == name


def test_a_controller_plays_in_the_environment_of_a_checkpoint(run_folder):
    before = hashes(run_folder)
    main = script("tools/evaluate.py").main
    assert main([f"checkpoint={run_folder}", "policy=zero", "device=cpu", "threads=1"]) == 0
    path = run_folder / "eval" / "zero.json"
    metrics = json.loads(path.read_text())
    baseline = json.loads((run_folder / "eval" / "zero" / "metrics.json").read_text())
    assert metrics["err_site_abs"] == baseline["err_site_abs"] and metrics["policy"] == "zero"
    path.unlink()
    assert hashes(run_folder) == before


def test_stochastic_evaluation_averages_its_seeds_and_changes_no_file_of_the_run(run_folder, tmp_path, capsys):
    before = hashes(run_folder)
    words = [f"checkpoint={run_folder}", "device=cpu", "threads=1", "stochastic=true"]
    main = script("tools/evaluate.py").main
    assert main([*words, "seeds=3", f"output={tmp_path / 'three.json'}", f"archive={tmp_path / 'x.npz'}"]) == 0
    assert main([*words, "seed=1", f"output={tmp_path / 'one.json'}"]) == 0
    three, one = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("three", "one"))
    errors = [seed["err_site_abs"] for seed in three["per_seed"]]
    assert len(set(errors)) == 3 and three["num_seeds"] == 3
    assert three["err_site_abs"] == pytest.approx(statistics.fmean(errors))
    assert three["std"]["err_site_abs"] == pytest.approx(statistics.stdev(errors))
    assert one["err_site_abs"] == errors[1]  # the same seed, the same noise
    assert [row["name"] for row in three["per_clip"]] == [row["name"] for row in one["per_clip"]]
    assert "3 seeds" in capsys.readouterr().out
    assert hashes(run_folder) == before
    assert len(read_archive(tmp_path / "x.npz").episodes) == three["num_clips"]


def test_both_backends_are_compared_metric_by_metric(run_folder, tmp_path, capsys):
    words = [f"checkpoint={run_folder}", "device=cpu", "threads=1", "backend=both", f"output={tmp_path}"]
    assert script("tools/evaluate.py").main(words) == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    one, other = metrics["backends"]["mujoco"], metrics["backends"]["warp"]
    for name in ("err_site_abs", "err_joint_vel", "mean_episode_return", "frame_coverage", "reward_qpos"):
        assert metrics["difference"][name] == pytest.approx(other[name] - one[name])
        assert other[name] == pytest.approx(one[name], rel=2e-2), name  # float32 against float64
    shown = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert len(shown["err_site_abs"]) == 4 and shown["err_site_abs"][1] == f"{one['err_site_abs']:.4g}"


def test_seeds_without_randomness_are_rejected(run_folder):
    main = script("tools/evaluate.py").main
    for words, message in ((["seeds=2"], "stochastic=true"), (["seeds=0", "stochastic=true"], "at least 1")):
        with pytest.raises(InputError, match=message):
            main([f"checkpoint={run_folder}", *words])


def test_a_loaded_policy_evaluates_through_python(run_folder):
    policy = load_policy(run_folder)
    env = make_env(config_from_dict(policy.config), num_envs=3, device="cpu", threads=1, evaluation=True)
    metrics = evaluate(env, PolicyController(policy))
    action = policy.act(torch.zeros(3, env.observation_size))
    assert action.shape == (3, env.action_size) and metrics["num_clips"] == env.goal.library.num_clips


def test_benchmark_writes_what_it_measured(tmp_path, capsys):
    path = tmp_path / "speed.json"
    words = (*TOY, "steps=20", "repeats=3", f"output={path}", "policy.hidden=[16]")
    assert script("tools/benchmark.py").main(words) == 0
    metrics = json.loads(path.read_text())
    columns = ("env_steps_per_s", "env_inference_steps_per_s", "train_steps_per_s", "raw_rollout_steps_per_s")
    for name in columns:
        assert metrics[name] == statistics.median(metrics["samples"][name]) > 0
        assert len(metrics["samples"][name]) == 3
    assert (metrics["num_envs"], metrics["threads"], metrics["substeps"], metrics["device"]) == (8, 1, 5, "cpu")
    assert metrics["versions"]["mujoco"].startswith("3.17") and metrics["peak_memory_bytes"] > 1e8
    assert 0 < metrics["learning_fraction"] < 1
    pairs = zip(metrics["samples"]["env_steps_per_s"], metrics["samples"]["raw_rollout_steps_per_s"], strict=True)
    assert metrics["env_over_raw"] == pytest.approx(statistics.median(one / raw for one, raw in pairs))
    assert "mujoco.rollout" in capsys.readouterr().out


def test_benchmark_takes_a_list_of_worlds(tmp_path):
    path = tmp_path / "speed.json"
    words = [*(w for w in TOY if not w.startswith("num_envs")), "num_envs=[8,4]", "steps=5", "repeats=1"]
    assert script("tools/benchmark.py").main([*words, f"output={path}"]) == 0
    assert [result["num_envs"] for result in json.loads(path.read_text())["results"]] == [4, 8]


def test_plain_mujoco_repeats_the_environments_physics():
    """The baseline reaches the environment's state after every control step."""
    benchmark = script("tools/benchmark.py")
    env = make_env("toy_arm", num_envs=4, device="cpu", threads=1)
    policy = torch.nn.Module()
    policy.distribution = lambda observation: DiagonalNormal(torch.zeros(4, 2), torch.full((4, 2), 0.5))
    recording = benchmark.record(env, policy, 30)
    raw = benchmark.RawRollout(env, recording, 1)
    raw.recording = benchmark.dataclasses.replace(
        recording, **{name: getattr(recording, name)[:1] for name in ("state", "warmstart", "control")}
    )
    raw.control = raw.control[:1]
    raw.time()
    end, following = raw.state[:, -1], recording.state[1]
    # time, qpos, qvel, activations; the recording is float32.
    assert abs(end - following).max() < 1e-4 and abs(end[:, 1:2] - recording.state[0][:, 1:2]).max() > 1e-5


def test_links_show_the_package_as_installed(tmp_path):
    for folder in (
        "muscle_torch",
        "muscle_torch/physics",
        "muscle_torch/__pycache__",
        "envs",
        "models",
        "cfg",
        "tools",
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "__init__.py").write_text(f"# {folder}\n")
    make_links = script("tools/typing_links.py").make_links
    for _ in range(2):  # again over its own links
        made = make_links(tmp_path) / "muscle_torch"
    assert sorted(os.listdir(made)) == ["__init__.py", "cfg", "envs", "models", "physics", "tools"]
    assert (made / "envs" / "__init__.py").read_text() == "# envs\n"
    assert (tmp_path / "envs" / "__init__.py").exists()


@pytest.mark.parametrize("path", ["tools/evaluate.py", "tools/benchmark.py"])
def test_help_explains_every_key(path):
    module = script(path)
    schema = module.EvaluateOptions if "evaluate" in path else module.BenchmarkOptions
    assert all(len(line.split()) > 2 for line in help_text(schema).splitlines())
