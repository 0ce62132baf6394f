"""Distances between trajectories: values by hand, laws, and those of a resting arm."""

import itertools

import numpy as np
import pytest
from env_cases import clip, saved, small_env

from muscle_torch.evaluation import ZeroController, evaluate
from muscle_torch.evaluation.trajectory_distance import Distances, distances


def series(*values) -> np.ndarray:
    """One element of one coordinate."""
    return np.array(values, dtype=float).reshape(-1, 1, 1)


def test_numbers_by_hand():
    # 0 0 1 against 0 1 1: the pauses are matched to each other, nothing is left.
    assert distances(series(0, 0, 1), series(0, 1, 1)) == pytest.approx({"euclidean": 1 / 3, "dtw": 0, "frechet": 0})
    # No alignment avoids 2 against 0 and 5 against 2 or worse: 0-0, 2-0, 5-2.
    result = distances(series(0, 2, 5), series(0, 0, 2))
    assert result["euclidean"] == pytest.approx((0 + 2 + 3) / 3)
    # 0-0, 0-0, 2-2, 5-2
    assert result["dtw"] == pytest.approx(3 / 3) and result["frechet"] == 3
    # Two elements in the plane: the mean of 5 and 0.
    one, other = np.zeros((4, 2, 2)), np.zeros((4, 2, 2))
    other[:, 0] = (3, 4)
    assert distances(one, other) == pytest.approx({"euclidean": 2.5, "dtw": 2.5, "frechet": 2.5})


def alignments(count: int):
    """Every monotone path from (0, 0) to (count - 1, count - 1)."""
    steps = ((0, 1), (1, 0), (1, 1))

    def extend(path):
        if path[-1] == (count - 1, count - 1):
            yield path
        for i, j in steps:
            following = (path[-1][0] + i, path[-1][1] + j)
            if max(following) < count:
                yield from extend([*path, following])

    return extend([(0, 0)])


def test_against_every_alignment_of_short_movements():
    random = np.random.default_rng(0)
    for _ in range(20):
        one, other = random.normal(size=(2, 4, 3, 2))
        apart = np.linalg.norm(one[:, None] - other[None], axis=3).mean(axis=2)
        costs = [[apart[step] for step in path] for path in alignments(4)]
        result = distances(one, other)
        assert result["dtw"] == pytest.approx(min(map(sum, costs)) / 4)
        assert result["frechet"] == pytest.approx(min(map(max, costs)))


def test_laws():
    random = np.random.default_rng(1)
    one, other = random.normal(size=(2, 50, 4, 3)).cumsum(axis=1)
    result = distances(one, other)
    assert result == pytest.approx(distances(other, one)) and result["dtw"] <= result["euclidean"]
    ends = [np.linalg.norm(one[k] - other[k], axis=1).mean() for k in (0, -1)]
    largest = np.linalg.norm(one - other, axis=2).mean(axis=1).max()
    assert max(ends) <= result["frechet"] <= largest
    assert not any(distances(one, one).values())


def test_time_warping_ignores_a_delay():
    time = np.linspace(0, 6, 300)
    early, late = (np.sin(np.clip(time - delay, 0, 4)).reshape(-1, 1, 1) for delay in (0.5, 1.0))
    result = distances(early, late)
    assert result["euclidean"] > 0.15 and result["dtw"] < 0.01 and result["frechet"] < 0.02


def test_a_resting_arm_is_as_far_away_as_geometry_says(tmp_path):
    """The reference holds 0.4 rad without moving; the relaxed arm falls to 0 and stays."""
    env = small_env(
        num_envs=2, motion=saved(tmp_path, clip(np.full(300, 0.4)), clip(np.full(40, 0.4), "b")), evaluation=True
    )
    result = evaluate(env, ZeroController(), callbacks=[Distances()])
    long, short = result["per_clip"]
    assert long["euclidean_joint_pos"] == pytest.approx(long["err_joint_pos"], rel=1e-5)  # one joint: the same
    assert long["euclidean_site_pos"] == pytest.approx(long["err_site_abs"], rel=1e-5)
    # At the end the hand is a chord away; of three sites only it moves, and of two relative ones.
    chord = 2 * 0.3 * np.sin(0.2)
    assert long["frechet_site_pos"] >= chord / 3 * 0.99 and long["frechet_relative_site_pos"] >= chord / 2 * 0.99
    assert result["dtw_joint_pos"] == pytest.approx((299 * long["dtw_joint_pos"] + 39 * short["dtw_joint_pos"]) / 338)
    for measure, name in itertools.product(("euclidean", "dtw", "frechet"), ("joint_vel", "relative_site_pos")):
        assert result[f"{measure}_{name}"] > 0


def test_shapes_that_do_not_fit_are_rejected():
    for one, other in ((np.zeros((3, 1, 1)), np.zeros((4, 1, 1))), (np.zeros((0, 1, 1)),) * 2, (np.zeros((3, 1)),) * 2):
        with pytest.raises(ValueError, match="movements of shapes"):
            distances(one, other)
