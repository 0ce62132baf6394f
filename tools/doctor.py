"""Is everything here as it must be? One line a check, with the remedy. `python tools/doctor.py task=bimanual`.

`ok` needs nothing, `note` is worth knowing, `fail` will hurt: the line says what to do. The exit code is 1 where a
check fails. `device=cuda num_envs=4096` asks whether that would run and fit. Nothing is changed or downloaded.
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
EXTRAS = {"viewer": "viser", "export": "onnxruntime", "faces": "gymnasium", "hub": "huggingface_hub"}
DISK = 2 * GIB  # checkpoints, logs and a video of one run, with room to spare
COLOURS = {"ok": 32, "note": 33, "fail": 31}
# What a check may meet on a broken installation; anything else is a bug of ours and shows itself.
EXPECTED = (InputError, ImportError, OSError, RuntimeError)


@dataclasses.dataclass(frozen=True)
class DoctorOptions:
    task: str = key("bimanual", "cfg/task/<task>.yaml")
    embodiment: dict[str, Any] = key({}, "options of the body, such as embodiment.fingers=true")
    num_envs: int = key(0, "worlds to make room for; 0: the task's")
    device: str = key("auto", "auto, cpu, cuda or cuda:N")
    runs_dir: str = key("runs", "where run folders would go")


class Result(NamedTuple):
    status: str  # ok, note or fail
    text: str  # what was found, and after a colon what to do


def main(words: Sequence[str]) -> int:
    """Runs every check; 0 where none fails, 1 where one does."""
    options = parse_words(DoctorOptions, words)
    given = {name: getattr(options, name) for name in ("embodiment", "device", "runs_dir")}
    given |= {"num_envs": options.num_envs} if options.num_envs else {}
    cfg = load_config(options.task, (), **given)
    print(f"task {cfg.task}, {cfg.num_envs} worlds, device {cfg.device}\n")
    results = []
    for name, check in CHECKS.items():
        results.append(examine(check, cfg))
        print(line(name, results[-1]), flush=True)
    counts = {status: sum(r.status == status for r in results) for status in COLOURS}
    print(f"\n{len(results)} checks: {counts['ok']} ok, {counts['note']} to note, {counts['fail']} failed")
    return int(counts["fail"] > 0)


def examine(check: Callable[[Config], Result], cfg: Config) -> Result:
    """The check's result; what a broken installation throws becomes a failure with its own words."""
    try:
        return check(cfg)
    except EXPECTED as error:
        text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        missing = isinstance(error, ImportError) and not isinstance(error, InputError)
        return Result("fail", f"{text}: run `{INSTALL}`" if missing else text)


def line(name: str, result: Result) -> str:
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    status = f"{result.status:4s}"
    status = f"\033[{COLOURS[result.status]}m{status}\033[0m" if colour else status
    return f"  {status}  {name:15s} {result.text}"


def check_python(cfg: Config) -> Result:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] not in ((3, 11), (3, 12)):
        return Result("note", f"{version}: tested are 3.11 and 3.12")
    return Result("ok", version)


def check_packages(cfg: Config) -> Result:
    """Against the tested set, `requirements.txt`; a copy installed elsewhere only against the stated bounds."""
    text = PINS.read_text(encoding="utf-8") if PINS.exists() else ""
    pins = dict(re.findall(r"^([\w.-]+)==([\w.+-]+)", text, re.MULTILINE))
    needed = {re.split(r"[<>=;!~ \[]", r)[0] for r in metadata.requires("muscle_torch") or () if "extra ==" not in r}
    return compare_versions(pins, {name: package_version(name) for name in sorted(needed | pins.keys())}, needed)


def compare_versions(pins: Mapping[str, str], installed: Mapping[str, str | None], needed: set[str]) -> Result:
    """fail: a needed package is missing. note: versions are others than the tested ones. Extras may be absent."""
    missing = sorted(name for name in needed if installed.get(name) is None)
    if missing:
        return Result("fail", f"missing {', '.join(missing)}: run `{INSTALL}`")
    other = {n: v for n, v in installed.items() if v and n in pins and v.split("+")[0] != pins[n].split("+")[0]}
    if other:
        shown = ", ".join(f"{name} {version} (tested {pins[name]})" for name, version in list(other.items())[:4])
        return Result("note", f"{shown}{', ...' if len(other) > 4 else ''}: `{INSTALL}` gives the tested set")
    return Result("ok", f"{sum(v is not None for v in installed.values())} packages as tested")


def check_mujoco(cfg: Config) -> Result:
    """The guard that every body passes when it is made."""
    import mujoco

    from muscle_torch.embodiments.guard import has_table

    body = _body(cfg)
    lengths = "muscle lengths as validated" if has_table(body) else "no table of muscle lengths to compare with"
    motors = f", {len(body.motor_ids)} motors" if len(body.motor_ids) else ""
    counts = f"{len(body.muscle_ids)} muscles{motors}"
    return Result("ok", f"{mujoco.__version__}: {body.name} {body.model_version}, {counts}, {lengths}")


def check_mirror(cfg: Config) -> Result:
    """`muscle_torch.embodiments.mirror`: masses, ranges, couplings, positions, forces, lengths, moment arms."""
    return judge_mirror(_body(cfg))


def judge_mirror(body: Any) -> Result:
    from muscle_torch.embodiments.mirror import KNOWN_FAULTS, known, mirror_findings

    found = mirror_findings(body)
    new = [finding for finding in found if not known(body, finding)]
    if new:
        return Result("fail", f"{len(new)} differences left to right, first {new[0]}: install musclemimic-models 1.0.6")
    if found:
        why = "; ".join(KNOWN_FAULTS[body.key][name] for name in sorted({f.name for f in found}))
        worst = max((f for f in found if f.kind == "sign"), key=lambda f: f.difference, default=found[0])
        text = f"a fault of the published model ({why}), e.g. {worst}; otherwise left and right agree"
        return Result("note", text)
    return Result("ok", "left and right agree" if body.left_right else "one-sided body, nothing to compare")


def check_gpu(cfg: Config) -> Result:
    import torch

    driver = _driver()
    if torch.cuda.is_available():
        from muscle_torch.physics import resolve_device

        device = resolve_device("cuda" if cfg.device == "auto" else cfg.device)
        if device.type == "cpu":
            return Result("note", "device=cpu although there is a GPU: leave device= away to use it")
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
    return Result("note", "no NVIDIA GPU: physics runs on the CPU's threads")


def check_graph(cfg: Config) -> Result:
    import torch

    if cfg.device == "cpu" or not torch.cuda.is_available():
        return Result("note", "not tried without a GPU: the CPU steps without graphs")
    return replay(cfg.device)


def replay(device: str) -> Result:
    """One control step of a toy arm through the real backend, captured and replayed: flexed, the elbow bends."""
    import torch

    from muscle_torch.embodiments import make_embodiment
    from muscle_torch.physics import make_physics

    physics = make_physics(make_embodiment("toy_arm").model, 4, device, "warp")
    try:
        for _ in range(20):
            physics.step(torch.tensor([[1.0, 0.0]]).expand(4, 2).to(physics.device), 5)
        if bool(physics.bad_worlds().any()) or not bool((physics.field("qpos") > 0.1).all()):
            return Result("fail", "a replayed graph gives wrong numbers: update the NVIDIA driver")
    finally:
        physics.close()
    return Result("ok", "one control step captured and replayed")


def check_memory(cfg: Config) -> Result:
    import torch

    from muscle_torch.physics.memory import FILL, free_memory

    on_gpu = cfg.device != "cpu" and torch.cuda.is_available()
    free = free_memory(torch.device("cuda" if on_gpu else "cpu"))
    memory = training_memory(cfg, on_gpu)
    text = memory.line(cfg.num_envs, free).removeprefix("memory: ")
    if free is None:
        return Result("note", f"{text}; free memory is not known here")
    if memory.total(cfg.num_envs) > 0.9 * free:
        return Result("fail", f"{text}: use num_envs={memory.most(int(FILL * free))}")
    return Result("ok", text)


def training_memory(cfg: Config, on_gpu: bool) -> Any:
    """The estimate that training itself begins with."""
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
    folder = Path(_warp().config.kernel_cache_dir)
    if not os.access(folder, os.W_OK):
        return Result("fail", f"{folder} cannot be written: set WARP_CACHE_PATH to a folder of yours")
    files = [path for path in folder.rglob("*") if path.is_file()]
    if not files:
        return Result("note", f"{folder} is empty: the first run on a GPU compiles for some minutes")
    return Result("ok", f"{sum(p.stat().st_size for p in files) / 2**20:.0f} MiB compiled in {folder}")


def check_rendering(cfg: Config) -> Result:
    from muscle_torch.rendering.scene import choose_gl

    return Result("ok", f"MUJOCO_GL={choose_gl()} draws without a screen")


def check_disk(cfg: Config) -> Result:
    return judge_disk(Path(cfg.runs_dir))


def judge_disk(folder: Path, needed: int = DISK) -> Result:
    folder = folder.resolve()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free
    if not os.access(there, os.W_OK):
        return Result("fail", f"{there} cannot be written: choose another runs_dir=")
    if free < needed:
        return Result("fail", f"{free / GIB:.1f} GiB free for {folder}: free {needed / GIB:.0f} GiB, or move runs_dir=")
    return Result("ok", f"{free / GIB:.0f} GiB free for {folder}")


def check_extras(cfg: Config) -> Result:
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
    """Warp, initialised; its native library tells stderr that there is no driver, which `gpu` has said already."""
    import warp as wp

    wp.config.log_level = max(wp.config.log_level, wp.LOG_ERROR)
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        wp.init()
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
    return wp


def _driver() -> str | None:
    """Version of the NVIDIA driver; None where there is none."""
    if shutil.which("nvidia-smi") is None:
        return None
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    asked = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return asked.stdout.split("\n")[0].strip() or None if asked.returncode == 0 else None


if __name__ == "__main__":
    run_command(main, DoctorOptions, __doc__ or "")
