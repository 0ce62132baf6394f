"""`muscle-torch` and `python -m muscle_torch`, and the list of runs."""

import json
import os
import subprocess
import sys
import time
from importlib import metadata

import pytest
import setuptools
from commands import ROOT, script

from muscle_torch.__main__ import COMMANDS
from muscle_torch.__main__ import main as muscle_torch
from muscle_torch.errors import InputError


def run(*words: str, monkeypatch) -> int | str | None:
    """Return the exit code of `muscle-torch <words>` in this process."""
    monkeypatch.setattr(sys, "argv", ["muscle-torch", *words])
    try:
        muscle_torch()
    except SystemExit as ended:
        return ended.code
    return 0


def test_every_program_is_a_command():
    files = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "tools").glob("*.py")}
    programs = {name.replace("_", "-") for name, text in files.items() if "    run_command(main" in text}
    assert programs | {"train"} == set(COMMANDS)


def test_without_a_command_the_list_is_printed(monkeypatch, capsys):
    assert run(monkeypatch=monkeypatch) == 0
    printed = capsys.readouterr().out
    assert all(f"  {command} " in printed and summary in printed for command, summary in COMMANDS.items())
    assert run("completion", monkeypatch=monkeypatch) == 0
    assert capsys.readouterr().out.split("'")[1].split() == list(COMMANDS)


def test_commands_end_with_the_exit_codes_of_the_programs(monkeypatch, capsys):
    assert run("trian", monkeypatch=monkeypatch) == 2
    assert capsys.readouterr().err == "error: no command 'trian', did you mean 'train'?\n"
    assert run("train", "task=bimanul", monkeypatch=monkeypatch) == 2
    assert "did you mean 'bimanual'?" in capsys.readouterr().err
    assert run("check_motion", "--help", monkeypatch=monkeypatch) == 0
    assert "zero-moment point" in capsys.readouterr().out
    assert run("runs", "sort=dat", monkeypatch=monkeypatch) == 2
    assert "did you mean 'date'?" in capsys.readouterr().err


def test_the_module_runs_from_any_folder(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "muscle_torch", "train", "--version"], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, f"muscle_torch {metadata.version('muscle_torch')}\n")


def test_an_installed_package_has_the_program_train(monkeypatch):
    """The wheel contains the root's train.py as `muscle_torch.train`; console scripts call `main`."""
    arguments: dict = {}
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(setuptools, "setup", arguments.update)
    setup = script("setup.py")
    build = setup.BuildWithTrain(setuptools.Distribution({"script_name": "setup.py"}))
    modules = {module: path for _, module, path in build.find_package_modules("muscle_torch", "muscle_torch")}
    assert modules["train"] == "train.py" and (ROOT / "train.py").is_file() and "__main__" in modules
    assert arguments["entry_points"]["console_scripts"] == ["muscle-torch = muscle_torch.__main__:main"]


def a_run(folder, task, goal, steps, day, final=None, max_iterations=0, **errors) -> None:
    """Write the files of a run of 1000 control steps, or of some updates, that started on a day of June 2026."""
    (folder / "eval" / "final").mkdir(parents=True)
    config = {"task": task, "goal": {"name": goal}, "total_steps": 1000, "max_iterations": max_iterations}
    config |= {"num_envs": 4, "ppo": {"num_steps": 8}}
    (folder / "config.yaml").write_text(json.dumps(config))
    (folder / "manifest.json").write_text(json.dumps({"started": f"2026-06-{day:02d}T10:00:00+0000"}))
    (folder / "metrics.jsonl").write_text(json.dumps({"step": steps, **errors}) + '\n{"step": 9')
    os.utime(folder / "metrics.jsonl", (time.time() - 3600,) * 2)
    if final is not None:
        (folder / "eval" / "final" / "metrics.json").write_text(json.dumps(final))


def test_runs_lists_task_steps_headline_and_state(tmp_path, capsys):
    runs = script("tools/runs.py")
    a_run(tmp_path / "a", "bimanual", "motion", 1000, 3, {"err_site_abs": 0.0213}, **{"err/site_abs": 0.9})
    a_run(tmp_path / "b", "bimanual", "motion", 500, 5, **{"err/site_abs": 0.04})
    a_run(tmp_path / "d", "toy_arm", "motion", 64, 2, max_iterations=2, **{"err/site_abs": 0.01})
    a_run(tmp_path / "c", "toy_reach", "target", 250, 4, **{"err/target": 0.123})
    os.utime(tmp_path / "c" / "metrics.jsonl")
    (tmp_path / "c" / "notes").mkdir()
    assert runs.main([f"runs_dir={tmp_path}"]) == 0
    _, *rows = (line.split("  ") for line in capsys.readouterr().out.splitlines())
    assert [row[0].strip() for row in rows] == ["b", "c", "a", "d"]  # the newest first
    cells = [[cell.strip() for cell in row if cell.strip()] for row in rows]
    assert cells[0][1:4] == ["bimanual", "500 of 1,000", "site error mm 40.0 *"] and cells[0][-1] == "stopped"
    assert cells[1][1:4] == ["toy_reach", "250 of 1,000", "distance mm 123.0 *"] and cells[1][-1] == "running"
    assert cells[2][1:4] == ["bimanual", "1,000", "site error mm 21.3"] and cells[2][-1] == "finished"
    assert cells[3][2] == "64" and cells[3][-1] == "finished"  # two updates of 4 environments and 8 steps
    assert runs.main([f"runs_dir={tmp_path}", "task=bimanual", "sort=headline"]) == 0
    assert [line[0] for line in capsys.readouterr().out.splitlines()[1:]] == ["a", "b"]
    with pytest.raises(InputError, match=r"no runs of task=mouse in .*: set runs_dir="):
        runs.main([f"runs_dir={tmp_path}", "task=mouse"])
