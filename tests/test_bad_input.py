"""User errors: one line on stderr with what, where and the remedy; exit code 2; no files left behind."""

import dataclasses
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import ROOT, script, train

from muscle_torch.config import Config, load_config, run_command
from muscle_torch.embodiments import guard, make_embodiment
from muscle_torch.envs import make_env
from muscle_torch.errors import InputError
from muscle_torch.models.build import build_policy
from muscle_torch.motion import MotionClip, load_motion
from muscle_torch.storage.checkpoint import load_checkpoint, load_weights
from muscle_torch.storage.run_folder import fine_tuning

TOY = ("task=toy_arm", "num_envs=4", "threads=1", "ppo.num_steps=8", "evaluate=false", "device=cpu")


@pytest.fixture
def error_message(tmp_path, monkeypatch, capsys):
    """Return a function that runs a command in this process and returns its single line without `error: `."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str, path: str = "train.py") -> str:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", [path, *words])
        with pytest.raises(SystemExit) as stopped:
            run_command(script(path).main, Config, "")
        lines = capsys.readouterr().err.splitlines()
        assert stopped.value.code == 2
        assert len(lines) == 1 and lines[0].startswith("error: "), lines
        return lines[0].removeprefix("error: ")

    return run


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory) -> Path:
    """Return a finished toy run of one update with its checkpoint."""
    folder = tmp_path_factory.mktemp("trained")
    done = train(*TOY, "max_iterations=1", "experiment=toy", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "runs" / "toy"


def toy_clip(**changes) -> MotionClip:
    """Return a generated toy motion with some fields replaced, not validated."""
    return dataclasses.replace(load_motion("all", make_embodiment("toy_arm"))[0], **changes)


@pytest.mark.parametrize(
    ("word", "offered"),
    [
        ("task=toy_amr", "toy_arm"),
        ("num_env=4", "num_envs"),
        ("ppo.num_step=4", "num_steps"),
        ("policy=gated_resdual", "gated_residual"),
        ("policy=no_such_module:MyPolicy", "no_such_module"),
        ("policy=missing.py:MyPolicy", "missing.py"),
        ("embodiment=toy_arn", "toy_arm"),
        ("optimizer.name=muom", "muon"),
        ("optimizer.schedule=linaer", "linear"),
        ("policy.activation=slu", "silu"),
        ("actions.muscles.mapping=ful", "full"),
        ("goal.start=begining", "beginning"),
        ("observation.terms=[joint_poss]", "joint_pos"),
        ("observation.muscle=[forse]", "force"),
        ("reward.weights.rposs=1", "rpos"),
        ("termination.mean_site_deviatoin=1", "mean_site_deviation"),
        ("backend=mujco", "mujoco"),
        ("device=cdua", "cuda"),
    ],
)
def test_misspelled_names_suggest_the_nearest(error_message, tmp_path, word, offered):
    words = [w for w in TOY if w.split("=")[0] != word.split("=")[0]]
    assert offered in error_message(*words, "max_iterations=1", word)
    assert not list(tmp_path.rglob("*.pt"))


IMPOSSIBLE = ["num_envs=0", "num_envs=-3", "ppo.num_steps=0", "ppo.minibatches=0", "total_steps=-1"]


@pytest.mark.parametrize("word", IMPOSSIBLE)
def test_impossible_numbers_name_their_key(error_message, word):
    words = [w for w in TOY if w.split("=")[0] != word.split("=")[0]]
    assert word.split("=")[0] in error_message(*words, word)


@pytest.mark.parametrize("word", ["motion=missing.npz", "policy=gated_resdual", "checkpoint=missing.pt"])
def test_a_run_that_cannot_start_leaves_no_folder(error_message, tmp_path, word):
    error_message(*TOY, word)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_missing_cuda_is_reported(error_message):
    assert "device=cpu" in error_message(*TOY, "device=cuda")


def write_missing(path: Path) -> None:
    pass


def write_empty(path: Path) -> None:
    path.write_bytes(b"")


def write_text(path: Path) -> None:
    path.write_text("frame,elbow\n0,0.1\n")


def write_truncated(path: Path) -> None:
    toy_clip().save(path)
    path.write_bytes(path.read_bytes()[:-200])


def write_unrelated(path: Path) -> None:
    np.savez(path, weights=np.zeros(3))


def rewrite(path: Path, **changes) -> None:
    """Replace some arrays of a saved toy clip without the library's checks."""
    toy_clip().save(path)
    with np.load(path, allow_pickle=False) as stored:
        arrays = dict(stored)
    arrays.update({name: np.asarray(change(arrays[name])) for name, change in changes.items()})
    np.savez(path, **arrays)


def write_one_frame(path: Path) -> None:
    rewrite(path, qpos=lambda qpos: qpos[:1])


def write_nan(path: Path) -> None:
    rewrite(path, qpos=lambda qpos: np.where(np.arange(len(qpos))[:, None] == 7, np.nan, qpos))


def write_other_joints(path: Path) -> None:
    rewrite(path, joint_names=lambda names: ["knee"])


def write_other_body(path: Path) -> None:
    rewrite(path, embodiment=lambda name: "MyoFullBody")


def write_other_version(path: Path) -> None:
    rewrite(path, model_version=lambda version: "toy-0")


@pytest.mark.parametrize(
    ("write", "expected"),
    [
        (write_missing, "bad.npz"),
        (write_empty, "bad.npz"),
        (write_text, "bad.npz"),
        (write_truncated, "bad.npz"),
        (write_unrelated, "bad.npz"),
        (write_one_frame, "frame"),
        (write_nan, "frame 7"),
        (write_other_joints, "elbow"),
        (write_other_body, "MyoFullBody"),
        (write_other_version, "toy-0"),
    ],
)
def test_a_bad_motion_file_is_reported_with_the_reason(error_message, tmp_path, write, expected):
    write(tmp_path / "bad.npz")
    message = error_message(*TOY, "motion=bad.npz")
    assert expected in message and "bad" in message
    assert not list(tmp_path.rglob("*.pt"))


@pytest.mark.parametrize("motion", ["clips/*.npz", "clips", "waev", "[all,clips/x.npz]"])
def test_a_motion_that_matches_nothing_is_reported(error_message, tmp_path, motion):
    (tmp_path / "clips").mkdir()
    message = error_message(*TOY, f"motion={motion}")
    assert "clips" in message or "waev" in message


@pytest.mark.parametrize("path", ["train.py", "tools/evaluate.py"])
def test_a_bad_checkpoint_is_reported(error_message, tmp_path, run_folder, path):
    words = TOY if path == "train.py" else ()
    whole = (run_folder / "checkpoints" / "last.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.pt").write_bytes(b"")
    torch.save({"weights": torch.zeros(3)}, tmp_path / "other.pt")
    (tmp_path / "folder").mkdir()
    for name in ("cut.pt", "empty.pt", "other.pt", "missing.pt", "folder"):
        assert name in error_message(*words, f"checkpoint={name}", path=path)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("task=legs_target", "map=reached.xyz"), ".png, .pdf, .svg"),
        (("task=toy_reach", "map=reached.png"), "goal=root_target"),
        (("task=toy_arm", "legacy_mpjpe=true"), "goal=kinesis"),
    ],
)
def test_an_evaluation_that_cannot_be_written_is_rejected_at_once(error_message, words, expected):
    message = error_message(*words, "policy=zero", "device=cpu", path="tools/evaluate.py")
    assert expected in message and words[1].split("=")[0] in message


def test_a_checkpoint_of_another_task_is_rejected(error_message, run_folder):
    message = error_message("task=bimanual", "num_envs=2", "threads=1", "device=cpu", f"checkpoint={run_folder}")
    assert "toy_arm" in message


def test_a_checkpoint_of_other_actions_is_rejected(error_message, run_folder, capsys):
    # The sizes agree, so that only their meaning differs: an excitation, or the activation of a muscle.
    message = error_message(*TOY, "actions=[activations]", f"checkpoint={run_folder}")
    assert "actions=[muscles]" in message and "actions=[activations]" in message
    stored = load_checkpoint(run_folder)
    assert stored["action_names"] == ["flexor", "extensor"]
    env = make_env("toy_arm", 1, "cpu", backend="mujoco", threads=1)
    swapped = stored | {"action_names": ["extensor", "flexor"]}
    with pytest.raises(InputError, match="action_names 'extensor', but task=toy_arm has 'flexor'"):
        load_weights(build_policy(stored["policy_spec"]), swapped, env, "toy_arm")
    env.close()
    # Options may be changed on purpose.
    fine_tuning(load_config("toy_arm", ["actions.muscles.mapping=clip"]), stored)
    assert "actions.muscles.mapping=full, this run has clip" in capsys.readouterr().out


def test_another_network_than_the_checkpoints_is_rejected(error_message, run_folder):
    assert "policy=" in error_message(*TOY, "policy.hidden=[8]", f"checkpoint={run_folder}")


def test_another_mujoco_version_is_reported_with_the_remedy(error_message, monkeypatch):
    from muscle_torch import embodiments

    installed_version = guard.package_version
    monkeypatch.setattr(guard, "package_version", lambda name: "4.0.1" if name == "mujoco" else installed_version(name))
    embodiments._make.cache_clear()
    message = error_message(*TOY)
    embodiments._make.cache_clear()
    assert "4.0.1" in message and "pip install" in message and "3.17" in message


def test_a_missing_package_reports_how_to_install_it(tmp_path):
    """Without any package, and with all but muscle_torch (`pip install` without its last line)."""
    packages = Path(sysconfig.get_path("purelib"))
    environments = [{}] if (packages / "muscle_torch").exists() else [{}, {"PYTHONPATH": str(packages)}]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    for extra in environments:
        # -S leaves site-packages out, and with it the link that an editable install puts there.
        done = subprocess.run(
            [sys.executable, "-S", str(ROOT / "train.py"), "task=toy_arm"],
            cwd=tmp_path,
            env=kept | extra,
            capture_output=True,
            text=True,
            check=False,
        )
        lines = done.stderr.splitlines()
        assert done.returncode == 2 and len(lines) == 1, lines
        assert lines[0].startswith("error: ") and "pip install -r requirements.txt" in lines[0]
    assert not list(tmp_path.iterdir())


def test_errors_exit_with_one_line_and_code_2(tmp_path):
    done = train("task=toy_amr", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line == "error: unknown task 'toy_amr', did you mean 'toy_arm' or 'toy_reach' or 'toy_exo'?"
    assert not list(tmp_path.iterdir())


def assert_stopped_by_a_full_disk(run: Path, **options) -> None:
    """Check that resuming `run` stops with one line and keeps its checkpoints."""
    before = {path.name: path.read_bytes() for path in (run / "checkpoints").iterdir()}
    done = train(f"resume={run}", "max_iterations=3", cwd=run, **options)
    lines = done.stderr.splitlines()
    assert done.returncode == 2, done.stderr
    assert len(lines) == 1 and lines[0].startswith("error: cannot write"), done.stderr
    assert {path.name: path.read_bytes() for path in (run / "checkpoints").iterdir()} == before


@pytest.mark.skipif(os.name == "nt", reason="POSIX limits")
def test_a_checkpoint_that_cannot_be_written_leaves_the_last_one(tmp_path, run_folder):
    import resource

    run = shutil.copytree(run_folder, tmp_path / "runs" / "toy")

    def small_files_only() -> None:
        # A file that reaches this size cannot grow: the log still can, a checkpoint not.
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    assert_stopped_by_a_full_disk(run, preexec_fn=small_files_only)
    continued = train(f"resume={run}", "max_iterations=3", cwd=tmp_path)
    assert continued.returncode == 0, continued.stderr


@pytest.mark.parametrize("free", [0, 100_000], ids=["nothing", "room-for-logs"])
def test_a_full_disk_stops_with_one_line(tmp_path, run_folder, free):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        run = shutil.copytree(run_folder, disk / "toy")
        room = shutil.disk_usage(disk).free - free
        (disk / "filler").write_bytes(bytes(room))
        assert_stopped_by_a_full_disk(run)
    finally:
        subprocess.run(["umount", disk], check=True)
