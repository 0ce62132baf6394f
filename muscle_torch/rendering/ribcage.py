"""Removal of the badge that the published ribcage mesh carries on its sternum, from drawings only."""

import mujoco
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

RIBCAGES = ("thorax", "torso_geom_13_ribcage_s")  # meshes with a badge
MARGIN = 0.005  # [m] around the badge: it has small separate parts


def visible_faces(model: mujoco.MjModel, mesh: int) -> np.ndarray:
    """Return which faces of a mesh are drawn, bool (F,): all, or all but the badge of a ribcage.

    The badge is the connected part that holds more than half of the faces, and every part within its bounding box.

    Args:
        model: The model.
        mesh: Id of the mesh.
    """
    first, count = model.mesh_faceadr[mesh], model.mesh_facenum[mesh]
    faces = model.mesh_face[first : first + count]
    if model.mesh(mesh).name not in RIBCAGES:
        return np.ones(len(faces), dtype=bool)
    start = model.mesh_vertadr[mesh]
    vertices = model.mesh_vert[start : start + model.mesh_vertnum[mesh]]
    part = _parts(vertices, faces)
    sizes = np.bincount(part)
    badge = int(sizes.argmax())
    if sizes[badge] <= len(faces) / 2:
        return np.ones(len(faces), dtype=bool)
    corners = vertices[faces[part == badge]].reshape(-1, 3)
    low, high = corners.min(axis=0) - MARGIN, corners.max(axis=0) + MARGIN
    outside = ((vertices[faces] < low) | (vertices[faces] > high)).any(axis=(1, 2))
    shown = np.unique(part[outside])
    return np.isin(part, shown[shown != badge])


def hide_badge(model: mujoco.MjModel) -> None:
    """Remove the badge from a compiled model's pictures, in place: its faces become points."""
    for mesh in range(model.nmesh):
        hidden = model.mesh_faceadr[mesh] + np.flatnonzero(~visible_faces(model, mesh))
        model.mesh_face[hidden] = model.mesh_face[hidden, :1]


def _parts(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Return the connected part of each face, (F,); vertices at the same place are one."""
    place = np.unique(vertices.round(6), axis=0, return_inverse=True)[1].ravel()
    corners = place[faces]
    ends = np.concatenate((corners[:, [0, 1]], corners[:, [1, 2]])).T
    edges = coo_array((np.ones(ends.shape[1]), (ends[0], ends[1])), shape=(place.max() + 1,) * 2)
    return connected_components(edges, directed=False)[1][corners[:, 0]]
