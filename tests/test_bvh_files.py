"""One walk in BVH files of many programs: every pose of zero rotations gives the same motion."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from conftest import data_file
from test_retargeting_readers import error_message
from walker import NAMES, Y_UP, Z_UP, Walk, about, bones_along_x, bvh, standing_axes, walk

from muscle_torch.errors import InputError
from muscle_torch.retargeting import (
    THRESHOLDS,
    RawMotion,
    ReadOptions,
    Retargeter,
    RetargetOptions,
    read_motion,
    reasons,
)
from muscle_torch.retargeting.readers.axes import body_axes
from muscle_torch.tools.retarget import main as retarget

WALK = walk()
FACING_LEFT = Y_UP @ about("y", 90)


def angles(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the angles between rotations (T, 3, 3) [deg]."""
    trace = np.einsum("tji,tji->t", one, other)
    return np.degrees(np.arccos(np.clip((trace - 1) / 2, -1, 1)))


def check_walk(raw: RawMotion, truth: Walk = WALK, turn: np.ndarray | None = None) -> None:
    """Check positions within 0.1 mm and orientations within 0.05 degrees of the walk rotated by `turn`."""
    turn = np.eye(3) if turn is None else turn
    assert raw.num_frames == len(truth.positions) and raw.rate == pytest.approx(truth.rate, rel=1e-5)
    for name, at in truth.landmarks.items():
        np.testing.assert_allclose(raw.positions[name], at @ turn.T, atol=1e-4, err_msg=name)
    for name, turns in truth.orientations.items():
        assert angles(raw.orientations[name], turn @ turns).max() < 0.05, name


@pytest.mark.parametrize("world", [Y_UP, Z_UP], ids=["y up", "z up"])
@pytest.mark.parametrize(
    "axes",
    [
        pytest.param(standing_axes(Y_UP), id="facing z"),
        pytest.param(standing_axes(Y_UP @ about("y", 180)), id="facing backwards"),
        pytest.param(standing_axes(FACING_LEFT), id="facing left"),
        pytest.param(standing_axes(Y_UP @ about("y", 30)), id="facing between the axes"),
        pytest.param(standing_axes(Y_UP @ about("x", 90)), id="lying"),
        pytest.param(standing_axes(Z_UP), id="z up"),
        pytest.param(bones_along_x, id="bones along x"),
    ],
)
def test_anatomical_axes_do_not_depend_on_the_pose_of_zero_rotations(tmp_path, axes, world):
    path = tmp_path / "walk.bvh"
    path.write_text(bvh(WALK, axes, world))
    raw = read_motion(path)
    check_walk(raw)
    assert any("vertical axis assumed to be z" in note for note in raw.notes) == (world is Z_UP)
    # Only a standing pose shows the flat foot and the upright trunk.
    assert bool(raw.rest) == (axes is not bones_along_x)
    for name, at in raw.rest.items():
        joint = {"pelvis": "Hips"}.get(name)
        assert joint or np.linalg.norm(at - raw.rest["pelvis"]) < 1.1, name


def test_a_row_of_bones_is_fitted_as_well_as_a_standing_pose(tmp_path):
    """RMSE of the landmarks, with feet whose rest angle the file does not show. (The walker's feet slide in both.)"""
    retargeter = Retargeter("fullbody", RetargetOptions(dynamic=None))  # what the fit alone does
    qualities = {}
    for name, axes in (("standing", standing_axes(Y_UP)), ("row", bones_along_x)):
        (tmp_path / f"{name}.bvh").write_text(bvh(walk(60), axes))
        qualities[name] = retargeter(read_motion(tmp_path / f"{name}.bvh")).quality
    assert len({tuple(reason.split()[0] for reason in reasons(q, THRESHOLDS)) for q in qualities.values()}) == 1
    assert qualities["row"].rmse == pytest.approx(qualities["standing"].rmse, abs=1e-3)


def test_axes_of_the_skeleton_of_lafan1():
    """The spine leaves its Hips 33 degrees off the vertical."""
    hips = np.array([0.103456, 1.857829, 0.0])
    axes = body_axes(np.array([0.0, 0.0, 21.097]), np.array([6.901968, -2.603733, 0.0]) - hips)
    np.testing.assert_array_equal(axes, np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]))


@pytest.mark.parametrize("dummy", ["", "Reference"])
@pytest.mark.parametrize("channels", ["root", "all", "zero", "difference"])
@pytest.mark.parametrize("axes", [standing_axes(Y_UP), bones_along_x], ids=["standing", "bones along x"])
def test_joints_with_positions_of_their_own(tmp_path, dummy, channels, axes):
    path = tmp_path / "walk.bvh"
    path.write_text(bvh(WALK, axes, dummy=dummy, channels=channels))
    raw = read_motion(path)
    check_walk(raw)
    assert len(raw.notes) == 1 and "unit of length assumed to be 0.01 m" in raw.notes[0]  # no treadmill


def number_commas(text: str) -> str:
    return "\n".join(line if line.startswith("Frames") else line.replace(".", ",") for line in text.splitlines())


def broken_lines(text: str) -> str:
    head, _, table = text.partition("Frame Time: 0.03333333\n")
    return f"{head}Frame Time: 0.03333333\n" + "\n".join(
        f"{line[:300].rpartition(' ')[0]}\n{line[len(line[:300].rpartition(' ')[0]) :]}" for line in table.splitlines()
    )


@pytest.mark.parametrize(
    "spell",
    [
        pytest.param(str.upper, id="capitals"),
        pytest.param(str.lower, id="small letters"),
        pytest.param(
            lambda text: text.replace("rotation", "Rotation").replace("position", "Position"), id="camel case"
        ),
        pytest.param(lambda text: text.replace("Frame Time: ", "Frame Time:"), id="no blank after Frame Time:"),
        pytest.param(lambda text: text.replace("Frames: ", "Frames:"), id="no blank after Frames:"),
        pytest.param(lambda text: text.replace("Frames: ", "Frames "), id="no colon"),
        pytest.param(lambda text: text.replace("\n{", " {"), id="brace on the line of the name"),
        pytest.param(lambda text: text.replace("\n", "\r\n"), id="lines of Windows"),
        pytest.param(lambda text: text.replace("\n", "\n\n"), id="empty lines"),
        pytest.param(number_commas, id="decimal commas"),
        pytest.param(broken_lines, id="frames broken over lines"),
    ],
)
def test_spellings(tmp_path, spell):
    path = tmp_path / "walk.bvh"
    path.write_text(spell(bvh(WALK)), newline="")
    check_walk(read_motion(path))


SIDED = {"Shoulder": "Clavicle", "Arm": "UpperArm", "ForeArm": "Forearm", "Hand": "Hand", "UpLeg": "Thigh",
         "Leg": "Calf", "Foot": "Foot", "ToeBase": "Toe0"}  # fmt: skip
BANDAI = {"Shoulder": "Shoulder", "Arm": "UpperArm", "ForeArm": "LowerArm", "Hand": "Hand", "UpLeg": "UpperLeg",
          "Leg": "LowerLeg", "Foot": "Foot", "ToeBase": "Toes"}  # fmt: skip
SMPL = {"Shoulder": "Collar", "Arm": "Shoulder", "ForeArm": "Elbow", "Hand": "Wrist", "UpLeg": "Hip", "Leg": "Knee",
        "Foot": "Ankle", "ToeBase": "Foot"}  # fmt: skip
BLENDER = {"Shoulder": "shoulder", "Arm": "upper_arm", "ForeArm": "forearm", "Hand": "hand", "UpLeg": "thigh",
           "Leg": "shin", "Foot": "foot", "ToeBase": "toe"}  # fmt: skip
POSER = {"Shoulder": "Collar", "Arm": "Shldr", "ForeArm": "ForeArm", "Hand": "Hand", "UpLeg": "Thigh", "Leg": "Shin",
         "Foot": "Foot", "ToeBase": "Toe"}  # fmt: skip


@pytest.mark.parametrize(
    ("centre", "left", "right", "table"),
    [
        pytest.param("mixamorig:{}", "mixamorig:Left{}", "mixamorig:Right{}", None, id="mixamo"),
        pytest.param("mixamorig{}", "mixamorigLeft{}", "mixamorigRight{}", None, id="mixamo without a colon"),
        pytest.param("Char01 {}", "Char01 Left{}", "Char01 Right{}", None, id="a blank"),
        pytest.param("Model_{}", "Model_Left{}", "Model_Right{}", None, id="an underscore"),
        pytest.param("Bip01 {}", "Bip01 L {}", "Bip01 R {}", SIDED, id="biped"),
        pytest.param("Bip001_{}", "Bip001_L_{}", "Bip001_R_{}", SIDED, id="biped with underscores"),
        pytest.param("{}", "{}_L", "{}_R", BANDAI, id="bandai namco"),
        pytest.param("{}", "L_{}", "R_{}", SMPL, id="smpl"),
        pytest.param("{}", "{}.L", "{}.R", BLENDER, id="blender"),
        pytest.param("{}", "l{}", "r{}", POSER, id="poser"),
        pytest.param("{}", "Left{}", "Right{}", SMPL, id="joints called by what they join"),
    ],
)
def test_names_of_other_programs(tmp_path, centre, left, right, table):
    def renamed(match: re.Match) -> str:
        side = re.match("Left|Right|", match[2])[0]
        word = match[2].removeprefix(side)
        form = {"Left": left, "Right": right, "": centre}[side]
        return f"{match[1]} {form.format(table[word] if table and side else word)}\n"

    (tmp_path / "walk.bvh").write_text(re.sub(r"(ROOT|JOINT) (.*)\n", renamed, bvh(WALK)))
    check_walk(read_motion(tmp_path / "walk.bvh"))


@pytest.mark.parametrize("names", ["{}", "{}:"], ids=["same names", "names of the subjects"])
def test_two_bodies_in_one_file_are_not_mixed(tmp_path, names):
    head, _, motion = bvh(WALK).partition("MOTION\n")
    head = head.removeprefix("HIERARCHY\n")
    heads = [
        re.sub(r"(ROOT|JOINT) ", rf"\1 {names.format(who) if ':' in names else ''}", head) for who in ("Ann", "Bob")
    ]
    lines = motion.splitlines()
    rows = [f"{row} {row}" for row in lines[2:]]
    (tmp_path / "walk.bvh").write_text("\n".join(["HIERARCHY", *heads, "MOTION", *lines[:2], *rows]))
    assert "export each to a separate file" in error_message(tmp_path / "walk.bvh")


def test_frame_time_zero_needs_the_rate(tmp_path):
    path = tmp_path / "walk.bvh"
    path.write_text(bvh(WALK).replace("Frame Time: 0.03333333", "Frame Time: 0"))
    assert "Frame Time of 0 s; set rate=" in error_message(path)
    check_walk(read_motion(path, ReadOptions(rate=30.0)))


def test_the_user_sets_the_vertical_axis(tmp_path):
    """It is used even if wrong: the body then lies within 0.5 m of its lowest point."""
    path = tmp_path / "walk.bvh"
    path.write_text(bvh(WALK, world=Z_UP))
    check_walk(read_motion(path, ReadOptions(up="z")))
    lying = read_motion(path, ReadOptions(up="y"))
    assert np.ptp([at[0, 2] for at in lying.positions.values()]) < 0.7
    assert "up='w' is not an axis" in error_message(path, ReadOptions(up="w"))


def test_a_body_that_lies_stays_lying(tmp_path):
    """Rest pose along y, body along z: unchanged, with a note on the alternative."""
    turn = about("y", -90)  # on the back, the head towards -x
    lying = replace(WALK, positions=WALK.positions @ turn.T, turns=turn @ WALK.turns)
    still = lying.positions - lying.positions[:, :1] * (0.0, 0.0, 1.0) + [0.0, 0.0, 0.2]  # on the floor
    lying = replace(lying, positions=still)
    path = tmp_path / "lying.bvh"
    path.write_text(bvh(lying))
    raw = read_motion(path)
    check_walk(raw, lying)
    assert any("lies along" in note and "set up=" in note for note in raw.notes)


def test_standing_up_and_lying_down_keeps_the_vertical_axis(tmp_path):
    """A third of the recording on the feet, the rest on the back: the pelvis rises by 0.7 m."""
    turn = about("y", -90)
    positions = np.where(np.arange(90)[:, None, None] < 30, walk(90).positions, walk(90).positions @ turn.T)
    positions[30:] -= positions[30:, :1] - [0.0, 0.0, 0.2]
    turns = np.where(np.arange(90)[:, None, None, None] < 30, walk(90).turns, turn @ walk(90).turns)
    path = tmp_path / "lying.bvh"
    path.write_text(bvh(Walk(30.0, positions, turns)))
    raw = read_motion(path)
    np.testing.assert_allclose(raw.positions["neck"][:, 2], positions[:, NAMES.index("Neck"), 2], atol=1e-4)


def test_mirrored_bodies_are_reported(tmp_path):
    """Swapped sides are not mistaken for a wrong vertical axis."""
    text = bvh(WALK, world=Z_UP)
    swapped = text.replace("Left", "LEFT").replace("Right", "Left").replace("LEFT", "Right")
    path = tmp_path / "walk.bvh"
    path.write_text(swapped)
    message = error_message(path)
    assert "names of left and right are swapped" in message and "left-handed" in message


def test_the_tool_shows_notes_and_takes_the_axis(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "walk.bvh").write_text(bvh(WALK, world=Z_UP))
    words = [f"input={tmp_path / 'in'}", f"output={tmp_path / 'out'}", "figures=false"]
    retarget(words)
    note = "vertical axis assumed to be z (override with up=)"
    assert f"note: walk: {note}" in capsys.readouterr().err
    record = json.loads((tmp_path / "out" / "quality" / "walk.json").read_text())
    assert note in record["notes"]
    retarget([*words, "up=z"])
    record = json.loads((tmp_path / "out" / "quality" / "walk.json").read_text())
    assert not any("vertical axis" in line for line in record["notes"])
    with pytest.raises(InputError, match="up='down' is not an axis"):
        retarget([*words, "up=down"])


TRUTH = "cases/walker_truth_30Hz_60frames.npz"


@pytest.mark.parametrize(
    "name",
    [
        *(f"01_bvh_rest_pose_not_upright/{name}" for name in ("plain", "bones_along_x", "faces_backwards")),
        *(f"02_bvh_root_above_hips/{name}" for name in ("all_joints_six_channels", "reference_root", "zero_offsets")),
        *(f"11_bvh_spelling/{name}" for name in (
            "camel_channels", "decimal_comma", "frame_time_zero", "frames_nospace", "frametime_nospace",
            "lower_channels", "lower_keywords", "names_blank", "suffix_L", "upper_channels")),
        "12_wrong_up_axis/zup",
    ],
)  # fmt: skip
def test_cases_of_other_programs_against_independent_kinematics(name):
    rate = 30.0 if name.endswith("frame_time_zero") else 0.0
    raw = read_motion(data_file(f"cases/{name}.bvh"), ReadOptions(rate=rate))
    with np.load(data_file(TRUTH)) as truth:
        for landmark, at in raw.positions.items():
            if f"pos_{landmark}" in truth:
                np.testing.assert_allclose(at, truth[f"pos_{landmark}"][: len(at)], atol=1e-3)
        for body in ("pelvis", "thorax"):
            turns = raw.orientations[body]
            assert angles(turns, truth[f"ori_{body}"][: len(turns)]).max() < 0.1


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_encodings(tmp_path, encoding):
    path = tmp_path / "walk.bvh"
    path.write_bytes(bvh(WALK).encode(encoding))
    check_walk(read_motion(path))
