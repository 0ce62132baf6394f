"""Remove visual-only elements from a body: bone meshes, and path sites and wrap geoms of removed muscles.

This saves kinematics and collision detection at every step; the motion stays bit-identical.
"""

import re

import mujoco
import numpy as np

WRAPS = (mujoco.mjtWrap.mjWRAP_SPHERE, mujoco.mjtWrap.mjWRAP_CYLINDER)
# The published bodies name path sites EPL-P3 or EPL-P3_left; names of wrap side sites contain `side`.
OF_A_PATH = re.compile(r"-P\d+(_left)?$|side")


def lean_model(spec: mujoco.MjSpec) -> mujoco.MjModel:
    """Compile a spec without elements that affect neither dynamics, contacts nor sensors. Edits the spec in place.

    Joints, bodies and their masses, muscles, contacts and sensors are bit-identical to those of `spec.compile()`.
    Tracked sites and anatomical landmarks stay.
    """
    whole = spec.compile()
    geoms, sites = _used_geoms(whole), _used_sites(whole)
    _freeze_inertia(spec, whole)
    visual_geoms = [geom for geom in spec.geoms if geom.id not in geoms]
    unused_sites = [site for site in spec.sites if site.id not in sites and OF_A_PATH.search(site.name)]
    for element in visual_geoms + unused_sites:
        spec.delete(element)
    used_meshes = {element.meshname for element in (*spec.geoms, *spec.sites)}
    for mesh in [mesh for mesh in spec.meshes if mesh.name not in used_meshes]:  # 90 % of the model's memory
        spec.delete(mesh)
    return spec.compile()


def _freeze_inertia(spec: mujoco.MjSpec, model: mujoco.MjModel) -> None:
    """Make inferred inertias explicit, because some of the geoms that define them are removed."""
    for body in spec.bodies[1:]:
        if not body.explicitinertial:
            body.explicitinertial = True
            body.mass, body.inertia = model.body_mass[body.id], model.body_inertia[body.id]
            body.ipos, body.iquat = model.body_ipos[body.id], model.body_iquat[body.id]


def _used_geoms(model: mujoco.MjModel) -> set[int]:
    """Return the ids of geoms that collide, that muscles wrap around or that a sensor reads."""
    touching = np.flatnonzero(model.geom_contype | model.geom_conaffinity)
    wrapped = model.wrap_objid[np.isin(model.wrap_type, WRAPS)]
    used = (touching, model.pair_geom1, model.pair_geom2, wrapped, *_measured(model, mujoco.mjtObj.mjOBJ_GEOM))
    return set(np.concatenate(used).tolist())


def _used_sites(model: mujoco.MjModel) -> set[int]:
    """Return the ids of sites on a muscle path, of wrap side sites and of sites that a sensor reads."""
    path = model.wrap_objid[model.wrap_type == mujoco.mjtWrap.mjWRAP_SITE]
    beside = model.wrap_prm[np.isin(model.wrap_type, WRAPS)].astype(int)  # -1: no side site
    used = (path, beside, *_measured(model, mujoco.mjtObj.mjOBJ_SITE))
    return set(np.concatenate(used).tolist())


def _measured(model: mujoco.MjModel, kind: mujoco.mjtObj) -> tuple[np.ndarray, np.ndarray]:
    """Return the ids of elements of a kind that sensors read, and of those that sensors use as reference frame."""
    return (
        model.sensor_objid[model.sensor_objtype == kind],
        model.sensor_refid[model.sensor_reftype == kind],
    )
