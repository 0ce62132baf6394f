"""OpenSim's coordinates and the model's joints: the one place where names, signs and zeros are mapped.

The legs of MyoFullBody come from the Rajagopal 2016 model: same joint centres and axes, so the zeros are the same.
Positive, in the model: hip flexion, adduction and internal rotation; knee flexion; dorsiflexion; lumbar extension.
OpenSim's older gait models (gait2392, gait2354) count knee flexion negative; `convention` tells.
The model bends its trunk at five levels that follow the lowest one, so an OpenSim lumbar angle is divided by
1 + the sum of the others' factors. The ground frame of OpenSim is x forward, y up, z right; MuJoCo's is z up, and the
body faces -y at the identity root orientation. Arms are described otherwise in the two: only the elbow is mapped.
"""

import mujoco
import numpy as np
from scipy.spatial.transform import Rotation

from muscle_torch.embodiments import Embodiment
from muscle_torch.errors import InputError, nearest

from .series import TimeSeries

# OpenSim coordinate -> joint of the model, sign, zero offset [rad] (model = sign * OpenSim + offset).
LEG = {
    "hip_flexion": ("hip_flexion", 1.0, 0.0),
    "hip_adduction": ("hip_adduction", 1.0, 0.0),
    "hip_rotation": ("hip_rotation", 1.0, 0.0),
    "knee_angle": ("knee_angle", 1.0, 0.0),
    "ankle_angle": ("ankle_angle", 1.0, 0.0),
    "subtalar_angle": ("subtalar_angle", 1.0, 0.0),
    "mtp_angle": ("mtp_angle", 1.0, 0.0),
    "elbow_flex": ("elbow_flex", 1.0, 0.0),
}
TRUNK = {
    "lumbar_extension": ("flex_extension", 1.0, 0.0),
    "lumbar_bending": ("lat_bending", 1.0, 0.0),
    "lumbar_rotation": ("axial_rotation", 1.0, 0.0),
}
COORDINATES = {f"{name}_{side}": (f"{joint}_{side}", sign, zero) for side in "rl"
               for name, (joint, sign, zero) in LEG.items()} | TRUNK  # fmt: skip
CONVENTIONS = {"rajagopal": 1.0, "gait2392": -1.0}  # sign of knee flexion
PELVIS_ANGLES = ("pelvis_tilt", "pelvis_list", "pelvis_rotation")
PELVIS_PLACE = ("pelvis_tx", "pelvis_ty", "pelvis_tz")


def knee_convention(series: TimeSeries, convention: str = "auto") -> str:
    """`auto`: knees bend far more than they overextend, so the sign of the larger side of the range tells."""
    if convention != "auto":
        if convention not in CONVENTIONS:
            raise InputError(f"convention={convention!r}{nearest(convention, ('auto', *CONVENTIONS))}")
        return convention
    knees = [series[name] for name in ("knee_angle_r", "knee_angle_l", "knee_angle") if name in series]
    if not knees:
        return "rajagopal"
    everything = np.concatenate(knees)
    return "rajagopal" if np.nanmax(everything) >= -np.nanmin(everything) else "gait2392"


def in_model_signs(series: TimeSeries, convention: str = "auto") -> TimeSeries:
    """Angles [rad] or moments of an OpenSim table with the model's signs; degrees become radians, `_moment` goes."""
    knee = CONVENTIONS[knee_convention(series, convention)]
    columns, names, units = [], [], []
    for name, unit, column in zip(series.names, series.units, series.values.T, strict=True):
        stem = name.removesuffix("_moment")
        factor = knee if stem.startswith("knee_angle") and "beta" not in stem else 1.0
        columns.append(factor * (np.radians(column) if unit == "deg" else column))
        names.append(stem)
        units.append("rad" if unit == "deg" else unit)
    return TimeSeries(series.time, np.stack(columns, axis=1), tuple(names), tuple(units), series.source)


def model_frame(embodiment: Embodiment) -> Rotation:
    """The rotation of OpenSim's ground frame into the model's world: the pelvis' own at the identity root."""
    return Rotation.from_quat(_pelvis_in_root(embodiment), scalar_first=True)


def to_model(
    series: TimeSeries, embodiment: Embodiment, convention: str = "auto", scale: float = 1.0
) -> tuple[np.ndarray, tuple[str, ...]]:
    """qpos (T, nq) of an OpenSim motion, and in words what the model has no joint for.

    `scale` multiplies places (the model's leg length over the subject's). Joints without a column rest at the
    reference; coupled joints follow. Raises InputError where no coordinate is known, or the pelvis is missing.
    """
    angles = in_model_signs(series, convention)
    model = embodiment.model
    qpos = np.tile(embodiment.qpos0, (len(angles.time), 1))
    left_out = []
    for name in angles.names:
        if name in COORDINATES and COORDINATES[name][0] in embodiment.joint_names:
            joint, sign, zero = COORDINATES[name]
            factor = sign / _levels(embodiment, joint)
            address = int(model.jnt_qposadr[int(embodiment.resolve("joint", [joint])[0])])
            qpos[:, address] = factor * angles[name] + zero
        elif name not in (*PELVIS_ANGLES, *PELVIS_PLACE) and not name.endswith(("_speed", "_beta")):
            left_out.append(name)
    if len(left_out) == len(angles.names):
        raise InputError(f"{series.source}: no coordinate that {embodiment.name} knows, e.g. hip_flexion_r")
    if embodiment.root_joint is not None:
        missing = [name for name in (*PELVIS_ANGLES, *PELVIS_PLACE) if name not in angles]
        if missing:
            raise InputError(f"{series.source}: the pelvis needs {missing[0]!r}{nearest(missing[0], angles.names)}")
        ground = model_frame(embodiment)
        place = np.stack([angles[name] for name in PELVIS_PLACE], axis=1)
        # Rajagopal and gait2392 turn the pelvis about its own z, x and y, in this order.
        turn = Rotation.from_euler("ZXY", np.stack([angles[name] for name in PELVIS_ANGLES], axis=1))
        qpos[:, :3] = scale * ground.apply(place)
        pelvis = Rotation.from_quat(_pelvis_in_root(embodiment), scalar_first=True)
        qpos[:, 3:7] = (ground * turn * pelvis.inv()).as_quat(scalar_first=True)
    told = (f"{embodiment.name} has no joint for {', '.join(left_out)}",) if left_out else ()
    return embodiment.project(qpos), told


def from_model(qpos: np.ndarray, embodiment: Embodiment, rate: float, start: float = 0.0) -> TimeSeries:
    """Angles [rad] of a model's motion under OpenSim's names and signs (knee flexion positive): the inverse."""
    model, columns, names = embodiment.model, [], []
    for name, (joint, sign, zero) in COORDINATES.items():
        if joint in embodiment.joint_names:
            address = int(model.jnt_qposadr[int(embodiment.resolve("joint", [joint])[0])])
            columns.append((qpos[:, address] - zero) * sign * _levels(embodiment, joint))
            names.append(name)
    if embodiment.root_joint is not None:
        ground, pelvis = model_frame(embodiment), Rotation.from_quat(_pelvis_in_root(embodiment), scalar_first=True)
        turn = ground.inv() * Rotation.from_quat(qpos[:, 3:7], scalar_first=True) * pelvis
        # Heading is counted from the mean direction: where a motion faces in the world says nothing about gait.
        columns += list(turn.as_euler("ZXY").T)
        columns += list(ground.inv().apply(qpos[:, :3]).T)
        names += [*PELVIS_ANGLES, *PELVIS_PLACE]
    if not names:
        raise InputError(f"{embodiment.name} has no joint with an OpenSim name")
    units = tuple("m" if name in PELVIS_PLACE else "rad" for name in names)
    return TimeSeries(start + np.arange(len(qpos)) / rate, np.stack(columns, axis=1), tuple(names), units)


def leg_scale(series: TimeSeries, embodiment: Embodiment, convention: str = "auto") -> float:
    """The model's leg length over the subject's: the factor on the pelvis' height at which the feet meet the floor.

    For motions on the ground: the median over frames of how far the lower foot of the model hangs below its pelvis,
    over the pelvis' height.
    """
    qpos, _ = to_model(series, embodiment, convention)
    model, data = embodiment.model, mujoco.MjData(embodiment.model)
    height = series["pelvis_ty"]
    reach = []
    for frame in np.unique(np.linspace(0, len(qpos) - 1, 60).astype(int)):
        data.qpos[:] = qpos[frame]
        mujoco.mj_kinematics(model, data)
        reach.append((data.qpos[2] - lowest_point(model, data)) / height[frame])
    return float(np.median(reach))


def lowest_point(model: mujoco.MjModel, data: mujoco.MjData) -> float:
    """Height [m] of the lowest point of the feet's contact geometry (capsules and ellipsoids by their extent)."""
    lowest = np.inf
    for geom in range(model.ngeom):
        body = model.body(model.geom_bodyid[geom]).name
        if not body.startswith(("calcn", "toes")) or not (model.geom_contype[geom] or model.geom_conaffinity[geom]):
            continue
        down = data.geom_xmat[geom].reshape(3, 3)[2]  # the world's z in the geom's frame
        size = model.geom_size[geom]
        if model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_CAPSULE:
            extent = size[0] + size[1] * abs(down[2])
        elif model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_ELLIPSOID:
            extent = float(np.linalg.norm(size * down))
        else:
            extent = float(np.abs(size * down).sum())
        lowest = min(lowest, float(data.geom_xpos[geom, 2]) - extent)
    if not np.isfinite(lowest):
        raise InputError("the body has no feet with contact geometry (bodies calcn_*, toes_*)")
    return lowest


def _pelvis_in_root(embodiment: Embodiment) -> np.ndarray:
    if "pelvis" not in [embodiment.model.body(i).name for i in range(embodiment.model.nbody)]:
        raise InputError(f"{embodiment.name} has no pelvis: walking needs a full body")
    return embodiment.model.body("pelvis").quat


def _levels(embodiment: Embodiment, joint: str) -> float:
    """1 + the factors of the spine's joints that follow `joint`; 1 for other joints."""
    if joint not in {row[0] for row in TRUNK.values()}:
        return 1.0
    address = int(embodiment.model.jnt_qposadr[int(embodiment.resolve("joint", [joint])[0])])
    addresses = embodiment.model.jnt_qposadr[: embodiment.sizes.joints].tolist()
    names = dict(zip(addresses, embodiment.joint_names, strict=True))
    coupling = embodiment.dependent
    return 1.0 + sum(
        float(polynomial[1])
        for q, independent, polynomial in zip(
            coupling.qpos_ids, coupling.independent_qpos_ids, coupling.polynomials, strict=True
        )
        if independent == address and names[int(q)].startswith("L")
    )
