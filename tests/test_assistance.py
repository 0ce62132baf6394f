"""Who drives the exoskeleton: profile, myoelectric control, learned policies; and what the device may observe."""

import json
import math

import pytest
import torch
from commands import script
from env_cases import CPU, actions, small_env
from physics_cases import everyone

from muscle_torch.config import RewardCurriculumConfig, load_config
from muscle_torch.embodiments import configured_embodiment
from muscle_torch.envs import make_env
from muscle_torch.envs.actions.assistance import GaitClock, MyoelectricAssistance, ProfileAssistance
from muscle_torch.envs.actions.assistance_options import MyoelectricOptions, ProfileOptions
from muscle_torch.envs.curriculum import RewardCurriculum
from muscle_torch.errors import InputError
from muscle_torch.physics import make_physics

CPU_DEVICE = torch.device("cpu")
PERIOD, STEP = 1.0, 0.002  # [s]


@pytest.fixture(scope="module")
def arm():
    return configured_embodiment(load_config("toy_exo"))


@pytest.fixture(scope="module")
def device_env():
    env = make_env("legs_exo", 2, preset="exo_device", observation={"profile": "exo_personalised"}, **CPU)
    yield env
    env.close()


def test_the_device_observes_neither_muscles_nor_reference(device_env):
    """Other activations, another clip frame, hence another phase and future: the same observation."""
    env = device_env
    assert list(env.observation_layout) == [
        *("device_angle", "device_velocity", "trunk_pitch", "device_torque", "muscle_strength")
    ]
    env.begin()
    for action in actions(env, 3):
        env.advance(action)
    before = env.refresh()
    assert torch.equal(env.refresh(), before) and before.abs().sum() > 0
    state, model = env.physics.state(), env.embodiment.model
    first = 1 + model.nq + model.nv  # after time, pose and velocity
    state["integration"][:, first : first + model.na] = torch.rand(2, model.na, dtype=torch.float64)
    env.physics.load_state(state)
    assert env.physics.field("act").min() > 0 and torch.equal(env.refresh(), before)
    clip, frame = env.goal.clip, env.goal.frame
    env.goal.place(torch.ones(2, dtype=torch.bool), (clip, (frame + 40) % 100))
    assert not torch.equal(env.goal.frame, frame) and torch.equal(env.refresh(), before)


def test_ten_samples_of_the_sensors(device_env):
    assert device_env.observation_size == 10 * (4 + 4 + 2 + 4 + 12)
    assert device_env.action_names == tuple(f"exo_{j}_{s}" for j in ("hip_flexion", "ankle_angle") for s in "rl")


@pytest.mark.parametrize("yaw", [0.0, 1.3])
def test_the_pitch_of_the_trunk_is_the_angle_of_leaning_forward(device_env, yaw):
    """Turned about x by 0.3 rad the body, which faces -y, leans forward; its heading does not matter."""
    env = device_env
    turn = (math.cos(yaw / 2), math.sin(yaw / 2))
    lean = (math.cos(0.15), math.sin(0.15))
    qpos, qvel = torch.from_numpy(env.embodiment.qpos0).float().repeat(2, 1), torch.zeros(2, env.embodiment.num_qvel)
    qpos[:, 3:7] = torch.tensor([turn[0] * lean[0], turn[0] * lean[1], turn[1] * lean[1], turn[1] * lean[0]])
    qvel[:, 3] = 0.7
    env.physics.reset(everyone(env.physics), qpos, qvel)
    columns = env.observation_layout["trunk_pitch"]
    assert env.refresh()[0, columns].tolist() == pytest.approx([0.3, 0.7], abs=1e-6)


def test_a_profile_rises_to_its_peak_and_falls(arm):
    options = ProfileOptions(hip_peak=0.5, hip_time=60, hip_rise=20, hip_fall=10)
    profile = ProfileAssistance(options, arm, 6, CPU_DEVICE)
    phases = torch.tensor([[0.40], [0.50], [0.60], [0.65], [0.70], [-1.0]])
    peak = 0.5 * arm.device.body_mass
    assert profile.desired(phases)[:, 0].tolist() == pytest.approx([0, peak / 2, peak, peak / 2, 0, 0], abs=1e-5)
    wrapped = ProfileAssistance(ProfileOptions(hip_peak=0.5, hip_time=95, hip_rise=20, hip_fall=10), arm, 1, CPU_DEVICE)
    assert wrapped.desired(torch.zeros(1, 1)).item() == pytest.approx(peak / 2)


def test_the_clock_counts_from_peak_to_peak(arm):
    """The elbow swings once a second; the phase is unknown until it has swung from one peak to the next."""
    clock, physics = GaitClock(arm, STEP, 2, CPU_DEVICE), make_physics(arm.model, 2, "cpu", "mujoco", threads=1)
    phases = []
    for step in range(1, 1400):
        angle = 2 * math.pi * step * STEP / PERIOD
        qpos, qvel = 0.8 + 0.4 * math.sin(angle), 0.8 * math.pi / PERIOD * math.cos(angle)
        physics.reset(everyone(physics), torch.full((2, 1), qpos), torch.full((2, 1), qvel))
        phases.append(float(clock.advance(physics)[1, 0]))
    peaks = 0.25, 1.25  # [s]
    known = int(peaks[1] / STEP) + 2
    assert set(phases[: known - 4]) == {-1.0}
    expected = [((step * STEP - peaks[1]) / PERIOD) % 1.0 for step in range(known + 1, 1400)]
    difference = [(a - b + 0.5) % 1.0 - 0.5 for a, b in zip(phases[known:], expected, strict=True)]
    assert max(map(abs, difference)) < 0.01
    clock.begin(torch.tensor([True, False]))
    assert clock.period.tolist() == [[-1.0], [pytest.approx(PERIOD, abs=2 * STEP)]]
    physics.close()


def test_myoelectric_torque_follows_the_muscles_of_each_direction(arm):
    control = MyoelectricAssistance(MyoelectricOptions(gain=0.5, threshold=0.1), arm, 4, CPU_DEVICE)
    activation = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.55, 0.1], [0.1, 0.1]])  # flexor, extensor
    high = 0.8 * arm.device.body_mass
    assert control.desired(activation)[:, 0].tolist() == pytest.approx([0.5 * high, -0.5 * high, 0.25 * high, 0.0])


def test_assistance_drives_the_motor_beside_the_muscles_and_stays_in_its_limits():
    """The muscles' actions and observations are those without; the torque is the myoelectric one."""
    options = {"observation": {"terms": ["joint_pos", "previous_action"]}}
    env = make_env("toy_exo", 2, assistance={"name": "myoelectric", "gain": 50.0}, **options, **CPU)
    assert (env.action_names, env.observation_size) == (("flexor", "extensor"), 3)
    env.begin()
    limit = 0.8 * env.embodiment.device.body_mass
    for _ in range(60):
        env.advance(torch.tensor([[1.0, -1.0], [-1.0, 1.0]]))
        assert env.physics.field("ctrl")[:, 2].abs().max() <= limit * (1 + 1e-6)
    torque = env.physics.field("ctrl")[:, 2].clone()
    assert torque.tolist() == pytest.approx([limit, -limit], rel=0.05)
    stored = env.snapshot()
    first = env.advance(torch.zeros(2, 2)).observation
    env.load_snapshot(stored)
    assert torch.equal(env.advance(torch.zeros(2, 2)).observation, first)
    env.close()


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        ("toy_arm", {"assistance": "profile"}, "wears no exoskeleton"),
        ("toy_arm", {"actions": ["exoskeleton"]}, "wears no exoskeleton"),
        ("toy_arm", {"observation": {"terms": ["device_angle"]}}, "needs an exoskeleton"),
        ("toy_arm", {"observation": {"terms": ["muscle_strength"]}}, "needs leg muscle groups"),
        ("toy_exo", {"assistance": "profil"}, "did you mean 'profile'.*or an existing checkpoint"),
        ("toy_exo", {"assistance": "policy"}, "write the checkpoint"),
        ("toy_exo", {"assistance": "profile", "actions": ["exoskeleton"]}, "drive the same actuator"),
        ("toy_exo", {"assistance": {"name": "profile", "hip_rise": 80}}, "at most 50 %"),
        ("toy_exo", {"assistance": {"name": "myoelectric", "gain": -1}}, "gain of at least 0"),
    ],
)
def test_what_cannot_be_driven_is_one_line(task, options, message):
    with pytest.raises(InputError, match=message) as error:
        small_env(task, 1, **options)
    assert "\n" not in str(error.value)


def test_a_tracking_weight_shrinks_to_its_minimum():
    config = RewardCurriculumConfig(lowest={"qpos": 0.15}, decay=0.5)
    curriculum = RewardCurriculum(config, {"qpos": 0.5, "root_vel": 0.2})
    weights = []
    for _ in range(3):
        curriculum.shrink()
        weights.append(curriculum.weights["qpos"])
    assert weights == pytest.approx([0.25, 0.15, 0.15])
    with pytest.raises(InputError, match="no weight to shrink from"):
        RewardCurriculum(config, {"root_vel": 0.2})


def test_the_device_is_rewarded_for_survival_and_low_effort():
    env = small_env("toy_exo", 2, preset="exo_device")
    env.begin()
    step = env.advance(torch.zeros(2, 1))
    metabolic = env.state().metabolic
    assert torch.equal(step.reward, 0.1 * step.terms["reward/alive"] - metabolic) and (metabolic >= 0).all()
    env.close()


# Studies


def test_a_study_is_planned_in_turns(tmp_path):
    tool = script("tools/co_adapt.py")
    words = ["task=legs_exo", "deficit=[deficit=hemiparesis_r]", "alternations=1", "personalised=true", "able=[seed=5]"]
    study = tool.plan_study(tool.read_options(words), 3, tmp_path)
    names = [run.name for run in study.runs]
    assert names == ["able_3", "weak_3", "device_3", "human_3_1", "device_3_1"]
    assert (study.human, study.device) == ("human_3_1", "device_3_1")
    able, weak, device, human, again = (run.words for run in study.runs)
    assert able == ["task=legs_exo", "seed=3", "seed=5"]
    assert f"checkpoint={tmp_path}/able_3" in weak and "preset=exo_deficit" in weak
    assert f"partner={tmp_path}/weak_3" in device and "observation.profile=exo_personalised" in device
    assert all('deficit="hemiparesis_r"' in one for one in (device, human, again))
    assert {f"checkpoint={tmp_path}/weak_3", f"assistance={tmp_path}/device_3"} < set(human)
    assert {f"checkpoint={tmp_path}/device_3", f"partner={tmp_path}/human_3_1"} < set(again)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["plan=none.yaml"], "no such file"),
        (["seeds=[]"], "at least one seed"),
        (["conditions={learned: []}"], "choose another name"),
        (["sede=[1]"], "did you mean 'seeds'"),
    ],
)
def test_studies_that_cannot_be_are_one_line(words, message):
    with pytest.raises(InputError, match=message):
        script("tools/co_adapt.py").read_options(words)


def test_paired_intervals_over_three_seeds(tmp_path):
    """By hand: reductions of 50, 40 and 60 % have mean 50 and a 95 % interval of +- 4.3027 * 10 / sqrt(3)."""
    tool = script("tools/co_adapt.py")
    proxies = {"zero": (0.2, 0.1, 0.1), "profile": (0.2, 0.1, 0.1), "learned": (0.1, 0.06, 0.04)}
    for name, values in proxies.items():
        for seed, value in enumerate(values):
            path = tmp_path / "conditions" / f"{name}_{seed}.json"
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps({"metabolic": value, "err_joint_pos": None, "success_rate": 1.0}))
    rows = {row["condition"]: row for row in tool.compare(tool.read_options(["seeds=[0,1,2]"]), tmp_path)}
    half = 4.302653 * 10 / math.sqrt(3)
    reduction = rows["learned"]["reduction"]
    assert reduction == {key: pytest.approx(v) for key, v in (("mean", 50), ("low", 50 - half), ("high", 50 + half))}
    assert rows["profile"]["reduction"]["mean"] == 0 and "reduction" not in rows["zero"]
    assert "err_joint_pos" not in rows["learned"]


@pytest.mark.slow
def test_a_study_runs_and_continues(tmp_path, monkeypatch, capfd):
    tool = script("tools/co_adapt.py")
    words = [
        "task=toy_exo",
        f"runs_dir={tmp_path}",
        "words=[max_iterations=1,num_envs=4,evaluate=false,device=cpu,threads=1]",
        "deficit=[deficit={flexor: 0.5}]",
        "alternations=1",
    ]
    assert tool.main(words) == 0
    state = json.loads((tmp_path / "co_adapt.json").read_text())
    assert state["done"] == ["able_0", "weak_0", "device_0", "human_0_1", "device_0_1"]
    rows = json.loads((tmp_path / "comparison.json").read_text())["comparison"]
    assert [row["condition"] for row in rows] == ["zero", "profile", "learned"]
    assert all(row["metabolic"]["mean"] > 0 for row in rows)
    calls = []
    monkeypatch.setattr(tool, "_call", lambda *call: calls.append(call) or 0)
    assert tool.main(words) == 0 and not calls
    with pytest.raises(InputError, match="holds a study with another alternations"):
        tool.main([*words[:-1], "alternations=2"])
