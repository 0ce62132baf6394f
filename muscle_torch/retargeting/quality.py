"""Quality of a retargeted clip: the paper's metrics (section 5.3, Eq. 2 to 4, Table 4) and additional ones."""

from dataclasses import asdict, dataclass, fields
from typing import Any

import mujoco
import numpy as np
import torch

from muscle_torch.embodiments import Embodiment
from muscle_torch.motion.feasibility import Feasibility, assess_motion
from muscle_torch.motion.low_pass import MIN_FRAMES
from muscle_torch.motion.support import BodySurface

from .collisions import pairs
from .fit import SCORED_WEIGHT, Proportions, Targets
from .ground import Soles, standing
from .kinematics import BodyTree
from .support import SWING, hovering, stances_of, typical_slide

LIMIT_TOLERANCE = 1e-5  # [rad, m]
PENETRATION = 0.001  # [m] deeper than this counts as a penetrating frame
TOUCHING = 0.001  # [m] body parts that penetrate each other more deeply collide
JUMP_RATIO, JUMP_FLOOR, EMA = 10.0, 1e-3, 0.01  # Eq. 2 to 4
NEIGHBOUR, NEIGHBOUR_RATIO = 2, 4.0  # frames; a step this many times larger than its neighbours is a jump


@dataclass(frozen=True)
class Quality:
    """Metrics of one clip: lengths in metres, angles in radians, rates as fractions of 1."""

    frames: int
    joint_violation_rate: float  # fraction of (frame, joint) samples out of range, including coupled joints
    joint_violation_rate_independent: float
    joint_violation_max: float
    penetration_rate: float  # frames more than 1 mm in the floor
    penetration_depth: float
    floating_height: float  # as in the paper: lowest centre of any geom over the clip
    floating_lowest: float  # maximal height of the feet's lowest point while a foot stands
    floating_highest: float  # the same over the whole clip, including flight
    tendon_jump: float  # largest flagged change of a tendon's length in one frame, relative to its first length
    tendon_jump_rate: float
    tendon_jump_name: str
    rmse: float  # of the landmarks
    time_per_frame: float  # [s]
    foot_slide: float  # mean speed of standing soles (slower than 0.25 m/s) along the floor [m/s]
    stance_slide: float  # minimal speed of the foot in a stance, median over stances [m/s]
    run_slide: float  # the same for stances that follow a flight
    hover_height: float  # maximal height of the body's lowest point while it does not fall [m]
    hover_time: float  # total duration of hovering [s]
    root_speed: float  # [m/s]
    joint_speed: float  # [rad/s]
    joint_speed_name: str
    coupling_residual: float
    self_collision_rate: float
    self_collision_depth: float
    zmp_distance: float  # mean distance from the zero-moment point to the support of the feet [m]
    zmp_distance_p95: float
    zmp_distance_max: float
    zmp_outside_rate: float  # frames with it more than 20 mm outside, or without a standing foot
    unsupported_rate: float  # frames in which the ground must carry the body but no foot stands
    friction_demand_p95: float  # horizontal over vertical ground force
    moment_excess: float  # largest moment of a joint beyond the capacity of its muscles [Nm]
    moment_excess_p95: float
    moment_excess_name: str

    def row(self) -> dict[str, Any]:
        """Return the metrics by name."""
        return asdict(self)


@dataclass(frozen=True)
class Series:
    """Quantities per frame, for the figure."""

    lowest: np.ndarray  # (T,) lowest point of the feet [m]
    error: np.ndarray  # (T,) root mean square landmark error [m]
    speed: np.ndarray  # (T,) fastest joint [rad/s]
    jump: np.ndarray  # (T,) largest tendon step, relative to the first length
    zmp: np.ndarray  # (T,) distance from the zero-moment point to the support [m]
    infeasible: tuple[str, ...] = ()  # why no body can follow the clip, one line per reason


# Values for bodies without feet, and for motions of too few frames.
NO_GROUND: dict[str, Any] = {
    field.name: "" if field.name.endswith("_name") else 0.0
    for field in fields(Quality)
    if field.name.startswith(("zmp", "unsupported", "friction", "moment"))
}


# Metric -> largest value that passes; override with `thresholds.<metric>=` of tools/retarget.py.
THRESHOLDS = {
    "joint_violation_rate_independent": 0.0,
    "joint_violation_max": 3.1e-4,
    "penetration_depth": 0.005,
    "floating_lowest": 0.025,
    "stance_slide": 1.0,
    "run_slide": 0.2,
    "hover_height": 0.03,
    "root_speed": 12.5,  # the fastest sprinter
    "tendon_jump": 0.05,
    "rmse": 0.05,
    "joint_speed": 40.0,
    "coupling_residual": 1e-4,
}


def assess(
    embodiment: Embodiment,
    qpos: np.ndarray,
    rate: float,
    targets: Targets | None,
    body: Proportions | None,
    seconds: float,
) -> tuple[Quality, Series]:
    """Compute all metrics of a motion.

    Args:
        embodiment: The body.
        qpos: (T, nq).
        rate: Frame rate [Hz].
        targets: Targets of the fit; None: no landmark error.
        body: The body's proportions; None: no landmark error.
        seconds: Time that the fit took [s].

    Returns:
        The metrics, and quantities per frame.
    """
    qpos = np.asarray(qpos, dtype=np.float64)
    outside, coupled = _limits(embodiment, qpos)
    scene = _scene(embodiment, qpos)
    lowest, feet = _feet(embodiment, qpos, rate)
    hover = hovering(scene["lowest"], scene["mass"], rate) & (embodiment.root_joint is not None)
    velocity = _velocity(embodiment, qpos, rate)
    hinge = embodiment.model.jnt_type[embodiment.scalar_joint_ids] == mujoco.mjtJoint.mjJNT_HINGE
    fast = np.abs(velocity[:, embodiment.joint_qvel_ids]) * hinge
    jumps, tendons = _tendons(embodiment, scene["tendon"])
    ground = _ground(embodiment, qpos, rate)
    error = np.zeros(len(qpos))
    if targets is not None and body is not None:
        error = landmark_error(embodiment, qpos, targets, body)
    depth = -scene["floor"]
    fastest = int(np.argmax(fast.max(axis=0)))
    quality = Quality(
        frames=len(qpos),
        joint_violation_rate=float((outside > LIMIT_TOLERANCE).mean()),
        joint_violation_rate_independent=float((outside[:, ~coupled] > LIMIT_TOLERANCE).mean()),
        joint_violation_max=float(outside.max()),
        penetration_rate=float((depth > PENETRATION).mean()),
        penetration_depth=float(max(depth.max(), 0.0)),
        floating_height=float(scene["centre"].min()),
        **feet,
        floating_highest=float(max(lowest.max(), 0.0)),
        **tendons,
        rmse=float(np.sqrt((error**2).mean())),
        time_per_frame=seconds / len(qpos),
        hover_height=float(scene["lowest"][hover].max(initial=0.0)),
        hover_time=float(hover.sum() / rate),
        root_speed=_root_speed(embodiment, qpos, rate),
        joint_speed=float(fast.max()),
        joint_speed_name=embodiment.joint_names[embodiment.scalar_joint_ids[fastest]],
        coupling_residual=float(np.abs(embodiment.project(qpos) - qpos).max()),
        self_collision_rate=float((scene["self"] < -TOUCHING).mean()),
        self_collision_depth=float(max(-scene["self"].min(), 0.0)),
        **(NO_GROUND if ground is None else ground.row()),
    )
    step = jumps.max(axis=1)
    step = np.concatenate((step[:1], step))[: len(qpos)]
    if ground is None:
        return quality, Series(lowest, error, fast.max(axis=1), step, np.zeros(len(qpos)))
    return quality, Series(lowest, error, fast.max(axis=1), step, ground.reaction.distance, tuple(ground.issues()))


def reasons(quality: Quality, thresholds: dict[str, float]) -> list[str]:
    """Return why a clip does not pass the thresholds; empty if it passes."""
    failures = []
    details = {
        "tendon_jump": quality.tendon_jump_name,
        "joint_speed": quality.joint_speed_name,
        "hover_height": f"for {quality.hover_time:.2f} s: the floor is flat, without stairs, slopes or seats",
        "stance_slide": "feet never stand still: the unit of the root's position or the rate is wrong",
        "run_slide": "feet never stand still: the belt speed or the rate is wrong",
        "root_speed": "faster than any person: the unit of the root's position or the rate is wrong",
    }
    for name, limit in thresholds.items():
        value = getattr(quality, name)
        if value > limit:
            detail = details.get(name, "")
            failures.append(f"{name} {value:.3g} > {limit:g}" + (f" ({detail})" if detail else ""))
    return failures


def tendon_jumps(length: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Detect jumps in lengths (T, N) (Eq. 2 to 4).

    A jump is a step of more than 10 times the moving average of the steps so far, including itself with a weight of 1
    %; or of more than 4 times the steps two frames before and after it, which also detects jumps in the first frames.

    Returns:
        Steps relative to the first length (T-1, N), and which of them are jumps (T-1, N).
    """
    steps = np.abs(np.diff(length, axis=0)) / np.maximum(length[:1], 1e-6)
    flagged = np.zeros(steps.shape, dtype=bool)
    if not len(steps):
        return np.zeros((1, length.shape[1])), np.zeros((1, length.shape[1]), dtype=bool)
    average = steps[0].copy()
    for t in range(1, len(steps)):
        average = (1 - EMA) * average + EMA * steps[t]
        flagged[t] = steps[t] > np.maximum(JUMP_RATIO * average, JUMP_FLOOR)
    around = np.zeros_like(steps)
    around[NEIGHBOUR:] = steps[:-NEIGHBOUR]
    around[:-NEIGHBOUR] = np.maximum(around[:-NEIGHBOUR], steps[NEIGHBOUR:])
    if len(steps) > 2 * NEIGHBOUR:
        flagged |= steps > np.maximum(NEIGHBOUR_RATIO * around, JUMP_FLOOR)
    return steps, flagged


def _tendons(embodiment: Embodiment, length: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
    """Return the steps of all tendons relative to their first length (T-1, N), and the jump metrics by name."""
    steps, flagged = tendon_jumps(length)
    worst = np.unravel_index(np.argmax(np.where(flagged, steps, 0.0)), steps.shape)
    return steps, {
        "tendon_jump": float(steps[worst] if flagged.any() else 0.0),
        "tendon_jump_rate": float(flagged.any(axis=1).mean()),
        "tendon_jump_name": embodiment.model.tendon(int(worst[1])).name if flagged.any() else "",
    }


def landmark_error(embodiment: Embodiment, qpos: np.ndarray, targets: Targets, body: Proportions) -> np.ndarray:
    """Return the root mean square error over the scored landmarks (T,) [m].

    Args:
        embodiment: The body.
        qpos: (T, nq).
        targets: Targets of the fit.
        body: The body's proportions.
    """
    tree = BodyTree(embodiment, dtype=torch.float64)
    at = tree.points(tree.forward(tree.pose(qpos)), body.points(targets.names, tree)).numpy()
    scored = targets.weights >= SCORED_WEIGHT
    squared = np.sum((at - targets.positions)[:, scored] ** 2, axis=-1)
    return np.sqrt(squared.mean(axis=1))


def _limits(embodiment: Embodiment, qpos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    model, joints = embodiment.model, embodiment.scalar_joint_ids
    value = qpos[:, model.jnt_qposadr[joints]]
    low, high = model.jnt_range[joints].T
    outside = np.maximum(np.maximum(low - value, value - high), 0.0) * (model.jnt_limited[joints] > 0)
    coupled = np.isin(model.jnt_qposadr[joints], embodiment.dependent.qpos_ids)
    return outside, coupled


def _scene(embodiment: Embodiment, qpos: np.ndarray) -> dict[str, np.ndarray]:
    """Return geometric quantities per frame [m], computed with MuJoCo.

    tendon (T, N): lengths; floor: deepest contact with the floor, at most 0; self: distance of the nearest pair of
    parts, at most 0; centre: lowest centre of any geom; lowest: lowest point of the surface; mass: height of the centre
    of mass.
    """
    model = embodiment.whole_model  # for the paper's lowest centre of any geom
    data = mujoco.MjData(model)
    floor = np.flatnonzero(model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE)
    bodies = np.flatnonzero(model.geom_type != mujoco.mjtGeom.mjGEOM_PLANE)
    geom_pairs = pairs(model)
    reach = model.geom_rbound[geom_pairs].sum(axis=1)
    surface = BodySurface.of(model)
    tendon = np.empty((len(qpos), model.ntendon))
    lowest, mass = np.empty(len(qpos)), np.empty(len(qpos))
    ground, near, centre = np.zeros(len(qpos)), np.full(len(qpos), np.inf), np.empty(len(qpos))
    for t, q in enumerate(qpos):
        data.qpos[:] = q
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_tendon(model, data)
        tendon[t] = data.ten_length
        centre[t] = data.geom_xpos[bodies, 2].min()
        lowest[t], mass[t] = surface.lowest(data), data.subtree_com[0, 2]
        distance = np.linalg.norm(data.geom_xpos[geom_pairs[:, 0]] - data.geom_xpos[geom_pairs[:, 1]], axis=1)
        for c in np.flatnonzero(distance < reach):
            near[t] = min(near[t], mujoco.mj_geomDistance(model, data, *geom_pairs[c], 0.0, None))
        if embodiment.root_joint is not None:
            mujoco.mj_collision(model, data)
            contact = data.contact
            on_floor = np.isin(contact.geom, floor).any(axis=1) if data.ncon else np.zeros(0, dtype=bool)
            ground[t] = min(contact.dist[on_floor].min(initial=0.0), 0.0) if data.ncon else 0.0
    return {
        "tendon": tendon,
        "floor": ground,
        "self": np.minimum(near, 0.0),
        "centre": centre,
        "lowest": lowest,
        "mass": mass,
    }


def _feet(embodiment: Embodiment, qpos: np.ndarray, rate: float) -> tuple[np.ndarray, dict[str, float]]:
    """Return the lowest point of the feet (T,) [m], and their metrics by name."""
    if embodiment.root_joint is None:
        return np.zeros(len(qpos)), dict.fromkeys(("foot_slide", "stance_slide", "run_slide", "floating_lowest"), 0.0)
    tree = BodyTree(embodiment, dtype=torch.float64)
    soles = Soles.of(tree)
    frames = tree.forward(tree.pose(qpos))
    points = soles.lowest(frames).numpy()
    lowest = points[..., 2].min(axis=1)
    still = standing(points, rate) & soles.rigid.numpy()
    speed = np.linalg.norm(np.diff(points[..., :2], axis=0), axis=-1) * rate
    both = still[1:] & still[:-1]
    stands = still.any(axis=1)
    sides = np.array([embodiment.model.body(int(tree.body_ids[b])).name[-1] for b in soles.bodies.tolist()])
    stances = stances_of(soles, frames, sides, rate)
    return lowest, {
        "foot_slide": float(speed[both].mean()) if both.any() else 0.0,
        "stance_slide": typical_slide(stances, SWING * rate),
        "run_slide": typical_slide([stance for stance in stances if stance.landed]),
        "floating_lowest": float(max(lowest[stands].max(initial=0.0), 0.0)),
    }


def _ground(embodiment: Embodiment, qpos: np.ndarray, rate: float) -> Feasibility | None:
    """Return the motion's requirements of ground and muscles; None for bodies without feet, and for too few frames."""
    if embodiment.root_joint is None or len(qpos) < MIN_FRAMES:
        return None
    return assess_motion(embodiment, qpos, rate)


def _root_speed(embodiment: Embodiment, qpos: np.ndarray, rate: float) -> float:
    """Return the maximal speed of the root [m/s]; 0 for a fixed body."""
    if embodiment.root_joint is None:
        return 0.0
    return float(np.linalg.norm(np.diff(qpos[:, :3], axis=0), axis=1).max(initial=0.0) * rate)


def _velocity(embodiment: Embodiment, qpos: np.ndarray, rate: float) -> np.ndarray:
    velocity = np.zeros((max(len(qpos) - 1, 1), embodiment.model.nv))
    for t in range(len(qpos) - 1):
        mujoco.mj_differentiatePos(embodiment.model, velocity[t], 1 / rate, qpos[t], qpos[t + 1])
    return np.concatenate((velocity, velocity[-1:]))[: len(qpos)]
