"""Measure an update of the release network without physics, by precision and compilation."""

import dataclasses

import torch
from tensordict import TensorDict

from muscle_torch.config import explain_library
from muscle_torch.models.build import build_policy, policy_spec
from muscle_torch.rl.optimizer import make_optimizer
from muscle_torch.rl.ppo_update import PPOUpdate
from muscle_torch.rl.precision import prepare
from muscle_torch.rl.process_group import SingleProcess
from muscle_torch.rl.rollout import critic_value
from muscle_torch.tools.benchmarking.gpu.results import (
    DEVICE,
    DRY,
    GIB,
    WORLDS,
    now,
    report,
    seconds,
    settings,
    survive,
)

CASES = (("tf32", False), ("bf16", False), ("float32", False), ("bf16", True), ("tf32", True))
MINIBATCHES = 2 if DRY else 16  # each as large as in the whole update


def learner(task: str) -> None:
    """Report microseconds per sample of an update, the optimizer, values and actions."""
    for precision, compiled in CASES:
        with survive("learner", precision=precision, compile=compiled):
            _measure(precision, compiled and not DRY)


def _measure(precision: str, compiled: bool) -> None:
    cfg = settings("fullbody")
    size, actions = (20, 8) if DRY else (2418, 354)
    minibatches = MINIBATCHES if DRY else cfg.ppo.minibatches
    rows = WORLDS * cfg.ppo.num_steps // minibatches
    torch.manual_seed(0)
    policy = build_policy(policy_spec(cfg.policy, cfg.exploration, size, actions)).to(DEVICE)
    batch = _batch(rows * MINIBATCHES, size, actions)
    begin = now()
    prepare(policy, precision, compiled, size, DEVICE)
    optimizer = make_optimizer(cfg.optimizer, policy.parameters())
    options = dataclasses.replace(cfg.ppo, minibatches=MINIBATCHES, epochs=1)
    update = PPOUpdate(policy, optimizer, options, SingleProcess())
    update.update(batch)
    first = now() - begin
    count, few = len(batch), batch["observation"][:WORLDS]
    finite = torch.ones((), dtype=torch.bool, device=DEVICE)
    whole = seconds(lambda: update.update(batch), 2)
    step = MINIBATCHES * seconds(lambda: optimizer.step(finite), 4)
    with torch.no_grad():
        acting = seconds(lambda: policy.distribution(few).sample())
        valuing = seconds(lambda: critic_value(policy, batch["observation"]))
    report(
        "learner",
        precision=precision,
        compile=compiled,
        parameters=sum(p.numel() for p in policy.parameters()),
        rows=rows,
        first_s=first,
        us_per_sample_update=1e6 * whole / count,
        us_per_sample_optimizer=1e6 * step / count,
        us_per_sample_values=1e6 * valuing / count,
        us_per_sample_acting=1e6 * acting / len(few),
        peak_gib=0.0 if DRY else torch.cuda.max_memory_allocated() / GIB,
    )


def _batch(count: int, size: int, actions: int) -> TensorDict:
    one = torch.randn(count, 1, device=DEVICE)
    return TensorDict(
        {
            "observation": torch.randn(count, size, device=DEVICE),
            "action": torch.randn(count, actions, device=DEVICE),
            "action_log_prob": torch.full((count,), -900.0 if not DRY else -10.0, device=DEVICE),
            "advantage": one,
            "value_target": one.clone(),
            "state_value": one.clone(),
        },
        batch_size=[count],
    )


if __name__ == "__main__":
    explain_library(__doc__ or "", "tools/benchmarking/gpu/measure.py")
