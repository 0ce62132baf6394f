"""Evaluation: every clip once, from its first frame to its last, and what learning brought.

Deterministic (the mean action) or stochastic (as while training; several seeds are averaged and their spread told).

Errors are averaged over whole clips: a body that has lost its motion is kept going, so a policy cannot look precise by
falling early. Rates, coverage, length and return stop where the evaluation thresholds were first exceeded. Definitions:
the per-step errors and reward terms of the environment (MuscleMimic's info keys), aggregated as its `evaluate_all`:
weighted by time.
"""

import json
import math
import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from muscle_torch.errors import InputError

from .tables import comparison_table

Act = Callable[[Tensor], Tensor]
ERRORS = ("joint_pos", "joint_vel", "root_xyz", "root_yaw", "rpos", "site_abs")
COUNTS = ("num_clips", "num_frames", "nan_worlds", "early_termination_count")  # whole numbers, added up over clips


class Watcher(Protocol):
    """Looks on while clips are played: see `rollout_archive.Recorder` and `trajectory_distance.Distances`."""

    def begin(self, env: Any, clips: Sequence[int]) -> None:
        """Clips (at most W) were put on their first frame, one a world."""

    def before(self, env: Any) -> None:
        """A control step is about to be made."""

    def after(self, env: Any, step: Any) -> None:
        """It was made."""

    def end(self, env: Any, steps: Sequence[int]) -> Sequence[Mapping[str, float | None]]:
        """The batch is over; steps: those of each clip that count, up to where it was lost or ended.

        Returns what each clip's row should hold in addition; empty: nothing.
        """
        ...


@dataclass
class _Tally:
    """Running sums of one batch, one row a world, on the environment's device; read once, at the end."""

    alive: Tensor  # thresholds not exceeded yet, bool (W,)
    early: Tensor  # exceeded within the clip, bool (W,)
    broken: Tensor  # held NaN within the clip, bool (W,)
    length: Tensor  # control steps until then, (W,)
    episode_return: Tensor  # reward until then, (W,)
    counted: Tensor  # control steps of the whole clip before any NaN, (W,)
    sums: dict[str, Tensor]  # of errors, reward and its terms over those, float64 (W,)

    @classmethod
    def of(cls, num_envs: int, device: torch.device) -> "_Tally":
        def zeros(dtype: torch.dtype) -> Tensor:
            return torch.zeros(num_envs, dtype=dtype, device=device)

        return cls(
            alive=~zeros(torch.bool),
            early=zeros(torch.bool),
            broken=zeros(torch.bool),
            length=zeros(torch.long),
            episode_return=zeros(torch.float64),
            counted=zeros(torch.long),
            sums={},
        )

    def add(self, step: Any, inside: Tensor) -> None:
        """Counts one transition of the worlds whose clip is not over, `inside` (W,)."""
        self.broken |= step.broken & inside
        running = self.alive & inside
        self.length += running
        self.episode_return += torch.where(running, step.reward, 0.0)
        over = running & (step.terminated | step.broken)
        self.early |= over
        self.alive &= ~over
        known = inside & ~self.broken  # what follows NaN means nothing
        self.counted += known
        for name, value in (step.terms | {"reward/total": step.reward}).items():
            if name not in self.sums:
                self.sums[name] = torch.zeros_like(self.episode_return)
            self.sums[name] += torch.where(known, value, 0.0)


def policy_mean(policy: Any) -> Act:
    """The policy's deterministic action: the mode of its distribution, normaliser frozen, no gradients."""

    @torch.no_grad()
    def act(observation: Tensor) -> Tensor:
        return policy.distribution(observation).mode

    return act


def policy_sample(policy: Any, seed: int) -> Act:
    """Actions drawn from the policy's distribution, normaliser frozen; other random numbers are left as they are."""
    states: dict[torch.device, Tensor] = {}

    @torch.no_grad()
    def act(observation: Tensor) -> Tensor:
        device = observation.device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            if device not in states:
                torch.manual_seed(seed)
            elif device.type == "cuda":
                torch.cuda.set_rng_state(states[device], device)
            else:
                torch.set_rng_state(states[device])
            action = policy.distribution(observation).sample()
            states[device] = torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()
        return action

    return act


def zero_excitation(env: Any) -> Act:
    """The action that leaves every muscle relaxed."""
    action = env.zero_action.expand(env.num_envs, -1)
    return lambda observation: action


@torch.no_grad()
def evaluate(
    env: Any,
    act: Act,
    *,
    progress: Callable[[int, int], None] | None = None,
    watchers: Sequence[Watcher] = (),
    clips: Sequence[int] | None = None,
) -> dict[str, Any]:
    """Plays every clip of `env.library` from start to end with `act` and returns the evaluation file's contents.

    env: made with `make_env(..., evaluation=True)`, so that `terminated` means its evaluation thresholds. It is never
    restarted within a clip, and neither its horizon nor its number of worlds limits what is evaluated.
    act: observation (W, D) -> action (W, nu). progress: called with (clips done, clips) after each batch.
    watchers: see every control step. clips: which ones; None: all.
    """
    # Long clips share a batch, so that few worlds wait for the longest one.
    order = sorted(range(env.library.num_clips) if clips is None else clips, key=lambda c: -int(env.library.length[c]))
    rows: dict[int, dict[str, Any]] = {}
    for first in range(0, len(order), env.num_envs):
        batch = order[first : first + env.num_envs]
        rows |= zip(batch, _play(env, act, batch, watchers), strict=True)
        if progress is not None:
            progress(len(rows), len(order))
    per_clip = [rows[clip] for clip in sorted(rows)]
    return {**_summary(per_clip), "per_clip": per_clip}


def _play(env: Any, act: Act, clips: Sequence[int], watchers: Sequence[Watcher]) -> list[dict[str, Any]]:
    """One batch: a world a clip; idle worlds repeat the last clip and are not counted."""
    filled = [*clips, *[clips[-1]] * (env.num_envs - len(clips))]
    clip = torch.tensor(filled, device=env.device)
    last_frame = env.library.length.to(env.device)[clip] - 1
    observation = env.assign(clip, torch.zeros_like(clip))
    tally = _Tally.of(env.num_envs, env.device)
    for watcher in watchers:
        watcher.begin(env, clips)
    for frame in range(1, int(last_frame.max()) + 1):
        action = act(observation)
        for watcher in watchers:
            watcher.before(env)
        step = env.advance(action)
        tally.add(step, frame <= last_frame)
        for watcher in watchers:
            watcher.after(env, step)
        observation = step.observation
    rows = [_row(env.library, tally, world, index) for world, index in enumerate(clips)]
    for watcher in watchers:
        more = watcher.end(env, tally.length[: len(clips)].tolist())
        rows = [{**row, **added} for row, added in zip(rows, more, strict=True)] if more else rows
    return rows


def _row(library: Any, tally: _Tally, world: int, clip: int) -> dict[str, Any]:
    """One clip, under the same names as the summary of all."""
    frames = int(library.length[clip])
    row: dict[str, Any] = {
        "name": library.names[clip],
        "num_frames": frames,
        "nan_worlds": int(tally.broken[world]),
        "success_rate": float(~tally.early[world]),
        "early_termination_rate": float(tally.early[world]),
        "early_termination_count": int(tally.early[world]),
        "frame_coverage": int(tally.length[world]) / frames,
        "mean_episode_length": float(tally.length[world]),
        "mean_episode_return": float(tally.episode_return[world]),
    }
    counted = int(tally.counted[world])
    sums = dict.fromkeys(f"err/{name}" for name in ERRORS) | tally.sums
    for name, total in sums.items():
        row[_key(name)] = float(total[world]) / counted if counted and total is not None else None
    return row


def _key(term: str) -> str:
    """A term of the environment under its name in the evaluation file."""
    return {"penalty": "penalty_total"}.get(term, term.replace("/", "_"))


def _summary(per_clip: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Rates and lengths: means over clips. Coverage and errors: weighted by frames, as in `evaluate_all`."""
    frames = [row["num_frames"] for row in per_clip]

    def mean(name: str, weights: Sequence[float] | None = None) -> float | None:
        weights = weights or [1.0] * len(per_clip)
        known = [(row[name], weight) for row, weight in zip(per_clip, weights, strict=True) if row[name] is not None]
        return math.fsum(v * w for v, w in known) / math.fsum(w for _, w in known) if known else None

    plain = ("success_rate", "early_termination_rate", "mean_episode_length", "mean_episode_return")
    whole = ("name", "num_frames", "nan_worlds", "early_termination_count", "frame_coverage", *plain)
    by_time = [name for name in per_clip[0] if name not in whole]
    return {
        "num_clips": len(per_clip),
        "num_frames": sum(frames),
        "nan_worlds": sum(row["nan_worlds"] for row in per_clip),
        "early_termination_count": sum(row["early_termination_count"] for row in per_clip),
        **{name: mean(name) for name in plain},
        "frame_coverage": mean("frame_coverage", frames),
        **{name: mean(name, [f - 1 for f in frames]) for name in by_time},
    }


def average(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Several evaluations of the same clips (seeds) as one: means, their standard deviations, and each summary."""
    summaries = [{name: value for name, value in one.items() if name != "per_clip"} for one in found]
    clips = zip(*(one["per_clip"] for one in found), strict=True)
    return {
        **_mean_of(summaries),
        "num_seeds": len(found),
        "std": {name: _spread([one[name] for one in summaries]) for name in summaries[0] if name not in COUNTS},
        "per_seed": summaries,
        "per_clip": [_mean_of(rows) for rows in clips],
    }


def _mean_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Key by key; names and sizes, which all share, are taken from the first."""
    means: dict[str, Any] = {}
    for name, first in rows[0].items():
        shared = name in ("name", "num_clips", "num_frames")
        known = [row[name] for row in rows if row[name] is not None]
        means[name] = first if shared else math.fsum(known) / len(known) if known else None
    return means


def _spread(values: Sequence[float | None]) -> float | None:
    """Standard deviation over the seeds (n - 1)."""
    known = [value for value in values if value is not None]
    return statistics.stdev(known) if len(known) > 1 else None


def compare_policies(env: Any, policy: nn.Module, untrained: nn.Module, folder: Path) -> str:
    """Evaluates the untrained policy, relaxed muscles and `policy`; writes `folder/<name>/metrics.json`; the table."""
    found: dict[str, dict[str, Any]] = {}
    for name, module in {"untrained": untrained, "zero": None, "final": policy}.items():
        if module is None:
            found[name] = evaluate(env, zero_excitation(env))
        else:
            was_training = module.training
            module.eval()
            found[name] = evaluate(env, policy_mean(module))
            module.train(was_training)
        write_evaluation(folder / name / "metrics.json", found[name])
    return comparison_table(**found)


def write_evaluation(path: Path, metrics: Mapping[str, Any]) -> None:
    """Writes the evaluation file whole or not at all."""
    # Turned to text first: a value that JSON cannot hold must not leave a file behind.
    text = json.dumps(metrics, indent=2, allow_nan=False) + "\n"
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.write_text(text, encoding="utf-8")
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; free space or choose another place") from None
