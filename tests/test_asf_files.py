"""ASF/AMC files with angles in any order and unit, and with any vertical axis."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from test_retargeting_readers import error_message
from walker import NAMES, Y_UP, walk

from muscle_torch.retargeting import ReadOptions, read_motion

WALK = walk(60, rate=60.0)
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
    """Write the walk on a skeleton with CMU's bones, with angles in the stated order and unit."""
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
    axes_of_bone = Rotation.from_euler(axis.lower(), [10, 20, 30], degrees=True).as_matrix()
    joints = {"root": "Hips"} | {bone: joint for bone, _, _, joint in ASF_BONES}
    lines = [*([f":{angle}"] if angle else []), *([header] if header else [])]
    columns = {}
    for bone, parent in [("root", ""), *((bone, parent) for bone, parent, _, _ in ASF_BONES)]:
        above = np.swapaxes(world[joints[parent]], 1, 2) if parent else np.eye(3)
        local = above @ world[joints[bone]]
        frame = np.eye(3) if bone == "root" else axes_of_bone
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
    """Return the end of each bone (T, 3) [m] by name."""
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
    assert raw.rate == 120 and any("vertical axis" in note for note in raw.notes) == (up == "z")


def test_rates_and_translations_of_amc(tmp_path):
    path = asf_amc(tmp_path, header=":SAMPLES-PER-SECOND 60")
    assert read_motion(path).rate == 60 and read_motion(path, ReadOptions(rate=90.0)).rate == 90
    assert "unit of length assumed to be 0.0" in read_motion(path).notes[0]
    (tmp_path / "other").mkdir()
    assert "no rate stated: assumed 120 Hz" in read_motion(asf_amc(tmp_path / "other")).notes[0]
    options = ReadOptions(unit=INCH, rate=60.0)
    skeleton = tmp_path / "walk.asf"
    skeleton.write_text(skeleton.read_text().replace("dof rx ry rz", "dof rx ry rz l", 1))
    path.write_text("\n".join(f"{line} 0.5" if line.startswith("lhipjoint") else line
                              for line in path.read_text().splitlines()))  # fmt: skip
    assert read_motion(path, options).notes == ("translations of lhipjoint are ignored",)
    skeleton.write_text(skeleton.read_text().replace("order TX TY TZ RX RY RZ", "order TX TY"))
    assert "root order tx ty" in error_message(path)
