"""Validation during training: the output matches the played trials, and training is unaffected."""

import json

import numpy as np
import pytest
from commands import script
from env_cases import clip, saved, small_env
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from muscle_torch.embodiments import make_embodiment
from muscle_torch.errors import InputError
from muscle_torch.evaluation import Trajectory, ZeroController, evaluate
from muscle_torch.evaluation.figures import joint_figure
from muscle_torch.evaluation.validation import evenly_spaced
from muscle_torch.rendering import scene

SMALL = ("task=toy_arm", "num_envs=8", "threads=1", "ppo.num_steps=16", "device=cpu", "evaluate=false")


def run(folder, name: str, *words: str):
    """Run a short training and return its folder."""
    assert (
        script("train.py").main([*SMALL, "max_iterations=4", f"runs_dir={folder}", f"experiment={name}", *words]) == 0
    )
    return folder / name


def learned(folder) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if not k.startswith(("speed/", "memory/"))} for line in lines]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return run(folder, "plain"), run(folder, "watched", "validation_interval=2", "validation_clips=1")


def test_learning_is_the_same_with_and_without(runs):
    plain, watched = (learned(folder) for folder in runs)
    assert len(plain) == 4 and plain == watched


def test_tensorboard_shows_numbers_figures_and_failing_clips(runs):
    board = EventAccumulator(str(runs[1]), size_guidance={"images": 0, "histograms": 0}).Reload()
    for step in (256, 512):
        stored = json.loads((runs[1] / "eval" / f"step_{step}" / "metrics.json").read_text())
        assert stored["num_clips"] == 1
        shown = {event.step: event.value for event in board.Scalars("validation/err_site_abs")}
        assert shown[step] == pytest.approx(stored["err_site_abs"], rel=1e-6)
    assert [event.step for event in board.Images("joint_angles/worst_clip")] == [256, 512]
    assert board.Images("joint_angles/first_clip")[0].width > 200
    histogram = board.Histograms("clips/failure_rate")[-1].histogram_value
    assert 0 <= histogram.min <= histogram.max <= 1
    tags = board.Tags()["tensors"]
    assert {"validation/clips/text_summary", "clips/failing_most/text_summary"} <= set(tags)
    assert "validation/err_site_abs" not in EventAccumulator(str(runs[0])).Reload().Tags()["scalars"]


def test_held_out_motions_are_validated_on(tmp_path):
    held_out = saved(tmp_path, clip(np.linspace(0, 0.5, 40), "unseen"))
    folder = run(tmp_path / "runs", "held_out", "validation_interval=4", f"validation_motion={held_out[0]}")
    metrics = json.loads((folder / "eval" / "step_512" / "metrics.json").read_text())
    assert [row["name"] for row in metrics["per_clip"]] == ["unseen"]


def test_a_video_is_written_at_each_validation(tmp_path):
    try:
        scene.choose_gl()
    except InputError as error:
        pytest.skip(str(error))
    motion = saved(tmp_path, clip(np.linspace(0, 0.5, 20), "short"))
    words = ("validation_interval=2", "capture_video=true", f"motion={motion[0]}")
    folder = run(tmp_path / "runs", "filmed", *words)
    assert sorted(path.name for path in (folder / "videos").iterdir()) == ["final.mp4", "step_256.mp4", "step_512.mp4"]


def test_some_clips_are_evaluated_as_they_would_be_among_all(tmp_path):
    motion = saved(tmp_path, *(clip(np.linspace(0, top, 30), f"c{top}") for top in (0.2, 0.6, 1.0)))
    env = small_env(num_envs=2, motion=motion, evaluation=True)
    whole = evaluate(env, ZeroController())
    some = evaluate(env, ZeroController(), trials=[2, 0])
    assert some["per_clip"] == [whole["per_clip"][0], whole["per_clip"][2]] and some["num_clips"] == 2


@pytest.mark.parametrize(
    ("count", "limit", "expected"),
    [(5, 0, [0, 1, 2, 3, 4]), (3, 16, [0, 1, 2]), (10, 4, [0, 2, 5, 7]), (1000, 2, [0, 500]), (7, 1, [0])],
)
def test_clips_are_spread_evenly(count, limit, expected):
    assert evenly_spaced(count, limit) == expected


def test_the_figure_draws_both_angles_in_degrees_and_where_it_was_lost():
    angles = np.linspace(0, 1, 50)[:, None]
    played = Trajectory("bend", angles + 0.1, 100.0, angles, np.zeros((50, 2)), steps_followed=30)
    figure = joint_figure(make_embodiment("toy_arm"), played)
    (axis,) = figure.axes
    lines = {line.get_label(): line for line in axis.get_lines()}
    assert np.allclose(lines["tracked"].get_ydata(), np.degrees(played.qpos[:, 0]))
    assert np.allclose(lines["reference"].get_xydata(), np.stack((np.arange(50) / 100, np.degrees(angles[:, 0])), 1))
    assert axis.get_lines()[-1].get_xdata()[0] == pytest.approx(0.3)
    assert "elbow" in axis.get_title(loc="left") and "5.7 deg" in axis.get_title(loc="left")


def test_the_figure_of_a_large_body_shows_its_independent_joints_that_move_most():
    body = make_embodiment("bimanual")
    reference = np.zeros((20, body.model.nq))
    free = [a for a in body.joint_qpos_ids if a not in body.dependent.qpos_ids]
    reference[:, body.dependent.qpos_ids] = np.linspace(0, 9, 20)[:, None]  # most of all, but they only follow
    reference[:, free[3]] = np.linspace(0, 1, 20)
    figure = joint_figure(body, Trajectory("x", reference, 100.0, reference, np.zeros((20, 64)), steps_followed=19))
    titles = [axis.get_title(loc="left").split()[0] for axis in figure.axes if axis.get_visible()]
    names = [body.joint_names[int(np.flatnonzero(body.model.jnt_qposadr == a)[0])] for a in free]
    assert len(titles) == 12 and names[3] in titles and set(titles) <= set(names)


def test_negative_intervals_are_rejected(tmp_path):
    with pytest.raises(InputError, match="validation_interval=-1"):
        run(tmp_path, "x", "validation_interval=-1")
    assert not (tmp_path / "x" / "metrics.jsonl").exists()
