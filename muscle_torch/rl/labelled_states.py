"""The aggregated data set of DAgger: observations and the teacher's actions, bounded in memory."""

from collections.abc import Mapping

import torch
from torch import Tensor


class LabelledStates:
    """Observations (D,) and labels (A,) of W environments; the newest replace the oldest if it is full.

    It is stored by environment, so that exact resume can redistribute it over processes. float16 would be too coarse: a
    change of a joint by 1 mrad changes what muscle control does.

    Attributes:
        count: Number of valid control steps of each environment.
    """

    def __init__(self, steps: int, num_envs: int, observation_size: int, action_size: int, device: torch.device):
        """Allocate the storage.

        Args:
            steps: Largest number of control steps per environment.
            num_envs: Number of environments W.
            observation_size: D.
            action_size: A.
            device: Device of the storage.
        """
        sizes = (observation_size, action_size)
        self._tables = tuple(torch.zeros(num_envs, steps, n, device=device) for n in sizes)
        self.steps, self.num_envs, self.count, self._next = steps, num_envs, 0, 0

    def __len__(self) -> int:
        """Return the number of samples of all environments."""
        return self.count * self.num_envs

    def add(self, observation: Tensor, label: Tensor) -> None:
        """Add a control step of all environments: observations (W, D) and labels (W, A)."""
        for table, values in zip(self._tables, (observation, label), strict=True):
            table[:, self._next] = values
        self._next = (self._next + 1) % self.steps
        self.count = min(self.count + 1, self.steps)

    def draw(self, number: int) -> tuple[Tensor, Tensor]:
        """Draw `number` samples with replacement: observations (N, D) and labels (N, A)."""
        device = self._tables[0].device
        rows = torch.randint(self.num_envs, (number,), device=device)
        steps = torch.randint(self.count, (number,), device=device)
        observation, label = (table[rows, steps] for table in self._tables)
        return observation, label

    def newest(self, steps: int) -> tuple[Tensor, Tensor]:
        """Return the last control steps: observations (N, D) and labels (N, A)."""
        ids = (self._next - 1 - torch.arange(min(steps, self.count), device=self._tables[0].device)) % self.steps
        observation, label = (table[:, ids].flatten(0, 1) for table in self._tables)
        return observation, label

    def state(self) -> dict[str, Tensor]:
        """Return copies of the valid samples, first axis W."""
        observation, label = (table[:, : self.count].clone() for table in self._tables)
        return {"observations": observation, "labels": label, "next": torch.full((self.num_envs,), self._next)}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state` returned; of a larger data set the first samples are kept."""
        self.count = min(state["observations"].shape[1], self.steps)
        for table, name in zip(self._tables, ("observations", "labels"), strict=True):
            table[:, : self.count] = state[name][:, : self.count].to(table)
        self._next = int(state["next"][0]) % self.steps
