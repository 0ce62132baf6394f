"""Distance between two movements as a whole: frame by frame, and after the best alignment in time.

A movement that is correct but late has a large frame-by-frame distance and a small dynamic time warping distance; the
discrete Frechet distance is the worst moment of the best alignment (the measures of MuscleMimic's validation).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from .callback import EvaluationCallback
from .trials import motions_of

# Quantity -> MjData field; the relative sites are computed from the sites.
FIELDS = {"joint_pos": "qpos", "joint_vel": "qvel", "site_pos": "site_xpos"}


def distances(one: np.ndarray, other: np.ndarray) -> dict[str, float]:
    """Compute the `euclidean`, `dtw` and `frechet` distance of two movements.

    The distance of two frames is the mean over elements of the Euclidean distance. euclidean: its mean over time. dtw:
    its sum along the cheapest monotone alignment, divided by T, so that it never exceeds euclidean. frechet: the
    smallest possible maximum along an alignment.

    Args:
        one: (T, E, D): E elements (joints, sites) with D coordinates.
        other: The other movement, the same shape.

    Returns:
        Measure -> distance, in the unit of the movements.
    """
    if one.shape != other.shape or one.ndim != 3 or not len(one):
        raise ValueError(f"movements of shapes {one.shape} and {other.shape}: both must be (T, E, D), T at least 1")
    count = len(one)
    # By diagonals (i + j = k), each from the two before: no T x T array is needed. Row 0 is the border.
    older, newer = (np.full((2, count + 1), np.inf) for _ in range(2))
    for k in range(2 * count - 1):
        i = np.arange(max(0, k - count + 1), min(count - 1, k) + 1)
        gap = np.linalg.norm(one[i] - other[k - i], axis=2).mean(axis=1)
        best = np.minimum(np.minimum(older[:, i], newer[:, i]), newer[:, i + 1]) if k else np.zeros((2, 1))
        newest = np.full_like(newer, np.inf)
        newest[0, i + 1] = gap + best[0]
        newest[1, i + 1] = np.maximum(gap, best[1])
        older, newer = newer, newest
    straight = np.linalg.norm(one - other, axis=2).mean()
    return {"euclidean": float(straight), "dtw": float(newer[0, -1] / count), "frechet": float(newer[1, -1])}


class Distances(EvaluationCallback):
    """Callback that adds trajectory distances to the row of each motion; rows of other goals are unchanged.

    Adds `<measure>_<quantity>` for joint_pos [rad], joint_vel [rad/s], site_pos and relative_site_pos [m] over the
    whole clip except its first frame, which is the start state.
    """

    def on_batch_begin(self, env: Any, trials: Sequence[int]) -> None:
        self._clips, self._frames = tuple(trials), []

    def on_step_end(self, env: Any, transition: Any) -> None:
        sites = tuple(env.embodiment.site_ids.tolist())
        rows = {"site_xpos": sites}
        read = {name: env.physics.field(field, rows.get(field)) for name, field in FIELDS.items()}
        self._frames.append({name: v[: len(self._clips)].to("cpu", copy=True) for name, v in read.items()})

    def on_batch_end(self, env: Any, steps: Sequence[int]) -> Sequence[Mapping[str, float | None]]:
        library = motions_of(env)
        if library is None:
            return ()
        played = {name: torch.stack([f[name] for f in self._frames], dim=1).numpy() for name in FIELDS}
        rows = []
        for world, clip in enumerate(self._clips):
            motion = library.clip_at_origin(clip)
            tables = {"joint_pos": motion.qpos, "joint_vel": motion.qvel, "site_pos": motion.site_pos}
            reference = {name: table[1:].cpu().numpy() for name, table in tables.items()}
            body = {name: values[world, : len(motion.qpos) - 1] for name, values in played.items()}
            rows.append(_row(env.embodiment, body, reference))
        return rows


def _row(
    embodiment: Any, body: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray]
) -> dict[str, float | None]:
    joints = {"joint_pos": embodiment.joint_qpos_ids, "joint_vel": embodiment.joint_qvel_ids}
    pairs = {name: (body[name][:, ids, None], reference[name][:, ids, None]) for name, ids in joints.items()}
    sites = body["site_pos"], reference["site_pos"]
    pairs["site_pos"] = sites
    if sites[0].shape[1] > 1:
        pairs["relative_site_pos"] = (sites[0][:, 1:] - sites[0][:, :1], sites[1][:, 1:] - sites[1][:, :1])
    row: dict[str, float | None] = {}
    for name, pair in pairs.items():
        finite = np.isfinite(pair[0]).all()  # undefined for an environment that diverged
        measures = distances(*pair) if finite else dict.fromkeys(("euclidean", "dtw", "frechet"))
        row |= {f"{measure}_{name}": value for measure, value in measures.items()}
    return row
