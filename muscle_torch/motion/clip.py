"""MotionClip: one motion of one body, stored as a plain .npz file without pickles."""

import zipfile
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from muscle_torch.errors import InputError, nearest
from muscle_torch.storage.files import write_atomically

FORMAT = "muscle_torch.MotionClip/1"
REQUIRED = ("qpos", "frequency", "joint_names", "embodiment", "model_version")
STORED = (*REQUIRED, "qvel", "name", "source", "licence", "landmarks", "landmark_names", "scale")
MIN_FRAMES = 2
UNREADABLE = (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True, repr=False)
class MotionClip:
    """Positions over time at a constant rate.

    The constructor checks nothing; `validate`, `save` and `load` do. A free joint comes first; its 7 columns of qpos
    are position [m] and quaternion (w, x, y, z) in the world frame, its 6 columns of qvel are linear velocity [m/s] in
    the world frame and angular velocity [rad/s] in the body frame, as in MuJoCo. Hinges are in rad, slides in m.

    Attributes:
        name: Name in tables and reports.
        qpos: (T, num_qpos) float32, columns in the order of `joint_names`.
        frequency: Frame rate [Hz].
        joint_names: Names of the joints.
        embodiment: `Embodiment.name`, for example "MyoBimanualArm".
        model_version: Version of the body's package.
        source: Where the motion comes from.
        licence: Its licence.
        qvel: (T, num_qvel) float32; None: the derivative of qpos is used.
        landmarks: (T, K, 3) float32 [m], targets from the recorded points, for display only.
        landmark_names: K names.
        scale: Leg length of the body over that of the recorded person; NaN: unknown.
    """

    name: str
    qpos: np.ndarray
    frequency: float
    joint_names: tuple[str, ...]
    embodiment: str
    model_version: str
    source: str = ""
    licence: str = ""
    qvel: np.ndarray | None = None
    landmarks: np.ndarray | None = None
    landmark_names: tuple[str, ...] = ()
    scale: float = float("nan")

    def __repr__(self) -> str:
        """Return name, body, length and rate, without the data."""
        return (
            f"MotionClip({self.name!r} of {self.embodiment}: {self.num_frames} frames at {self.frequency:g} Hz, "
            f"{len(self.joint_names)} joints)"
        )

    def __getitem__(self, joint: str) -> np.ndarray:
        """Return the positions of a joint over time: `clip["elbow_flex_r"]`.

        Args:
            joint: Its name.

        Returns:
            (T,) in rad or m; (T, 7) for the free joint.

        Raises:
            InputError: The clip has no such joint.
        """
        if joint not in self.joint_names:
            raise InputError(f"motion {self.name!r} has no joint {joint!r}{nearest(str(joint), self.joint_names)}")
        index = self.joint_names.index(joint)
        if self.has_root:
            return self.qpos[:, :7] if index == 0 else self.qpos[:, index + 6]
        return self.qpos[:, index]

    @property
    def num_frames(self) -> int:
        """Number of frames T."""
        return len(self.qpos)

    @property
    def duration(self) -> float:
        """Time from the first to the last frame [s]."""
        return (self.num_frames - 1) / self.frequency

    @property
    def has_root(self) -> bool:
        """Whether the first joint is free, with 7 columns of qpos and 6 of qvel."""
        return self.qpos.shape[1] == len(self.joint_names) + 6

    def validate(self, where: str = "") -> "MotionClip":
        """Check shapes, rate, finite values and the root quaternion.

        Args:
            where: File name for error messages.

        Returns:
            The clip itself.

        Raises:
            InputError: The clip is invalid; the message says what is wrong.
        """
        where = where or f"motion {self.name!r}"
        _check_shapes(self, where)
        if not np.isfinite(self.frequency) or self.frequency <= 0:
            raise InputError(f"{where}: frequency is {self.frequency} Hz, it must be positive")
        _check_finite("qpos", self.qpos, self.has_root, 7, self.joint_names, where)
        if self.qvel is not None:
            _check_finite("qvel", self.qvel, self.has_root, 6, self.joint_names, where)
        if self.has_root:
            lengths = np.linalg.norm(self.qpos[:, 3:7], axis=1)
            frame = int(np.argmax(np.abs(lengths - 1.0)))
            if abs(lengths[frame] - 1.0) > 1e-2:
                raise InputError(
                    f"{where}: the root quaternion of frame {frame} has length {lengths[frame]:.3g}; "
                    "columns 3 to 6 of qpos must be a unit quaternion (w, x, y, z)"
                )
        return self

    def save(self, path: str | Path) -> Path:
        """Write the clip to an .npz file, atomically.

        Args:
            path: The file.

        Returns:
            The path.

        Raises:
            InputError: The clip is invalid or the file cannot be written.
        """
        self.validate()
        arrays = {
            "format": np.array(FORMAT),
            "name": np.array(self.name),
            "qpos": np.asarray(self.qpos, dtype=np.float32),
            "frequency": np.array(float(self.frequency)),
            "joint_names": np.array(self.joint_names, dtype=np.str_),
            "embodiment": np.array(self.embodiment),
            "model_version": np.array(self.model_version),
            "source": np.array(self.source),
            "licence": np.array(self.licence),
        }
        if self.qvel is not None:
            arrays["qvel"] = np.asarray(self.qvel, dtype=np.float32)
        if self.landmarks is not None:
            arrays["landmarks"] = np.asarray(self.landmarks, dtype=np.float32)
            arrays["landmark_names"] = np.array(self.landmark_names, dtype=np.str_)
        if np.isfinite(self.scale):
            arrays["scale"] = np.array(float(self.scale))
        return write_arrays(Path(path), arrays)

    @classmethod
    def load(cls, path: str | Path) -> "MotionClip":
        """Read a clip written by `save`.

        Raises:
            InputError: The file is missing, damaged or not a motion clip.
        """
        path = Path(path)
        return cls.from_arrays(read_arrays(path, STORED), path)

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], path: Path) -> "MotionClip":
        """Return the clip with the arrays that were read from `path`.

        Raises:
            InputError: Arrays are missing or invalid.
        """
        missing = [key for key in REQUIRED if key not in arrays]
        if missing:
            raise InputError(f"{path}: not a motion clip, it lacks {', '.join(missing)}")
        clip = cls(
            name=str(arrays.get("name", path.stem)),
            qpos=as_numbers(arrays["qpos"], "qpos", path),
            frequency=as_frequency(arrays["frequency"], path),
            joint_names=tuple(str(name) for name in arrays["joint_names"].reshape(-1)),
            embodiment=str(arrays["embodiment"]),
            model_version=str(arrays["model_version"]),
            source=str(arrays.get("source", "")),
            licence=str(arrays.get("licence", "")),
            qvel=as_numbers(arrays["qvel"], "qvel", path) if "qvel" in arrays else None,
            landmarks=as_numbers(arrays["landmarks"], "landmarks", path) if "landmarks" in arrays else None,
            landmark_names=tuple(str(name) for name in arrays.get("landmark_names", np.zeros(0)).reshape(-1)),
            scale=float(arrays["scale"]) if "scale" in arrays else float("nan"),
        )
        return clip.validate(str(path))


def read_arrays(path: Path, names: Collection[str]) -> dict[str, np.ndarray]:
    """Read those of the arrays `names` that an .npz file has. Nothing is unpickled; object arrays count as absent.

    Raises:
        InputError: The file is missing, damaged or not an .npz file.
    """
    if not path.is_file():
        raise InputError(f"motion file {path} does not exist" + (" (it is a folder)" if path.is_dir() else ""))
    if path.stat().st_size == 0:
        raise InputError(f"motion file {path} is empty")
    if not zipfile.is_zipfile(path):
        raise InputError(f"motion file {path} is not an .npz file, or is incomplete; copy or download it again")
    arrays: dict[str, np.ndarray] = {}
    try:
        with np.load(path, allow_pickle=False) as stored:
            for key in set(names) & set(stored.files):
                try:
                    arrays[key] = stored[key]
                except ValueError as error:
                    if "allow_pickle" not in str(error):
                        raise
    except UNREADABLE as error:
        raise InputError(f"motion file {path} is damaged ({error}); copy or download it again") from error
    return arrays


def write_arrays(path: Path, arrays: dict[str, np.ndarray], compress: bool = True) -> Path:
    """Write an .npz file atomically.

    Args:
        path: The file.
        arrays: Name -> array.
        compress: Whether to compress it.

    Returns:
        The path.

    Raises:
        InputError: The file cannot be written.
    """
    with write_atomically(path) as temporary, open(temporary, "wb") as file:
        (np.savez_compressed if compress else np.savez)(file, **arrays)  # type: ignore[arg-type]
    return path


def as_numbers(array: np.ndarray, key: str, path: Path) -> np.ndarray:
    """Return a numeric array as float32.

    Args:
        array: The array.
        key: Its name, for the error message.
        path: Its file, for the error message.

    Raises:
        InputError: The array is not numeric.
    """
    if array.dtype.kind not in "fiu":
        raise InputError(f"{path}: {key} must be an array of numbers, but is {array.dtype} {array.shape}")
    return array.astype(np.float32)


def as_frequency(array: np.ndarray, path: Path) -> float:
    """Return a frame rate [Hz] stored as a scalar or an array of one. Raises InputError for anything else."""
    if array.dtype.kind not in "fiu" or array.size != 1:
        raise InputError(f"{path}: frequency must be one number [Hz], but is {array.dtype} {array.shape}")
    return float(array.reshape(-1)[0])


def _check_shapes(clip: MotionClip, where: str) -> None:
    joints = len(clip.joint_names)
    if clip.qpos.ndim != 2 or clip.qpos.shape[1] not in (joints, joints + 6):
        raise InputError(
            f"{where}: qpos has shape {clip.qpos.shape}; {joints} joints need (frames, {joints}), "
            f"or (frames, {joints + 6}) if the first joint is free"
        )
    if clip.num_frames < MIN_FRAMES:
        frames = "1 frame" if clip.num_frames == 1 else f"{clip.num_frames} frames"
        raise InputError(f"{where}: has {frames}, a motion needs at least {MIN_FRAMES}")
    if len(set(clip.joint_names)) != joints:
        repeated = next(name for name in clip.joint_names if clip.joint_names.count(name) > 1)
        raise InputError(f"{where}: joint_names contains {repeated!r} twice")
    qvel_shape = (clip.num_frames, clip.qpos.shape[1] - clip.has_root)
    points = (clip.num_frames, len(clip.landmark_names), 3)
    if clip.landmarks is not None and clip.landmarks.shape != points:
        raise InputError(
            f"{where}: landmarks has shape {clip.landmarks.shape}, but its names and qpos require {points}"
        )
    if clip.qvel is not None and clip.qvel.shape != qvel_shape:
        raise InputError(f"{where}: qvel has shape {clip.qvel.shape}, but qpos requires {qvel_shape}")


def _check_finite(
    key: str, values: np.ndarray, has_root: bool, root_width: int, names: tuple[str, ...], where: str
) -> None:
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        frame, column = (int(i) for i in bad[0])
        joint = names[max(0, column - root_width + 1) if has_root else column]
        raise InputError(
            f"{where}: {key} of joint {joint!r} is {values[frame, column]} in frame {frame} "
            f"({len(np.unique(bad[:, 0]))} frames affected); fill the gap or cut the clip there"
        )
