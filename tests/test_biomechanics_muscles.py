"""Muscle checks: laws on the toy arm, two definitions of a moment arm, planted defects."""

import dataclasses

import mujoco
import numpy as np
import pytest
from commands import script
from conftest import data_file

from muscle_torch.biomechanics.anthropometry import segment_table
from muscle_torch.biomechanics.experiments import compare_with_measured, experiment_rows
from muscle_torch.biomechanics.muscle_checks import check_muscles
from muscle_torch.biomechanics.muscle_mechanics import (
    asymmetry,
    disagreement,
    length_jumps,
    mirrored_joint,
    muscle_curves,
    optimal_length,
    parameter_asymmetry,
    peak_force,
    range_differences,
    sweep,
)
from muscle_torch.biomechanics.passive import joint_rows, muscle_rows, passive_forces
from muscle_torch.embodiments import make_embodiment
from muscle_torch.embodiments.independent import IndependentJoints
from muscle_torch.errors import InputError
from muscle_torch.motion import load_motion


@pytest.fixture(scope="module")
def toy():
    return make_embodiment("toy_arm")


@pytest.fixture(scope="module")
def arm():
    return make_embodiment("bimanual")


@pytest.fixture(scope="module")
def full():
    return make_embodiment("fullbody")


def test_the_definition_and_the_matrix_agree_on_the_arms(arm):
    for joint in IndependentJoints(arm).joints:
        assert disagreement(sweep(arm, joint, 15, 1e-3)).max() < 1e-4, joint


@pytest.mark.parametrize("joint", ["knee_angle_r", "hip_flexion_l", "ankle_angle_r", "flex_extension"])
def test_they_agree_where_coupled_joints_follow(full, joint):
    assert disagreement(sweep(full, joint, 15, 1e-3)).max() < 1e-4


def test_coupled_joints_follow_a_joint(full):
    """A bending knee moves the kneecap and shifts the shank; a coupled joint alone moves nothing."""
    independent, posture = IndependentJoints(full), full.qpos0.copy()
    address = full.model.joint("knee_angle_r").qposadr[0]
    posture[address] = 0.7
    forward, backward = posture.copy(), posture.copy()
    forward[address] += 1e-5
    backward[address] -= 1e-5
    expected = (full.project(forward) - full.project(backward))[full.joint_qpos_ids] / 2e-5
    derivative = independent.along(full.project(posture), ["hip_flexion_r", "knee_angle_r"])
    np.testing.assert_allclose(derivative[full.joint_qvel_ids, 1], expected, atol=1e-8)
    assert np.count_nonzero(derivative[:, 0]) == 1 and np.count_nonzero(np.abs(expected) > 1e-3) > 2
    with pytest.raises(InputError, match="no independent joint 'knee_angle_translation1_r'"):
        independent.along(posture, ["knee_angle_translation1_r"])


def test_the_arm_is_the_change_of_length(toy):
    """Summed over the range, the arms give the whole change of length."""
    one = sweep(toy, "elbow", 201, 1e-3)
    total = np.trapezoid(one.by_moment, one.positions, axis=0)
    np.testing.assert_allclose(total, one.lengths[0] - one.lengths[-1], atol=1e-4)
    assert one.by_moment[:, 0].mean() > 0 > one.by_moment[:, 1].mean()  # flexor, extensor
    assert not length_jumps(one).any()


def test_left_and_right_arms_are_alike(arm):
    sweeps = {joint: sweep(arm, joint, 11, 1e-3) for joint in IndependentJoints(arm).joints}
    assert max(away for away, _ in asymmetry(arm, sweeps).values()) < 1e-6
    assert not parameter_asymmetry(arm) and not range_differences(arm)


def test_joints_are_mirrored(full):
    assert mirrored_joint(full, "hip_flexion_r") == ("hip_flexion_l", 1.0)
    assert mirrored_joint(full, "flex_extension") == ("flex_extension", 1.0)
    assert mirrored_joint(full, "lat_bending") == ("lat_bending", -1.0)


def planted(body, **edits):
    """Return the body with arrays of its compiled model scaled by `edits`: name -> (index, factor)."""
    model = body.model.__copy__()
    for name, (index, factor) in edits.items():
        getattr(model, name)[index] *= factor
    return dataclasses.replace(body, model=model)


def test_a_moved_site_and_a_weak_muscle_are_detected(arm):
    names = arm.actuator_names
    tendon = arm.model.actuator_trnid[names.index("BRA_left"), 0]
    site = int(arm.model.wrap_objid[arm.model.tendon_adr[tendon]])
    bad = planted(arm, site_pos=(site, 1.05), actuator_gainprm=((names.index("ANC_left"), 2), 0.5))
    joints = ("elbow_flex_l", "elbow_flex_r")
    sweeps = {joint: sweep(bad, joint, 11, 1e-3) for joint in joints}
    away, joint = asymmetry(bad, sweeps)["BRA_left"]
    assert away > 1e-5 and joint == "elbow_flex_l"
    assert "F0" in parameter_asymmetry(bad)["ANC_left"]
    bad.model.jnt_range[bad.resolve("joint", ["elbow_flex_l"])[0]] *= 0.9
    assert "elbow_flex" in range_differences(bad)[0]


def test_a_length_jump_is_detected(toy):
    one = sweep(toy, "elbow", 41, 1e-3)
    broken = one.lengths.copy()
    broken[20:, 0] += 2e-3
    assert length_jumps(dataclasses.replace(one, lengths=broken))[0] == pytest.approx(2e-3, rel=0.3)


def test_muscle_curves_obey_their_laws(full):
    for name in ("soleus_r", "glmax1_l", "DELT1"):
        curves = muscle_curves(full.model, full.actuator_names.index(name), 161)
        assert curves.active.max() == pytest.approx(1.0, abs=1e-3)
        assert curves.lengths[curves.active.argmax()] == pytest.approx(1.0, abs=0.02)
        assert np.interp(0.0, curves.velocities, curves.force_velocity) == pytest.approx(1.0, abs=0.02)
        assert curves.force_velocity[curves.velocities <= -1].max() == 0.0
        assert (np.diff(curves.force_velocity) >= -1e-9).all() and (np.diff(curves.passive) >= -1e-9).all()


def test_force_and_length_are_mujocos(full):
    """At the optimal length, still, fully active, the muscle pulls with F0."""
    index = full.actuator_names.index("soleus_r")
    fibre, tendon = optimal_length(full.model, index)
    gain = mujoco.mju_muscleGain(
        fibre + tendon,
        0.0,
        full.model.actuator_lengthrange[index],
        full.model.actuator_acc0[index],
        full.model.actuator_gainprm[index, :9],
    )
    assert -gain == pytest.approx(peak_force(full.model, index), rel=1e-6)


def test_segments_are_weighed(full, toy):
    rows = {row[0]: row for row in segment_table(full)}
    # Every body belongs to one segment: nothing is forgotten or counted twice.
    parts = [rows.pop(name)[1] for name in ("thorax", "abdomen", "pelvis")]
    assert sum(parts) == pytest.approx(rows["trunk"][1])
    assert sum(row[1] for row in rows.values()) == pytest.approx(full.model.body_mass.sum(), abs=0.05)
    assert rows["shank right"][1] == pytest.approx(3.8) and rows["shank right"][-1] == "within"
    assert rows["head and neck"][-1] == "lighter than all tables"
    assert segment_table(toy) == []


def test_measured_arms_of_the_hip(full):
    curves = compare_with_measured(full, data_file("data/moment_arms_hip_literature/hip_moment_arms.csv"))
    rows = {row[0]: row for row in experiment_rows(curves)}
    assert len(rows) == 7
    assert all(rows[f"Arnold2000.psoas_mean_subj{i}"][-1] == "close" for i in (1, 2, 3))
    maximus = rows["Nemeth1985.glut_max_female"]
    assert maximus[5] > 0.99 and maximus[3] < 15.0
    assert rows["Dostal1986.glut_med_add"][5] > 0.95


def test_published_arms_of_knee_and_ankle(full):
    """The arm of the quadriceps shortens in flexion and that of the Achilles tendon in dorsiflexion, in both."""
    curves = {one.name: one for one in compare_with_measured(full, "published")}
    assert {one.axis for one in curves.values()} == {"knee_angle_r", "ankle_angle_r"}
    for name in ("Im2015.quadriceps_men", "Im2015.quadriceps_women"):
        measured, model = curves[name].arm, curves[name].model
        assert measured[0] > measured[1] and model[0] > model[1] > 0.03
    achilles = curves["Manal2013.achilles_rest"]
    assert achilles.degrees[0] > achilles.degrees[1] and achilles.model[1] > achilles.model[0] > 0.03
    rows = {row[0]: row for row in experiment_rows(list(curves.values()))}
    assert rows["Hosseinzadeh2020.patellar_tendon"][3] < 3.0 and rows["Hosseinzadeh2020.patellar_tendon"][5] > 0.9
    assert np.isnan(rows["Fath2010.achilles_excursion"][5]), "one point has no correlation"
    # The model lies between the two methods of each study.
    for study, angle in (("Fath2010", -15), ("Hashizume2012", -10)):
        both = [one for name, one in curves.items() if name.startswith(study)]
        assert all(one.degrees == [angle] for one in both)
        assert both[0].arm[0] > both[0].model[0] > 0.035


def test_bad_tables_of_measurements_are_reported(full, toy, tmp_path):
    path = tmp_path / "m.csv"
    for text, expected in (
        ("a,b\n1,2\n", "expected the columns"),
        ("study,curve,x_deg,moment_arm_m\nA,b,1,x\n", "line 2"),
        ("study,curve,x_deg,moment_arm_m\nArnold2001,psoas_mean_subj1,1,0.1\n", "did you mean 'Arnold2000"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=expected):
            compare_with_measured(full, path)
    path.write_text("study,curve,x_deg,moment_arm_m\nArnold2000,psoas_mean_subj1,1,0.02\n")
    with pytest.raises(InputError, match="none of the measured muscles"):
        compare_with_measured(toy, path)


def test_passive_torque_by_hand(toy):
    """The flexor spans 310.1 mm at 0 rad; with lengths of 0.17 to 0.33 m for 0.5 to 1.3 L0 that is 1.2004 L0.

    MuJoCo's passive force is F0 * fpmax / 2 * ((L - 1) / (b - 1))^2 with fpmax 1.3 and b = (1 + lmax) / 2 = 1.3. The
    line from (35, -50) to (28, -360) mm passes the elbow at (0, -300) at 29.35 mm.
    """
    stretched = planted(toy)
    stretched.model.actuator_lengthrange[0] = 0.17, 0.33
    passive = passive_forces(stretched, np.zeros((3, 1)))
    span = np.hypot(0.007, 0.31)
    force = 400 * 1.3 / 2 * ((0.5 + (span - 0.17) / 0.2 - 1) / 0.3) ** 2
    assert force == pytest.approx(116.0, abs=0.1)
    np.testing.assert_allclose(passive.forces[:, 0], force, rtol=1e-4)
    arm = (0.035 - 0.007 * 0.25 / 0.31) * 0.31 / span
    assert passive.joints == ("elbow",) and passive.units == ("Nm",)
    np.testing.assert_allclose(passive.torques[:, 0, 0], force * arm, rtol=1e-4)
    (row,) = joint_rows(stretched, passive)
    assert row[:2] == ("elbow", "Nm") and row[2] == pytest.approx(3.404, abs=5e-3) and row[5] == "flexor"
    assert row[2] == row[3] == row[4] and row[7] == 0.0
    best = muscle_rows(stretched, passive)[0]
    assert best[0] == "flexor" and best[3] == pytest.approx(29.0, abs=0.05) and best[4] == "elbow"


def test_springs_and_muscles_are_distinguished(toy):
    """A spring of 2 Nm/rad at half a radian; damping does nothing at rest."""
    sprung = planted(toy)
    sprung.model.jnt_stiffness[0] = 2.0
    passive = passive_forces(sprung, np.full((1, 1), 0.5))
    np.testing.assert_allclose(passive.springs, -1.0, atol=1e-9)


def test_passive_torque_of_the_walk_is_reported(full):
    """The abdominal muscles are stretched in every posture of a walk."""
    passive = passive_forces(full, load_motion("walk", full)[0].qpos[::20].astype(float))
    rows = {row[0]: row for row in joint_rows(full, passive)}
    assert next(iter(rows)) == "flex_extension" and rows["flex_extension"][2] == pytest.approx(-95.6, abs=1.0)
    # Left and right are alike over whole strides.
    assert rows["knee_angle_r"][2] == pytest.approx(rows["knee_angle_l"][2], rel=0.05)
    muscles = {row[0]: row for row in muscle_rows(full, passive)}
    assert list(muscles)[:2] in (["DELT2", "DELT2_left"], ["DELT2_left", "DELT2"])
    assert muscles["DELT2"][2] == pytest.approx(630, rel=0.03)


def test_every_muscle_has_a_verdict(toy):
    check = check_muscles(toy, 21)
    assert [row[-1] for row in check.rows] == ["ok", "ok"] and check.defects == []


def test_the_command_writes_its_report(tmp_path, capsys):
    assert script("tools/check_muscles.py").main(["body=toy_arm", f"output={tmp_path}", "points=11", "all=true"]) == 0
    shown = capsys.readouterr().out
    assert "2 of 2 muscles ok" in shown and "passive, over the default posture" in shown
    assert "Passive torque and force" in (tmp_path / "report.html").read_text()
    words = ["body=toy_arm", f"output={tmp_path}", "points=11", "postures=reach"]
    assert script("tools/check_muscles.py").main(words) == 0
    assert "passive, over the postures of reach" in capsys.readouterr().out
    rows = (tmp_path / "passive_joints.csv").read_text().splitlines()
    assert rows[0].startswith("joint,unit,mean") and rows[1].startswith("elbow,Nm,")
    assert (tmp_path / "report.html").read_text().count("<img") == 3
    with pytest.raises(InputError, match="did you mean"):
        script("tools/check_muscles.py").main(["body=toy_arm", "muscles=[flexer]", f"output={tmp_path}"])
