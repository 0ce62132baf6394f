"""One PPO update: minibatches of a rollout through TorchRL's clipped loss."""

import math
from typing import Any

import torch
from tensordict import TensorDict
from tensordict.nn import ProbabilisticTensorDictModule, ProbabilisticTensorDictSequential
from torch import Tensor, nn
from torchrl.modules import IndependentNormal
from torchrl.objectives import ClipPPOLoss

from .optimizer import Optimizer
from .process_group import ProcessGroup, SingleProcess

SUMMED = ("policy_loss", "value_loss", "entropy", "clip_fraction", "grad_norm", "auxiliary_loss")
MEASURED = (*SUMMED, "first_ratio", "kl", "finite")


class ClippedLoss(ClipPPOLoss):
    """TorchRL's, but for its question at every minibatch whether the entropy is finite, which a GPU has to stop for."""

    def _get_entropy(self, dist: Any, adv_shape: torch.Size) -> Tensor:
        return dist.entropy().unsqueeze(-1)


class PPO:
    """Clipped policy and value losses, gradient clipping, updates that are not finite skipped and counted.

    A policy with a method `auxiliary_loss(mean)` is asked for it after each forward pass, and its loss is added;
    `mean` averages a tensor over the processes that learn together.
    """

    def __init__(self, policy: nn.Module, optimizer: Optimizer, cfg: Any, processes: ProcessGroup | None = None):
        self.cfg, self.optimizer, self.processes = cfg, optimizer, processes or SingleProcess()
        self.auxiliary = getattr(policy, "auxiliary_loss", None)
        self.processes.watch_gradients(optimizer.parameters)
        sample = ProbabilisticTensorDictModule(
            in_keys=["loc", "scale"],
            out_keys=["action"],
            distribution_class=IndependentNormal,
            distribution_kwargs={"tanh_loc": False},
            return_log_prob=True,
            log_prob_key="action_log_prob",
        )
        self.loss = ClippedLoss(
            ProbabilisticTensorDictSequential(policy.actor, sample),  # type: ignore[arg-type]
            policy.critic,  # type: ignore[arg-type]
            clip_epsilon=cfg.clip,
            entropy_bonus=True,
            entropy_coeff=cfg.entropy_coef,
            critic_coeff=0.5 * cfg.value_coef,  # TorchRL's is the whole squared error, the published one half of it
            loss_critic_type="l2",
            clip_value=cfg.value_clip or None,
            functional=False,  # the policy's own modules run, so that `auxiliary_loss` can speak of this pass
        )
        self.loss.set_keys(sample_log_prob="action_log_prob")

    def update(self, batch: TensorDict, learn_actor: bool = True) -> dict[str, float]:
        """Learns from a flat batch (N,) of observation, action, action_log_prob, advantage, value_target, state_value.

        learn_actor=False moves only the critic (its first fit, so that advantages mean something). Metrics are means
        over the minibatches; `kl` is mean(log p_old - log p_new) over the last pass. Several processes call it
        together: a minibatch is then the union of theirs.
        """
        passes, kl = [], torch.zeros(())
        for _ in range(self.cfg.epochs):
            passes.append(self._learn(batch, learn_actor))
            kl = self.processes.mean(passes[-1][:, MEASURED.index("kl")].mean())
            # Where the policy has moved far enough only the critic goes on: its fit is what advantages are worth.
            learn_actor = learn_actor and not (self.cfg.target_kl and float(kl) > self.cfg.target_kl)
        found = torch.cat(passes)
        finite = found[:, -1:]
        sums = torch.where(finite > 0, found[:, : len(SUMMED)], 0.0).sum(0)
        shared = self.processes.mean(torch.cat((sums, found[:1, MEASURED.index("first_ratio")])))
        *totals, first_ratio, kl, made = torch.cat((shared, kl.view(1), finite.sum(0))).tolist()
        metrics = {name: value / max(1.0, made) for name, value in zip(SUMMED, totals, strict=True)}
        return metrics | {"kl": kl, "skipped_updates": len(found) - made, "first_ratio": first_ratio}

    def _learn(self, batch: TensorDict, learn_actor: bool) -> Tensor:
        """One pass, which asks the device nothing; what was MEASURED in each minibatch, (M, 9)."""
        device = batch["advantage"].device
        measured = []
        parts = minibatches(len(batch), self.cfg.minibatches, device)
        for ids, mean, variance in zip(parts, *self._advantage_moments(batch, parts), strict=True):
            found = self.loss(normalized(batch[ids], mean, variance))
            extra = self.auxiliary(self.processes.mean) if self.auxiliary else torch.zeros((), device=device)
            actor_loss = found["loss_objective"] + found["loss_entropy"] + extra if learn_actor else 0.0
            norm, finite = self._step(actor_loss + found["loss_critic"])
            values = (found[name] for name in ("loss_objective", "loss_critic", "entropy", "clip_fraction"))
            values = (*values, norm, extra, found["mean_ratio"], found["kl_approx"], finite.float())
            measured.append(torch.stack([value.detach() for value in values]))
        return torch.stack(measured)

    def _advantage_moments(self, batch: TensorDict, parts: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Mean and variance of the advantages of each minibatch."""
        advantages = [batch["advantage"][ids] for ids in parts]
        mean = torch.stack([advantage.mean() for advantage in advantages])
        return self.processes.moments(mean, torch.stack([advantage.var(correction=0) for advantage in advantages]))

    def _step(self, loss: Tensor) -> tuple[Tensor, Tensor]:
        """One optimiser step unless the gradient is not finite; (gradient norm, whether it was finite)."""
        self.optimizer.zero_grad()
        loss.backward()
        self.processes.finish_gradients()
        given = [p for p in self.optimizer.parameters if p.grad is not None]
        limit = self.cfg.max_grad_norm or math.inf
        norm = nn.utils.clip_grad_norm_(given, limit)
        finite = torch.isfinite(norm)
        self.optimizer.step(finite)
        return norm.detach(), finite


def minibatches(count: int, parts: int, device: Any) -> list[Tensor]:
    """Random ids, each of 0 to count - 1 once, in `parts` parts."""
    return list(torch.randperm(count, device=device).chunk(parts))


def normalized(batch: TensorDict, mean: Tensor, variance: Tensor) -> TensorDict:
    """With advantages less their mean, over their (population) standard deviation."""
    return batch.set("advantage", (batch["advantage"] - mean) / (variance.sqrt() + 1e-8))


def explained_variance(value: Tensor, target: Tensor, processes: ProcessGroup) -> float:
    """1 - var(target - value) / var(target); 0 where the target does not vary."""
    pair = torch.stack((target - value, target)).flatten(1)
    left, spread = processes.moments(pair.mean(1), pair.var(1, correction=0))[1].tolist()
    return 1 - left / spread if spread > 1e-8 else 0.0
