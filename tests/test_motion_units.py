"""Rates, units, angles and vertical axes of skeleton files: AMASS, ASF/AMC, OpenSim; and options that decide."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from conftest import data_file
from scipy.spatial.transform import Rotation
from test_bvh_files import check_walk
from test_retargeting_readers import amass, body_model, complaint
from walker import JOINTS, NAMES, PARENTS, Y_UP, Walk, bvh, markers, trc, walk

from muscle_torch.embodiments import make_embodiment
from muscle_torch.motion import generate
from muscle_torch.retargeting import READERS, ReadOptions, read_motion

WALK = walk(60, rate=60.0)
SMPL = {"Hips": 0, "Spine": 3, "Spine1": 9, "Neck": 12, "Head": 15} | {
    f"{side}{name}": index + (side == "Right")
    for side in ("Left", "Right")
    for name, index in (("UpLeg", 1), ("Leg", 4), ("Foot", 7), ("ToeBase", 10), ("Shoulder", 13), ("Arm", 16),
                        ("ForeArm", 18), ("Hand", 20))
}  # fmt: skip
SMPL_PARENTS = [-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19]


def smpl(folder, walk: Walk, world: np.ndarray, scale: float = 1.0, **changes) -> ReadOptions:
    """AMASS-like file walk.npz of the walk and the body model that it needs; world: the file's axes."""
    count = len(walk.positions)
    turns = np.tile(np.eye(3), (count, 22, 1, 1))
    template = np.zeros((22, 3))
    for name, index in SMPL.items():
        joint = NAMES.index(name)
        parent = PARENTS[joint]
        own = world.T @ walk.turns[:, joint] @ Y_UP
        above = np.swapaxes(world.T @ walk.turns[:, parent] @ Y_UP, 1, 2) if parent >= 0 else np.eye(3)
        turns[:, index] = above @ own
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
    """Steps on the spot, turned about the world's origin and then shifted [m]."""
    spot, turn = walk(60, rate=60.0, speed=0.0), np.eye(3) if turn is None else turn
    return Walk(spot.rate, spot.positions @ turn.T + shift, turn @ spot.turns)


def test_the_floor_shows_the_vertical_axis_of_steps_on_the_spot(tmp_path):
    """Standing in a world whose y points up, the feet at y = 0; or lying at z = 0 in one whose z does."""
    standing = placed((0.0, -0.6, 0.0))  # the file's z is its -y: 0.6 m from the origin
    options = smpl(tmp_path, standing, Y_UP_SMPL)
    raw = read_motion(tmp_path / "walk.npz", options)
    assert "y is taken for the vertical axis" in raw.notes[0]
    for name, at in standing.landmarks.items():
        np.testing.assert_allclose(raw.positions[name][:, 2], at[:, 2], atol=1e-6)
    turn = Rotation.from_euler("x", 90, degrees=True).as_matrix()  # the head towards -y
    lying = placed((0.0, 0.3, 0.25), turn)
    options = smpl(tmp_path, lying, Z_UP_SMPL)
    raw = read_motion(tmp_path / "walk.npz", options)
    assert "the body lies along -y if z points up; if it stands, set up=-y" in raw.notes[0]
    np.testing.assert_allclose(raw.positions["neck"][:, 2], lying.landmarks["neck"][:, 2], atol=1e-6)


def test_a_vertical_axis_that_nothing_shows_is_asked_for(tmp_path):
    """Steps on the spot far from the origin."""
    spot = placed((5.0, 5.0, 5.0))
    options = smpl(tmp_path, spot, Y_UP_SMPL)
    assert "set up=y or up=z" in complaint(tmp_path / "walk.npz", options)
    standing = read_motion(tmp_path / "walk.npz", ReadOptions(smpl=options.smpl, up="y"))
    for name, at in spot.landmarks.items():  # across, a treadmill may be taken away
        np.testing.assert_allclose(standing.positions[name][:, 2], at[:, 2], atol=1e-6)
    lying = read_motion(tmp_path / "walk.npz", ReadOptions(smpl=options.smpl, up="z"))
    assert np.ptp([at[0, 2] for at in lying.positions.values()]) < 0.7


@pytest.mark.parametrize(("scale", "unit"), [(10.0, 0.1), (100.0, 0.01), (1000.0, 0.001)])
def test_a_root_in_another_unit_than_the_body(tmp_path, scale, unit):
    options = smpl(tmp_path, WALK, Z_UP_SMPL, scale)
    message = complaint(tmp_path / "walk.npz", options)
    assert "m/s on feet that never stand" in message and f"set unit={unit:g}, " in message
    assert ("set unit=1)" in message) == (scale == 10.0)  # 11 m/s: a skier
    check_walk(read_motion(tmp_path / "walk.npz", ReadOptions(smpl=options.smpl, unit=unit)), WALK)


@pytest.mark.parametrize("speed", [0.0, 0.4, 1.1, 2.5])
def test_a_root_in_metres_is_not_doubted(tmp_path, speed):
    some = walk(60, rate=60.0, speed=speed)
    options = smpl(tmp_path, some, Z_UP_SMPL)
    read_motion(tmp_path / "walk.npz", options)


def test_nobody_is_faster_than_a_sprinter(tmp_path):
    """A rate of 1200 instead of 60 Hz: 22 m/s."""
    path = tmp_path / "walk.bvh"
    path.write_text(bvh(walk(400, rate=60.0)))
    message = complaint(path, ReadOptions(rate=1200.0))
    assert "no person runs faster than 12.5" in message and "set rate= or unit=" in message


def test_betas_of_every_frame(tmp_path):
    """One row a frame is one shape: its mean. The body model of 2 shape parameters makes 10 % taller."""
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
    assert "betas has shape (7, 10)" in complaint(amass(tmp_path / "e.npz", betas=np.zeros((7, 10))),
                                                  ReadOptions(smpl=model))  # fmt: skip
    assert "no betas" in read_motion(amass(tmp_path / "f.npz", betas=None), ReadOptions(smpl=model)).notes[0]


class Gender:
    """Stands in for a class of another program: loading its pickle would run code."""

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
    assert "betas is a pickled object" in complaint(path, ReadOptions(smpl=model))


# ASF/AMC

ASF_BONES = [  # bone, parent, direction and length from the parent's end [inch], joint that turns it
    ("lhipjoint", "root", (1.8, -0.6, 0.0), "Hips"), ("lfemur", "lhipjoint", (0.0, -8.4, 0.0), "LeftUpLeg"),
    ("ltibia", "lfemur", (0.0, -8.0, 0.0), "LeftLeg"), ("lfoot", "ltibia", (0.0, -1.2, 2.6), "LeftFoot"),
    ("rhipjoint", "root", (-1.8, -0.6, 0.0), "Hips"), ("rfemur", "rhipjoint", (0.0, -8.4, 0.0), "RightUpLeg"),
    ("rtibia", "rfemur", (0.0, -8.0, 0.0), "RightLeg"), ("rfoot", "rtibia", (0.0, -1.2, 2.6), "RightFoot"),
    ("thorax", "root", (0.0, 10.0, 0.0), "Spine1"), ("upperneck", "thorax", (0.0, 2.0, 0.4), "Neck"),
    ("lclavicle", "thorax", (3.6, -0.4, 0.2), "LeftShoulder"), ("lhumerus", "lclavicle", (5.6, 0.0, 0.0), "LeftArm"),
    ("lwrist", "lhumerus", (5.0, 0.0, 0.0), "LeftForeArm"), ("lhand", "lwrist", (1.0, 0.0, 0.0), "LeftHand"),
    ("rclavicle", "thorax", (-3.6, -0.4, 0.2), "RightShoulder"),
    ("rhumerus", "rclavicle", (-5.6, 0.0, 0.0), "RightArm"),
    ("rwrist", "rhumerus", (-5.0, 0.0, 0.0), "RightForeArm"), ("rhand", "rwrist", (-1.0, 0.0, 0.0), "RightHand"),
]  # fmt: skip
INCH = 0.0254
UP_FROM_Y = {"y": np.eye(3), "z": np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])}


def asf_amc(folder, order="TX TY TZ RX RY RZ", axis="XYZ", dof="rx ry rz", angle="", up="y", header=""):
    """The walk on a skeleton of CMU's bones, its angles in the order and unit that the headers state."""
    turned = UP_FROM_Y[up]
    degrees = angle != "RADIANS"
    asf = [":version 1.10", ":name VICON", ":units", " mass 1.0", " length 1.0", " angle deg", ":root",
           f" order {order}", f" axis {axis}", " position 0 0 0", " orientation 0 0 0", ":bonedata"]  # fmt: skip
    for bone, _, offset, _ in ASF_BONES:
        length = np.linalg.norm(offset)
        along = " ".join(map(str, turned @ offset / length))
        asf += ["begin", f"name {bone}", f"direction {along}", f"length {length}", f"axis 10 20 30 {axis}"]
        asf += [f"dof {dof}", "end"]
    asf += [":hierarchy", "begin", *(f"{parent} {bone}" for bone, parent, _, _ in ASF_BONES), "end"]
    (folder / "walk.asf").write_text("\n".join(asf))
    to_file = turned @ Y_UP.T  # the walker's axes to the file's
    world = {joint: to_file @ WALK.turns[:, NAMES.index(joint)] @ to_file.T for joint in NAMES}
    own = Rotation.from_euler(axis.lower(), [10, 20, 30], degrees=True).as_matrix()
    joints = {"root": "Hips"} | {bone: joint for bone, _, _, joint in ASF_BONES}
    lines = [*([f":{angle}"] if angle else []), *([header] if header else [])]
    columns = {}
    for bone, parent in [("root", ""), *((bone, parent) for bone, parent, _, _ in ASF_BONES)]:
        above = np.swapaxes(world[joints[parent]], 1, 2) if parent else np.eye(3)
        local = above @ world[joints[bone]]
        frame = np.eye(3) if bone == "root" else own
        turns = Rotation.from_matrix(frame.T @ local @ frame).as_euler(axis.lower(), degrees=degrees)
        values = {f"r{letter.lower()}": turns[:, i] for i, letter in enumerate(axis)}
        moved = WALK.positions[:, 0] @ to_file.T / INCH
        values |= {f"t{letter}": moved[:, i] for i, letter in enumerate("xyz")}
        names = order.lower().split() if bone == "root" else dof.split()
        columns[bone] = np.stack([values[name] for name in names], axis=1)
    for frame in range(len(WALK.positions)):
        lines.append(str(frame + 1))
        lines += [f"{bone} " + " ".join(f"{v:.9f}" for v in rows[frame]) for bone, rows in columns.items()]
    (folder / "walk.amc").write_text("\n".join(lines) + "\n")
    return folder / "walk.amc"


def asf_truth() -> dict[str, np.ndarray]:
    """Bone -> where it ends (T, 3) [m]."""
    ends = {"root": WALK.positions[:, 0]}
    for bone, parent, offset, joint in ASF_BONES:
        turn = WALK.turns[:, NAMES.index(joint)]
        ends[bone] = ends[parent] + turn @ (Y_UP @ np.array(offset) * INCH)
    return ends


@pytest.mark.parametrize("up", ["y", "z"])
@pytest.mark.parametrize("angle", ["", "DEGREES", "RADIANS"])
@pytest.mark.parametrize(
    ("order", "axis", "dof"),
    [
        ("TX TY TZ RX RY RZ", "XYZ", "rx ry rz"),
        ("RZ RY RX TX TY TZ", "ZYX", "rz ry rx"),
        ("TZ TX TY RY RZ RX", "YZX", "ry rx rz"),
    ],
)
def test_orders_and_units_of_asf_amc(tmp_path, order, axis, dof, angle, up):
    raw = read_motion(asf_amc(tmp_path, order, axis, dof, angle, up))
    ends = asf_truth()
    for landmark, bone in (
        ("left_knee", "lfemur"),
        ("right_toe", "rfoot"),
        ("left_wrist", "lwrist"),
        ("neck", "thorax"),
    ):
        np.testing.assert_allclose(raw.positions[landmark], ends[bone], atol=1e-6)
    for name, turns in WALK.orientations.items():
        np.testing.assert_allclose(raw.orientations[name], turns, atol=1e-6)
    assert raw.rate == 120 and bool(raw.notes) == (up == "z")


def test_rates_and_translations_of_amc(tmp_path):
    path = asf_amc(tmp_path, header=":SAMPLES-PER-SECOND 60")
    assert read_motion(path).rate == 60 and read_motion(path, ReadOptions(rate=90.0)).rate == 90
    skeleton = tmp_path / "walk.asf"
    skeleton.write_text(skeleton.read_text().replace("dof rx ry rz", "dof rx ry rz l", 1))
    path.write_text("\n".join(f"{line} 0.5" if line.startswith("lhipjoint") else line
                              for line in path.read_text().splitlines()))  # fmt: skip
    assert read_motion(path).notes == ("translations of lhipjoint are left out",)
    skeleton.write_text(skeleton.read_text().replace("order TX TY TZ RX RY RZ", "order TX TY"))
    assert "root order tx ty" in complaint(path)


# OpenSim

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
    assert f"set angle_unit={unit}" in complaint(path)
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
    jump[75:] += 0.4
    path = mot(tmp_path / "d.mot", times=jump)
    assert "no rows between 0.74 and 1.25 s; cut it there, or set rate=" in complaint(path)
    raw = read_motion(path, ReadOptions(rate=100.0))
    assert raw.num_frames == 150 and raw.rate == pytest.approx(100)
    back = np.arange(150) / 100
    back[75:] -= 0.5
    message = complaint(mot(tmp_path / "e.mot", times=back))
    assert "row 75" in message and "sort or cut" in message


def test_a_pelvis_in_millimetres(tmp_path):
    path = mot(tmp_path / "walk.mot", scale=1000.0)
    assert "set unit=0.001" in complaint(path)
    truth = read_motion(mot(tmp_path / "plain.mot"))
    raw = read_motion(path, ReadOptions(unit=0.001))
    np.testing.assert_allclose(raw.positions["left_toe"], truth.positions["left_toe"], atol=1e-9)


# Options


def written(folder, suffix: str):
    """One walk in each format; whether its lengths scale with unit=."""
    path = folder / f"walk{suffix}"
    if suffix == ".bvh":
        path.write_text(bvh(WALK, scale=1.0))
    elif suffix == ".amc":
        asf_amc(folder)
    elif suffix in (".mot", ".sto"):
        mot(path)
    elif suffix == ".trc":
        path.write_text(trc(markers(WALK), 60.0, unit="m", scale=1.0))
    elif suffix == ".c3d":
        pytest.importorskip("ezc3d", reason="pip install 'muscle_torch[biomech]'")
        from c3d_writer import write_c3d

        write_c3d(path, markers(WALK), 60.0, units="m")
    else:
        smpl(folder, WALK, Z_UP_SMPL)
    return path


@pytest.mark.parametrize("suffix", READERS)
def test_the_rate_that_the_user_sets_decides_in_every_format(tmp_path, suffix):
    path = written(tmp_path, suffix)
    options = ReadOptions(smpl=str(tmp_path / "model.npz"))
    plain = read_motion(path, options)
    raw = read_motion(path, ReadOptions(smpl=options.smpl, rate=45.0))
    assert raw.rate == pytest.approx(45.0) != plain.rate and raw.num_frames == plain.num_frames
    np.testing.assert_allclose(raw.positions["left_knee"], plain.positions["left_knee"], atol=1e-9)


@pytest.mark.parametrize("suffix", READERS)
def test_the_unit_that_the_user_sets_decides_in_every_format(tmp_path, suffix):
    """1.1 of a metre: of everything, or of the root's translation in formats whose body has a size of its own."""
    path = written(tmp_path, suffix)
    unit = 1.1 * INCH if suffix == ".amc" else 1.1
    smpl_file = str(tmp_path / "model.npz")
    plain, raw = (read_motion(path, ReadOptions(smpl=smpl_file, unit=u)).positions["pelvis"] for u in (0.0, unit))
    way, longer = (np.linalg.norm((at[-1] - at[0])[:2]) for at in (plain, raw))
    assert longer == pytest.approx(1.1 * way, rel=0.03)


def test_rate_and_unit_decide_for_our_own_clips(tmp_path):
    clip = generate("walk", make_embodiment("full_body"))[0]
    path = clip.save(tmp_path / "walk.npz")
    plain = read_motion(path)
    raw = read_motion(path, ReadOptions(rate=50.0, unit=1.1))
    assert raw.rate == 50 and raw.num_frames == plain.num_frames
    way, longer = (np.linalg.norm((at[-1] - at[0])[:2]) for at in (plain.positions["pelvis"], raw.positions["pelvis"]))
    assert longer == pytest.approx(1.1 * way, rel=0.02)


def test_cases_of_smpl_and_opensim(tmp_path):
    model = ReadOptions(smpl=str(data_file("cases/12_wrong_up_axis/model.npz")))
    truth = read_motion(data_file("cases/08_root_in_another_unit/trans_m.npz"), model)
    metres = ReadOptions(smpl=model.smpl, unit=0.01)
    path = data_file("cases/08_root_in_another_unit/trans_cm.npz")
    assert "set unit=0.01" in complaint(path, model)
    for raw in (read_motion(data_file("cases/12_wrong_up_axis/y_up.npz"), model), read_motion(path, metres)):
        for name, at in truth.positions.items():
            np.testing.assert_allclose(raw.positions[name], at, atol=1e-3)
    truth = read_motion(data_file("cases/06_mot_degrees_without_flag/plain.mot"))
    for name in ("flag_true", "no_flag", "simm_header"):
        raw = read_motion(data_file(f"cases/06_mot_degrees_without_flag/{name}.mot"))
        np.testing.assert_allclose(raw.positions["left_toe"], truth.positions["left_toe"], atol=1e-6)
    for name in ("wrong_no", "wrong_yes"):
        assert "set angle_unit=" in complaint(data_file(f"cases/06_mot_degrees_without_flag/{name}.mot"))
