"""A chain of joints with fixed offsets, posed by local rotations: common to ASF/AMC, BVH and SMPL."""

from dataclasses import dataclass

import numpy as np

from muscle_torch.errors import InputError

# Axes of a skeleton: y up, facing z, x to its left. Rows are the axes of RawMotion.
TO_Z_UP = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


def check_numbers(values: np.ndarray, where: str) -> None:
    """Raise InputError, with the first frame, if joint channels (T, ...) contain NaN or infinity."""
    broken = ~np.isfinite(values.reshape(len(values), -1)).all(axis=1)
    if broken.any():
        raise InputError(
            f"{where}: frame {int(np.argmax(broken)) + 1} of {len(values)} contains values that are not numbers (NaN "
            "or infinite): fill the gap in the recording program, or cut the file there"
        )


@dataclass(frozen=True)
class Skeleton:
    """Joints, ordered such that parents come first."""

    names: tuple[str, ...]
    parents: tuple[int, ...]  # -1: the root
    offsets: np.ndarray  # (J, 3) from the parent joint at rest

    def pose(
        self, root: np.ndarray, rotations: np.ndarray, places: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return global positions (T, J, 3) and rotations (T, J, 3, 3).

        Args:
            root: Position of the root, (T, 3).
            rotations: Local rotations, (T, J, 3, 3).
            places: Positions of the joints in their parents' axes, (T, J, 3), if they vary; None: `offsets`.
        """
        positions, turns = np.empty(rotations.shape[:-1]), np.empty(rotations.shape)
        for index, parent in enumerate(self.parents):
            if parent < 0:
                positions[:, index], turns[:, index] = root, rotations[:, index]
            else:
                turns[:, index] = turns[:, parent] @ rotations[:, index]
                step = self.offsets[index] if places is None else places[:, index, :, None]
                positions[:, index] = positions[:, parent] + (turns[:, parent] @ step).reshape(-1, 3)
        return positions, turns

    def rest(self) -> np.ndarray:
        """Return joint positions (J, 3) without rotations, with the root at the origin."""
        identity = np.tile(np.eye(3), (1, len(self.names), 1, 1))
        return self.pose(np.zeros((1, 3)), identity)[0][0]
