"""Forward kinematics of a MuJoCo model in torch: all frames at once, with Jacobians, for independent joints.

The pose of a frame is a root position (3,), a root rotation (3, 3) if the body is free, and the independent joints
(n,). Coupled joints follow by their polynomials, so a pose can never violate a coupling. Tangent of a frame: root
translation in world axes, root rotation in the root's axes (as MuJoCo's qvel), then the joints.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import mujoco
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from muscle_torch.embodiments import Embodiment
from muscle_torch.rotations import matrix_to_quat, quat_to_matrix

MARGIN = 2e-6  # [rad, m] to the limits, so that rounding to float32 does not exceed them
HANGING = 0.25  # [rad] elevation of an arm at rest: straight down it would touch the ribs, and be singular
DEPENDENT_TOLERANCE = 3e-4  # the model's knee polynomials exceed their ranges by this much


class Pose(NamedTuple):
    """Poses of T frames."""

    root_pos: Tensor  # (T, 3) world [m]; unused for a fixed body
    root_mat: Tensor  # (T, 3, 3)
    joints: Tensor  # (T, n) independent joints [rad]


class Frames(NamedTuple):
    """Kinematics of T frames; B bodies, J scalar joints, E coupled joints."""

    pos: Tensor  # (T, B, 3) body origins in the world [m]
    mat: Tensor  # (T, B, 3, 3)
    axis: Tensor  # (T, J, 3) joint axes in the world
    anchor: Tensor  # (T, J, 3) points on the axes [m]
    slope: Tensor  # (T, E) derivative of each coupled joint with respect to the joint that it follows


class Points(NamedTuple):
    """Points fixed to bodies."""

    bodies: Tensor  # (P,) indices of the tree's bodies
    local: Tensor  # (P, 3) or (T, P, 3) in the body's axes [m]


@dataclass(frozen=True)
class _Slot:
    """The n-th joint of all bodies that have at least n joints."""

    joints: Tensor
    carried: Tensor | None  # rows of the previous slot that it extends; None: the rest pose, included in `parts`
    parts: Tensor  # (J, 4, 16)
    lines: Tensor  # (J, 4, 2) axis and anchor


@dataclass(frozen=True)
class _Level:
    """Bodies at the same depth below the world."""

    rows: Tensor  # of the local placements
    parents: Tensor | None  # indices in the level above; None: identical order


class BodyTree:
    """The joints and bodies of one embodiment as tensors."""

    def __init__(
        self,
        embodiment: Embodiment,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        bodies: Sequence[str] | None = None,
    ) -> None:
        """Build the tensors of a body.

        Args:
            embodiment: The body.
            device: Where the tensors are stored.
            dtype: Their type.
            bodies: Names of the bodies to compute, with their ancestors; None: all.
        """
        model = embodiment.model
        self.embodiment, self.model, self.device, self.dtype = embodiment, model, device, dtype
        self.free = embodiment.root_joint is not None
        self._keep(model, bodies)
        self._joints(model)
        self._couplings(embodiment)
        self._bodies(model)
        self._ancestors(model)

    # ---- structure
    def _keep(self, model: mujoco.MjModel, bodies: Sequence[str] | None) -> None:
        """Set the model ids of the computed bodies, and the index of each model body among them (-1: none)."""
        kept = set(range(model.nbody)) if bodies is None else {0}
        for body in () if bodies is None else self.embodiment.resolve("body", bodies).tolist():
            while body not in kept:
                kept.add(body)
                body = int(model.body_parentid[body])
        self.body_ids = np.array(sorted(kept))
        self.place = np.full(model.nbody, -1)
        self.place[self.body_ids] = np.arange(len(self.body_ids))

    def _joints(self, model: mujoco.MjModel) -> None:
        self.scalar = self.embodiment.scalar_joint_ids
        self.qpos_ids = model.jnt_qposadr[self.scalar]
        of_address = {int(a): i for i, a in enumerate(self.qpos_ids)}
        coupling = self.embodiment.dependent
        self.dependent = np.array([of_address[int(a)] for a in coupling.qpos_ids], dtype=np.int64)
        self.follows = np.array([of_address.get(int(a), -1) for a in coupling.independent_qpos_ids], dtype=np.int64)
        self.independent = np.setdiff1d(np.arange(len(self.scalar)), self.dependent)
        self.names = tuple(self.embodiment.joint_names[j] for j in self.scalar[self.independent])
        self.num_dof = len(self.independent) + 6 * self.free
        self.slides = self.tensor(model.jnt_type[self.scalar] == mujoco.mjtJoint.mjJNT_SLIDE)
        self.qpos0 = self.tensor(model.qpos0[self.qpos_ids])

    def _couplings(self, embodiment: Embodiment) -> None:
        polynomials = embodiment.dependent.polynomials
        if set(self.follows) - {-1} & set(self.dependent.tolist()):
            raise NotImplementedError("a coupled joint that follows another coupled joint")
        self.polynomials = self.tensor(polynomials)
        self._parent_joint = self.index(np.maximum(self.follows, 0))
        self._constant = self.tensor(self.follows < 0)
        column = {int(j): i for i, j in enumerate(self.independent)}
        self._parent_column = self.index([column.get(int(j), 0) for j in self.follows])
        self._dependent, self._independent = self.index(self.dependent), self.index(self.independent)
        low, high = self.model.jnt_range[self.scalar].T
        lower, upper = low[self.independent] + MARGIN, high[self.independent] - MARGIN
        for i, joint in enumerate(self.independent):
            lower[i], upper[i] = self._inside(joint, lower[i], upper[i], low, high)
        self.lower, self.upper = self.tensor(lower), self.tensor(upper)
        hanging = self.tensor([HANGING * name.startswith("shoulder_elv") for name in self.names])
        self.neutral = hanging.clamp(self.lower, self.upper)  # (n,) [rad] default for undetermined joints

    def _inside(self, joint: int, lower: float, upper: float, low: np.ndarray, high: np.ndarray) -> tuple[float, float]:
        """Return the part of a joint's range, around its rest, in which the joints that follow it are within theirs."""
        grid = np.linspace(lower, upper, 2001)
        allowed = np.ones(len(grid), dtype=bool)
        start = self.model.qpos0[self.qpos_ids]
        for row in np.flatnonzero(self.follows == joint):
            other = self.dependent[row]
            value = start[other] + np.polynomial.polynomial.polyval(
                grid - start[joint], self.embodiment.dependent.polynomials[row]
            )
            slack = DEPENDENT_TOLERANCE
            allowed &= (value >= low[other] - slack) & (value <= high[other] + slack)
        rest = int(np.argmin(np.abs(grid - np.clip(start[joint], lower, upper))))
        forbidden = np.flatnonzero(~allowed)
        before, after = forbidden[forbidden < rest], forbidden[forbidden > rest]
        first, last = (before[-1] + 1 if len(before) else 0), (after[0] - 1 if len(after) else len(grid) - 1)
        return float(grid[first]), float(grid[last])

    def _bodies(self, model: mujoco.MjModel) -> None:
        """Compute the constants of `forward`: placements are 4x4 matrices [rotation, position; 0, 1]."""
        parents = self.place[model.body_parentid[self.body_ids]]
        rest = torch.eye(4, dtype=torch.float64).repeat(len(parents), 1, 1)
        rest[:, :3, :3] = quat_to_matrix(torch.as_tensor(model.body_quat[self.body_ids]))
        rest[:, :3, 3] = torch.as_tensor(model.body_pos[self.body_ids])
        body_of = self.place[model.jnt_bodyid[self.scalar]]
        parts, lines = self._joint_parts(model)
        # Process the joints of a body in sequence: slot 0 of all bodies, then slot 1, ...
        slot = np.array([np.sum(body_of[:i] == b) for i, b in enumerate(body_of)])
        slot[body_of < 0] = -1
        first = slot == 0
        parts[first] = rest[body_of[first], None] @ parts[first]
        lines[first] = rest[body_of[first]] @ lines[first]
        self._slots: list[_Slot] = []
        last, start = {body: body for body in range(len(parents))}, len(parents)  # rows of the local placements
        before: list[int] = []
        for s in range(int(slot.max()) + 1):
            ids = np.flatnonzero(slot == s)
            carried = self.index([before.index(b) for b in body_of[ids]]) if s else None
            before = body_of[ids].tolist()
            last |= {b: start + i for i, b in enumerate(before)}
            start += len(ids)
            self._slots.append(
                _Slot(self.index(ids), carried, self.tensor(parts[ids].flatten(2)), self.tensor(lines[ids]))
            )
        self._rest = self.tensor(rest)
        self._depths(parents, last)
        moving = np.concatenate([np.flatnonzero(slot == s) for s in range(int(slot.max()) + 1)])
        self._moving = self.index(moving)
        self._joint_up = self.index(parents[body_of[moving]])
        self._parents, self._body_of = parents, body_of

    def _depths(self, parents: np.ndarray, rows: dict[int, int]) -> None:
        """Order bodies by depth and by their parents; `rows`: index of each body's local placement."""
        depth = np.zeros(len(parents), dtype=int)
        for body in range(1, len(parents)):
            depth[body] = depth[parents[body]] + 1
        self._levels: list[_Level] = []
        above = np.zeros(1, dtype=int)
        order = [above]
        for d in range(1, depth.max() + 1):
            here = np.flatnonzero(depth == d)
            here = here[np.argsort([int(np.flatnonzero(above == parents[b])[0]) for b in here], kind="stable")]
            up = [int(np.flatnonzero(above == parents[b])[0]) for b in here]
            same = up == list(range(len(above)))
            local = self.index([rows[int(b)] for b in here])
            self._levels.append(_Level(local, None if same else self.index(up)))
            above = here
            order.append(here)
        self._top = order[1].tolist()
        self._by_body = self.index(np.argsort(np.concatenate(order)))

    def _joint_parts(self, model: mujoco.MjModel) -> tuple[Tensor, Tensor]:
        """Return the coefficients of each joint's placement (J, 4, 4, 4), and its line [axis, anchor] (J, 4, 2).

        The coefficients are those of (1, sin, 1 - cos, shift). A rotation by an angle about axis k through p is
        I + sin K + (1 - cos) K^2, with p fixed.
        """
        axis, at = torch.as_tensor(model.jnt_axis[self.scalar]), torch.as_tensor(model.jnt_pos[self.scalar])
        x, y, z = axis.unbind(-1)
        zero = torch.zeros_like(x)
        cross = torch.stack((zero, -z, y, z, zero, -x, -y, x, zero), -1).unflatten(-1, (3, 3))
        parts = torch.zeros(len(axis), 4, 4, 4, dtype=torch.float64)
        parts[:, 0] = torch.eye(4, dtype=torch.float64)
        for i, turn in ((1, cross), (2, cross @ cross)):
            parts[:, i, :3, :3] = turn
            parts[:, i, :3, 3] = -(turn @ at[..., None])[..., 0]
        parts[:, 3, :3, 3] = axis
        lines = torch.zeros(len(axis), 4, 2, dtype=torch.float64)
        lines[:, :3, 0], lines[:, :3, 1], lines[:, 3, 1] = axis, at, 1.0
        return parts, lines

    def _ancestors(self, model: mujoco.MjModel) -> None:
        """Set (B, J): 1 if joint j moves body b."""
        count = len(self.body_ids)
        mask, carried = np.zeros((count, len(self.scalar))), np.zeros(count)
        root = 0
        if self.free:
            root = int(self.place[model.jnt_bodyid[model.joint(self.embodiment.root_joint).id]])
        for body in range(1, count):
            mask[body] = mask[self._parents[body]]
            mask[body, self._body_of == body] = 1
            carried[body] = carried[self._parents[body]] or float(self.free and body == root)
        self._moves = self.tensor(mask)
        self._root_body, self._carried = root, self.tensor(carried)
        self._root_row = self._top.index(root) if self.free else 0

    # ---- poses
    def body(self, name: str) -> int:
        """Return the index of a body among the computed ones."""
        place = int(self.place[self.embodiment.resolve("body", [name])[0]])
        if place < 0:
            raise KeyError(f"body {name} is not computed by this tree")
        return place

    def rest(self, frames: int) -> Pose:
        """Return T = `frames` upright poses facing x, with the joints at `neutral`."""
        quarter = self.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
        turn = quarter if self.free else torch.eye(3, device=self.device, dtype=self.dtype)
        root = torch.zeros(frames, 3, device=self.device, dtype=self.dtype)
        return Pose(root, turn.expand(frames, 3, 3).clone(), self.neutral.repeat(frames, 1))

    def all_joints(self, joints: Tensor) -> tuple[Tensor, Tensor]:
        """Return all scalar joints (T, J) from the independent ones (T, n), and the coupled ones' slopes (T, E)."""
        full = joints.new_zeros(len(joints), len(self.scalar))
        full[:, self._independent] = joints
        offset = torch.where(self._constant > 0, 0.0, full[:, self._parent_joint] - self.qpos0[self._parent_joint])
        c = self.polynomials
        value = c[:, 0] + offset * (c[:, 1] + offset * (c[:, 2] + offset * (c[:, 3] + offset * c[:, 4])))
        slope = c[:, 1] + offset * (2 * c[:, 2] + offset * (3 * c[:, 3] + offset * 4 * c[:, 4]))
        full[:, self._dependent] = self.qpos0[self._dependent] + value
        return full, torch.where(self._constant > 0, 0.0, slope)

    def qpos(self, pose: Pose, exact: bool = True) -> np.ndarray:
        """Return qpos (T, nq) float64 for MuJoCo.

        Args:
            pose: T frames.
            exact: Compute coupled joints in double precision, which is slower.
        """
        out = np.tile(self.model.qpos0, (len(pose.joints), 1))
        if self.free:
            out[:, :3] = pose.root_pos.cpu().numpy()
            out[:, 3:7] = matrix_to_quat(pose.root_mat.double()).cpu().numpy()
        if not exact:
            out[:, self.qpos_ids] = self.all_joints(pose.joints)[0].double().cpu().numpy()
            return out
        out[:, self.qpos_ids[self.independent]] = pose.joints.double().cpu().numpy()
        return self.embodiment.project(out)

    def pose(self, qpos: np.ndarray) -> Pose:
        """Invert `qpos`; joints are clamped to their limits."""
        joints = self.tensor(qpos[:, self.qpos_ids[self.independent]]).clamp(self.lower, self.upper)
        if not self.free:
            return self.rest(len(qpos))._replace(joints=joints)
        return Pose(self.tensor(qpos[:, :3]), quat_to_matrix(self.tensor(qpos[:, 3:7])), joints)

    def forward(self, pose: Pose) -> Frames:
        """Compute the placements of bodies and joint axes."""
        full, slope = self.all_joints(pose.joints)
        offset, count = (full - self.qpos0).T, len(full)
        angle = torch.where(self.slides[:, None] > 0, 0.0, offset)
        shift = torch.where(self.slides[:, None] > 0, offset, 0.0)
        by = torch.stack((torch.ones_like(angle), torch.sin(angle), 1 - torch.cos(angle), shift), -1)  # (J, T, 4)
        # Bodies in the axes of their parents, first at rest, then after each additional joint.
        locals_, lines = [self._rest[:, None].expand(-1, count, 4, 4)], []
        for slot in self._slots:
            turned = (by[slot.joints] @ slot.parts).unflatten(-1, (4, 4))
            if slot.carried is None:
                lines.append(slot.lines[:, None].expand(-1, count, 4, 2))
            else:
                before = locals_[-1][slot.carried]
                lines.append((before.flatten(1, 2) @ slot.lines).unflatten(1, (-1, 4)))
                turned = before @ turned
            locals_.append(turned)
        local = torch.cat(locals_)
        above = local[:1]
        placed = [above]
        for depth, level in enumerate(self._levels):
            here = local[level.rows]
            if depth == 0 and self.free:
                here[self._root_row, :, :3, :3], here[self._root_row, :, :3, 3] = pose.root_mat, pose.root_pos
            elif depth:
                here = (above if level.parents is None else above[level.parents]) @ here
            above = here
            placed.append(above)
        world = torch.cat(placed)[self._by_body]
        line = full.new_zeros(len(self.scalar), count, 4, 2)
        line[self._moving] = world[self._joint_up] @ torch.cat(lines)
        world, line = world.transpose(0, 1), line.transpose(0, 1)
        return Frames(world[..., :3, 3], world[..., :3, :3], line[..., :3, 0], line[..., :3, 1], slope)

    def points(self, frames: Frames, points: Points) -> Tensor:
        """Return the world positions of points, (T, P, 3) [m]."""
        local = points.local.expand(len(frames.pos), -1, 3)
        return frames.pos[:, points.bodies] + (frames.mat[:, points.bodies] @ local[..., None])[..., 0]

    def twists(self, frames: Frames, bodies: Tensor) -> tuple[Tensor, Tensor]:
        """Return the twists (T, 6, dof) of each degree of freedom, and which `bodies` (P,) they move, (P, dof).

        A twist is the angular velocity and the linear velocity at the world origin, including coupled joints.

        Args:
            frames: Of `forward`.
            bodies: (P,).

        Raises:
            ValueError: A body lies inside a coupled chain, so that it moves with only some joints of a coupling.
        """
        moves = self._moves[bodies]
        lead = moves[:, self._independent]
        used = moves.any(0)[self._dependent] & (self._constant == 0)
        if not torch.equal(moves[:, self._dependent][:, used], lead[:, self._parent_column[used]]):
            raise ValueError("a body inside a coupled chain has no common twist")
        slide = self.slides[:, None] > 0
        angular = torch.where(slide, 0.0, frames.axis)
        linear = torch.where(slide, frames.axis, torch.linalg.cross(frames.anchor, angular))
        each = torch.cat((angular, linear), dim=-1).transpose(-1, -2)  # (T, 6, J)
        out = each[..., self._independent]
        through = each[..., self._dependent[used]] * frames.slope[:, None, used]
        out = out.index_add(-1, self._parent_column[used], through)
        if not self.free:
            return out, lead
        turn, at = frames.mat[:, self._root_body], frames.pos[:, self._root_body, :, None]
        eye = torch.eye(3, device=self.device, dtype=self.dtype).expand_as(turn)
        shift = torch.cat((torch.zeros_like(turn), eye), dim=-2)
        spin = torch.cat((turn, torch.linalg.cross(at.expand_as(turn), turn, dim=-2)), dim=-2)
        carried = self._carried[bodies][:, None].expand(-1, 6)
        return torch.cat((shift, spin, out), dim=-1), torch.cat((carried, lead), dim=-1)

    def point_jacobian(self, frames: Frames, bodies: Tensor, where: Tensor) -> Tensor:
        """Return the derivative (T, P, 3, dof) of points fixed to bodies.

        Args:
            frames: Of `forward`.
            bodies: (P,).
            where: World positions of the points, (T, P, 3) [m].
        """
        twists, moved = self.twists(frames, bodies)
        x, y, z = where.unbind(-1)
        o, i = torch.zeros_like(x), torch.ones_like(x)
        # v + w x p, as a matrix that acts on (w, v).
        rows = torch.stack((o, z, -y, i, o, o, -z, o, x, o, i, o, y, -x, o, o, o, i), -1).unflatten(-1, (3, 6))
        return (rows.flatten(1, 2) @ twists).unflatten(1, (-1, 3)) * moved[:, None]

    def turn_jacobian(self, frames: Frames, bodies: Tensor) -> Tensor:
        """Return the angular velocity (T, P, 3, dof) of `bodies` (P,) in world axes for each degree of freedom."""
        twists, moved = self.twists(frames, bodies)
        return twists[:, None, :3] * moved[:, None]

    def move(self, pose: Pose, step: Tensor) -> Pose:
        """Return `pose` moved by a tangent (T, dof), with joints clamped to their limits."""
        joints = (pose.joints + step[:, 6 * self.free :]).clamp(self.lower, self.upper)
        if not self.free:
            return pose._replace(joints=joints)
        return Pose(pose.root_pos + step[:, :3], pose.root_mat @ exp(step[:, 3:6]), joints)

    def tensor(self, values: npt.ArrayLike) -> Tensor:
        """Return `values` with this tree's dtype and device."""
        return torch.as_tensor(np.ascontiguousarray(values, dtype=np.float64), dtype=self.dtype, device=self.device)

    def index(self, values: npt.ArrayLike) -> Tensor:
        """Return integer `values` on this tree's device."""
        return torch.as_tensor(np.asarray(values, dtype=np.int64), device=self.device)


def exp(vector: Tensor) -> Tensor:
    """Return the rotation (..., 3, 3) of a rotation vector (..., 3) [rad]."""
    half = torch.linalg.vector_norm(vector, dim=-1, keepdim=True) / 2
    return quat_to_matrix(torch.cat((torch.cos(half), torch.sinc(half / torch.pi) / 2 * vector), dim=-1))
