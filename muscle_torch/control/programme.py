"""Matrices of a control step's quadratic programme, and its solution with contacts that open and close."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .dynamics import LinearDynamics
from .options import ProgrammeOptions
from .solver import Solution, solve_boxed
from .tasks import Rows

COUNTS = 1e-3  # [N] and [m/s^2]: an edge force and a separation above it count


@dataclass(frozen=True, eq=False)
class Inputs:
    """The unknown inputs (nu,): activations at the end of the step, controls of motors."""

    lowest: np.ndarray
    highest: np.ndarray
    centre: np.ndarray  # of least cost
    cost: np.ndarray  # of the squared distance from it


@dataclass(frozen=True, eq=False)
class Plan:
    """What a control step should do; C unilateral rows."""

    inputs: np.ndarray  # (nu,)
    forces: np.ndarray  # (C,) [N] of contact edges and joints at their limits
    acceleration: np.ndarray  # (nv,) predicted mean over the control step
    iterations: int  # of Newton's method
    converged: bool


class Programme:
    """Unknowns are inputs, forces of the unilateral rows and their separations: nu + 2 C."""

    def __init__(
        self,
        linear: LinearDynamics,
        rows: Sequence[Rows],
        inputs: Inputs,
        standing: np.ndarray,
        options: ProgrammeOptions,
    ) -> None:
        """Set the matrices up.

        Args:
            linear: the dynamics.
            rows: weighted tasks.
            inputs: bounds and cost of the inputs.
            standing: (F,) bool, feet that should stand: their points should stay on the floor.
            options: costs, weights and limits.
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
        # How far a force alone takes a row of its own: compared with the separation when a contact is decided.
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
        """Solve; then let each contact that both pushes and separates do only one of them, and solve again."""
        solution = self._solve(self._upper, None)
        iterations = solution.iterations
        for _ in range(self._options.decisions):
            force, apart = self._contacts(solution)
            if not ((force > COUNTS) & (apart > COUNTS)).any():
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
        """(force, separation) of each unilateral row (C,)."""
        return solution.x[self._count : self._count + self._edges], solution.x[self._count + self._edges :]
