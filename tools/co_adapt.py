"""Train an impaired human and an exoskeleton in turn, and compare assistance: a study from one YAML file, resumable.

`python tools/co_adapt.py plan=examples/toy_exo.yaml runs_dir=runs/toy_exo`. Run the same command again to continue.
"""

import dataclasses
import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from muscle_torch.config import config_to_dict, key, load_config, parse_words, run_command
from muscle_torch.errors import InputError
from muscle_torch.storage.files import write_atomically

ROOT = Path(__file__).resolve().parents[1]
STATE, LEARNED, BASELINE = "co_adapt.json", "learned", "zero"
STOPPED = 75  # exit code of a run that was stopped and saved
HUMAN_PRESET, DEVICE_PRESET, PERSONALISED = "exo_deficit", "exo_device", "exo_personalised"
COMPARED = {  # metrics of the comparison: key in the evaluation file -> (label, factor, unit)
    "metabolic": ("metabolic proxy", 1e3, "1/1000"),
    "err_joint_pos": ("joint angle error", 57.29578, "deg"),
    "device_torque": ("mean torque of a motor", 1.0, "N m"),
    "success_rate": ("followed to the end", 100.0, "%"),
}


@dataclasses.dataclass(frozen=True)
class CoAdaptOptions:
    """Options of the program; all but the first two may stand in the plan."""

    plan: str = key("", "YAML file with the keys below")
    runs_dir: str = key("runs/co_adapt", "folder of the runs, the state and the comparison")
    task: str = key("legs_exo", "task of all runs")
    seeds: list[int] = key([0], "one study for each seed; comparisons are paired by seed")
    words: list[str] = key([], "arguments of every run")
    speeds: list[float] = key([], "walk at these speeds: the built-in walk, faster or slower", "m/s")
    able: list[str] = key([], "arguments of stage A, the able-bodied human")
    deficit: list[str] = key([], "arguments of stage B, the weak human: deficit=hemiparesis_r, ...; empty: none")
    device: list[str] = key([], "arguments of stage C, the device beside the frozen human")
    human: list[str] = key([], "arguments of the human's turns after that, beside the frozen device")
    alternations: int = key(0, "turns of human and device after stage C")
    personalised: bool = key(False, "the device observes the strength of the muscle groups")
    conditions: dict[str, list[str]] = key(
        {"zero": ["assistance=zero"], "profile": ["assistance=profile"]},
        "conditions to compare with the learned device: name: arguments of tools/evaluate.py",
    )


class SubRun(NamedTuple):
    """One run of train.py."""

    name: str
    words: list[str]


class Study(NamedTuple):
    """Runs of one seed, and which of them are compared."""

    runs: list[SubRun]
    human: str
    device: str


def main(words: Sequence[str]) -> int:
    """Run or continue a study; return the exit code."""
    options = read_options(words)
    folder = Path(options.runs_dir).absolute()
    state = _load_state(folder / STATE, options)
    motion = _write_walks(options, folder / "motions")
    for seed in options.seeds:
        study = plan_study(options, seed, folder, motion)
        for run in study.runs:
            if run.name in state["done"]:
                print(f"{run.name}: done")
                continue
            print(f"{run.name}: train.py {' '.join(run.words)}", flush=True)
            code = _call("train.py", [*run.words, f"experiment={run.name}", f"runs_dir={folder}", "resume=auto"])
            if code == STOPPED:
                print(f"stopped; continue with the same command (state in {folder / STATE})")
                return code
            if code:
                raise InputError(f"{run.name} failed with exit code {code}; see its message above")
            state["done"].append(run.name)
            _write_json(folder / STATE, state)
        _evaluate(options, seed, study, folder)
    rows = compare(options, folder)
    _write_json(folder / "comparison.json", {"comparison": rows})
    print(_table(rows))
    print(f"written to {folder / 'comparison.json'}")
    return 0


def read_options(words: Sequence[str]) -> CoAdaptOptions:
    """Return the options: defaults, the plan, the command line.

    Raises:
        InputError: The plan cannot be read, or an option is unknown or out of range.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    options = parse_words(CoAdaptOptions, words)
    if options.plan:
        if not Path(options.plan).is_file():
            raise InputError(f"plan={options.plan}: no such file")
        try:
            values = OmegaConf.to_container(OmegaConf.load(options.plan))
        except (OmegaConfBaseException, YAMLError, UnicodeDecodeError) as error:
            raise InputError(f"plan={options.plan}: cannot read it: {str(error).splitlines()[0]}") from None
        if not isinstance(values, dict):
            raise InputError(f"plan={options.plan}: write keys such as task, able, deficit, device")
        planned = [f"{name}={json.dumps(value)}" for name, value in values.items()]
        options = parse_words(CoAdaptOptions, [*planned, *words])
    if not options.seeds or options.alternations < 0:
        raise InputError("list at least one seed, and set alternations to 0 or more")
    if LEARNED in options.conditions:
        raise InputError(f"conditions: {LEARNED!r} is the learned device itself; choose another name")
    return options


def plan_study(options: CoAdaptOptions, seed: int, folder: Path, motion: Sequence[str] = ()) -> Study:
    """Return the runs of one seed in order: able, weak, device, then human and device in turn.

    Args:
        options: The study.
        seed: Its seed.
        folder: Where the runs lie, absolute.
        motion: Arguments that choose the motions.
    """
    shared = [f"task={options.task}", f"seed={seed}", *motion, *options.words]
    human = f"able_{seed}"
    runs = [SubRun(human, [*shared, *options.able])]
    weak: list[str] = []
    if options.deficit:
        words = [*shared, f"preset={HUMAN_PRESET}", *options.deficit]
        weak = [f"deficit={json.dumps(config_to_dict(load_config(words=words))['deficit'])}"]
        runs.append(SubRun(f"weak_{seed}", [*words, f"checkpoint={folder / human}"]))
        human = f"weak_{seed}"
    profile = [f"observation.profile={PERSONALISED}"] if options.personalised else []
    shared_device = [*shared, f"preset={DEVICE_PRESET}", *profile, *weak, *options.device]
    device = f"device_{seed}"
    runs.append(SubRun(device, [*shared_device, f"partner={folder / human}"]))
    for turn in range(1, options.alternations + 1):
        start, human = human, f"human_{seed}_{turn}"
        recipe = [f"preset={HUMAN_PRESET}"] if weak else []
        words = [
            *shared,
            *recipe,
            *weak,
            *options.human,
            f"checkpoint={folder / start}",
            f"assistance={folder / device}",
        ]
        runs.append(SubRun(human, words))
        start, device = device, f"device_{seed}_{turn}"
        words = [*shared_device, f"checkpoint={folder / start}", f"partner={folder / human}"]
        runs.append(SubRun(device, words))
    return Study(runs, human, device)


def compare(options: CoAdaptOptions, folder: Path) -> list[dict[str, Any]]:
    """Return mean and 95 % interval over seeds of every condition's metrics, and of its reduction against zero.

    Intervals are of Student's t; the reduction is paired by seed, in % of the seed's own zero condition. With one seed
    there are no intervals.
    """
    values = {
        name: [json.loads(_metrics_file(folder, seed, name).read_text(encoding="utf-8")) for seed in options.seeds]
        for name in (*options.conditions, LEARNED)
    }
    rows = []
    for name, files in values.items():
        row: dict[str, Any] = {"condition": name, "seeds": len(files)}
        for metric in COMPARED:
            numbers = [file.get(metric) for file in files]
            if None not in numbers:
                row[metric] = _interval(numbers)
        base = [file["metabolic"] for file in values.get(BASELINE, [])]
        if base and name != BASELINE:
            pairs = zip(base, files, strict=True)
            row["reduction"] = _interval([100 * (1 - file["metabolic"] / zero) for zero, file in pairs])
        rows.append(row)
    return rows


def _interval(numbers: Sequence[float]) -> dict[str, Any]:
    import numpy as np
    from scipy.stats import t

    mean, count = float(np.mean(numbers)), len(numbers)
    if count < 2:
        return {"mean": mean}
    half = float(t.ppf(0.975, count - 1) * np.std(numbers, ddof=1) / count**0.5)
    return {"mean": mean, "low": mean - half, "high": mean + half}


def _table(rows: Sequence[dict[str, Any]]) -> str:
    lines = []
    for row in rows:
        cells = [
            f"{label} {_shown(row[metric], factor)} {unit}"
            for metric, (label, factor, unit) in COMPARED.items()
            if metric in row
        ]
        cells += [f"reduction of the proxy {_shown(row['reduction'], 1.0)} %"] if "reduction" in row else []
        lines.append(f"{row['condition']:12s} " + "; ".join(cells))
    return "\n".join(lines)


def _shown(value: dict[str, float], factor: float) -> str:
    text = f"{factor * value['mean']:.3g}"
    return text + (f" ({factor * value['low']:.3g} to {factor * value['high']:.3g})" if "low" in value else "")


def _evaluate(options: CoAdaptOptions, seed: int, study: Study, folder: Path) -> None:
    """Write the evaluation files of the conditions that do not exist yet."""
    learned = {LEARNED: [f"assistance={folder / study.device}"]}
    for name, words in (options.conditions | learned).items():
        path = _metrics_file(folder, seed, name)
        if path.is_file():
            continue
        words = [f"checkpoint={folder / study.human}", *words, f"output={path}", "distances=false"]
        code = _call("tools/evaluate.py", words)
        if code:
            raise InputError(f"condition {name} failed with exit code {code}; see its message above")


def _metrics_file(folder: Path, seed: int, condition: str) -> Path:
    return folder / "conditions" / f"{condition}_{seed}.json"


def _write_walks(options: CoAdaptOptions, folder: Path) -> list[str]:
    """Write the built-in walk at the requested speeds; return the argument that chooses the files."""
    if not options.speeds:
        return []
    from muscle_torch.embodiments import configured_embodiment
    from muscle_torch.motion import generate

    if min(options.speeds) <= 0:
        raise InputError(f"speeds={options.speeds}: write speeds above 0 m/s")
    paths = [folder / f"walk_{speed:g}.npz" for speed in options.speeds]
    if not all(path.is_file() for path in paths):
        clip = generate("walk", configured_embodiment(load_config(options.task)))[0]
        distance = clip.qpos[-1, :2] - clip.qpos[0, :2]
        speed = float((distance**2).sum() ** 0.5) / clip.duration
        for path, requested in zip(paths, options.speeds, strict=True):
            faster = clip.frequency * requested / speed
            dataclasses.replace(clip, name=path.stem, frequency=faster, qvel=None).save(path)
    return [f"motion=[{','.join(map(str, paths))}]"]


def _load_state(path: Path, options: CoAdaptOptions) -> dict[str, Any]:
    """Return the stored state, or a new one.

    Raises:
        InputError: The folder holds another study.
    """
    study = {name: value for name, value in dataclasses.asdict(options).items() if name not in ("plan", "runs_dir")}
    if not path.is_file():
        return {"study": study, "done": []}
    state = json.loads(path.read_text(encoding="utf-8"))
    changed = [name for name, value in study.items() if state["study"].get(name) != value and name != "seeds"]
    if changed:
        raise InputError(f"runs_dir={path.parent} holds a study with another {changed[0]}; choose another runs_dir=")
    return {**state, "study": study}


def _write_json(path: Path, values: dict[str, Any]) -> None:
    with write_atomically(path) as temporary:
        temporary.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _call(script: str, words: Sequence[str]) -> int:
    """Run a program of this project; signals reach it, and it decides when to stop. Return its exit code."""
    child = subprocess.Popen([sys.executable, str(ROOT / script), *words])
    with _forwarded(child):
        return child.wait()


@contextmanager
def _forwarded(child: subprocess.Popen) -> Iterator[None]:
    """Pass SIGTERM and SIGUSR1 on; Ctrl-C reaches the child by itself."""
    passed = (signal.SIGTERM, signal.SIGUSR1)
    before = {number: signal.signal(number, lambda one, _: child.send_signal(one)) for number in passed}
    before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    run_command(main, CoAdaptOptions, __doc__ or "")
