"""The doctor: results of each check for a healthy installation and for planted faults."""

import os
import subprocess
import sys

import pytest
import torch
from commands import ROOT, script

from muscle_torch.config import load_config
from muscle_torch.embodiments import make_embodiment
from muscle_torch.errors import InputError

doctor = script("tools/doctor.py")
PINS = {"torch": "2.13.0", "mujoco": "3.17.0", "viser": "1.1.1"}


def test_the_command_prints_one_line_per_check_and_fails_with_an_exit_code(capsys):
    code = doctor.main(["task=toy_arm"])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    assert [line[8:].startswith(name) for line, name in zip(lines, doctor.CHECKS, strict=True)] == [True] * len(lines)
    assert code == any(line.split()[0] == "fail" for line in lines)
    assert {line.split()[0] for line in lines} <= {"ok", "note", "fail"}


def test_too_many_environments_fail_with_a_number_that_fits(capsys):
    assert doctor.main(["task=toy_arm", "num_envs=100000000", "device=cpu"]) == 1
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.split()[1:2] == ["memory"]]
    assert "fail" in line
    fits = int(line.split("num_envs=")[1])
    assert doctor.main(["task=toy_arm", f"num_envs={fits}", "device=cpu"]) in (0, 1)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.split()[1:2] == ["memory"]]
    assert line.split()[0] == "ok"


def test_versions_are_compared_with_the_tested_ones():
    def judge(**changes):
        return doctor.compare_versions(PINS, {**PINS, **changes}, needed={"torch", "mujoco"})

    assert judge().status == "ok"
    assert judge(torch="2.13.0+cu130").status == "ok"  # the build is no other version
    assert judge(viser=None).status == "ok"  # an extra may be absent
    older = judge(torch="2.12.0")
    assert older.status == "note" and "torch 2.12.0 (tested 2.13.0)" in older.text
    gone = judge(mujoco=None)
    assert gone.status == "fail" and "mujoco" in gone.text and "pip install" in gone.text


def test_defects_of_bodies_are_compared_with_the_known_ones():
    arms, body = make_embodiment("bimanual"), make_embodiment("fullbody")
    assert doctor.judge_mirror(make_embodiment("toy_arm")).status == "ok"
    assert doctor.judge_mirror(arms).status == "ok"
    known = doctor.judge_mirror(body)
    assert known.status == "note" and "LTpT_T12" in known.text
    arms.model.body_mass[arms.model.body("humerus_l").id] += 0.5
    result = doctor.judge_mirror(arms)
    assert result.status == "fail" and "humerus_r" in result.text and "mass" in result.text


def test_a_full_disk_and_a_read_only_folder(tmp_path):
    assert doctor.judge_disk(tmp_path / "runs" / "deep", needed=1).status == "ok"
    full = doctor.judge_disk(tmp_path, needed=2**60)
    assert full.status == "fail" and "runs_dir=" in full.text
    if os.getuid() != 0:  # root may write everywhere
        tmp_path.chmod(0o500)
        assert doctor.judge_disk(tmp_path, needed=1).status == "fail"


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_a_requested_but_missing_gpu_fails():
    assert doctor.check_gpu(load_config("toy_arm", device="cuda")).status == "fail"
    assert doctor.check_gpu(load_config("toy_arm")).status in (
        "note",
        "fail",
    )  # fail: a driver, but torch cannot use it


def test_a_captured_control_step_bends_the_elbow():
    """Warp's CPU device supports graph capture as well."""
    assert doctor.replay("cpu").status == "ok"


@pytest.mark.gpu
def test_a_gpu_captures_a_graph():
    assert doctor.check_gpu(load_config("toy_arm")).status == "ok"
    assert doctor.check_graph(load_config("toy_arm")).status == "ok"


def test_errors_of_a_broken_installation_are_one_line():
    def missing(cfg):
        raise ModuleNotFoundError("No module named 'mujoco'")

    def wrong(cfg):
        raise InputError("MuJoCo 4.0.0 is installed, 3.17 is required: run `pip install ...`")

    cfg = load_config("toy_arm")
    assert doctor.examine(missing, cfg) == ("fail", "No module named 'mujoco': run `pip install -r requirements.txt`")
    assert doctor.examine(wrong, cfg) == ("fail", "MuJoCo 4.0.0 is installed, 3.17 is required: run `pip install ...`")


def test_only_the_checks_are_printed():
    """The start-up messages of Warp and MuJoCo are suppressed."""
    command = [sys.executable, str(ROOT / "tools" / "doctor.py"), "task=toy_arm"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode in (0, 1) and done.stderr == "" and "\033" not in done.stdout
