"""Learning curves of several runs: times, pauses, and output of the command."""

import pytest
from commands import script
from torch.utils.tensorboard import SummaryWriter

from muscle_torch.errors import InputError
from muscle_torch.tools.curves import axis_label, curve, with_gaps


def a_run(folder, times, values):
    with SummaryWriter(str(folder)) as board:
        for number, (time, value) in enumerate(zip(times, values, strict=True)):
            board.add_scalar("err/site_abs", value, 100 * number, walltime=1e9 + time)
    return str(folder)


def test_minutes_exclude_the_pause_of_a_resumed_run(tmp_path):
    run = a_run(tmp_path / "a", [0, 30, 60, 7260, 7290], [5.0, 4.0, 3.0, 2.0, 1.0])
    minutes, steps, values = curve(run, "err/site_abs")
    assert minutes == pytest.approx([0, 0.5, 1.0, 1.0, 1.5])
    assert steps == [0, 100, 200, 300, 400] and values == [5, 4, 3, 2, 1]


def test_misspelled_scalars_suggest_the_nearest(tmp_path):
    run = a_run(tmp_path / "a", [0, 1], [1.0, 2.0])
    with pytest.raises(InputError, match="err/site_abs"):
        curve(run, "err/site_ab")


def test_the_command_draws_and_tabulates(tmp_path, capsys):
    runs = [a_run(tmp_path / name, [0, 60], [0.1, 0.02]) for name in ("a", "b")]
    main = script("tools/curves.py").main
    assert main([f"runs=[{runs[0]},{runs[1]}]", "tag=err/site_abs", "scale=1000", f"output={tmp_path}/c.png"]) == 0
    assert "least 20" in capsys.readouterr().out and (tmp_path / "c.png").stat().st_size > 5000
    with pytest.raises(InputError, match="labels="):
        main([f"runs=[{runs[0]}]", "labels=[x,y]", f"output={tmp_path}/d.png"])


def test_a_pause_is_a_gap_in_the_line():
    assert with_gaps([3.0, 2.0, 1.0], [0.0, 0.5, 0.5]) == pytest.approx([3.0, 2.0, float("nan"), 1.0], nan_ok=True)
    assert with_gaps([3.0], [0.0]) == [3.0]


def test_the_axis_shows_the_unit():
    assert axis_label("err/site_abs_mm", "") == "site abs [mm]"
    assert axis_label("ppo/kl", "") == "kl" and axis_label("err/site_abs", "m") == "site abs [m]"
