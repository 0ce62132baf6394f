"""Measure speed in control steps per second: environment, inference and learning; on a CPU also plain MuJoCo C.

`python tools/benchmark.py task=bimanual num_envs=[256,1024] output=speed.json plot=speed.png`. All keys of train.py are
accepted. task, preset, policy, precision and num_envs take lists, and every combination is measured; one that fails,
usually for lack of memory, is reported and skipped.
`cases=true` also measures the physics alone under other solver limits and buffer sizes, and the host's launches.
`compare=[old.json,new.json]` only prints the ratios of two result files.

Every column is timed `repeats` times; the columns alternate, so that other load affects all of them equally. Medians
are reported, and the output file contains every timing. Environment, inference and plain MuJoCo start each repeat from
the same stored state. Plain MuJoCo (`mujoco.rollout`, one call per control step) gets the states and controls of the
environment's worlds, so it computes the same physics: `env / raw` shows the cost of observations, rewards and resets.
The parts of a control step, and the stages of its physics from the recorded states, are timed separately.
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
    """Options of the benchmark, besides the keys of train.py."""

    task: Any = key("bimanual", "cfg/task/<task>.yaml, or a list")
    preset: Any = key("", "cfg/preset/<preset>.yaml to apply, or a list; empty: none")
    num_envs: Any = key(0, "number of environments, or a list [512,1024]; 0: the task's")
    policy: Any = key("", "policy of the inference and learning columns, or a list; empty: the task's")
    precision: Any = key("", "precision of the networks (float32, tf32, bf16), or a list; empty: the task's")
    device: str = key("auto", "auto, cpu, cuda or cuda:N")
    backend: str = key("auto", "physics: auto (warp on CUDA, mujoco on a CPU), warp or mujoco")
    threads: int = key(0, "physics threads on a CPU; 0: all cores")
    steps: int = key(100, "length of one timing", "control steps per environment")
    repeats: int = key(5, "number of timings of each column")
    output: str = key("", "JSON file to write the results to")
    plot: str = key("", "PNG file to plot the results to")
    cases: bool = key(
        False, "also measure the physics alone under other solver limits and buffers, and gaps between launches"
    )
    compare: list[str] = key([], "two result files: only print their ratios")


OPTIONS = ("steps", "repeats", "output", "plot", "cases", "compare")
SWEPT = ("task", "preset", "policy", "precision", "num_envs")


@dataclasses.dataclass(frozen=True)
class Recording:
    """Trajectory of the environment's worlds, which plain MuJoCo repeats; float64 (steps, W, ...).

    On a GPU only the actions are recorded.

    Attributes:
        actions: Actions of the policy, (steps, W, actions).
        state: mjSTATE_FULLPHYSICS before each control step.
        warmstart: qacc_warmstart before each control step.
        control: Controls of each control step, (steps, W, nu).
    """

    actions: torch.Tensor
    state: np.ndarray
    warmstart: np.ndarray
    control: np.ndarray


def main(words: Sequence[str]) -> int:
    """Run the benchmark; return the exit code."""
    options = parse_words(BenchmarkOptions, [w for w in words if w.split("=", 1)[0] in (*OPTIONS, *SWEPT)])
    if options.compare:
        if len(options.compare) != 2:
            raise InputError(f"compare={options.compare}: two files are needed, compare=[old.json,new.json]")
        print(compared(*(read_results(path) for path in options.compare)))
        return 0
    if options.steps < 1 or options.repeats < 1:
        raise InputError(f"steps={options.steps} repeats={options.repeats}: both must be at least 1")
    fixed = [w for w in words if w.split("=", 1)[0] not in (*OPTIONS, *SWEPT)]
    settings = [load_config(words=[*fixed, *swept]) for swept in combinations(options)]
    results = []
    for cfg in settings:
        try:
            with oom_as_input_error(cfg, int(cfg.num_envs)):
                results.append(benchmark(cfg, options.steps, options.repeats, options.cases))
        except InputError as error:
            if len(settings) == 1:
                raise
            print(f"skipped: {cfg.task}, {cfg.num_envs} worlds: {error}", file=sys.stderr)
            continue
        finally:
            _release_memory()
        print(table(results[-1]), flush=True)
        if options.output:  # after each setting, so that a later failure cannot lose it
            write_evaluation(Path(options.output), results[0] if len(settings) == 1 else {"results": results})
    if not results:
        raise InputError("none of the settings could be measured: the lines above name the reasons")
    if options.output:
        print(f"written to {options.output}")
    if options.plot:
        plot(results, Path(options.plot))
        print(f"plotted to {options.plot}")
    return 0


def combinations(options: BenchmarkOptions) -> list[list[str]]:
    """Return the arguments of every requested setting, fewest environments first."""
    lists = []
    for name in SWEPT:
        requested = getattr(options, name)
        values = requested if isinstance(requested, list) else [requested]
        if name == "num_envs":
            if any(isinstance(n, bool) or not isinstance(n, int) or n < 0 for n in values):
                raise InputError(f"num_envs={requested}: a number or a list such as [512,1024] is needed")
            values = sorted(values)
        arguments = [f"{name}={str(value).lower() if isinstance(value, bool) else value}" for value in values]
        # Empty values select the task's setting.
        empty = [value == "" or (name == "num_envs" and value == 0) for value in values]
        lists.append([[] if unset else [word] for unset, word in zip(empty, arguments, strict=True)])
    return [[word for part in setting for word in part] for setting in itertools.product(*lists)]


def benchmark(cfg: Config, steps: int, repeats: int, cases: bool = False) -> dict[str, Any]:
    """Measure one setting.

    Args:
        cfg: The setting.
        steps: Control steps per environment of a timing.
        repeats: Number of timings of each column.
        cases: Whether to measure the physics under other options, and launch gaps.

    Returns:
        Results in the format of the benchmark file; speeds in control steps per second of all environments.
    """
    device = resolve_device(cfg.device)
    used_before = _used_memory(device) if device.type == "cuda" else 0
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
    memory = _used_memory(env.device) - used_before
    stages = physics_stages(env, recording, start)
    extra = {}
    if cases:
        extra["launch_gaps"] = launch_gaps(env, start, recording.actions)
        extra["physics_cases"] = physics_cases(env, cfg, steps, repeats)
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
        **extra,
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
    """Return the steps per second of every column in each repeat.

    Args:
        columns: Name -> function that returns the number of control steps and their time [s].
        repeats: Number of timings; the columns alternate.
    """
    samples: dict[str, list[float]] = {name: [] for name in columns}
    for timing in columns.values():
        timing()  # compilation, caches, CUDA graphs
    for _ in range(repeats):
        for name, timing in columns.items():
            count, seconds = timing()
            samples[name].append(count / seconds)
    return samples


def record(env: Any, policy: Any, steps: int) -> Recording:
    """Record the trajectory of all worlds while the policy acts.

    Args:
        env: Environment, which is reset.
        policy: Policy whose actions are sampled.
        steps: Number of control steps.
    """
    physics = env.device.type == "cpu"
    observation = env.begin()
    actions: list[torch.Tensor] = []
    recorded: dict[str, list[torch.Tensor]] = {"state": [], "warmstart": [], "control": []}
    for _ in range(steps):
        if physics:
            fields = [env.physics.field(name) for name in ("time", "qpos", "qvel", "act")]
            recorded["state"].append(torch.cat([f.reshape(env.num_envs, -1) for f in fields], dim=1).double())
            recorded["warmstart"].append(env.physics.field("qacc_warmstart").double())
        actions.append(sample(policy, observation))
        step = env.advance(actions[-1])
        if physics:
            recorded["control"].append(env.physics.field("ctrl").double())
        observation = env.restart(step.terminated | step.truncated)
    arrays = [torch.stack(values).numpy() if values else np.empty(0) for values in recorded.values()]
    return Recording(torch.stack(actions), *arrays)


class RawRollout:
    """Plain MuJoCo C on the recorded states: one `mujoco.rollout` call per control step, with preallocated buffers."""

    def __init__(self, env: Any, recording: Recording, threads: int):
        """Allocate the buffers.

        Args:
            env: Environment whose model and substeps are used.
            recording: States and controls.
            threads: Number of threads.
        """
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
        """Return the number of control steps of all worlds and their time [s]."""
        begin = time.perf_counter()
        for state, warmstart, control in zip(self.recording.state, self.recording.warmstart, self.control, strict=True):
            # The fastest call: no checks, no allocation.
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
    """Return the number of control steps of all worlds and their time [s], with recorded actions and with resets.

    Args:
        env: Environment.
        start: Snapshot to begin from.
        actions: Recorded actions, (steps, W, actions).
    """
    env.load_snapshot(start)
    begin = _now(env.device)
    for action in actions:
        step = env.advance(action)
        env.restart(step.terminated | step.truncated)
    return actions.shape[0] * env.num_envs, _now(env.device) - begin


def time_inference(env: Any, start: dict[str, Any], policy: Any, steps: int) -> tuple[int, float]:
    """Return the number of control steps of all worlds and their time [s], with actions sampled from the policy.

    Args:
        env: Environment.
        start: Snapshot to begin from.
        policy: Policy whose actions are sampled.
        steps: Control steps per environment.
    """
    env.load_snapshot(start)
    observation = env.restart(torch.zeros(env.num_envs, dtype=torch.bool, device=env.device))  # resets none
    begin = _now(env.device)
    with single_torch_thread(env.device):
        for _ in range(steps):
            step = env.advance(sample(policy, observation))
            observation = env.restart(step.terminated | step.truncated)
    return steps * env.num_envs, _now(env.device) - begin


class Training:
    """Complete PPO updates as in `train.py`, without writing files.

    Attributes:
        learning: Fraction of each timing that was not spent collecting.
        learning_seconds: The same time, per control step of one environment [s].
    """

    def __init__(self, trainer: Trainer, steps: int):
        self.trainer = trainer
        self.updates = max(1, round(steps / trainer.cfg.ppo.num_steps))
        self.learning: list[float] = []
        self.learning_seconds: list[float] = []

    def time(self) -> tuple[int, float]:
        """Return the number of control steps of all environments and their time [s]."""
        trainer, device = self.trainer, self.trainer.env.device
        # Reset, because the other columns used the environment.
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
    """Return actions sampled from the policy's distribution, (W, actions)."""
    return policy.distribution(observation).sample()


def _release_memory() -> None:
    """Release the memory of the last setting before the next one is measured."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _now(device: torch.device) -> float:
    """Return the time [s] after the device has finished its queue."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def _used_memory(device: torch.device) -> int:
    """Return bytes: on CUDA all memory in use on the device, on a CPU the peak of this process."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return total - free
    return resident_bytes()


if __name__ == "__main__":
    run_command(main, BenchmarkOptions, __doc__ or "")
