"""Robustness of a controller: start noise, start frame, pushes, weaker and stronger muscles, in one table."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from muscle_torch.embodiments.independent import IndependentJoints
from muscle_torch.errors import InputError
from muscle_torch.rotations import yaw

from .controller import Controller
from .trials import CLIP

SEEDS = (1, 2, 3, 4, 5)
ROOT_NOISE, JOINT_NOISE = 0.05, 0.1  # [m/s] and [rad/s] of the root, [rad/s] of the joints: standard deviations
STARTS = 5  # start frames, evenly spaced over the first three quarters of a clip
IMPULSES = (5.0, 10.0, 15.0, 20.0)  # [N s] through the centre of mass
PUSH_STEPS = 20  # control steps over which a push acts
PUSH_TIME = 0.6  # [s] after the start, but within the first third of a clip
DIRECTIONS = ((1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0))  # along and across the root's heading
STRENGTHS = (0.8, 1.2)


@dataclass(frozen=True)
class Disturbance:
    """A modification of a run; the default changes nothing."""

    kind: str  # its row of the table
    seed: int | None = None  # seed of noise on the initial velocities; None: no noise
    start: int = 0  # frame of the clip
    push: tuple[float, float] = (0.0, 0.0)  # [N s] along and across the root's heading
    strength: float = 1.0  # factor of every muscle's maximal force


@dataclass(frozen=True)
class Outcome:
    """Result of one run of one clip."""

    disturbance: Disturbance
    clip: str
    survived: int  # control steps before the thresholds were exceeded
    possible: int  # control steps to the end of the clip
    site_error: float  # [m] mean over the control steps survived

    @property
    def coverage(self) -> float:
        """Fraction of the control steps that were survived."""
        return self.survived / self.possible


def disturbances(length: int, has_root: bool) -> list[Disturbance]:
    """Return all disturbances of a clip of `length` frames; a body without a free root is not pushed."""
    starts = np.linspace(0, 0.75 * length, STARTS + 1)[1:].astype(int).tolist()
    runs = [Disturbance("none")]
    runs += [Disturbance("velocity noise at the start", seed=seed) for seed in SEEDS]
    runs += [Disturbance("start on another frame", start=start) for start in starts]
    for impulse in IMPULSES if has_root else ():
        pushes = [(impulse * along, impulse * across) for along, across in DIRECTIONS]
        runs += [Disturbance(f"push of {impulse:g} N s", push=push) for push in pushes]
    return runs + [Disturbance(f"muscles at {100 * strength:.0f} %", strength=strength) for strength in STRENGTHS]


@torch.no_grad()
def robustness(env: Any, controller: Controller, *, progress: Callable[[int], object] | None = None) -> list[Outcome]:
    """Run every clip of an imitation environment under every disturbance.

    Args:
        env: Made with `make_env(..., evaluation=True)`; its thresholds define when a run is lost.
        controller: Chooses the actions, without access to the disturbances.
        progress: Called with the number of runs finished in each batch.

    Returns:
        One outcome per clip and disturbance.

    Raises:
        InputError: The environment's goal is not motion imitation.
    """
    if env.goal.trials.unit != CLIP:
        raise InputError("robustness=true applies to motion imitation only; leave it out for this task")
    lengths = env.goal.trials.lengths.tolist()
    runs = [(clip, run) for clip, length in enumerate(lengths) for run in disturbances(length, env.embodiment.has_root)]
    runs.sort(key=lambda run: run[1].start - lengths[run[0]])  # batch runs of similar length
    outcomes: list[Outcome] = []
    try:
        for first in range(0, len(runs), env.num_envs):
            batch = runs[first : first + env.num_envs]
            outcomes += _run_batch(env, controller, batch)
            if progress is not None:
                progress(len(batch))
    finally:
        env.muscles.set_strength(torch.ones(env.num_envs), env.physics)
    return outcomes


def number_of_runs(env: Any) -> int:
    """Return the number of runs of `robustness`."""
    return sum(len(disturbances(length, env.embodiment.has_root)) for length in env.goal.trials.lengths.tolist())


def robustness_rows(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Return the rows of the evaluation file: one per kind of disturbance, over all its runs and clips."""
    kinds = dict.fromkeys(outcome.disturbance.kind for outcome in sorted(outcomes, key=_order))
    rows = []
    for kind in kinds:
        runs = [outcome for outcome in outcomes if outcome.disturbance.kind == kind]
        coverage = [outcome.coverage for outcome in runs]
        rows.append(
            {
                "disturbance": kind,
                "num_runs": len(runs),
                "num_whole": sum(outcome.survived == outcome.possible for outcome in runs),
                "frame_coverage": float(np.mean(coverage)),
                "least_coverage": min(coverage),
                "err_site_abs": float(np.mean([outcome.site_error for outcome in runs])),
            }
        )
    return rows


def robustness_table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as an aligned text table."""
    heading = ("disturbance", "runs", "whole", "covered [%]", "least [%]", "site error [mm]")
    lines = [heading] + [
        (
            row["disturbance"],
            str(row["num_runs"]),
            str(row["num_whole"]),
            f"{100 * row['frame_coverage']:.1f}",
            f"{100 * row['least_coverage']:.1f}",
            f"{1e3 * row['err_site_abs']:.0f}",
        )
        for row in rows
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heading))]
    aligned = [
        [line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))] for line in lines
    ]
    return "\n".join("  ".join(line) for line in aligned)


def _order(outcome: Outcome) -> int:
    kinds = [run.kind for run in disturbances(100, has_root=True)]
    return kinds.index(outcome.disturbance.kind)


def _run_batch(env: Any, controller: Controller, batch: Sequence[tuple[int, Disturbance]]) -> list[Outcome]:
    """Play one run per environment; spare environments repeat the last run and are not counted."""
    filled = [*batch, *[batch[-1]] * (env.num_envs - len(batch))]
    clip = torch.tensor([index for index, _ in filled], device=env.device)
    start = torch.tensor([run.start for _, run in filled], device=env.device)
    strength = torch.tensor([run.strength for _, run in filled])
    possible = env.goal.trials.lengths[clip] - 1 - start
    env.muscles.set_strength(strength, env.physics)
    env.assign((clip, start))
    env.physics.kick(_noise(env, [run for _, run in filled]))
    env.refresh()
    controller.begin(env, torch.ones(env.num_envs, dtype=torch.bool, device=env.device))
    push, begins = _pushes(env, filled)
    alive = torch.ones(env.num_envs, dtype=torch.bool, device=env.device)
    survived, error = torch.zeros(env.num_envs, device=env.device), torch.zeros(env.num_envs, device=env.device)
    for step in range(int(possible.max())):
        pushed = (step >= begins) & (step < begins + PUSH_STEPS)
        if bool((pushed & (push != 0).any(dim=1)).any()):
            env.physics.kick(torch.where(pushed.unsqueeze(1), push / PUSH_STEPS, 0.0))
        transition = env.advance(controller.act(env))
        alive &= ~(transition.terminated | transition.broken) & (step < possible)
        survived += alive
        error += torch.where(alive, transition.terms["err/site_abs"], 0.0)
        if not bool(alive.any()):
            break
    names = env.goal.trials.names
    mean = (error / survived.clamp(min=1)).tolist()
    return [
        Outcome(run, names[index], int(survived[world]), int(possible[world]), mean[world])
        for world, (index, run) in enumerate(batch)
    ]


def _noise(env: Any, runs: Sequence[Disturbance]) -> Tensor:
    """Return random changes of the initial velocities (W, nv); coupled joints follow."""
    body = env.embodiment
    joints = IndependentJoints(body)
    deviation = np.full(len(joints.dofs), JOINT_NOISE)
    deviation[: 6 if body.has_root else 0] = ROOT_NOISE
    qpos = env.physics.field("qpos").cpu().double().numpy()
    change = np.zeros((env.num_envs, body.model.nv))
    for world, run in enumerate(runs):
        if run.seed is not None:
            drawn = np.random.default_rng(run.seed).normal(size=len(deviation))
            change[world, : body.num_qvel] = joints.tangent(qpos[world, : body.num_qpos]) @ (deviation * drawn)
    return torch.from_numpy(change).to(env.device, torch.float32)


def _pushes(env: Any, runs: Sequence[tuple[int, Disturbance]]) -> tuple[Tensor, Tensor]:
    """Return each push's velocity change (W, nv) and the control step (W,) at which it begins.

    An impulse through the centre of mass accelerates the whole body equally, so only the root's velocity changes.
    """
    body = env.embodiment
    change = torch.zeros(env.num_envs, body.model.nv, device=env.device)
    lengths = env.goal.trials.lengths.tolist()
    begins = [min(round(PUSH_TIME * body.control_frequency), lengths[clip] // 3) for clip, _ in runs]
    if body.has_root:
        mass = float(body.model.body_subtreemass[int(body.model.jnt_bodyid[0])])
        impulse = torch.tensor([run.push for _, run in runs], device=env.device)
        heading = yaw(env.physics.field("qpos")[:, 3:7])
        along = torch.stack((heading.cos(), heading.sin()), dim=1)
        across = torch.stack((-heading.sin(), heading.cos()), dim=1)
        change[:, :2] = (impulse[:, :1] * along + impulse[:, 1:] * across) / mass
    return change, torch.tensor(begins, device=env.device)
