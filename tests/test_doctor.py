"""The doctor: what each check says of a healthy installation, and of faults put before it."""

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


def test_the_command_prints_one_line_a_check_and_its_exit_code_tells_of_failures(capsys):
    code = doctor.main(["task=toy_arm"])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    assert [line[8:].startswith(name) for line, name in zip(lines, doctor.CHECKS, strict=True)] == [True] * len(lines)
    assert code == any(line.split()[0] == "fail" for line in lines)
    assert {line.split()[0] for line in lines} <= {"ok", "note", "fail"}


def test_too_many_worlds_fail_with_a_number_that_fits(capsys):
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


def test_bodies_are_judged_by_what_is_new():
    arms, body = make_embodiment("bimanual_arm"), make_embodiment("full_body")
    assert doctor.judge_mirror(make_embodiment("toy_arm")).status == "ok"
    assert doctor.judge_mirror(arms).status == "ok"
    known = doctor.judge_mirror(body)
    assert known.status == "note" and "LTpT_T12" in known.text
    arms.model.body_mass[arms.model.body("humerus_l").id] += 0.5
    found = doctor.judge_mirror(arms)
    assert found.status == "fail" and "humerus_r" in found.text and "mass" in found.text


def test_a_full_disk_and_a_folder_that_is_not_ones_own(tmp_path):
    assert doctor.judge_disk(tmp_path / "runs" / "deep", needed=1).status == "ok"
    full = doctor.judge_disk(tmp_path, needed=2**60)
    assert full.status == "fail" and "runs_dir=" in full.text
    if os.getuid() != 0:  # root may write everywhere
        tmp_path.chmod(0o500)
        assert doctor.judge_disk(tmp_path, needed=1).status == "fail"


def test_memory_counts_observations_worlds_and_the_rollout():
    short, long = (load_config("toy_arm", ppo={"num_steps": steps}) for steps in (16, 32))
    grown = doctor.bytes_per_world(long, on_gpu=False) - doctor.bytes_per_world(short, on_gpu=False)
    assert grown == 4 * 16 * (8 * 10 + 4 * 2 + 16)  # float32 x 16 steps more x (10 observations, 2 muscles)


@pytest.mark.slow
def test_memory_is_what_a_training_takes():
    """Within 40 %: growth of the resident memory from 32 to 288 worlds of the arms, after one update."""
    code = """
import resource, sys
from muscle_torch.config import load_config
from muscle_torch.envs import make_env
from muscle_torch.models import make_policy
from muscle_torch.rl import Trainer
cfg = load_config("bimanual", num_envs=int(sys.argv[1]), device="cpu", threads=2, policy="mlp")
env = make_env(cfg)
trainer = Trainer(env, make_policy("mlp", env, cfg.network), cfg, None)
trainer.observation = env.begin()
trainer.iteration()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""
    small, large = (
        int(subprocess.run([sys.executable, "-c", code, n], capture_output=True, text=True, check=True).stdout)
        for n in ("32", "288")
    )
    measured = (large - small) / 256
    estimate = doctor.bytes_per_world(load_config("bimanual", device="cpu", policy="mlp"), on_gpu=False)
    assert 0.6 < estimate / measured < 1.4


def test_warp_memory_grows_with_the_body():
    toy, arms = (make_embodiment(name).model for name in ("toy_arm", "bimanual_arm"))
    assert 1_000 < doctor._warp_bytes(toy) < doctor._warp_bytes(arms) < 10_000_000


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_a_gpu_that_is_asked_for_and_absent_fails():
    assert doctor.check_gpu(load_config("toy_arm", device="cuda")).status == "fail"
    assert doctor.check_gpu(load_config("toy_arm")).status in (
        "note",
        "fail",
    )  # fail: a driver, but torch cannot use it


def test_a_captured_control_step_bends_the_elbow():
    """Warp's CPU device captures too: the same lines as on a GPU."""
    assert doctor.replay("cpu").status == "ok"


@pytest.mark.gpu
def test_a_gpu_captures_a_graph():
    assert doctor.check_gpu(load_config("toy_arm")).status == "ok"
    assert doctor.check_graph(load_config("toy_arm")).status == "ok"


def test_what_a_broken_installation_throws_becomes_a_line():
    def missing(cfg):
        raise ModuleNotFoundError("No module named 'mujoco'")

    def wrong(cfg):
        raise InputError("MuJoCo 4.0.0 is installed, 3.17 is wanted: run `pip install ...`")

    cfg = load_config("toy_arm")
    assert doctor.examine(missing, cfg) == ("fail", "No module named 'mujoco': run `pip install -r requirements.txt`")
    assert doctor.examine(wrong, cfg) == ("fail", "MuJoCo 4.0.0 is installed, 3.17 is wanted: run `pip install ...`")


def test_nothing_but_the_checks_is_on_the_screen():
    """Warp and MuJoCo greet whoever starts them: not here."""
    command = [sys.executable, str(ROOT / "tools" / "doctor.py"), "task=toy_arm"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode in (0, 1) and done.stderr == "" and "\033" not in done.stdout
