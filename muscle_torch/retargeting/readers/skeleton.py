"""A chain of joints with fixed offsets, posed by local rotations: what ASF/AMC, BVH and SMPL have in common."""

from dataclasses import dataclass

import numpy as np

from muscle_torch.errors import InputError

# A skeleton's own axes: y up, facing z, x to its left. Rows give the axes of RawMotion.
TO_Z_UP = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


def check_numbers(values: np.ndarray, where: str) -> None:
    """Raise InputError, which names the first frame, if channels (T, ...) of joints hold NaN or infinity."""
    broken = ~np.isfinite(values.reshape(len(values), -1)).all(axis=1)
    if broken.any():
        raise InputError(
            f"{where}: frame {int(np.argmax(broken)) + 1} of {len(values)} holds values that are no numbers (NaN or "
            "infinite): fill the gap in the program that recorded it, or cut the file there"
        )


@dataclass(frozen=True)
class Skeleton:
    """Joints in an order where parents come first."""

    names: tuple[str, ...]
    parents: tuple[int, ...]  # -1: the root
    offsets: np.ndarray  # (J, 3) from the parent joint at rest

    def pose(
        self, root: np.ndarray, rotations: np.ndarray, places: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return global positions (T, J, 3) and rotations (T, J, 3, 3).

        root (T, 3): position of the root; rotations (T, J, 3, 3): local; places (T, J, 3): of the joints in their
        parents' axes, if they change over time (by default `offsets`).
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
        """Joint positions (J, 3) without any rotation, the root at the origin."""
        identity = np.tile(np.eye(3), (1, len(self.names), 1, 1))
        return self.pose(np.zeros((1, 3)), identity)[0][0]
