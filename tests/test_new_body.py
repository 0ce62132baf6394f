"""A body of one's own from a file: a row, and it trains; no guard and no built-in motion needed."""

import json

import numpy as np
import pytest
from commands import script

from muscle_torch.config import Row, import_object
from muscle_torch.embodiments import EMBODIMENTS, make_embodiment
from muscle_torch.embodiments.mirror import mirror_findings
from muscle_torch.embodiments.options import BodyOptions
from muscle_torch.errors import InputError
from muscle_torch.motion import MotionClip, load_motion
from muscle_torch.storage.checkpoint import load_checkpoint

# A finger of two links. Its motor stands before the muscles, and one of these acts on a joint without a tendon.
BODY = '''
import dataclasses

import mujoco

from muscle_torch.config import key
from muscle_torch.embodiments import Embodiment
from muscle_torch.embodiments.options import BodyOptions


@dataclasses.dataclass(frozen=True)
class FingerOptions(BodyOptions):
    length: float = key(0.3, "of each link", "m")
    strengths: list[float] = key([40.0, 30.0, 20.0], "of the muscles", "N")


def make(options: FingerOptions) -> Embodiment:
    xml = f"""
    <mujoco><option timestep="0.002"/><default><geom contype="0" conaffinity="0" mass="0.1"/>
      <default class="bone"><geom type="capsule" size="0.01"/></default></default><worldbody>
      <body name="base"><site name="base_mimic"/><geom size="0.02"/>
        <body name="near"><joint name="knuckle" axis="0 1 0" range="-90 90" damping="0.05" armature="0.001"/>
          <geom class="bone" fromto="0 0 0 {options.length} 0 0"/>
          <site name="near_mimic" pos="{options.length} 0 0"/>
          <body name="far" pos="{options.length} 0 0">
            <joint name="tip" axis="0 1 0" range="0 100" damping="0.05" armature="0.001"/>
            <geom class="bone" fromto="0 0 0 {options.length} 0 0"/>
            <site name="far_mimic" pos="{options.length} 0 0"/><site name="insertion" pos="0.05 0 -0.02"/>
          </body><site name="origin" pos="0.1 0 -0.02"/></body></body></worldbody>
      <tendon><spatial name="cord"><site site="origin"/><site site="insertion"/></spatial></tendon>
      <actuator><motor name="servo" joint="knuckle" gear="1" ctrlrange="-1 1" ctrllimited="true"/>
        <muscle name="up" joint="knuckle" force="{options.strengths[0]}" gear="-0.02" lengthrange="-0.05 0.05"/>
        <muscle name="down" joint="knuckle" force="{options.strengths[1]}" gear="0.02" lengthrange="-0.05 0.05"/>
        <muscle name="curl" tendon="cord" force="{options.strengths[2]}" lengthrange="0.1 0.3"/></actuator></mujoco>
    """
    def build_spec():
        return mujoco.MjSpec.from_string(xml)

    return Embodiment(
        key="finger",
        name="Finger",
        options=options,
        model=build_spec().compile(),
        model_version="1",
        control_frequency=50.0,
        substeps=10,
        site_names=("base_mimic", "near_mimic", "far_mimic"),
        root_joint=None,
        touch_sensors=(),
        groups={},
        left_right=(),
        build_spec=build_spec,
    )
'''


@pytest.fixture
def finger(tmp_path, monkeypatch):
    """A row for the body in a file of the temporary folder; the folder is the working directory."""
    (tmp_path / "finger.py").write_text(BODY)
    row = Row(f"{tmp_path / 'finger.py'}:make", import_object(f"{tmp_path / 'finger.py'}:FingerOptions"))
    monkeypatch.setitem(EMBODIMENTS, "finger", row)
    monkeypatch.chdir(tmp_path)
    return make_embodiment("finger")


def motion_of(body, path, frames: int = 120) -> str:
    angle = 0.4 * np.sin(np.linspace(0, 4 * np.pi, frames))
    clip = MotionClip(
        name="beckon",
        qpos=np.stack((angle, 0.5 + angle), axis=1).astype(np.float32),
        frequency=body.control_frequency,
        joint_names=body.joint_names,
        embodiment=body.name,
        model_version=body.model_version,
    )
    return str(clip.save(path))


def test_a_body_from_a_file_trains(finger, tmp_path, capsys):
    motion = motion_of(finger, tmp_path / "beckon.npz")
    words = ["task=toy_arm", "embodiment=finger", "embodiment.length=0.25", f"motion={motion}", "num_envs=8"]
    words += ["device=cpu", "threads=1", "ppo.num_steps=16", "max_iterations=2", "experiment=mine"]
    assert script("train.py").main(words) == 0
    stored = load_checkpoint(tmp_path / "runs" / "mine")
    assert stored["embodiment"] == "finger" and stored["embodiment_options"]["length"] == 0.25
    assert stored["action_size"] == 3
    metrics = json.loads((tmp_path / "runs" / "mine" / "eval" / "final" / "metrics.json").read_text())
    assert metrics["num_clips"] == 1 and metrics["err_site_abs"] > 0
    words = ["resume=runs/mine", "max_iterations=3", "evaluate=false"]
    assert script("train.py").main(words) == 0
    again = [*words[1:], "task=toy_arm", "embodiment=finger", f"motion={motion}", "checkpoint=runs/mine", "threads=1"]
    with pytest.raises(InputError, match=r"embodiment_options.*0\.25.*0\.3"):
        script("train.py").main([*again, "num_envs=8", "device=cpu"])


def test_its_motor_and_its_muscle_without_a_tendon_are_told_apart(finger):
    assert finger.muscle_names == ("up", "down", "curl") and finger.motor_names == ("servo",)
    assert finger.muscle_ids.tolist() == [1, 2, 3] and finger.muscle_act_ids.tolist() == [0, 1, 2]
    assert finger.muscle_tendon_ids.tolist() == [-1, -1, 0]
    assert finger.muscle_columns(("curl", "up")).tolist() == [2, 0]
    assert mirror_findings(finger) == []
    longer = make_embodiment("finger", length=0.5, strengths=[1.0, 2.0, 3.0])
    assert longer.model.body("far").pos[0] == 0.5 and longer.model.actuator_gainprm[1:, 2].tolist() == [1.0, 2.0, 3.0]
    assert longer.identity["embodiment_options"] == {"length": 0.5, "strengths": [1.0, 2.0, 3.0]}


def test_mistakes_about_a_body_are_one_line(finger, tmp_path, monkeypatch):
    for motion, message in (
        ("all", "Finger has no generated motions: set motion="),
        ("beckon", "Finger has no generated motions"),
        ("", "motion is empty: set it to a file"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            load_motion(motion, finger)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="Finger has no generated motions: set motion="):
        script("train.py").main(["task=toy_arm", "embodiment=finger", "num_envs=2", "device=cpu", "motion="])
    with pytest.raises(InputError, match=r"'embodiment.lenght' of embodiment=finger, did you mean 'length'"):
        make_embodiment("finger", lenght=0.2)
    with pytest.raises(InputError, match=r"embodiment.length.*could not be converted to Float"):
        make_embodiment("finger", length="long")
    monkeypatch.setitem(EMBODIMENTS, "thumb", EMBODIMENTS["finger"])
    with pytest.raises(InputError, match=r"'thumb': .* builds a body with the key 'finger'"):
        make_embodiment("thumb")
    monkeypatch.setitem(EMBODIMENTS, "ghost", Row("muscle_torch.embodiments.ghost:make", BodyOptions))
    with pytest.raises(InputError, match=r"cannot import 'muscle_torch\.embodiments\.ghost:make'"):
        make_embodiment("ghost")
