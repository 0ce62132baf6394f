"""Optimisers and learning-rate schedules."""

import math
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from muscle_torch.errors import InputError, nearest

from .muon import BatchedMuon

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
    """

    def __init__(self, parameters: Iterable[nn.Parameter], cfg: Any):
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
            on_gpu = any(p.device.type != "cpu" for p in matrices)
            kind = BatchedMuon if on_gpu else torch.optim.Muon
            self.parts.append(
                kind(
                    matrices,
                    lr=cfg.learning_rate,
                    weight_decay=cfg.weight_decay,
                    momentum=cfg.momentum,
                    adjust_lr_fn="original",
                )
            )
            self.parts.append(
                torch.optim.NAdam(
                    groups,
                    lr=cfg.learning_rate,
                    eps=cfg.epsilon,
                    momentum_decay=NO_MOMENTUM_SCHEDULE,
                    capturable=on_gpu,  # its counters on the device: the host never reads them
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

    def step(self, finite: Tensor, ask: bool) -> None:
        """One step where `finite` () bool holds, none where it does not.

        ask=False does not ask the device, which would have to catch up first: it makes the step, and takes it back.
        """
        if not ask:
            self._step_and_take_back(finite)
        elif bool(finite):
            for part in self.parts:
                part.step()

    @torch.no_grad()
    def _step_and_take_back(self, finite: Tensor) -> None:
        before = {id(value): value.clone() for _, value in self._values()}
        for part in self.parts:
            part.step()
        for name, value in self._values():
            old = before.get(id(value))
            if old is None:  # made by this first step: moments begin with 0, products with 1
                old = torch.full_like(value, 1.0 if name == "mu_product" else 0.0)
            torch.where(finite, value, old, out=value)

    def _values(self) -> Iterator[tuple[str, Tensor]]:
        """All tensors that a step changes, with their names."""
        yield from (("parameter", p) for p in self.parameters if p.grad is not None)
        for part in self.parts:
            for state in part.state.values():
                yield from ((name, value) for name, value in state.items() if torch.is_tensor(value))

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
                where = parameter.device if any(own.values()) else torch.device("cpu")
                kept |= {name: kept[name].to(where) for name in ("step", "mu_product") if name in kept}
        self.learning_rate = state["learning_rate"]
