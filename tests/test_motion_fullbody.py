"""Generated full-body motions: feasible, smooth, feet that neither slide nor sink nor float."""

from typing import NamedTuple

import mujoco
import numpy as np
import pytest
from conftest import data_file
from scipy.ndimage import find_objects, label

from muscle_torch.embodiments import Embodiment, make_embodiment
from muscle_torch.errors import InputError
from muscle_torch.motion import MotionClip, generate, generated_names
from muscle_torch.motion.generated.chain import Chain
from muscle_torch.motion.resample import at_control_rate

NAMES = ("sway", "squat", "arm_raise", "step_in_place", "walk")
TOUCHING = 2e-4  # [m]: a foot that is lower bears on the floor


class Feet(NamedTuple):
    """Foot contact computed with MuJoCo's geometry; columns right and left."""

    height: np.ndarray  # (T, 2) of the lowest point of each foot [m]
    slip: np.ndarray  # (T, 2) how far the point that touched in the frame before has moved along the floor [m]
    other_contacts: set[tuple[str, str]]  # what else touches

    def stances(self) -> list[tuple[int, slice]]:
        """Return (foot, frames) of each contact."""
        contact = [find_objects(label(down)[0]) for down in (self.height < TOUCHING).T]
        return [(foot, frames[0]) for foot, runs in enumerate(contact) for frames in runs]


@pytest.fixture(scope="module")
def body() -> Embodiment:
    return make_embodiment("fullbody")


@pytest.fixture(scope="module")
def clips(body) -> dict[str, MotionClip]:
    return {clip.name: clip for clip in generate("all", body)}


@pytest.fixture(scope="module")
def feet(body, clips) -> dict[str, Feet]:
    return {name: measured(body, clip) for name, clip in clips.items()}


def measured(body: Embodiment, clip: MotionClip) -> Feet:
    model, data = body.model, mujoco.MjData(body.model)
    floor, solid = model.geom("floor").id, np.flatnonzero(model.geom_contype)
    owner = {geom: model.body(model.geom_bodyid[geom]).name for geom in solid}
    soles = [[g for g in solid if owner[g] in (f"calcn_{side}", f"toes_{side}")] for side in "rl"]
    height, slip, other_contacts = np.empty((len(clip.qpos), 2)), np.zeros((len(clip.qpos), 2)), set()
    touched = [(0, np.zeros(3), np.zeros(3))] * 2  # body, the lowest point in its axes, and in the world
    for frame, qpos in enumerate(clip.qpos):
        data.qpos[:] = qpos
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_collision(model, data)
        other_contacts |= {
            (model.geom(a).name, model.geom(b).name) for a, b in data.contact.geom if floor not in (a, b)
        }
        for foot, sole in enumerate(soles):
            bone, local, world = touched[foot]
            moved = data.xpos[bone] + data.xmat[bone].reshape(3, 3) @ local - world
            slip[frame, foot] = np.linalg.norm(moved[:2]) if frame else 0.0
            height[frame, foot], touched[foot] = lowest(model, data, floor, sole)
    return Feet(height, slip, other_contacts)


def lowest(model, data, floor: int, sole: list[int]) -> tuple[float, tuple[int, np.ndarray, np.ndarray]]:
    """Return the height of a foot's lowest point, its body, and the point in body and world coordinates."""
    line, contact = np.zeros(6), []
    for geom in sole:
        distance = mujoco.mj_geomDistance(model, data, floor, geom, 1.0, line)
        contact.append((distance, geom, line[3:].copy()))
    distance, geom, world = min(contact, key=lambda one: one[0])
    bone = int(model.geom_bodyid[geom])
    return distance, (bone, data.xmat[bone].reshape(3, 3).T @ (world - data.xpos[bone]), world)


def angle(body: Embodiment, clip: MotionClip, joint: str) -> np.ndarray:
    """(T,) [deg]."""
    return np.degrees(clip.qpos[:, body.model.joint(joint).qposadr[0]])


def site(body: Embodiment, clip: MotionClip, name: str) -> np.ndarray:
    """(T, 3) [m]."""
    return Chain(body, body.model.body(body.model.site(name).bodyid[0]).name).place(clip.qpos.astype(float)).pos


def test_the_body_has_its_motions(body):
    assert generated_names(body) == NAMES
    with pytest.raises(InputError, match="'walk'"):
        generate("wlak", body)


def test_kinematics_of_a_limb_are_mujocos(body):
    model, random = body.model, np.random.default_rng(0)
    qpos = np.tile(model.qpos0, (8, 1))
    low, high = model.jnt_range[body.scalar_joint_ids].T
    qpos[:, 7:] = low + random.random((8, len(low))) * (high - low)
    turn = random.normal(size=(8, 4))
    qpos[:, 3:7] = turn / np.linalg.norm(turn, axis=1, keepdims=True)
    qpos = body.project(qpos)
    chain, data = Chain(body, "calcn_l"), mujoco.MjData(model)
    placed = chain.place(qpos)
    for frame, pose in enumerate(qpos):
        data.qpos[:] = pose
        mujoco.mj_kinematics(model, data)
        np.testing.assert_allclose(placed.pos[frame], data.body("calcn_l").xpos, atol=1e-9)
        np.testing.assert_allclose(placed.mat[frame].ravel(), data.body("calcn_l").xmat, atol=1e-9)
    # The Jacobian, coupled joints included, is the change with the joint.
    joint, small = "knee_angle_l", 1e-6
    moved = qpos.copy()
    moved[:, model.joint(joint).qposadr[0]] += small
    after = chain.place(body.project(moved))
    jacobian = chain.jacobian(placed, qpos, [joint])[..., 0]
    np.testing.assert_allclose((after.pos - placed.pos) / small, jacobian[:, :3], atol=1e-5)


def test_an_unreachable_position_is_reported(body):
    qpos = body.project(body.model.qpos0)[None]
    chain = Chain(body, "calcn_r")
    there = chain.place(qpos)
    with pytest.raises(InputError, match="does not reach"):
        chain.reach(qpos, ["knee_angle_r"], there.pos + 1.0, there.mat)


@pytest.mark.parametrize("fingers", [False, True])
def test_motions_are_possible_for_the_body(fingers):
    body = make_embodiment("fullbody", fingers=fingers)
    model = body.model
    scalar, columns = body.scalar_joint_ids, body.joint_qpos_ids
    low, high = model.jnt_range[scalar].T
    coupled = np.isin(columns, body.dependent.qpos_ids)
    for clip in generate("all", body):
        clip.validate()
        assert clip.qpos.shape[1] == model.nq == (129 if fingers else 89)
        assert 4 <= clip.duration <= 6
        qpos, qvel = at_control_rate(clip, body, "derivative")
        margin = np.minimum(qpos[:, columns] - low, high - qpos[:, columns]).min(0)
        moving = np.ptp(qpos[:, columns], axis=0) > 0
        worst = int(np.argmin(np.where(coupled | ~moving, np.inf, margin)))
        assert margin[worst] > 0.01, (clip.name, body.joint_names[scalar[worst]])
        # A bent knee's own polynomial takes one coupled joint 0.25 mrad beyond the range that the model gives it.
        assert margin.min() > -3e-4, (clip.name, body.joint_names[scalar[int(np.argmin(margin))]])
        assert np.abs(body.project(qpos) - qpos).max() < 1e-4
        assert qpos[:, 2].min() > 0.5 and qpos[:, 2].max() < 1.0
        assert np.abs(np.linalg.norm(qpos[:, 3:7], axis=1) - 1).max() < 1e-5
        assert np.abs(qvel[:, 6:]).max() < 10
        assert np.abs(np.diff(qvel, axis=0)).max() * body.control_frequency < 200, f"{clip.name} jerks"
        if clip.name != "walk":
            assert np.abs(qvel[[0, -1]]).max() < 0.02, f"{clip.name} begins and ends at rest"


@pytest.mark.parametrize("name", NAMES)
def test_velocities_are_the_derivative_of_positions(body, clips, name):
    qpos, qvel = (part.astype(float) for part in at_control_rate(clips[name], body, "derivative"))
    reached, step = qpos.copy(), 1 / body.control_frequency
    for frame in range(1, len(qpos) - 1):
        reached[frame] = qpos[frame - 1]
        mujoco.mj_integratePos(body.model, reached[frame], qvel[frame], 2 * step)
    # Two steps by the middle velocity lead to the next frame but one, up to the third derivative.
    assert np.abs(reached[1:-1] - qpos[2:])[:, :3].max() < 2e-3
    assert np.abs(reached[1:-1] - qpos[2:])[:, 7:].max() < 2e-2


@pytest.mark.parametrize("name", NAMES)
def test_feet_neither_slide_nor_sink_nor_float(feet, name):
    contact = feet[name]
    assert contact.height.min() > -1e-3, "sinks"
    assert contact.height.min(axis=1).max() < 1e-3, "floats"
    slides = [contact.slip[frames, foot][1:].sum() for foot, frames in contact.stances()]
    assert max(slides) < 1e-3
    print(name, "slide of each stance [mm]", 1000 * np.round(slides, 6))
    expected = {"walk": 12, "step_in_place": 8}.get(name, 2)
    assert len(slides) == expected, "each foot is down as often as its steps ask for"
    assert not contact.other_contacts, "nothing but the feet touches anything"


def test_the_same_seed_gives_the_same_motion(body, clips):
    for clip in generate("all", body):
        np.testing.assert_array_equal(clip.qpos, clips[clip.name].qpos)
    other = generate("sway", body, seed=1)[0]
    assert np.abs(other.qpos - clips["sway"].qpos).max() > 0.005


@pytest.mark.parametrize("name", ["sway", "squat", "arm_raise", "step_in_place"])
def test_the_centre_of_mass_is_over_the_feet(body, clips, feet, name):
    data = mujoco.MjData(body.model)
    for frame in range(0, clips[name].num_frames, 10):
        data.qpos[:] = clips[name].qpos[frame]
        mujoco.mj_kinematics(body.model, data)
        mujoco.mj_comPos(body.model, data)
        height = feet[name].height[frame]
        if TOUCHING < height.max() < 0.08:
            continue  # between two standings the body may fall from one foot to the other
        down = [side for foot, side in enumerate("rl") if height[foot] < TOUCHING]
        heels, toes = ([data.body(f"{bone}_{side}").xpos for side in down] for bone in ("calcn", "toes"))
        x, y = data.subtree_com[1, :2]
        assert min(toe[1] for toe in toes) < y < max(heel[1] for heel in heels)
        assert min(heel[0] for heel in heels) - 0.05 < x < max(heel[0] for heel in heels) + 0.05


def test_motions_match_their_names(body, clips, feet):
    # Squatting: hips down by a quarter of a metre, knees nearly at a right angle, the body upright at the end.
    squat = clips["squat"]
    assert np.ptp(squat.qpos[:, 2]) > 0.24 and 80 < angle(body, squat, "knee_angle_r").max() < 110
    assert abs(squat.qpos[-1, 2] - squat.qpos[0, 2]) < 1e-4
    # Swaying: a little, but visibly.
    assert 0.01 < np.linalg.norm(np.ptp(clips["sway"].qpos[:, :2], axis=0)) < 0.08
    # Arms: both hands above the head, then out to the sides at the height of the shoulders.
    hand, head, shoulder = (
        site(body, clips["arm_raise"], f"{part}_mimic") for part in ("left_hand", "head", "left_shoulder")
    )
    assert (hand - head)[:, 2].max() > 0.2
    assert (np.abs(hand[:, 2] - shoulder[:, 2])[hand[:, 0] > shoulder[:, 0] + 0.45] < 0.1).any()
    # Steps: each foot three times up by about 12 cm, never both at once; one stays where it was.
    up = feet["step_in_place"].height > 0.05
    assert [label(foot)[1] for foot in up.T] == [3, 3] and not up.all(axis=1).any()
    assert feet["step_in_place"].height.max() == pytest.approx(0.12, abs=0.01)


def test_walking_is_a_walk(body, clips, feet):
    """Speed, step width and stance duration of healthy adults; the toes clear the floor."""
    walk, contact = clips["walk"], feet["walk"]
    speed = -(walk.qpos[-1, 1] - walk.qpos[0, 1]) / walk.duration
    assert 1.1 < speed < 1.5
    assert np.abs(walk.qpos[:, 0]).max() < 0.04, "straight ahead"
    down = contact.height < TOUCHING
    assert down.any(axis=1).all(), "a foot is always on the floor"
    assert 0.56 < down.mean() < 0.64
    heels = [site(body, walk, f"{side}_ankle_mimic")[:, 0] for side in ("right", "left")]
    assert 0.06 < (heels[1] - heels[0])[down.all(axis=1)].mean() < 0.16
    middle = slice(7 * 53 + 20, 7 * 53 + 45)  # of a right swing, between leaving and landing
    assert contact.height[middle, 0].min() > 0.005 or contact.height[middle, 1].min() > 0.005
    # Stretched legs at both ends of a stance, a bent one between them and a much bent one in the air.
    knee = angle(body, walk, "knee_angle_r")[:107]
    assert knee[:3].max() < 20 and 60 < knee[65:90].max() < 75


def test_walking_angles_are_those_of_a_recorded_person(body, clips):
    """Compared with another person than the source of the motion."""
    recorded = np.load(data_file("data/falisse2019_gait_cycles/gait_cycles_trials1-7.npz"))
    mean, names = recorded["angle_deg"].mean(axis=2), [str(name) for name in recorded["angle_deg_names"]]
    phase = np.linspace(0, 1, len(mean))
    for joint, sign, allowed, alike in (
        ("hip_flexion", 1, 8, 0.88),
        ("knee_angle", -1, 12, 0.8),
        ("ankle_angle", 1, 8, 0.75),
    ):
        ours = np.interp(phase, np.arange(107) / 106, angle(body, clips["walk"], f"{joint}_r")[:107])
        expected = sign * mean[:, names.index(joint)]
        print(joint, float(np.sqrt(np.mean((ours - expected) ** 2))), float(np.corrcoef(ours, expected)[0, 1]))
        assert np.sqrt(np.mean((ours - expected) ** 2)) < allowed
        assert np.corrcoef(ours, expected)[0, 1] > alike
