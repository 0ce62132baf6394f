"""Comparing conditions: intervals, symmetry, strength, compensation and device torque, by hand and by laws."""

import dataclasses

import numpy as np
import pytest
from commands import script
from rollout_cases import made_archive, made_episode, weak_soleus

from muscle_torch.biomechanics.bootstrap import paired_change
from muscle_torch.biomechanics.condition_curves import all_curves
from muscle_torch.biomechanics.condition_tables import (
    compensation_table,
    quantity_table,
    symmetry_index,
    symmetry_table,
)
from muscle_torch.biomechanics.conditions import read_study
from muscle_torch.embodiments import make_embodiment
from muscle_torch.errors import InputError
from muscle_torch.motion import load_motion
from muscle_torch.motion.rollout_archive import read_archive, write_archive

RISE, PEAK = 0.1, 20.0


@pytest.fixture(scope="module")
def body():
    return make_embodiment("legs")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, body):
    """Able, a right soleus of half strength that is more active, and that with a device; two seeds each."""
    where = tmp_path_factory.mktemp("conditions")
    qpos = load_motion("walk", body)[0].qpos.astype(float)
    weak, soleus = weak_soleus(body, 0.5), body.muscle_columns(["soleus_r"])
    for seed in (0, 1):
        activation = np.full((len(qpos), len(body.muscle_names)), 0.05 + 0.01 * seed)
        more = activation.copy()
        more[:, soleus] += RISE
        torque = -PEAK * np.sin(np.linspace(0, np.pi, len(qpos)))
        write_archive(where / f"able{seed}.npz", made_archive(body, made_episode(body, qpos, activation), seed))
        write_archive(where / f"weak{seed}.npz", made_archive(body, made_episode(weak, qpos, more), seed))
        worn = made_archive(body, made_episode(weak, qpos, more), seed, torque)
        write_archive(where / f"worn{seed}.npz", worn)
    return where


@pytest.fixture(scope="module")
def study(folder):
    return read_study(
        {name: [str(folder / f"{name}{seed}.npz") for seed in (0, 1)] for name in ("able", "weak", "worn")}
    )


def test_intervals_of_paired_differences():
    """Equal differences have no spread; the interval of a clear rise excludes 0; one pair has none."""
    before = np.array([1.0, 5.0, 9.0])
    assert paired_change(before, before + 0.5) == pytest.approx((0.5, 0.5, 0.5))
    change = paired_change(np.zeros(50), np.random.default_rng(1).normal(1.0, 0.1, 50))
    assert change.low < change.mean < change.high and change.high - change.low < 0.1 and change.is_clear
    # About 1.96 standard errors to each side.
    assert change.high - change.low == pytest.approx(2 * 1.96 * 0.1 / np.sqrt(50), rel=0.3)
    assert not paired_change(np.array([0.0, 0.0]), np.array([-1.0, 1.0])).is_clear
    single = paired_change(np.array([1.0, np.nan]), np.array([3.0, 3.0]))
    assert single.mean == 2.0 and np.isnan(single.low) and str(single) == "+2"


def test_symmetry_index_by_hand():
    assert symmetry_index(3.0, 1.0) == pytest.approx(100.0) and symmetry_index(1.0, 3.0) == pytest.approx(-100.0)
    assert symmetry_index(2.0, 2.0) == 0.0 and np.isnan(symmetry_index(0.0, 0.0))


def test_strength_is_that_of_the_muscles_in_the_rollout(body, study):
    soleus = body.muscle_columns(["soleus_r"])[0]
    for condition, expected in zip(study.conditions, (1.0, 0.5, 0.5), strict=True):
        strength = condition.trials[0].strength
        assert strength[soleus] == pytest.approx(expected, abs=1e-6)
        assert (np.delete(strength, soleus) == 1.0).all()


def test_compensation_and_intervals_by_hand(study):
    """Only the right soleus rises, by RISE in each pair."""
    _, columns, rows = compensation_table(study)
    assert columns[:5] == ("muscle", "strength [%]", "able", "weak", "worn")
    assert rows[0][:2] == ("soleus (right)", "100/50/50")
    assert rows[0][5] == pytest.approx((RISE, RISE, RISE)) and rows[0][7] == pytest.approx((0, 0, 0), abs=1e-12)
    assert rows[1][5].mean == pytest.approx(0.0, abs=1e-12)
    _, _, symmetry = symmetry_table(study)
    row = next(row for row in symmetry if row[0] == "mean activation of soleus")
    expected = np.mean([100 * RISE / (0.05 + 0.01 * seed + RISE / 2) for seed in (0, 1)])
    assert row[1] == pytest.approx(0.0, abs=1e-9) and row[2] == pytest.approx(expected)


def test_quantities_of_the_same_motion(study):
    """The motion is the same, so angles are too; effort, proxy and cost rise with the activation."""
    rows = {row[0]: row for row in quantity_table(study)[2]}
    for name in ("speed of the model", "range of knee flexion (right)", "step length of the model (left)"):
        assert rows[name][2] == pytest.approx(rows[name][3]) and rows[name][5].mean == pytest.approx(0.0, abs=1e-9)
    for name in ("mean squared activation", "metabolic proxy", "cost of transport"):
        assert rows[name][5].low > 0, name
    torque = rows["peak device torque, ankle dorsiflexion (right)"]
    assert torque[4] == pytest.approx(PEAK / study.mass, rel=1e-3) and np.isnan(torque[2])
    assert rows["peak device torque, ankle dorsiflexion (left)"][4] == 0.0


def test_curves_over_the_cycle(study):
    """Power is moment times angular velocity; the device's torque appears only where it is worn."""
    able, _, worn = (all_curves(condition, study.mass) for condition in study.conditions)
    assert ("torque", "r") not in able and ("torque", "r") in worn and ("torque", "l") not in worn
    ankle = worn["torque", "r"].column("ankle_angle")
    assert -PEAK / study.mass <= ankle.min() < -0.5 * PEAK / study.mass and ankle.max() <= 0
    moment, power, angle = (able[name, "l"].column("knee_angle").mean(axis=0) for name in ("moment", "power", "angle"))
    duration = float(np.mean(able["angle", "l"].ends - able["angle", "l"].starts))
    speed = np.gradient(np.radians(angle), duration / 100)
    assert np.corrcoef(power, moment * speed)[0, 1] > 0.98


def test_the_command_writes_tables_figures_and_a_page(folder, tmp_path, capsys):
    main = script("tools/analyze.py").main
    files = ",".join(str(folder / f"{name}0.npz") for name in ("able", "weak", "worn"))
    assert main([f"conditions=[{files}]", f"output={tmp_path / 'out' / 'page.html'}"]) == 0
    shown, page = capsys.readouterr().out, (tmp_path / "out" / "page.html").read_text()
    assert "soleus (right)" in shown and "Torque of the device" in page and "http" not in page
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"page_torque.png", "page_moment.png", "page_compensation.csv", "page_groups.csv"} <= written


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ("[{0}/able0.npz]", "at least two"),
        ("[{0}/able0.npz,{0}/weak1.npz]", "seed 0, weak1 does not"),
        ("[{0}/able0.npz,{0}/able0.npz]", "two are named 'able0'"),
        ("[[{0}/able0.npz,{0}/able0.npz],{0}/weak0.npz]", "twice"),
        ("[{0}/able0.npz,{0}/none.npz]", "does not exist"),
        ("[{0}/able0.npz,{0}/other.npz]", "other contains run, seed 0, able0 does not"),
    ],
)
def test_conditions_that_do_not_fit_are_one_line(folder, body, conditions, message, tmp_path):
    archive = read_archive(folder / "able0.npz")
    other = dataclasses.replace(archive.episodes[0], name="run")
    write_archive(folder / "other.npz", dataclasses.replace(archive, episodes=(other,)))
    with pytest.raises(InputError, match=message) as error:
        script("tools/analyze.py").main([f"conditions={conditions.format(folder)}", f"output={tmp_path}"])
    assert "\n" not in str(error.value)
