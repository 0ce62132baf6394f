"""Compare EMG with a model or another recording: `python tools/emg.py emg=my.csv cycles=steps.csv against=run.npz`.

Raw EMG (CSV, .sto, C3D) is converted to envelopes, segmented into gait cycles and mapped to muscles by an editable
table (muscle_torch/biomechanics/emg_muscles.yaml). It is compared with a policy's activations (a rollout archive, or a
.sto with a column per actuator) or with another recording. Writes report.html, envelopes.csv, cycles.csv and table.csv.

`benchmark=kinesis emg=<folder>` evaluates the published EMG benchmark on your copy of its assets, with the controls in
it or with against=<rollouts>; with a recording as emg= it compares both heads of the biceps femoris.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from muscle_torch.biomechanics.emg import EmgSettings
from muscle_torch.config import key, parse_words, run_command
from muscle_torch.errors import InputError, nearest

BENCHMARKS = ("kinesis",)


@dataclasses.dataclass(frozen=True)
class EmgOptions(EmgSettings):
    """Options of the program."""

    emg: str = key("", "the recording: .csv, .sto, .mot, .txt or .c3d")
    channels: list[str] = key([], "columns to use; empty: all with a known muscle")
    rate: float = key(0.0, "sampling rate of emg= and mvc= if the time column is missing or wrong", "Hz")
    side: str = key("r", "side of channels whose name contains none: r or l")
    map: str = key("", "your own table of muscles (YAML or CSV), extends biomechanics/emg_muscles.yaml")
    mvc: str = key("", "recording of the maximal contractions, for normalise=mvc")
    cycles: str = key("", "CSV with a column of cycle starts (touchdown_s, ...)", "s")
    force: str = key("", "instead of cycles=: force recording (.mot, .sto, .csv, .c3d) that determines the cycles")
    force_column: str = key("", "column of the vertical force; empty: the usual names")
    force_rate: float = key(0.0, "sampling rate of force= if the time column is missing or wrong", "Hz")
    force_threshold: float = key(50.0, "a foot is on the ground above this", "N")
    points: int = key(101, "points of a normalized cycle")
    offset: float = key(0.0, "added to the EMG's clock, if it differs from that of cycles= and force=", "s")
    against: str = key("", "to compare with: rollouts (.npz, evaluate.py), activations (.sto, .csv), or a recording")
    against_rate: float = key(0.0, "sampling rate of against= if the time column is missing or wrong", "Hz")
    against_signal: str = key("auto", "signal of another recording: raw, envelope or auto")
    against_cycles: str = key("", "cycle starts of against=, if not those of cycles= or force=")
    against_force: str = key("", "force recording of against=, if not force=")
    pairs: dict[str, str] = key({}, "compare over time: pairs.<channel of emg=>=<column of against=>, e.g. a force")
    episode: int = key(-1, "index of the episode in the rollouts; -1: the cycles of all")
    body: str = key("fullbody", "body of the actuators in a .sto of activations (rollouts contain theirs)")
    embodiment: dict[str, Any] = key({}, "options of the body, such as embodiment.fingers=true")
    benchmark: str = key("", "kinesis: the EMG benchmark of KINESIS; emg= is a folder with its assets, or a recording")
    output: str = key("emg_report", "folder for the report, its tables and figures")


def main(words: Sequence[str]) -> int:
    """Read, compare and write the report; return the exit code."""
    options = parse_words(EmgOptions, words)
    if not options.emg:
        raise InputError("no EMG: set emg=<file>")
    if options.benchmark not in ("", *BENCHMARKS):
        raise InputError(f"benchmark={options.benchmark!r}{nearest(options.benchmark, BENCHMARKS)}")
    if options.benchmark and Path(options.emg).is_dir():
        return run_benchmark(options)
    from muscle_torch.biomechanics.emg_report import co_contractions, compare_over_time
    from muscle_torch.biomechanics.report import text_table

    measured, notes = read_measured(options)
    cycles, cycle_notes = cut(measured, options)
    other, other_cycles, other_notes = read_other(options, measured, cycles)
    notes += [*cycle_notes, *other_notes]
    table = main_table(measured, cycles, other, other_cycles, options)
    pairs = compare_over_time(measured, other, dict(options.pairs)) if options.pairs and other is not None else None
    activity = co_contractions(cycles if cycles is not None else measured)
    for shown in (table, pairs, activity):
        if shown is not None and shown.rows:
            print(text_table(shown.columns, shown.rows), end="\n\n")
    for note in notes:
        print(f"excluded or assumed: {note}")
    path = write_report(options, measured, cycles, other, other_cycles, [table, pairs, activity], notes)
    print(f"written to {path}")
    return 0


def read_measured(options: EmgOptions) -> tuple[Any, list[str]]:
    """Return envelopes named `<muscle>_<side>`, and notes."""
    from muscle_torch.biomechanics.emg import envelopes
    from muscle_torch.biomechanics.emg_benchmark import with_short_head
    from muscle_torch.biomechanics.emg_map import load_map, muscle_columns
    from muscle_torch.biomechanics.recordings import read_series

    raw = read_series(options.emg, options.rate)
    notes = list(raw.notes)
    if options.channels:
        raw = raw.select(options.channels)
    if options.offset:
        raw = dataclasses.replace(raw, time=raw.time + options.offset)
    mapped, unknown = muscle_columns(raw, load_map(options.map), options.side)
    mvc = None
    if options.mvc:
        mvc, _ = muscle_columns(read_series(options.mvc, options.rate), load_map(options.map), options.side)
    processed = envelopes(mapped, options, mvc)
    notes += [*unknown, *processed.left_out]
    return (with_short_head(processed.series) if options.benchmark else processed.series), notes


def run_benchmark(options: EmgOptions) -> int:
    """Run the benchmark of KINESIS on a folder with its assets; return the exit code."""
    from muscle_torch.biomechanics.emg_benchmark import COLUMNS, GLOSSARY, compare, read_assets, read_people
    from muscle_torch.biomechanics.report import text_table, write_table

    if options.against:
        people, model, notes = read_people(options.emg), *_rollout_activity(options)
        what = options.against
    else:
        assets = read_assets(options.emg)
        people, model, notes = assets.people, assets.model, list(assets.notes)
        what = f"{assets.cycles} cycles of {options.emg}"
    result = compare(people, model)
    print(f"{what} against {len(people)} people")
    print(text_table(COLUMNS, result.rows))
    for column, text in GLOSSARY.items():
        print(f"{column}: {text}")
    for note in notes:
        print(f"excluded or assumed: {note}")
    print(result.summary())
    path = Path(options.output) / "benchmark.csv"
    write_table(path, COLUMNS, result.rows)
    print(f"written to {path}")
    return 0


def _rollout_activity(options: EmgOptions) -> tuple[dict[str, Any], list[str]]:
    """Return muscle -> mean activity of rollouts over the cycle between toe-offs of the right foot, and notes."""
    from muscle_torch.biomechanics.emg_benchmark import LONG, MUSCLES, POINTS
    from muscle_torch.biomechanics.emg_map import load_map

    names = tuple(f"{muscle}_l" for muscle in (*MUSCLES, LONG))
    chosen = dataclasses.replace(options, points=POINTS)
    _, cycles, notes = read_rollouts(chosen, names, load_map(options.map), True, start="right toe-off")
    missing = [name for name in names if name not in cycles.names]
    if missing:
        raise InputError(f"{options.against}: the body lacks {', '.join(missing)}; use one with legs")
    return {name.removesuffix("_l"): cycles.mean[:, cycles.names.index(name)] for name in names}, notes


def cut(measured: Any, options: EmgOptions) -> tuple[Any, list[str]]:
    """Return the cycles defined by cycles= or force=, or None, and notes."""
    return _cut(measured, options, options.cycles, options.force, options.force_column)


def _cut(series: Any, options: EmgOptions, table: str, force: str, column: str) -> tuple[Any, list[str]]:
    from muscle_torch.biomechanics.cycles import cut_cycles
    from muscle_torch.biomechanics.gait_events import force_contacts, read_events, read_forces

    if table:
        contacts = read_events(table)
    elif force:
        forces = read_forces(force, options.force_rate)
        contacts = force_contacts(forces, options.side, column, options.force_threshold)
    else:
        return None, []
    cycles = cut_cycles(series, contacts.starts, points=options.points)
    return cycles, [*contacts.left_out, *cycles.left_out]


def read_other(options: EmgOptions, measured: Any, cycles: Any) -> tuple[Any, Any, list[str]]:
    """Return the recording to compare with, its cycles, and notes."""
    if not options.against:
        return None, None, []
    from muscle_torch.biomechanics.emg_map import load_map
    from muscle_torch.biomechanics.recordings import read_series

    table, muscles = load_map(options.map), measured.names
    if Path(options.against).suffix.lower() == ".npz":
        return read_rollouts(options, muscles, table, cycles is not None)
    other = read_series(options.against, options.against_rate)
    if options.pairs:
        return other, None, list(other.notes)
    read_notes = other.notes
    other, notes = named_after_muscles(other, muscles, table, options)
    notes = [*read_notes, *notes]
    if cycles is None:
        return other, None, notes
    separate = bool(options.against_cycles or options.against_force)
    cut_other, cut_notes = _cut(
        other,
        options,
        options.against_cycles if separate else options.cycles,
        options.against_force if separate else options.force,
        "" if separate else options.force_column,
    )
    return other, cut_other, [*notes, *cut_notes]


def read_rollouts(
    options: EmgOptions, muscles: tuple[str, ...], table: Any, cut: bool, start: str = "touchdown"
) -> tuple[Any, Any, list[str]]:
    """Return a policy's activations of muscles: the first episode over time, and the cycles of all, with notes.

    Args:
        options: Rollouts, episode, side and points.
        muscles: `<muscle>_<side>` names.
        table: Table of muscles.
        cut: Whether to compute cycles.
        start: Start of a cycle: "touchdown" of the foot on `options.side`, or "right toe-off".
    """
    from muscle_torch.biomechanics.cycles import cut_cycles, pool
    from muscle_torch.biomechanics.emg_map import model_activity
    from muscle_torch.biomechanics.gait import activation_series, body_of, rollout_gait
    from muscle_torch.motion.rollout_archive import read_archive

    archive = read_archive(options.against)
    body, count = body_of(archive), len(archive.episodes)
    if options.episode >= count:
        raise InputError(f"{options.against} has {count} episodes, so episode={options.episode} does not exist")
    chosen = range(count) if options.episode < 0 else [options.episode]
    first, notes = model_activity(activation_series(archive, chosen[0]), muscles, table, body)
    if not cut:
        return first, None, list(notes)
    parts, left_out = [], []
    for index in chosen:
        try:
            activity, _ = model_activity(activation_series(archive, index), muscles, table, body)
            contacts = rollout_gait(body, archive, index).contacts
            starts = contacts["r"].ends if start == "right toe-off" else contacts[options.side].starts
            parts.append(cut_cycles(activity, starts, points=options.points))
        except InputError as error:
            left_out.append(f"{archive.episodes[index].name}: {error}")
    if not parts:
        raise InputError(f"{options.against}: no complete gait cycle in {len(chosen)} episodes ({left_out[0]})")
    pooled = pool(parts)
    return first, pooled, [*notes, *left_out, *pooled.left_out]


def named_after_muscles(other: Any, muscles: Sequence[str], table: Any, options: EmgOptions) -> tuple[Any, list[str]]:
    """Return another recording's columns as `<muscle>_<side>`, from actuators or EMG channels, and notes.

    Args:
        other: The recording.
        muscles: `<muscle>_<side>` names to return.
        table: Table of muscles.
        options: Body, side and signal.
    """
    from muscle_torch.biomechanics.emg import envelopes
    from muscle_torch.biomechanics.emg_map import model_activity, muscle_columns
    from muscle_torch.biomechanics.emg_report import is_activations
    from muscle_torch.embodiments import make_embodiment

    body = make_embodiment(options.body, **options.embodiment)
    if is_activations(other, body.muscle_names):
        activity, notes = model_activity(other, tuple(muscles), table, body)
        return activity, list(notes)
    mapped, unknown = muscle_columns(other, table, options.side)
    processed = envelopes(mapped, dataclasses.replace(options, signal=options.against_signal))
    return processed.series, [f"{options.against}: {note}" for note in (*unknown, *processed.left_out)]


def main_table(measured: Any, cycles: Any, other: Any, other_cycles: Any, options: EmgOptions) -> Any:
    """Return the main table: a comparison of cycles, a description of cycles, a comparison over time, or None.

    Args:
        measured: Envelopes.
        cycles: Their cycles; None: no events.
        other: The recording to compare with; None: none.
        other_cycles: Its cycles; None: no events.
        options: File names and pairs.
    """
    from muscle_torch.biomechanics.emg_report import compare_cycles, compare_over_time, describe_cycles

    if cycles is not None and other_cycles is not None:
        return compare_cycles(cycles, other_cycles)
    if cycles is not None:
        return describe_cycles(cycles)
    if other is not None and not options.pairs:
        shared = {name: name for name in measured.names if name in other.names}
        if not shared:
            raise InputError(f"{options.against} and {options.emg} share no muscle; set map= or channels=")
        return compare_over_time(measured, other, shared)
    return None


def write_report(
    options: EmgOptions, measured: Any, cycles: Any, other: Any, other_cycles: Any, tables: list[Any], notes: list[str]
) -> Path:
    """Write report.html and its tables; return the path.

    Args:
        options: Options of the program.
        measured: Envelopes.
        cycles: Their cycles; None: no events.
        other: The recording to compare with; None: none.
        other_cycles: Its cycles; None: no events.
        tables: Comparison first.
        notes: What was excluded or assumed.
    """
    from muscle_torch.biomechanics.emg_report import emg_report
    from muscle_torch.biomechanics.recordings import write_series
    from muscle_torch.biomechanics.report import write_table

    folder = Path(options.output)
    write_series(folder / "envelopes.csv", measured)
    if cycles is not None:
        write_table(folder / "cycles.csv", ("percent", *cycles.names), [(p, *row) for p, row in zip(
            cycles.percent.tolist(), cycles.mean.tolist(), strict=True)])  # fmt: skip
    if tables[0] is not None:
        write_table(folder / "table.csv", tables[0].columns, tables[0].rows)
    what = f"{Path(options.emg).name}" + (f" against {Path(options.against).name}" if options.against else "")
    labels = (Path(options.emg).name, Path(options.against).name)
    report = emg_report(what, labels, options, measured, cycles, other, other_cycles, tables, notes, options.pairs)
    return report.write(folder / "report.html")


if __name__ == "__main__":
    run_command(main, EmgOptions, __doc__ or "")
