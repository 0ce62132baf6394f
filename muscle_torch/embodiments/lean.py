"""A body without what is only to look at: its bones, and path sites and wrapping geometry of muscles it does not have.

Kinematics and the search for contacts are spared them at every step; the motion stays equal to the bit.
"""

import re

import mujoco
import numpy as np

WRAPS = (mujoco.mjtWrap.mjWRAP_SPHERE, mujoco.mjtWrap.mjWRAP_CYLINDER)
# The published bodies name path sites EPL-P3 or EPL-P3_left, and those that choose the side of a wrap by their use.
OF_A_PATH = re.compile(r"-P\d+(_left)?$|side")


def lean_model(spec: mujoco.MjSpec) -> mujoco.MjModel:
    """The model of `spec`, which is changed, without what neither moves, touches nor is measured.

    Joints, bodies with their masses, muscles, contacts and sensors are those of `spec.compile()`, equal to the bit.
    Tracked sites and anatomical landmarks stay.
    """
    whole = spec.compile()
    geoms, sites = _used_geoms(whole), _used_sites(whole)
    _freeze_inertia(spec, whole)
    seen = [geom for geom in spec.geoms if geom.id not in geoms]
    idle = [site for site in spec.sites if site.id not in sites and OF_A_PATH.search(site.name)]
    for element in seen + idle:
        spec.delete(element)
    drawn = {element.meshname for element in (*spec.geoms, *spec.sites)}
    for mesh in [mesh for mesh in spec.meshes if mesh.name not in drawn]:  # nine tenths of the model's memory
        spec.delete(mesh)
    return spec.compile()


def _freeze_inertia(spec: mujoco.MjSpec, model: mujoco.MjModel) -> None:
    """Writes down the inertia of bodies that have it from their geoms, as some of these go."""
    for body in spec.bodies[1:]:
        if not body.explicitinertial:
            body.explicitinertial = True
            body.mass, body.inertia = model.body_mass[body.id], model.body_inertia[body.id]
            body.ipos, body.iquat = model.body_ipos[body.id], model.body_iquat[body.id]


def _used_geoms(model: mujoco.MjModel) -> set[int]:
    """Ids of the geoms that touch, that muscles bend round or that a sensor reads."""
    touching = np.flatnonzero(model.geom_contype | model.geom_conaffinity)
    wrapped = model.wrap_objid[np.isin(model.wrap_type, WRAPS)]
    used = (touching, model.pair_geom1, model.pair_geom2, wrapped, *_measured(model, mujoco.mjtObj.mjOBJ_GEOM))
    return set(np.concatenate(used).tolist())


def _used_sites(model: mujoco.MjModel) -> set[int]:
    """Ids of the sites on a muscle's path, beside its wraps, or that a sensor reads."""
    path = model.wrap_objid[model.wrap_type == mujoco.mjtWrap.mjWRAP_SITE]
    beside = model.wrap_prm[np.isin(model.wrap_type, WRAPS)].astype(int)  # -1: on no side
    used = (path, beside, *_measured(model, mujoco.mjtObj.mjOBJ_SITE))
    return set(np.concatenate(used).tolist())


def _measured(model: mujoco.MjModel, kind: mujoco.mjtObj) -> tuple[np.ndarray, np.ndarray]:
    """Ids of the elements of a kind that sensors read, and that they refer to."""
    return (
        model.sensor_objid[model.sensor_objtype == kind],
        model.sensor_refid[model.sensor_reftype == kind],
    )
