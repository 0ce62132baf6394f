"""The intention network: the reference reaches the decoder only through a small random latent.

The encoder maps the reference to mean and standard deviation of the latent; the decoder maps latent and proprioception
to the distribution of actions. Leonardis et al. 2025 (arXiv 2511.21848), after Merel et al. 2019.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from muscle_torch.errors import InputError, nearest

from .actor_critic import NORMAL, NetworkPolicy, head_of
from .exploration import NormalExploration
from .options import IntentionOptions
from .trunks import PlainTrunk, dense

LOG_STD = (-5.0, 1.0)  # bounds of the latent's log standard deviation


class IntentionActor(nn.Module):
    """Map observations (..., D) to a distribution of actions, through a latent (..., L).

    Args:
        exploration: Map from the mean action to the distribution.
        normalizer: Normalizer of the observations.
        encoder: Map from the reference (..., R) to mean and log standard deviation of the latent, (..., 2 L).
        decoder: Map from the latent and the other columns (..., L + D - R) to the mean action and an offset of the log
            standard deviation, (..., 2 actions); without the offset (..., actions).
        reference: Columns of the observation that the encoder reads, as pairs [start, stop].
        observation_size: Size of an observation, D.
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
        encoded, body = split_columns(reference, observation_size)
        self.register_buffer("reference", torch.tensor(encoded), persistent=False)
        self.register_buffer("body", torch.tensor(body), persistent=False)

    def forward(
        self, observation: Tensor, noise: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return location, scale and mode of the distribution of actions, and mean and std of the latent.

        Args:
            observation: (..., D).
            noise: Standard normal (..., L) from which the latent is sampled; None: the latent is its mean.
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
        """Return the decoder's input (..., L + D - R) for normalized observations and latents."""
        return torch.cat((latent, normal.index_select(-1, self.body)), dim=-1)


class IntentionPolicy(NetworkPolicy):
    """Encoder of the reference to a latent Gaussian, decoder with proprioception; tanh-normal actions.

    The critic is a plain network on the whole observation. During training each step's latent is computed from noise
    that the rollout stores, so that the loss is computed for the same latent
    (`muscle_torch.rl.contracts.LatentPolicy`). The auxiliary loss keeps the latent close to an autoregressive process.
    `distribution` uses the latent's mean.
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
            observation_size: Size of an observation, D.
            action_size: Number of actions.
            reference: Columns of the observation that the encoder reads, as pairs [start, stop]; the decoder reads the
                remaining ones.
            exploration: As in `NetworkPolicy`; instead of normal, the distribution is tanh-normal.
            **options: Fields of `IntentionOptions`.

        Raises:
            InputError: An option is out of range, or no columns remain for encoder or decoder.
        """
        self._reference = [list(columns) for columns in reference]
        exploration = exploration or NORMAL
        if exploration["name"] == NORMAL["name"]:
            exploration = {**exploration, "name": "tanh_normal"}
        super().__init__(observation_size, action_size, exploration, **options)
        self.spec["reference"] = self._reference
        self.latent_size = self.options.latent_size
        self._kl_weight = self.options.kl_weight
        # Divergence in the last forward pass with gradients, (); the auxiliary loss uses it.
        self._divergence: Tensor | None = None

    @classmethod
    def from_env(cls, env: Any, exploration: Mapping[str, Any], **options: Any) -> "IntentionPolicy":
        """Make the policy for an environment.

        Args:
            env: Its observation layout, goal and config are read.
            exploration: As in `NetworkPolicy`.
            **options: Fields of `IntentionOptions`; `reference_terms` are the observation terms that the encoder reads,
                by default those of the goal.

        Raises:
            InputError: A term is unknown, or no terms remain for encoder or decoder.
        """
        layout, observation = env.observation_layout, env.config.observation
        if observation.history > 1 and observation.goal_history:
            raise InputError("policy=intention: older frames of the goal would reach the decoder: set "
                             "observation.goal_history=false")  # fmt: skip
        terms = list(
            options.get("reference_terms") or [term for term in observation.terms if term in env.goal.observations]
        )
        for term in terms:
            if term not in observation.terms:
                raise InputError(
                    f"policy.reference_terms: {term!r} is not in observation.terms{nearest(term, observation.terms)}"
                )
        reference = sorted([layout[term].start, layout[term].stop] for term in terms)
        return cls(env.observation_size, env.action_size, reference, exploration, **options)

    @property
    def intention(self) -> IntentionActor:
        """The actor network."""
        return self.actor.module  # type: ignore[return-value]

    def distribution(self, observation: Tensor) -> Distribution:
        """Return the distribution of actions for observations (..., D) and the mean latent."""
        return self._distribution(observation, None)[0]

    def latent_distribution(
        self, observation: Tensor, noise: Tensor, previous: Tensor, first: Tensor
    ) -> tuple[Distribution, Tensor]:
        """Return the distribution of actions for a sampled latent, and the latent (..., L) without gradient.

        Args:
            observation: (..., D).
            noise: Standard normal (..., L).
            previous: Latent of the previous step, (..., L).
            first: Whether an episode begins, so that `previous` has no meaning, bool (...).
        """
        distribution, mean, std = self._distribution(observation, noise)
        if torch.is_grad_enabled():
            self._divergence = kl_to_process(mean, std, previous, first, self.options.prior_correlation).mean()
        return distribution, (mean + std * noise).detach()

    def anneal(self, progress: float) -> None:
        """Adapt exploration and weight of the divergence to the completed fraction of training, in [0, 1]."""
        super().anneal(progress)
        ramp = self.options.kl_ramp
        self._kl_weight = self.options.kl_weight * (min(1.0, progress / ramp) if ramp else 1.0)

    def auxiliary_loss(self, mean: Callable[[Tensor], Tensor] = lambda value: value) -> Tensor | None:
        """Return the weighted divergence () of the latents from their prior in the last forward pass.

        It is linear in the samples, so averaging gradients and metrics over processes is sufficient.

        Args:
            mean: Not used.
        """
        divergence, self._divergence = self._divergence, None
        return None if divergence is None else self._kl_weight * divergence

    @torch.no_grad()
    def activity(self, observation: Tensor) -> dict[str, Tensor]:
        """Return activations of the actor for observations (..., D) and the mean latent.

        `latent` and `latent_std` (..., L), and the hidden layers `encoder_<i>` and `decoder_<i>` (..., width), from 1.
        """
        actor = self.intention
        normal = actor.normalizer(observation)
        mean, std = actor.encode(normal)
        layers = {f"encoder_{i}": x for i, x in enumerate(actor.encoder.layers(normal[..., actor.reference]), 1)}
        decoded = actor.decoder.layers(actor.decoder_input(normal, mean))
        return {"latent": mean, "latent_std": std, **layers, **{f"decoder_{i}": x for i, x in enumerate(decoded, 1)}}

    def trunk(self, part: str, inputs: int, hidden: list[int], outputs: int) -> PlainTrunk:
        """Return the network of `part` from inputs over hidden layers to outputs; see `NetworkPolicy.trunk`."""
        return PlainTrunk(inputs, hidden, outputs, self.options.activation, self.options.layernorm_epsilon)

    def actor_network(self, observation_size: int, action_size: int, exploration: NormalExploration) -> nn.Module:
        options = self.options
        _check(options)
        encoded, body = split_columns(self._reference, observation_size)
        encoder = self.trunk("actor", len(encoded), options.encoder_hidden or options.hidden, 2 * options.latent_size)
        outputs = action_size * (2 if options.state_std else 1)
        decoder = self.trunk("actor", options.latent_size + len(body), options.hidden, outputs)
        exploration.attach(head_of(decoder))
        _initialize(encoder, options.latent_size, options.prior_correlation)
        return IntentionActor(exploration, self.normalizer, encoder, decoder, self._reference, observation_size)

    def actor_keys(self) -> list[str]:
        return [*super().actor_keys(), "latent", "latent_std"]

    def _distribution(self, observation: Tensor, noise: Tensor | None) -> tuple[Distribution, Tensor, Tensor]:
        loc, scale, _, mean, std = self.actor.module(observation, noise)
        return self.exploration.distribution(loc, scale), mean, std

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for copies, without the divergence, because its autograd graph cannot be copied."""
        return self.__dict__ | {"_divergence": None}


def kl_to_process(mean: Tensor, std: Tensor, previous: Tensor, first: Tensor, correlation: float) -> Tensor:
    """Return the divergence (...) of N(mean, std^2) from a stationary AR(1) process of unit variance, summed over L.

    The prior is N(a z', 1 - a^2) after a latent z', and N(0, 1) at the start of an episode.

    Args:
        mean: Mean of the latent, (..., L).
        std: Standard deviation of the latent, (..., L).
        previous: z', the latent of the previous step, (..., L).
        first: Whether an episode begins, so that there is no z', bool (...).
        correlation: a, in [0, 1).
    """
    begins = first.unsqueeze(-1)
    center = torch.where(begins, 0.0, correlation * previous)
    variance = torch.where(begins, 1.0, 1.0 - correlation**2)
    return 0.5 * ((std.square() + (mean - center).square()) / variance - 1 + variance.log() - 2 * std.log()).sum(-1)


def split_columns(reference: Sequence[Sequence[int]], observation_size: int) -> tuple[list[int], list[int]]:
    """Return the columns that encoder and decoder read.

    Args:
        reference: Columns of the encoder, as pairs [start, stop].
        observation_size: Size of an observation, D.

    Raises:
        InputError: Encoder or decoder would read no columns.
    """
    encoded = [column for start, stop in reference for column in range(start, stop)]
    body = sorted(set(range(observation_size)) - set(encoded))
    if not encoded:
        raise InputError("policy=intention encodes the goal's observation terms and observation.terms has none: add "
                         "one, or name terms by policy.reference_terms=")  # fmt: skip
    if not body:
        raise InputError("policy=intention: observation.terms leaves none for the decoder: add joint_pos, joint_vel")
    return encoded, body


def _check(options: IntentionOptions) -> None:
    if options.latent_size < 1:
        raise InputError(f"policy.latent_size={options.latent_size}: at least 1 number is needed (published: 4)")
    if not 0 <= options.prior_correlation < 1:
        raise InputError(f"policy.prior_correlation={options.prior_correlation}: choose a number from 0 to below 1")
    if options.kl_weight < 0 or not 0 <= options.kl_ramp <= 1:
        raise InputError("policy: kl_weight must not be negative, and kl_ramp is a fraction of training, 0 to 1")


def _initialize(encoder: PlainTrunk, latent_size: int, correlation: float) -> None:
    """Initialize the encoder's head: means with unit variance, and the standard deviation of the prior."""
    head = encoder[-1]
    assert isinstance(head, nn.Linear)
    with torch.no_grad():
        head.weight[:latent_size] = dense(head.in_features, latent_size, 1.0).weight
        head.bias[latent_size:] = 0.5 * math.log(1 - correlation**2)
