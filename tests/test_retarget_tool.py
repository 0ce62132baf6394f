"""tools/retarget.py from the command line: folders, restart, workers, failures, output files."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import data_file
from test_retargeting_readers import bvh_text

from muscle_torch.embodiments import make_embodiment
from muscle_torch.errors import InputError
from muscle_torch.motion import load_motion
from muscle_torch.retargeting.run import find_jobs
from muscle_torch.tools.retarget import main

TOOL = Path(__file__).parents[1] / "tools" / "retarget.py"


def folder_of(tmp_path: Path, clips: int) -> Path:
    source = tmp_path / "in"
    for index in range(clips):
        path = source / f"s{index % 2}" / f"clip{index}.bvh"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(bvh_text(30 + index))
    return source


def arrays(folder: Path) -> dict[str, np.ndarray]:
    clips = {}
    for path in sorted([*folder.rglob("*.npz"), *folder.rglob("*.rejected")]):
        with np.load(path) as stored:
            clips[path.relative_to(folder).as_posix()] = stored["qpos"]
    return clips


def test_a_real_clip_becomes_a_motion(tmp_path, capsys):
    source = data_file("data/cmu_mocap/02_01.amc")
    assert main([f"input={source}", f"output={tmp_path}", "licence=CMU"]) == 0
    assert "1 passed, 0 rejected, 0 failed" in capsys.readouterr().out
    (clip,) = load_motion(str(tmp_path), make_embodiment("fullbody"))
    assert clip.name == "02_01" and clip.licence == "CMU" and "02_01.amc" in clip.source
    record = json.loads((tmp_path / "quality" / "02_01.json").read_text())
    assert record["status"] == "passed" and record["quality"]["frames"] == clip.num_frames
    with open(tmp_path / "quality" / "summary.csv", newline="") as table:
        (row,) = csv.DictReader(table)
    assert float(row["rmse"]) == pytest.approx(record["quality"]["rmse"])
    assert (tmp_path / "quality" / "02_01.png").stat().st_size > 1000


def test_a_bad_file_does_not_stop_the_others(tmp_path, capsys):
    source = folder_of(tmp_path, 2)
    (source / "bad.bvh").write_text("no motion")
    (source / "alien.c3d").write_bytes(b"xx")
    out = tmp_path / "out"
    words = [f"input={source}", f"output={out}", "figures=false", "thresholds.rmse=1", "thresholds.joint_speed=1000"]
    assert main(words) == 1
    captured = capsys.readouterr()
    assert "2 failed" in captured.out
    lines = (out / "quality" / "failed.txt").read_text().splitlines()
    assert [line.split(":")[0] for line in lines] == ["alien", "bad"]
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.npz*")}
    assert len(before) == 2
    assert main(words) == 1
    assert "2 clips exist already" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.npz*")} == before


def test_a_rejected_clip_is_kept_apart_with_its_reasons(tmp_path):
    source = folder_of(tmp_path, 1)
    assert main([f"input={source}", f"output={tmp_path / 'out'}", "figures=false", "thresholds.rmse=1e-9"]) == 1
    assert not list((tmp_path / "out").rglob("*.npz"))
    assert [p.name for p in (tmp_path / "out").rglob("*.rejected")] == ["clip0.npz.rejected"]
    assert "rmse" in (tmp_path / "out" / "quality" / "rejected.txt").read_text()


def test_the_summary_holds_the_clips_of_all_commands(tmp_path, capsys):
    """Three commands into one folder: one passed, one rejected, one failed; counts are those of each command."""
    source, out = folder_of(tmp_path, 2), tmp_path / "out"
    (source / "bad.bvh").write_text("no motion")
    words = [f"output={out}", "figures=false", "thresholds.joint_speed=1000"]
    lenient = [f"thresholds.{name}=100" for name in ("rmse", "stance_slide", "hover_height", "tendon_jump")]
    assert main([f"input={source / 's0'}", *words, *lenient]) == 0
    assert main([f"input={source / 's1'}", *words, "thresholds.rmse=1e-9"]) == 1
    assert main([f"input={source / 'bad.bvh'}", *words]) == 1
    lines = capsys.readouterr().out
    assert "1 passed, 0 rejected, 0 failed" in lines and "0 passed, 1 rejected, 0 failed" in lines
    quality = out / "quality"

    def names() -> dict[str, str]:
        with open(quality / "summary.csv", newline="") as table:
            return {row["name"]: row["status"] for row in csv.DictReader(table)}

    assert names() == {"clip0": "passed", "clip1": "rejected"}
    assert [line.split(":")[0] for line in (quality / "rejected.txt").read_text().splitlines()] == ["clip1"]
    assert [line.split(":")[0] for line in (quality / "failed.txt").read_text().splitlines()] == ["bad"]
    counts = json.loads((quality / "summary.json").read_text())
    assert (counts["passed"], counts["rejected"], counts["failed"]) == (1, 1, 1)
    (out / "clip0.npz").unlink()  # a clip that is gone is no longer listed
    assert main([f"input={source / 's1'}", *words, "thresholds.rmse=1e-9"]) == 1
    assert names() == {"clip1": "rejected"}


def test_a_name_used_by_another_recording_is_rejected(tmp_path):
    source, out = folder_of(tmp_path, 1), tmp_path / "out"
    other = tmp_path / "other" / "clip0.bvh"
    other.parent.mkdir()
    other.write_text(bvh_text(50))
    words = [f"output={out}", "figures=false"]
    main([f"input={source / 's0'}", *words])
    with pytest.raises(InputError, match=r"was made from .*clip0\.bvh, not from .*clip0\.bvh"):
        main([f"input={other}", *words])
    main([f"input={other}", *words, "overwrite=true"])
    assert json.loads((out / "quality" / "clip0.json").read_text())["source"] == str(other)
    (other.parent / "summary.bvh").write_text(bvh_text())
    with pytest.raises(InputError, match="cannot be named summary"):
        main([f"input={other.parent}", *words])


def test_a_killed_run_resumes_to_the_same_result(tmp_path):
    source = folder_of(tmp_path, 6)
    command = [sys.executable, str(TOOL), f"input={source}", "figures=false", "thresholds.rmse=1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    subprocess.run([*command, f"output={whole}"], env=environment, capture_output=True, check=False, timeout=300)
    process = subprocess.Popen(
        [*command, f"output={cut}"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while len(list((cut / "quality").rglob("clip*.json"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert 0 < len(list((cut / "quality").rglob("clip*.json"))) < 6
    subprocess.run(
        [*command, f"output={cut}", "workers=2"], env=environment, capture_output=True, check=False, timeout=300
    )
    first, second = arrays(whole), arrays(cut)
    assert list(first) == list(second) and len(first) == 6
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


def test_jobs_of_files_folders_globs_and_groups(tmp_path):
    source = folder_of(tmp_path, 3)
    names = ["s0/clip0", "s0/clip2", "s1/clip1"]
    assert [job.name for job in find_jobs(str(source))] == names
    assert [job.name for job in find_jobs(f"{source}/**/*.bvh")] == names
    assert [job.name for job in find_jobs([str(source / "s1" / "clip1.bvh")])] == ["clip1"]
    group = find_jobs(str(source), ["s1/clip1", "KIT/3/none"])
    assert [job.source.exists() for job in group] == [True, False]
    for wrong in (str(tmp_path / "none"), str(tmp_path / "*.xyz")):
        with pytest.raises(InputError):
            find_jobs(wrong)


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        ([], "no input: set input="),
        (["input=."], "has no motion file"),
        (["input=nothing.bvh"], "does not exist"),
        (["inptu=x"], "did you mean 'input'"),
        (["input=x.bvh", "method=gmrr"], "did you mean 'gmr'"),
        (["input=x.bvh", "embodiment=toy_arm"], "cannot retarget to 'toy_arm'"),
        (["input=x.bvh", "group=kit_kinesis_testing_motion"], "did you mean 'kit_kinesis_testing_motions'"),
        (["input=x.bvh", "thresholds.rmsee=1"], "did you mean 'rmse'"),
        (["input=x.bvh", "markers=none.yaml"], "does not exist"),
        (["input=x.bvh", "cutoff=0"], "cutoff"),
        (["input=x.bvh", "infeasible=rejct"], "did you mean 'reject'"),
    ],
)
def test_wrong_options_are_reported(tmp_path, monkeypatch, words, lines):
    monkeypatch.chdir(tmp_path)
    if "input=x.bvh" in words:
        (tmp_path / "x.bvh").write_text(bvh_text())
    with pytest.raises(InputError) as error:
        main(words)
    assert lines in str(error.value) and "\n" not in str(error.value)


def test_motion_groups_are_installed(tmp_path, capsys):
    """KINESIS: 972 training and 108 test motions; missing ones are failures with one line each."""
    from muscle_torch.tools.retarget import _group

    training, testing = _group("kit_kinesis_training_motions"), _group("kit_kinesis_testing_motions")
    assert (len(training), len(testing)) == (972, 108) and not set(training) & set(testing)
    assert len(_group("amass_bimanual_train_motions")) == 1770
    words = [f"input={tmp_path}", f"output={tmp_path / 'out'}", "group=amass_transition_motions"]
    assert main(words) == 1
    assert "110 failed" in capsys.readouterr().out


def quality_of(folder: Path, name: str) -> dict[str, float]:
    return json.loads((folder / "quality" / f"{name}.json").read_text())["quality"]


# Largest landmark error that the filter adds [m]: 3 mm if the recording is good, more if it is noisy.
@pytest.mark.parametrize(
    ("source", "added"),
    [
        ("cmu_mocap/02_01.amc", 0.003),
        ("opensim_core_walk3d/coordinates.sto", 0.003),
        ("opencap_processing/walking1_videoAndMocap.mot", 0.006),
        ("cmu_mocap_bvh/cmu_12_01_walk.bvh", 0.006),
        ("opensim_c3d_treadmill/walking2.c3d", 0.003),
    ],
)
def test_the_feet_can_carry_recorded_walks_through_the_filter(tmp_path, source, added):
    path = data_file(f"data/{source}")
    for folder, words in (("on", []), ("off", ["filter=false"])):
        assert main([f"input={path}", f"output={tmp_path / folder}", "figures=false", *words]) == 0
    on, off = (quality_of(tmp_path / folder, path.stem) for folder in ("on", "off"))
    assert on["zmp_distance"] < 1e-3 and on["zmp_distance_p95"] < 1e-3 and on["zmp_outside_rate"] < 0.01
    assert off["zmp_distance"] > 0.01 and off["zmp_outside_rate"] > 0.2
    assert on["rmse"] < off["rmse"] + added
    assert on["unsupported_rate"] == 0.0 and on["friction_demand_p95"] < 0.35
    assert on["penetration_depth"] < 0.002 and on["foot_slide"] < off["foot_slide"] + 0.03
    assert on["moment_excess"] < off["moment_excess"]


def test_a_motion_that_no_body_can_follow_is_noted_or_rejected(tmp_path, capsys):
    source = data_file("data/cmu_mocap/02_03.amc")
    assert main([f"input={source}", f"output={tmp_path / 'kept'}", "figures=false"]) == 0
    line = next(line for line in capsys.readouterr().err.splitlines() if "no body can follow it: " in line)
    assert "note: 02_03" in line and "axial_rotation needs" in line and "frames" in line
    assert main([f"input={source}", f"output={tmp_path / 'out'}", "figures=false", "infeasible=reject"]) == 1
    assert "its muscles give" in (tmp_path / "out" / "quality" / "rejected.txt").read_text()
    assert not list((tmp_path / "out").glob("*.npz"))


def test_a_run_with_flights_passes_through_the_filter(tmp_path):
    """Its feet touch the floor in parts of their stances only."""
    folder = data_file("data/opensim_models_rajagopal_run/motion_capture_run.trc").parent
    words = [f"input={folder / 'motion_capture_run.trc'}", f"static={folder / 'static_run.trc'}"]
    assert main([*words, f"output={tmp_path}", "figures=false"]) == 0
    quality = quality_of(tmp_path, "motion_capture_run")
    assert 0.0 <= quality["zmp_distance"] < 0.005 and quality["unsupported_rate"] > 0
