"""Check the installation, one line per check, with the remedy: `python tools/doctor.py task=bimanual`.

`ok` needs no action, `note` is informative, `fail` must be fixed as the line describes. The exit code is 1 if a check
fails. `device=cuda num_envs=4096` checks whether such a run would start and fit. Nothing is changed or downloaded.
"""

import dataclasses
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from muscle_torch.config import Config, key, load_config, parse_words, run_command
from muscle_torch.errors import InputError
from muscle_torch.storage.versions import package_version

GIB = 2**30
PINS = Path(__file__).resolve().parents[1] / "requirements.txt"
INSTALL = "pip install -r requirements.txt"
EXTRAS = {
    "viewer": "viser",
    "export": "onnxruntime",
    "faces": "gymnasium",
    "hub": "huggingface_hub",
    "myo-sim": "myo_sim",
}
DISK = 2 * GIB  # enough for checkpoints, logs and a video of one run
COLORS = {"ok": 32, "note": 33, "fail": 31}
# Exceptions that a broken installation may cause; any other is a bug and shown with its traceback.
EXPECTED = (InputError, ImportError, OSError, RuntimeError)


@dataclasses.dataclass(frozen=True)
class DoctorOptions:
    """Options of the program."""

    task: str = key("bimanual", "cfg/task/<task>.yaml")
    embodiment: dict[str, Any] = key({}, "options of the body, such as embodiment.fingers=true")
    num_envs: int = key(0, "number of environments to check memory for; 0: the task's")
    device: str = key("auto", "auto, cpu, cuda or cuda:N")
    runs_dir: str = key("runs", "folder of the run folders")


class Result(NamedTuple):
    """Result of a check."""

    status: str  # ok, note or fail
    text: str  # the finding, followed by a colon and the remedy


def main(words: Sequence[str]) -> int:
    """Run all checks; return 0 if none fails, otherwise 1."""
    options = parse_words(DoctorOptions, words)
    overrides = {name: getattr(options, name) for name in ("embodiment", "device", "runs_dir")}
    overrides |= {"num_envs": options.num_envs} if options.num_envs else {}
    cfg = load_config(options.task, (), **overrides)
    print(f"task {cfg.task}, {cfg.num_envs} environments, device {cfg.device}\n")
    results = []
    for name, check in CHECKS.items():
        results.append(examine(check, cfg))
        print(line(name, results[-1]), flush=True)
    counts = {status: sum(r.status == status for r in results) for status in COLORS}
    print(f"\n{len(results)} checks: {counts['ok']} ok, {counts['note']} notes, {counts['fail']} failed")
    return int(counts["fail"] > 0)


def examine(check: Callable[[Config], Result], cfg: Config) -> Result:
    """Run a check; exceptions of a broken installation become failures with their message."""
    try:
        return check(cfg)
    except EXPECTED as error:
        text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        missing = isinstance(error, ImportError) and not isinstance(error, InputError)
        return Result("fail", f"{text}: run `{INSTALL}`" if missing else text)


def line(name: str, result: Result) -> str:
    """Return the line of a check, colored on a terminal."""
    color = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    status = f"{result.status:4s}"
    status = f"\033[{COLORS[result.status]}m{status}\033[0m" if color else status
    return f"  {status}  {name:15s} {result.text}"


def check_python(cfg: Config) -> Result:
    """Check that the Python version is a tested one."""
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] not in ((3, 11), (3, 12)):
        return Result("note", f"{version} is not tested: use 3.11 or 3.12")
    return Result("ok", version)


def check_packages(cfg: Config) -> Result:
    """Check installed versions against `requirements.txt`, or only the stated bounds if it is not there."""
    text = PINS.read_text(encoding="utf-8") if PINS.exists() else ""
    pins = dict(re.findall(r"^([\w.-]+)==([\w.+-]+)", text, re.MULTILINE))
    needed = {re.split(r"[<>=;!~ \[]", r)[0] for r in metadata.requires("muscle_torch") or () if "extra ==" not in r}
    return compare_versions(pins, {name: package_version(name) for name in sorted(needed | pins.keys())}, needed)


def compare_versions(pins: Mapping[str, str], installed: Mapping[str, str | None], needed: set[str]) -> Result:
    """Compare versions: a missing needed package fails, an untested version is a note; extras may be absent.

    Args:
        pins: Package -> tested version.
        installed: Package -> installed version, None if absent.
        needed: Packages that must be installed.
    """
    missing = sorted(name for name in needed if installed.get(name) is None)
    if missing:
        return Result("fail", f"missing {', '.join(missing)}: run `{INSTALL}`")
    other = {n: v for n, v in installed.items() if v and n in pins and v.split("+")[0] != pins[n].split("+")[0]}
    if other:
        shown = ", ".join(f"{name} {version} (tested {pins[name]})" for name, version in list(other.items())[:4])
        return Result("note", f"{shown}{', ...' if len(other) > 4 else ''}: run `{INSTALL}` for the tested versions")
    return Result("ok", f"{sum(v is not None for v in installed.values())} packages as tested")


def check_mujoco(cfg: Config) -> Result:
    """Check that the installed MuJoCo reproduces the validated muscle lengths, by building the body."""
    import mujoco

    from muscle_torch.embodiments.guard import has_table

    body = _body(cfg)
    lengths = "muscle lengths as validated" if has_table(body) else "no table of muscle lengths to compare with"
    motors = f", {len(body.motor_ids)} motors" if len(body.motor_ids) else ""
    counts = f"{len(body.muscle_ids)} muscles{motors}"
    return Result("ok", f"{mujoco.__version__}: {body.name} {body.model_version}, {counts}, {lengths}")


def check_mirror(cfg: Config) -> Result:
    """Check left against right: masses, ranges, couplings, positions, forces, lengths, moment arms."""
    return judge_mirror(_body(cfg))


def judge_mirror(body: Any) -> Result:
    """Return the result of comparing left and right of a body."""
    from muscle_torch.embodiments.mirror import KNOWN_FAULTS, known, mirror_findings

    findings = mirror_findings(body)
    new = [finding for finding in findings if not known(body, finding)]
    if new:
        return Result("fail", f"{len(new)} differences left to right, first {new[0]}: install musclemimic-models 1.0.6")
    if findings:
        why = "; ".join(KNOWN_FAULTS[body.key][name] for name in sorted({f.name for f in findings}))
        worst = max((f for f in findings if f.kind == "sign"), key=lambda f: f.difference, default=findings[0])
        text = f"known fault of the published model ({why}), e.g. {worst}; otherwise left and right agree"
        return Result("note", text)
    return Result("ok", "left and right agree" if body.left_right else "one-sided body, nothing to compare")


def check_gpu(cfg: Config) -> Result:
    """Check GPU, driver and the CUDA build of torch."""
    import torch

    driver = _driver()
    if torch.cuda.is_available():
        from muscle_torch.physics import resolve_device

        device = resolve_device("cuda" if cfg.device == "auto" else cfg.device)
        if device.type == "cpu":
            return Result("note", "device=cpu although there is a GPU: remove device= to use it")
        name, (major, minor) = torch.cuda.get_device_name(device), torch.cuda.get_device_capability(device)
        return Result("ok", f"{name}, sm_{major}{minor}, driver {driver or '?'}, torch for CUDA {torch.version.cuda}")
    if driver and torch.version.cuda is None:
        return Result(
            "fail", f"driver {driver}, but torch {torch.__version__} is the CPU build: install the CUDA build"
        )
    if driver:
        return Result("fail", f"driver {driver} is too old for torch's CUDA {torch.version.cuda}: update the driver")
    if cfg.device.startswith("cuda"):
        return Result("fail", f"device={cfg.device} but there is no NVIDIA driver: install it, or use device=cpu")
    return Result("note", "no NVIDIA GPU: physics runs on CPU threads")


def check_graph(cfg: Config) -> Result:
    """Check that CUDA graphs can be captured and replayed."""
    import torch

    if cfg.device == "cpu" or not torch.cuda.is_available():
        return Result("note", "skipped without a GPU: the CPU does not use graphs")
    return replay(cfg.device)


def replay(device: str) -> Result:
    """Step a toy arm with the real backend through a captured graph: with the flexor active, the elbow must bend."""
    import torch

    from muscle_torch.embodiments import make_embodiment
    from muscle_torch.physics import make_physics

    physics = make_physics(make_embodiment("toy_arm").model, 4, device, "warp")
    try:
        for _ in range(20):
            physics.step(torch.tensor([[1.0, 0.0]]).expand(4, 2).to(physics.device), 5)
        if bool(physics.bad_worlds().any()) or not bool((physics.field("qpos") > 0.1).all()):
            return Result("fail", "a replayed graph returns wrong numbers: update the NVIDIA driver")
    finally:
        physics.close()
    return Result("ok", "one control step captured and replayed")


def check_memory(cfg: Config) -> Result:
    """Check that the training fits into memory."""
    import torch

    from muscle_torch.physics.memory import FILL, free_memory

    on_gpu = cfg.device != "cpu" and torch.cuda.is_available()
    free = free_memory(torch.device("cuda" if on_gpu else "cpu"))
    memory = training_memory(cfg, on_gpu)
    text = memory.line(cfg.num_envs, free).removeprefix("memory: ")
    if free is None:
        return Result("note", f"{text}; free memory is unknown on this system")
    if memory.total(cfg.num_envs) > 0.9 * free:
        return Result("fail", f"{text}: use num_envs={memory.most(int(FILL * free))}")
    return Result("ok", text)


def training_memory(cfg: Config, on_gpu: bool) -> Any:
    """Return the memory estimate that training starts with."""
    from muscle_torch.envs import make_env
    from muscle_torch.models import make_policy
    from muscle_torch.physics.memory import estimate
    from muscle_torch.rl import rows_at_once

    env = make_env(cfg, 1, "cpu", backend="mujoco", threads=1)
    try:
        policy = make_policy(cfg.policy, env, cfg.exploration)
        return estimate(env, policy, cfg, on_gpu, rows_at_once(env.observation_size))
    finally:
        env.close()


def check_kernels(cfg: Config) -> Result:
    """Check Warp's cache of compiled kernels."""
    folder = Path(_warp().config.kernel_cache_dir)
    if not os.access(folder, os.W_OK):
        return Result("fail", f"{folder} is not writable: set WARP_CACHE_PATH to a writable folder")
    files = [path for path in folder.rglob("*") if path.is_file()]
    if not files:
        return Result("note", f"{folder} is empty: the first run on a GPU compiles for several minutes")
    return Result("ok", f"{sum(p.stat().st_size for p in files) / 2**20:.0f} MiB compiled in {folder}")


def check_rendering(cfg: Config) -> Result:
    """Check that OpenGL can render off-screen."""
    from muscle_torch.rendering.scene import choose_gl

    return Result("ok", f"MUJOCO_GL={choose_gl()} renders off-screen")


def check_disk(cfg: Config) -> Result:
    """Check that there is disk space for a run."""
    return judge_disk(Path(cfg.runs_dir))


def judge_disk(folder: Path, needed: int = DISK) -> Result:
    """Return whether `folder` is writable with `needed` bytes free."""
    folder = folder.resolve()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if not os.access(existing, os.W_OK):
        return Result("fail", f"{existing} is not writable: choose another runs_dir=")
    if free < needed:
        return Result(
            "fail", f"{free / GIB:.1f} GiB free for {folder}: free up {needed / GIB:.0f} GiB, or set another runs_dir="
        )
    return Result("ok", f"{free / GIB:.0f} GiB free for {folder}")


def check_extras(cfg: Config) -> Result:
    """Report which optional extras are installed."""
    absent = [extra for extra, module in EXTRAS.items() if importlib.util.find_spec(module) is None]
    if absent:
        return Result("note", f"not installed: {', '.join(absent)}: `pip install 'muscle_torch[{','.join(absent)}]'`")
    return Result("ok", ", ".join(EXTRAS))


CHECKS: dict[str, Callable[[Config], Result]] = {
    "python": check_python,
    "packages": check_packages,
    "extras": check_extras,
    "mujoco": check_mujoco,
    "left and right": check_mirror,
    "gpu": check_gpu,
    "graph capture": check_graph,
    "memory": check_memory,
    "kernel cache": check_kernels,
    "rendering": check_rendering,
    "disk": check_disk,
}


def _body(cfg: Config) -> Any:
    from muscle_torch.embodiments import configured_embodiment

    return configured_embodiment(cfg)


def _warp() -> Any:
    """Return Warp, initialized; its native library's message about a missing driver, which `gpu` reports, is hidden."""
    import warp as wp

    wp.config.log_level = max(wp.config.log_level, wp.LOG_ERROR)
    stderr, devnull = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(devnull, 2)
        wp.init()
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(devnull)
    return wp


def _driver() -> str | None:
    """Return the version of the NVIDIA driver; None if there is none."""
    if shutil.which("nvidia-smi") is None:
        return None
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout.split("\n")[0].strip() or None if done.returncode == 0 else None


if __name__ == "__main__":
    run_command(main, DoctorOptions, __doc__ or "")
