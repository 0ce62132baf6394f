"""Retarget many files: which are already done, worker processes, failures that do not stop the rest."""

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

REJECTED = ".npz.rejected"  # suffix of rejected clips, kept for inspection but not loaded as motions
# Exceptions that a damaged file or a degenerate motion can raise; any other is a bug and stops the run.
CLIP_ERRORS = (InputError, ValueError, ArithmeticError, RuntimeError, IndexError, OSError, MemoryError)


@dataclass(frozen=True)
class Job:
    """One clip to retarget."""

    source: Path
    name: str  # path relative to the output folder, without suffix
    part: int = 0  # index of the clip in a file with several


@dataclass(frozen=True)
class RunOptions:
    """Options of a run."""

    output: Path
    embodiment: str = "fullbody"
    figures: bool = True
    overwrite: bool = False
    workers: int = 1
    read: ReadOptions = field(default_factory=ReadOptions)
    retarget: RetargetOptions = field(default_factory=RetargetOptions)

    @property
    def fingerprint(self) -> str:
        """Hash of all options that affect the clips."""
        parts = [self.embodiment, asdict(self.read), asdict(self.retarget)]
        return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def find_jobs(source: str | Sequence[str], group: Sequence[str] | None = None) -> list[Job]:
    """Expand files, folders and globs to jobs.

    Args:
        source: A file, folder or glob, or several of them.
        group: Names of clips below the folder `source`, whether or not they exist; None: all files.

    Raises:
        InputError: Nothing matches, or two files would become the same clip.
    """
    if group is not None:
        if not isinstance(source, str):
            raise InputError("with group=, input= must be the one folder that contains its clips")
        root = Path(source).expanduser()
        if not root.is_dir():
            raise InputError(f"with group=, input= must be the folder that contains its clips; {root} is not a folder")
        return [Job(_member(root, name), name) for name in group]
    jobs: list[Job] = []
    for text in [source] if isinstance(source, str) else source:
        jobs += _expand(str(text))
    names = [job.name for job in jobs]
    for index, job in enumerate(jobs):  # make names unique
        if names.count(job.name) > 1:
            jobs[index] = dataclasses.replace(job, name=f"{job.name}_{job.source.suffix.lstrip('.')}")
    if Path(SUMMARY).stem in (job.name for job in jobs):
        raise InputError(
            f"a recording cannot be named {Path(SUMMARY).stem}, which is the file of the run's means; rename it"
        )
    duplicates = {job.name for job in jobs if [other.name for other in jobs].count(job.name) > 1}
    if duplicates:
        raise InputError(f"several files would become {sorted(duplicates)[0]}.npz: retarget them to separate folders")
    return jobs


def run(
    jobs: Sequence[Job], options: RunOptions, progress: Callable[[dict[str, Any]], None] | None = None
) -> dict[str, int]:
    """Retarget all clips that are not done yet, then write the summary of all clips in the output folder.

    Args:
        jobs: Clips to retarget.
        options: Options of the run.
        progress: Called with the record of each clip.

    Returns:
        Number of passed, rejected and failed clips among `jobs`.

    Raises:
        InputError: The options are invalid, or a clip of the same name was made from another recording.
    """
    Retargeter(options.embodiment, options.retarget)  # fail here, not in every clip, if options are invalid
    if not options.overwrite:
        _check_sources(jobs, options)
    todo = [job for job in jobs if options.overwrite or _stored_record(job, options) is None]
    skipped = len(jobs) - len(todo)
    if progress is not None and skipped:
        progress({"status": "skipped", "count": skipped})
    in_sequence = (make_clip(job, options) for job in todo)
    for record in _run_in_workers(todo, options) if options.workers > 1 else in_sequence:
        if progress is not None:
            progress(record)
    write_summary(options.output / "quality", stored_records(options.output))
    return count_statuses(_record(job, options) for job in jobs)


def stored_records(output: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of all clips in the folder `output`, by name, from this and earlier runs.

    Clips whose file was deleted since are skipped.
    """
    folder = output / "quality"
    for path in sorted(folder.rglob("*.json")):
        record = read_json(path) if path != folder / SUMMARY else None
        if record is not None and (record.get("status") == "failed" or _is_there(record, output)):
            yield record


def make_clip(job: Job, options: RunOptions) -> dict[str, Any]:
    """Retarget one clip and write its record and figure; return the record, which includes any error."""
    record: dict[str, Any] = {"name": job.name, "source": str(job.source), "fingerprint": options.fingerprint}
    target = options.output / f"{job.name}.npz"
    rejected = target.with_name(target.name.removesuffix(".npz") + REJECTED)
    try:
        raw = read_motion(job.source, dataclasses.replace(options.read, part=job.part))
        record["notes"] = list(raw.notes)
        result = _retargeter(options.embodiment, _Key(options.retarget))(raw)
        record["notes"] = list(result.notes)
        failures = reasons(result.quality, options.retarget.thresholds)
        infeasible = (
            [f"no body can follow it: {'; '.join(result.series.infeasible)}"] if result.series.infeasible else []
        )
        if options.retarget.infeasible is Infeasible.reject:
            failures += infeasible
        else:
            record["notes"] += infeasible
        record |= {"status": "rejected" if failures else "passed", "reasons": failures, "quality": result.quality.row()}
        for stale in (target, rejected):
            stale.unlink(missing_ok=True)
        result.clip.save(rejected if failures else target)
        if options.figures:
            draw(result, options.output / "quality" / f"{job.name}.png")
    except CLIP_ERRORS as error:
        text = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
        record |= {"status": "failed", "error": " ".join(text.split())}
    # Written last: the record marks the clip as complete.
    write_json(_record_path(job, options), record)
    return record


class _Key:
    """RetargetOptions as a hashable cache key, compared by content."""

    def __init__(self, options: RetargetOptions) -> None:
        self.options, self.text = options, json.dumps(asdict(options), sort_keys=True)

    def __hash__(self) -> int:
        return hash(self.text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self.text == other.text


@cache
def _retargeter(embodiment: str, key: _Key) -> Retargeter:
    return Retargeter(embodiment, key.options)


def _run_in_workers(jobs: Sequence[Job], options: RunOptions) -> Iterator[dict[str, Any]]:
    """Yield records as they are completed, with only as many clips in flight as keep the workers busy."""
    waiting = iter(jobs)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.workers, mp_context=context, initializer=_prepare_worker) as pool:
        running: dict[Future[dict[str, Any]], Job] = {}
        try:
            while True:
                while len(running) < 2 * options.workers and (job := next(waiting, None)) is not None:
                    with _ignoring_interrupts():  # inherited by the workers that this starts
                        running[pool.submit(make_clip, job, options)] = job
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    job = running.pop(future)
                    try:
                        yield future.result()
                    except BrokenProcessPool:
                        raise InputError(
                            f"a worker process died on {job.source} or a neighbouring clip, probably out of memory; "
                            "finished clips are kept: run again with fewer workers="
                        ) from None
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@contextmanager
def _ignoring_interrupts() -> Iterator[None]:
    """Ignore Ctrl-C in workers, so that they finish their clip and only the main process reports the interruption."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _prepare_worker() -> None:
    """Make a worker exit if its parent is killed; it would wait for work forever."""
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _stored_record(job: Job, options: RunOptions) -> dict[str, Any] | None:
    """Return the record of a clip made with the same options; None if it must be made."""
    record = read_json(_record_path(job, options))
    if record is None or record.get("fingerprint") != options.fingerprint or record.get("status") == "failed":
        return None
    return record if _is_there(record, options.output) else None


def _check_sources(jobs: Sequence[Job], options: RunOptions) -> None:
    """Raise InputError if an earlier run made a clip of the same name from another recording."""
    for job in jobs:
        before = (read_json(_record_path(job, options)) or {}).get("source")
        if before and Path(before).is_file() and job.source.is_file() and not job.source.samefile(before):
            raise InputError(
                f"{options.output / job.name}.npz was made from {before}, not from {job.source}: choose another "
                "output= folder, or set overwrite=true"
            )


def _is_there(record: dict[str, Any], output: Path) -> bool:
    """Return whether the file of a passed or rejected clip exists."""
    suffix = {"passed": ".npz", "rejected": REJECTED}.get(record.get("status", ""), "")
    return bool(suffix) and (output / f"{record.get('name')}{suffix}").is_file()


def _record(job: Job, options: RunOptions) -> dict[str, Any]:
    return read_json(_record_path(job, options)) or {"name": job.name, "status": "failed", "error": "was not made"}


def _record_path(job: Job, options: RunOptions) -> Path:
    return options.output / "quality" / f"{job.name}.json"


def _expand(text: str) -> list[Job]:
    path = Path(text).expanduser()
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.suffix.lower() in READERS and p.is_file())
        if not files:
            raise InputError(f"folder {path} has no motion file ({', '.join(READERS)})")
        return _jobs(files, path)
    if path.exists():
        return _jobs([path], path.parent)
    if has_magic(text):
        files = sorted(Path(p) for p in glob(str(path), recursive=True) if Path(p).suffix.lower() in READERS)
        if not files:
            raise InputError(f"nothing matches input={text}")
        base = Path(os.path.commonpath([p.parent for p in files]))
        return _jobs(files, base)
    raise InputError(f"input {text} does not exist (in {Path.cwd()})")


def _jobs(paths: Sequence[Path], base: Path) -> list[Job]:
    jobs = []
    for path in paths:
        name = path.relative_to(base).with_suffix("").as_posix()
        count = count_clips(path)
        jobs += [Job(path, name if count == 1 else f"{name}_{part}", part) for part in range(count)]
    return jobs


def _member(root: Path, name: str) -> Path:
    for suffix in READERS:
        candidate = root / f"{name}{suffix}"
        if candidate.is_file():
            return candidate
    return root / f"{name}.npz"
