"""Method `batch`: all frames of a clip in one least-squares problem, in torch on a CPU or a GPU.

The unknowns are the independent joints (coupled ones follow) within their limits. Terms: landmark positions;
orientations of pelvis, trunk and feet; axial rotation of the arms and wrist angles; a weak pull towards the rest pose;
second differences in time (a zero-phase low-pass, `cutoff` [Hz]); standing feet that neither penetrate nor slide; a
foot on the floor except in flight; body parts that stay apart. Gauss-Newton steps (solver.py), first on few frames,
then on all.
"""

import dataclasses
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation, Slerp
from torch import Tensor

from muscle_torch.motion.support import runs
from muscle_torch.rotations import matrix_to_rotvec

from .collisions import Contacts, find_contacts, pairs
from .fit import LANDMARK_BODIES, Proportions, Targets, spread_frames
from .ground import FEET, TOUCH, Feet, find_floor, grounded, stances
from .kinematics import BodyTree, Points, Pose
from .solver import Normal, second, solve

POSITION = 3e4  # 1 / (6 mm)^2
ORIENTATION = 150.0  # 1 / (5 degrees)^2
FOOT_PITCH, FOOT_TWIST = 2e4, 20.0  # 1 / (0.4 and 13 degrees)^2: ankle angles are small, and the floor affects them
ACROSS = 2  # the heel bone's axis to the right
UPPER_ARM = 5.0  # 1 / (26 degrees)^2, about its length: with a bent elbow the landmarks determine it better
WRIST = 150.0  # 1 / (5 degrees)^2, angles of forearm and wrist
# Weight of a joint that moves a landmark 0.37 m away: reference for smoothing the poorly determined joints.
LANDMARK = POSITION * 0.37**2
REST = 1.0  # 1 / (1 rad)^2: joints that no landmark determines
STIFF_REST = {"elv_angle": 10.0, "shoulder_rot": 10.0, "pro_sup": 10.0, "subtalar_angle": 8.0, "mtp_angle": 4.0,
              "deviation": 4.0, "flexion": 4.0}  # fmt: skip
EXTRA_SMOOTHING = {"elv_angle": 3.0, "shoulder_rot": 3.0, "subtalar_angle": 3.0, "mtp_angle": 6.0}  # factors
FLOOR = 6e6  # 1 / (0.4 mm)^2, below the floor
STAND_HEIGHT = 2e4  # 1 / (7 mm)^2
STAND_STILL = 2e6  # 1 / (0.7 mm)^2
FLOAT = 5e6  # 1 / (0.4 mm)^2, above the floor while a foot must touch it
APART = 1e7  # 1 / (0.3 mm)^2, penetration of body parts
CLEARANCE = 0.004  # [m] kept between body parts
SUNK = 0.001  # [m] of penetration that justifies further steps
CONTACTS_LAST = 3  # steps between searches for contacts
REPAIRS, AROUND = 2, 12  # rounds of repair; frames on both sides that may change
CONVERGED = 0.01  # [rad, m] smaller steps end a stage
COARSE = 5  # the first, rough solution uses every 5th frame


@dataclass(frozen=True)
class BatchOptions:
    """Options of the method."""

    cutoff: float = 10.0  # [Hz]
    rough_iterations: int = 5  # on few frames, without floor
    coarse_iterations: int = 6  # on few frames, with all terms
    iterations: int = 2  # on all frames
    device: str = "cpu"


@dataclass
class Terms:
    """Constants of one solve."""

    points: Points
    goal: Tensor  # (T, K, 3)
    weight: Tensor  # (K,)
    oriented: Tensor  # (B,) bodies with a target orientation
    turns: Tensor  # (T, B, 3, 3) target orientations
    turn_weight: Tensor  # (T, B, 3, 3) square root of the weight, in world axes
    rate: float
    angle_columns: Tensor  # (A,) columns of joints with a target angle
    angles: Tensor  # (T, A) target angles [rad]
    rest: Tensor  # (n,) weight of the rest pose
    smoothing: Tensor  # (d,) smoothing factor of each degree of freedom
    undetermined: Tensor  # (d,) bool: poorly determined by the targets
    feet: Feet | None = None
    still: Tensor | None = None  # (T, P) bool, sole points that stand
    anchor: Tensor | None = None  # (T, P, 2) their positions
    touching: Tensor | None = None  # (T,) frames in which a foot must touch the floor
    contacts: Contacts | None = None

    def frames(self, start: int, stop: int) -> "Terms":
        """Return the terms of an interval of the clip, without contacts."""
        interval = slice(start, stop)
        return dataclasses.replace(
            self,
            goal=self.goal[interval],
            turns=self.turns[interval],
            turn_weight=self.turn_weight[interval],
            angles=self.angles[interval],
            still=None if self.still is None else self.still[interval],
            anchor=None if self.anchor is None else self.anchor[interval],
            touching=None if self.touching is None else self.touching[interval],
            contacts=None,
        )


def fit_clip(targets: Targets, body: Proportions, options: BatchOptions) -> tuple[np.ndarray, Targets]:
    """Fit a body to targets.

    Args:
        targets: T frames.
        body: The body.
        options: Cutoff, iterations and device.

    Returns:
        qpos (T, nq), and the targets with the floor level at height 0.
    """
    tree, feet = _tree(body, options.device)
    points = body.points(targets.names, tree)
    few = spread_frames(targets.num_frames, COARSE if targets.num_frames > 8 * COARSE else 1)
    rough = targets.at(few)
    pose = _solve(
        tree, _terms(tree, body, rough, points), _initial_pose(tree, rough), options.rough_iterations, options.cutoff
    )
    if feet is not None:
        all_frames = np.arange(targets.num_frames)
        turn, height = find_floor(feet.lowest(_resample(tree, pose, few, all_frames)), targets.rate)
        targets = targets.rotated(turn, np.array([0.0, 0.0, -height]))
        pose = _rotated(tree, pose, turn, height)
    # Solve with all terms on the few frames first, which leaves small corrections for all frames.
    all_frames = np.arange(targets.num_frames)
    for chosen, count in ((few, options.coarse_iterations), (all_frames, options.iterations)):
        at = targets.at(chosen)
        pose = _resample(tree, pose, few, chosen)
        terms = _terms(tree, body, at, points)
        if feet is not None:
            _anchor_feet(tree, terms, feet, pose)
        pose = _keep_apart(tree, terms, pose, count, options.cutoff)
        if feet is not None and chosen is few:
            lift = _floor_offset(tree, terms, pose)
            targets = targets.rotated(np.eye(3), np.array([0.0, 0.0, lift]))
    return tree.qpos(_repaired(tree, terms, pose, options.cutoff)), targets


def _floor_offset(tree: BodyTree, terms: Terms, pose: Pose) -> float:
    """Return the height of the body above its targets [m], by which the recording's floor was estimated too high."""
    above = (tree.points(tree.forward(pose), terms.points) - terms.goal)[..., 2].mean(dim=0)
    return float(above @ terms.weight / terms.weight.sum())


@lru_cache(maxsize=4)
def _tree(body: Proportions, device: str) -> tuple[BodyTree, Feet | None]:
    """Return the parts that depend only on the body."""
    tree = BodyTree(body.tree.embodiment, device, torch.float32, followed(body))
    return tree, Feet(tree) if tree.free else None


def followed(body: Proportions) -> list[str]:
    """Return the bodies that the problem needs: with landmarks, orientations, soles, or possible collisions."""
    model = body.tree.model
    names = {model.body(int(b)).name for b in model.geom_bodyid[pairs(model)].ravel()} | {"thorax"}
    names |= {LANDMARK_BODIES[name] for name in body.rest if name in LANDMARK_BODIES}
    names |= {bone for arm in body.arms.values() for bone in arm.bodies.values()}
    if body.free:
        names |= {"pelvis", *(f"{part}_{side}" for part in FEET for side in "rl")}
    return sorted(names - {"world"})


def _keep_apart(tree: BodyTree, terms: Terms, pose: Pose, iterations: int, cutoff: float) -> Pose:
    """Take steps with all terms, updating the contacts every few steps."""
    for done in range(0, iterations, CONTACTS_LAST):
        terms.contacts = find_contacts(tree, pose, CLEARANCE)
        pose = _solve(tree, terms, pose, min(CONTACTS_LAST, iterations - done), cutoff)
    return pose


def _repaired(tree: BodyTree, terms: Terms, pose: Pose, cutoff: float) -> Pose:
    """Take further steps in the intervals in which a foot is still in the floor, or body parts penetrate each other."""
    count = len(pose.joints)
    for _ in range(REPAIRS):
        contacts = find_contacts(tree, pose, CLEARANCE)
        penetrating = np.zeros(count, dtype=bool) if contacts is None else contacts.nearest < -SUNK
        low = terms.feet.lowest(pose) if terms.feet is not None else None
        if low is not None:
            penetrating |= low[..., 2].min(axis=1) < -SUNK
        if not penetrating.any():
            break
        if low is not None and terms.still is not None:  # the feet may have to stand further apart
            terms.anchor = _anchors(tree, low, terms.still.cpu().numpy() > 0)
        around = np.convolve(penetrating, np.ones(2 * AROUND + 1), mode="same") > 0
        for start, stop in runs(around):
            part = Pose(*(values[start:stop] for values in pose))
            few = terms.frames(start, stop)
            few.contacts = find_contacts(tree, part, CLEARANCE)
            fixed = (2 * (start > 0), 2 * (stop < count))
            part = _solve(tree, few, part, 2, cutoff, fixed)
            for whole, piece in zip(pose, part, strict=True):
                whole[start:stop] = piece
    return pose


def _initial_pose(tree: BodyTree, targets: Targets) -> Pose:
    pose = tree.rest(targets.num_frames)
    if not tree.free:
        return pose
    turn = tree.tensor(targets.orientations["pelvis"])
    local = tree.forward(pose).mat[0, tree.body("pelvis")]  # the root body's axes relative to the pelvis' at rest
    root = turn @ local.T @ pose.root_mat
    here = tree.tensor(targets.positions[:, targets.names.index("pelvis")])
    return Pose(here, root, pose.joints)


def _terms(tree: BodyTree, body: Proportions, targets: Targets, points: Points) -> Terms:
    bodies, joints, count = list(targets.orientations), list(targets.angles), targets.num_frames
    turns = np.stack([targets.orientations[b] for b in bodies], 1) if bodies else np.zeros((count, 0, 3, 3))
    angles = np.stack([targets.angles[j] for j in joints], 1) if joints else np.zeros((count, 0))
    root = tree.num_dof - len(tree.names)
    recorded = _recorded_joints(targets)
    rest = [REST if name in recorded else STIFF_REST.get(name[:-2], REST) for name in tree.names]
    return Terms(
        points=points,
        goal=tree.tensor(targets.positions),
        weight=tree.tensor(targets.weights) * POSITION,
        oriented=tree.index([tree.body(b) for b in bodies]),
        turns=tree.tensor(turns),
        turn_weight=tree.tensor(_turn_weights(bodies, turns, body)),
        rate=targets.rate,
        angle_columns=tree.index([root + tree.names.index(j) for j in joints]),
        angles=tree.tensor(angles),
        rest=tree.tensor(rest),
        smoothing=tree.tensor([*[1.0] * root, *(EXTRA_SMOOTHING.get(name[:-2], 1.0) for name in tree.names)]),
        undetermined=tree.tensor([*[1.0] * root, *(name not in targets.angles for name in tree.names)]) > 0,
    )


def _recorded_joints(targets: Targets) -> set[str]:
    """Return the arm joints that recorded orientations determine."""
    return set(targets.angles) | {f"shoulder_rot_{b[-1]}" for b in targets.orientations if b.startswith("humerus")}


def _turn_weights(bodies: list[str], turns: np.ndarray, body: Proportions) -> np.ndarray:
    """Return the square root weights (T, B, 3, 3) of the orientations.

    A foot's pitch counts more than its roll and yaw, in which recordings and body differ. Of an upper arm only the
    rotation about its length counts, because landmarks determine the rest.
    """
    weights = np.broadcast_to(np.sqrt(ORIENTATION) * np.eye(3), turns.shape).copy()
    for b, name in enumerate(bodies):
        if name.startswith("calcn"):
            across = turns[:, b, :, ACROSS]
            more = np.sqrt(FOOT_PITCH) - np.sqrt(FOOT_TWIST)
            weights[:, b] = np.sqrt(FOOT_TWIST) * np.eye(3) + more * across[:, :, None] * across[:, None, :]
        elif name.startswith("humerus"):
            arm = body.arms["left" if name.endswith("l") else "right"]
            along = turns[:, b] @ arm.axes["upper_arm"][:, 1]
            weights[:, b] = np.sqrt(UPPER_ARM) * along[:, :, None] * along[:, None, :]
    return weights


def _solve(
    tree: BodyTree, terms: Terms, pose: Pose, iterations: int, cutoff: float, fixed: tuple[int, int] = (0, 0)
) -> Pose:
    """Take Gauss-Newton steps; the first and last `fixed` frames do not change."""
    # A low-pass with `cutoff`: at this frequency the second differences weigh as much as the typical target term.
    smoothing = (2 * np.pi * min(cutoff / terms.rate, 0.45)) ** -4
    for _ in range(iterations):
        problem = _linearised(tree, terms, pose)
        for end in (slice(0, fixed[0]), slice(len(pose.joints) - fixed[1], None)):
            problem.low[end], problem.high[end] = 0.0, 0.0
        step = solve(problem, smoothing)
        pose = tree.move(pose, step)
        if float(step.abs().max()) < CONVERGED:
            break
    return pose


def _linearised(tree: BodyTree, terms: Terms, pose: Pose) -> Normal:
    frames = tree.forward(pose)
    rows, errors = [], []
    sided: list[tuple[Tensor, Tensor, Tensor]] = []  # Jacobian, value, weight

    def add(jacobian: Tensor, error: Tensor, weight: Tensor) -> None:
        root = weight.sqrt()[..., None]
        rows.append((jacobian * root[..., None]).flatten(1, 2))
        errors.append((error * root).flatten(1))

    positions = tree.points(frames, terms.points)
    weight = terms.weight.expand(positions.shape[:2])
    add(tree.point_jacobian(frames, terms.points.bodies, positions), positions - terms.goal, weight)
    if len(terms.oriented):
        error = matrix_to_rotvec(frames.mat[:, terms.oriented] @ terms.turns.transpose(-1, -2))
        root_weight = terms.turn_weight
        add(
            (root_weight @ tree.turn_jacobian(frames, terms.oriented)),
            (root_weight @ error[..., None])[..., 0],
            torch.ones_like(error[..., 0]),
        )
    first = tree.num_dof - len(tree.names)
    if len(terms.angle_columns):
        unit = torch.zeros(
            len(positions), len(terms.angle_columns), tree.num_dof, device=positions.device, dtype=positions.dtype
        )
        unit[:, torch.arange(len(terms.angle_columns)), terms.angle_columns] = WRIST**0.5
        rows.append(unit)
        errors.append(WRIST**0.5 * (pose.joints[:, terms.angle_columns - first] - terms.angles))
    num_target_terms = len(rows)  # the following terms come from the floor and must not affect the smoothing
    if terms.feet is not None:
        assert terms.still is not None and terms.anchor is not None and terms.touching is not None
        low = terms.feet.soles.lowest(frames)
        jacobian = tree.point_jacobian(frames, terms.feet.soles.bodies, low)
        sided.append((jacobian[:, :, 2], low[..., 2], torch.full_like(low[..., 2], FLOOR)))
        nearest, which = low[..., 2].min(dim=1, keepdim=True)
        push = torch.gather(jacobian[:, :, 2], 1, which[..., None].expand(-1, -1, tree.num_dof))
        sided.append((-push, TOUCH - nearest, FLOAT * terms.touching[:, None]))
        still = terms.still.to(low.dtype)
        add(jacobian[:, :, 2:], low[..., 2:], STAND_HEIGHT * still)
        add(jacobian[:, :, :2], low[..., :2] - terms.anchor, STAND_STILL * still)
    if terms.contacts is not None:
        sided.append(terms.contacts.rows(tree, frames, CLEARANCE, APART))
    typical = torch.cat(rows[:num_target_terms], dim=1).square().sum(dim=1).median(dim=0).values
    # Poorly determined joints are smoothed as if they were as well determined as the median joint.
    least = max(float(typical.median()), LANDMARK)
    typical = terms.smoothing * torch.where(terms.undetermined, typical.clamp_min(least), typical)
    stacked, error = torch.cat(rows, dim=1), torch.cat(errors, dim=1)
    hessian = stacked.transpose(1, 2) @ stacked
    gradient = (error[:, None] @ stacked)[:, 0]
    index = torch.arange(first, tree.num_dof, device=tree.device)
    hessian[:, index, index] += terms.rest
    gradient[:, first:] += terms.rest * (pose.joints - tree.neutral)
    low, high = torch.full_like(gradient, -torch.inf), torch.full_like(gradient, torch.inf)
    low[:, first:], high[:, first:] = tree.lower - pose.joints, tree.upper - pose.joints
    if not sided:
        none = gradient.new_zeros(len(gradient), 0)
        sided = [(none[:, :, None].expand(-1, 0, tree.num_dof), none, none)]
    push, value, one_sided_weight = (torch.cat(part, dim=1) for part in zip(*sided, strict=True))
    bend = _bend(tree, pose) if len(gradient) > 2 else gradient[:0]
    return Normal(hessian, gradient, push, value, one_sided_weight, bend, low, high, typical)


def _bend(tree: BodyTree, pose: Pose) -> Tensor:
    """Return second differences of the pose (T - 2, d); for the root's rotation in its own axes."""
    if not tree.free:
        return second(pose.joints)
    turn = matrix_to_rotvec(pose.root_mat[:-1].transpose(1, 2) @ pose.root_mat[1:])
    return torch.cat((second(pose.root_pos), turn[1:] - turn[:-1], second(pose.joints)), dim=1)


def _resample(tree: BodyTree, pose: Pose, known: np.ndarray, requested: np.ndarray) -> Pose:
    """Interpolate a pose from the frames `known` to the frames `requested`."""
    if len(known) == len(requested):
        return pose
    joints = CubicSpline(known, pose.joints.double().cpu().numpy())(requested)
    root = CubicSpline(known, pose.root_pos.double().cpu().numpy())(requested)
    turn = Slerp(known, Rotation.from_matrix(pose.root_mat.double().cpu().numpy()))(requested).as_matrix()
    resampled = Pose(tree.tensor(root), tree.tensor(turn), tree.tensor(joints))
    return resampled._replace(joints=resampled.joints.clamp(tree.lower, tree.upper))


def _rotated(tree: BodyTree, pose: Pose, turn: np.ndarray, height: float) -> Pose:
    by, shift = tree.tensor(turn), tree.tensor([0.0, 0.0, height])
    return pose._replace(root_pos=pose.root_pos @ by.T - shift, root_mat=by @ pose.root_mat)


def _anchor_feet(tree: BodyTree, terms: Terms, feet: Feet, pose: Pose) -> None:
    """Set the standing sole points, their positions, and the frames in which a foot must touch the floor."""
    low = feet.lowest(pose)
    still, position = stances(low, terms.rate)
    still &= feet.soles.rigid.cpu().numpy()
    height = pose.root_pos[:, 2].double().cpu().numpy()
    terms.feet, terms.still, terms.anchor = feet, tree.tensor(still) > 0, tree.tensor(position)
    terms.touching = tree.tensor(grounded(low[..., 2].min(axis=1), height, terms.rate))


def _anchors(tree: BodyTree, low: np.ndarray, still: np.ndarray) -> Tensor:
    """Return the position of each point while it stands: the median over the stance, (T, P, 2)."""
    anchor = low[..., :2].copy()
    for point in range(still.shape[1]):
        for start, stop in runs(still[:, point]):
            anchor[start:stop, point] = np.median(low[start:stop, point, :2], axis=0)
    return tree.tensor(anchor)
