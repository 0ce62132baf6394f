"""The run folder: its name, `config.yaml`, `manifest.json`, and how a run is resumed."""

import dataclasses
import itertools
import json
import platform
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from muscle_torch.config import Config, config_from_dict, config_to_dict, with_overrides
from muscle_torch.config.kinds import to_plain
from muscle_torch.errors import InputError

from .checkpoint import LOG_STD, load_checkpoint
from .files import PARTIAL
from .versions import package_version

LAST = Path("checkpoints") / "last.pt"
MIXING_OPTIONS = ("synergy_mixing", "action_bias")  # of `exploration`, in models/options.py
PACKAGES = (
    "muscle_torch",
    "mujoco",
    "mujoco-warp",
    "musclemimic-models",
    "torch",
    "torchrl",
    "tensordict",
    "warp-lang",
)
# Keys that may change when a run is resumed: its length, location and output; none that affects learning.
RESUMABLE = (
    *(
        "resume",
        "total_steps",
        "max_iterations",
        "stage_steps",
        "device",
        "motion",  # the path may change: the goal compares the contents
        "threads",
        "runs_dir",
        "experiment",
        "check_memory",
    ),
)
WRITTEN = (
    *("log_interval", "save_interval", "keep_checkpoints", "evaluate", "capture_video", "headless"),
    *("validation_interval", "validation_clips", "validation_motion", "keep_videos"),
)


def find_run(cfg: Config, words: Sequence[str]) -> tuple[Config, Path, dict[str, Any] | None]:
    """Resolve `resume=` and `experiment=` to a run.

    A resumed run uses its stored config; only keys for its length, device and output may change.

    Args:
        cfg: The requested config.
        words: Command line arguments, which tell explicit settings from defaults.

    Returns:
        The run's config, its folder, and the checkpoint to resume from (None for a new run).

    Raises:
        InputError: The folder is missing, already contains a run, or has no checkpoint.
    """
    if cfg.resume:
        run_dir = _newest(cfg) if cfg.resume == "auto" else Path(cfg.resume)
        if run_dir is not None:
            return _reopen(cfg, words, run_dir)
    name = cfg.experiment or f"{cfg.task}_{time.strftime('%Y-%m-%d_%H-%M-%S')}"
    run_dir = Path(cfg.runs_dir) / name
    if (run_dir / LAST).exists():
        raise InputError(
            f"{run_dir} already contains a run: resume it with resume={run_dir} (or resume=auto) or choose another "
            "experiment="
        )
    return cfg, run_dir, None


def fine_tuning(cfg: Config, stored: Mapping[str, Any]) -> Config:
    """Return the config of a run that starts from a checkpoint, with its mixing, initial noise and schedule position.

    Raises:
        InputError: The checkpoint's actions have another meaning, or `reset_std` or `schedule_start` is out of range
            or cannot be applied.
    """
    _check_actions(cfg, stored["config"]["actions"])
    cfg = _with_mixing(cfg, stored["config"]["exploration"])
    if cfg.reset_std < 0 or not (cfg.schedule_start == -1 or 0 <= cfg.schedule_start < 1):
        raise InputError("reset_std must be >= 0 and schedule_start in [0, 1) (or -1: as stored in the checkpoint)")
    if cfg.schedule_start == -1:
        if "progress" not in stored:
            raise InputError("schedule_start=-1: this checkpoint does not store its progress; set a fraction in [0, 1)")
        cfg = dataclasses.replace(cfg, schedule_start=min(stored["progress"], 0.999))
    log_std = stored["policy"].get(LOG_STD)
    if log_std is None:
        if cfg.reset_std:
            raise InputError(
                f"reset_std={cfg.reset_std}: the checkpoint's policy has no standard deviation; leave it out"
            )
        return cfg
    std = cfg.reset_std or float(log_std.mean().exp())
    kept = cfg.schedule_start > 0 and not cfg.reset_std  # the continued schedule determines the noise
    return cfg if kept else with_overrides(cfg, exploration={"initial_std": std})


def _check_actions(cfg: Config, stored: Sequence[Mapping[str, Any]]) -> None:
    """Raise InputError if the action spaces of a checkpoint are not those of the config; print other options."""
    before, now = [one["name"] for one in stored], [choice.name for choice in cfg.actions]
    if before != now:
        raise InputError(
            f"checkpoint={cfg.checkpoint} was trained with actions=[{','.join(before)}], but this run has "
            f"actions=[{','.join(now)}], which give its outputs another meaning: use the same actions= for both runs"
        )
    for one, choice in zip(stored, cfg.actions, strict=True):
        for name, value in to_plain(choice.options).items():
            if one.get(name, value) != value:
                key = f"actions.{choice.name}.{name}"
                print(f"note: the checkpoint was trained with {key}={one[name]}, this run has {value}")


def _with_mixing(cfg: Config, stored: Mapping[str, Any]) -> Config:
    """Return the config with a checkpoint's mixing of muscles, which is part of its policy; print what changes."""
    options = to_plain(cfg.exploration.options)
    mixing = {name: stored[name] for name in MIXING_OPTIONS if stored.get(name, options[name]) != options[name]}
    if not mixing:
        return cfg
    words = " ".join(f"exploration.{name}={value}" for name, value in mixing.items())
    print(f"note: {words} as in the checkpoint, whose policy contains it")
    return with_overrides(cfg, exploration=mixing)


def create_run_folder(cfg: Config, run_dir: Path) -> Path:
    """Create the run folder with `config.yaml` and `manifest.json`.

    Call it only after the environment and the policy were built, so that a failed start leaves no folder.

    Args:
        cfg: The config to store.
        run_dir: The folder, of `find_run`.

    Returns:
        `run_dir`, or `run_dir`_2 and so on if another run has taken the default name in the same second.

    Raises:
        InputError: The folder cannot be written.
    """
    try:
        run_dir = run_dir if cfg.experiment else _unique(run_dir)
        for folder in ("checkpoints", "videos", "eval"):
            (run_dir / folder).mkdir(parents=True, exist_ok=True)
        _write(cfg, run_dir)
        return run_dir
    except OSError as error:
        raise InputError(f"cannot write {run_dir}: {error.strerror}; choose another location with runs_dir=") from None


def _unique(run_dir: Path) -> Path:
    """Create and return a folder that no other process has created."""
    for number in itertools.count(1):
        folder = run_dir if number == 1 else run_dir.with_name(f"{run_dir.name}_{number}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            continue
    raise AssertionError("some number is free")


def _reopen(cfg: Config, words: Sequence[str], run_dir: Path) -> tuple[Config, Path, dict[str, Any]]:
    if not run_dir.is_dir():
        raise InputError(f"resume={run_dir}: no such run folder")
    for partial in run_dir.glob(f"checkpoints/.*{PARTIAL}"):  # left by a process killed while saving
        partial.unlink(missing_ok=True)
    state = load_checkpoint(run_dir)
    stored = config_from_dict(state["config"])
    changed = [word.split("=", 1)[0] for word in words]
    if "task" in changed and cfg.task != stored.task:
        raise InputError(f"resume={run_dir} is a run of task={stored.task}, not {cfg.task}")
    stored_values, requested = config_to_dict(stored), config_to_dict(cfg)
    for name in changed:
        # The same command line may start and resume a run: only a different value is rejected.
        same = _value(stored_values, name) == _value(requested, name) or (name, cfg.num_envs) == ("num_envs", "max")
        if name.split(".")[0] not in (*RESUMABLE, *WRITTEN) and not same:
            raise InputError(
                f"{name} is {_value(stored_values, name)!r} in {run_dir} and cannot change when resuming: use "
                f"checkpoint={run_dir} to start a new run from it"
            )
    changes = {name: getattr(cfg, name) for name in changed if name in (*RESUMABLE, *WRITTEN)}
    return dataclasses.replace(stored, **changes), run_dir, state


def _value(values: Any, name: str) -> Any:
    """Return the value of a dotted key; None if it is absent."""
    for part in name.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    return values


def _newest(cfg: Config) -> Path | None:
    """Return the run of `experiment=`, else the task's newest run; None if no run has saved a checkpoint yet."""
    runs = Path(cfg.runs_dir)
    checkpoints = [runs / cfg.experiment / LAST] if cfg.experiment else list(runs.glob(f"{cfg.task}_*/{LAST}"))
    saved = sorted((path for path in checkpoints if path.exists()), key=lambda path: path.stat().st_mtime)
    return saved[-1].parents[1] if saved else None


def _write(cfg: Config, run_dir: Path) -> None:
    OmegaConf.save(OmegaConf.create(config_to_dict(cfg)), run_dir / "config.yaml")
    versions = {name: package_version(name) or "not installed" for name in PACKAGES}
    manifest = {
        "versions": versions | {"python": platform.python_version()},
        "git_commit": _git_commit(),
        "command": [sys.executable, *sys.argv],
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "task": cfg.task,
        "seed": cfg.seed,
    }
    (run_dir / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def _git_commit() -> str:
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return "not a git checkout"
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "no commit"
