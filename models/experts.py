"""A mixture of frozen experts: a gate chooses at every control step which of several trained policies acts.

The experts come from checkpoints, such as those of `tools/mine_experts.py`, and never change; only the gate and the
critic are trained. KINESIS (arXiv 2503.14637), section on hard negative mining.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from tensordict.nn import TensorDictModule
from torch import Tensor, nn
from torch.distributions import Distribution, constraints

from muscle_torch.config import config_from_dict
from muscle_torch.config.kinds import to_plain
from muscle_torch.errors import InputError
from muscle_torch.storage.checkpoint import difference, load_checkpoint, restore_policy

from .options import ExpertsOptions, make_options
from .trunks import PlainTrunk

# Actions that differ by less are those of one expert: batches of different sizes round differently.
SAME_ACTION = 1e-5


class ExpertChoice(Distribution):
    """One of E actions, each with its probability.

    Args:
        logits: Logits of the E probabilities (..., E).
        choices: The actions (..., E, actions).
    """

    def __init__(self, logits: Tensor, choices: Tensor):
        self.log_probability, self.choices = logits.log_softmax(-1), choices
        super().__init__(logits.shape[:-1], choices.shape[-1:], validate_args=False)

    @property
    def arg_constraints(self) -> dict[str, constraints.Constraint]:
        """Empty, because arguments are not validated."""
        return {}

    @property
    def mode(self) -> Tensor:
        """Action of the most probable expert (..., actions)."""
        return _chosen(self.choices, self.log_probability.argmax(-1))

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008  torch's default
        """Return samples (*sample_shape, ..., actions)."""
        with torch.no_grad():
            shape = torch.Size(sample_shape) + self.log_probability.shape
            # The Gumbel-max trick: unlike `multinomial`, it has no checks that could synchronize.
            gumbel = -torch.empty(shape, device=self.choices.device).exponential_().log()
            index = (self.log_probability + gumbel).argmax(-1)
            return _chosen(self.choices.expand(*shape, -1), index)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log probability (...) of actions (..., actions) of the experts.

        Experts with the same action share its probability.
        """
        distance = (value.unsqueeze(-2) - self.choices).abs().amax(-1)
        same = distance <= distance.amin(-1, keepdim=True) + SAME_ACTION
        return self.log_probability.masked_fill(~same, float("-inf")).logsumexp(-1)

    def entropy(self) -> Tensor:
        """Return the entropy of the choice of the expert (...)."""
        return -(self.log_probability.exp() * self.log_probability).sum(-1)


class GatedActor(nn.Module):
    """Map observations (..., D) to logits of the experts (..., E), their actions (..., E, actions) and the action.

    Args:
        gate: Map from observations to logits.
        experts: The experts, whose distributions' modes are the actions.
    """

    def __init__(self, gate: nn.Sequential, experts: Sequence[nn.Module]):
        super().__init__()
        self.gate, self.experts = gate, nn.ModuleList(experts)

    def forward(self, observation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits, the experts' actions, and that of the most probable expert."""
        actions = [expert.distribution(observation).mode for expert in self.experts]  # type: ignore[operator]
        logits, choices = self.gate(observation), torch.stack(actions, dim=-2)
        return logits, choices, _chosen(choices, logits.argmax(-1))


class ExpertsPolicy(nn.Module):
    """A gate over frozen experts; see `muscle_torch.rl.contracts.ActorCritic`.

    In training an expert is sampled at every control step; `mode` is the action of the most probable one. The gate's
    input is normalized by a copy of the statistics of the first expert, which stay fixed. The critic starts as a copy
    of the first expert's.

    Attributes:
        actor: TensorDictModule from `observation` to `logits` (..., E), `choices` (..., E, actions) and `action`.
        critic: TensorDictModule from `observation` (..., D) to `state_value` (..., 1).
        spec: Plain data from which `build_policy` makes a policy of the same shape, without the experts' checkpoints.
        normalizer: None, because no statistics change.
        mixing: None, because each expert mixes its own actions.
    """

    normalizer = None
    mixing = None

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        experts: Sequence[Mapping[str, Any]],
        exploration: Mapping[str, Any] | None = None,
        **options: Any,
    ):
        """Make the gate, and the experts with fresh weights.

        Args:
            observation_size: Size of an observation, D.
            action_size: Number of actions.
            experts: Spec of each expert.
            exploration: Ignored: exploration is the choice of an expert.
            **options: Fields of `ExpertsOptions`.

        Raises:
            InputError: There are no experts, or the gate has no hidden layer.
        """
        super().__init__()
        from .build import build_policy  # imports this module

        self.options = make_options(ExpertsOptions, options)
        if not experts or not self.options.gate_hidden:
            raise InputError("policy=experts needs experts (policy.checkpoints=) and at least one width in gate_hidden")
        self.spec: dict[str, Any] = {"observation_size": observation_size, "action_size": action_size}
        self.spec |= {"experts": [to_plain(expert) for expert in experts], "exploration": to_plain(exploration or {})}
        self.spec |= to_plain(self.options)
        built = [build_policy(spec).requires_grad_(False) for spec in experts]
        first = built[0]
        normalizer = nn.Identity() if first.normalizer is None else copy.deepcopy(first.normalizer)
        trunk = PlainTrunk(observation_size, self.options.gate_hidden, len(built), "silu", epsilon=0.0)
        gate = nn.Sequential(normalizer, trunk)
        self.actor = TensorDictModule(GatedActor(gate, built), ["observation"], ["logits", "choices", "action"])
        self.critic = copy.deepcopy(first.critic).requires_grad_()

    @classmethod
    def from_env(cls, env: Any, exploration: Mapping[str, Any], **options: Any) -> "ExpertsPolicy":
        """Make the policy from the experts' checkpoints.

        Args:
            env: The environment that the experts must fit.
            exploration: Ignored.
            **options: Fields of `ExpertsOptions`; without `checkpoints` the experts of `env.config.checkpoint`.

        Raises:
            InputError: There are no checkpoints, or one is of another body, observation, action space or goal.
        """
        paths = options.get("checkpoints") or []
        if not paths:
            specs = _specs_of(env.config.checkpoint)
            return cls(env.observation_size, env.action_size, specs, exploration, **options)
        stored = [load_checkpoint(path) for path in paths]
        for path, one in zip(paths, stored, strict=True):
            _check_fits(path, one, env)
        specs = [one["policy_spec"] for one in stored]
        policy = cls(env.observation_size, env.action_size, specs, exploration, **options)
        for expert, one in zip(policy.experts, stored, strict=True):
            restore_policy(expert, one)
        first = policy.experts[0]
        policy.critic.load_state_dict(first.critic.state_dict())
        if first.normalizer is not None:
            policy.gate[0].load_state_dict(first.normalizer.state_dict())
        return policy

    @property
    def experts(self) -> list[Any]:
        """The frozen experts."""
        return list(self.actor.module.experts)  # type: ignore[arg-type]

    @property
    def gate(self) -> nn.Sequential:
        """Normalizer, then the network from normalized observations to the logits of the experts."""
        return self.actor.module.gate  # type: ignore[return-value]

    def distribution(self, observation: Tensor) -> ExpertChoice:
        """Return the distribution of actions for observations (..., D)."""
        logits, choices, _ = self.actor.module(observation)
        return ExpertChoice(logits, choices)

    def anneal(self, progress: float) -> None:
        """Do nothing: the noise of the experts is not used."""

    def auxiliary_loss(self, mean: Callable[[Tensor], Tensor]) -> Tensor | None:
        """Return None: there is no additional loss."""

    def activity(self, observation: Tensor) -> dict[str, Tensor]:
        """Return `gate`, the probability of each expert (..., E), for observations (..., D)."""
        return {"gate": self.gate(observation).softmax(-1)}


def _chosen(choices: Tensor, index: Tensor) -> Tensor:
    """Return the actions (..., actions) of the experts `index` (...), from those of all experts (..., E, actions)."""
    rows = index[..., None, None].expand(*index.shape, 1, choices.shape[-1])
    return choices.gather(-2, rows).squeeze(-2)


def _specs_of(checkpoint: str) -> list[dict[str, Any]]:
    """Return the specs of the experts in the checkpoint of a mixture."""
    spec = load_checkpoint(checkpoint)["policy_spec"] if checkpoint else {}
    if "experts" not in spec:
        raise InputError(
            "policy=experts: list the experts with policy.checkpoints=[run,run], or continue a mixture with checkpoint="
        )
    return spec["experts"]


def _check_fits(path: str, stored: Mapping[str, Any], env: Any) -> None:
    """Raise InputError if a stored expert has another body, observation, action space or goal than an environment."""
    differs = difference(stored, env.facts())
    if differs is not None:
        name, before, value = differs
        raise InputError(
            f"policy.checkpoints: {path} is of task={stored['task']} with {name} {before!r}, this run has {value!r}; "
            "all experts need the body and sizes of this run"
        )
    config = config_from_dict(stored["config"])
    for name in ("observation", "actions", "goal"):
        if getattr(config, name) != getattr(env.config, name):
            raise InputError(
                f"policy.checkpoints: {path} was trained with other settings of {name}; use the same {name} (and "
                "observation.profile) for this run and all experts"
            )
