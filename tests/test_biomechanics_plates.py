"""Force plates: columns with any usual name, feet by name or position, unused plates."""

import dataclasses

import numpy as np
import pytest
from commands import script
from conftest import data_file

from muscle_torch.biomechanics.gait import opensim_gait
from muscle_torch.biomechanics.gait_events import force_contacts
from muscle_torch.biomechanics.ground_forces import plates_of_feet
from muscle_torch.biomechanics.plates import force_plates, idle_plates, vertical_columns
from muscle_torch.biomechanics.recordings import read_series, write_series
from muscle_torch.biomechanics.series import TimeSeries
from muscle_torch.embodiments import make_embodiment
from muscle_torch.errors import InputError

WALK = "data/opensim_core_walk3d"
TIME = np.arange(400) / 100
# A walk along x: right, left, right, left, each on the ground for 0.6 s; the feet stand at these places.
PRINTS = {"r": ((0.5, 0.0), (1.7, 1.4)), "l": ((1.1, 0.7), (2.3, 2.1))}


def feet():
    """Return the feet (T, 3) by side, moving to the next print half-way between contacts."""
    places = {}
    for side, prints in PRINTS.items():
        x = np.full(len(TIME), prints[0][0])
        x[(prints[0][1] + 0.6 + prints[1][1]) / 2 < TIME] = prints[1][0]
        places[side] = np.stack([x, 0 * x, np.full(len(x), 0.1 if side == "r" else -0.1)], axis=1)
    return places


def step(side, number):
    """Return force (T, 3) and centre of pressure (T, 3) of a 700 N step, within 3 cm of the foot."""
    place, start = PRINTS[side][number]
    on = (start <= TIME) & (start + 0.6 > TIME)
    force = np.where(on[:, None], [10.0, 700.0, 5.0], 0.0)
    point = np.where(on[:, None], [place + 0.03, 0.0, 0.1 if side == "r" else -0.1], 0.0)
    return force, point


def recording(plates, template="ground_force_{}_"):
    """Return a table of plates; each is a list of the (side, number) of its steps."""
    names, columns = [], []
    for number, steps in enumerate(plates, 1):
        parts = [step(*one) for one in steps] or [(np.zeros((400, 3)), np.zeros((400, 3)))]
        stem = template.format(number)
        for kind, values in (("v", sum(p[0] for p in parts)), ("p", sum(p[1] for p in parts))):
            names += [f"{stem}{kind}{axis}" for axis in "xyz"]
            columns.append(values)
    return TimeSeries(TIME, np.hstack(columns), tuple(names), source="grf.mot")


FOUR = [[("r", 0)], [("l", 0)], [("r", 1)], [("l", 1)]]


@pytest.mark.parametrize(
    "plates",
    [FOUR, FOUR[::-1], [[("r", 0), ("l", 1)], [("l", 0), ("r", 1)]], [*FOUR, []],
     [[("l", 0), ("l", 1)], FOUR[0], FOUR[2]]],
    ids=["four", "four in another order", "two plates, each foot on each", "a fifth that is idle", "three"],
)  # fmt: skip
@pytest.mark.parametrize("swapped", [False, True])
def test_plates_are_assigned_to_feet_by_position(plates, swapped):
    """The force belongs to the foot, not the plate, so swapping neutral names changes nothing."""
    forces = plates_of_feet(recording(plates), swapped, TIME, feet()).at(TIME)
    for side in "rl":
        expected = sum(step(side, number)[0] for number in (0, 1))
        np.testing.assert_allclose(forces[side].force, expected)
        place = sum(step(side, number)[1] for number in (0, 1))
        np.testing.assert_allclose(forces[side].point, place, atol=1e-12)


def test_one_foot_on_two_plates_has_the_force_and_moment_of_both():
    force, point = step("r", 0)
    names = [f"ground_force_{n}_{kind}{axis}" for n in (1, 2) for kind in "vp" for axis in "xyz"]
    shifted = np.where(force[:, 1:2] > 0, point + np.array([0.1, 0, 0]), 0.0)
    both = TimeSeries(TIME, np.hstack((0.25 * force, point, 0.75 * force, shifted)), tuple(names))
    forces = plates_of_feet(both, False, TIME, feet()).at(TIME)["r"]
    on = force[:, 1] > 0
    np.testing.assert_allclose(forces.force, force)
    np.testing.assert_allclose(forces.point[on], point[on] + [0.075, 0, 0])
    # About any point the moment of both is that of the sum: 0.25 and 0.75 of 5 N sideways, 0.1 m apart, cancel.
    moment = sum(np.cross(p, f) for p, f in ((point, 0.25 * force), (shifted, 0.75 * force)))
    np.testing.assert_allclose(np.cross(forces.point, forces.force) + forces.torque, moment, atol=1e-9)


def test_contacts_without_a_foot_are_reported():
    away = recording(FOUR)
    values = away.values.copy()
    for column in ("ground_force_3_px", "ground_force_3_pz"):
        values[:, away.index(column)] += 2.0
    forces = plates_of_feet(away.with_values(values), False, TIME, feet())
    assert any("ground_force_3, contact at 1.40 s: 2." in note and "ignored" in note for note in forces.notes)
    assert forces.at(TIME)["r"].force[150, 1] == 0.0
    both = recording([[("r", 0)], []])
    values = both.values.copy()
    values[:, both.index("ground_force_1_pz")] = np.where(both["ground_force_1_vy"] > 0, np.tile([0.1, -0.1], 200), 0)
    values[:, both.index("ground_force_1_px")] = np.where(both["ground_force_1_vy"] > 0, np.tile([0.5, 1.1], 200), 0)
    with pytest.raises(InputError, match="both feet are on the plate"):
        plates_of_feet(both.with_values(values), False, TIME, feet())


@pytest.mark.parametrize(
    ("names", "sides"),
    [
        (("ground_force_r_v{}", "ground_force_l_v{}"), "rl"),
        (("R_ground_force_v{}", "L_ground_force_v{}"), "rl"),
        (("ground_force_left_v{}", "ground_force_right_v{}"), "lr"),
        (("ground_force_calcn_r_v{}", "ground_force_calcn_l_v{}"), "rl"),
        (("ground_force_v{}", "1_ground_force_v{}"), ("", "")),
        (("ground_force_1_v{}", "ground_force_2_v{}"), ("", "")),
        (("ground_force_v{}_1", "ground_force_v{}_2"), ("", "")),
        (("F{}1", "F{}2"), ("", "")),
        (("FP1_F{}", "FP2_F{}"), ("", "")),
    ],
)
def test_plates_by_their_names(names, sides):
    columns = [name.format(axis) for name in names for axis in "xyz"]
    values = np.tile([3.0, 700.0, 2.0], (10, len(names)))
    plates = force_plates(TimeSeries(np.arange(10.0), values, tuple(columns)))
    assert [plate.side for plate in plates] == list(sides)
    assert [plate.force for plate in plates] == [tuple(name.format(axis) for axis in "xyz") for name in names]


def test_moments_by_their_names():
    """OpenSim writes torques; its reader of C3D files writes moments with an m."""
    pairs = {"ground_force_r_": "ground_torque_r_", "1_ground_force_": "1_ground_torque_",
             "ground_force_1_": "ground_moment_1_m", "ground_force_calcn_r_": "ground_force_calcn_r_m"}  # fmt: skip
    for force, torque in pairs.items():
        names = [f"{force}v{axis}" for axis in "xyz"] + [f"{torque}{axis}" for axis in "xyz"]
        (plate,) = force_plates(TimeSeries(np.arange(3.0), np.ones((3, 6)), tuple(names)))
        assert plate.torque == tuple(names[3:])


def test_the_vertical_force_of_each_foot():
    three = recording(FOUR[:3])
    assert list(vertical_columns(three)) == ["ground_force_1", "ground_force_2", "ground_force_3"]
    with pytest.raises(InputError, match=r"the plate under the right foot is unknown.*ground_force_3_vy"):
        force_contacts(three, "r")
    assert force_contacts(three, "r", "ground_force_3_vy").starts == pytest.approx([1.4], abs=0.02)
    two = recording([FOUR[0], FOUR[1], []])
    assert vertical_columns(two) == {"r": "ground_force_1_vy", "l": "ground_force_2_vy"}
    assert idle_plates(two) == ["ground_force_3"]
    # A laboratory whose vertical axis is z.
    turned = two.renamed([n.replace("vy", "v?").replace("vz", "vy").replace("v?", "vz") for n in two.names])
    assert vertical_columns(turned) == {"r": "ground_force_1_vz", "l": "ground_force_2_vz"}
    assert force_contacts(recording([FOUR[1]]), "r").starts == pytest.approx([0.7], abs=0.02)


def table_of(shown):
    return {line[:40].strip(): line[40:].split() for line in shown.splitlines()}


def test_the_command_shows_every_plate(tmp_path, capsys):
    """Three neutral plates are listed separately; an unused one is reported; two are assumed right and left."""
    shifted = [[(side, number)] for side, number in (("l", 0), ("r", 1), ("l", 1))]
    main = script("tools/analyze.py").main
    path = write_series(tmp_path / "grf.mot", recording([*shifted, []]))
    assert main([f"forces={path}", f"output={tmp_path}"]) == 0
    shown = capsys.readouterr().out
    rows = table_of(shown)
    assert rows["quantity"][:3] == ["ground_force_1", "ground_force_2", "ground_force_3"]
    assert rows["contacts"] == ["1", "1", "1"]
    assert "ground_force_4: unused" in shown and "the names do not identify the feet" in shown
    path = write_series(tmp_path / "grf.mot", recording(shifted[:2]))
    assert main([f"forces={path}", f"output={tmp_path}"]) == 0
    shown = capsys.readouterr().out
    assert table_of(shown)["quantity"][:2] == ["right", "left"]
    assert "ground_force_1_vy is assumed to be right" in shown


def test_a_walk_over_plates_without_feet_in_their_names_has_the_same_moments(tmp_path):
    """The recorded walk with plates renamed and swapped, and the right foot's contacts on two plates."""
    body = make_embodiment("fullbody")
    folder = data_file(WALK)
    forces = read_series(folder / "grf_walk.mot")
    second = np.flatnonzero(forces["ground_force_r_vy"] > 50)[-1]
    before = forces.time < forces.time[second] - 0.75  # the second contact of the right foot lasts 0.7 s
    right = [name for name in forces.names if "_r_" in name]
    left = [name for name in forces.names if "_l_" in name]
    first = forces.select(right).values * before[:, None]
    names = [*(n.replace("_l_", "_1_") for n in left), *(n.replace("_r_", "_2_") for n in right),
             *(n.replace("_r_", "_3_") for n in right)]  # fmt: skip
    values = np.hstack((forces.select(left).values, first, forces.select(right).values - first))
    path = write_series(tmp_path / "grf.mot", dataclasses.replace(
        forces, values=values, names=tuple(names), units=("",) * len(names)))  # fmt: skip
    gaits = [opensim_gait(body, folder / "coordinates.sto", grf, mass=85.07, start=0.5, end=1.74)[0]
             for grf in (folder / "grf_walk.mot", path)]  # fmt: skip
    for one, other in zip(gaits[0].moments.values.T, gaits[1].moments.values.T, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    expected = "; ".join(gaits[1].notes)
    assert "ground_force_1: assigned to the left foot" in expected
    assert "ground_force_3: assigned to the right foot" in expected


def test_the_third_plate_of_a_c3d_file_is_shown(tmp_path, capsys):
    ezc3d = pytest.importorskip("ezc3d")
    file = ezc3d.c3d()
    file["parameters"]["POINT"]["RATE"]["value"] = [100]
    file["parameters"]["POINT"]["LABELS"]["value"] = ["heel"]
    file["data"]["points"] = np.ones((4, 1, 400))
    file["parameters"]["ANALOG"]["RATE"]["value"] = [100]
    file["parameters"]["ANALOG"]["LABELS"]["value"] = [f"channel{i}" for i in range(18)]
    file["parameters"]["ANALOG"]["UNITS"]["value"] = ["N"] * 18
    plates = file["parameters"]["FORCE_PLATFORM"]
    plates["USED"]["value"], plates["TYPE"]["value"] = [3], [2, 2, 2]
    plates["CHANNEL"]["value"] = np.arange(1, 19).reshape(3, 6).T
    analogs = np.zeros((1, 18, 400))
    for plate, (side, number) in enumerate((("l", 0), ("r", 1), ("l", 1))):
        analogs[0, 6 * plate + 2] = -step(side, number)[0][:, 1]
    file["data"]["analogs"] = analogs
    file.write(str(tmp_path / "plates.c3d"))
    assert script("tools/analyze.py").main([f"forces={tmp_path / 'plates.c3d'}", f"output={tmp_path}"]) == 0
    rows = table_of(capsys.readouterr().out)
    assert rows["quantity"][:3] == ["plate_1", "plate_2", "plate_3"] and rows["contacts"] == ["1", "1", "1"]
