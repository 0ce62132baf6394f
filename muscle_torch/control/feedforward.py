"""Feedforward excitations of a clip by inverse dynamics with estimated contact forces and static optimization.

Nothing is simulated. In each frame, the generalized forces of the motion are distributed over muscles, motors and the
contact points of standing feet, within bounds and friction, with minimal squared activation (Crowninshield and Brand
1981). Contact forces and activations are optimized together, so that in double support the muscles determine the
distribution of ground forces. Excitations follow by inverting the activation dynamics.
"""

from dataclasses import dataclass

import mujoco
import numpy as np

from muscle_torch.embodiments import actuator_moments
from muscle_torch.motion.support import NEAR

from .activation import ActivationDynamics
from .body import ControlBody
from .dynamics import Dynamics, mass_matrix
from .reference import Reference
from .solver import solve_boxed

WEIGHT = 1.0  # [1/N, 1/Nm] weight of the equations of motion relative to squared activation
FORCE_COST = 1e-6  # [1/N^2] cost of squared edge forces
FRICTION = 0.8  # friction coefficient of the ground


@dataclass(frozen=True, eq=False)
class Feedforward:
    """Feedforward of a clip of T frames, with F feet and n independent dofs."""

    activation: np.ndarray  # (T, nu) activations of muscles in [0, 1]; controls of motors
    excitation: np.ndarray  # (T, nu) excitations that lead to the activation of the next frame; controls of motors
    residual: np.ndarray  # (T, n) unbalanced generalized forces [N, Nm]
    ground_force: np.ndarray  # (T, F, 3) on each foot, world axes [N]


def feedforward(body: ControlBody, reference: Reference) -> Feedforward:
    """Compute the feedforward of a feasible clip.

    Args:
        body: The body.
        reference: Tables of the clip.

    Returns:
        Activations, excitations, unbalanced generalized forces and estimated ground forces.
    """
    optimizer = _StaticOptimizer(body)
    frames = [optimizer.frame(reference, t) for t in range(reference.num_frames)]
    activation, residual, force = (np.stack(column) for column in zip(*frames, strict=True))
    excitation = activation.copy()
    muscles = np.flatnonzero(body.muscle)
    dynamics = ActivationDynamics.of(body.model, muscles, body.embodiment.substeps)
    for now, after, out in zip(activation[:-1], activation[1:], excitation[:-1], strict=True):
        out[muscles] = dynamics.invert(now[muscles], after[muscles])
    return Feedforward(activation, excitation, residual, force)


class _StaticOptimizer:
    """Static optimization of single frames."""

    def __init__(self, body: ControlBody) -> None:
        self.body, self.dynamics = body, Dynamics(body)
        self.data = mujoco.MjData(body.model)
        self._low, self._high = body.model.actuator_ctrlrange.T.copy()
        self._low[body.muscle], self._high[body.muscle] = 0.0, 1.0

    def frame(self, reference: Reference, t: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return inputs (nu,), residual (n,) and ground forces (F, 3) of frame `t`."""
        body, data, model = self.body, self.data, self.body.model
        data.qpos[:], data.qvel[:], data.act[:] = reference.qpos[t], reference.qvel[t], 0.0
        self.dynamics.forward(data)
        tangent = body.independent.tangent(data.qpos)
        needed = tangent.T @ (mass_matrix(model, data) @ reference.qacc[t] - data.qfrc_smooth)
        by_input = tangent.T @ (actuator_moments(model, data).T * self.dynamics.gain(data))
        edges, jacobian = self._edges(reference.stands[t])
        by_edge = (jacobian @ tangent).T
        inputs, count = by_input.shape[1], len(jacobian)
        matrix = WEIGHT * np.concatenate((by_input, by_edge), axis=1)
        cost = np.concatenate((np.ones(inputs), np.full(count, FORCE_COST)))
        solution = solve_boxed(
            *(matrix, WEIGHT * needed, cost, np.zeros(inputs + count)),
            np.concatenate((self._low, np.zeros(count))),
            np.concatenate((self._high, np.full(count, np.inf))),
            iterations=200,
            tolerance=1e-6,
        )
        residual = needed - matrix @ solution.x / WEIGHT
        force = np.zeros((len(body.feet), 3))
        np.add.at(
            force,
            [foot for foot, _ in edges],
            np.array([push for _, push in edges]).reshape(-1, 3) * solution.x[inputs:, None],
        )
        return solution.x[:inputs], residual, force

    def _edges(self, stands: np.ndarray) -> tuple[list[tuple[int, np.ndarray]], np.ndarray]:
        """Return the edges (foot, direction) of friction pyramids under standing feet, and their Jacobian (C, nv)."""
        body, data, model = self.body, self.data, self.body.model
        edges, rows = [], []
        if body.soles is None:
            return edges, np.zeros((0, model.nv))
        linear = np.zeros((3, model.nv))
        for point, foot, geom in zip(body.soles.lowest(data), body.soles.foot, body.soles.geom, strict=True):
            if not stands[foot] or point[2] > NEAR:
                continue
            mujoco.mj_jac(model, data, linear, None, point, int(model.geom_bodyid[geom]))
            for tangential in ((FRICTION, 0.0), (-FRICTION, 0.0), (0.0, FRICTION), (0.0, -FRICTION)):
                push = np.array([*tangential, 1.0])
                edges.append((int(foot), push))
                rows.append(push @ linear)
        return edges, np.array(rows).reshape(-1, model.nv)
