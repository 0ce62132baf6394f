"""Cross-entropy search over the few parameters that a policy offers, before gradients take over.

A handful of numbers that act on everything at once (reflex gains) are hard to see for a policy gradient, whose
exploration is per muscle and per step, and easy for a search that tries whole sets of them side by side, each in worlds
of its own. Rubinstein and Kroese 2004; reflex gains found this way: Geyer and Herr 2010.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .process_group import ProcessGroup
from .rollout import physics_first

ELITE = 6  # one candidate in so many is learned from
KEEP = 0.3  # of the old mean and spread: they must not collapse before the mean has arrived
CHECK = 10  # control steps between looks whether anyone is left


@torch.no_grad()
def search(
    env: Any,
    policy: Any,
    cfg: Any,
    seed: int,
    processes: ProcessGroup,
    stopped: Callable[[], bool],
    report: Callable[[str], None],
) -> None:
    """Searches `policy.search_space()` on `env` for `cfg.rounds` and lets the policy adopt what it found.

    The policy offers `search_space() -> (mean (P,), spread (P,))`, `search_action(observation (W, D), candidates
    (W, P)) -> action (W, nu)` and `adopt(candidate (P,))`. All candidates of a round begin on the same frames, in
    the first of the round's trials on first frames; a candidate's score is the reward its worlds earn until they lose
    the motion. Trials grow longer from round to round: first who does not fall at once, then who stays up. Nothing is
    adopted where `stopped`.
    """
    mean, spread = policy.search_space()
    random = torch.Generator(device=mean.device).manual_seed(seed)  # of all processes: they try the same candidates
    count = min(cfg.candidates, env.num_envs)
    owner = torch.arange(env.num_envs, device=env.device) % count
    with physics_first(env.device):
        for number in range(1, cfg.rounds + 1):
            drawn = mean + spread * torch.randn((count, len(mean)), generator=random, device=mean.device)
            drawn[0] = mean
            steps = max(CHECK, cfg.steps * number // cfg.rounds)
            trials = (_trial(env, policy, drawn[owner], count, steps, trial == 0) for trial in range(cfg.trials))
            earned = sum(trials) / cfg.trials
            score = torch.zeros(count, device=env.device).index_add_(0, owner, earned)
            score = processes.sum(score) / processes.sum(torch.bincount(owner, minlength=count).to(score))
            best = drawn[score.topk(max(2, count // ELITE)).indices]
            mean = KEEP * mean + (1 - KEEP) * best.mean(0)
            spread = KEEP * spread + (1 - KEEP) * best.std(0)
            report(f"search {number}/{cfg.rounds}: reward a step {score.mean():.3f}, best candidate {score.max():.3f}")
            if stopped():
                return
    policy.adopt(mean)


def _trial(env: Any, policy: Any, candidates: Tensor, count: int, steps: int, broadcast: bool) -> Tensor:
    """Mean reward a step of each world (W,) under its own candidate (W, P); every `count` worlds share a start.

    broadcast: begin on the first frame of the clips drawn, as evaluation does.
    """
    share = torch.arange(env.num_envs, device=env.device) // count
    clip, frame = (start.to(env.device)[share] for start in env.goal.draw(-(-env.num_envs // count)))
    observation = env.assign((clip, torch.zeros_like(frame) if broadcast else frame))
    earned = torch.zeros(env.num_envs, device=env.device)
    alive = torch.ones(env.num_envs, dtype=torch.bool, device=env.device)
    for number in range(steps):
        step = env.advance(policy.search_action(observation, candidates))
        alive = alive & ~step.terminated
        earned += torch.where(alive, step.reward, 0.0)
        alive = alive & ~step.truncated
        if number % CHECK == 0 and not alive.any():
            break
        observation = env.restart(step.terminated | step.truncated)
    return earned / steps
