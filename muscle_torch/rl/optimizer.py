"""Optimisers and learning-rate schedules."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from muscle_torch.errors import InputError, nearest

from .muon import BatchedMuon
from .process_group import ProcessGroup

OPTIMIZERS = ("adamw", "muon")
SCHEDULES = ("linear", "cosine", "constant", "adaptive")
KL_RANGE = (1e-5, 1e-2)  # learning rates between which the adaptive schedule moves
# torch's NAdam raises its momentum to 0.9 over the first steps, the faster the larger this; the published Adam has 0.9.
NO_MOMENTUM_SCHEDULE = 1e6


class Optimizer:
    """AdamW for everything, or Muon for 2-D weights and Adam with Nesterov momentum for the rest, at one learning rate.

    Muon is torch's: the published system's Newton-Schulz coefficients and Nesterov momentum, and with
    `adjust_lr_fn="original"` its factor sqrt(max(1, out / in)). It differs in two details: torch's momentum has no
    bias correction, and it iterates in bfloat16 (docs/fidelity.md has the figures).
    Weight decay is given explicitly: torch's Muon would default to 0.1. Only 2-D weights decay.
    processes: those that step together, with the same gradients; each does its share of Muon's work.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], cfg: Any, processes: ProcessGroup | None = None):
        if cfg.name not in OPTIMIZERS:
            raise InputError(f"unknown optimizer.name {cfg.name!r}{nearest(cfg.name, OPTIMIZERS)}")
        if cfg.schedule not in SCHEDULES:
            raise InputError(f"unknown optimizer.schedule {cfg.schedule!r}{nearest(cfg.schedule, SCHEDULES)}")
        self.cfg = cfg
        learned = [p for p in parameters if p.requires_grad]
        matrices, rest = [p for p in learned if p.dim() == 2], [p for p in learned if p.dim() != 2]
        groups: list[dict[str, Any]] = [{"params": rest, "weight_decay": 0.0}]
        self.parts: list[torch.optim.Optimizer] = []
        if cfg.name == "muon":
            self.parts.append(
                BatchedMuon(
                    matrices,
                    processes,
                    lr=cfg.learning_rate,
                    weight_decay=cfg.weight_decay,
                    momentum=cfg.momentum,
                )
            )
            self.parts.append(
                SkippingNAdam(
                    groups,
                    lr=cfg.learning_rate,
                    eps=cfg.epsilon,
                    momentum_decay=NO_MOMENTUM_SCHEDULE,
                    # Its counters are where the weights are: the host never reads those of a GPU.
                    capturable=any(p.device.type != "cpu" for p in learned),
                )
            )
        else:
            groups.append({"params": matrices, "weight_decay": cfg.weight_decay})
            self.parts.append(torch.optim.AdamW(groups, lr=cfg.learning_rate, eps=cfg.epsilon, fused=True))
        self.parameters = learned
        self.learning_rate = cfg.learning_rate

    def schedule(self, progress: float, kl: float) -> None:
        """Sets the learning rate of the next update. progress: share of the updates done; kl: of the last update."""
        cfg = self.cfg
        floor = cfg.min_ratio
        if cfg.schedule == "linear":
            self.learning_rate = cfg.learning_rate * (floor + (1 - floor) * (1 - progress))
        elif cfg.schedule == "cosine":
            warm = progress / cfg.warmup if cfg.warmup else 1.0
            fall = max(0.0, (progress - cfg.warmup) / max(1e-9, 1 - cfg.warmup))
            wave = floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, fall)))
            self.learning_rate = cfg.learning_rate * min(max(warm, 1e-3), 1.0) * wave
        elif cfg.schedule == "adaptive":
            if kl > 2 * cfg.desired_kl:
                self.learning_rate = max(KL_RANGE[0], self.learning_rate / 1.5)
            elif 0 < kl < 0.5 * cfg.desired_kl:
                self.learning_rate = min(KL_RANGE[1], self.learning_rate * 1.5)
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = self.learning_rate

    def zero_grad(self) -> None:
        for part in self.parts:
            part.zero_grad(set_to_none=True)

    def step(self, finite: Tensor) -> None:
        """One step where `finite` () bool holds, none where it does not: decided on the device, which nobody asks."""
        found_inf = (~finite).float()
        for part in self.parts:
            part.found_inf = found_inf  # type: ignore[attr-defined]
            part.step()

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part in self.parts], "learning_rate": self.learning_rate}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for part, stored in zip(self.parts, state["parts"], strict=True):
            part.load_state_dict(stored)
            own = {name: part.defaults[name] for name in ("capturable", "fused") if name in part.defaults}
            for group in part.param_groups:
                group.update(own)  # of this machine, not of the one that saved
            for parameter, kept in part.state.items():
                # Counters are where the step reads them: elsewhere it would wait for the device each time.
                kept |= {name: kept[name].to(parameter.device) for name in ("step", "mu_product") if name in kept}
        self.learning_rate = state["learning_rate"]


class SkippingNAdam(torch.optim.NAdam):
    """torch's, which knows no `found_inf` (see `BatchedMuon`): it makes the step, and takes it back.

    By copies, so for few weights: biases and scales.
    """

    found_inf: Tensor

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:
        assert closure is None, "the learner computes the gradients itself"
        values: list[Tensor] = []
        for parameter in (p for group in self.param_groups for p in group["params"] if p.grad is not None):
            state = self.state[parameter]
            if not state:  # as torch makes it in the first step, which may have to be taken back too
                state["step"] = torch.zeros((), device=parameter.device)
                state["mu_product"] = torch.ones((), device=parameter.device)
                state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
            values += (parameter, *state.values())
        if not values:
            return
        before = torch.cat([value.reshape(-1) for value in values])
        super().step()
        after = torch.cat([value.reshape(-1) for value in values])
        # All of them at once: one by one they would be a thousand small operations.
        kept = torch.where(self.found_inf == 0, after, before).split([value.numel() for value in values])
        copies = [part.view_as(value) for part, value in zip(kept, values, strict=True)]
        torch._foreach_copy_(values, copies)  # pyright: ignore[reportPrivateImportUsage]
