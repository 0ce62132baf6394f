"""Convert motion capture to motions of a muscle-driven body: `python tools/retarget.py input=walk.bvh output=clips`.

Reads AMASS .npz (with smpl=), ASF/AMC, BVH, OpenSim .mot and .sto, .trc and C3D markers, joint positions of
text-to-motion models (.npy with rate=20, .npz), and MuscleMimic's trajectory files, also from data sets on the Hugging
Face hub. Writes the clips (for motion= of train.py) to `output`, and to `output/quality` a table (summary.csv), a JSON
file and a figure per clip, and the reasons for rejected and failed clips. A repeated run makes only what is missing.
"""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from muscle_torch.config import key, parse_words, run_command
from muscle_torch.config.threads import usable_cores
from muscle_torch.errors import InputError, nearest


@dataclasses.dataclass(frozen=True)
class RetargetToolOptions:
    """Options of the program."""

    input: Any = key("", "file, folder, glob, data set hf://owner/name[/folder], or a list of these")
    output: str = key("clips", "folder for the clips")
    embodiment: str = key(
        "fullbody", "fullbody, legs, legs_back, legs_abs (without the arms), or bimanual (relative to the thorax)"
    )
    method: str = key("batch", "batch, gmr or mocap_body")
    group: str = key("", "only the clips of this list (cfg/motions/<group>.txt) below the folder input=")
    workers: int = key(1, "worker processes; 0: one per core")
    device: str = key("cpu", "device of method batch: cpu, cuda or cuda:N")
    cutoff: float = key(10.0, "low-pass of the fit", "Hz")
    filter: bool = key(
        True, "bodies with legs: dynamic filter, which shifts the pelvis so that the feet support the motion"
    )
    infeasible: str = key("keep", "bodies with legs: clips that no body can follow: keep (with a note) or reject")
    smpl: str = key("", "SMPL-H or SMPL-X body model (.npz file or folder) for AMASS files")
    unit: float = key(0.0, "unit of length of the file; 0: as stated in the file, or by the size of the body", "m")
    rate: float = key(0.0, "frame rate of the file; 0: as stated in the file", "Hz")
    up: str = key("", "vertical axis of the file: x, y, z, -x, -y or -z; empty: by format, rest pose and motion")
    angle_unit: str = key("auto", "angles of OpenSim files: deg, rad, or auto (by header and size)")
    markers: str = key("", "YAML file of role: marker name, for unusual marker sets")
    static: str = key("", "static trial (.trc, .c3d) of the same subject, for markers that a motion lacks")
    licence: str = key("", "licence of the recordings, stored in the clips")
    figures: bool = key(True, "write a figure per clip")
    overwrite: bool = key(False, "remake existing clips")
    thresholds: dict[str, float] = key({}, "largest passing value of a metric, e.g. thresholds.rmse=0.03")


def main(words: Sequence[str]) -> int:
    """Retarget all inputs; return 0 if all passed, 1 if some were rejected or failed."""
    options = parse_words(RetargetToolOptions, words)
    if not options.input:
        raise InputError("no input: set input=<file, folder or glob>")
    from muscle_torch.retargeting.run import find_jobs, run

    jobs = find_jobs(_local(options.input), _group(options.group) if options.group else None)
    if options.static:
        jobs = [job for job in jobs if job.source.resolve() != Path(options.static).resolve()]
    plan = _plan(options, len(jobs))
    from tqdm import tqdm

    with tqdm(total=len(jobs), unit="clip", disable=not sys.stderr.isatty(), dynamic_ncols=True) as bar:

        def show(record: dict[str, Any]) -> None:
            bar.update(record.get("count", 1))
            for note in record.get("notes", ()):
                bar.write(f"note: {record['name']}: {note}", file=sys.stderr)
            if record["status"] == "skipped":
                bar.write(f"{record['count']} clips exist already", file=sys.stderr)
            elif record["status"] == "failed":
                bar.write(f"failed: {record['name']}: {record['error']}", file=sys.stderr)
            elif record["status"] == "rejected":
                bar.write(f"rejected: {record['name']}: {'; '.join(record['reasons'])}", file=sys.stderr)

        counts = run(jobs, plan, show)
    print(", ".join(f"{count} {status}" for status, count in counts.items()) + f"; clips in {plan.output}")
    print(f"quality in {plan.output / 'quality' / 'summary.csv'}")
    return int(counts["rejected"] + counts["failed"] > 0)


def _plan(options: RetargetToolOptions, count: int) -> Any:
    from muscle_torch.motion.dynamic_filter import FilterOptions
    from muscle_torch.motion.feasibility import Infeasible
    from muscle_torch.retargeting import THRESHOLDS, Quality, ReadOptions, RetargetOptions
    from muscle_torch.retargeting.readers.axes import check_axis
    from muscle_torch.retargeting.run import RunOptions

    known = tuple(name for name, f in Quality.__dataclass_fields__.items() if f.type is float)
    for name in options.thresholds:
        if name not in known:
            raise InputError(f"unknown metric thresholds.{name}{nearest(name, known)}")
    markers: dict[str, str] = {}
    if options.markers:
        if not Path(options.markers).is_file():
            raise InputError(f"markers file {options.markers} does not exist")
        loaded = OmegaConf.to_container(OmegaConf.load(options.markers))
        if not isinstance(loaded, dict):
            raise InputError(f"{options.markers}: expected lines of role: marker name")
        markers = {str(role): str(name) for role, name in loaded.items()}
    if options.up:
        check_axis(options.up)
    if options.cutoff <= 0 or options.unit < 0 or options.rate < 0:
        raise InputError("cutoff must be positive, unit and rate must not be negative")
    return RunOptions(
        output=Path(options.output),
        embodiment=options.embodiment,
        figures=options.figures,
        overwrite=options.overwrite,
        workers=max(1, min(options.workers or usable_cores(), count)),
        read=ReadOptions(
            unit=options.unit,
            rate=options.rate,
            smpl=options.smpl,
            markers=markers,
            static=options.static,
            up=options.up,
            angle_unit=options.angle_unit,
        ),
        retarget=RetargetOptions(
            options.method,
            options.cutoff,
            options.device,
            options.licence,
            {**THRESHOLDS, **options.thresholds},
            FilterOptions() if options.filter else None,
            Infeasible.of(options.infeasible),
        ),
    )


def _group(name: str) -> list[str]:
    from importlib import resources

    folder = resources.files("muscle_torch.cfg") / "motions"
    known = tuple(sorted(p.name.removesuffix(".txt") for p in folder.iterdir() if p.name.endswith(".txt")))
    if name not in known:
        raise InputError(f"unknown group {name!r}{nearest(name, known)}")
    lines = (folder / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def _local(source: Any) -> Any:
    """Return paths as text, after downloading data sets of the Hugging Face hub."""
    from muscle_torch.published.hub import download, is_hub

    if not isinstance(source, str | int | float):
        return [_local(one) for one in source]
    return str(download(str(source), kind="dataset")) if is_hub(str(source)) else str(source)


if __name__ == "__main__":
    run_command(main, RetargetToolOptions, __doc__ or "")
