"""Observation, reward, penalties, errors and termination equal the published system's, from its own dumped states.

The dumps' derived fields are 2 ms older than qpos, as that system has them: no matter for functions of the state.
"""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import data_file

from muscle_torch.config import config_from_dict
from muscle_torch.embodiments import configured_embodiment
from muscle_torch.envs import make_env
from muscle_torch.envs.goals.motion import MotionGoal, _termination_sites
from muscle_torch.envs.goals.motion_errors import ERRORS, NEED_ROOT
from muscle_torch.envs.goals.motion_state import MotionState, Reference
from muscle_torch.envs.model_indices import ModelIndices
from muscle_torch.envs.observations import Observer
from muscle_torch.envs.rewards import Reward
from muscle_torch.envs.state import MUSCLE_FIELDS
from muscle_torch.envs.terminations import Termination
from muscle_torch.motion import relative_sites_from_matrices, site_velocity
from muscle_torch.rotations import matrix_to_quat

TOLERANCE = 1e-5  # times max(1, |expected|), float32
ARMS = ["joint_pos", "joint_vel", "muscle", "site_relative", "reference", "phase"]
FULL = ["root_pos", "joint_pos", "root_vel", "joint_vel", "muscle", "touch", "site_relative", "reference", "phase"]
ROOT_WEIGHTS = {"root_pos": 0.1, "root_vel": 0.1}
ARM_WEIGHTS = {"qpos": 0.5, "qvel": 0.5, "rpos": 2.0, "rquat": 0.2, "rvel_rot": 0.5, "rvel_lin": 0.5}
FULL_WEIGHTS = {"qpos": 0.1, "qvel": 0.1, "rpos": 0.6, "rquat": 0.01, "rvel_rot": 0.1, "rvel_lin": 0.1} | ROOT_WEIGHTS
FULL_THRESHOLDS = {"mean_relative_site_deviation": 1.0, "root_deviation": 1.0, "root_orientation": 1.0}
# oracle -> size of the observation, what a user would write in YAML for the same task
CASES: dict[str, tuple[int, dict]] = {
    "bimanual_nofing": (
        543,
        {
            "goal": {"lookahead": 3, "stride": 4, "compact_reference": True},
            "observation": {"terms": ARMS},
            "reward": {"weights": ARM_WEIGHTS},
            "termination": {"mean_site_deviation": 0.05},
        },
    ),
    "bimanual_gmr": (
        1597,
        {
            "embodiment": {"fingers": True},
            "goal": {"lookahead": 5, "stride": 20, "compact_reference": False},
            "observation": {"terms": ARMS},
            "reward": {"weights": ARM_WEIGHTS},
            "termination": {"mean_site_deviation": 0.25},
        },
    ),
    "fullbody": (
        2418,
        {
            "embodiment": "fullbody",
            "goal": {"lookahead": 5, "stride": 20, "compact_reference": True},
            "observation": {"terms": FULL, "muscle": list(MUSCLE_FIELDS)},
            "reward": {"weights": FULL_WEIGHTS},
            "termination": FULL_THRESHOLDS,
        },
    ),
}


class Dump:
    """One oracle: its states as ours, at every control step or at every reset."""

    def __init__(self, name: str):
        self.size, given = CASES[name]
        self.arrays = dict(np.load(data_file(f"oracle/{name}.npz")))
        self.meta = json.loads(str(self.arrays["meta_json"]))
        self.config = config_from_dict(given)  # of the arms, unless the case says otherwise
        self.embodiment = configured_embodiment(self.config)
        self.body = ModelIndices.of(self.embodiment, torch.device("cpu"))
        terms = {name: getattr(MotionGoal, name) for name in ("observations", "rewards", "terminations")}
        self.goal = SimpleNamespace(body=self.body, missing=lambda name: None, **terms)
        self.tables = self._tables()

    def tensor(self, name: str) -> torch.Tensor:
        values = self.arrays[name]
        return torch.from_numpy(values).float() if values.dtype.kind == "f" else torch.from_numpy(values).long()

    def state(self, prefix: str = "") -> MotionState:
        """prefix: "" (every control step) or "reset_" (every reset)."""
        stepping = not prefix
        episode = self.tensor("episode") if stepping else torch.arange(len(self.arrays["reset_clip"]))
        clip = self.tensor("reset_clip")[episode]
        frame = self.tensor("ref_step" if stepping else "reset_start")
        splits = self.tensor("env_traj_split_points")
        first, length = splits[clip], splits[clip + 1] - splits[clip]
        shown = self.config.goal.options
        ahead = torch.arange(shown.lookahead) * shown.stride + frame[:, None]
        origin = None
        if self.body.has_root:
            origin = self.tables.qpos[first + self.tensor("reset_start")[episode], :2]
        action = self.tensor("action") if stepping else torch.zeros(len(clip), self.embodiment.model.nu)
        previous = torch.zeros_like(action)
        if stepping:
            going_on = self.tensor("step_in_episode") > 0
            previous[going_on] = action[going_on.nonzero().squeeze(1) - 1]
        return MotionState(
            body=self.body,
            read=lambda field: self._field(prefix, field),
            reference=Reference(self.tables, first + frame, origin),
            ahead=Reference(self.tables, first[:, None] + torch.minimum(ahead, length[:, None] - 1), origin),
            phase=frame / length,
            action=action,
            previous_action=previous,
            quantities=tuple(self.config.observation.muscle),
            termination_sites=_termination_sites(self.embodiment, (), torch.device("cpu")),
            compact_reference=shown.compact_reference,
        )

    def _field(self, prefix: str, name: str) -> torch.Tensor:
        if name == "xquat":  # the sites are aligned with their bodies
            return matrix_to_quat(self.tensor(f"{prefix}site_xmat").unflatten(-1, (3, 3)))
        other = {"cvel": "site_parent_cvel", "subtree_com": "subtree_com_root", "sensordata": "touch"}
        values = self.tensor(prefix + other.get(name, name))
        return values.unsqueeze(1) if name == "subtree_com" else values

    def _tables(self) -> SimpleNamespace:
        """The reference as that system's environment holds it."""
        order = self.tensor("site_traj_index")
        assert tuple(self.arrays["sites_for_mimic"]) == self.embodiment.site_names
        pos, cvel = (self.tensor(f"env_traj_{n}")[:, order] for n in ("site_xpos", "cvel_parent"))
        mat = self.tensor("env_traj_site_xmat")[:, order].unflatten(-1, (3, 3))
        velocity = site_velocity(pos, cvel, self.tensor("env_traj_subtree_com_root").unsqueeze(1))
        rpos, rrot, rvel = relative_sites_from_matrices(pos, mat, *velocity)
        qpos, qvel = self.tensor("env_traj_qpos"), self.tensor("env_traj_qvel")
        return SimpleNamespace(qpos=qpos, qvel=qvel, site_pos=pos, rpos=rpos, rrot=rrot, rvel=rvel)


@pytest.fixture(scope="module", params=CASES)
def dump(request) -> Dump:
    return Dump(request.param)


def assert_close(got: torch.Tensor, expected: np.ndarray, what: str, tolerance: float = TOLERANCE) -> None:
    error = np.abs(got.double().numpy() - expected) / np.maximum(1.0, np.abs(expected))
    assert got.shape == expected.shape and error.max() < tolerance, f"{what}: {error.max():.2e} at {error.argmax()}"


def _span(columns: slice) -> tuple[int, int]:
    return columns.start, columns.stop - columns.start


def test_sizes_names_and_order(dump):
    found = Observer(dump.config.observation, dump.goal, dump.state()).layout
    assert found["phase"].stop == dump.size == dump.meta["obs_dim"]
    assert tuple(dump.arrays["actuator_names"]) == dump.embodiment.actuator_names
    assert tuple(dump.arrays["joint_names"]) == dump.embodiment.joint_names
    # That system's entries by name, up to its goal (look-ahead and all): first column and how many
    their_blocks = {"root_pos": "q_free_joint", "joint_pos": "q_all_pos"}
    their_blocks |= {"root_vel": "dq_free_joint", "joint_vel": "dq_all_vel"}
    ours = {theirs: _span(found[term]) for term, theirs in their_blocks.items() if term in found}
    for quantity in dump.config.observation.muscle:
        columns = range(*found[f"muscle_{quantity}"].indices(dump.size))
        muscles = zip(dump.embodiment.actuator_names, columns, strict=True)
        ours |= {f"muscle_{quantity}_{name.lower()}": (column, 1) for name, column in muscles}
    for index, name in enumerate(dump.embodiment.touch_sensors):
        ours[f"touch_{name}"] = (found["touch"].start + index, 1)
    goal = "GoalTrajMimic" if dump.body.has_root else "GoalBimanualTrajMimic"
    ours[goal] = (found["site_relative"].start, dump.size - found["site_relative"].start)
    assert ours == {name: (start, size) for name, _, start, size in dump.meta["obs_layout"]}


@pytest.mark.parametrize("prefix", ["", "reset_"])
def test_observation(dump, prefix):
    state = dump.state(prefix)
    got = Observer(dump.config.observation, dump.goal, state).begin(state)
    assert_close(got, dump.arrays[f"{prefix}obs"], "observation")


def test_reward_terms_penalty_and_total(dump):
    state = dump.state()
    reward, terms = Reward(dump.config.reward, dump.goal, torch.device("cpu"))(state)
    for name in dump.config.reward.weights:
        assert_close(terms[f"reward/{name}"], dump.arrays[f"info_reward_{name}"], name)
    assert_close(terms["penalty"], dump.arrays["info_penalty_total"], "penalty")
    assert_close(reward, dump.arrays["reward"], "reward")


def test_tracking_errors(dump):
    state = dump.state()
    for name in ERRORS.keys() - (set() if dump.body.has_root else NEED_ROOT):
        assert_close(ERRORS[name](state), dump.arrays[f"info_err_{name}"], name)


def test_termination(dump):
    got = Termination(dump.config.termination, dump.goal, torch.device("cpu"))(dump.state())
    assert np.array_equal(got.numpy(), dump.arrays["absorbing"])


@pytest.fixture(scope="module")
def live(dump):
    """An environment that got the same motion as a file, a world for each of the dump's resets."""
    name = "fullbody_traj" if dump.body.has_root else "bimanual_traj"
    backend = {"device": "cpu", "backend": "mujoco", "threads": 1}
    changes = {"num_envs": len(dump.arrays["reset_clip"]), "actions": {"muscles": {"mapping": "half"}}} | backend
    env = make_env(dump.config, motion=str(data_file(f"oracle/{name}.npz")), **changes)
    yield env
    env.close()


def test_the_library_holds_the_same_reference(dump, live):
    library = live.goal.library
    assert torch.equal(library.length, dump.tensor("env_traj_split_points").diff())
    for name in ("qpos", "qvel", "site_pos", "rpos", "rrot", "rvel"):
        got, expected = getattr(library, name), getattr(dump.tables, name)
        error = (got - expected).abs() / expected.abs().clamp(min=1)
        print(name, float(error.max()))
        assert error.max() < TOLERANCE, name


def test_a_live_reset_is_observed_as_there(dump, live):
    got = live.assign((dump.tensor("reset_clip"), dump.tensor("reset_start")))
    expected = dump.arrays["reset_obs"]
    error = np.abs(got.double().numpy() - expected) / np.maximum(1.0, np.abs(expected))
    for name, s in live.observation_layout.items():
        print(name, error[:, s].max())
    assert live.observation_size == dump.size
    assert_close(got, expected, "reset observation")
