"""Read joint angles that stac-mjx fitted to keypoints: its `.h5` files, or the same arrays as `.npz`.

The clips of Leonardis et al. 2025 are such files. Their fit jumps now and then between two postures that put the
keypoints at the same places; jumps are bridged, and velocities, which the files clip at 20 rad/s, are differentiated
from the bridged angles.
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

# Name here -> name in the .h5 files. `frequency` is in no .h5 file.
NAMES = {"joint_names": "names_qpos", "body_names": "names_xpos"}
STORED = ("qpos", "xpos", "kp_data", "frequency", *NAMES)
FREQUENCY = 200.0  # [Hz] of the published clips
SOURCE = "stac-mjx: "  # before the path, in what a clip says of its source
RENAMED = {"elbow_joint": "elbow"}  # joint in the clips -> joint in the model
LARGEST_STEP = 0.3  # [rad] between frames; more is a jump of the fit
WIDEST_BRIDGE = 10  # frames on either side of a jump
TOLERANCE = 1e-3  # [m] between a stored place of a body and ours; the published clips stay below half of it


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
        raise InputError(f"motion file {path} is damaged or no .h5 file ({error}); copy or download it again") from None


def stac_clip(arrays: dict[str, np.ndarray], embodiment: Embodiment, path: Path) -> MotionClip:
    """Return the clip of a file of which `arrays` was read, its jumps bridged; columns as in the file.

    Raises:
        InputError: An array is missing, the clip is another arm's, or a jump cannot be bridged.
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
    """Return angles (T, joints) [rad] whose steps are all below LARGEST_STEP.

    The frames around a jump, all joints of them, are replaced by a monotone cubic (PCHIP) through the frames before and
    after; as few of them as suffice.

    Raises:
        InputError: A jump is left even over 2 * WIDEST_BRIDGE frames, or too few frames stand beside it.
    """
    jumps = np.flatnonzero((np.abs(np.diff(qpos, axis=0)) > LARGEST_STEP).any(axis=1))
    for half in range(1, WIDEST_BRIDGE + 1):
        if not len(jumps):
            return qpos
        frames = np.arange(len(qpos))
        # Frame `jump` is before the jump, `jump + 1` after it.
        kept = (np.abs(frames[:, None] - (jumps + 0.5)) > half).all(axis=1)
        if not (kept[0] and kept[-1]):
            break
        mended = PchipInterpolator(frames[kept], qpos[kept], axis=0)(frames).astype(qpos.dtype)
        if np.abs(np.diff(mended, axis=0)).max() <= LARGEST_STEP:
            return mended
    size = np.abs(np.diff(qpos, axis=0))[jumps[0]].max()
    raise InputError(
        f"{where}: a jump of {size:.2f} rad after frame {jumps[0]} cannot be mended: its surroundings jump too, or the "
        "clip begins or ends there; cut it there or leave it out"
    )


def without_repeats(clips: Iterable[MotionClip]) -> list[MotionClip]:
    """Return clips without the recordings of stac-mjx that have the frames of an earlier one, whatever their names."""
    kept, recordings = [], set()
    for clip in clips:
        frames = clip.qpos.tobytes()
        if clip.source.startswith(SOURCE) and frames in recordings:
            continue
        recordings.add(frames)
        kept.append(clip)
    return kept


def _check_same_arm(clip: MotionClip, arrays: dict[str, np.ndarray], embodiment: Embodiment, path: Path) -> None:
    """Raise InputError unless the joints are the body's, and its bodies are where the clip has them."""
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
