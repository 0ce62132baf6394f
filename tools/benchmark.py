"""Measure speed in control steps per second: environment, + inference, + learning, beside plain MuJoCo C on a CPU.

`python tools/benchmark.py task=bimanual num_envs=[256,1024] output=speed.json plot=speed.png`. Other words are
train.py's own keys; task, preset, policy, precision and num_envs take lists, and every combination is
measured; one that cannot be (for its memory, mostly) is named and left out.
`cases=true` measures the physics alone too, under other solver limits and buffer sizes, and the host's launches.
`compare=[old.json,new.json]` measures nothing and shows the ratios of two result files.

Every column is timed `repeats` times, the columns taking turns, so that a busy machine disturbs all alike; medians are
reported, and every single timing is in the output file. Environment, inference and plain MuJoCo start each repeat from
the same stored state. Plain MuJoCo (`mujoco.rollout`, one call a control step) gets the very states and controls that
the environment's worlds had, so it does the same physics: `env / raw` is what observations, rewards and resets leave.
Where a step's time goes is measured apart: its parts, and the stages of its physics from the recorded states.
"""

import copy
import dataclasses
import gc
import itertools
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import torch
from mujoco.rollout import Rollout

from muscle_torch.config import Config, config_to_dict, key, load_config, parse_words, run_command
from muscle_torch.config.threads import usable_cores
from muscle_torch.envs import make_env
from muscle_torch.errors import InputError
from muscle_torch.evaluation import write_evaluation
from muscle_torch.models import make_policy
from muscle_torch.physics import resolve_device
from muscle_torch.physics.memory import oom_as_input_error
from muscle_torch.rl import Trainer
from muscle_torch.rl.logger import resident_bytes
from muscle_torch.rl.rollout import single_torch_thread
from muscle_torch.storage.versions import package_version
from muscle_torch.tools.benchmarking.physics_cases import launch_gaps, physics_cases
from muscle_torch.tools.benchmarking.physics_stages import physics_stages
from muscle_torch.tools.benchmarking.report import COLUMNS, compared, plot, read_results, table
from muscle_torch.tools.benchmarking.step_profile import profile

PACKAGES = ("muscle_torch", "mujoco", "mujoco-warp", "torch", "torchrl", "tensordict", "warp-lang")


@dataclasses.dataclass(frozen=True)
class BenchmarkOptions:
    task: Any = key("bimanual", "cfg/task/<task>.yaml, or a list")
    preset: Any = key("", "cfg/preset/<preset>.yaml on top, or a list; empty: none")
    num_envs: Any = key(0, "worlds stepped together, or a list [512,1024]; 0: the task's")
    policy: Any = key("", "the policy of the inference and learning columns, or a list; empty: the task's")
    precision: Any = key("", "of the networks (float32, tf32, bf16), or a list; empty: the task's")
    device: str = key("auto", "auto, cpu, cuda or cuda:N")
    backend: str = key("auto", "physics: auto (warp on CUDA, mujoco on a CPU), warp or mujoco")
    threads: int = key(0, "physics threads on a CPU; 0: all cores")
    steps: int = key(100, "length of one timing", "control steps a world")
    repeats: int = key(5, "timings of each column")
    output: str = key("", "write the figures to this JSON file")
    plot: str = key("", "draw them into this PNG file")
    cases: bool = key(False, "also: the physics alone under other solver limits and buffers; gaps between launches")
    compare: list[str] = key([], "two result files: show their ratios and measure nothing")


OWN = ("steps", "repeats", "output", "plot", "cases", "compare")
SWEPT = ("task", "preset", "policy", "precision", "num_envs")


@dataclasses.dataclass(frozen=True)
class Recording:
    """What the environment's worlds went through: the work that plain MuJoCo repeats. float64, (steps, W, ...).

    On a GPU, where nobody repeats it, only the actions.
    """

    actions: torch.Tensor
    state: np.ndarray  # mjSTATE_FULLPHYSICS before each control step
    warmstart: np.ndarray  # qacc_warmstart before each control step
    control: np.ndarray


def main(words: Sequence[str]) -> int:
    """Runs the benchmark; returns the exit code."""
    options = parse_words(BenchmarkOptions, [w for w in words if w.split("=", 1)[0] in (*OWN, *SWEPT)])
    if options.compare:
        if len(options.compare) != 2:
            raise InputError(f"compare={options.compare}: give two files, compare=[old.json,new.json]")
        print(compared(*(read_results(path) for path in options.compare)))
        return 0
    if options.steps < 1 or options.repeats < 1:
        raise InputError(f"steps={options.steps} repeats={options.repeats}: both must be at least 1")
    fixed = [w for w in words if w.split("=", 1)[0] not in (*OWN, *SWEPT)]
    settings = [load_config(words=[*fixed, *swept]) for swept in combinations(options)]
    results = []
    for cfg in settings:
        try:
            with oom_as_input_error(cfg, int(cfg.num_envs)):
                results.append(benchmark(cfg, options.steps, options.repeats, options.cases))
        except InputError as error:
            if len(settings) == 1:
                raise
            print(f"left out: {cfg.task}, {cfg.num_envs} worlds: {error}", file=sys.stderr)
            continue
        finally:
            _tidy()
        print(table(results[-1]), flush=True)
        if options.output:  # after each, so that what comes later cannot lose it
            write_evaluation(Path(options.output), results[0] if len(settings) == 1 else {"results": results})
    if not results:
        raise InputError("none of the settings could be measured")
    if options.output:
        print(f"written to {options.output}")
    if options.plot:
        plot(results, Path(options.plot))
        print(f"drawn into {options.plot}")
    return 0


def combinations(options: BenchmarkOptions) -> list[list[str]]:
    """The words of every setting asked for; fewest worlds first."""
    lists = []
    for name in SWEPT:
        asked = getattr(options, name)
        values = asked if isinstance(asked, list) else [asked]
        if name == "num_envs":
            if any(isinstance(n, bool) or not isinstance(n, int) or n < 0 for n in values):
                raise InputError(f"num_envs={asked}: give a number of worlds or a list like [512,1024]")
            values = sorted(values)
        given = [f"{name}={str(value).lower() if isinstance(value, bool) else value}" for value in values]
        # What was left empty is the task's own.
        empty = [value == "" or (name == "num_envs" and value == 0) for value in values]
        lists.append([[] if nothing else [word] for nothing, word in zip(empty, given, strict=True)])
    return [[word for part in chosen for word in part] for chosen in itertools.product(*lists)]


def benchmark(cfg: Config, steps: int, repeats: int, cases: bool = False) -> dict[str, Any]:
    """The figures of one number of worlds, in the benchmark file's format."""
    device = resolve_device(cfg.device)
    others = _used_memory(device) if device.type == "cuda" else 0
    env = make_env(cfg)
    policy = make_policy(cfg.policy, env, cfg.exploration).to(env.device)
    frozen = copy.deepcopy(policy).eval()
    env.begin()
    start = env.snapshot()
    recording = record(env, frozen, steps)
    training = Training(Trainer(env, policy, dataclasses.replace(cfg, stages=["ppo"], stage_steps=[]), None), steps)
    columns: dict[str, Callable[[], tuple[int, float]]] = {
        "env_steps_per_s": lambda: time_environment(env, start, recording.actions),
        "env_inference_steps_per_s": lambda: time_inference(env, start, frozen, steps),
        "train_steps_per_s": training.time,
    }
    if env.device.type == "cpu":
        columns["raw_rollout_steps_per_s"] = RawRollout(env, recording, cfg.threads or usable_cores()).time
    samples = measure(columns, repeats)
    with single_torch_thread(env.device):
        parts = profile(env, lambda observation: sample(frozen, observation), steps)
    median = {name: statistics.median(values) for name, values in samples.items()}
    memory = _used_memory(env.device) - others
    stages = physics_stages(env, recording, start)
    more = {}
    if cases:
        more["launch_gaps"] = launch_gaps(env, start, recording.actions)
        more["physics_cases"] = physics_cases(env, cfg, steps, repeats)
    env.close()
    raw = samples.get("raw_rollout_steps_per_s", [])
    ratios = [a / b for a, b in zip(samples["env_steps_per_s"], raw, strict=False)]
    return {
        "task": cfg.task,
        "preset": cfg.preset,
        "num_envs": cfg.num_envs,
        **{name: median.get(name) for name in COLUMNS},
        "env_over_raw": statistics.median(ratios) if ratios else None,
        "learning_fraction": statistics.median(training.learning[1:]),
        "profile": parts | {"learning": 1e6 * statistics.median(training.learning_seconds[1:])},
        "physics_stages": stages,
        **more,
        "threads": cfg.threads or usable_cores(),
        "substeps": env.embodiment.substeps,
        "control_frequency": env.embodiment.control_frequency,
        "integrator": mujoco.mjtIntegrator(env.embodiment.model.opt.integrator).name.removeprefix("mjINT_").lower(),
        "device": _device_name(env.device),
        "backend": type(env.physics).__name__.removesuffix("Physics").lower(),
        "embodiment": config_to_dict(cfg)["embodiment"],
        "policy": cfg.policy.name,
        "precision": str(cfg.precision),
        "steps": steps,
        "repeats": repeats,
        "versions": {name: package_version(name) or "not installed" for name in PACKAGES},
        "peak_memory_bytes": memory,
        "samples": samples,
    }


def measure(columns: dict[str, Callable[[], tuple[int, float]]], repeats: int) -> dict[str, list[float]]:
    """Steps per second of every column in each repeat, the columns taking turns."""
    samples: dict[str, list[float]] = {name: [] for name in columns}
    for timing in columns.values():
        timing()  # compilation, caches, CUDA graphs
    for _ in range(repeats):
        for name, timing in columns.items():
            count, seconds = timing()
            samples[name].append(count / seconds)
    return samples


def record(env: Any, policy: Any, steps: int) -> Recording:
    """Lets the untrained policy act for `steps` control steps and keeps what each world went through."""
    physics = env.device.type == "cpu"
    observation = env.begin()
    actions: list[torch.Tensor] = []
    kept: dict[str, list[torch.Tensor]] = {"state": [], "warmstart": [], "control": []}
    for _ in range(steps):
        if physics:
            fields = [env.physics.field(name) for name in ("time", "qpos", "qvel", "act")]
            kept["state"].append(torch.cat([f.reshape(env.num_envs, -1) for f in fields], dim=1).double())
            kept["warmstart"].append(env.physics.field("qacc_warmstart").double())
        actions.append(sample(policy, observation))
        step = env.advance(actions[-1])
        if physics:
            kept["control"].append(env.physics.field("ctrl").double())
        observation = env.restart(step.terminated | step.truncated)
    arrays = [torch.stack(values).numpy() if values else np.empty(0) for values in kept.values()]
    return Recording(torch.stack(actions), *arrays)


class RawRollout:
    """Plain MuJoCo C doing the recorded work: one `mujoco.rollout` call a control step, buffers made beforehand."""

    def __init__(self, env: Any, recording: Recording, threads: int):
        model, worlds = env.embodiment.model, env.num_envs
        self.recording = recording
        self.substeps = env.embodiment.substeps
        self.models = [model] * worlds
        self.data = [mujoco.MjData(model) for _ in range(threads)]
        self.pool = Rollout(nthread=threads)
        self.control = np.repeat(recording.control[:, :, None, :], self.substeps, axis=2)
        self.state = np.empty((worlds, self.substeps, recording.state.shape[-1]))
        self.sensordata = np.empty((worlds, self.substeps, model.nsensordata))
        assert self.state.shape[-1] == mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_FULLPHYSICS)

    def time(self) -> tuple[int, float]:
        begin = time.perf_counter()
        for state, warmstart, control in zip(self.recording.state, self.recording.warmstart, self.control, strict=True):
            # The fastest way in: no checks, no allocation.
            self.pool.rollout(
                self.models,
                self.data,
                state,
                control,
                skip_checks=True,
                nstep=self.substeps,
                initial_warmstart=warmstart,
                state=self.state,
                sensordata=self.sensordata,
            )
        return self.recording.state.shape[0] * len(self.models), time.perf_counter() - begin


def time_environment(env: Any, start: dict[str, Any], actions: torch.Tensor) -> tuple[int, float]:
    """Control steps of all worlds, seconds: the recorded actions, finished worlds reset themselves."""
    env.load_snapshot(start)
    begin = _now(env.device)
    for action in actions:
        step = env.advance(action)
        env.restart(step.terminated | step.truncated)
    return actions.shape[0] * env.num_envs, _now(env.device) - begin


def time_inference(env: Any, start: dict[str, Any], policy: Any, steps: int) -> tuple[int, float]:
    """The same with actions sampled from the policy, as while collecting."""
    env.load_snapshot(start)
    observation = env.restart(torch.zeros(env.num_envs, dtype=torch.bool, device=env.device))  # none: just looks
    begin = _now(env.device)
    with single_torch_thread(env.device):
        for _ in range(steps):
            step = env.advance(sample(policy, observation))
            observation = env.restart(step.terminated | step.truncated)
    return steps * env.num_envs, _now(env.device) - begin


class Training:
    """Whole updates of PPO as `train.py` makes them, without its files."""

    def __init__(self, trainer: Trainer, steps: int):
        self.trainer = trainer
        self.updates = max(1, round(steps / trainer.cfg.ppo.num_steps))
        self.learning: list[float] = []  # fraction of each timing that was not collecting
        self.learning_seconds: list[float] = []  # the same, of one control step of one world

    def time(self) -> tuple[int, float]:
        trainer, device = self.trainer, self.trainer.env.device
        # Begun anew: the other columns used the environment.
        trainer.observation = trainer.env.begin()
        collecting, begin = 0.0, _now(device)
        for _ in range(self.updates):
            before = _now(device)
            trainer.collect()
            collecting += _now(device) - before
            trainer.learn()
        seconds, count = _now(device) - begin, self.updates * trainer.stage.steps_per_update
        self.learning.append(1 - collecting / seconds)
        self.learning_seconds.append((seconds - collecting) / count)
        return count, seconds


@torch.no_grad()
def sample(policy: Any, observation: torch.Tensor) -> torch.Tensor:
    """An action drawn from the policy's distribution, (W, nu)."""
    return policy.distribution(observation).sample()


def _tidy() -> None:
    """Gives back what the last setting took, before the next one asks for more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _now(device: torch.device) -> float:
    """Seconds, after the device has finished what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def _used_memory(device: torch.device) -> int:
    """Bytes: on CUDA all that is taken on the device (torch's and Warp's), on a CPU this process's highest so far."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return total - free
    return resident_bytes()


if __name__ == "__main__":
    run_command(main, BenchmarkOptions, __doc__ or "")
