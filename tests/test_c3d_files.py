"""C3D files of other programs and processors, written here byte by byte: markers, analog channels, force plates."""

import numpy as np
import pytest
from c3d_writer import plates, write_c3d
from conftest import data_file
from test_retargeting_readers import error_message
from walker import markers, walk

from muscle_torch.biomechanics.c3d import read_c3d_analog, read_c3d_markers, read_c3d_vertical_forces
from muscle_torch.errors import InputError
from muscle_torch.retargeting import RawMotion, ReadOptions, read_motion

ezc3d = pytest.importorskip("ezc3d", reason="pip install 'muscle_torch[biomech]'")
WALK = walk(40, rate=90.0)
POINTS = {name: 1000 * at for name, at in markers(WALK).items()}


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> RawMotion:
    return read_motion(write_c3d(tmp_path_factory.mktemp("c3d") / "plain.c3d", POINTS, 90.0))


def same(one: RawMotion, other: RawMotion, atol: float = 1e-6) -> None:
    assert one.positions.keys() == other.positions.keys() and one.rate == other.rate
    for name, at in one.positions.items():
        np.testing.assert_allclose(at, other.positions[name], atol=atol, err_msg=name)


@pytest.mark.parametrize("processor", ["intel", "dec"])
@pytest.mark.parametrize("step", [0.0, 0.1], ids=["floats", "integers"])
def test_processors(tmp_path, plain, processor, step):
    """Integers of 0.1 mm: within 0.5 mm of the joint centres that are computed from them."""
    path = write_c3d(tmp_path / "a.c3d", POINTS, 90.0, processor=processor, integer_scale=step)
    same(read_motion(path), plain, atol=5e-4 if step else 1e-6)
    z = read_c3d_markers(path)["LASI_z"]
    np.testing.assert_allclose(z, POINTS["LASI"][:, 2] / 1000, atol=6e-5 if step else 1e-6)
    path.write_bytes(path.read_bytes()[:-1024])
    assert "the file is truncated" in error_message(path)


def test_processors_that_are_not_supported_are_reported(tmp_path):
    path = write_c3d(tmp_path / "a.c3d", POINTS, 90.0, processor="sgi")
    assert "big-endian numbers (SGI, MIPS processors)" in error_message(path)
    with pytest.raises(InputError, match="big-endian"):
        read_c3d_markers(path)
    content = bytearray(write_c3d(path, POINTS, 90.0).read_bytes())
    content[512 + 3] = 99
    path.write_bytes(bytes(content))
    assert "unknown processor type 99" in error_message(path)


@pytest.mark.parametrize("processor", ["intel", "dec"])
@pytest.mark.parametrize(
    ("rate", "samples"), [(119.88, 10), (119.88, 15), (59.94, 15), (99.9, 20), (166.667, 6), (150.001, 19), (100.0, 1)]
)
def test_analog_samples_per_frame_are_rounded(tmp_path, plain, rate, samples, processor):
    """Sample i of channel k is i + 1000 k."""
    analog = np.arange(40.0 * samples)[:, None] + 1000 * np.arange(3)
    path = write_c3d(tmp_path / "a.c3d", POINTS, rate, analog, samples, processor=processor)
    series = read_c3d_analog(path)
    assert series.rate == pytest.approx(rate * samples, rel=1e-9)
    np.testing.assert_array_equal(series.values, analog)
    raw = read_motion(path)
    assert raw.rate == rate
    np.testing.assert_allclose(raw.positions["left_knee"], plain.positions["left_knee"], atol=1e-6)


def test_more_than_255_labels(tmp_path, plain):
    ghosts = {f"ghost{i}": np.zeros((40, 3)) for i in range(260)}
    path = write_c3d(tmp_path / "a.c3d", ghosts | POINTS, 90.0)
    same(read_motion(path), plain)
    assert read_c3d_markers(path).names[-1] == f"{list(POINTS)[-1]}_z"


@pytest.mark.parametrize(
    ("units", "scale"),
    [("mm", 1.0), ("Meter", 1e-3), ("Meters", 1e-3), ("m", 1e-3), ("centimeter", 0.1), ("MILLIMETRES", 1.0), ("", 1.0)],
)
def test_units_by_their_names(tmp_path, plain, units, scale):
    path = write_c3d(tmp_path / "a.c3d", {name: scale * at for name, at in POINTS.items()}, 90.0, units=units)
    same(read_motion(path), plain, atol=1e-5)
    np.testing.assert_allclose(read_c3d_markers(path)["LASI_z"], POINTS["LASI"][:, 2] / 1000, atol=1e-5)


def test_unknown_units_are_reported_and_can_be_overridden(tmp_path, plain):
    path = write_c3d(tmp_path / "a.c3d", POINTS, 90.0, units="parsec")
    assert "unknown unit of length 'parsec'; set unit=" in error_message(path)
    same(read_motion(path, ReadOptions(unit=0.001)), plain)


def test_wrong_rates_can_be_overridden(tmp_path):
    path = write_c3d(tmp_path / "a.c3d", POINTS, 0.0)
    assert "states a rate of 0 Hz; set rate= [Hz]" in error_message(path)
    assert read_motion(path, ReadOptions(rate=90.0)).rate == 90
    write_c3d(path, POINTS, 90.0)
    assert read_motion(path, ReadOptions(rate=45.0)).rate == 45


@pytest.mark.parametrize("prefix", ["Sub01_", "Sub01:"])
def test_names_of_the_subject(tmp_path, plain, prefix):
    same(read_motion(write_c3d(tmp_path / "a.c3d", {f"{prefix}{n}": at for n, at in POINTS.items()}, 90.0)), plain)


@pytest.mark.parametrize("hidden", [0.0, np.nan], ids=["zeros", "residual -1"])
def test_hidden_markers_are_gaps(tmp_path, plain, hidden):
    points = {name: at.copy() for name, at in POINTS.items()}
    points["LANK"][10:18] = hidden
    path = write_c3d(tmp_path / "a.c3d", points, 90.0)
    assert np.isnan(read_c3d_markers(path)["LANK_x"][10:18]).all()
    same(read_motion(path), plain, atol=2e-4)


def strides(frames: int) -> np.ndarray:
    """Vertical force [N] of steps of 0.66 s, every 1.1 s, at 100 Hz."""
    phase = (np.arange(frames) / 100 % 1.1) / 0.66
    return np.where(phase < 1, 800 * np.sin(np.pi * np.clip(phase, 0, 1)), 0.0)


def forces(path, kinds, channels, analog, units, matrices=None, unit="mm"):
    frames = len(analog)
    groups = plates(kinds, channels, matrices)
    groups["ANALOG"] = {"UNITS": [units] * analog.shape[1]}
    return write_c3d(path, {"M1": np.ones((frames, 3))}, 100.0, analog, units=unit, extra=groups)


def test_force_plates_of_every_type_against_the_force_they_carry(tmp_path):
    """The same load on plates of types 1, 2, 3 and 4; ezc3d's own force module agrees."""
    load = strides(220)
    shear = 0.2 * load
    six = np.column_stack((0.1 * load, shear, -load, 5 * load, -3 * load, 0.5 * load))  # counts down
    eight = np.column_stack((0.05 * load, 0.05 * load, 0.3 * load, -0.1 * load,
                             0.4 * load, 0.3 * load, 0.2 * load, 0.1 * load))  # fmt: skip
    matrix = np.diag([100.0, 100.0, 250.0, 1.0, 1.0, 1.0])
    matrix[2, 0] = 20.0  # crosstalk, the first channel into the vertical force
    volts = six @ np.linalg.inv(matrix).T
    analog = np.column_stack((six, six, eight, volts))
    channels = [range(1, 7), range(7, 13), range(13, 21), range(21, 27)]
    matrices = np.zeros((6, 6, 4))
    matrices[..., 3] = matrix
    path = forces(tmp_path / "a.c3d", [1, 2, 3, 4], channels, analog, "N", matrices)
    series = read_c3d_vertical_forces(path)
    assert series.names == ("plate_1", "plate_2", "plate_3", "plate_4")
    np.testing.assert_allclose(series.values, np.tile(load[:, None], 4), atol=1e-3)
    theirs = ezc3d.c3d(str(path), extract_forceplat_data=True)["data"]["platform"]
    for plate, force in zip(theirs, series.values.T, strict=True):
        np.testing.assert_allclose(np.abs(plate["force"][2]), force, atol=1e-3)
    assert series.values[:, 2].max() == pytest.approx(800, abs=1)
    assert (series.values[:110, 2] > 20).mean() == pytest.approx(0.58, abs=0.02)


def test_volts_need_a_matrix(tmp_path):
    analog = np.tile(strides(120)[:, None] / 100, (1, 8))
    for kind, count in ((1, 6), (2, 6), (3, 8), (4, 6)):
        path = forces(tmp_path / "a.c3d", [kind], [range(1, count + 1)], analog, "V")
        with pytest.raises(InputError, match="plate 1 is in V: export calibrated forces in newtons"):
            read_c3d_vertical_forces(path)
    path = forces(tmp_path / "a.c3d", [4], [range(1, 7)], analog, "V", 100 * np.eye(6)[..., None])
    assert read_c3d_vertical_forces(path).values.max() == pytest.approx(800, abs=1)
    path = forces(tmp_path / "a.c3d", [2], [range(1, 7)], analog / 10, "kN")
    assert read_c3d_vertical_forces(path).values.max() == pytest.approx(800, abs=1)


def test_other_plates_are_rejected(tmp_path):
    analog = np.tile(strides(120)[:, None], (1, 8))
    path = forces(tmp_path / "a.c3d", [2, 5], [range(1, 7), range(1, 9)], analog, "N")
    with pytest.raises(InputError, match="plate 2 is of type 5, supported are 1, 2, 3, 4"):
        read_c3d_vertical_forces(path)
    path = forces(tmp_path / "a.c3d", [3], [range(1, 7)], analog, "N")
    with pytest.raises(InputError, match="plate 1 is of type 3 and needs 8 channels"):
        read_c3d_vertical_forces(path)
    path = forces(tmp_path / "a.c3d", [2], [range(5, 11)], analog, "N")
    with pytest.raises(InputError, match="refers to analog channel 9"):
        read_c3d_vertical_forces(path)


@pytest.mark.parametrize("name", ["dec_int", "labels2", "units_Meter", "units_centimeter", "prefix_underscore"])
def test_cases_of_other_programs(name):
    truth = read_motion(data_file("cases/14_c3d_variants/base.c3d"))
    same(read_motion(data_file(f"cases/14_c3d_variants/{name}.c3d")), truth, atol=2e-4)


def test_cases_of_plates_and_rates():
    for name in ("plate2", "plate3"):
        force = read_c3d_vertical_forces(data_file(f"cases/04_c3d_force_plate_type_3/{name}.c3d"))
        assert force.values.max() == pytest.approx(800, abs=1e-3)
    series = read_c3d_analog(data_file("cases/05_c3d_rate_with_decimals/odd.c3d"))
    assert series.rate == pytest.approx(1798.2) and series.values.shape == (600, 3)
    np.testing.assert_array_equal(series.values, np.arange(600)[:, None] + 1000 * np.arange(3))
    assert "SGI" in error_message(data_file("cases/14_c3d_variants/sgi_real.c3d"))
