"""Registries of policies and action distributions, and their options. No torch import, so that --help is fast."""

import dataclasses
from collections.abc import Mapping
from enum import StrEnum, auto
from typing import Any

from muscle_torch.config import Row, key


class Activation(StrEnum):
    """Activation functions."""

    silu = auto()
    relu = auto()
    elu = auto()
    tanh = auto()


class Residual(StrEnum):
    """Weights of the residual blocks."""

    gated = auto()  # a learned weight per block
    fixed = auto()  # 0.1


class Networks(StrEnum):
    """Networks that have mixture layers."""

    actor = auto()
    critic = auto()
    both = auto()


@dataclasses.dataclass(frozen=True)
class MLPOptions:
    """Options of `policy=mlp`."""

    hidden: list[int] = key([256, 256], "widths of the actor's hidden layers")
    critic_hidden: list[int] = key([], "widths of the critic's hidden layers; empty: those of the actor")
    activation: Activation = key(Activation.silu, "silu, relu, elu or tanh")
    layernorm_epsilon: float = key(1e-5, "added to the variance in every LayerNorm; 0: no LayerNorm")
    normalizer_epsilon: float = key(1e-4, "added to the variance when observations are normalized (published: 1e-8)")
    normalizer_clip: float = key(10.0, "bound of the normalized observations; 0: no clipping (published)")
    normalize_critic: bool = key(True, "whether the critic's observations are normalized too (KINESIS: false)")


@dataclasses.dataclass(frozen=True)
class GatedResidualOptions(MLPOptions):
    """Options of `policy=gated_residual`."""

    residual: Residual = key(Residual.gated, "weight of each block: gated (learned) or fixed (0.1)")
    skip_gain: float = key(
        0.0, "initial gain of a block's skip weights if widths change; 0: preserves the variance (published: 1)"
    )


@dataclasses.dataclass(frozen=True)
class MixtureOptions:
    """Options of the mixture layers."""

    experts: int = key(6, "number of experts in a layer; their hidden width is half that of the layer")
    layers: list[int] = key([1], "indices of the hidden layers that are mixtures, from 0")
    networks: Networks = key(Networks.both, "networks with mixture layers: actor, critic or both")
    temperature: float = key(0.7, "temperature of the softmax that weights the experts")
    balance: float = key(0.01, "weight of the loss that keeps all experts in use")


@dataclasses.dataclass(frozen=True)
class MoEOptions(MLPOptions):
    """Options of `policy=moe`."""

    mixture: MixtureOptions = key(MixtureOptions(), "mixture of experts")


@dataclasses.dataclass(frozen=True)
class IntentionOptions(MLPOptions):
    """Options of `policy=intention`."""

    latent_size: int = key(4, "size of the latent between encoder and decoder (published: 4)")
    encoder_hidden: list[int] = key(
        [], "widths of the encoder's hidden layers; empty: those of the decoder, policy.hidden"
    )
    reference_terms: list[str] = key([], "observation terms that the encoder reads; empty: those of the goal")
    state_std: bool = key(True, "whether the decoder also outputs the standard deviation of the actions (published)")
    kl_weight: float = key(1e-5, "weight of the latent's divergence from its prior")
    kl_ramp: float = key(0.1, "fraction of training during which this weight rises from 0; 0: immediately")
    prior_correlation: float = key(0.95, "correlation of consecutive latents in the prior")


@dataclasses.dataclass(frozen=True)
class ReflexOptions(MLPOptions):
    """Options of `policy=reflex`."""


@dataclasses.dataclass(frozen=True)
class ExpertsOptions:
    """Options of `policy=experts`."""

    checkpoints: list[str] = key(
        [], "run folders or checkpoint files of the experts; empty: the experts of checkpoint= (fine-tuning)"
    )
    gate_hidden: list[int] = key([1024, 512, 256], "widths of the hidden layers of the gate (published)")


@dataclasses.dataclass(frozen=True)
class NormalOptions:
    """Options of the action distributions."""

    initial_std: float = key(0.3, "initial standard deviation of the action", "action units")
    final_std: float = key(
        0.0, "final standard deviation, approached geometrically; 0: it is learned instead", "action units"
    )
    min_std: float = key(0.01, "lower bound of the standard deviation", "action units")
    max_std: float = key(5.0, "upper bound of the standard deviation", "action units")
    learn_std: bool = key(True, "whether the standard deviation is learned (with final_std=0)")
    synergy_mixing: float = key(
        0.0, "fraction of the action covariance shared by muscles with similar moment arms; 0: independent muscles"
    )
    action_bias: float = key(0.0, "added to every muscle's action", "action units")


@dataclasses.dataclass(frozen=True)
class LatticeOptions(NormalOptions):
    """Options of `exploration=lattice`: the standard deviations above are those of the noise on the actions."""

    latent_std: float = key(1.0, "initial standard deviation of the noise on the last hidden layer (published: 1)")


POLICIES: dict[str, Row] = {
    "experts": Row("muscle_torch.models.experts:ExpertsPolicy", ExpertsOptions),
    "gated_residual": Row("muscle_torch.models.actor_critic:GatedResidualPolicy", GatedResidualOptions),
    "intention": Row("muscle_torch.models.intention:IntentionPolicy", IntentionOptions),
    "mlp": Row("muscle_torch.models.actor_critic:MLPPolicy", MLPOptions),
    "moe": Row("muscle_torch.models.moe:MoEPolicy", MoEOptions),
    "reflex": Row("muscle_torch.models.reflex:ReflexPolicy", ReflexOptions),
}
EXPLORATIONS: dict[str, Row] = {
    "lattice": Row("muscle_torch.models.lattice:LatticeExploration", LatticeOptions),
    "normal": Row("muscle_torch.models.exploration:NormalExploration", NormalOptions),
    "tanh_normal": Row("muscle_torch.models.exploration:TanhNormalExploration", NormalOptions),
}


def make_options(kind: type, values: Mapping[str, Any]) -> Any:
    """Return an instance of the option dataclass `kind` with these plain values; absent ones take their defaults."""
    nested = {field.name: field.type for field in dataclasses.fields(kind) if dataclasses.is_dataclass(field.type)}
    inner = {name: make_options(nested[name], value) for name, value in values.items() if name in nested}  # type: ignore[arg-type]
    return kind(**{**values, **inner})
