"""Generated motions: feasible, smooth, free of collisions, and true to their names."""

import mujoco
import numpy as np
import pytest
from scipy.optimize import lsq_linear

from muscle_torch.embodiments import Embodiment, make_embodiment
from muscle_torch.errors import InputError
from muscle_torch.motion import MotionClip, generate, generated_names
from muscle_torch.motion.resample import at_control_rate

ARM_MOTIONS = ("reach", "lift", "wave", "drink", "punch", "clap", "circles", "rest")
MARGIN = 0.01  # [rad] to every joint's limit
BODIES = [("toy_arm", {}), ("bimanual", {}), ("bimanual", {"fingers": True})]


@pytest.fixture(scope="module", params=BODIES, ids=lambda body: body[0] + ("_fingers" if body[1] else ""))
def body(request) -> Embodiment:
    name, options = request.param
    return make_embodiment(name, **options)


@pytest.fixture(scope="module")
def arm() -> Embodiment:
    return make_embodiment("bimanual")


def sites(clip: MotionClip, embodiment: Embodiment, name: str) -> np.ndarray:
    """(T, 3) [m] where the site is; the bodies face -y, their right is -x."""
    data = mujoco.MjData(embodiment.model)
    path = []
    for qpos in clip.qpos:
        data.qpos[:] = qpos
        mujoco.mj_kinematics(embodiment.model, data)
        path.append(data.site(name).xpos.copy())
    return np.array(path)


def test_the_bodies_have_their_motions(arm):
    assert generated_names(arm) == ARM_MOTIONS
    assert len(generated_names(make_embodiment("toy_arm"))) >= 2
    with pytest.raises(InputError, match="'wave'"):
        generate("waev", arm)


def test_motions_are_possible_for_the_body(body):
    low, high = body.model.jnt_range.T
    for clip in generate("all", body):
        clip.validate()
        assert 4 <= clip.duration <= 6
        qpos, qvel = at_control_rate(clip, body, "derivative")
        margin = np.minimum(qpos - low, high - qpos).min(0)
        # Joints that are held at an end of their range on purpose: straight fingers have nowhere to go back to.
        moving = np.ptp(qpos, axis=0) > 0
        assert margin[moving].min() > MARGIN, (clip.name, body.joint_names[int(np.argmin(margin))])
        assert margin.min() >= 0
        assert np.abs(body.project(qpos) - qpos).max() < 1e-6
        assert np.abs(qvel).max() < 10
        assert np.abs(qvel[[0, -1]]).max() < 0.02, f"{clip.name} begins and ends at rest"
        assert np.abs(np.diff(qvel, axis=0)).max() * body.control_frequency < 80, f"{clip.name} jerks"


def test_nothing_touches(body):
    data = mujoco.MjData(body.model)
    for seed in (0, 1, 2):
        for clip in generate("all", body, seed) if seed == 0 else generate("reach", body, seed):
            for qpos in clip.qpos[::2]:
                data.qpos[:] = qpos
                mujoco.mj_kinematics(body.model, data)
                mujoco.mj_comPos(body.model, data)
                mujoco.mj_collision(body.model, data)
                assert data.ncon == 0, clip.name


def test_the_same_seed_gives_the_same_motion(body):
    for one, two, other in zip(generate("all", body), generate("all", body), generate("all", body, 1), strict=True):
        np.testing.assert_array_equal(one.qpos, two.qpos)
        if one.name == "reach":
            assert np.abs(one.qpos - other.qpos).max() > 0.05


def test_motions_of_the_hands_match_their_names(arm):
    clips = {clip.name: clip for clip in generate("all", arm)}
    right, left = (
        {name: sites(clips[name], arm, f"{side}_hand_mimic") for name in ARM_MOTIONS} for side in ("right", "left")
    )
    shoulder, midline = (
        sites(clips["rest"], arm, "right_shoulder_mimic")[0],
        sites(clips["rest"], arm, "upper_body_mimic")[0, 0],
    )
    # Waving: the right hand above the shoulder and beside it, to and fro several times; the left hangs.
    up = right["wave"][:, 2] > shoulder[2] + 0.1
    sideways = right["wave"][up, 0]
    assert up.sum() > 200 and sideways.max() < shoulder[0] and np.ptp(sideways) > 0.15
    assert (np.diff(np.sign(sideways - sideways.mean())) != 0).sum() >= 5
    assert left["wave"][:, 2].max() < shoulder[2] - 0.4
    # Drinking: the right hand in front of the mouth; lifting: both hands up together; punching: arms stretched forward.
    mouth = np.array((midline, shoulder[1] - 0.2, shoulder[2] + 0.1))
    assert np.linalg.norm(right["drink"] - mouth, axis=1).min() < 0.12
    assert min(hands["lift"][:, 2].max() for hands in (right, left)) > shoulder[2] + 0.1
    assert max(hands["punch"][:, 1].min() for hands in (right, left)) < shoulder[1] - 0.45
    # Clapping: the hands come near each other four times and never cross.
    gap = left["clap"][:, 0] - right["clap"][:, 0]
    assert 0.1 < gap.min() < 0.2 and ((gap[1:-1] < gap[:-2]) & (gap[1:-1] <= gap[2:]) & (gap[1:-1] < 0.2)).sum() == 4
    # Circles: once around a circle of 12 cm more than a full turn; resting: hardly moving.
    ring = right["circles"][150:430][:, [0, 2]]
    radius = np.linalg.norm(ring - (ring.max(0) + ring.min(0)) / 2, axis=1)
    assert radius.min() > 0.1 and radius.max() < 0.14
    assert np.ptp(right["rest"], axis=0).max() < 0.05
    # Reaching: each hand at least 30 cm forward.
    assert max(hands["reach"][:, 1].min() for hands in (right, left)) < shoulder[1] - 0.3


def test_the_muscles_are_strong_enough(arm):
    """At frames of every motion, some activations in [0, 1] give the joint torques that the motion asks for."""
    model, data = arm.model, mujoco.MjData(arm.model)
    free = np.setdiff1d(np.arange(model.nq), arm.dependent.qpos_ids)
    # Where the couplings, all linear in this body, take the joints when one independent joint moves.
    follow = (arm.project(np.eye(model.nq)) - arm.project(np.zeros(model.nq)))[free].T

    def force(activation: float) -> np.ndarray:
        data.act[:] = activation
        mujoco.mj_forward(model, data)
        return data.actuator_force.copy()

    for clip in generate("all", arm):
        qpos, qvel = at_control_rate(clip, arm, "derivative")
        qacc = np.gradient(qvel, 1 / arm.control_frequency, axis=0)
        for frame in range(5, len(qpos) - 5, 30):
            data.qpos[:], data.qvel[:] = qpos[frame], qvel[frame]
            passive, active = force(0.0), force(1.0)
            moment, inertial = np.zeros((model.nu, model.nv)), np.zeros(model.nv)
            mujoco.mju_sparse2dense(
                moment, data.actuator_moment, data.moment_rownnz, data.moment_rowadr, data.moment_colind
            )
            mujoco.mj_mulM(model, data, inertial, qacc[frame])
            needed = follow.T @ (inertial + data.qfrc_bias - data.qfrc_passive - moment.T @ passive)
            arms = follow.T @ moment.T * (active - passive)
            solution = lsq_linear(
                np.vstack((arms, 1e-3 * np.eye(model.nu))), np.append(needed, np.zeros(model.nu)), (0, 1)
            )
            assert np.abs(arms @ solution.x - needed).max() < 0.5, (clip.name, frame)
