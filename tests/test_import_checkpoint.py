"""Published checkpoints: the same values as the system that wrote them, and one-line errors."""

import json
import os
import shutil
import subprocess
import sys
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import ROOT, script
from conftest import data_file
from omegaconf import OmegaConf
from tensordict import TensorDict

from muscle_torch.config import config_from_dict, load_config
from muscle_torch.envs import make_env
from muscle_torch.errors import InputError
from muscle_torch.models import build_policy, load_policy, make_policy
from muscle_torch.published import hub, orbax
from muscle_torch.published.config import published_config
from muscle_torch.storage.checkpoint import load_checkpoint, load_weights

tensorstore = pytest.importorskip("tensorstore", reason="pip install 'muscle_torch[hub]'")

TOLERANCE = 1e-5  # times max(1, largest expected)
NAMES = ["bimanual_plain", "fullbody_residual", "bimanual_moe", "bimanual_residual_fixed"]
FOLDER = "oracle/checkpoints"
TOOL = script("tools/import_checkpoint.py")
main, environment_sizes = TOOL.main, TOOL.environment_sizes


def published(name: str) -> Path:
    return data_file(f"{FOLDER}/{name}/checkpoints/checkpoint_12")


def close(imported: torch.Tensor, expected: np.ndarray, what: str) -> None:
    error = np.abs(imported.detach().numpy() - expected).max()
    assert imported.shape == expected.shape and error <= TOLERANCE * max(1.0, np.abs(expected).max()), (what, error)


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """Return the path of the converted checkpoint."""
    folder, done = tmp_path_factory.mktemp("converted"), {}

    def convert(name: str) -> Path:
        if name not in done:
            done[name] = folder / f"{name}.pt"
            assert main([f"checkpoint={published(name)}", f"output={done[name]}", "model_version=1.0.6"]) == 0
        return done[name]

    return convert


@pytest.mark.parametrize("name", NAMES)
def test_the_converted_policy_computes_the_published_numbers(converted, name):
    expected = np.load(data_file(f"{FOLDER}/{name}/expected_12.npz"))
    stored = load_checkpoint(converted(name))
    policy = build_policy(stored["policy_spec"])
    policy.load_state_dict(stored["policy"])
    observation, action = (torch.from_numpy(expected[k]) for k in ("obs", "action"))
    read = TensorDict({"observation": observation}, batch_size=[len(observation)])
    out = policy.critic(policy.actor(read))
    close(policy.normalizer(observation), expected["norm_obs"], "normalised observation")
    close(out["loc"], expected["actor_mean"], "mean action")
    close(out["scale"][0].log(), expected["log_std"], "log std")
    close(out["state_value"].squeeze(-1), expected["value"], "value")
    close(policy.distribution(observation).log_prob(action), expected["log_prob"], "log probability")
    close(policy.normalizer.count, expected["run_count"], "count")
    if "moe_loss" in expected.files:
        close(policy.auxiliary_loss(), expected["moe_loss"], "balance loss")
    close(load_policy(converted(name)).act(observation), expected["actor_mean"], "load_policy")
    assert stored["step"] == 3072


def test_training_starts_from_it_with_the_words_the_tool_prints(converted, capsys):
    main([f"checkpoint={published('bimanual_moe')}", f"output={converted('bimanual_moe')}"])
    line = next(row for row in capsys.readouterr().out.splitlines() if row.startswith("fine-tune"))
    words = [word.strip("'") for word in line.split("train.py ")[1].split()]
    cfg = load_config(words=[*words, "num_envs=2", "threads=1", "device=cpu", "backend=mujoco"])
    env = make_env(cfg)
    policy = make_policy(cfg.policy, env, cfg.exploration)
    load_weights(policy, load_checkpoint(cfg.checkpoint), env, cfg.task)
    observation = env.begin()
    read = TensorDict({"observation": observation}, batch_size=[2])
    assert torch.equal(policy.actor(read)["loc"], load_policy(cfg.checkpoint).act(observation))
    env.close()
    with pytest.raises(InputError, match="observation_size 417"):
        other = make_env("bimanual", 1, "cpu", backend="mujoco", threads=1)
        load_weights(policy, load_checkpoint(cfg.checkpoint), other, "bimanual")


def test_newest_is_the_largest_number_and_a_number_can_be_named():
    folder = published("bimanual_plain").parent
    assert orbax.find_published(folder) == orbax.find_published(folder.parent) == folder / "checkpoint_12"
    assert orbax.find_published(folder / "checkpoint_9") == folder / "checkpoint_9"
    assert orbax.find_published(folder / "checkpoint_9" / "train_state") == folder / "checkpoint_9"
    expected = np.load(data_file(f"{FOLDER}/bimanual_plain/expected_9.npz"))
    arrays = orbax.read_arrays(folder / "checkpoint_9")
    assert np.array_equal(arrays["run_stats.RunningMeanStd_0.mean"], expected["run_mean"])


def test_every_stored_array_is_read_to_the_bit():
    import hashlib

    noted = json.loads(data_file(f"{FOLDER}/bimanual_moe/tree_12.json").read_text())
    arrays = orbax.read_arrays(published("bimanual_moe"), ("params", "run_stats", "opt_state", "step"))
    assert arrays.keys() == noted.keys()
    for name, array in arrays.items():
        assert hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest() == noted[name]["sha256"], name


@pytest.fixture
def copied(tmp_path):
    """Return a copy of the checkpoint to damage."""
    return Path(shutil.copytree(published("bimanual_plain"), tmp_path / "checkpoint_12"))


@pytest.mark.parametrize("driver", ["zarr", "zarr3"])
def test_a_checkpoint_without_database_is_read_and_a_missing_piece_is_not_zeros(copied, driver):
    before = orbax.read_arrays(copied)
    state = copied / "train_state"
    about = json.loads((state / "_METADATA").read_text()) | {"use_ocdbt": False, "use_zarr3": driver == "zarr3"}
    shutil.rmtree(state)
    state.mkdir()
    (state / "_METADATA").write_text(json.dumps(about))
    for name, array in before.items():
        spec = {"driver": driver, "kvstore": {"driver": "file", "path": f"{state / name}/"}}
        store = tensorstore.open(spec, create=True, dtype=array.dtype, shape=array.shape).result()
        store.write(array).result()
    after = orbax.read_arrays(copied)
    assert all(np.array_equal(after[name], array) for name, array in before.items())
    name = "params.actor.Dense_0.kernel"
    chunk = next(p for p in (state / name).rglob("*") if p.is_file() and not p.name.startswith((".z", "zarr.json")))
    chunk.unlink()
    with pytest.raises(InputError, match=r"Dense_0\.kernel cannot be read"):
        orbax.read_arrays(copied)


@pytest.mark.parametrize("piece", ["_CHECKPOINT_METADATA", "config/metadata", "train_state/_METADATA"])
def test_an_incomplete_checkpoint_is_an_error_or_an_older_one_is_used(copied, piece, capsys):
    (copied / piece).unlink()
    with pytest.raises(InputError) as caught:
        orbax.find_published(copied)
    assert piece in str(caught.value) and "\n" not in str(caught.value)
    older = shutil.copytree(published("bimanual_plain").parent / "checkpoint_9", copied.parent / "checkpoint_9")
    assert orbax.find_published(copied.parent) == older
    assert "checkpoint_12 is incomplete" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["manifest", "data", "cut", "list", "json"])
def test_a_damaged_checkpoint_is_a_one_line_error(copied, damage, tmp_path):
    state = copied / "train_state"
    data = sorted((state / "ocdbt.process_0" / "d").iterdir(), key=lambda p: p.stat().st_size)
    if damage == "manifest":
        (state / "manifest.ocdbt").unlink()
    elif damage == "data":
        shutil.rmtree(state / "ocdbt.process_0")
    elif damage == "cut":
        for path in (*data, *(state / "d").iterdir()):
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif damage == "list":
        (state / "_METADATA").write_text('{"tree_metadata": [1]}')
    else:
        (copied / "config/metadata").write_text('{"experiment": ')
    with pytest.raises(InputError) as caught:
        main([f"checkpoint={copied}", f"output={tmp_path / 'x.pt'}"])
    assert "download" in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "x.pt").exists()


def test_other_files_are_not_checkpoints(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "weights.pt").write_bytes(b"1")
    for name, expected in (("empty", "no published checkpoint"), ("weights.pt", "is a file"), ("nowhere", "not found")):
        with pytest.raises(InputError, match=expected):
            main([f"checkpoint={tmp_path / name}", f"output={tmp_path / 'x.pt'}"])
    with pytest.raises(InputError, match="output="):
        main([f"checkpoint={tmp_path}"])
    with pytest.raises(InputError, match=r"1\.0\.6"):
        main([f"checkpoint={tmp_path}", "output=x.pt", "model_version=newest"])


def changed(folder: Path, **changes) -> None:
    """Rewrite env_params (dict values one level deeper) or other keys of the experiment."""
    path = folder / "config" / "metadata"
    stored = json.loads(path.read_text())
    for name, value in changes.items():
        where = stored["experiment"] if name in stored["experiment"] else stored["experiment"]["env_params"]
        where[name] = {**where[name], **value} if isinstance(value, dict) else value
    path.write_text(json.dumps(stored))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"env_name": "MjxUnitreeH1"}, "MjxUnitreeH1"),
        ({"disable_fingers": False}, "another body"),
        ({"enable_muscle_length_observations": True}, "observation_size is 993"),
        ({"goal_type": "GoalTrajRootVelocity"}, "GoalTrajRootVelocity"),
        ({"goal_params": {"sites_for_mimic": ["upper_body_mimic"]}}, "tracks the sites upper_body_mimic, but"),
        ({"goal_params": {"sites_for_mimic": None}}, "tracks the sites upper_body_mimic, right_shoulder_mimic"),
        ({"control_params": {"mode": "incremental"}}, "incremental"),
        ({"n_substeps": 10}, "control steps of 0.02 s"),
        ({"len_obs_history": 4}, "history"),
        ({"actor_hidden_layers": [64, 64]}, "LayerNorm_2"),
        ({"actor_hidden_layers": [64, 64, 32]}, "requires"),
        ({"actor_hidden_layers": "[64, 64"}, "list of widths"),
        ({"ppo_config": {"num_steps": "many"}}, "not as expected"),
    ],
)
def test_the_config_of_another_network_is_a_one_line_error(copied, changes, expected, tmp_path):
    changed(copied, **changes)
    with pytest.raises(InputError) as caught:
        main([f"checkpoint={copied}", f"output={tmp_path / 'x.pt'}"])
    assert expected in str(caught.value) and "\n" not in str(caught.value)


def test_the_config_is_carried_over(converted):
    config = load_policy(converted("fullbody_residual")).config
    assert config["embodiment"] == {"name": "fullbody", "fingers": False, "light_phantoms": False}
    assert config["observation"]["terms"][:4] == ["root_pos", "joint_pos", "root_vel", "joint_vel"]
    assert config["observation"]["muscle"] == ["length", "velocity", "force", "excitation", "activation"]
    assert (config["goal"]["lookahead"], config["goal"]["stride"]) == (5, 20)
    assert config["reward"]["weights"]["rpos"] == 0.6 and config["reward"]["weights"]["root_vel"] == 0.1
    assert config["termination"] == {
        "mean_relative_site_deviation": 1.0,
        "root_deviation": 1.0,
        "root_orientation": 1.0,
    }
    assert config["evaluation_termination"] == {"mean_relative_site_deviation": 0.5}
    assert config["optimizer"]["name"] == "muon" and config["optimizer"]["schedule"] == "linear"
    assert config["actions"][0]["mapping"] == "half"


def test_widths_may_be_text(copied, tmp_path):
    changed(copied, actor_hidden_layers="[64, 64, 64]")
    assert main([f"checkpoint={copied}", f"output={tmp_path / 'x.pt'}"]) == 0


def test_model_version_is_an_option_or_read_or_warned_about(copied, tmp_path, capsys):
    output = tmp_path / "x.pt"

    def version(*words):
        main([f"checkpoint={copied}", f"output={output}", *words])
        return load_checkpoint(output)["model_version"], capsys.readouterr().err

    imported, warning = version()
    assert imported == "1.0.6" and "does not state" in warning
    assert version("model_version=1.0.6") == ("1.0.6", "")
    imported, warning = version("model_version=1.0.5")
    assert imported == "1.0.5" and "left knee" in warning
    changed(copied, env_name="MjxMyoBimanualArm", model_version="1.0.5")
    assert version()[0] == "1.0.5" and version("model_version=1.0.6") == ("1.0.6", "")


def test_unknown_terminations_and_rewards_are_noted():
    stored = json.loads((published("bimanual_plain") / orbax.CONFIG).read_text())
    stored["experiment"]["env_params"]["terminal_state_type"] = "HeightBasedTerminalStateHandler"
    stored["experiment"]["env_params"]["reward_params"]["use_mean_exp_reward"] = True
    notes = " ".join(published_config(stored).notes)
    assert "HeightBased" in notes and "use_mean_exp_reward" in notes


class Hub(BaseHTTPRequestHandler):
    """Minimal model hub: one open and one gated model."""

    def __init__(self, root: Path, *args):
        self.root = root
        super().__init__(*args)

    def do_GET(self):
        if "gated" in self.path:
            return self._send(403, b"", {"X-Error-Code": "GatedRepo", "X-Error-Message": "ask first"})
        if "missing" in self.path:
            return self._send(404, b"", {"X-Error-Code": "RepoNotFound", "X-Error-Message": "no such model"})
        files = [p for p in sorted(self.root.rglob("*")) if p.is_file()]
        if "/tree/" in self.path:
            listed = [{"type": "file", "path": str(p.relative_to(self.root)), "size": 1, "oid": "0"} for p in files]
            return self._send(200, json.dumps(listed).encode(), {"Content-Type": "application/json"})
        if self.path.startswith("/api/models/"):
            named = [{"rfilename": str(p.relative_to(self.root))} for p in files]
            about = {"id": "me/open", "modelId": "me/open", "sha": "a" * 40, "siblings": named}
            return self._send(200, json.dumps(about).encode(), {"Content-Type": "application/json"})
        if "/resolve/" not in self.path:
            return self._send(404, self.path.encode(), {})
        name = self.path.split("/resolve/")[1].partition("/")[2]
        data = (self.root / name).read_bytes()
        etag = f'"{hash(name) & 0xFFFFFFFFFFFF:x}"'
        return self._send(200, data, {"ETag": etag, "X-Repo-Commit": "a" * 40})

    do_HEAD = do_GET

    def _send(self, code: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(code)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def hub_command(tmp_path_factory):
    """Run the tool in a subprocess against a local hub."""
    pytest.importorskip("huggingface_hub", reason="pip install 'muscle_torch[hub]'")
    root = published("bimanual_plain").parent.parent
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Hub, root))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    cache = tmp_path_factory.mktemp("hub")

    def run(*words, **changes):
        environment = {**os.environ, "HF_HOME": str(cache), "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}"}
        environment |= {
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "no_proxy": "127.0.0.1",
        } | changes
        command = [sys.executable, str(ROOT / "tools/import_checkpoint.py"), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)

    yield run
    server.shutdown()


def test_a_hub_address_is_downloaded_and_converted(hub_command, tmp_path):
    output = tmp_path / "x.pt"
    done = hub_command("checkpoint=hf://me/open/checkpoints", f"output={output}", "model_version=1.0.6")
    assert done.returncode == 0, done.stderr
    assert "checkpoint_12" in done.stdout and load_checkpoint(output)["observation_size"] == 993


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("hf://me/gated", "https://huggingface.co/me/gated"),
        ("hf://me/missing", "me/missing not found"),
        ("hf://me/open/nowhere", "no folder 'nowhere'"),
        ("hf://me", "hf://owner/name"),
    ],
)
def test_errors_of_the_hub_are_one_line(hub_command, address, expected, tmp_path):
    done = hub_command(f"checkpoint={address}", f"output={tmp_path / 'x.pt'}")
    lines = done.stderr.strip().splitlines()
    # The hub's own library may have warned before.
    assert done.returncode == 2 and lines[-1].startswith("error:") and expected in lines[-1], done.stderr
    assert "Traceback" not in done.stderr


def test_no_connection_is_a_one_line_error(hub_command, tmp_path):
    done = hub_command("checkpoint=hf://me/other", f"output={tmp_path / 'x.pt'}", HF_HUB_OFFLINE="1")
    lines = done.stderr.strip().splitlines()
    assert done.returncode == 2 and "could not be downloaded" in lines[-1], done.stderr


def test_addresses_stay_inside_the_download():
    with pytest.raises(InputError, match="cannot read"):
        hub.download("hf://me/open/../../etc")


@pytest.mark.parametrize(
    ("task", "body", "sizes"), [("bimanual", "bimanual", (1597, 126)), ("fullbody", "fullbody", (2418, 354))]
)
def test_the_release_preset_has_the_published_sizes(task, body, sizes):
    block = OmegaConf.to_container(OmegaConf.load(ROOT / "cfg" / "preset" / "release.yaml"))
    block[task]["embodiment"]["name"] = body
    imported = environment_sizes(config_from_dict(block[task]), ())
    assert (imported["observation_size"], imported["action_size"]) == sizes
