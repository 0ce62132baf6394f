"""The gradient steps of PPO: minibatches of a rollout through TorchRL's clipped loss."""

import math
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor, nn
from torch.distributions import Distribution
from torchrl.objectives import ClipPPOLoss

from muscle_torch.config import PPOConfig

from .contracts import ActorCritic, LatentPolicy
from .optimizer import Optimizer
from .process_group import ProcessGroup, SingleProcess
from .side_stream import SideStream

SUMMED = ("policy_loss", "value_loss", "entropy", "clip_fraction", "grad_norm", "auxiliary_loss")
MEASURED = (*SUMMED, "first_ratio", "kl", "finite")


class ClippedLoss(ClipPPOLoss):
    """`ClipPPOLoss` without TorchRL's per-minibatch finite-entropy check, which forces a device synchronization.

    With a `side` stream the critic's forward pass runs concurrently with the actor's, and so does its backward pass
    because autograd uses the stream of the forward pass: minibatches of a few thousand samples do not fill a GPU.

    Attributes:
        side: Stream of the critic; None: the current one.
    """

    side: SideStream | None = None

    def forward(self, tensordict: Any) -> Any:
        """Return the losses of a minibatch."""
        if self.side is not None:
            self.side.fork()  # before the actor's kernels are queued
        return super().forward(tensordict)

    def loss_critic(self, tensordict: Any) -> Any:
        """Return the value loss of a minibatch."""
        if self.side is None:
            return super().loss_critic(tensordict)
        with self.side.use():
            losses = super().loss_critic(tensordict)
        self.side.join()
        return losses

    def _get_entropy(self, dist: Distribution, adv_shape: torch.Size) -> Tensor:
        return dist.entropy().unsqueeze(-1)


class LossActor(nn.Module):
    """The actor interface that `ClipPPOLoss` calls, with the policy's distribution."""

    in_keys = ("observation",)

    def __init__(self, policy: ActorCritic):
        super().__init__()
        self.policy = policy

    def get_dist(self, tensordict: TensorDict) -> Distribution:
        """Return the distribution of actions for a minibatch."""
        return self.policy.distribution(tensordict["observation"])


class LatentLossActor(LossActor):
    """The same for a policy that samples latents: the distribution for the latent of the rollout."""

    policy: Any

    def get_dist(self, tensordict: TensorDict) -> Distribution:
        names = ("observation", "latent_noise", "latent_previous", "latent_first")
        return self.policy.latent_distribution(*(tensordict[name] for name in names))[0]


class PPOUpdate:
    """Clipped policy and value losses with gradient clipping; non-finite updates are skipped and counted.

    The policy's `auxiliary_loss` is added to the loss.
    """

    def __init__(
        self, policy: ActorCritic, optimizer: Optimizer, options: PPOConfig, processes: ProcessGroup | None = None
    ):
        """Make the losses.

        Args:
            policy: Policy to train.
            optimizer: Optimizer of its parameters.
            options: `cfg.ppo`.
            processes: Group of the processes that train together; None: this one.
        """
        self.options, self.optimizer, self.processes = options, optimizer, processes or SingleProcess()
        self.policy = policy
        self._critic = {id(parameter) for parameter in policy.critic.parameters()}
        self.processes.watch_gradients(optimizer.parameters)
        actor = LatentLossActor(policy) if isinstance(policy, LatentPolicy) else LossActor(policy)
        self.loss = ClippedLoss(
            actor,  # type: ignore[arg-type]
            policy.critic,  # type: ignore[arg-type]
            clip_epsilon=options.clip,
            entropy_bonus=True,
            entropy_coeff=options.entropy_coef,
            critic_coeff=0.5 * options.value_coef,  # TorchRL's loss is the squared error, the published one half of it
            loss_critic_type="l2",
            clip_value=options.value_clip or None,
            functional=False,  # run the policy's modules, so that `auxiliary_loss` refers to this pass
        )
        self.loss.set_keys(sample_log_prob="action_log_prob")
        if self.processes.size == 1:  # gradients exchanged during the backward pass must be on one stream
            self.loss.side = SideStream(next(iter(optimizer.parameters), torch.empty(0)).device)

    def update(self, batch: TensorDict, learn_actor: bool = True) -> dict[str, float]:
        """Take the gradient steps of one update.

        All processes call it together; a minibatch is then the union of theirs.

        Args:
            batch: Flat (N,): observation, action, action_log_prob, advantage, value_target, state_value; if the policy
                samples latents, also the entries of `LatentRollout.samples`.
            learn_actor: Whether to train the actor too; False fits the critic alone, before advantages are useful.

        Returns:
            Means over the minibatches; `kl` is mean(log p_old - log p_new) over the last pass.
        """
        passes, kl = [], torch.zeros(())
        for _ in range(self.options.epochs):
            passes.append(self._learn(batch, learn_actor))
            kl = self.processes.mean(passes[-1][:, MEASURED.index("kl")].mean())
            # Beyond the target divergence only the critic is trained, which improves later advantages.
            learn_actor = learn_actor and not (self.options.target_kl and float(kl) > self.options.target_kl)
        measured = torch.cat(passes)
        finite = measured[:, -1:]
        sums = torch.where(finite > 0, measured[:, : len(SUMMED)], 0.0).sum(0)
        shared = self.processes.mean(torch.cat((sums, measured[:1, MEASURED.index("first_ratio")])))
        *totals, first_ratio, kl, taken = torch.cat((shared, kl.view(1), finite.sum(0))).tolist()
        metrics = {name: value / max(1.0, taken) for name, value in zip(SUMMED, totals, strict=True)}
        return metrics | {"kl": kl, "skipped_updates": len(measured) - taken, "first_ratio": first_ratio}

    def _learn(self, batch: TensorDict, learn_actor: bool) -> Tensor:
        """Take one pass without host synchronization; return MEASURED of each minibatch, (M, 9)."""
        device = batch["advantage"].device
        measured = []
        number = count_minibatches(self.options, len(batch) * self.processes.size)
        parts = minibatches(len(batch), number, device)
        for ids, mean, variance in zip(parts, *self._advantage_moments(batch, parts), strict=True):
            losses = self.loss(normalized(batch[ids], mean, variance))
            extra = self.policy.auxiliary_loss(self.processes.mean)
            extra = torch.zeros((), device=device) if extra is None else extra
            actor_loss = losses["loss_objective"] + losses["loss_entropy"] + extra if learn_actor else 0.0
            norm, finite = self._step(actor_loss + losses["loss_critic"])
            values = (losses[name] for name in ("loss_objective", "loss_critic", "entropy", "clip_fraction"))
            values = (*values, norm, extra, losses["mean_ratio"], losses["kl_approx"], finite.float())
            measured.append(torch.stack([value.detach() for value in values]))
        return torch.stack(measured)

    def _advantage_moments(self, batch: TensorDict, parts: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return mean and variance of the advantages of each minibatch."""
        advantages = [batch["advantage"][ids] for ids in parts]
        mean = torch.stack([advantage.mean() for advantage in advantages])
        return self.processes.moments(mean, torch.stack([advantage.var(correction=0) for advantage in advantages]))

    def _step(self, loss: Tensor) -> tuple[Tensor, Tensor]:
        """Take one optimizer step if the gradient is finite; return the gradient norm and whether it was finite."""
        self.optimizer.zero_grad()
        loss.backward()
        self.processes.finish_gradients()
        reached = [p for p in self.optimizer.parameters if p.grad is not None]
        critic = [] if self.options.clip_critic else [p for p in reached if id(p) in self._critic]
        actor = [p for p in reached if id(p) not in self._critic] if critic else reached
        limit = self.options.max_grad_norm or math.inf
        norm = nn.utils.clip_grad_norm_(actor, limit)
        finite = torch.isfinite(norm)
        if critic:
            finite &= torch.isfinite(nn.utils.get_total_norm([p.grad for p in critic if p.grad is not None]))
        self.optimizer.step(finite)
        return norm.detach(), finite


def count_minibatches(options: PPOConfig, samples: int) -> int:
    """Return the number of minibatches of a pass: fewer than requested if they would be too small.

    Args:
        options: `cfg.ppo`.
        samples: Number of samples of all processes.
    """
    if not options.smallest_minibatch:
        return options.minibatches
    return min(options.minibatches, max(1, samples // options.smallest_minibatch))


def minibatches(count: int, parts: int, device: Any) -> list[Tensor]:
    """Return the ids 0 to `count` - 1 in random order on a device, in `parts` parts."""
    return list(torch.randperm(count, device=device).chunk(parts))


def normalized(batch: TensorDict, mean: Tensor, variance: Tensor) -> TensorDict:
    """Normalize the advantages of a batch in place, by their mean and population variance; return the batch."""
    return batch.set("advantage", (batch["advantage"] - mean) / (variance.sqrt() + 1e-8))
