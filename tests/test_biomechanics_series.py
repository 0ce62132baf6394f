"""Recordings, gait events, cycles and agreement: values computed by hand, and real recordings."""

import numpy as np
import pytest
from conftest import data_file

from muscle_torch.biomechanics.agreement import (
    best_lag,
    circular_distance,
    co_contraction,
    cyclic_lag,
    mpjae,
    noise_ceiling,
    pearson,
    rmse,
)
from muscle_torch.biomechanics.c3d import read_c3d_markers, read_c3d_vertical_forces
from muscle_torch.biomechanics.cycles import cut_cycles, ordinary_durations, pool
from muscle_torch.biomechanics.gait_events import (
    Contacts,
    check_force,
    contacts_from_feet,
    contacts_from_force,
    refined,
)
from muscle_torch.biomechanics.recordings import read_series, write_series
from muscle_torch.biomechanics.series import TimeSeries, butterworth, common_clock, complete, regular
from muscle_torch.errors import InputError


def series(values, rate=100.0, names=None, start=0.0):
    values = np.asarray(values, dtype=float).reshape(len(values), -1)
    names = names or tuple(f"c{i}" for i in range(values.shape[1]))
    return TimeSeries(start + np.arange(len(values)) / rate, values, tuple(names))


@pytest.mark.parametrize("suffix", [".sto", ".mot", ".csv"])
def test_files_round_trip(tmp_path, suffix):
    original = TimeSeries(
        np.array([0.0, 0.01, 0.02]), np.array([[1.5, -2], [3, 4e-7], [5, 6]]), ("a", "b"), ("N", "Nm")
    )
    read = read_series(write_series(tmp_path / f"x{suffix}", original))
    np.testing.assert_allclose(read.values, original.values, rtol=1e-9)
    np.testing.assert_allclose(read.time, original.time)
    assert read.names == original.names and read.rate == pytest.approx(100.0)
    assert suffix != ".csv" or read.units == original.units


def test_storage_headers_and_paths(tmp_path):
    path = tmp_path / "q.sto"
    path.write_text(
        "Coordinates\ninDegrees=yes\nnRows=2\nendheader\n"
        "time\t/jointset/hip_r/hip_flexion_r/value\t/jointset/hip_r/hip_flexion_r/speed\n0\t1\t2\n0.5\t3\t4\n"
    )
    read = read_series(path)
    assert read.names == ("hip_flexion_r", "hip_flexion_r_speed") and read.units[0] == "deg" and read.rate == 2.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "rows"),
        ("time,a\n0,1\n", "at least 2"),
        ("time,a\n0,1\n0.1,x\n", "line 3: 'x' is not a number"),
        ("time,a\n0,1\n0.1,2,3\n", "line 3 has 3 values"),
        ("time,a\n0,1\n0,2\n", "does not increase in row 1"),
        ("a,b\n0,1\n1,2\n", "no time column"),
        ("0,1\n0,1\n1,2\n", "write the column names there"),
    ],
)
def test_bad_tables_are_reported(tmp_path, text, expected):
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(InputError, match=expected):
        read_series(tmp_path / "bad.csv")


def test_unknown_columns_and_files_are_reported(tmp_path):
    with pytest.raises(InputError, match="did you mean 'soleus'"):
        series([[1], [2]], names=("soleus",))["soelus"]
    with pytest.raises(InputError, match="does not exist"):
        read_series(tmp_path / "none.sto")
    with pytest.raises(InputError, match=r"cannot read \.xlsx"):
        read_series(tmp_path / "none.xlsx")


def test_series_are_resampled_to_the_slower_clock():
    fast, slow = series(np.arange(1000.0), 1000.0, ("f",)), series(np.arange(50.0), 100.0, ("s",), start=0.25)
    a, b = common_clock(fast, slow)
    assert a.rate == pytest.approx(100.0) and a.time[0] == 0.25
    np.testing.assert_allclose(a["f"], 1000 * a.time, atol=1e-9)
    np.testing.assert_allclose(b["s"], (b.time - 0.25) * 100, atol=1e-9)
    with pytest.raises(InputError, match="do not overlap"):
        common_clock(fast, series(np.arange(5.0), 100.0, start=50.0))
    uneven = TimeSeries(np.array([0.0, 0.1, 0.25, 0.3]), np.zeros((4, 1)), ("x",))
    assert not uneven.is_regular and regular(uneven).is_regular


def test_the_filter_halves_the_power_at_its_cutoff():
    time = np.arange(0, 10, 0.001)
    for kind in ("low", "high"):
        out = butterworth(np.sin(2 * np.pi * 10 * time), 1000.0, 10.0, kind, 4)[3000:7000]
        assert np.ptp(out) / 2 == pytest.approx(np.sqrt(0.5), abs=0.01), kind
    with pytest.raises(InputError, match="half the rate"):
        butterworth(time, 100.0, 60.0, "low", 4)


def test_agreement_by_hand():
    assert pearson(np.array([1.0, 2, 3]), np.array([2.0, 4, 6])) == pytest.approx(1.0)
    # Deviations (-1, 0, 1) and (-2/3, 4/3, -2/3): their product sums to 0.
    assert pearson(np.array([1.0, 2, 3]), np.array([1.0, 3, 1])) == pytest.approx(0.0)
    assert np.isnan(pearson(np.ones(5), np.arange(5.0)))
    assert rmse(np.array([0.0, 0]), np.array([3.0, 4])) == pytest.approx(np.sqrt(12.5))
    assert mpjae(np.array([[0.0, 0], [0, 0]]), np.array([[1.0, -2], [3, -4]])) == 2.5
    # common area 1 + 1, sum 3 + 3
    assert co_contraction(np.array([1.0, 2]), np.array([2.0, 1])) == pytest.approx(2 / 3)
    assert co_contraction(np.array([1.0, 0]), np.array([0.0, 1])) == 0.0
    assert circular_distance(97, 2) == 5.0


def test_lags_come_back():
    bump = np.exp(-(((np.arange(500) - 200) / 20.0) ** 2))
    lag = best_lag(bump, np.roll(bump, 7), 100.0, 0.1)
    assert lag.seconds == pytest.approx(0.07) and lag.r == pytest.approx(1.0)
    assert best_lag(bump, bump, 100.0).seconds == 0.0
    cycle = bump[::5]
    assert cyclic_lag(cycle, np.roll(cycle, -4)).seconds == -4.0


def test_noise_ceiling_by_hand():
    up = np.array([0.0, 1, 2])
    ceiling = noise_ceiling(np.stack([up, up + 5, -up]))
    np.testing.assert_allclose(ceiling.pairs, [1, -1, -1])
    assert len(ceiling.leave_one_out) == 3
    with pytest.raises(InputError, match="at least 2"):
        noise_ceiling(up[None])


def test_cycles_are_cut_at_the_given_starts():
    ramp = series(np.arange(401.0), 100.0)
    cycles = cut_cycles(ramp, np.array([0.0, 1.0, 2.0, 3.0]))
    assert cycles.values.shape == (3, 101, 1) and cycles.percent[[0, -1]].tolist() == [0, 100]
    np.testing.assert_allclose(cycles.mean[:, 0], np.arange(101) + 100)
    np.testing.assert_allclose(cycles.sd, 100.0)
    assert cut_cycles(ramp, np.array([0.0, 1.0]), points=100).values[0, -1, 0] == pytest.approx(99.0)
    holed = series(np.where(np.arange(401) == 150, np.nan, 1.0))
    assert "not numbers" in cut_cycles(holed, np.array([0.0, 1.0, 2.0, 3.0])).left_out[0]
    with pytest.raises(InputError, match="no complete cycle"):
        cut_cycles(ramp, np.array([0.5]))


def test_cycles_of_several_walks_are_pooled():
    one = cut_cycles(series(np.arange(301.0)), np.array([0.0, 1.0, 2.0, 3.0]))
    both = pool([one, cut_cycles(series(np.arange(201.0)), np.array([0.0, 1.0]))])
    assert both.values.shape == (4, 101, 1) and both.ends.tolist() == [1, 2, 3, 1]
    with pytest.raises(InputError, match="cannot pool"):
        pool([one, cut_cycles(series(np.arange(201.0)), np.array([0.0, 1.0]), points=100)])


def test_an_odd_cycle_is_left_out():
    assert ordinary_durations(np.array([1.0, 1.02, 0.99, 1.01, 1.9])).tolist() == [True] * 4 + [False]
    cycles = cut_cycles(series(np.arange(700.0)), np.array([0, 1, 2, 3, 5, 6.0]))
    assert len(cycles.values) == 4 and "unusual duration" in cycles.left_out[0]


def test_contacts_by_hand():
    force = np.zeros(1000)
    for start in (100, 400, 700):
        force[start : start + 150] = 600.0
    force[300:330] = 90.0  # the other foot brushes the plate
    force[170:173] = 0.0  # a drop-out within a contact
    contacts = contacts_from_force(force + 25.0, 250.0, cutoff=60.0)
    np.testing.assert_allclose(contacts.starts, [0.4, 1.6, 2.8], atol=0.01)
    np.testing.assert_allclose(contacts.ends, [1.0, 2.2, 3.4], atol=0.01)
    np.testing.assert_allclose(contacts.stance_share, 0.5, atol=0.01)
    assert "light" in contacts.left_out[0]
    assert contacts_from_force(force[150:800], 250.0, cutoff=60.0).starts.tolist() == pytest.approx([1.0], abs=0.01)
    cut = contacts_from_force(force[150:800], 250.0, cutoff=60.0, unfinished=True)
    np.testing.assert_allclose(cut.starts, [1.0, 2.2], atol=0.01)
    assert "began before the recording" in cut.left_out[0] and np.isnan(cut.ends[1])


@pytest.mark.parametrize(
    ("force", "expected"),
    [(np.ones(50), "volts"), (-700 * np.ones(50), "points down"), (1.1 * np.ones(50), "body weights")],
)
def test_invalid_forces_are_reported(force, expected):
    with pytest.raises(InputError, match=expected):
        check_force(force)


@pytest.mark.parametrize("trial", ["T05", "T06", "T07"])
def test_split_belt_strides(trial):
    recording = read_series(data_file(f"data/fukuchi2018_subset/WBDS04walk{trial}grf.txt"), rate=300.0)
    sides = [contacts_from_force(recording[name], recording.rate) for name in ("Fy1", "Fy2")]
    assert abs(len(sides[0].strides) - len(sides[1].strides)) <= 1
    for side in sides:
        middle = np.median(side.strides)
        deviation = 1.4826 * np.median(np.abs(side.strides - middle))
        assert len(side.strides) >= 28 and (np.abs(side.strides - middle) <= 3 * deviation).all()
        assert 0.5 < np.nanmedian(side.stance_share) < 0.7


def test_c3d_events():
    """Two plates with one contact each; marker events within 110 ms (strikes) and 60 ms (toe-offs)."""
    path = data_file("data/opensim_c3d_treadmill/walking2.c3d")
    force, markers = read_c3d_vertical_forces(path), read_c3d_markers(path)
    assert (force.rate, markers.rate) == pytest.approx((2000.0, 250.0))
    plates = [contacts_from_force(column, force.rate) for column in force.values.T]
    assert [len(plate.starts) for plate in plates] == [1, 1]

    def marker(name):
        return np.stack([markers[f"{name}_{axis}"] for axis in "xyz"], axis=1)

    pelvis = (marker("LASI") + marker("RASI")) / 2
    strikes, leaves = [], []
    for side in "RL":
        contacts = contacts_from_feet(marker(f"{side}CAL"), marker(f"{side}MT1"), pelvis, markers.rate)
        strikes += contacts.starts.tolist()
        leaves += contacts.ends[np.isfinite(contacts.ends)].tolist()
    for plate in plates:
        assert min(abs(np.array(strikes) - plate.starts[0])) < 0.11
        assert min(abs(np.array(leaves) - plate.ends[0])) < 0.06


def test_kinematic_events_by_hand():
    """A foot that swings round the pelvis: furthest behind when it leaves; it strikes at half of the body's speed.

    Over the ground the heel goes at 1.2 - 0.6 pi sin(2 pi t) m/s, which is 0.6 at sin(2 pi t) = 1 / pi.
    """
    time = np.arange(0, 5, 0.01)
    pelvis = np.stack([1.2 * time, 0 * time, 1 + 0 * time], axis=1)
    swing = 0.3 * np.cos(2 * np.pi * time)[:, None] * [1.0, 0, 0]
    heel, toe = pelvis + swing - [0, 0, 1], pelvis + swing + [0.2, 0, -1]
    contacts = contacts_from_feet(heel, toe, pelvis, 100.0)
    np.testing.assert_allclose(contacts.starts, np.arange(1, 5) + np.arcsin(1 / np.pi) / (2 * np.pi), atol=0.005)
    np.testing.assert_allclose(contacts.ends, [1.5, 2.5, 3.5, 4.5], atol=0.005)
    # A plate tells one of each exactly, and by how much the others are off; what it saw elsewhere is another foot's.
    expected = refined(contacts, Contacts(np.array([2.04, 3.5]), np.array([2.53, 3.9])))
    np.testing.assert_allclose(expected.starts, [1.04, 2.04, 3.04, 4.04], atol=0.005)
    np.testing.assert_allclose(expected.ends, [1.53, 2.53, 3.53, 4.53], atol=0.005)


def test_trials_of_one_person_are_alike():
    with np.load(data_file("data/falisse2019_gait_cycles/gait_cycles_trials1-7.npz")) as stored:
        knee = stored["angle_deg"][:, list(stored["angle_deg_names"]).index("knee_angle")].T
    ceiling = noise_ceiling(knee)
    assert len(ceiling.pairs) == 21 and np.median(ceiling.pairs) > 0.98


def test_plates_in_volts_are_rejected(tmp_path):
    ezc3d = pytest.importorskip("ezc3d")
    file = ezc3d.c3d()
    file["parameters"]["POINT"]["RATE"]["value"] = [100]
    file["parameters"]["POINT"]["LABELS"]["value"] = ["heel"]
    file["data"]["points"] = np.ones((4, 1, 10))
    file["parameters"]["ANALOG"]["RATE"]["value"] = [1000]
    file["parameters"]["ANALOG"]["LABELS"]["value"] = [f"channel{i}" for i in range(6)]
    file["parameters"]["ANALOG"]["UNITS"]["value"] = ["V"] * 6
    file["parameters"]["FORCE_PLATFORM"]["USED"]["value"] = [1]
    file["parameters"]["FORCE_PLATFORM"]["CHANNEL"]["value"] = np.arange(1, 7).reshape(6, 1)
    file["data"]["analogs"] = np.ones((1, 6, 100))
    file.write(str(tmp_path / "volts.c3d"))
    assert read_series(tmp_path / "volts.c3d").units == ("V",) * 6
    with pytest.raises(InputError, match="plate 1 is in V: export calibrated forces"):
        read_c3d_vertical_forces(tmp_path / "volts.c3d")


def test_the_longest_stretch_without_gaps_is_kept():
    values = np.arange(30.0).reshape(10, 3)
    values[2, 0] = values[8, 1] = np.nan
    values[:, 2] = np.nan
    kept, expected = complete(TimeSeries(np.arange(10.0), values, ("a", "b", "c"), source="x.mot"))
    assert kept.names == ("a", "b") and kept.time.tolist() == [3, 4, 5, 6, 7]
    assert expected == (
        "x.mot: no numbers in c",
        "x.mot: NaN in a at 2.00 s and elsewhere: only 3.00 to 7.00 s are used",
    )
    with pytest.raises(InputError, match="no row without NaN"):
        complete(TimeSeries(np.arange(2.0), np.array([[np.nan, 1.0], [1.0, np.nan]]), ("a", "b")))
