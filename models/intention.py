"""The intention network: the reference passes through a small random latent before the body's state meets it.

encoder (reference) -> mean and standard deviation of the latent; decoder (latent, proprioception) -> distribution of
actions. Leonardis et al. 2025 (arXiv 2511.21848), after Merel et al. 2019.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from muscle_torch.errors import InputError, nearest

from .actor_critic import NORMAL, NetworkPolicy
from .exploration import NormalExploration
from .options import IntentionOptions
from .trunks import PlainTrunk, dense

LOG_STD = (-5.0, 1.0)  # bounds of the latent's log standard deviation


class IntentionActor(nn.Module):
    """Observation (..., D) -> distribution of actions, by way of a latent (..., L).

    Args:
        exploration: From the mean action to the distribution.
        normalizer: Of the observations.
        encoder: Reference (..., R) -> mean and log standard deviation of the latent, (..., 2 L).
        decoder: Latent and the other columns (..., L + D - R) -> mean action, and what its log standard deviation
            differs by from the exploration's, (..., 2 actions); without the latter (..., actions).
        reference: Columns of the observation that the encoder reads, as pairs [start, stop].
        observation_size: D.
    """

    reference: Tensor
    body: Tensor

    def __init__(
        self,
        exploration: NormalExploration,
        normalizer: nn.Module,
        encoder: PlainTrunk,
        decoder: PlainTrunk,
        reference: Sequence[Sequence[int]],
        observation_size: int,
    ):
        super().__init__()
        self.exploration, self.normalizer, self.encoder, self.decoder = exploration, normalizer, encoder, decoder
        columns, others = split_columns(reference, observation_size)
        self.register_buffer("reference", torch.tensor(columns), persistent=False)
        self.register_buffer("body", torch.tensor(others), persistent=False)

    def forward(
        self, observation: Tensor, noise: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return location, scale and mode of the distribution of actions, and mean and deviation of the latent.

        Args:
            observation: (..., D).
            noise: Standard normal (..., L) from which the latent is drawn; None: the latent is its mean.
        """
        normal = self.normalizer(observation)
        mean, std = self.encode(normal)
        loc, scale = self.decode(normal, mean if noise is None else mean + std * noise)
        return loc, scale, self.exploration.mode(loc), mean, std

    def encode(self, normal: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of the latent, (..., L), for normalized observations (..., D)."""
        mean, log_std = self.encoder(normal.index_select(-1, self.reference)).chunk(2, -1)
        return mean, log_std.clamp(*LOG_STD).exp()

    def decode(self, normal: Tensor, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Return location and scale of the distribution of actions for normalized observations and latents (..., L)."""
        decoded = self.decoder(self.decoder_input(normal, latent))
        options = self.exploration.options
        loc, scale = self.exploration(decoded[..., : self.exploration.log_std.numel()])
        if decoded.shape[-1] > loc.shape[-1]:
            scale = (scale * decoded[..., loc.shape[-1] :].exp()).clamp(options.min_std, options.max_std)
        return loc, scale

    def decoder_input(self, normal: Tensor, latent: Tensor) -> Tensor:
        return torch.cat((latent, normal.index_select(-1, self.body)), dim=-1)


class IntentionPolicy(NetworkPolicy):
    """Encoder of the reference to a latent Gaussian, decoder with proprioception; tanh-normal actions.

    The critic is a plain network on the whole observation. While training, each step's latent is drawn from noise that
    the rollout stores, so that the loss sees the latent that acted (`muscle_torch.rl.contracts.LatentPolicy`); the
    auxiliary loss holds the latent near an autoregressive process. `distribution` takes the latent's mean.
    """

    options_class = IntentionOptions
    options: IntentionOptions

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        reference: Sequence[Sequence[int]],
        exploration: Mapping[str, Any] | None = None,
        **options: Any,
    ):
        """Make the networks.

        Args:
            observation_size: D.
            action_size: Number of actions.
            reference: Columns of the observation that the encoder reads, as pairs [start, stop]; the decoder reads the
                others.
            exploration: As in `NetworkPolicy`; the distribution is the tanh-normal one, whatever its name.
            **options: The keys of `IntentionOptions`.
        """
        self._reference = [list(columns) for columns in reference]
        tanh_normal = {**(exploration or NORMAL), "name": "tanh_normal"}
        super().__init__(observation_size, action_size, tanh_normal, **options)
        self.spec["reference"] = self._reference
        self.latent_size = self.options.latent_size
        self._kl_weight = self.options.kl_weight
        # Of the last forward pass that learns, (): what the auxiliary loss is made of.
        self._divergence: Tensor | None = None

    @classmethod
    def from_env(cls, env: Any, exploration: Mapping[str, Any], **options: Any) -> "IntentionPolicy":
        """Make the policy; the encoder reads the observation terms `reference_terms`, by default those of the goal.

        Raises:
            InputError: There is no such term, or nothing is left for the encoder or the decoder.
        """
        layout, shown = env.observation_layout, env.config.observation
        if shown.history > 1 and shown.goal_history:
            raise InputError("policy=intention: older frames of the goal would reach the decoder: set "
                             "observation.goal_history=false")  # fmt: skip
        terms = list(options.get("reference_terms") or [term for term in shown.terms if term in env.goal.observations])
        for term in terms:
            if term not in shown.terms:
                raise InputError(
                    f"policy.reference_terms: {term!r} is not in observation.terms{nearest(term, shown.terms)}"
                )
        reference = sorted([layout[term].start, layout[term].stop] for term in terms)
        return cls(env.observation_size, env.action_size, reference, exploration, **options)

    @property
    def intention(self) -> IntentionActor:
        return self.actor.module  # type: ignore[return-value]

    def distribution(self, observation: Tensor) -> Distribution:
        """Return the distribution of actions for observations (..., D), the latent being its mean."""
        return self._distribution(observation, None)[0]

    def latent_distribution(
        self, observation: Tensor, noise: Tensor, previous: Tensor, first: Tensor
    ) -> tuple[Distribution, Tensor]:
        """Return the distribution of actions of a latent drawn with `noise`, and that latent (..., L).

        Args:
            observation: (..., D).
            noise: Standard normal (..., L).
            previous: Latent of the step before, (..., L).
            first: Where an episode begins and `previous` says nothing, bool (...).
        """
        distribution, mean, std = self._distribution(observation, noise)
        if torch.is_grad_enabled():
            self._divergence = kl_to_process(mean, std, previous, first, self.options.prior_correlation).mean()
        return distribution, (mean + std * noise).detach()

    def anneal(self, progress: float) -> None:
        """Set exploration and weight of the divergence to the completed fraction of training, in [0, 1]."""
        super().anneal(progress)
        ramp = self.options.kl_ramp
        self._kl_weight = self.options.kl_weight * (min(1.0, progress / ramp) if ramp else 1.0)

    def auxiliary_loss(self, mean: Callable[[Tensor], Tensor] = lambda value: value) -> Tensor | None:
        """Return the weighted divergence () of the latents in the forward pass just made from their prior.

        It is linear in the samples: the average over processes follows from that of gradients and metrics.
        """
        divergence, self._divergence = self._divergence, None
        return None if divergence is None else self._kl_weight * divergence

    @torch.no_grad()
    def activity(self, observation: Tensor) -> dict[str, Tensor]:
        """Return what the actor computes for observations (..., D), the latent being its mean.

        `latent` and `latent_std` (..., L), `encoder_<i>` and `decoder_<i>` (..., width): hidden layers, from 1.
        """
        actor = self.intention
        normal = actor.normalizer(observation)
        mean, std = actor.encode(normal)
        layers = {f"encoder_{i}": x for i, x in enumerate(actor.encoder.layers(normal[..., actor.reference]), 1)}
        decoded = actor.decoder.layers(actor.decoder_input(normal, mean))
        return {"latent": mean, "latent_std": std, **layers, **{f"decoder_{i}": x for i, x in enumerate(decoded, 1)}}

    def trunk(self, part: str, inputs: int, hidden: list[int], outputs: int) -> PlainTrunk:
        return PlainTrunk(inputs, hidden, outputs, self.options.activation, self.options.layernorm_epsilon)

    def actor_network(self, observation_size: int, action_size: int, exploration: NormalExploration) -> nn.Module:
        options = self.options
        _check(options)
        columns, others = split_columns(self._reference, observation_size)
        encoder = self.trunk("actor", len(columns), options.encoder_hidden or options.hidden, 2 * options.latent_size)
        outputs = action_size * (2 if options.state_std else 1)
        decoder = self.trunk("actor", options.latent_size + len(others), options.hidden, outputs)
        _begin(encoder, options.latent_size, options.prior_correlation)
        return IntentionActor(exploration, self.normalizer, encoder, decoder, self._reference, observation_size)

    def actor_keys(self) -> list[str]:
        return [*super().actor_keys(), "latent", "latent_std"]

    def _distribution(self, observation: Tensor, noise: Tensor | None) -> tuple[Distribution, Tensor, Tensor]:
        loc, scale, _, mean, std = self.actor.module(observation, noise)
        return self.exploration.distribution(loc, scale), mean, std

    def __getstate__(self) -> dict[str, Any]:
        """For copies: the divergence belongs to a graph, which cannot be copied."""
        return self.__dict__ | {"_divergence": None}


def kl_to_process(mean: Tensor, std: Tensor, previous: Tensor, first: Tensor, correlation: float) -> Tensor:
    """Return the divergence (...) of N(mean, std^2) from a stationary AR(1) process of unit variance, summed over L.

    The prior is N(a z', 1 - a^2) after a latent z', and N(0, 1) where an episode begins.

    Args:
        mean: (..., L).
        std: (..., L).
        previous: z', (..., L).
        first: Where there is no z', bool (...).
        correlation: a, in [0, 1).
    """
    begins = first.unsqueeze(-1)
    center = torch.where(begins, 0.0, correlation * previous)
    variance = torch.where(begins, 1.0, 1.0 - correlation**2)
    return 0.5 * ((std.square() + (mean - center).square()) / variance - 1 + variance.log() - 2 * std.log()).sum(-1)


def split_columns(reference: Sequence[Sequence[int]], observation_size: int) -> tuple[list[int], list[int]]:
    """Return the columns that encoder and decoder read.

    Raises:
        InputError: One of them would read none.
    """
    columns = [column for start, stop in reference for column in range(start, stop)]
    others = sorted(set(range(observation_size)) - set(columns))
    if not columns:
        raise InputError("policy=intention encodes the goal's observation terms and observation.terms has none: add "
                         "one, or name terms by policy.reference_terms=")  # fmt: skip
    if not others:
        raise InputError("policy=intention: observation.terms leaves none for the decoder: add joint_pos, joint_vel")
    return columns, others


def _check(options: IntentionOptions) -> None:
    if options.latent_size < 1:
        raise InputError(f"policy.latent_size={options.latent_size}: at least 1 number is needed (published: 4)")
    if not 0 <= options.prior_correlation < 1:
        raise InputError(f"policy.prior_correlation={options.prior_correlation}: choose a number from 0 to below 1")
    if options.kl_weight < 0 or not 0 <= options.kl_ramp <= 1:
        raise InputError("policy: kl_weight must not be negative, and kl_ramp is a fraction of training, 0 to 1")


def _begin(encoder: PlainTrunk, latent_size: int, correlation: float) -> None:
    """Let latents begin as far apart as unit variance, each as certain as the prior leaves it after the one before."""
    head = encoder[-1]
    assert isinstance(head, nn.Linear)
    with torch.no_grad():
        head.weight[:latent_size] = dense(head.in_features, latent_size, 1.0).weight
        head.bias[latent_size:] = 0.5 * math.log(1 - correlation**2)
