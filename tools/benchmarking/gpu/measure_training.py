"""Measure complete training: a profile, three columns by number of environments and precision, and memory."""

import dataclasses
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity
from torch.profiler import profile as torch_profile

from muscle_torch.config import Config, explain_library
from muscle_torch.envs import make_env
from muscle_torch.models import make_policy
from muscle_torch.physics.memory import estimate, free_memory
from muscle_torch.rl import Trainer, rows_at_once
from muscle_torch.tools import benchmark
from muscle_torch.tools.benchmarking.gpu.results import (
    DEVICE,
    DRY,
    GIB,
    OUT,
    WORLDS,
    now,
    report,
    settings,
    survive,
    used_gib,
)

ROWS, TOP = 70, 30  # rows of the profile in the file and in the results


def profile(task: str) -> None:
    """Report kernels by time, for collecting and for a complete update, and host synchronizations."""
    words = (f"num_envs={WORLDS}", "precision=tf32", "ppo.num_steps=2", "ppo.minibatches=2")
    trainer = _trainer(settings(task, *words))
    trainer.iteration()
    report("made", used_gib=used_gib())
    if not DRY:
        _synchronizations(trainer)
    for name, call in {"collect": trainer.collect, "update": trainer.iteration}.items():
        with survive("profile", part=name):
            _profile(name, call)


def _synchronizations(trainer: Trainer) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        trainer.iteration()
        torch.cuda.set_sync_debug_mode("default")
    places = Counter(f"{Path(w.filename).name}:{w.lineno}" for w in caught)
    report("synchronizations", in_one_update=len(caught), places=dict(places))


def _profile(name: str, call: Callable[[], Any]) -> None:
    activities = [ProfilerActivity.CPU] if DRY else [ProfilerActivity.CPU, ProfilerActivity.CUDA]
    key = "self_cpu_time_total" if DRY else "self_device_time_total"
    with torch_profile(activities=activities) as profiler:
        begin = now()
        call()
        spent = now() - begin
    table = profiler.key_averages().table(sort_by=key, row_limit=ROWS, max_name_column_width=70)
    with (OUT / "profile.txt").open("a") as file:
        file.write(f"\n\n{name}: {spent:.4f} s\n{table}")
    events = sorted(profiler.key_averages(), key=lambda event: -getattr(event, key))
    busy = sum(getattr(event, key) for event in events) / 1e6
    top = [(event.key[:60], round(getattr(event, key) / 1e3, 2), event.count) for event in events[:TOP]]
    report("profile", part=name, seconds=spent, busy_s=busy, top=top)


def sweep(task: str) -> None:
    """Report the speeds of environment, inference and training by number of environments."""
    for count in (4096, 1024, 16384)[: 1 if DRY else None]:
        with survive("sweep", num_envs=count):
            _columns("sweep", settings(task, f"num_envs={count}", "precision=tf32"), task=task)


def compiled(task: str) -> None:
    """Report the speeds of environment, inference and training by precision, and with torch.compile."""
    cases = (("precision=bf16", "compile=true"), ("precision=bf16",), ("precision=float32",))
    for words in cases[: 1 if DRY else None]:
        with survive("compiled", words=words):
            _columns("compiled", settings(task, f"num_envs={WORLDS}", *(() if DRY else words)), words=words)


def _columns(name: str, cfg: Config, **figures: Any) -> None:
    trainer = _trainer(cfg)
    env, policy = trainer.env, trainer.policy
    env.begin()
    start = env.snapshot()
    steps = min(cfg.ppo.num_steps, 10)
    actions = benchmark.record(env, policy, steps).actions
    training = benchmark.Training(trainer, cfg.ppo.num_steps)
    columns = {
        "env": lambda: benchmark.time_environment(env, start, actions),
        "env_inference": lambda: benchmark.time_inference(env, start, policy, steps),
        "train": training.time,
    }
    for column, call in columns.items():
        call()
        count, spent = call()
        report(name, **figures, num_envs=cfg.num_envs, column=column, steps_per_s=count / spent, used_gib=used_gib())
    env.close()


def most(task: str) -> None:
    """Report estimated and used memory, and the number of environments that would fit."""
    cfg = dataclasses.replace(settings(task, "precision=tf32"), num_envs=WORLDS)
    probe = make_env(cfg, 1, "cpu", backend="mujoco", threads=1)
    policy = make_policy(cfg.policy, probe, cfg.exploration)
    memory = estimate(probe, policy, cfg, True, rows_at_once(probe.observation_size))
    before = used_gib()
    _trainer(cfg).iteration()
    report(
        "memory",
        num_envs=WORLDS,
        estimated_gib=memory.total(WORLDS) / GIB,
        taken_gib=used_gib() - before,
        torch_peak_gib=0.0 if DRY else torch.cuda.max_memory_allocated() / GIB,
        largest_num_envs=memory.most(int(0.8 * (free_memory(DEVICE) or 0))),
    )


def _trainer(cfg: Config) -> Trainer:
    torch.manual_seed(0)
    env = make_env(cfg)
    policy = make_policy(cfg.policy, env, cfg.exploration).to(env.device)
    return Trainer(env, policy, dataclasses.replace(cfg, stages=["ppo"]), None)


if __name__ == "__main__":
    explain_library(__doc__ or "", "tools/benchmarking/gpu/measure.py")
