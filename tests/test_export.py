"""Exported policies act like the originals, contain their metadata, and need nothing of muscle_torch."""

import json
import subprocess
import sys

import mujoco
import numpy as np
import pytest
import torch
from commands import script, train
from env_cases import FRESH_POLICIES, small_env
from tensordict.nn import TensorDictModule
from torch import nn

from muscle_torch.config import config_to_dict, load_config
from muscle_torch.envs.actions.action_space import ActionSpaces, control_limits
from muscle_torch.envs.actions.muscles import MuscleActions
from muscle_torch.envs.actions.options import MuscleOptions
from muscle_torch.errors import InputError
from muscle_torch.models import PolicyAdapter, load_policy, make_policy
from muscle_torch.models.build import Inference

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

REFLEX = {
    "observation": {"terms": ["joint_pos", "muscle", "phase", "muscle_length_error", "muscle_velocity_error"]},
    "actions": {"muscles": {"mapping": "half"}},
}
export_tool = script("tools/export.py")
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A toy run of two updates."""
    folder = tmp_path_factory.mktemp("trained")
    words = ("task=toy_arm", "num_envs=8", "threads=1", "ppo.num_steps=16", "device=cpu", "evaluate=false")
    done = train(*words, "max_iterations=2", "experiment=toy", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "runs" / "toy"


@pytest.fixture(scope="module")
def env():
    made = small_env("toy_arm", 4, **REFLEX)
    yield made
    made.close()


def trained(policy: nn.Module, env) -> Inference:
    """Return the policy with perturbed weights and a normalizer with statistics."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in policy.parameters():
            weight.add_(0.3 * torch.randn(weight.shape, generator=generator))
        if policy.normalizer is not None:
            policy.normalizer.observe(2 + 3 * torch.rand(50, env.observation_size, generator=generator))
            policy.normalizer.commit()
    return Inference(policy, {"config": config_to_dict(env.config), "task": env.config.task})


def inputs(env, count: int = 32) -> torch.Tensor:
    """Return observations inside and far outside the normalizer's statistics, so that it clips."""
    scale = torch.logspace(-1, 2, count)[:, None]
    return scale * torch.randn(count, env.observation_size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("suffix", [".onnx", ".pt"])
@pytest.mark.parametrize("name", FRESH_POLICIES)
def test_every_policy_makes_the_round_trip(env, tmp_path, name, suffix):
    cfg = load_config("toy_arm", policy={"name": name, "hidden": [32, 32, 16]})
    policy = trained(make_policy(cfg.policy, env, cfg.exploration), env)
    observations, path = inputs(env), tmp_path / f"policy{suffix}"
    export_tool.export(policy, path, observations, {"task": "toy_arm"}, actions=env.actions)
    run = export_tool.READERS[suffix](path)
    expected = policy.act(observations).clamp(0, 1).numpy()  # mapping=half
    assert np.abs(run(observations.numpy()) - expected).max() < 1e-5
    assert np.abs(run(observations[:1].numpy()) - expected[:1]).max() < 1e-5  # any batch size
    assert expected.max() > 0.1 and ((expected > 0) & (expected < 1)).any()
    assert [p.name for p in tmp_path.iterdir()] == [path.name]  # one file, weights inside


def test_the_command_writes_onnx_with_metadata(run_folder, tmp_path, capsys):
    path = tmp_path / "policy.onnx"
    assert export_tool.main([f"checkpoint={run_folder}", f"output={path}", "opset=19"]) == 0
    assert "ONNX opset 19" in capsys.readouterr().out
    model = onnx.load(path)
    facts = {entry.key: entry.value for entry in model.metadata_props}
    assert model.opset_import[0].version == 19
    assert facts["task"] == "toy_arm" and facts["embodiment"] == "toy_arm" and facts["model_version"] == "toy-1"
    assert json.loads(facts["actuator_names"]) == ["flexor", "extensor"]
    layout, size = json.loads(facts["observation_layout"]), load_policy(run_folder).policy.spec["observation_size"]
    assert layout["joint_pos"] == [0, 1, 1] and layout["phase"] == [size - 1, size, 1]
    assert layout["muscle_force"][2] == 2  # force and activation take turns
    (observation,), (control,) = (
        onnxruntime.InferenceSession(path).get_inputs(),
        onnxruntime.InferenceSession(path).get_outputs(),
    )
    assert (observation.name, observation.shape[1]) == ("observation", size) and isinstance(observation.shape[0], str)
    assert (control.name, control.shape[1]) == ("control", 2)


def test_torchscript_runs_where_muscle_torch_is_not_installed(run_folder, tmp_path):
    path = tmp_path / "policy.pt"
    assert export_tool.main([f"checkpoint={run_folder}", f"output={path}"]) == 0
    policy = load_policy(run_folder)
    observation = torch.linspace(-1, 1, 3 * policy.policy.spec["observation_size"]).reshape(3, -1)
    np.save(tmp_path / "observation.npy", observation.numpy())
    code = f"""
import sys, json
sys.modules["muscle_torch"] = sys.modules["tensordict"] = None  # importing them fails
import numpy, torch
extra = {{"metadata.json": ""}}
policy = torch.jit.load(r"{path}", _extra_files=extra)
assert json.loads(extra["metadata.json"])["actuator_names"] == ["flexor", "extensor"]
observation = torch.from_numpy(numpy.load(r"{tmp_path / "observation.npy"}"))
numpy.save(r"{tmp_path / "control.npy"}", policy(observation).numpy())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    excitation = (policy.act(observation).clamp(-1, 1) + 1) / 2  # the toy's mapping
    assert np.abs(np.load(tmp_path / "control.npy") - excitation.numpy()).max() < 1e-5


# Driving MuJoCo with the file alone


@pytest.mark.parametrize("suffix", [".onnx", ".pt"])
@pytest.mark.parametrize(
    ("task", "options"),
    [
        ("bimanual", {}),  # its recipe mixes muscles inside the policy
        ("toy_arm", {"embodiment": {"motor": True}, "actions": ["motors", "muscles"]}),
    ],
)
def test_mujoco_driven_by_the_file_makes_the_same_rollout(tmp_path, task, options, suffix):
    """Its controls, applied by name in plain MuJoCo, give the policy's joint angles."""
    env = small_env(task, 1, **options)
    policy = trained(make_policy(env.config.policy, env, env.config.exploration), env)
    path = tmp_path / f"policy{suffix}"
    observations = inputs(env)
    facts = export_tool.observe(policy, steps=2)[1]
    export_tool.export(policy, path, observations, facts, actions=env.actions)
    run, names = export_tool.READERS[suffix](path), facts["actuator_names"]
    assert sorted(names) == sorted(env.embodiment.actuator_names) and set(facts["muscle_names"]) <= set(names)

    model = env.embodiment.model
    ids = [model.actuator(name).id for name in names]
    muscles = [i for i, name in enumerate(names) if name in env.embodiment.muscle_names]
    observation = env.begin()
    data = mujoco.MjData(model)
    data.qpos[:], data.qvel[:] = (env.physics.field(name)[0].double().numpy() for name in ("qpos", "qvel"))
    mujoco.mj_forward(model, data)
    excited = []
    for _ in range(20):
        control = run(observation.numpy())[0]
        assert control[muscles].min() >= 0 and control[muscles].max() <= 1
        data.ctrl[ids] = control
        mujoco.mj_step(model, data, env.embodiment.substeps)
        observation = env.advance(policy.act(observation)).observation
        assert np.abs(env.physics.field("ctrl")[0].numpy()[ids] - control).max() < 1e-5
        excited.append(control[muscles])
    mujoco.mj_forward(model, data)
    assert np.abs(env.physics.field("qpos")[0].numpy() - data.qpos).max() < 1e-4
    assert np.abs(data.qpos - model.qpos0).max() > 0.05 and np.std(excited) > 0.1  # something happened
    env.close()


class FollowsLength(MuscleActions):
    """Action space that reads the simulation, which cannot be exported."""

    def to_controls(self, command, physics, goal):
        return super().to_controls(command + physics.field("actuator_length"), physics, goal)


def test_an_action_space_that_reads_the_physics_is_rejected(env, tmp_path):
    space = FollowsLength(MuscleOptions(), env.embodiment, 1, torch.device("cpu"))
    actions = ActionSpaces({"muscles": space}, control_limits(env.embodiment))
    policy = trained(make_policy("mlp", env), env)
    with pytest.raises(InputError, match="reads field of the simulation"):
        export_tool.export(policy, tmp_path / "policy.pt", inputs(env), {}, actions=actions)
    assert not list(tmp_path.iterdir())


class Branching(nn.Module):
    """Policy with data-dependent control flow, which no static graph can represent."""

    def __init__(self, observation_size: int, action_size: int, **network):
        super().__init__()
        self.layer = nn.Linear(observation_size, action_size)

    def forward(self, observation):
        loc = self.layer(observation)
        if observation.abs().max() > 5:
            loc = -loc
        return loc, torch.ones_like(loc)


class BranchingPolicy(nn.Module):
    def __init__(self, observation_size: int, action_size: int, in_keys=("observation",)):
        super().__init__()
        actor = Branching(observation_size, action_size)
        self.actor = TensorDictModule(actor, in_keys=list(in_keys), out_keys=["loc", "scale"])
        self.critic = TensorDictModule(nn.Linear(observation_size, 1), ["observation"], ["state_value"])


def completed(policy: nn.Module) -> PolicyAdapter:
    """Return the policy as `make_policy` does."""
    made = PolicyAdapter(policy, "Branching")
    made.spec = {"name": "Branching"}
    return made


@pytest.mark.parametrize("suffix", [".onnx", ".pt"])
def test_a_policy_with_data_dependent_control_flow_is_rejected(env, tmp_path, suffix):
    policy = trained(completed(BranchingPolicy(env.observation_size, env.action_size)), env)
    with pytest.raises(InputError) as refused:
        export_tool.export(policy, tmp_path / f"policy{suffix}", inputs(env), {}, actions=env.actions)
    message = str(refused.value)
    assert "cannot be exported" in message and "\n" not in message and len(message) < 400
    assert not list(tmp_path.iterdir())


def test_a_policy_that_reads_more_than_the_observation_is_rejected(env, tmp_path):
    policy = BranchingPolicy(env.observation_size, env.action_size, ("observation", "memory"))
    with pytest.raises(InputError, match="memory"):
        export_tool.export(trained(completed(policy), env), tmp_path / "policy.onnx", inputs(env), {})


def test_user_errors_are_reported(run_folder, tmp_path):
    main, checkpoint = export_tool.main, f"checkpoint={run_folder}"
    with pytest.raises(InputError, match="no checkpoint"):
        main([])
    with pytest.raises(InputError, match=r"\.onnx or \.pt"):
        main([checkpoint, "output=policy.tflite"])
    with pytest.raises(InputError, match="opset"):
        main([checkpoint, f"output={tmp_path / 'policy.onnx'}", "opset=17"])
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="choose another output="):
        main([checkpoint, f"output={tmp_path / 'file' / 'policy.pt'}"])
