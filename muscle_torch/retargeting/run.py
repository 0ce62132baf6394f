"""Many files: what to do, what is done already, worker processes; one clip that fails never stops the rest."""

import dataclasses
import hashlib
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache
from glob import glob, has_magic
from pathlib import Path
from typing import Any

from muscle_torch.errors import InputError
from muscle_torch.motion.feasibility import Infeasible

from .quality import reasons
from .readers import READERS, ReadOptions, count_clips, read_motion
from .report import SUMMARY, count_statuses, draw, read_json, write_json, write_summary
from .retarget import Retargeter, RetargetOptions

REJECTED = ".npz.rejected"  # kept to look at, and not taken for a motion
# What a broken file or a degenerate motion can raise beyond InputError; anything else is a fault of ours and stops.
CLIP_ERRORS = (InputError, ValueError, ArithmeticError, RuntimeError, IndexError, OSError, MemoryError)


@dataclass(frozen=True)
class Job:
    """One clip to make."""

    source: Path
    name: str  # its path below the output folder, without suffix
    part: int = 0  # which clip of a file that holds several


@dataclass(frozen=True)
class RunOptions:
    output: Path
    embodiment: str = "fullbody"
    figures: bool = True
    overwrite: bool = False
    workers: int = 1
    read: ReadOptions = field(default_factory=ReadOptions)
    retarget: RetargetOptions = field(default_factory=RetargetOptions)

    @property
    def fingerprint(self) -> str:
        """Of all that decides how a clip comes out."""
        parts = [self.embodiment, asdict(self.read), asdict(self.retarget)]
        return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def find_jobs(source: str | Sequence[str], group: Sequence[str] | None = None) -> list[Job]:
    """Files, folders and globs -> jobs; with a `group`, its clips below the folder `source`, also those that lack."""
    if group is not None:
        if not isinstance(source, str):
            raise InputError("with group=, input= is the one folder that its clips lie in")
        root = Path(source).expanduser()
        if not root.is_dir():
            raise InputError(f"with group=, input= must be the folder that its clips lie in; {root} is none")
        return [Job(_member(root, name), name) for name in group]
    jobs: list[Job] = []
    for text in [source] if isinstance(source, str) else source:
        jobs += _expand(str(text))
    names = [job.name for job in jobs]
    for index, job in enumerate(jobs):  # one name, one file
        if names.count(job.name) > 1:
            jobs[index] = dataclasses.replace(job, name=f"{job.name}_{job.source.suffix.lstrip('.')}")
    if Path(SUMMARY).stem in (job.name for job in jobs):
        raise InputError(
            f"a recording cannot be called {Path(SUMMARY).stem}: that file holds all clips' means; rename it"
        )
    twice = {job.name for job in jobs if [other.name for other in jobs].count(job.name) > 1}
    if twice:
        raise InputError(f"several files would become {sorted(twice)[0]}.npz: retarget them into folders of their own")
    return jobs


def run(
    jobs: Sequence[Job], options: RunOptions, progress: Callable[[dict[str, Any]], None] | None = None
) -> dict[str, int]:
    """Make every clip that is not made yet, then the summary of all clips in the output folder.

    Returns counts of passed, rejected and failed among `jobs`.
    """
    Retargeter(options.embodiment, options.retarget)  # options that are wrong stop here, not in every clip
    if not options.overwrite:
        _check_sources(jobs, options)
    todo = [job for job in jobs if options.overwrite or _made(job, options) is None]
    skipped = len(jobs) - len(todo)
    if progress is not None and skipped:
        progress({"status": "skipped", "count": skipped})
    alone = (make_clip(job, options) for job in todo)
    for record in _made_by_workers(todo, options) if options.workers > 1 else alone:
        if progress is not None:
            progress(record)
    write_summary(options.output / "quality", stored_records(options.output))
    return count_statuses(_record(job, options) for job in jobs)


def stored_records(output: Path) -> Iterator[dict[str, Any]]:
    """Yield the record of every clip in the folder `output`, by name, whichever command made it.

    Clips whose file was deleted since are left out.
    """
    folder = output / "quality"
    for path in sorted(folder.rglob("*.json")):
        record = read_json(path) if path != folder / SUMMARY else None
        if record is not None and (record.get("status") == "failed" or _is_there(record, output)):
            yield record


def make_clip(job: Job, options: RunOptions) -> dict[str, Any]:
    """One clip with its record and figure; what is wrong with it stands in the record."""
    record: dict[str, Any] = {"name": job.name, "source": str(job.source), "fingerprint": options.fingerprint}
    target = options.output / f"{job.name}.npz"
    other = target.with_name(target.name.removesuffix(".npz") + REJECTED)
    try:
        raw = read_motion(job.source, dataclasses.replace(options.read, part=job.part))
        record["notes"] = list(raw.notes)
        result = _retargeter(options.embodiment, _Key(options.retarget))(raw)
        record["notes"] = list(result.notes)
        told = reasons(result.quality, options.retarget.thresholds)
        infeasible = (
            [f"no body can follow it: {'; '.join(result.series.infeasible)}"] if result.series.infeasible else []
        )
        if options.retarget.infeasible is Infeasible.reject:
            told += infeasible
        else:
            record["notes"] += infeasible
        record |= {"status": "rejected" if told else "passed", "reasons": told, "quality": result.quality.row()}
        for stale in (target, other):
            stale.unlink(missing_ok=True)
        result.clip.save(other if told else target)
        if options.figures:
            draw(result, options.output / "quality" / f"{job.name}.png")
    except CLIP_ERRORS as error:
        text = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
        record |= {"status": "failed", "error": " ".join(text.split())}
    # Last: a record says that the clip is whole.
    write_json(_record_path(job, options), record)
    return record


class _Key:
    """RetargetOptions as a key of a cache: equal where their contents are."""

    def __init__(self, options: RetargetOptions) -> None:
        self.options, self.text = options, json.dumps(asdict(options), sort_keys=True)

    def __hash__(self) -> int:
        return hash(self.text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self.text == other.text


@cache
def _retargeter(embodiment: str, key: _Key) -> Retargeter:
    return Retargeter(embodiment, key.options)


def _made_by_workers(jobs: Sequence[Job], options: RunOptions) -> Iterator[dict[str, Any]]:
    """Records as they come; only as many clips are under way as keep the workers busy."""
    waiting = iter(jobs)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.workers, mp_context=context, initializer=_prepare_worker) as pool:
        running: dict[Future[dict[str, Any]], Job] = {}
        try:
            while True:
                while len(running) < 2 * options.workers and (job := next(waiting, None)) is not None:
                    with _ignoring_interrupts():  # as the workers that this starts then do
                        running[pool.submit(make_clip, job, options)] = job
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    job = running.pop(future)
                    try:
                        yield future.result()
                    except BrokenProcessPool:
                        raise InputError(
                            f"a worker process died, on {job.source} or on a clip beside it (out of memory?); what is "
                            "done stays: run again with fewer workers="
                        ) from None
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@contextmanager
def _ignoring_interrupts() -> Iterator[None]:
    """Ctrl-C goes to all processes: the workers finish their clip, and only the one who asked says that it stops."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _prepare_worker() -> None:
    """A worker whose parent was killed ends: it would wait for work for ever."""
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _made(job: Job, options: RunOptions) -> dict[str, Any] | None:
    """The record of a clip that was made with the same options; None: it is to be made (again)."""
    record = read_json(_record_path(job, options))
    if record is None or record.get("fingerprint") != options.fingerprint or record.get("status") == "failed":
        return None
    return record if _is_there(record, options.output) else None


def _check_sources(jobs: Sequence[Job], options: RunOptions) -> None:
    """Raise InputError if an earlier command made a clip of the same name from another recording."""
    for job in jobs:
        before = (read_json(_record_path(job, options)) or {}).get("source")
        if before and Path(before).is_file() and job.source.is_file() and not job.source.samefile(before):
            raise InputError(
                f"{options.output / job.name}.npz was made from {before}, not from {job.source}: choose another folder "
                "output=, or overwrite=true"
            )


def _is_there(record: dict[str, Any], output: Path) -> bool:
    """Whether the clip of a record that did not fail lies in the folder."""
    suffix = {"passed": ".npz", "rejected": REJECTED}.get(record.get("status", ""), "")
    return bool(suffix) and (output / f"{record.get('name')}{suffix}").is_file()


def _record(job: Job, options: RunOptions) -> dict[str, Any]:
    return read_json(_record_path(job, options)) or {"name": job.name, "status": "failed", "error": "was not made"}


def _record_path(job: Job, options: RunOptions) -> Path:
    return options.output / "quality" / f"{job.name}.json"


def _expand(text: str) -> list[Job]:
    path = Path(text).expanduser()
    if path.is_dir():
        found = sorted(p for p in path.rglob("*") if p.suffix.lower() in READERS and p.is_file())
        if not found:
            raise InputError(f"folder {path} has no motion file ({', '.join(READERS)})")
        return _jobs(found, path)
    if path.exists():
        return _jobs([path], path.parent)
    if has_magic(text):
        found = sorted(Path(p) for p in glob(str(path), recursive=True) if Path(p).suffix.lower() in READERS)
        if not found:
            raise InputError(f"nothing matches input={text}")
        base = Path(os.path.commonpath([p.parent for p in found]))
        return _jobs(found, base)
    raise InputError(f"input {text} does not exist (in {Path.cwd()})")


def _jobs(paths: Sequence[Path], base: Path) -> list[Job]:
    jobs = []
    for path in paths:
        name = path.relative_to(base).with_suffix("").as_posix()
        count = count_clips(path) if path.suffix.lower() == ".npz" else 1
        jobs += [Job(path, name if count == 1 else f"{name}_{part}", part) for part in range(count)]
    return jobs


def _member(root: Path, name: str) -> Path:
    for suffix in READERS:
        candidate = root / f"{name}{suffix}"
        if candidate.is_file():
            return candidate
    return root / f"{name}.npz"
