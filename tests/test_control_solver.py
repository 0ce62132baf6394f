"""The quadratic programme: against other solvers, at its bounds, and out of iterations."""

import daqp
import numpy as np
from scipy.optimize import lsq_linear

from muscle_torch.control.solver import solve_boxed


def _problem(seed: int, rows: int = 12, unknowns: int = 40):
    random = np.random.default_rng(seed)
    matrix, target = random.normal(size=(rows, unknowns)), 3 * random.normal(size=rows)
    cost, centre = random.uniform(0.5, 2.0, unknowns), random.uniform(size=unknowns)
    upper = np.where(random.uniform(size=unknowns) < 0.2, np.inf, 1.0)
    return matrix, target, cost, centre, np.zeros(unknowns), upper


def test_it_finds_what_scipy_finds():
    for seed in range(10):
        matrix, target, cost, centre, lower, upper = _problem(seed)
        root = np.sqrt(cost)
        expected = lsq_linear(
            np.vstack((matrix, np.diag(root))), np.concatenate((target, root * centre)), (lower, upper), tol=1e-14
        ).x
        solution = solve_boxed(matrix, target, cost, centre, lower, upper, tolerance=1e-10)
        assert solution.converged and solution.iterations < 20
        np.testing.assert_allclose(solution.x, expected, atol=1e-6)
        np.testing.assert_allclose(solution.dual, target - matrix @ solution.x, atol=1e-8)


def test_it_finds_what_daqp_finds():
    matrix, target, cost, centre, lower, upper = _problem(3, 30, 120)
    count = len(cost)
    x, *_ = daqp.solve(
        *(matrix.T @ matrix + np.diag(cost), -(matrix.T @ target) - cost * centre, np.zeros((0, count))),
        *(np.minimum(upper, 1e6), lower.copy(), np.zeros(count, dtype=np.int32)),
    )
    solution = solve_boxed(matrix, target, cost, centre, lower, upper, tolerance=1e-9)
    np.testing.assert_allclose(solution.x, x, atol=1e-6)


def test_out_of_iterations_the_bounds_still_hold():
    matrix, target, cost, centre, lower, upper = _problem(0)
    solution = solve_boxed(matrix, 1e3 * target, cost, centre, lower, upper, iterations=1, tolerance=1e-12)
    assert not solution.converged and solution.iterations == 1
    assert (solution.x >= lower).all() and (solution.x <= upper).all()


def test_a_start_at_the_solution_takes_no_step():
    problem = _problem(5)
    first = solve_boxed(*problem, tolerance=1e-9)
    again = solve_boxed(*problem, dual=first.dual, tolerance=1e-6)
    assert again.iterations == 0
    np.testing.assert_allclose(again.x, first.x, atol=1e-7)


def test_without_rows_the_centre_is_the_answer():
    none = np.zeros((0, 3))
    solution = solve_boxed(none, np.zeros(0), np.ones(3), np.array([-1.0, 0.5, 2.0]), np.zeros(3), np.ones(3))
    np.testing.assert_array_equal(solution.x, [0.0, 0.5, 1.0])
