"""Optimizers and learning-rate schedules."""

import math
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from muscle_torch.config import Choice
from muscle_torch.config.kinds import row
from muscle_torch.errors import InputError, nearest

from .muon import BatchedMuon
from .options import AdamWOptions, MuonOptions, Schedule
from .process_group import ProcessGroup

KL_RANGE = (1e-5, 1e-2)  # learning rates between which the adaptive schedule moves
# torch's NAdam raises its momentum to 0.9 over the first steps, faster if this is larger; the published Adam has 0.9.
NO_MOMENTUM_SCHEDULE = 1e6


class Optimizer:
    """One or two torch optimizers with one learning-rate schedule. Weight decay applies to 2-D weights only.

    Attributes:
        parameters: Trained parameters.
        learning_rate: Learning rate of the next step.
    """

    options_class: ClassVar[type[AdamWOptions]] = AdamWOptions

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        options: AdamWOptions,
        processes: ProcessGroup | None = None,
        critic: Iterable[nn.Parameter] = (),
    ):
        """Make the optimizers.

        Args:
            parameters: Parameters of the policy; those without gradient are left out.
            options: Instance of `options_class`.
            processes: Group of the processes that step together, with the same gradients; None: this one.
            critic: Those of them that `options.critic_learning_rate` is for.

        Raises:
            InputError: The schedule is unknown, or the optimizer has no learning rate of the critic.
        """
        if options.schedule not in tuple(Schedule):
            schedule = str(options.schedule)
            raise InputError(f"unknown optimizer.schedule {schedule!r}{nearest(schedule, list(Schedule))}")
        self.options = options
        self.parameters = [p for p in parameters if p.requires_grad]
        self.learning_rate = options.learning_rate
        self.critic = {id(parameter) for parameter in critic} if options.critic_learning_rate else set()
        matrices = [p for p in self.parameters if p.dim() == 2]
        self.parts = self.make_parts(matrices, [p for p in self.parameters if p.dim() != 2], processes)

    def make_parts(
        self, matrices: list[nn.Parameter], rest: list[nn.Parameter], processes: ProcessGroup | None
    ) -> list[torch.optim.Optimizer]:
        """Return the torch optimizers, each with an attribute `found_inf` that is set before a step.

        Args:
            matrices: 2-D weights.
            rest: All other trained parameters.
            processes: Group of the processes that step together; None: this one.
        """
        raise NotImplementedError("a subclass chooses the optimizers")

    def schedule(self, progress: float, kl: float) -> None:
        """Set the learning rate of the next update.

        Args:
            progress: Completed fraction of the schedules, in [0, 1].
            kl: KL divergence of the last update, for the adaptive schedule.
        """
        options = self.options
        floor = options.min_ratio
        if options.schedule == Schedule.linear:
            self.learning_rate = options.learning_rate * (floor + (1 - floor) * (1 - progress))
        elif options.schedule == Schedule.cosine:
            warm = progress / options.warmup if options.warmup else 1.0
            fall = max(0.0, (progress - options.warmup) / max(1e-9, 1 - options.warmup))
            wave = floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, fall)))
            self.learning_rate = options.learning_rate * min(max(warm, 1e-3), 1.0) * wave
        elif options.schedule == Schedule.adaptive:
            if kl > 2 * options.desired_kl:
                self.learning_rate = max(KL_RANGE[0], self.learning_rate / 1.5)
            elif 0 < kl < 0.5 * options.desired_kl:
                self.learning_rate = min(KL_RANGE[1], self.learning_rate * 1.5)
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = self.learning_rate * group.get("factor", 1.0)

    def zero_grad(self) -> None:
        """Clear the gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none=True)

    def step(self, finite: Tensor) -> None:
        """Take one optimizer step, or skip it if `finite` () is False.

        The choice is made on the device, without a host sync.
        """
        found_inf = (~finite).float()
        for part in self.parts:
            part.found_inf = found_inf  # type: ignore[attr-defined]
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the state for exact resume."""
        return {"parts": [part.state_dict() for part in self.parts], "learning_rate": self.learning_rate}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a result of `state_dict`, which may come from another device."""
        for part, stored in zip(self.parts, state["parts"], strict=True):
            part.load_state_dict(stored)
            local = {name: part.defaults[name] for name in ("capturable", "fused") if name in part.defaults}
            for group in part.param_groups:
                group.update(local)  # depends on this machine, not on the one that saved
            for parameter, moments in part.state.items():
                # Counters are on the device of the weights; elsewhere each step would synchronize.
                moments |= {k: moments[k].to(parameter.device) for k in ("step", "mu_product") if k in moments}
        self.learning_rate = state["learning_rate"]


class AdamW(Optimizer):
    """torch's fused AdamW for all parameters."""

    def make_parts(
        self, matrices: list[nn.Parameter], rest: list[nn.Parameter], processes: ProcessGroup | None
    ) -> list[torch.optim.Optimizer]:
        options = self.options
        groups: list[dict[str, Any]] = []
        for parameters, decay in ((rest, 0.0), (matrices, options.weight_decay)):
            of_critic = [p for p in parameters if id(p) in self.critic]
            groups.append({"params": [p for p in parameters if id(p) not in self.critic], "weight_decay": decay})
            if of_critic:
                factor = options.critic_learning_rate / options.learning_rate
                groups.append({"params": of_critic, "weight_decay": decay, "factor": factor})
        return [torch.optim.AdamW(groups, lr=options.learning_rate, eps=options.epsilon, fused=True)]


class Muon(Optimizer):
    """Muon for 2-D weights, Adam with Nesterov momentum for the rest.

    Muon is torch's: the published system's Newton-Schulz coefficients and Nesterov momentum, and with
    `adjust_lr_fn="original"` its factor sqrt(max(1, out / in)). It differs in two details: torch's momentum has no
    bias correction, and it iterates in bfloat16 (docs/fidelity.md has the figures). Weight decay is stated explicitly:
    torch's Muon would default to 0.1. Muon's work is sharded over the processes.
    """

    options_class = MuonOptions
    options: MuonOptions

    def make_parts(
        self, matrices: list[nn.Parameter], rest: list[nn.Parameter], processes: ProcessGroup | None
    ) -> list[torch.optim.Optimizer]:
        options = self.options
        if options.critic_learning_rate:
            raise InputError("optimizer.critic_learning_rate is for optimizer=adamw: leave it out with muon")
        muon = BatchedMuon(
            matrices,
            processes,
            lr=options.learning_rate,
            weight_decay=options.weight_decay,
            momentum=options.momentum,
        )
        adam = SkippingNAdam(
            [{"params": rest, "weight_decay": 0.0}],
            lr=options.learning_rate,
            eps=options.epsilon,
            momentum_decay=NO_MOMENTUM_SCHEDULE,
            # Counters are on the device of the weights, so that the host never reads those of a GPU.
            capturable=any(p.device.type != "cpu" for p in self.parameters),
        )
        return [muon, adam]


def make_optimizer(
    choice: Choice,
    parameters: Iterable[nn.Parameter],
    processes: ProcessGroup | None = None,
    critic: Iterable[nn.Parameter] = (),
) -> Optimizer:
    """Make the optimizer that the config selects from OPTIMIZERS.

    Args:
        choice: `cfg.optimizer`.
        parameters: Parameters of the policy.
        processes: Group of the processes that step together; None: this one.
        critic: Those of them that belong to the critic.
    """
    return row("optimizer", choice.name).load()(parameters, choice.options, processes, critic)


class SkippingNAdam(torch.optim.NAdam):
    """torch's NAdam with `found_inf` (see `BatchedMuon`): a step is undone if a gradient is not finite.

    It copies the weights, so it is meant for few of them: biases and scales.

    Attributes:
        found_inf: 1 if a gradient is not finite, else 0, (); set before each step.
    """

    found_inf: Tensor

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:
        """Take one step, or none if `found_inf` is 1."""
        assert closure is None, "the learner computes the gradients itself"
        values: list[Tensor] = []
        for parameter in (p for group in self.param_groups for p in group["params"] if p.grad is not None):
            state = self.state[parameter]
            if not state:  # as torch makes it in the first step, which may have to be undone too
                state["step"] = torch.zeros((), device=parameter.device)
                state["mu_product"] = torch.ones((), device=parameter.device)
                state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
            values += (parameter, *state.values())
        if not values:
            return
        before = torch.cat([value.reshape(-1) for value in values])
        super().step()
        after = torch.cat([value.reshape(-1) for value in values])
        # All at once; one by one they would be a thousand small operations.
        kept = torch.where(self.found_inf == 0, after, before).split([value.numel() for value in values])
        copies = [part.view_as(value) for part, value in zip(kept, values, strict=True)]
        torch._foreach_copy_(values, copies)  # pyright: ignore[reportPrivateImportUsage]
