"""OpenSim motions: degrees and radians, clocks, and the unit of the pelvis translation."""

import numpy as np
import pytest
from conftest import data_file
from test_retargeting_readers import error_message

from muscle_torch.retargeting import ReadOptions, read_motion

ANGLES = ("pelvis_tilt", "pelvis_list", "pelvis_rotation", "hip_flexion_r", "hip_adduction_r", "hip_rotation_r",
          "knee_angle_r", "ankle_angle_r", "hip_flexion_l", "hip_adduction_l", "hip_rotation_l", "knee_angle_l",
          "ankle_angle_l", "lumbar_extension", "lumbar_bending", "lumbar_rotation")  # fmt: skip
FLAGS = {
    "yes": ["Coordinates", "version=1", "inDegrees=yes"],
    "true": ["Coordinates", "version=1", "inDegrees = true"],
    "no": ["Coordinates", "version=1", "inDegrees=no"],
    "none": ["Coordinates", "version=1"],
    "sentence": ["Coordinates", "Angles are in degrees."],
    "simm": ["name walk.mot", "datacolumns 20", "datarows 150", "otherdata 1", "range 0.0 1.49"],
}


def mot(path, flag="yes", degrees=True, time="time", times=None, scale=1.0):
    """150 rows at 100 Hz; hips swing by 22 degrees, knees bend by 2 to 38; 1.1 m/s."""
    seconds = np.arange(150) / 100 if times is None else times
    swing, back = np.sin(2 * np.pi * np.arange(150) / 100), np.cos(2 * np.pi * np.arange(150) / 100)
    columns = dict.fromkeys(ANGLES, np.zeros(150))
    columns |= {"hip_flexion_r": 22 * swing, "hip_flexion_l": -22 * swing, "pelvis_list": 3 * back,
                "knee_angle_r": 20 + 18 * back, "knee_angle_l": 20 - 18 * back,
                "lumbar_extension": 0 * back - 5}  # fmt: skip
    columns = {name: values if degrees else np.radians(values) for name, values in columns.items()}
    columns |= {"pelvis_tx": scale * 1.1 * np.arange(150) / 100, "pelvis_ty": scale * 0.94 + 0 * back,
                "pelvis_tz": 0 * back}  # fmt: skip
    rows = np.column_stack((seconds, *columns.values()))
    lines = [*FLAGS[flag], "", "endheader", "\t".join((time, *columns))]
    path.write_text("\n".join([*lines, *("\t".join(f"{v:.8f}" for v in row) for row in rows)]) + "\n")
    return path


@pytest.mark.parametrize("flag", ["yes", "true", "none", "sentence", "simm"])
def test_headers_of_degrees(tmp_path, flag):
    truth = read_motion(mot(tmp_path / "plain.mot"))
    raw = read_motion(mot(tmp_path / "walk.mot", flag))
    np.testing.assert_allclose(raw.positions["left_toe"], truth.positions["left_toe"], atol=1e-9)
    assert bool(raw.notes) == (flag in ("none", "simm"))


@pytest.mark.parametrize("flag", ["no", "none"])
def test_headers_of_radians(tmp_path, flag):
    truth = read_motion(mot(tmp_path / "plain.mot"))
    raw = read_motion(mot(tmp_path / "walk.mot", flag, degrees=False))
    np.testing.assert_allclose(raw.positions["left_toe"], truth.positions["left_toe"], atol=1e-6)


@pytest.mark.parametrize(("flag", "degrees", "unit"), [("no", True, "deg"), ("yes", False, "rad")])
def test_headers_that_contradict_the_angles(tmp_path, flag, degrees, unit):
    path = mot(tmp_path / "walk.mot", flag, degrees)
    assert f"set angle_unit={unit}" in error_message(path)
    truth = read_motion(mot(tmp_path / "plain.mot"))
    raw = read_motion(path, ReadOptions(angle_unit=unit))
    np.testing.assert_allclose(raw.positions["left_toe"], truth.positions["left_toe"], atol=1e-6)


def test_times_of_mot(tmp_path):
    """A column named Time; times written twice; rows missing; a rate that decides."""
    assert read_motion(mot(tmp_path / "a.mot", time="Time")).rate == pytest.approx(100)
    twice = np.arange(150) / 100
    twice[60:] -= 0.01  # an event at 0.59 s
    raw = read_motion(mot(tmp_path / "b.mot", times=twice))
    assert raw.num_frames == 149 and raw.rate == pytest.approx(100) and "same time" in raw.notes[0]
    jump = np.arange(150) / 100
    jump[75:] += 0.1
    raw = read_motion(mot(tmp_path / "c.mot", times=jump))
    assert raw.num_frames == 160 and raw.rate == pytest.approx(100)
    assert raw.notes == ("the time steps are uneven: interpolated at 100 Hz",)
    jump[75:] += 0.4
    path = mot(tmp_path / "d.mot", times=jump)
    assert "no rows between 0.74 and 1.25 s; cut it there, or set rate=" in error_message(path)
    raw = read_motion(path, ReadOptions(rate=100.0))
    assert raw.num_frames == 150 and raw.rate == pytest.approx(100)
    back = np.arange(150) / 100
    back[75:] -= 0.5
    message = error_message(mot(tmp_path / "e.mot", times=back))
    assert "row 75" in message and "sort or cut" in message


def test_a_pelvis_in_millimetres(tmp_path):
    path = mot(tmp_path / "walk.mot", scale=1000.0)
    assert "set unit=0.001" in error_message(path)
    truth = read_motion(mot(tmp_path / "plain.mot"))
    raw = read_motion(path, ReadOptions(unit=0.001))
    np.testing.assert_allclose(raw.positions["left_toe"], truth.positions["left_toe"], atol=1e-9)


def test_cases_of_opensim():
    truth = read_motion(data_file("cases/06_mot_degrees_without_flag/plain.mot"))
    for name in ("flag_true", "no_flag", "simm_header"):
        raw = read_motion(data_file(f"cases/06_mot_degrees_without_flag/{name}.mot"))
        np.testing.assert_allclose(raw.positions["left_toe"], truth.positions["left_toe"], atol=1e-6)
    for name in ("wrong_no", "wrong_yes"):
        assert "set angle_unit=" in error_message(data_file(f"cases/06_mot_degrees_without_flag/{name}.mot"))
