"""All checks of a body's muscles together: one verdict a muscle."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from muscle_torch.embodiments import Embodiment

from .muscle_curves import active_share, optimal_length, parameter_asymmetry, peak_force
from .muscle_paths import (
    Sweep,
    arm_jumps,
    asymmetry,
    crosses,
    disagreement,
    independent_joints,
    length_jumps,
    range_differences,
    sweep,
)

AGREE = 1e-4  # [m] between the two definitions of a moment arm
SYMMETRIC = 1e-6  # [m] between left and right
JUMP = 0.010  # [m] of a moment arm between neighbouring positions
MARGIN = 1e-3  # [rad] kept from a range's ends, where the difference would leave it
ACTIVE = 0.5  # a muscle pulls over at least this share of its lengths
VERDICT_COLUMNS = ("muscle", "F0 [N]", "L0 [mm]", "joints", "largest arm [mm]", "about", "definitions apart [mm]",
                   "left-right apart [mm]", "pulls over [%]", "verdict")  # fmt: skip


@dataclass(frozen=True, eq=False)
class MuscleCheck:
    """`rows`: one a muscle (`VERDICT_COLUMNS`), verdict `ok` or the defects in words; `joints`: defects of joints."""

    rows: list[tuple]
    joints: list[str]
    sweeps: dict[str, Sweep]

    @property
    def defects(self) -> list[str]:
        return [f"{row[0]}: {row[-1]}" for row in self.rows if row[-1] != "ok"] + self.joints


def check_muscles(
    embodiment: Embodiment, points: int = 61, progress: Callable[[int, int], None] | None = None
) -> MuscleCheck:
    """Sweeps every independent joint and judges every muscle; `progress` is called with (joints done, joints)."""
    joints = independent_joints(embodiment)
    sweeps = {}
    for index, joint in enumerate(joints):
        sweeps[joint] = sweep(embodiment, joint, points, MARGIN)
        if progress is not None:
            progress(index + 1, len(joints))
    unequal, parameters = asymmetry(embodiment, sweeps), parameter_asymmetry(embodiment)
    findings = [_Findings.of(embodiment, sweeps, i, unequal, parameters) for i in range(embodiment.model.nu)]
    rows = [finding.row(embodiment, sweeps) for finding in findings]
    return MuscleCheck(rows, range_differences(embodiment), sweeps)


@dataclass(frozen=True, eq=False)
class _Findings:
    """What the checks say about one muscle; arrays have an entry a joint."""

    index: int
    name: str
    crossed: np.ndarray
    apart: np.ndarray
    length_jump: np.ndarray
    arm_jump: np.ndarray
    unequal: tuple[float, str]
    parameters: str
    active: float

    @classmethod
    def of(
        cls,
        embodiment: Embodiment,
        sweeps: dict[str, Sweep],
        index: int,
        unequal: dict[str, tuple[float, str]],
        parameters: dict[str, str],
    ) -> "_Findings":
        name = embodiment.actuator_names[index]
        crossed, apart, length_jump, arm_jump = (
            np.array([check(one)[index] for one in sweeps.values()])
            for check in (crosses, disagreement, length_jumps, arm_jumps)
        )
        lengths = [one.lengths[:, index] for one in sweeps.values() if crosses(one)[index]]
        share = active_share(embodiment.model, index, np.concatenate(lengths)) if lengths else float("nan")
        other = unequal.get(name, (float("nan"), ""))
        return cls(index, name, crossed, apart, length_jump, arm_jump, other, parameters.get(name, ""), share)

    def row(self, embodiment: Embodiment, sweeps: dict[str, Sweep]) -> tuple:
        model, joints = embodiment.model, list(sweeps)
        largest = np.array([np.abs(one.by_moment[:, self.index]).max() for one in sweeps.values()])
        return (
            self.name,
            peak_force(model, self.index),
            1e3 * optimal_length(model, self.index)[0],
            int(self.crossed.sum()),
            float(1e3 * largest.max()),
            joints[int(largest.argmax())],
            float(1e3 * self.apart.max()),
            1e3 * self.unequal[0],
            100 * self.active,
            "; ".join(self.defects(joints)) or "ok",
        )

    def defects(self, joints: list[str]) -> list[str]:
        found = []
        if not self.crossed.any():
            return ["crosses no joint that can move"]
        if self.apart.max() > AGREE:
            found.append(f"moment arms differ by {1e3 * self.apart.max():.2g} mm about {joints[self.apart.argmax()]}")
        if self.length_jump.max() > 0:
            worst = int(self.length_jump.argmax())
            found.append(f"length jumps {1e3 * self.length_jump[worst]:.1f} mm along {joints[worst]}")
        if self.arm_jump.max() > JUMP:
            worst = int(self.arm_jump.argmax())
            found.append(f"moment arm jumps {1e3 * self.arm_jump[worst]:.0f} mm along {joints[worst]}")
        if self.unequal[0] > SYMMETRIC:
            found.append(f"differs from the right one by {1e3 * self.unequal[0]:.2g} mm about {self.unequal[1]}")
        if self.parameters:
            found.append(self.parameters)
        if self.active < ACTIVE:
            found.append(f"cannot pull over {100 * (1 - self.active):.0f} % of its lengths")
        return found
