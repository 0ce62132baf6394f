"""Read joint angles that stac-mjx fitted to keypoints: `.h5` files, or the same arrays as `.npz`.

The clips of Leonardis et al. 2025 are such files. Their fit sometimes jumps between two postures with the same keypoint
positions. Jumps are bridged, and velocities are differentiated from the bridged angles, because those in the files are
clipped at 20 rad/s.
"""

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import mujoco
import numpy as np
from scipy.interpolate import PchipInterpolator

from muscle_torch.embodiments import Embodiment
from muscle_torch.errors import InputError

from .clip import MotionClip, as_frequency, as_numbers

# Name here -> name in the .h5 files, which do not contain `frequency`.
NAMES = {"joint_names": "names_qpos", "body_names": "names_xpos"}
STORED = ("qpos", "xpos", "kp_data", "frequency", *NAMES)
FREQUENCY = 200.0  # [Hz] of the published clips
SOURCE = "stac-mjx: "  # prefix of the path in a clip's source
RENAMED = {"elbow_joint": "elbow"}  # joint in the clips -> joint in the model
LARGEST_STEP = 0.3  # [rad] between frames; larger steps are jumps of the fit
WIDEST_BRIDGE = 10  # largest number of frames replaced on either side of a jump
TOLERANCE = 1e-3  # [m] between stored and computed body positions; the published clips stay below half of it


def read_h5(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of an .h5 file under the names in STORED.

    Raises:
        InputError: h5py is not installed, or the file is damaged or another kind of file.
    """
    try:
        import h5py
    except ImportError:
        raise InputError(f"{path}: reading .h5 files needs h5py: run `pip install muscle_torch[mouse]`") from None
    try:
        with h5py.File(path, "r") as file:
            places = {name: NAMES.get(name, name) for name in STORED}
            return {name: np.asarray(file[place]) for name, place in places.items() if place in file}
    except OSError as error:
        raise InputError(
            f"motion file {path} is damaged or not an .h5 file ({error}); copy or download it again"
        ) from None


def stac_clip(arrays: dict[str, np.ndarray], embodiment: Embodiment, path: Path) -> MotionClip:
    """Return the clip of a file, with jumps bridged and columns as in the file.

    Args:
        arrays: Arrays of the file, under the names in STORED.
        embodiment: Body of the clip.
        path: The file.

    Raises:
        InputError: An array is missing, the clip belongs to another arm, or a jump cannot be bridged.
    """
    missing = [name for name in ("qpos", "joint_names") if name not in arrays]
    if missing:
        raise InputError(f"{path}: not a file of joint angles by stac-mjx, it lacks {', '.join(missing)}")
    names = tuple(RENAMED.get(name, name) for name in _words(arrays["joint_names"]))
    clip = MotionClip(
        name=path.stem.removesuffix("_ik"),
        qpos=as_numbers(arrays["qpos"], "qpos", path),
        frequency=as_frequency(arrays["frequency"], path) if "frequency" in arrays else FREQUENCY,
        joint_names=names,
        embodiment=embodiment.name,
        model_version=embodiment.model_version,
        source=SOURCE + str(path),
    ).validate(str(path))
    _check_same_arm(clip, arrays, embodiment, path)
    return dataclasses.replace(clip, qpos=bridged(clip.qpos, str(path)))


def bridged(qpos: np.ndarray, where: str) -> np.ndarray:
    """Return joint angles without steps above LARGEST_STEP.

    The frames around a jump are replaced, in all joints, by a monotone cubic (PCHIP) through the frames before and
    after it; as few frames as possible are replaced.

    Args:
        qpos: Joint angles (T, joints) [rad].
        where: File or clip, for error messages.

    Raises:
        InputError: A jump remains even across 2 * WIDEST_BRIDGE frames, or there are too few frames beside it.
    """
    jumps = np.flatnonzero((np.abs(np.diff(qpos, axis=0)) > LARGEST_STEP).any(axis=1))
    for half in range(1, WIDEST_BRIDGE + 1):
        if not len(jumps):
            return qpos
        frames = np.arange(len(qpos))
        # Frame `jump` is before the jump, `jump + 1` after it.
        kept = np.all(np.abs(frames[:, None] - (jumps + 0.5)) > half, axis=1)
        if not (kept[0] and kept[-1]):
            break
        candidate = PchipInterpolator(frames[kept], qpos[kept], axis=0)(frames).astype(qpos.dtype)
        if np.abs(np.diff(candidate, axis=0)).max() <= LARGEST_STEP:
            return candidate
    size = np.abs(np.diff(qpos, axis=0))[jumps[0]].max()
    raise InputError(
        f"{where}: a jump of {size:.2f} rad after frame {jumps[0]} cannot be bridged: frames beside it jump too, or "
        "the clip begins or ends there; cut the clip there or leave it out"
    )


def without_repeats(clips: Iterable[MotionClip]) -> list[MotionClip]:
    """Return the clips without stac-mjx recordings that repeat the frames of an earlier one."""
    kept, recordings = [], set()
    for clip in clips:
        frames = clip.qpos.tobytes()
        if clip.source.startswith(SOURCE) and frames in recordings:
            continue
        recordings.add(frames)
        kept.append(clip)
    return kept


def _check_same_arm(clip: MotionClip, arrays: dict[str, np.ndarray], embodiment: Embodiment, path: Path) -> None:
    """Raise InputError unless the clip has the joints of the body and the same body positions in its first frame."""
    hint = "; the published clips need the published arm: embodiment.path=<mouse_arm.xml> (docs/mouse.md)"
    unknown = [name for name in clip.joint_names if name not in embodiment.joint_names]
    lacking = [name for name in embodiment.joint_names if name not in clip.joint_names]
    if unknown or lacking:
        raise InputError(
            f"{path}: a clip of another arm: joints {', '.join(unknown or lacking)} are in only one of the clip and "
            f"{embodiment.name}{hint}"
        )
    if "xpos" not in arrays or "body_names" not in arrays:
        return
    model, data = embodiment.model, mujoco.MjData(embodiment.model)
    known = {model.body(i).name: i for i in range(1, model.nbody)}
    bodies = [(column, name) for column, name in enumerate(_words(arrays["body_names"])) if name in known]
    addresses = [int(model.joint(name).qposadr[0]) for name in clip.joint_names]
    data.qpos[addresses] = clip.qpos[0]
    mujoco.mj_kinematics(model, data)
    for column, name in bodies:
        away = float(np.linalg.norm(data.xpos[known[name]] - arrays["xpos"][0, column]))
        if away > TOLERANCE:
            raise InputError(
                f"{path}: a clip of another arm: in its first frame body {name!r} is {1e3 * away:.1f} mm from where "
                f"{embodiment.name} has it{hint}"
            )


def _words(array: np.ndarray) -> list[str]:
    return [word.decode() if isinstance(word, bytes) else str(word) for word in array.reshape(-1).tolist()]
