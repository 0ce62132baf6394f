"""Matrices of a control step's quadratic program, and its solution with contacts that open and close."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .dynamics import LinearDynamics
from .options import ProgrammeOptions
from .solver import Solution, solve_boxed
from .tasks import Rows

THRESHOLD = 1e-3  # [N] and [m/s^2] above which an edge force or a separation counts as nonzero


@dataclass(frozen=True, eq=False)
class Inputs:
    """Bounds and costs of the inputs: activations at the end of the control step, and controls of motors."""

    lowest: np.ndarray  # (nu,)
    highest: np.ndarray  # (nu,)
    centre: np.ndarray  # (nu,) value of minimal cost
    cost: np.ndarray  # (nu,) cost of the squared distance from it


@dataclass(frozen=True, eq=False)
class Plan:
    """Result of planning a control step, with C unilateral rows."""

    inputs: np.ndarray  # (nu,)
    forces: np.ndarray  # (C,) forces of contact edges and joints at their limits [N]
    acceleration: np.ndarray  # (nv,) predicted mean acceleration in the control step
    iterations: int  # of Newton's method
    converged: bool  # whether the tolerance was reached


class Programme:
    """The quadratic program. Its unknowns are inputs, forces and separations of the unilateral rows: nu + 2 C."""

    def __init__(
        self,
        linear: LinearDynamics,
        rows: Sequence[Rows],
        inputs: Inputs,
        standing: np.ndarray,
        options: ProgrammeOptions,
    ) -> None:
        """Set up the matrices.

        Args:
            linear: Linear dynamics.
            rows: Weighted rows of the tasks.
            inputs: Bounds and costs of the inputs.
            standing: Feet that should stay on the floor, bool (F,).
            options: Costs, weights and limits.
        """
        self._options, self._linear = options, linear
        jacobian = np.concatenate([row.jacobian for row in rows])
        tasks, edges, count = len(jacobian), len(linear.reference), len(inputs.cost)
        weight, contact = options.contact_weight, np.arange(edges)
        stack = np.concatenate((jacobian, weight * linear.edges))
        self._matrix = np.zeros((tasks + edges, count + 2 * edges))
        self._matrix[:, :count] = stack @ linear.by_input
        self._matrix[:, count : count + edges] = stack @ linear.by_edge
        self._matrix[tasks + contact, count + contact] += weight * linear.compliance
        # Acceleration of a row by a unit of its force, to compare with the separation when a contact is decided.
        self._reach = self._matrix[tasks + contact, count + contact] / weight
        self._matrix[tasks + contact, count + edges + contact] = -weight
        target = np.concatenate([row.target for row in rows] + [weight * linear.reference])
        self._target = target - stack @ linear.free
        slack = np.where(np.append(standing, False)[linear.foot], options.stance_slack, options.swing_slack)
        none = np.zeros(2 * edges)
        self._cost = np.concatenate((inputs.cost, np.full(edges, options.force_cost), slack))
        self._centre = np.concatenate((inputs.centre, none))
        self._lower = np.concatenate((inputs.lowest, none))
        self._upper = np.concatenate((inputs.highest, none + np.inf))
        self._count, self._edges = count, edges

    def solve(self) -> Plan:
        """Solve; if contacts have both force and separation, choose one of them for each and solve again."""
        solution = self._solve(self._upper, None)
        iterations = solution.iterations
        for _ in range(self._options.decisions):
            force, apart = self._contacts(solution)
            if not ((force > THRESHOLD) & (apart > THRESHOLD)).any():
                break
            pushes = force * self._reach > apart
            decided = np.concatenate((np.where(pushes, np.inf, 0.0), np.where(pushes, 0.0, np.inf)))
            solution = self._solve(np.concatenate((self._upper[: self._count], decided)), solution.dual)
            iterations += solution.iterations
        inputs, (force, _) = solution.x[: self._count], self._contacts(solution)
        return Plan(inputs, force, self._linear.acceleration(inputs, force), iterations, solution.converged)

    def _solve(self, upper: np.ndarray, dual: np.ndarray | None) -> Solution:
        options = self._options
        return solve_boxed(
            *(self._matrix, self._target, self._cost, self._centre, self._lower, upper),
            *(dual, options.iterations, options.tolerance),
        )

    def _contacts(self, solution: Solution) -> tuple[np.ndarray, np.ndarray]:
        """Return force and separation of each unilateral row, (C,) each."""
        return solution.x[self._count : self._count + self._edges], solution.x[self._count + self._edges :]
