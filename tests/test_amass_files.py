"""AMASS files from many sources: vertical axes, units of the root, betas per frame, genders in any spelling."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from conftest import data_file
from scipy.spatial.transform import Rotation
from test_bvh_files import check_walk
from test_retargeting_readers import amass, body_model, error_message
from walker import JOINTS, NAMES, PARENTS, Y_UP, Walk, walk

from muscle_torch.retargeting import ReadOptions, read_motion

WALK = walk(60, rate=60.0)
SMPL = {"Hips": 0, "Spine": 3, "Spine1": 9, "Neck": 12, "Head": 15} | {
    f"{side}{name}": index + (side == "Right")
    for side in ("Left", "Right")
    for name, index in (("UpLeg", 1), ("Leg", 4), ("Foot", 7), ("ToeBase", 10), ("Shoulder", 13), ("Arm", 16),
                        ("ForeArm", 18), ("Hand", 20))
}  # fmt: skip
SMPL_PARENTS = [-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19]


def smpl(folder, walk: Walk, world: np.ndarray, scale: float = 1.0, **changes) -> ReadOptions:
    """Write an AMASS-like file walk.npz of the walk and its body model; `world` holds the file's axes."""
    count = len(walk.positions)
    turns = np.tile(np.eye(3), (count, 22, 1, 1))
    template = np.zeros((22, 3))
    for name, index in SMPL.items():
        joint = NAMES.index(name)
        parent = PARENTS[joint]
        local = world.T @ walk.turns[:, joint] @ Y_UP
        above = np.swapaxes(world.T @ walk.turns[:, parent] @ Y_UP, 1, 2) if parent >= 0 else np.eye(3)
        turns[:, index] = above @ local
        offset = np.array(JOINTS[joint][2]) @ Y_UP
        template[index] = offset + (template[SMPL[NAMES[parent]]] if parent >= 0 else 0.0)
    template[6] = template[3]  # a joint of the spine that the walker lacks
    poses = Rotation.from_matrix(turns.reshape(-1, 3, 3)).as_rotvec().reshape(count, 66)
    arrays = {"poses": poses, "trans": scale * walk.positions[:, 0] @ world, "betas": np.zeros(16),
              "gender": "neutral", "mocap_framerate": walk.rate}  # fmt: skip
    np.savez(folder / "walk.npz", **(arrays | changes))
    shapes = np.zeros((22, 3, 2))
    shapes[:, :, 0] = 0.1 * template
    np.savez(folder / "model.npz", v_template=template, J_regressor=np.eye(22), shapedirs=shapes,
             kintree_table=np.array([SMPL_PARENTS, range(22)]))  # fmt: skip
    return ReadOptions(smpl=str(folder / "model.npz"))


Z_UP_SMPL = np.eye(3)
Y_UP_SMPL = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])  # x stays, y is up


@pytest.mark.parametrize("world", [Z_UP_SMPL, Y_UP_SMPL], ids=["z up", "y up"])
def test_the_vertical_axis_of_smpl(tmp_path, world):
    options = smpl(tmp_path, WALK, world)
    raw = read_motion(tmp_path / "walk.npz", options)
    check_walk(raw, WALK)
    assert bool(raw.notes) == (world is Y_UP_SMPL)


def placed(shift: tuple[float, float, float], turn: np.ndarray | None = None) -> Walk:
    """Return steps on the spot, rotated about the world's origin and then shifted [m]."""
    spot, turn = walk(60, rate=60.0, speed=0.0), np.eye(3) if turn is None else turn
    return Walk(spot.rate, spot.positions @ turn.T + shift, turn @ spot.turns)


def test_the_floor_shows_the_vertical_axis_of_steps_on_the_spot(tmp_path):
    """Standing in a world whose y points up, the feet at y = 0; or lying at z = 0 in one whose z does."""
    standing = placed((0.0, -0.6, 0.0))  # the file's z is its -y: 0.6 m from the origin
    options = smpl(tmp_path, standing, Y_UP_SMPL)
    raw = read_motion(tmp_path / "walk.npz", options)
    assert "vertical axis assumed to be y" in raw.notes[0]
    for name, at in standing.landmarks.items():
        np.testing.assert_allclose(raw.positions[name][:, 2], at[:, 2], atol=1e-6)
    turn = Rotation.from_euler("x", 90, degrees=True).as_matrix()  # the head towards -y
    lying = placed((0.0, 0.3, 0.25), turn)
    options = smpl(tmp_path, lying, Z_UP_SMPL)
    raw = read_motion(tmp_path / "walk.npz", options)
    assert "the body lies along -y, assuming that z points up; if it stands, set up=-y" in raw.notes[0]
    np.testing.assert_allclose(raw.positions["neck"][:, 2], lying.landmarks["neck"][:, 2], atol=1e-6)


def test_an_ambiguous_vertical_axis_requires_up(tmp_path):
    """Steps on the spot far from the origin."""
    spot = placed((5.0, 5.0, 5.0))
    options = smpl(tmp_path, spot, Y_UP_SMPL)
    assert "set up=y or up=z" in error_message(tmp_path / "walk.npz", options)
    standing = read_motion(tmp_path / "walk.npz", ReadOptions(smpl=options.smpl, up="y"))
    for name, at in spot.landmarks.items():  # across, a treadmill may be taken away
        np.testing.assert_allclose(standing.positions[name][:, 2], at[:, 2], atol=1e-6)
    lying = read_motion(tmp_path / "walk.npz", ReadOptions(smpl=options.smpl, up="z"))
    assert np.ptp([at[0, 2] for at in lying.positions.values()]) < 0.7


@pytest.mark.parametrize(("scale", "unit"), [(10.0, 0.1), (100.0, 0.01), (1000.0, 0.001)])
def test_a_root_in_another_unit_than_the_body(tmp_path, scale, unit):
    options = smpl(tmp_path, WALK, Z_UP_SMPL, scale)
    message = error_message(tmp_path / "walk.npz", options)
    assert "m/s but its feet never stand" in message and f"set unit={unit:g}, " in message
    assert ("set unit=1)" in message) == (scale == 10.0)  # 11 m/s: a skier
    check_walk(read_motion(tmp_path / "walk.npz", ReadOptions(smpl=options.smpl, unit=unit)), WALK)


@pytest.mark.parametrize("speed", [0.0, 0.4, 1.1, 2.5])
def test_a_root_in_metres_is_accepted(tmp_path, speed):
    some = walk(60, rate=60.0, speed=speed)
    options = smpl(tmp_path, some, Z_UP_SMPL)
    read_motion(tmp_path / "walk.npz", options)


def test_betas_of_every_frame(tmp_path):
    """Betas per frame are averaged. The body model's 2 shape parameters make it 10 % taller."""
    betas = np.zeros((60, 10))
    betas[:, 0] = 1.0
    model = body_model(tmp_path)
    tall = read_motion(amass(tmp_path / "a.npz", betas=betas[0]), ReadOptions(smpl=model))
    rows = read_motion(amass(tmp_path / "b.npz", betas=betas), ReadOptions(smpl=model))
    np.testing.assert_array_equal(rows.positions["left_ankle"], tall.positions["left_ankle"])
    assert rows.notes == ()
    betas[:30, 0], betas[:, 1] = 0.5, np.linspace(7, 8, 60)
    mixed = read_motion(amass(tmp_path / "c.npz", betas=betas), ReadOptions(smpl=model))
    assert "betas change by up to 1 over the frames" in mixed.notes[0]
    mean = read_motion(amass(tmp_path / "d.npz", betas=betas.mean(axis=0)), ReadOptions(smpl=model))
    np.testing.assert_allclose(mixed.positions["left_ankle"], mean.positions["left_ankle"], atol=1e-12)
    assert "betas has shape (7, 10)" in error_message(amass(tmp_path / "e.npz", betas=np.zeros((7, 10))),
                                                  ReadOptions(smpl=model))  # fmt: skip
    assert "no betas" in read_motion(amass(tmp_path / "f.npz", betas=None), ReadOptions(smpl=model)).notes[0]


class Gender:
    """Stands for a class of another program: unpickling it would run code."""

    def __reduce__(self):
        return (pytest.fail, ("a pickle was executed",))


@pytest.mark.parametrize(
    ("stored", "gender"),
    [
        ("male", "male"),
        ("M", "male"),
        ("F", "female"),
        (b"female", "female"),
        (b"M", "male"),
        ("b'male'", "male"),
        (np.array(["f"]), "female"),
        (np.array("male", dtype=object), "male"),
        (np.array(b"female", dtype=object), "female"),
        (np.array(["F"], dtype=object), "female"),
        ("neutral", "neutral"),
        ("unknown", "neutral"),
        ("", "neutral"),
    ],
)
def test_genders_choose_the_model(tmp_path, stored, gender):
    model = body_model(tmp_path)
    for name in ("male", "female", "neutral"):
        (tmp_path / "models" / name).mkdir(parents=True)
        (tmp_path / "models" / name / "model.npz").write_bytes(Path(model).read_bytes())
    raw = read_motion(amass(tmp_path / "a.npz", gender=stored), ReadOptions(smpl=str(tmp_path / "models")))
    assert raw.subject.startswith(gender)


def test_pickles_are_not_executed(tmp_path):
    model = body_model(tmp_path)
    path = amass(tmp_path / "a.npz", gender=np.array(Gender(), dtype=object))
    with pytest.raises(pytest.fail.Exception):
        pickle.loads(pickle.dumps(Gender()))
    assert read_motion(path, ReadOptions(smpl=model)).subject.startswith("neutral")
    path = amass(tmp_path / "b.npz", betas=np.array([Gender()], dtype=object))
    assert "betas is a pickled object" in error_message(path, ReadOptions(smpl=model))


def test_cases_of_smpl():
    model = ReadOptions(smpl=str(data_file("cases/12_wrong_up_axis/model.npz")))
    truth = read_motion(data_file("cases/08_root_in_another_unit/trans_m.npz"), model)
    metres = ReadOptions(smpl=model.smpl, unit=0.01)
    path = data_file("cases/08_root_in_another_unit/trans_cm.npz")
    assert "set unit=0.01" in error_message(path, model)
    for raw in (read_motion(data_file("cases/12_wrong_up_axis/y_up.npz"), model), read_motion(path, metres)):
        for name, at in truth.positions.items():
            np.testing.assert_allclose(raw.positions[name], at, atol=1e-3)
