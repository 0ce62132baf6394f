"""Mapping between OpenSim coordinates and model joints: the only place with names, signs and zeros.

The legs of MyoFullBody are those of the Rajagopal 2016 model: same joint centres and axes, so the zeros are the same.
Positive in the model: hip flexion, adduction and internal rotation; knee flexion; dorsiflexion; lumbar extension.
OpenSim's older gait models (gait2392, gait2354) count knee flexion negative; see `convention`.
The model bends its trunk at five levels that follow the lowest one, so an OpenSim lumbar angle is divided by
1 + the sum of the coupling factors. The ground frame of OpenSim is x forward, y up, z right; MuJoCo's is z up, and the
body faces -y at the identity root orientation. Of the arms only the elbow is mapped, because the two models describe
shoulder and wrist differently.
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
    """Return the sign convention of knee flexion, a key of `CONVENTIONS`.

    Knees flex far more than they hyperextend, so for `auto` the larger side of the range is flexion.

    Args:
        series: Coordinates.
        convention: `auto`, or a key of `CONVENTIONS` to return unchanged.

    Raises:
        InputError: The convention is unknown.
    """
    if convention != "auto":
        if convention not in CONVENTIONS:
            raise InputError(f"convention={convention!r}{nearest(convention, ('auto', *CONVENTIONS))}")
        return convention
    knees = [series[name] for name in ("knee_angle_r", "knee_angle_l", "knee_angle") if name in series]
    if not knees:
        return "rajagopal"
    angles = np.concatenate(knees)
    return "rajagopal" if np.nanmax(angles) >= -np.nanmin(angles) else "gait2392"


def in_model_signs(series: TimeSeries, convention: str = "auto") -> TimeSeries:
    """Convert an OpenSim table to the model's signs and to radians; the suffix `_moment` is removed.

    Args:
        series: Angles or joint moments under OpenSim's names.
        convention: Sign of knee flexion: a key of `CONVENTIONS`, or `auto`.
    """
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
    """Return the rotation from OpenSim's ground frame to the model's world: the pelvis' at the identity root pose."""
    return Rotation.from_quat(_pelvis_in_root(embodiment), scalar_first=True)


def to_model(
    series: TimeSeries, embodiment: Embodiment, convention: str = "auto", scale: float = 1.0
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Convert an OpenSim motion to qpos (T, nq), with notes on coordinates without a joint.

    Joints without a column stay at the reference posture; coupled joints follow.

    Args:
        series: Coordinates under OpenSim's names.
        embodiment: The body.
        convention: Sign of knee flexion: a key of `CONVENTIONS`, or `auto`.
        scale: Factor of positions: the model's leg length over the subject's.

    Raises:
        InputError: No coordinate is known, or a pelvis coordinate is missing.
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
        raise InputError(
            f"{series.source}: no coordinate of {embodiment.name}; columns need OpenSim's names, e.g. hip_flexion_r"
        )
    if embodiment.root_joint is not None:
        missing = [name for name in (*PELVIS_ANGLES, *PELVIS_PLACE) if name not in angles]
        if missing:
            raise InputError(f"{series.source}: the pelvis needs {missing[0]!r}{nearest(missing[0], angles.names)}")
        ground = model_frame(embodiment)
        place = np.stack([angles[name] for name in PELVIS_PLACE], axis=1)
        # Rajagopal and gait2392 rotate the pelvis about its z, x and y axes, in this order.
        turn = Rotation.from_euler("ZXY", np.stack([angles[name] for name in PELVIS_ANGLES], axis=1))
        qpos[:, :3] = scale * ground.apply(place)
        pelvis = Rotation.from_quat(_pelvis_in_root(embodiment), scalar_first=True)
        qpos[:, 3:7] = (ground * turn * pelvis.inv()).as_quat(scalar_first=True)
    notes = (f"{embodiment.name} has no joint for {', '.join(left_out)}",) if left_out else ()
    return embodiment.project(qpos), notes


def from_model(qpos: np.ndarray, embodiment: Embodiment, rate: float, start: float = 0.0) -> TimeSeries:
    """Convert a model motion to angles [rad] with OpenSim's names and signs; the inverse of `to_model`.

    Knee flexion is positive.

    Args:
        qpos: (T, nq).
        embodiment: The body.
        rate: Frame rate [Hz].
        start: Time of the first frame [s].

    Raises:
        InputError: The body has no joint with an OpenSim name.
    """
    model, columns, names = embodiment.model, [], []
    for name, (joint, sign, zero) in COORDINATES.items():
        if joint in embodiment.joint_names:
            address = int(model.jnt_qposadr[int(embodiment.resolve("joint", [joint])[0])])
            columns.append((qpos[:, address] - zero) * sign * _levels(embodiment, joint))
            names.append(name)
    if embodiment.root_joint is not None:
        ground, pelvis = model_frame(embodiment), Rotation.from_quat(_pelvis_in_root(embodiment), scalar_first=True)
        turn = ground.inv() * Rotation.from_quat(qpos[:, 3:7], scalar_first=True) * pelvis
        columns += list(turn.as_euler("ZXY").T)
        columns += list(ground.inv().apply(qpos[:, :3]).T)
        names += [*PELVIS_ANGLES, *PELVIS_PLACE]
    if not names:
        raise InputError(f"{embodiment.name} has no joint with an OpenSim name")
    units = tuple("m" if name in PELVIS_PLACE else "rad" for name in names)
    return TimeSeries(start + np.arange(len(qpos)) / rate, np.stack(columns, axis=1), tuple(names), units)


def leg_scale(series: TimeSeries, embodiment: Embodiment, convention: str = "auto") -> float:
    """Return the model's leg length over the subject's: the scale of pelvis height at which the feet touch the floor.

    For motions on the ground: the median over frames of how far the model's lower foot is below its pelvis, divided by
    the pelvis height.

    Args:
        series: Coordinates under OpenSim's names.
        embodiment: The body.
        convention: Sign of knee flexion: a key of `CONVENTIONS`, or `auto`.
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
    """Return the height [m] of the lowest point of the feet's contact geometry (capsules and ellipsoids exactly).

    Raises:
        InputError: The body has no feet.
    """
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
        raise InputError("the body has no feet with contact geometry (bodies calcn_*, toes_*); use a full body")
    return lowest


def _pelvis_in_root(embodiment: Embodiment) -> np.ndarray:
    if "pelvis" not in [embodiment.model.body(i).name for i in range(embodiment.model.nbody)]:
        raise InputError(f"{embodiment.name} has no pelvis: gait analysis needs a full body")
    return embodiment.model.body("pelvis").quat


def _levels(embodiment: Embodiment, joint: str) -> float:
    """Return 1 + the coupling factors of the spine joints that follow `joint`; 1 for other joints."""
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
