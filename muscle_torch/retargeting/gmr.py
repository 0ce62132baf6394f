"""Method `gmr`, for comparison: inverse kinematics frame by frame in two stages with mink and daqp.

Scheme and weights are those of general motion retargeting as used by the published system, with symmetric weights of
the arms, couplings as a hard constraint of every step, and effective limits on angles and speeds.
"""

import copy

import mink
import mujoco
import numpy as np

from muscle_torch.embodiments import Embodiment

from .fit import LANDMARK_BODIES, Proportions, Targets

# Body -> (position, rotation) costs of the two stages; {} is l or r.
STAGES: tuple[dict[str, tuple[float, float]], ...] = (
    {
        "pelvis": (100, 10), "cervical_spine": (100, 10), "humerus_{}": (1, 10), "ulna_{}": (45, 10),
        "lunate_{}": (45, 10), "femur_{}": (0, 10), "tibia_{}": (0, 10), "talus_{}": (50, 10), "toes_{}": (50, 10),
    },
    {
        "pelvis": (100, 5), "cervical_spine": (40, 5), "humerus_{}": (0, 5), "ulna_{}": (40, 5),
        "lunate_{}": (40, 5), "femur_{}": (0, 5), "tibia_{}": (0, 5), "talus_{}": (50, 5), "toes_{}": (50, 5),
    },
)  # fmt: skip
# Segment -> (its body, its two landmarks, its parent body).
SEGMENTS = {
    "thigh": ("femur_{}", "hip", "knee", "pelvis"),
    "shank": ("tibia_{}", "knee", "ankle", "femur_{}"),
    "foot": ("talus_{}", "ankle", "toe", "tibia_{}"),
    "upper arm": ("humerus_{}", "shoulder", "elbow", "thorax"),
    "forearm": ("ulna_{}", "elbow", "wrist", "humerus_{}"),
    "hand": ("lunate_{}", "wrist", "hand", "ulna_{}"),
}
DAMPING, LM_DAMPING = 0.5, 1.0
ITERATIONS, FIRST_ITERATIONS, MIN_IMPROVEMENT = 10, 60, 1e-3
MAX_SPEED = 40.0  # [rad/s]


def fit_frames(targets: Targets, body: Proportions) -> np.ndarray:
    """Solve for qpos (T, nq); floor and filter are applied afterwards."""
    embodiment = body.tree.embodiment
    model = embodiment.model
    configuration = mink.Configuration(model, q=initial_qpos(targets, body))
    stages = [_tasks(model, targets, stage) for stage in STAGES]
    equality = mink.EqualityConstraintTask(model, cost=1.0)
    step = 1.0 / targets.rate
    joints = [embodiment.joint_names[j] for j in embodiment.scalar_joint_ids]
    limits = [
        mink.ConfigurationLimit(_uncoupled(embodiment)),
        mink.VelocityLimit(model, dict.fromkeys(joints, MAX_SPEED)),
    ]
    goals = frame_goals(targets, body)
    out = np.empty((targets.num_frames, model.nq))
    for t in range(targets.num_frames):
        for tasks in stages:
            for name, task in tasks.items():
                turn, at = goals[name]
                pose = mink.SE3.from_rotation_and_translation(mink.SO3.from_matrix(turn[t]), at[t])
                task.set_target(pose)
            _solve(
                configuration, list(tasks.values()), equality, limits, step, FIRST_ITERATIONS if t == 0 else ITERATIONS
            )
        out[t] = configuration.q
    return out


def _uncoupled(embodiment: Embodiment) -> mujoco.MjModel:
    """Return the model without limits of coupled joints: with a hard coupling, both limits would block each other."""
    model = copy.deepcopy(embodiment.model)
    model.jnt_limited[np.isin(model.jnt_qposadr, embodiment.dependent.qpos_ids)] = 0
    return model


def _solve(
    configuration: mink.Configuration, tasks: list, equality, limits: list, step: float, iterations: int
) -> None:
    before = _error(configuration, tasks)
    for _ in range(1 + iterations):
        try:
            velocity = mink.solve_ik(
                configuration, tasks, step, "daqp", damping=DAMPING, limits=limits, constraints=[equality]
            )
        except mink.NoSolutionFound:
            return  # no solution within limits and couplings: keep the pose
        configuration.integrate_inplace(velocity, step)
        after = _error(configuration, tasks)
        if before - after <= MIN_IMPROVEMENT:
            return
        before = after


def _error(configuration: mink.Configuration, tasks: list) -> float:
    return float(np.linalg.norm(np.concatenate([task.compute_error(configuration) for task in tasks])))


def _tasks(model: mujoco.MjModel, targets: Targets, stage: dict[str, tuple[float, float]]) -> dict[str, mink.FrameTask]:
    bodies = {LANDMARK_BODIES.get(name, name) for name in targets.names}
    tasks = {}
    for form, (position, rotation) in stage.items():
        for name in dict.fromkeys((form.format("l"), form.format("r"))):
            if name in bodies:
                tasks[name] = mink.FrameTask(
                    name, "body", position_cost=position, orientation_cost=rotation, lm_damping=LM_DAMPING
                )
    return tasks


def frame_goals(targets: Targets, body: Proportions) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return body -> target orientation (T, 3, 3) and origin (T, 3).

    Unrecorded orientations follow the segment's direction with as little twist as possible.
    """
    turns = dict(targets.orientations)
    if not body.free:
        fixed = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]) @ body.turns["thorax"]
        turns["thorax"] = np.broadcast_to(fixed, (targets.num_frames, 3, 3))
    at = {name: targets.positions[:, i] for i, name in enumerate(targets.names)}
    for bone, start, end, parent in SEGMENTS.values():
        for side in ("left", "right"):
            first, last = f"{side}_{start}", f"{side}_{end}"
            name, above = bone.format(side[0]), parent.format(side[0])
            if first not in at or last not in at or above not in turns:
                continue
            rest = body.rest[last] - body.rest[first]
            base = turns[above] @ body.turns[above].T  # rotation of the parent from the T-pose
            turns[name] = _least_turn(base @ rest, at[last] - at[first]) @ base @ body.turns[name]
    for arm in body.arms.values():
        ulna = f"ulna_{arm.side[0]}"
        if ulna in turns and set(arm.joints) & targets.angles.keys():
            turns[arm.bodies["hand"]] = arm.hand(turns[ulna], targets.angles)
    goals = {}
    for landmark, position in at.items():
        name = LANDMARK_BODIES.get(landmark, "pelvis")
        turn = turns.get(name)
        if name == "cervical_spine":
            turn = turns["thorax"] @ body.turns["thorax"].T @ body.turns[name]
        elif name.startswith("toes"):
            turn = turns[f"talus_{name[-1]}"] @ body.turns[f"talus_{name[-1]}"].T @ body.turns[name]
        elif name.startswith("thirdmc") or turn is None:
            continue
        if landmark == "pelvis":
            position = position - turn @ body.turns["pelvis"].T @ (body.rest["pelvis"] - body.pelvis_origin)
        goals[name] = (turn, position)
    for name in ("lunate_l", "lunate_r"):  # without a recorded hand: like the forearm
        landmark = "left_wrist" if name.endswith("l") else "right_wrist"
        ulna = f"ulna_{name[-1]}"
        if landmark in at and name not in goals and ulna in turns:
            goals[name] = (turns[ulna] @ body.turns[ulna].T @ body.turns[name], at[landmark])
    return goals


def _least_turn(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Return the smallest rotations (T, 3, 3) from directions `start` to `end`, (T, 3) each."""
    a = start / np.linalg.norm(start, axis=1, keepdims=True)
    b = end / np.linalg.norm(end, axis=1, keepdims=True)
    v, c = np.cross(a, b), np.sum(a * b, axis=1)[:, None, None]
    zero = np.zeros(len(v))
    cross = np.stack((zero, -v[:, 2], v[:, 1], v[:, 2], zero, -v[:, 0], -v[:, 1], v[:, 0], zero), 1).reshape(-1, 3, 3)
    return np.eye(3) + cross + cross @ cross / np.maximum(1 + c, 1e-6)


def initial_qpos(targets: Targets, body: Proportions) -> np.ndarray:
    """Return the initial pose, upright at the first target; joints that cannot be at rest start mid-range."""
    tree = body.tree
    pose = tree.rest(1)
    middle = (tree.lower + tree.upper) / 2
    out_of_range = (pose.joints[0] <= tree.lower) & (tree.lower > 0)
    pose.joints[0] = pose.joints[0].where(~out_of_range, middle)
    qpos = tree.qpos(pose)[0]
    if tree.free:
        turn = targets.orientations["pelvis"][0] @ body.turns["pelvis"].T @ pose.root_mat[0].numpy()
        mujoco.mju_mat2Quat(qpos[3:7], np.ascontiguousarray(turn).ravel())
        qpos[:3] = targets.positions[0, targets.names.index("pelvis")]
    return qpos
