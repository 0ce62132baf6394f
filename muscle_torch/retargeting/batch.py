"""Method `batch`: every frame of a clip in one least-squares problem on torch, on a CPU or a GPU.

Unknowns are the independent joints (coupled ones follow) within their limits. Terms: landmark positions, orientations
of pelvis, trunk and feet, how upper arms and forearms turn, wrist angles, a weak pull to the rest pose, second
differences in time (a zero-phase low-pass, `cutoff` [Hz]), standing feet that neither sink nor slide, one foot on the
floor except in flight, and parts that keep apart. Gauss-Newton steps (solver.py) on few frames first, then on all.
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
FOOT_PITCH, FOOT_TWIST = 2e4, 20.0  # 1 / (0.4 and 13 degrees)^2: ankle angles are small, and the floor pulls at them
ACROSS = 2  # the heel bone's axis to the right
UPPER_ARM = 5.0  # 1 / (26 degrees)^2, about its length: where the elbow bends, the landmarks show it better
WRIST = 150.0  # 1 / (5 degrees)^2, angles of forearm and wrist
LANDMARK = (
    POSITION * 0.37**2
)  # of a joint that moves a landmark 0.37 m away: how much the least known ones are smoothed
REST = 1.0  # 1 / (1 rad)^2: joints that no landmark tells
STIFF_REST = {"elv_angle": 10.0, "shoulder_rot": 10.0, "pro_sup": 10.0, "subtalar_angle": 8.0, "mtp_angle": 4.0,
              "deviation": 4.0, "flexion": 4.0}  # fmt: skip
CALM = {"elv_angle": 3.0, "shoulder_rot": 3.0, "subtalar_angle": 3.0, "mtp_angle": 6.0}  # smoothed so much more
FLOOR = 6e6  # 1 / (0.4 mm)^2, below the floor
STAND_HEIGHT = 2e4  # 1 / (7 mm)^2
STAND_STILL = 2e6  # 1 / (0.7 mm)^2
FLOAT = 5e6  # 1 / (0.4 mm)^2, above the floor while a foot has to touch it
APART = 1e7  # 1 / (0.3 mm)^2, parts in each other
CLEARANCE = 0.004  # [m] kept between body parts
SUNK = 0.001  # [m] at which more steps are worth their time
CONTACTS_LAST = 3  # steps between searches for what touches
REPAIRS, AROUND = 2, 12  # rounds of them; frames on both sides that give way
SETTLED = 0.01  # [rad, m] smaller steps end a stage
COARSE = 5  # the first, rough solution takes every 5th frame


@dataclass(frozen=True)
class BatchOptions:
    cutoff: float = 10.0  # [Hz]
    rough_iterations: int = 5  # on few frames, without floor
    coarse_iterations: int = 6  # on few frames, with all terms
    iterations: int = 2  # on all frames
    device: str = "cpu"


@dataclass
class Terms:
    """What stays the same during one solve."""

    points: Points
    goal: Tensor  # (T, K, 3)
    weight: Tensor  # (K,)
    turned: Tensor  # (B,) bodies with a wanted orientation
    turns: Tensor  # (T, B, 3, 3)
    turn_weight: Tensor  # (T, B, 3, 3) root of the weight, by direction of the world
    rate: float
    bent: Tensor  # (A,) columns of joints whose angle is recorded
    angles: Tensor  # (T, A) [rad]
    rest: Tensor  # (n,) weight of the rest pose
    calm: Tensor  # (d,) how much more each degree of freedom is smoothed
    vague: Tensor  # (d,) bool: the targets hardly show it
    feet: Feet | None = None
    still: Tensor | None = None  # (T, P) soles that stand
    anchor: Tensor | None = None  # (T, P, 2) where
    touching: Tensor | None = None  # (T,) frames in which a foot touches the floor
    contacts: Contacts | None = None

    def frames(self, start: int, stop: int) -> "Terms":
        """Those of a stretch of the clip, without contacts."""
        stretch = slice(start, stop)
        return dataclasses.replace(
            self,
            goal=self.goal[stretch],
            turns=self.turns[stretch],
            turn_weight=self.turn_weight[stretch],
            angles=self.angles[stretch],
            still=None if self.still is None else self.still[stretch],
            anchor=None if self.anchor is None else self.anchor[stretch],
            touching=None if self.touching is None else self.touching[stretch],
            contacts=None,
        )


def fit_clip(targets: Targets, body: Proportions, options: BatchOptions) -> tuple[np.ndarray, Targets]:
    """(qpos (T, nq), the targets on a level floor at height 0)."""
    tree, feet = _tree(body, options.device)
    points = body.points(targets.names, tree)
    few = spread_frames(targets.num_frames, COARSE if targets.num_frames > 8 * COARSE else 1)
    rough = targets.at(few)
    pose = _solve(
        tree, _terms(tree, body, rough, points), _start(tree, rough), options.rough_iterations, options.cutoff
    )
    if feet is not None:
        everything = np.arange(targets.num_frames)
        turn, height = find_floor(feet.lowest(_spread(tree, pose, few, everything)), targets.rate)
        targets = targets.turned(turn, np.array([0.0, 0.0, -height]))
        pose = _turned(tree, pose, turn, height)
    # All terms on the few frames first: what is left for all frames is small.
    everything = np.arange(targets.num_frames)
    for chosen, count in ((few, options.coarse_iterations), (everything, options.iterations)):
        at = targets.at(chosen)
        pose = _spread(tree, pose, few, chosen)
        terms = _terms(tree, body, at, points)
        if feet is not None:
            _stand(tree, terms, feet, pose)
        pose = _keep_apart(tree, terms, pose, count, options.cutoff)
        if feet is not None and chosen is few:
            lift = _lift(tree, terms, pose)
            targets = targets.turned(np.eye(3), np.array([0.0, 0.0, lift]))
    return tree.qpos(_repaired(tree, terms, pose, options.cutoff)), targets


def _lift(tree: BodyTree, terms: Terms, pose: Pose) -> float:
    """How much higher than its targets the body stands [m]: by so much the recording's floor was taken too high."""
    above = (tree.points(tree.forward(pose), terms.points) - terms.goal)[..., 2].mean(dim=0)
    return float(above @ terms.weight / terms.weight.sum())


@lru_cache(maxsize=4)
def _tree(body: Proportions, device: str) -> tuple[BodyTree, Feet | None]:
    """What depends on the body alone."""
    tree = BodyTree(body.tree.embodiment, device, torch.float32, followed(body))
    return tree, Feet(tree) if tree.free else None


def followed(body: Proportions) -> list[str]:
    """Bodies that the problem asks about: those with landmarks, orientations, soles, or parts that may collide."""
    model = body.tree.model
    names = {model.body(int(b)).name for b in model.geom_bodyid[pairs(model)].ravel()} | {"thorax"}
    names |= {LANDMARK_BODIES[name] for name in body.rest if name in LANDMARK_BODIES}
    names |= {bone for arm in body.arms.values() for bone in arm.bodies.values()}
    if body.free:
        names |= {"pelvis", *(f"{part}_{side}" for part in FEET for side in "rl")}
    return sorted(names - {"world"})


def _keep_apart(tree: BodyTree, terms: Terms, pose: Pose, iterations: int, cutoff: float) -> Pose:
    """Steps with all terms, with what touches found anew after some of them."""
    for done in range(0, iterations, CONTACTS_LAST):
        terms.contacts = find_contacts(tree, pose, CLEARANCE)
        pose = _solve(tree, terms, pose, min(CONTACTS_LAST, iterations - done), cutoff)
    return pose


def _repaired(tree: BodyTree, terms: Terms, pose: Pose, cutoff: float) -> Pose:
    """More steps for the stretches of a clip where a foot is still in the floor or parts in each other."""
    count = len(pose.joints)
    for _ in range(REPAIRS):
        contacts = find_contacts(tree, pose, CLEARANCE)
        bad = np.zeros(count, dtype=bool) if contacts is None else contacts.nearest < -SUNK
        low = terms.feet.lowest(pose) if terms.feet is not None else None
        if low is not None:
            bad |= low[..., 2].min(axis=1) < -SUNK
        if not bad.any():
            break
        if low is not None and terms.still is not None:  # feet may have to stand further apart
            terms.anchor = _anchors(tree, low, terms.still.cpu().numpy() > 0)
        around = np.convolve(bad, np.ones(2 * AROUND + 1), mode="same") > 0
        for start, stop in runs(around):
            part = Pose(*(values[start:stop] for values in pose))
            few = terms.frames(start, stop)
            few.contacts = find_contacts(tree, part, CLEARANCE)
            held = (2 * (start > 0), 2 * (stop < count))
            part = _solve(tree, few, part, 2, cutoff, held)
            for whole, piece in zip(pose, part, strict=True):
                whole[start:stop] = piece
    return pose


def _start(tree: BodyTree, targets: Targets) -> Pose:
    pose = tree.rest(targets.num_frames)
    if not tree.free:
        return pose
    turn = tree.tensor(targets.orientations["pelvis"])
    local = tree.forward(pose).mat[0, tree.body("pelvis")]  # the root body's axes against the pelvis' at rest
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
        turned=tree.index([tree.body(b) for b in bodies]),
        turns=tree.tensor(turns),
        turn_weight=tree.tensor(_turn_weights(bodies, turns, body)),
        rate=targets.rate,
        bent=tree.index([root + tree.names.index(j) for j in joints]),
        angles=tree.tensor(angles),
        rest=tree.tensor(rest),
        calm=tree.tensor([*[1.0] * root, *(CALM.get(name[:-2], 1.0) for name in tree.names)]),
        vague=tree.tensor([*[1.0] * root, *(name not in targets.angles for name in tree.names)]) > 0,
    )


def _recorded_joints(targets: Targets) -> set[str]:
    """Joints of the arms that recorded orientations determine."""
    return set(targets.angles) | {f"shoulder_rot_{b[-1]}" for b in targets.orientations if b.startswith("humerus")}


def _turn_weights(bodies: list[str], turns: np.ndarray, body: Proportions) -> np.ndarray:
    """(T, B, 3, 3): a foot's pitch counts more than its roll and yaw, in which recordings and body differ.

    Of an upper arm only the turn about its length counts; landmarks show the rest.
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
    tree: BodyTree, terms: Terms, pose: Pose, iterations: int, cutoff: float, held: tuple[int, int] = (0, 0)
) -> Pose:
    """Gauss-Newton steps; the first and last `held` frames stay as they are."""
    # A low-pass of `cutoff`: there the second differences weigh as much as the typical pull of the targets.
    smoothing = (2 * np.pi * min(cutoff / terms.rate, 0.45)) ** -4
    for _ in range(iterations):
        problem = _linearised(tree, terms, pose)
        for end in (slice(0, held[0]), slice(len(pose.joints) - held[1], None)):
            problem.low[end], problem.high[end] = 0.0, 0.0
        step = solve(problem, smoothing)
        pose = tree.move(pose, step)
        if float(step.abs().max()) < SETTLED:
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

    where = tree.points(frames, terms.points)
    weight = terms.weight.expand(where.shape[:2])
    add(tree.point_jacobian(frames, terms.points.bodies, where), where - terms.goal, weight)
    if len(terms.turned):
        error = matrix_to_rotvec(frames.mat[:, terms.turned] @ terms.turns.transpose(-1, -2))
        by = terms.turn_weight
        add(
            (by @ tree.turn_jacobian(frames, terms.turned)),
            (by @ error[..., None])[..., 0],
            torch.ones_like(error[..., 0]),
        )
    first = tree.num_dof - len(tree.names)
    if len(terms.bent):
        unit = torch.zeros(len(where), len(terms.bent), tree.num_dof, device=where.device, dtype=where.dtype)
        unit[:, torch.arange(len(terms.bent)), terms.bent] = WRIST**0.5
        rows.append(unit)
        errors.append(WRIST**0.5 * (pose.joints[:, terms.bent - first] - terms.angles))
    told = len(rows)  # what follows comes from the floor, and must not make the motion smoother
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
    typical = torch.cat(rows[:told], dim=1).square().sum(dim=1).median(dim=0).values
    # Joints that the targets hardly show are smoothed as if they showed as much as of the others.
    least = max(float(typical.median()), LANDMARK)
    typical = terms.calm * torch.where(terms.vague, typical.clamp_min(least), typical)
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
    push, value, pull = (torch.cat(part, dim=1) for part in zip(*sided, strict=True))
    bend = _bend(tree, pose) if len(gradient) > 2 else gradient[:0]
    return Normal(hessian, gradient, push, value, pull, bend, low, high, typical)


def _bend(tree: BodyTree, pose: Pose) -> Tensor:
    """Second differences of the pose (T - 2, d), those of the root's rotation in its own axes."""
    if not tree.free:
        return second(pose.joints)
    turn = matrix_to_rotvec(pose.root_mat[:-1].transpose(1, 2) @ pose.root_mat[1:])
    return torch.cat((second(pose.root_pos), turn[1:] - turn[:-1], second(pose.joints)), dim=1)


def _spread(tree: BodyTree, pose: Pose, known: np.ndarray, wanted: np.ndarray) -> Pose:
    """A pose at the frames `known` -> at the frames `wanted`."""
    if len(known) == len(wanted):
        return pose
    joints = CubicSpline(known, pose.joints.double().cpu().numpy())(wanted)
    root = CubicSpline(known, pose.root_pos.double().cpu().numpy())(wanted)
    turn = Slerp(known, Rotation.from_matrix(pose.root_mat.double().cpu().numpy()))(wanted).as_matrix()
    spread = Pose(tree.tensor(root), tree.tensor(turn), tree.tensor(joints))
    return spread._replace(joints=spread.joints.clamp(tree.lower, tree.upper))


def _turned(tree: BodyTree, pose: Pose, turn: np.ndarray, height: float) -> Pose:
    by, shift = tree.tensor(turn), tree.tensor([0.0, 0.0, height])
    return pose._replace(root_pos=pose.root_pos @ by.T - shift, root_mat=by @ pose.root_mat)


def _stand(tree: BodyTree, terms: Terms, feet: Feet, pose: Pose) -> None:
    """Which support points stand, and where each does so; when a foot has to touch the floor."""
    low = feet.lowest(pose)
    still, place = stances(low, terms.rate)
    still &= feet.soles.rigid.cpu().numpy()
    height = pose.root_pos[:, 2].double().cpu().numpy()
    terms.feet, terms.still, terms.anchor = feet, tree.tensor(still) > 0, tree.tensor(place)
    terms.touching = tree.tensor(grounded(low[..., 2].min(axis=1), height, terms.rate))


def _anchors(tree: BodyTree, low: np.ndarray, still: np.ndarray) -> Tensor:
    """Where each point stands while it does: its middle place of that time (T, P, 2)."""
    anchor = low[..., :2].copy()
    for point in range(still.shape[1]):
        for start, stop in runs(still[:, point]):
            anchor[start:stop, point] = np.median(low[start:stop, point, :2], axis=0)
    return tree.tensor(anchor)
