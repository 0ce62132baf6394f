"""Gait: inverse dynamics by laws and against another program, static optimisation, synergies, cost, archives."""

import dataclasses
import warnings

import numpy as np
import pytest
import torch
from commands import script
from conftest import data_file

from muscle_torch.biomechanics.agreement import pearson, rmse
from muscle_torch.biomechanics.coordinates import (
    PELVIS_PLACE,
    from_model,
    in_model_signs,
    knee_convention,
    leg_scale,
    to_model,
)
from muscle_torch.biomechanics.gait import (
    angle_cycles,
    gait_of,
    opensim_gait,
)
from muscle_torch.biomechanics.gait_numbers import walk_numbers
from muscle_torch.biomechanics.gait_report import QUANTITIES
from muscle_torch.biomechanics.ground_forces import plates_of_feet
from muscle_torch.biomechanics.inverse_dynamics import inverse_dynamics
from muscle_torch.biomechanics.muscle_activity import (
    activity_of_motion,
    activity_tables,
    extract_synergies,
    sufficient_synergies,
    vaf_by_rank,
)
from muscle_torch.biomechanics.recordings import read_series, write_series
from muscle_torch.biomechanics.reference_curves import read_reference
from muscle_torch.biomechanics.series import TimeSeries, low_pass
from muscle_torch.biomechanics.static_optimisation import solve_boxed, static_optimisation
from muscle_torch.embodiments import make_embodiment
from muscle_torch.errors import InputError
from muscle_torch.motion import load_motion

WALK = "data/opensim_core_walk3d"
SAGITTAL = {"ankle_angle": 0.95, "knee_angle": 0.85, "hip_flexion": 0.9}


@pytest.fixture(scope="module")
def body():
    return make_embodiment("fullbody")


@pytest.fixture(scope="module")
def walk(body):
    """Return the recorded walk with inverse dynamics, every fifth sample at 1000 Hz."""
    data_file(WALK)
    return opensim_gait(
        body,
        data_file(f"{WALK}/coordinates.sto"),
        data_file(f"{WALK}/grf_walk.mot"),
        mass=85.07,
        start=0.5,
        end=1.74,
    )


def test_coordinates_round_trip(body):
    series = read_series(data_file(f"{WALK}/coordinates.sto")).between(0.5, 0.6)
    qpos, left_out = to_model(series, body)
    back = from_model(qpos, body, series.rate, series.time[0])
    for name in back.names:
        if name in series:
            np.testing.assert_allclose(back[name], series[name], atol=1e-9, err_msg=name)
    assert any("arm_flex_r" in line for line in left_out)
    assert set(PELVIS_PLACE) <= set(back.names)


def test_knees_that_bend_into_the_negative_are_turned():
    series = TimeSeries(np.arange(3.0), np.array([[-5.0], [-60.0], [-10.0]]), ("knee_angle_r",), ("deg",))
    assert knee_convention(series) == "gait2392"
    np.testing.assert_allclose(in_model_signs(series)["knee_angle_r"], np.radians([5, 60, 10]))
    with pytest.raises(InputError, match="did you mean 'gait2392'"):
        knee_convention(series, "gait2393")


def test_a_body_at_rest_carries_its_weight(body):
    """Without motion and ground, the force at the root is the weight; with `mass` 60 kg, that of 60 kg."""
    qpos = np.tile(body.project(np.array(body.model.qpos0)), (20, 1))
    for mass in (0.0, 60.0):
        residual = inverse_dynamics(body, qpos, 100.0, joints=("knee_angle_r",), mass=mass).residual
        weight = (mass or body.model.body_mass.sum()) * 9.81
        np.testing.assert_allclose(residual[:, :3], np.tile([0, 0, weight], (20, 1)), atol=1e-3 * weight)


def test_falling_freely_needs_no_moments(body):
    time = np.arange(20) / 100.0
    qpos = np.tile(body.project(np.array(body.model.qpos0)), (20, 1))
    qpos[:, 2] = 5.0 - 0.5 * 9.81 * time**2
    result = inverse_dynamics(body, qpos, 100.0, joints=("hip_flexion_r", "knee_angle_l"), cutoff=0.0)
    assert np.abs(result.moments.values[3:-3]).max() < 0.05 and np.abs(result.residual[3:-3]).max() < 1.0


def test_moments_of_a_walk_are_those_of_another_program(walk):
    gait, _ = walk
    theirs = in_model_signs(read_series(data_file(f"{WALK}/id_walk.sto"))).at(gait.moments.time)
    for side in "rl":
        for joint, least in SAGITTAL.items():
            name = f"{joint}_{side}"
            assert pearson(gait.moments[name], theirs[name]) >= least, name


def test_swapped_plates_volts_and_millimetres_are_reported(body):
    series = read_series(data_file(f"{WALK}/coordinates.sto"))
    grf = read_series(data_file(f"{WALK}/grf_walk.mot"))
    series = series.at(np.arange(0.5, 1.7, 0.01))
    scale = leg_scale(series, body)
    assert 0.9 < scale < 1.0
    qpos, _ = to_model(series, body, scale=scale)
    with pytest.raises(InputError, match="plates are exchanged"):
        inverse_dynamics(body, qpos, 100.0, plates_of_feet(grf, swapped=True).at(series.time), scale=scale)
    with pytest.raises(InputError, match="convert to newtons"):
        plates_of_feet(grf.with_values(grf.values * 0.01))
    points = np.array([name.endswith(("px", "py", "pz")) for name in grf.names])
    with pytest.raises(InputError, match="convert them to metres"):
        plates_of_feet(grf.with_values(np.where(points, 1000 * grf.values, grf.values)))
    with pytest.raises(InputError, match="do not cover"):
        plates_of_feet(grf).at(series.time + 10.0)
    with pytest.raises(InputError, match="no ground forces"):
        plates_of_feet(series)


def test_a_walk_of_motion_capture_is_human(body):
    clip = load_motion(data_file("data/clips/MyoFullBody/cmu_02_01_walk.npz"), body)[0]
    reference = read_reference(data_file("data/falisse2019_gait_cycles/gait_cycles_trials1-7.npz"))
    gait = gait_of(body, clip.qpos.astype(float), clip.frequency)
    for side in "rl":
        cycles = angle_cycles(gait, side)
        for name in ("hip_flexion", "knee_angle", "ankle_angle"):
            assert pearson(cycles.column(name).mean(0), reference.get("angle", name, 101).mean(0)) >= 0.9, name
    numbers = {row[0]: row for row in walk_numbers([gait])}
    assert numbers["speed of the model"][1] == pytest.approx(1.13, abs=0.02) and "speed" not in numbers
    assert 0.5 < numbers["step length of the model"][1] < 0.7 and 55 < numbers["stance share"][1] < 70


def test_a_published_gait_cycle_is_reproduced(body):
    """The recordings called gait_1 are the fifth curve, of the left leg, whose second strike is on no plate."""
    folder = data_file("data/falisse2019_gait_cycles")
    curves = read_reference(folder / "gait_cycles_trials1-7.npz").trial(5)
    gait, _ = opensim_gait(body, folder / "IK_gait_1.mat", folder / "GRF_gait_1.mat", 62.0, swap_plates=True)
    moments = in_model_signs(read_series(folder / "ID_gait_1.mat"), "gait2392")
    # The published angles were smoothed: at 5 Hz all five fit, as measured hip rotation is 5 % off.
    gait = dataclasses.replace(gait, moments=moments, angles=low_pass(gait.angles, 5.0))
    for quantity, cut in QUANTITIES.items():
        cycle = cut(gait, "l")
        for name in cycle.names:
            expected = curves.get(quantity, name, 101)[0]
            apart = rmse(cycle.column(name).mean(axis=0), expected) / np.ptp(expected)
            assert apart < 0.02, (quantity, name, apart)


def test_least_effort_by_hand():
    """Two muscles of arms 1 and 3 share a moment of 2 as their arms: a = m r / |r|^2. One alone is bounded by 1."""
    matrix = torch.tensor([[[1.0, 3.0, -1.0]], [[0.5, 0.0, 0.0]]], dtype=torch.float64)
    needed = torch.tensor([[2.0], [2.0]], dtype=torch.float64)
    result = solve_boxed(matrix, needed, penalty=1e6)
    np.testing.assert_allclose(result, [[0.2, 0.6, 0.0], [1.0, 0.0, 0.0]], atol=1e-4)


def test_the_solution_is_optimal():
    """No feasible step lowers the objective: the projected gradient vanishes."""
    rng = np.random.default_rng(0)
    matrix = torch.from_numpy(rng.normal(size=(20, 5, 40)) * 10)
    needed = torch.from_numpy(rng.normal(size=(20, 5)) * 30)
    a = solve_boxed(matrix, needed, penalty=1.0)
    gradient = 2 * a + 2 * torch.einsum("tju,tj->tu", matrix, torch.einsum("tju,tu->tj", matrix, a) - needed)
    moved = (a - 1e-3 * gradient).clamp(0, 1) - a
    assert moved.abs().max() < 1e-6 and ((a > 0) & (a < 1)).any()


def test_static_optimisation_meets_the_moments_of_a_walk(body, walk):
    gait, qpos = walk
    thin = slice(None, None, 10)
    moments = dataclasses.replace(gait.moments, time=gait.moments.time[thin], values=gait.moments.values[thin])
    activity = activity_of_motion(body, qpos[thin], moments, gait.rate / 10)
    values = activity.activations.values
    assert values.min() >= 0.0 and values.max() <= 1.0
    assert np.sqrt((activity.residual.values**2).mean(axis=0)).max() < 0.5
    # The calf pushes off, the shin lifts the foot: each is silent while the other is needed.
    ankle = moments["ankle_angle_r"]
    calf = sum(activity.activations[name] for name in ("soleus_r", "gasmed_r", "gaslat_r"))
    assert pearson(calf, -ankle) > 0.8
    assert activity.activations["tibant_r"][ankle < -40].max() < 0.05
    titles = [title for title, _, _ in activity_tables(activity, 3, 85.07)]
    assert titles[0] == "Effort and cost" and titles[-1].startswith("Muscle synergies")
    with pytest.raises(InputError, match="frames of motion"):
        static_optimisation(body, qpos[:3], moments, gait.rate)


def test_planted_synergies_are_detected():
    rng = np.random.default_rng(0)
    weights = np.array([[1.0, 0.8, 0.0, 0.0, 0.1, 0.0], [0.0, 0.1, 1.0, 0.7, 0.0, 0.0], [0.0, 0.0, 0.0, 0.2, 1.0, 0.9]])
    time = np.linspace(0, 1, 200)
    timing = np.stack([np.exp(-(((time - c) / 0.08) ** 2)) for c in (0.2, 0.5, 0.8)], axis=1)
    activity = timing @ weights + 0.002 * rng.random((200, 6))
    result = vaf_by_rank(activity, 4)
    assert sufficient_synergies(result, 0.99) == 3 and [one.vaf for one in result] == sorted(one.vaf for one in result)
    normal = result[2].weights / np.linalg.norm(result[2].weights, axis=1, keepdims=True)
    planted = weights / np.linalg.norm(weights, axis=1, keepdims=True)
    assert (normal @ planted.T).max(axis=1).min() > 0.99
    with pytest.raises(InputError, match="non-negative"):
        extract_synergies(activity - 1.0, 2)
    with pytest.raises(InputError, match="7 synergies of 6 muscles"):
        extract_synergies(activity, 7)


def test_the_command_analyses_a_clip(tmp_path, capsys):
    clip = data_file("data/clips/MyoFullBody/cmu_02_01_walk.npz")
    reference = data_file("data/falisse2019_gait_cycles/gait_cycles_trials1-7.npz")
    main = script("tools/analyze.py").main
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        assert main([f"motion={clip}", f"reference={reference}", f"output={tmp_path}"]) == 0
    shown = capsys.readouterr().out
    assert "hip flexion (right)" in shown
    page = (tmp_path / "report.html").read_text()
    assert "src='data:image/png" in page and "http" not in page
    # Against itself: a recording of one's own as the reference.
    assert main([f"motion={clip}", f"reference={clip}", f"output={tmp_path}"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("knee flexion")]
    assert len(rows) == 2 and all(float(row[5]) > 0.99 for row in rows)


@pytest.mark.parametrize(("trial", "strides"), [("T05", "28 28"), ("T06", "30 30"), ("T07", "32 31")])
def test_the_command_counts_strides_of_forces_alone(trial, strides, tmp_path, capsys):
    forces = data_file(f"data/fukuchi2018_subset/WBDS04walk{trial}grf.txt")
    assert script("tools/analyze.py").main([f"forces={forces}", "rate=300", f"output={tmp_path}"]) == 0
    rows = {line[:40].strip(): line[40:].split() for line in capsys.readouterr().out.splitlines()}
    assert rows["strides"][:2] == strides.split()
    assert rows["strides beyond 3 median deviations"][:2] == ["0", "0"]


def test_gaps_exclude_only_their_interval(body, tmp_path):
    """The longest interval without NaN is used, with a note."""
    series = read_series(data_file(f"{WALK}/coordinates.sto"))
    series = series.at(np.arange(0.5, 1.7, 0.01))
    values = series.values.copy()
    values[30:33, series.index("knee_angle_r")] = np.nan
    values[:, series.index("arm_rot_r")] = np.nan
    path = write_series(tmp_path / "walk.sto", series.with_values(values))
    gait, qpos = opensim_gait(body, path, data_file(f"{WALK}/grf_walk.mot"), mass=85.07)
    assert gait.angles.time[0] == pytest.approx(0.83) and np.isfinite(qpos).all()
    assert np.isfinite(gait.moments.values).all()
    expected = "; ".join(gait.notes)
    assert "NaN in knee_angle_r at 0.80 s" in expected and "no numbers in arm_rot_r" in expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "nothing to analyse"),
        (["motion=none.mot"], "does not exist"),
        (["archive=none.npz"], "does not exist"),
        (["motion=x.sto", "reference=none.npz"], "does not exist"),
    ],
)
def test_bad_options_are_reported(words, expected, tmp_path):
    with pytest.raises(InputError, match=expected):
        script("tools/analyze.py").main([*words, f"output={tmp_path}"])


def test_a_motion_without_a_pelvis_is_reported(body, tmp_path):
    angles = TimeSeries(np.arange(10) / 100, np.zeros((10, 1)), ("hip_flexion_r",), ("rad",))
    with pytest.raises(InputError, match="pelvis_tilt"):
        to_model(read_series(write_series(tmp_path / "q.sto", angles)), body)
    other = angles.renamed(["hip"])
    with pytest.raises(InputError, match="no coordinate"):
        to_model(other, body)
    with pytest.raises(InputError, match="no feet"):
        arm = make_embodiment("bimanual")
        gait_of(arm, np.zeros((5, arm.model.nq)), 100.0)
