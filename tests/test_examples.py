"""The scripts of examples/ and the notebook: they run, and show what they are about."""

import sys
from pathlib import Path

import numpy as np
import pytest
from commands import ROOT, script

from muscle_torch.embodiments import EMBODIMENTS
from muscle_torch.errors import InputError
from muscle_torch.motion import MotionClip

LONGEST = 60  # lines
LEARNED = 20  # iterations after which the reward has risen
SCRIPTS = sorted((ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_examples_are_short_and_listed(path: Path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST
    pages = [(ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("python.md", "custom_policy.md")]
    assert any(f"../examples/{path.name}" in page for page in pages)


def test_flexors_shorten_as_the_elbow_bends(capsys):
    """The moment arm is the negative derivative of the length with respect to the angle."""
    lengths, arms = script("examples/pose_body.py").main()
    assert (np.diff(lengths[:, :2], axis=0) < 0).all() and (np.diff(lengths[:, 2]) > 0).all()
    mean_arms = -np.diff(lengths, axis=0) / np.radians(30)
    np.testing.assert_allclose(mean_arms, (arms[1:] + arms[:-1]) / 2, atol=2e-3)
    assert "120 deg" in capsys.readouterr().out


def test_twice_the_strength_is_twice_the_force():
    normal, strong = script("examples/strengthen_muscle.py").main()
    assert normal > 100 and strong / normal == pytest.approx(2, rel=0.1)  # the arm moves a little differently


def test_activations_follow_excitations_late(tmp_path):
    excitations, activations = script("examples/random_excitations.py").main(str(tmp_path / "a.png"), 0.6)
    assert (tmp_path / "a.png").stat().st_size > 10_000 and excitations.shape == activations.shape == (60, 64)
    assert (activations[0] < excitations[0] + 1e-6).all() and activations.min() >= 0 and activations.max() <= 1
    error = (activations - excitations).abs().mean(dim=1).reshape(6, 10)
    assert (error[:, 9] < 0.7 * error[:, 0]).all()  # each excitation is held for ten steps


def test_joints_of_a_clip_by_name(capsys):
    ranges = script("examples/joint_angles.py").main("drink")
    low, high = ranges["elbow_flex_r"]
    assert 0 < low < 60 < 100 < high < 140 and "elbow_flex_r" in capsys.readouterr().out
    qpos = np.arange(24.0).reshape(3, 8)
    clip = MotionClip("x", qpos, 100.0, ("root", "knee_angle_r"), "Body", "1")
    assert clip["knee_angle_r"].tolist() == [7, 15, 23] and np.array_equal(clip["root"], qpos[:, :7])
    with pytest.raises(InputError, match=r"no joint 'knee_angle', did you mean 'knee_angle_r'\?"):
        clip["knee_angle"]


@pytest.mark.parametrize("name", ["training_loop", "torchrl_ppo"])
def test_loops_learn(name):
    """The reward drops from that of the reference's poses to an untrained policy's, and then rises."""
    rewards = script(f"examples/{name}.py").main(LEARNED)
    assert len(rewards) == LEARNED and np.mean(rewards[-2:]) > 1.2 * np.mean(rewards[2:8])


def test_gymnasium_plays_the_pretrained_policy():
    pytest.importorskip("gymnasium")
    errors = script("examples/gymnasium_policy.py").main(60)
    assert errors["pretrained"] < 0.5 * errors["random"]


def test_rsl_rl_trains():
    pytest.importorskip("rsl_rl")
    runner = script("examples/rsl_rl_ppo.py").main(1)
    assert runner.current_learning_iteration == 1 or runner.logger.tot_timesteps == 64 * 32


def test_a_body_of_ones_own_moves(tmp_path, monkeypatch):
    monkeypatch.setitem(EMBODIMENTS, "finger", None)  # restored after the test
    highest, last = script("examples/own_body.py").main(str(tmp_path / "swing.npz"))
    assert highest > 0.5 and last < 0  # lifted by its muscle; then it hangs


def test_the_notebook_runs_from_top_to_bottom(tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(ROOT / "examples" / "first_steps.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)  # kept small: outputs are not stored
    client = nbclient.NotebookClient(notebook, timeout=300, kernel_name=kernel(tmp_path, monkeypatch))
    client.execute(cwd=str(tmp_path))
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    text = "".join(output.get("text", "") for output in outputs)
    assert "64 muscles" in text and "the elbow bends from" in text
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 3


def kernel(folder: Path, monkeypatch) -> str:
    """Return the name of a kernel that runs this Python, installed in a folder of the test."""
    from ipykernel.kernelspec import install

    install(prefix=str(folder), kernel_name="this_python")
    monkeypatch.setenv("JUPYTER_PATH", str(folder / "share" / "jupyter"))
    assert (folder / "share" / "jupyter" / "kernels" / "this_python").is_dir(), sys.executable
    return "this_python"
