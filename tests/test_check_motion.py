"""tools/check_motion.py from the command line."""

import json

import numpy as np
import pytest
from commands import script

from muscle_torch.embodiments import make_embodiment
from muscle_torch.errors import InputError
from muscle_torch.motion import MotionClip, generate

main = script("tools/check_motion.py").main


def hovering(path) -> MotionClip:
    """Return a standing body 10 cm above the floor."""
    body = make_embodiment("fullbody")
    (clip,) = generate("sway", body)
    qpos = np.tile(clip.qpos[0], (40, 1))
    qpos[:, 2] += 0.1
    hover = MotionClip("hover", qpos, 100.0, body.joint_names, body.name, body.model_version)
    hover.save(path)
    return hover


def test_a_table_and_figures_of_each_motion(tmp_path, capsys):
    output = tmp_path / "x.json"
    assert main(["motion=[sway,step_in_place]", f"output={output}", "infeasible=reject"]) == 0
    printed = capsys.readouterr()
    assert "sway" in printed.out and "step_in_place" in printed.out and not printed.err
    clips = json.loads(output.read_text())["clips"]
    assert [clip["motion"] for clip in clips] == ["sway", "step_in_place"]
    assert all(clip["zmp_distance_p95"] < 0.005 and clip["shift_max"] == 0.0 for clip in clips)


def test_the_message_states_why_a_motion_is_infeasible(tmp_path, capsys):
    hovering(tmp_path / "hover.npz")
    assert main([f"motion={tmp_path}", "filter=true"]) == 0
    assert "hover: no body can follow it: the ground must carry the body in frames 0 to 39" in capsys.readouterr().err
    assert main([f"motion={tmp_path}", "infeasible=reject"]) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["body=bimanual"], "MyoBimanualArm has no feet"),
        (["infeasible=rejct"], "did you mean 'reject'"),
        (["motion=wlak"], "did you mean 'walk'"),
    ],
)
def test_wrong_options_are_reported(words, message):
    with pytest.raises(InputError) as error:
        main(words)
    assert message in str(error.value) and "\n" not in str(error.value)
