"""Weakness and assistance without learning: reference gaits and their signs, the torque profile, laws of prediction."""

import dataclasses

import numpy as np
import pytest
import torch
from commands import script
from conftest import data_file

from muscle_torch.biomechanics.gait import MOMENTS, angle_cycles, gait_of
from muscle_torch.biomechanics.inverse_dynamics import inverse_dynamics
from muscle_torch.biomechanics.predicted_assistance import leg_task, predict, stride_period
from muscle_torch.biomechanics.reference_gait import ReferenceGait, read_gait_cycles
from muscle_torch.biomechanics.sign_check import POINTS, checked_moments, leg_poses, with_signs, with_stride_time
from muscle_torch.biomechanics.torque_profile import profile_shape
from muscle_torch.embodiments import make_embodiment
from muscle_torch.embodiments.weakened import deficit_strength, weakened
from muscle_torch.errors import InputError
from muscle_torch.motion import load_motion

MASS, PERIOD, SPEED = 75.0, 1.1, 1.2
PUSH_OFF = -1.4  # [Nm/kg] moment at half of the cycle
TITLES = ("hip_flexion_deg", "knee_flexion_deg", "ankle_dorsiflexion_deg")
TORQUES = ("hip_moment_Nm_kg", "knee_moment_Nm_kg", "ankle_moment_Nm_kg")


@pytest.fixture(scope="module")
def body():
    return make_embodiment("legs")


@pytest.fixture(scope="module")
def gait(body):
    """Angles of the generated walk; moments of hip and knee from the model in swing, of the ankle by hand."""
    clip = load_motion("walk", body)[0]
    whole = gait_of(body, clip.qpos.astype(float), clip.frequency)
    cycle = angle_cycles(whole, "r")
    percent, curves = cycle.percent, {joint: np.radians(cycle.column(joint)[0]) for joint in MOMENTS}
    made = ReferenceGait("made", percent, curves, dict.fromkeys(MOMENTS, 0 * percent), SPEED, PERIOD)
    qpos = np.tile(leg_poses(body, made), (3, 1))
    names = tuple(f"{joint}_r" for joint in MOMENTS)
    solved = inverse_dynamics(body, qpos, POINTS / PERIOD, joints=names, mass=MASS).moments.values[POINTS:][
        : POINTS + 1
    ]
    moments = {joint: solved[:, column] / MASS for column, joint in enumerate(MOMENTS)}
    moments["ankle_angle"] = PUSH_OFF * np.exp(-(((percent - 48) / 12) ** 2))
    return dataclasses.replace(made, moments=moments)


def write_csv(path, gait: ReferenceGait, signs=(1, 1, 1, 1, 1, 1)) -> str:
    rows = ["condition,speed_m_s,percent," + ",".join((*TITLES, *TORQUES))]
    columns = [np.degrees(gait.angles[joint]) for joint in MOMENTS] + [gait.moments[joint] for joint in MOMENTS]
    for index, percent in enumerate(gait.percent):
        values = [f"{sign * column[index]:.6f}" for sign, column in zip(signs, columns, strict=True)]
        rows.append(f"T1,{gait.speed},{percent:g}," + ",".join(values))
    path.write_text("\n".join(rows))
    return str(path)


@pytest.mark.parametrize("flipped", [None, *range(6)])
def test_other_signs_are_detected_against_the_model(body, gait, flipped, tmp_path):
    """Whatever single column has the other sign, the gait is the same, and the change is stated."""
    signs = [1] * 6
    if flipped is not None:
        signs[flipped] = -1
    (read,) = read_gait_cycles(write_csv(tmp_path / "gait.csv", gait, signs))
    assert read.name == "T1" and read.speed == SPEED
    checked = with_signs(body, dataclasses.replace(read, stride_time=PERIOD), MASS)
    for joint in MOMENTS:
        np.testing.assert_allclose(checked.angles[joint], gait.angles[joint], atol=1e-5, err_msg=joint)
        np.testing.assert_allclose(checked.moments[joint], gait.moments[joint], atol=1e-5, err_msg=joint)
    kind = "angle" if flipped is not None and flipped < 3 else "moment"
    expected = [] if flipped is None else [f"T1: {kind} {MOMENTS[flipped % 3]}"]
    assert len(checked.notes) == len(expected) and all(
        n.startswith(e) for n, e in zip(checked.notes, expected, strict=True)
    )


def test_signs_of_a_published_gait(body):
    """Fukuchi 2018: knee extension and plantarflexion moments are positive, all angles as the model's."""
    path = data_file("data/fukuchi_gait/S01_right_leg_3_speeds.csv")
    gaits = [with_signs(body, gait, 74.3, 0.89) for gait in read_gait_cycles(path)]
    assert [gait.speed for gait in gaits] == [0.85, 1.21, 1.58]
    for gait in gaits:
        assert [note.split(" was")[0] for note in gait.notes[1:]] == [
            f"{gait.name}: moment knee_angle",
            f"{gait.name}: moment ankle_angle",
        ]
        assert gait.moments["ankle_angle"].min() < -1.2 and gait.angles["knee_angle"].max() > np.radians(50)
    periods = [gait.stride_time for gait in gaits]
    assert periods == sorted(periods, reverse=True)
    # Strides of such speeds (the same laboratory's subject 04: 28 to 32 in 30 s at 1.2 to 1.6 m/s).
    assert 1.2 < periods[0] < 1.5 and 1.0 < periods[1] < 1.2 and 0.85 < periods[2] < 1.0


def test_moments_of_another_program_are_checked_on_the_recording(body):
    """In swing only the motion matters: a moment with the other sign is changed back, with a note."""
    clip = load_motion("walk", body)[0]
    qpos = clip.qpos.astype(float)
    walk = gait_of(body, qpos, clip.frequency)
    names = tuple(f"{joint}_{side}" for side in "rl" for joint in MOMENTS)
    right = inverse_dynamics(body, qpos, clip.frequency, joints=names, mass=walk.mass).moments
    values = right.values.copy()
    values[:, [2, 5]] = PUSH_OFF * walk.mass  # beyond the strength of dorsiflexors
    right = right.with_values(values)
    wrong = right.with_values(values * np.array([1, 1, -1, 1, -1, 1]))
    for moments, notes in ((right, 0), (wrong, 2)):
        checked, changes = checked_moments(body, walk, qpos, moments)
        np.testing.assert_allclose(checked.values, right.values)
        assert len(changes) == notes and all("other sign" in change for change in changes)
    with pytest.raises(InputError, match="set start= and end="):
        checked_moments(body, walk, qpos, right.between(1.0, 2.0))


def test_the_stride_time_follows_from_the_standing_foot(body, gait):
    """Twice the speed, half the time; a known time is kept; longer legs need longer."""
    unknown = dataclasses.replace(gait, stride_time=float("nan"))
    slow, fast = (with_stride_time(body, dataclasses.replace(unknown, speed=speed)) for speed in (0.6, 1.2))
    assert slow.stride_time == pytest.approx(2 * fast.stride_time)
    assert with_stride_time(body, gait).stride_time == PERIOD
    assert with_stride_time(body, unknown, 1.0).stride_time > with_stride_time(body, unknown, 0.8).stride_time


def test_the_profile_by_hand():
    """Full at the peak, half of it in the middle of rise and fall, none outside; symmetric across the strike."""
    time, rise, fall = (torch.tensor(value) for value in (0.5, 0.2, 0.1))
    phase = torch.tensor([0.5, 0.4, 0.55, 0.3, 0.6, 0.0, -1.0])
    torch.testing.assert_close(profile_shape(phase, time, rise, fall), torch.tensor([1.0, 0.5, 0.5, 0, 0, 0, 0]))
    late = profile_shape(torch.tensor([0.95, 0.0, 0.05]), torch.tensor(0.0), rise, fall)
    torch.testing.assert_close(late, torch.tensor([0.8437500, 1.0, 0.5]))


def test_a_body_with_half_the_strength(body):
    soleus = body.muscle_columns(["soleus_r", "soleus_l"])
    strength = deficit_strength(body, {"plantarflexors_r": 0.5, "soleus_l": [0.2, 0.4]})
    assert strength[soleus] == pytest.approx([0.5, 0.3]) and strength[body.muscle_columns(["tibant_r"])] == 1.0
    weak = weakened(body, strength)
    for name in ("actuator_gainprm", "actuator_biasprm"):
        ratio = getattr(weak.model, name)[body.muscle_ids, 2] / getattr(body.model, name)[body.muscle_ids, 2]
        np.testing.assert_allclose(ratio, strength)
    assert body.model.actuator_gainprm[body.muscle_ids[soleus[0]], 2] > 1000  # the body itself keeps its strength


@pytest.fixture(scope="module")
def predictions(body, gait):
    task = leg_task(body, gait, MASS)
    support = {"ankle_angle_r": 0.3 * task.moments["ankle_angle_r"]}
    half = deficit_strength(body, {"plantarflexors_r": 0.5})
    cases = {"able": (half * 0 + 1, {}), "weak": (half, {}), "helped": (half * 0 + 1, support), "both": (half, support)}
    return task, {name: predict(body, task, *case) for name, case in cases.items()}


def test_weakness_raises_activation_and_support_lowers_it(body, predictions):
    """Halving the strength raises the calf's activation and the proxy, support lowers both; all meet the moments."""
    task, cases = predictions
    soleus, gasmed = body.muscle_columns(["soleus_r", "gasmed_r"])
    loaded = task.moments["ankle_angle_r"] < -0.5 * MASS
    for muscle in (soleus, gasmed):
        able, weak, helped, both = (
            cases[name].activations[loaded, muscle] for name in ("able", "weak", "helped", "both")
        )
        assert (weak > able).all() and (helped < able).all() and (both < weak).all()
    proxy = {name: case.proxy.sum(axis=1).mean() for name, case in cases.items()}
    power = {name: case.power.sum(axis=1).mean() for name, case in cases.items()}
    for cost in (proxy, power):
        assert cost["helped"] < cost["able"] < cost["weak"] and cost["both"] < cost["weak"]
    assert all(np.abs(case.residual).max() < 0.5 for case in cases.values())


def test_less_moment_is_the_same_as_support(body, predictions):
    """A device that takes 30 % of the moment leaves the muscles what 70 % of it needs."""
    task, cases = predictions
    values = task.moments.values.copy()
    values[:, 2] *= 0.7
    lighter = dataclasses.replace(task, moments=task.moments.with_values(values))
    alone = predict(body, lighter, np.ones(len(body.muscle_ids)), {})
    np.testing.assert_allclose(alone.activations, cases["helped"].activations, atol=1e-6)


def test_the_stride_time_of_a_recording():
    strikes = {"r": np.array([0.2, 1.3]), "l": np.array([0.75])}
    assert stride_period(strikes, "walk") == pytest.approx(1.1)
    assert stride_period({"r": np.array([0.2]), "l": np.array([0.7])}, "walk") == pytest.approx(1.0)
    with pytest.raises(InputError, match="left foot has no strike"):
        stride_period({"r": np.array([0.2, 1.0]), "l": np.zeros(0)}, "walk")


def test_the_command(gait, tmp_path, capsys):
    path = write_csv(tmp_path / "gait.csv", gait, (1, 1, 1, 1, -1, -1))
    words = [f"reference={path}", "mass=75", "deficit={plantarflexors_r: 0.5}", f"output={tmp_path / 'out'}"]
    assert script("tools/assistance.py").main(words) == 0
    shown, page = capsys.readouterr().out, (tmp_path / "out" / "report.html").read_text()
    assert "moment ankle_angle was positive in plantarflexion" in shown and "weak, device" in page
    rows = [line.split() for line in (tmp_path / "out" / "summary.csv").read_text().replace(",", " ").splitlines()]
    assert len(rows) == 5 and "http" not in page


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["mass=75"], "set reference="),
        (["reference={0}", "motion=x.sto", "mass=75"], "set reference="),
        (["reference={0}"], "set mass="),
        (["reference=none.csv", "mass=75"], "does not exist"),
        (["reference={0}", "mass=75", "joints=knee_angle"], "choose from ankle_angle"),
        (["reference={0}", "mass=75", "deficit={{plantarflexor_r: 0.5}}"], "plantarflexors_r"),
        (["reference={0}", "mass=75", "deficit={{plantarflexors_r: 1.5}}"], "from 0 to 1"),
        (["motion=x.sto", "mass=75"], "needs forces="),
    ],
)
def test_wrong_input_is_one_line(gait, words, message, tmp_path):
    path = write_csv(tmp_path / "gait.csv", gait)
    with pytest.raises(InputError, match=message) as error:
        script("tools/assistance.py").main([*(word.format(path) for word in words), f"output={tmp_path}"])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("percent", "time", "no column 'percent'"),
        ("hip_moment_Nm_kg", "hip", "no moment of hip_flexion"),
        ("knee_flexion_deg", "knee", "no angle of knee_angle"),
        ("ankle_moment_Nm_kg", "ankle_moment_Nm", "not divided by body mass"),
        ("T1,1.2,50,", "T1,1.2,fifty,", "'fifty' is not a number"),
        ("T1,1.2,100,", "T1,1.2,99.5,", "rise from 0 to 100"),
    ],
)
def test_damaged_cycles_are_one_line(gait, old, new, message, tmp_path):
    path = tmp_path / "gait.csv"
    write_csv(path, gait)
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(InputError, match=message):
        read_gait_cycles(path)
