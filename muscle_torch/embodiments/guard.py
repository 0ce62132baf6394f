"""Check that the installed MuJoCo reproduces the validated muscle paths.

Tendon wrapping changed silently between MuJoCo versions, by up to 150 mm. A version number is therefore not enough:
muscle lengths at fixed poses are compared with `muscle_lengths.json`. For each body with fingers, the table holds poses
by joint name [rad, m] and the lengths of all muscles [m]; a body without fingers uses a part of it.

After a deliberate change of MuJoCo or of the models, write the table again: `python -c "from muscle_torch.embodiments
import guard; guard.write_table()"`
"""

import functools
import json
import re
from importlib import resources
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from muscle_torch.errors import InputError
from muscle_torch.storage.versions import package_version

from .embodiment import Embodiment

MUJOCO = "3.17"
MODELS = "1.0.6"
MYO_SIM = ">=0.2.4,<0.3"  # before 0.2.4 the abdomen body faced -x and its legs passed through each other
INSTALL = f'pip install "mujoco~={MUJOCO}.0" "mujoco-warp~={MUJOCO}.0"'
TOLERANCE = 1e-4  # [m]; other MuJoCo versions differ by millimetres, other machines by nanometres
TABLE = "muscle_lengths.json"
NUM_POSES = 6


def check_mujoco() -> None:
    """Check the versions of MuJoCo and MuJoCo Warp.

    Raises:
        InputError: One of them is not the tested version.
    """
    installed = package_version("mujoco")
    if not _is_tested(installed):
        raise InputError(f"MuJoCo {installed} is installed, {MUJOCO} is required: run `{INSTALL}`")
    warp = package_version("mujoco-warp")
    if warp is not None and not _is_tested(warp):
        raise InputError(f"mujoco-warp {warp} does not fit MuJoCo {installed}: run `{INSTALL}`")


def check_models() -> None:
    """Check the version of the package with the published bodies.

    Raises:
        InputError: It is missing or not the tested version.
    """
    models = package_version("musclemimic-models")
    if models != MODELS:
        status = "missing" if models is None else f"version {models}"
        raise InputError(f"the body models are {status}: run `pip install musclemimic-models=={MODELS}`")


def check_myo_sim() -> str:
    """Return the version of myo-sim, which provides the body with an abdomen.

    Raises:
        InputError: It is missing or not a tested version.
    """
    version = package_version("myo-sim")
    if version is None or not (0, 2, 4) <= _numbers(version) < (0, 3):
        status = "missing" if version is None else f"version {version}"
        raise InputError(
            f"the body legs_abs comes from myo-sim, which is {status}: run `pip install 'myo-sim{MYO_SIM}'`"
        )
    return version


def has_table(embodiment: Embodiment) -> bool:
    """Return whether validated muscle lengths exist for this body."""
    return embodiment.name in _table()


def check_muscle_lengths(embodiment: Embodiment) -> None:
    """Compare muscle lengths with the validated ones.

    Bodies and muscles without validated lengths are not checked.

    Raises:
        InputError: A length differs by more than `TOLERANCE`; the message names the muscle that differs most.
    """
    if not has_table(embodiment):
        return
    table = _table()[embodiment.name]
    names = [name for name in embodiment.muscle_names if name in table["lengths"]]
    validated = np.array([table["lengths"][name] for name in names]).T
    lengths = muscle_lengths(embodiment, table["poses"])[:, embodiment.muscle_columns(names)]
    pose, muscle = np.unravel_index(np.argmax(np.abs(lengths - validated)), lengths.shape)
    difference = lengths[pose, muscle] - validated[pose, muscle]
    if abs(difference) > TOLERANCE:
        raise InputError(
            f"{embodiment.name}: muscle {names[muscle]} is {1000 * difference:+.1f} mm off its "
            f"validated length; MuJoCo {mujoco.__version__} is installed, {MUJOCO} is required: run `{INSTALL}`"
        )


def muscle_lengths(embodiment: Embodiment, poses: dict[str, list[float]]) -> np.ndarray:
    """Compute the lengths of all muscles in several poses.

    Args:
        embodiment: The body.
        poses: Joint name -> its position in each pose [rad, m]; joints left out keep their default position.

    Returns:
        (poses, muscles) [m].
    """
    model = embodiment.model
    data = mujoco.MjData(model)
    lengths = []
    for pose in range(len(next(iter(poses.values())))):
        mujoco.mj_resetData(model, data)
        for name, address in _joint_addresses(embodiment).items():
            if name in poses:
                data.qpos[address] = poses[name][pose]
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_tendon(model, data)
        mujoco.mj_transmission(model, data)
        lengths.append(data.actuator_length[embodiment.muscle_ids])
    return np.stack(lengths)


def write_table() -> None:
    """Write `muscle_lengths.json` with the installed versions of MuJoCo, the models and myo-sim."""
    from . import bimanual, fullbody, legs
    from .options import BimanualOptions, BodyOptions, FullBodyOptions, LegsOptions

    check_mujoco()
    table = make_table(
        [
            bimanual.make(BimanualOptions(fingers=True)),
            fullbody.make(FullBodyOptions(fingers=True)),
            legs.make_legs(LegsOptions()),
            legs.make_legs_back(LegsOptions()),
            legs.make_legs_abs(BodyOptions()),
        ]
    )
    text = json.dumps(table, separators=(",", ":")).replace('],"', '],\n"')
    Path(__file__).with_name(TABLE).write_text(text + "\n")


def make_table(embodiments: list[Embodiment]) -> dict[str, Any]:
    """Return the table of bodies with fingers: poses spread over the joint ranges, and muscle lengths in them."""
    table: dict[str, Any] = {}
    for embodiment in embodiments:
        addresses = _joint_addresses(embodiment)
        qpos = embodiment.project(_poses(embodiment))
        poses = {name: qpos[:, address].round(6).tolist() for name, address in addresses.items()}
        lengths = muscle_lengths(embodiment, poses).T.round(6)
        table[embodiment.name] = {
            "mujoco": mujoco.__version__,
            "models": embodiment.model_version,
            "poses": poses,
            "lengths": dict(zip(embodiment.muscle_names, lengths.tolist(), strict=True)),
        }
    return table


def _poses(embodiment: Embodiment) -> np.ndarray:
    """Return poses (NUM_POSES, num_qpos): each joint between 10 and 90 % of its range, by a golden-ratio sequence."""
    model = embodiment.model
    low, high = model.jnt_range[embodiment.scalar_joint_ids].T
    count = np.arange(1, NUM_POSES + 1)[:, None] * 0.6180339887 + np.arange(len(low)) * 0.7548776662
    qpos = np.tile(embodiment.qpos0, (NUM_POSES, 1))
    qpos[:, embodiment.joint_qpos_ids] = low + (0.1 + 0.8 * (count % 1.0)) * (high - low)
    return qpos


def _joint_addresses(embodiment: Embodiment) -> dict[str, int]:
    """Return name -> qpos address of the hinges and slides."""
    names = [embodiment.joint_names[j] for j in embodiment.scalar_joint_ids]
    return dict(zip(names, embodiment.joint_qpos_ids.tolist(), strict=True))


@functools.cache
def _table() -> dict[str, Any]:
    return json.loads(resources.files("muscle_torch.embodiments").joinpath(TABLE).read_text())


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def _is_tested(version: str | None) -> bool:
    return version is not None and (version == MUJOCO or version.startswith(f"{MUJOCO}."))
