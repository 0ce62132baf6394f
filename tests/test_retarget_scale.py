"""Many real clips: interrupted and resumed, several workers, training on the result (-m slow)."""

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

ROOT = Path(__file__).parents[1]
TOOL = ROOT / "tools" / "retarget.py"
CLIPS = int(os.environ.get("MUSCLE_TORCH_RETARGET_CLIPS", "24"))
ODD = ("pelvis_list", "pelvis_rotation", "pelvis_tz", "lumbar_bending", "lumbar_rotation")  # change sign in a mirror


def cut_amc(source: Path, first: int, count: int) -> str:
    """Return frames of an .amc, renumbered."""
    head, *frames = source.read_text().split("\n1\n", 1)
    lines, starts = frames[0].splitlines(), [0]
    starts += [i + 1 for i, line in enumerate(lines) if line.isdigit()]
    out = [head]
    for number in range(count):
        start = starts[first + number]
        stop = starts[first + number + 1] - 1 if first + number + 1 < len(starts) else len(lines)
        out += [str(number + 1), *lines[start:stop]]
    return "\n".join(out) + "\n"


def cut_mot(source: Path, first: int, count: int, mirrored: bool) -> str:
    """Rows of a table of gait coordinates, left and right exchanged where `mirrored`."""
    lines = source.read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if line.strip().lower() == "endheader") + 1
    names = lines[start].split()
    rows = np.array([[float(word) for word in line.split()] for line in lines[start + 1 :] if line.strip()])
    rows = rows[first : first + count]
    if mirrored:
        swapped = [f"{n[:-1]}{'lr'[n[-1] == 'l']}" if n.endswith(("_l", "_r")) else n for n in names]
        rows = rows[:, [names.index(name) for name in swapped]]
        rows[:, [i for i, name in enumerate(names) if name in ODD]] *= -1
    table = ["\t".join(names), *("\t".join(f"{value:.8f}" for value in row) for row in rows)]
    return "\n".join([*lines[:start], *table]) + "\n"


def make_folder(folder: Path, count: int) -> Path:
    """Write `count` clips cut from real walking, running and lifting, every fourth from a mirrored walk."""
    generator = np.random.default_rng(0)
    amc = [(data_file(f"data/cmu_mocap/{name}.amc"), frames) for name, frames in
           (("02_01", 343), ("02_03", 173), ("02_06", 2200))]  # fmt: skip
    mot = data_file("data/opencap_processing/walking1_videoAndMocap.mot")
    for index in range(count):
        path = folder / f"s{index % 5}" / f"clip{index:03d}{'.mot' if index % 4 == 3 else '.amc'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".mot":
            path.write_text(cut_mot(mot, int(generator.integers(0, 60)), 80, index % 8 == 7))
            continue
        source, frames = amc[index % 3]
        length = int(generator.integers(100, 160))
        path.write_text(cut_amc(source, int(generator.integers(0, frames - length)), length))
        (path.parent / "02.asf").write_bytes(source.with_name("02.asf").read_bytes())
    return folder


def arrays(folder: Path) -> dict[str, dict[str, np.ndarray]]:
    arrays = {}
    for path in sorted([*folder.rglob("*.npz"), *folder.rglob("*.rejected")]):
        with np.load(path) as stored:
            arrays[path.relative_to(folder).as_posix()] = {key: stored[key] for key in stored.files}
    return arrays


def start(source: Path, output: Path, *words: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(TOOL), f"input={source}", f"output={output}", "figures=false", *words]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)


def alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_an_interrupted_folder_resumes_to_the_same_files(tmp_path):
    source = make_folder(tmp_path / "in", CLIPS)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert start(source, whole, "workers=2").wait() in (0, 1)
    process = start(source, cut, "workers=2")
    while len(list((cut / "quality").rglob("*.json"))) < CLIPS // 2 and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 60
    while alive(process.pid) and time.monotonic() < deadline:  # its workers end by themselves
        time.sleep(0.1)
    assert not alive(process.pid)
    done = len(list((cut / "quality").rglob("clip*.json")))
    assert CLIPS // 2 <= done < CLIPS
    assert start(source, cut, "workers=1").wait() in (0, 1)
    first, second = arrays(whole), arrays(cut)
    assert list(first) == list(second) and len(first) == CLIPS
    for name, clip in first.items():
        assert clip.keys() == second[name].keys()
        for key, values in clip.items():
            np.testing.assert_array_equal(values, second[name][key], err_msg=f"{name} {key}")
    assert (whole / "quality" / "rejected.txt").read_text() == (cut / "quality" / "rejected.txt").read_text()
    print(f"{CLIPS} clips, killed after {done}: identical")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_policy_trains_on_retargeted_recordings(tmp_path):
    """A short run on two real clips: every motion is taken, learned from and evaluated."""
    names = ("cmu_mocap/02_01.amc", "opensim_core_walk3d/markers_walk.trc")
    recordings = [str(data_file(f"data/{name}")) for name in names]
    clips, run = tmp_path / "clips", tmp_path / "runs" / "walk"
    tool = [sys.executable, str(TOOL), f"input=[{','.join(recordings)}]", f"output={clips}", "figures=false"]
    assert subprocess.run(tool, capture_output=True, timeout=300).returncode == 0
    words = ["task=fullbody", f"motion={clips}", "num_envs=8", "total_steps=4096", "ppo.minibatches=4", "device=cpu"]
    command = [sys.executable, str(ROOT / "train.py"), *words, f"runs_dir={run.parent}", "experiment=walk"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1000)
    assert done.returncode == 0, done.stderr[-2000:]
    final = json.loads((run / "eval" / "final" / "metrics.json").read_text())
    assert sorted(clip["name"] for clip in final["per_clip"]) == ["02_01", "markers_walk"]
    assert np.isfinite(final["mean_episode_return"]) and final["frame_coverage"] > 0
    updates = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert updates[-1]["step"] >= 4096
