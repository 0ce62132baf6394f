"""The EMG benchmark of KINESIS on assets made here, whose cycles, correlations and shifts are known."""

import re

import numpy as np
import pytest
from commands import script
from conftest import data_file

from muscle_torch.biomechanics.emg_benchmark import (
    LONG,
    LONG_HEAD,
    MUSCLES,
    SHORT,
    compare,
    mean_cycle,
    ordinary_cycles,
    read_assets,
    toe_off_cycles,
)
from muscle_torch.errors import InputError

LENGTHS = (30, 31, 30, 29, 30, 31, 30, 29, 30, 30)  # frames of a cycle at 30 Hz; between them one of 60 frames
PHASE = np.arange(100) / 100


def burst(centre: float, width: float = 0.12) -> np.ndarray:
    """One burst a cycle, (100,)."""
    return np.exp(-((((PHASE - centre + 0.5) % 1.0) - 0.5) ** 2) / (2 * width**2))


def shapes() -> dict[str, np.ndarray]:
    """A curve for each actuator; the two heads of the biceps femoris differ."""
    curves = {actuator: burst(0.1 + 0.09 * i) for i, actuator in enumerate(MUSCLES.values())}
    return curves | {LONG_HEAD: burst(0.9)}


def write_assets(folder, shift: int = 0, people: int = 4, noise: float = 0.0, copy: str = "bfsh_l"):
    """Write the layout of the benchmark: people have the model's curves, the biceps femoris those of `copy`."""
    rng, curves = np.random.default_rng(0), shapes()
    for name in ("kinesis", "misc", "human_emg"):
        (folder / name).mkdir(parents=True)
    codes, controls = [], []
    for length in (*LENGTHS[:5], 60, *LENGTHS[5:], 30):
        phase = np.arange(length) / length
        # Left alone, both, right alone, both; a flicker of no contact changes nothing.
        codes += np.select([phase < 0.4, phase < 0.5, phase < 0.9], [0, 2, 1], 2).tolist()
        codes[-3] = -1 if codes[-3] == 1 else codes[-3]
        controls.append(np.stack([np.interp(phase, PHASE, np.roll(c, shift), period=1) for c in curves.values()], 1))
    np.save(folder / "kinesis/gait.npy", np.array(codes))
    np.save(folder / "kinesis/muscle_controls.npy", np.concatenate(controls))
    np.save(folder / "misc/muscle_names.npy", np.array(list(curves)))
    names = [copy if muscle == SHORT else actuator for muscle, actuator in MUSCLES.items()]
    for person in range(people):
        values = np.stack([7.0 * np.ones(100), *(curves[name] for name in names)], axis=1)
        values[:, 1:] += noise * rng.standard_normal((100, len(names)))
        np.save(folder / f"human_emg/EMG_subject_{person + 4:02}_walk_45_avg.npy", values)
    return folder


def test_known_cycles_are_recovered():
    codes = [2, 1, 0, 0, 2, 1, 1, -1, 0, 0, 2, 1, 0, 1, 1]
    assert toe_off_cycles(codes) == [(2, 8), (8, 12)]
    assert toe_off_cycles([1, 1, 2]) == [] and toe_off_cycles([0, 0]) == []
    bounds = [(0, 30), (30, 61), (61, 90), (90, 120), (120, 151), (151, 240)]
    assert ordinary_cycles(bounds) == bounds[:-1]
    ramp = np.arange(20.0)[:, None]
    assert np.allclose(mean_cycle(ramp, [(0, 10), (10, 20)])[:, 0], np.linspace(5, 14, 100))


def test_identical_input_correlates_to_one(tmp_path):
    assets = read_assets(write_assets(tmp_path / "assets"))
    assert assets.cycles == len(LENGTHS) and assets.people.shape == (4, 100, 9)
    assert assets.notes == ("1 of 11 cycles of unusual duration left out",)
    result = compare(assets.people, assets.model)
    rows = {row[0]: row for row in result.rows}
    # Resampling 30 frames to 100 points costs a little, and shifts by up to a third of a frame.
    assert all(rows[muscle][2] > 0.99 for muscle in MUSCLES) and rows[LONG][2] < 0.9
    assert all(abs(rows[muscle][5]) <= 2 for muscle in MUSCLES)
    assert np.allclose(result.human, 1.0) and rows["soleus"][7] == pytest.approx(1.0)
    assert np.median(result.model) > 0.99 > np.median(result.model_long_head)
    assert abs(result.shift) <= 2
    exact = compare(assets.people, {muscle: shapes()[actuator] for muscle, actuator in MUSCLES.items()})
    assert exact.shift == 0 and np.allclose(exact.model, 1.0) and np.isnan(exact.model_long_head).all()


def test_a_rolled_model_peaks_at_the_shift(tmp_path):
    people = read_assets(write_assets(tmp_path / "assets")).people
    for shift in (17, -8):
        model = {muscle: np.roll(shapes()[actuator], shift) for muscle, actuator in MUSCLES.items()}
        result = compare(people, model)
        assert result.shift == shift and result.r_at_shift == pytest.approx(1.0)
        assert all(row[5] == shift and row[6] == pytest.approx(1.0) for row in result.rows)


def test_the_electrode_lies_over_the_long_head(tmp_path):
    """If people's biceps femoris fires like the model's long head, only the second figure is high."""
    assets = read_assets(write_assets(tmp_path / "assets", copy=LONG_HEAD))
    result = compare(assets.people, assets.model)
    rows = {row[0]: row for row in result.rows}
    assert rows[LONG][2] > 0.99 > rows[SHORT][2] and rows[LONG][1] == LONG_HEAD
    assert np.median(result.model_long_head) > 0.99 > np.median(result.model)


def test_noise_lowers_the_ceiling(tmp_path):
    people = read_assets(write_assets(tmp_path / "assets", noise=0.3)).people
    model = {muscle: shapes()[actuator] for muscle, actuator in MUSCLES.items()}
    rows = compare(people, model).rows
    # The variance of a burst is about 0.1, that of the noise 0.09: pairs share half of their variance.
    assert all(0.3 < row[7] < 0.7 and row[7] < row[8] < 0.85 for row in rows)
    assert all(row[2] > row[7] for row in rows)


def test_the_command_prints_both_heads_and_writes_a_table(tmp_path, capsys):
    folder = write_assets(tmp_path / "assets")
    words = ["benchmark=kinesis", f"emg={folder}", f"output={tmp_path / 'out'}"]
    assert script("tools/emg.py").main(words) == 0
    shown = capsys.readouterr().out
    assert "bfsh_l" in shown and LONG_HEAD in shown and re.search(r"median over people: model (0.99|1.00)", shown)
    lines = (tmp_path / "out" / "benchmark.csv").read_text().splitlines()
    assert len(lines) == 1 + len(MUSCLES) + 1


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda f: (f / "kinesis/gait.npy").unlink(), "lacks kinesis/gait.npy"),
        (lambda f: np.save(f / "misc/muscle_names.npy", np.array(["soleus_l"])), "needed"),
        (lambda f: np.save(f / "kinesis/gait.npy", np.ones(5)), "needed"),
        (lambda f: np.save(f / "human_emg/EMG_subject_04_walk_45_avg.npy", np.ones((101, 10))), "needed"),
        (lambda f: [p.unlink() for p in list((f / "human_emg").iterdir())[1:]], "has 1 files"),
        (lambda f: (f / "kinesis/gait.npy").write_bytes(b"x"), "cannot be read"),
        (lambda f: np.save(f / "misc/muscle_names.npy", np.array(["x"] * 10)), "lacks soleus_l"),
    ],
)
def test_assets_in_another_layout_are_one_line(break_it, message, tmp_path):
    folder = write_assets(tmp_path / "assets")
    break_it(folder)
    with pytest.raises(InputError, match=message) as error:
        read_assets(folder)
    assert "\n" not in str(error.value)


def test_recordings_are_compared_with_both_heads(tmp_path):
    """A recording at hand against another person's, cycle by cycle; its biceps femoris counts for both heads."""
    folder = data_file("data/musclesyneRgies_emg")
    words = ["benchmark=kinesis", f"emg={folder / 'raw_emg_1000Hz.csv'}", f"cycles={folder / 'cycles.csv'}"]
    assert script("tools/emg.py").main([*words, "high_pass=50", "envelope=20", f"output={tmp_path}"]) == 0
    table = (tmp_path / "table.csv").read_text().splitlines()
    values = {line.split(",")[0]: line.split(",")[1:] for line in table}
    assert values[f"{SHORT}_r"] == values[f"{LONG}_r"] and float(values["soleus_r"][0]) == pytest.approx(48, abs=2)
