"""Clocks, gaps, units and names of marker files, on a walk whose markers are known."""

import numpy as np
import pytest
from conftest import data_file
from scipy.spatial.transform import Rotation
from test_retargeting_readers import error_message
from walker import markers, trc, walk

from muscle_torch.retargeting import RawMotion, ReadOptions, read_motion

WALK = walk(60, rate=100.0)
POINTS = markers(WALK)


def written(folder, text: str, name: str = "walk.trc"):
    path = folder / name
    path.write_text(text)
    return path


def same(one: RawMotion, other: RawMotion, atol: float = 1e-9) -> None:
    assert one.positions.keys() == other.positions.keys()
    for name, at in one.positions.items():
        np.testing.assert_allclose(at, other.positions[name], atol=atol, err_msg=name)


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> RawMotion:
    return read_motion(written(tmp_path_factory.mktemp("plain"), trc(POINTS, 100.0)))


def test_the_walk_is_read_exactly(plain):
    """Directions of the segments; joint centres come from the markers by regression, within 4 cm."""
    assert plain.rate == 100 and plain.num_frames == 60 and plain.notes == ()
    for name in ("left_knee", "right_ankle", "left_elbow", "right_toe"):
        assert np.linalg.norm(plain.positions[name] - WALK.landmarks[name], axis=1).max() < 0.04
    facing = np.einsum("ti,ti->t", plain.orientations["pelvis"][:, :, 0], WALK.orientations["pelvis"][:, :, 0])
    assert facing.min() > np.cos(np.radians(6))


@pytest.mark.parametrize(
    ("header", "step", "rate", "expected", "note"),
    [
        (100.0, 0.02, 0.0, 50.0, "the header states 100 Hz but the time column 50 Hz"),
        (0.0, 0.01, 0.0, 100.0, ""),
        (100.0, 0.02, 80.0, 80.0, ""),
        (100.0, 0.01, 50.0, 50.0, ""),
        (0.0, 0.01, 50.0, 50.0, ""),
        (100.0, 10.0, 0.0, 100.0, "not in seconds: using 100 Hz"),  # milliseconds: no motion is recorded at 0.1 Hz
        (100.0, 0.0, 0.0, 100.0, ""),
        (59.94, 1 / 59.94, 0.0, 59.94, ""),
    ],
)
def test_clocks_of_trc(tmp_path, plain, header, step, rate, expected, note):
    text = trc(POINTS, header, time=step * np.arange(60))
    raw = read_motion(written(tmp_path, text), ReadOptions(rate=rate))
    assert raw.rate == pytest.approx(expected, rel=1e-4)
    assert raw.num_frames == 60 and note in " ".join(raw.notes) and bool(raw.notes) == bool(note)
    same(raw, plain)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_decimal_commas_and_encodings(tmp_path, plain, encoding):
    path = tmp_path / "walk.trc"
    path.write_bytes(trc(POINTS, 100.0).replace(".", ",").replace("\n", "\r\n").encode(encoding))
    same(read_motion(path), plain)


def test_rounded_times_are_not_gaps(tmp_path, plain):
    """120 Hz in milliseconds: steps of 8 and 9 ms; 1000 Hz in hundredths: most times repeat."""
    raw = read_motion(written(tmp_path, trc(POINTS, 120.0, time=np.round(np.arange(60) / 120, 3))))
    assert (raw.rate, raw.num_frames, raw.notes) == (120.0, 60, ())
    raw = read_motion(written(tmp_path, trc(POINTS, 250.0, time=np.round(np.arange(60) / 250, 2))))
    assert (raw.rate, raw.num_frames) == (250.0, 60) and "too coarse" in raw.notes[0]
    same(raw, plain)


@pytest.mark.parametrize("known", ["time and numbers", "time", "numbers"])
def test_missing_rows_are_gaps(tmp_path, plain, known):
    """Rows 16 to 25 are missing: splines restore them within 1 mm."""
    rows = np.r_[:15, 25:60]
    time = rows / 100 if "time" in known else np.zeros(len(rows))
    numbers = rows + 1 if "numbers" in known else np.arange(len(rows)) + 1
    raw = read_motion(written(tmp_path, trc({n: at[rows] for n, at in POINTS.items()}, 100.0, time, numbers)))
    assert raw.num_frames == 60 and raw.notes == ("10 frames are missing from the file and treated as gaps",)
    same(raw, plain, atol=1e-3)


def test_long_gaps_and_decreasing_times_are_reported(tmp_path):
    rows = np.r_[:15, 45:60]
    some = {name: at[rows] for name, at in POINTS.items()}
    path = written(tmp_path, trc(some, 100.0, rows / 100, rows + 1))
    assert "missing for 0.30 s" in error_message(path)
    written(tmp_path, trc(POINTS, 100.0, np.r_[np.arange(30), np.arange(30)] / 100))
    assert "the time decreases from 0.29 to 0 s after row 30" in error_message(path)
    assert read_motion(path, ReadOptions(rate=100.0)).num_frames == 60
    written(tmp_path, trc(POINTS, 100.0, np.r_[np.arange(30), 5000 + np.arange(30)] / 100))
    assert "4970 frames are missing after row 30; cut it there" in error_message(path)
    written(tmp_path, trc(POINTS, 0.0, np.zeros(60)))
    assert "set rate= [Hz]" in error_message(path)


def test_duplicate_rows_count_once(tmp_path, plain):
    rows = np.r_[:20, 19:60]
    points = {name: at[rows].copy() for name, at in POINTS.items()}
    raw = read_motion(written(tmp_path, trc(points, 100.0, rows / 100, rows + 1)))
    assert raw.notes == ("1 rows repeat a time: using only the last of each time",)
    same(raw, plain)


@pytest.mark.parametrize("hidden", [0.0, np.nan, 9999999.0])
def test_hidden_markers_are_gaps(tmp_path, plain, hidden):
    """Of zeros, empty cells and huge numbers; a gap of 0.1 s is filled by a spline, within 1 mm."""
    points = {name: at.copy() for name, at in POINTS.items()}
    points["LANK"][20:30] = hidden / 1000
    same(read_motion(written(tmp_path, trc(points, 100.0))), plain, atol=1e-3)
    points["LANK"][40:] = hidden / 1000  # nothing is invented at the end
    assert read_motion(written(tmp_path, trc(points, 100.0))).num_frames == 40


@pytest.mark.parametrize(
    ("unit", "scale"),
    [("mm", 1e3), ("cm", 1e2), ("m", 1.0), ("Meters", 1.0), ("millimetres", 1e3), ("inches", 1 / 0.0254)],
)
def test_units_by_their_names(tmp_path, plain, unit, scale):
    same(read_motion(written(tmp_path, trc(POINTS, 100.0, unit=unit, scale=scale))), plain, atol=1e-4)


def test_unknown_units_are_reported_and_can_be_overridden(tmp_path, plain):
    path = written(tmp_path, trc(POINTS, 100.0, unit="furlong", scale=1000.0))
    assert "unknown unit of length 'furlong'; set unit=" in error_message(path)
    same(read_motion(path, ReadOptions(unit=0.001)), plain)
    written(tmp_path, trc(POINTS, 100.0, unit="m", scale=1000.0))  # states metres, holds millimetres
    assert "set unit=" in error_message(path)
    same(read_motion(path, ReadOptions(unit=0.001)), plain)


@pytest.mark.parametrize("prefix", ["Sub01:", "Sub01_", "Sub01.", "Sub01 ", "Sub01"])
def test_names_of_the_subject(tmp_path, plain, prefix):
    points = {f"{prefix}{name}": at for name, at in POINTS.items()}
    points |= {f"*{i}": POINTS["C7"] for i in range(60)}  # unlabelled ones
    if prefix == "Sub01":  # without a separator only if all names begin with it
        points = {name: at for name, at in points.items() if not name.startswith("*")}
    same(read_motion(written(tmp_path, trc(points, 100.0))), plain)


def test_sides_are_not_subjects(tmp_path, plain):
    points = {f"{name[0]}_{name[1:]}" if name[0] in "LR" else name: at for name, at in POINTS.items()}
    same(read_motion(written(tmp_path, trc(points, 100.0))), plain)


@pytest.mark.parametrize("separator", [":", "_"])
def test_two_subjects_are_not_mixed(tmp_path, separator):
    points = {f"{who}{separator}{name}": at for who in ("Ann", "Bob") for name, at in POINTS.items()}
    assert "contains the subjects Ann, Bob" in error_message(written(tmp_path, trc(points, 100.0)))


def test_missing_files_are_reported_with_the_remedy(tmp_path):
    legs = {name: at for name, at in POINTS.items() if name not in ("C7", "CLAV", "STRN", "T10", "LSHO", "RSHO")}
    message = error_message(written(tmp_path, trc(legs, 100.0)))
    assert "no markers for the trunk" in message and "markers=<file>" in message and "static=<file>" in message
    neck = {name: POINTS[name] for name in ("C7", "CLAV")}
    message = error_message(written(tmp_path, trc(neck, 100.0)))
    assert "no markers for the pelvis" in message and "markers=<file>" in message


def test_any_axis_may_point_up(tmp_path, plain):
    """By the markers, or set where they do not show it: a trunk that is bent forward throughout."""
    turned = {name: np.stack((at[:, 1], at[:, 2], at[:, 0]), axis=1) for name, at in POINTS.items()}
    raw = read_motion(written(tmp_path, trc(turned, 100.0)))
    np.testing.assert_allclose(raw.positions["neck"][:, 2], plain.positions["neck"][:, 2], atol=1e-9)
    raw = read_motion(written(tmp_path, trc(turned, 100.0)), ReadOptions(up="y"))
    np.testing.assert_allclose(raw.positions["neck"][:, 2], plain.positions["neck"][:, 2], atol=1e-9)
    leaning = {name: at @ Rotation.from_euler("y", 40, degrees=True).as_matrix().T for name, at in POINTS.items()}
    assert "vertical axis assumed to be z" in read_motion(written(tmp_path, trc(leaning, 100.0))).notes[0]
    assert raw.notes == plain.notes == ()
    with pytest.raises(ValueError, match="up='upwards' is not an axis"):
        read_motion(written(tmp_path, trc(turned, 100.0)), ReadOptions(up="upwards"))


@pytest.mark.parametrize(
    ("name", "rate", "expected"),
    [
        ("plain", 0.0, 100.0),
        ("plain", 50.0, 50.0),
        ("header_100_time_50", 0.0, 50.0),
        ("rate_0", 0.0, 100.0),
        ("rate_0", 50.0, 50.0),
        ("rows_missing", 0.0, 100.0),
    ],
)
def test_cases_of_clocks(name, rate, expected):
    truth = read_motion(data_file("cases/07_trc_clock/plain.trc"))
    raw = read_motion(data_file(f"cases/07_trc_clock/{name}.trc"), ReadOptions(rate=rate))
    assert (raw.rate, raw.num_frames) == (expected, 40)
    same(raw, truth, atol=3e-4)
