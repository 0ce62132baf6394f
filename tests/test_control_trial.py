"""The controller at work: a biped that squats by muscles and by motors, laws of symmetry, the evaluation."""

import numpy as np
import pytest
from biped import make_biped, squat
from control_trial import Disturbance, StoredMotion, run_trial

from muscle_torch.control import MuscleControl, MuscleControlOptions, clip_tables
from muscle_torch.control.body import ControlBody
from muscle_torch.control.options import ProgrammeOptions
from muscle_torch.control.planner import StepPlanner
from muscle_torch.errors import InputError
from muscle_torch.motion.feasibility import Infeasible


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MUSCLE_TORCH_CACHE", str(tmp_path))


def _run(motors: bool, disturbance: Disturbance | None = None):
    body = make_biped(motors)
    clip, control = squat(body), ControlBody(body)
    tables = clip_tables(clip, control)
    planner = StepPlanner(control, MuscleControlOptions())
    return tables, run_trial(planner, tables.reference, StoredMotion.of(clip, body), disturbance)


@pytest.mark.parametrize("motors", [False, True], ids=["muscles", "motors"])
def test_the_biped_squats(motors):
    _, trial = _run(motors)
    assert trial.whole and trial.site_error < 0.03


def test_weak_muscles_and_a_push_are_borne():
    _, trial = _run(False, Disturbance(strength=0.8, push=(0.0, 5.0), push_frame=30))
    assert trial.whole


def test_the_feedforward_carries_the_body():
    body = make_biped()
    tables = clip_tables(squat(body), ControlBody(body))
    table, weight = tables.feedforward, body.model.body_subtreemass[1] * 9.81
    lifted = table.ground_force[:, :, 2].sum(axis=1)
    np.testing.assert_allclose(lifted.mean(), weight, rtol=0.02)
    assert np.abs(table.residual).max() < 1.0
    assert ((table.excitation >= 0) & (table.excitation <= 1)).all()


def test_tables_are_taken_from_disk(monkeypatch):
    body = make_biped()
    first = clip_tables(squat(body), ControlBody(body))
    monkeypatch.setattr("muscle_torch.control.tables.feedforward", lambda *_: pytest.fail("computed again"))
    again = clip_tables(squat(body), ControlBody(body))
    np.testing.assert_array_equal(first.feedforward.excitation, again.feedforward.excitation)


def test_a_symmetric_squat_takes_symmetric_muscles():
    body = make_biped()
    table = clip_tables(squat(body), ControlBody(body)).feedforward
    names = body.actuator_names
    for left, right in body.left_right:
        one, other = table.activation[:, names.index(left)], table.activation[:, names.index(right)]
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_a_mirrored_state_gives_mirrored_controls():
    body = make_biped()
    control = ControlBody(body)
    reference = clip_tables(squat(body), control).reference
    planner, model, random = StepPlanner(control, MuscleControlOptions()), body.model, np.random.default_rng(0)
    qpos, qvel = reference.qpos[60].copy(), random.normal(scale=0.1, size=model.nv)
    act = random.uniform(size=model.na)
    mirrored_pos, mirrored_vel = qpos.copy(), qvel.copy()
    mirrored_vel[[0, 4, 5]] *= -1  # across x, and turns about y and z
    for name in ("hip_flexion", "hip_adduction", "knee", "ankle", "subtalar"):
        sign = -1.0 if name in ("hip_adduction", "subtalar") else 1.0
        right, left = (int(model.joint(f"{name}_{side}").dofadr[0]) for side in "rl")
        mirrored_vel[[right, left]] = sign * qvel[[left, right]]
    # About y a muscle that pulls one way on the right pulls the other way on the left.
    swap, names = np.zeros(model.nu, dtype=int), body.actuator_names
    for index, name in enumerate(names):
        part, end, side = name.rsplit("_", 2)
        other = {"plus": "minus", "minus": "plus"}[end] if part in ("hip_adduction", "subtalar") else end
        swap[index] = names.index(f"{part}_{other}_{'l' if side == 'r' else 'r'}")
    one, _ = planner.controls(qpos, qvel, act, reference, 60)
    other, _ = planner.controls(mirrored_pos, mirrored_vel, act[swap], reference, 60)
    np.testing.assert_allclose(other, one[swap], atol=1e-3)


def test_a_clip_that_no_body_can_follow_is_refused_or_warned_of():
    """Half a metre above the floor nothing carries it."""
    body = make_biped()
    floating = squat(body)
    floating.qpos[:, 2] += 0.5
    with pytest.warns(UserWarning, match="'squat': no body can follow it: .* in frames 0 to 149"):
        clip_tables(floating, ControlBody(body))
    with pytest.raises(InputError, match=r"no body can follow it.*infeasible=keep"):
        clip_tables(floating, ControlBody(body), MuscleControlOptions(infeasible=Infeasible.reject))


def test_a_programme_that_does_not_converge_is_counted_and_said_once():
    body = make_biped()
    clip = squat(body)
    options = MuscleControlOptions(programme=ProgrammeOptions(iterations=1))
    control = MuscleControl(body, [clip], options)
    state = (clip.qpos[60:61].astype(float), np.zeros((1, body.model.nv)), np.full((1, body.model.na), 0.1))
    with pytest.warns(UserWarning, match="feasible activations are used") as warned:
        for _ in range(3):
            excitations = control.controls(*state, np.zeros(1, dtype=int), np.array([60]))
    assert control.effort.unconverged == 3 and len(warned) == 1
    assert ((excitations >= 0) & (excitations <= 1)).all()


def test_worlds_are_planned_side_by_side_as_one_after_another():
    body = make_biped()
    clip = squat(body)
    state = (
        np.tile(clip.qpos[10], (3, 1)).astype(float),
        np.zeros((3, body.model.nv)),
        np.full((3, body.model.na), 0.1),
    )
    place = (np.zeros(3, dtype=int), np.array([10, 20, 30]))
    outs = []
    for processes in (1, 2):
        control = MuscleControl(body, [clip], MuscleControlOptions(processes=processes))
        outs.append(control.controls(*state, *place))
        assert control.effort.steps == 3 and control.effort.unconverged == 0
        control.close()
    np.testing.assert_allclose(outs[0], outs[1], atol=1e-10)
