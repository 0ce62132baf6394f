"""Cross-entropy search over the few parameters that a policy offers, before gradients take over.

A handful of numbers that act on everything at once (reflex gains) are hard to see for a policy gradient, whose
exploration is per muscle and per step, and easy for a search that tries whole sets of them side by side, one in each
group of worlds. Rubinstein and Kroese 2004; reflex gains found this way: Geyer and Herr 2010.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .rollout import physics_first

CANDIDATES = 32
ELITE = 8
EPISODE = 160  # control steps a candidate is tried for
KEEP = 0.3  # of the old spread: it must not collapse before the mean has arrived


@torch.no_grad()
def calibrate(env: Any, policy: Any, rounds: int, report: Callable[[str], None] = print) -> int:
    """Searches `policy.search_space()` on `env` and lets the policy adopt what it found; control steps spent.

    The policy offers `search_space() -> (mean (P,), spread (P,))`, `search_action(observation (W, D), candidates
    (W, P)) -> action (W, nu)` and `adopt(candidate (P,))`. A candidate's score is its worlds' mean reward; a world
    whose episode was terminated earns nothing for the rest of the trial.
    """
    with physics_first(env.device):
        return _search(env, policy, rounds, report)


def _search(env: Any, policy: Any, rounds: int, report: Callable[[str], None]) -> int:
    mean, spread = policy.search_space()
    candidates = min(CANDIDATES, env.num_envs)
    owner = torch.arange(env.num_envs, device=env.device) % candidates
    shares = torch.bincount(owner, minlength=candidates)
    for number in range(rounds):
        drawn = mean + spread * torch.randn(candidates, len(mean), device=mean.device)
        drawn[0] = mean
        earned = _trial(env, policy, drawn[owner])
        score = torch.zeros(candidates, device=env.device).index_add_(0, owner, earned) / shares
        best = drawn[score.topk(min(ELITE, candidates)).indices]
        mean = best.mean(0)
        spread = (1 - KEEP) * best.std(0, correction=0) + KEEP * spread
        report(f"calibration {number + 1}/{rounds}: reward {score[0]:.3f} (best candidate {score.max():.3f})")
    policy.adopt(mean)
    return rounds * EPISODE * env.num_envs


def _trial(env: Any, policy: Any, candidates: Tensor) -> Tensor:
    """Mean reward of each world (W,) under its own candidate (W, P)."""
    observation = env.begin()
    earned = torch.zeros(env.num_envs, device=env.device)
    alive = torch.ones(env.num_envs, dtype=torch.bool, device=env.device)
    for _ in range(EPISODE):
        step = env.advance(policy.search_action(observation, candidates))
        alive &= ~step.terminated
        earned += torch.where(alive, step.reward, 0.0)
        observation = env.restart(step.terminated | step.truncated)
    return earned / EPISODE
