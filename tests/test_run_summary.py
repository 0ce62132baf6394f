"""The log of a finished run: config, table, hyperparameters, joint angles, video; the mirror in Weights & Biases."""

import json

import numpy as np
import pytest
from commands import script
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from muscle_torch.config import load_config
from muscle_torch.errors import InputError
from muscle_torch.rl.logger import Logger
from muscle_torch.tools.run_summary import hyperparameters

WORDS = ("task=toy_arm", "total_steps=64", "num_envs=4", "ppo.num_steps=8", "motion=reach", "threads=1", "device=cpu")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run of two updates."""
    folder = tmp_path_factory.mktemp("runs")
    assert script("train.py").main([*WORDS, f"runs_dir={folder}", "experiment=short"]) == 0
    return folder / "short"


@pytest.fixture(scope="module")
def board(run):
    events = EventAccumulator(str(run), size_guidance={"images": 0, "tensors": 0})
    events.Reload()
    return events


def text_of(board, tag: str) -> str:
    return board.Tensors(f"{tag}/text_summary")[-1].tensor_proto.string_val[0].decode()


def test_config_and_final_table_are_shown(board):
    assert "    task: toy_arm" in text_of(board, "config")
    assert "site position error [mm]" in text_of(board, "evaluation/table")


def test_the_headline_is_also_shown_in_its_unit(board, run):
    meters, millimetres = (board.Scalars(tag) for tag in ("err/site_abs", "err/site_abs_mm"))
    np.testing.assert_allclose([1e3 * row.value for row in meters], [row.value for row in millimetres], rtol=1e-5)
    assert "err/site_abs_mm" not in json.loads((run / "metrics.jsonl").read_text().splitlines()[0])


def test_the_final_error_is_a_scalar_and_a_column_of_the_table_of_runs(board, run):
    metrics = json.loads((run / "eval" / "final" / "metrics.json").read_text())
    assert board.Scalars("evaluation/err_site_abs")[0].value == pytest.approx(metrics["err_site_abs"])
    plugin = board.summary_metadata["_hparams_/session_start_info"].plugin_data
    assert plugin.plugin_name == "hparams" and b"ppo.gamma" in plugin.content


def test_the_end_of_a_run_has_joint_angles_and_a_video(board):
    from muscle_torch.rendering.scene import choose_gl

    assert len(board.Images("evaluation/joint_angles_reach")) == 1
    try:
        choose_gl()
    except InputError as error:
        pytest.skip(str(error))
    import io

    image = board.Images("evaluation/video_reach")[0]
    with Image.open(io.BytesIO(image.encoded_image_string)) as video:
        assert video.format == "GIF" and video.size == (320, 240) and video.n_frames == 61


def test_hyperparameters_are_flat_and_tell_runs_apart():
    values = hyperparameters(load_config(words=["task=toy_arm", "ppo.gamma=0.5", "seed=3"]))
    assert (values["ppo.gamma"], values["seed"], values["policy.name"]) == (0.5, 3, "gated_residual")
    assert all(isinstance(value, int | float | str | bool) for value in values.values())


def test_a_run_is_mirrored_without_a_network(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    (tmp_path / "config.yaml").write_text("task: toy_arm\n")
    log = Logger(tmp_path, mirror=True)
    for step in (10, 20):
        log.write(step, {"err/site_abs": step / 1000})
    log.close()
    (stored,) = (tmp_path / "wandb").glob("offline-run-*/*.wandb")
    contents = stored.read_bytes()
    assert b"err/site_abs" in contents and b"toy_arm" in contents


def test_without_wandb_the_line_names_the_extra(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(InputError, match=r"muscle_torch\[wandb\]"):
        Logger(tmp_path, mirror=True)
