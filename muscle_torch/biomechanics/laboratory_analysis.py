"""Comparison of a rollout with its recorded trial, of `tools/analyze.py rollout= trial=`."""

from pathlib import Path

from muscle_torch.errors import InputError
from muscle_torch.motion.rollout_archive import read_archive

from .analyze_options import AnalyzeOptions
from .emg_map import load_map
from .gait import body_of
from .laboratory import read_laboratory
from .laboratory_curves import COLUMNS, agreement_rows, compare_with_laboratory, curve_series, episode_of
from .laboratory_report import CHANCE_COLUMNS, chance_rows, laboratory_report, summary
from .recordings import write_series
from .report import text_table, write_table


def compare_rollout(options: AnalyzeOptions) -> None:
    """Compare a rollout with force plates, joint moments and EMG of the trial that it follows."""
    if not (options.rollout and options.trial):
        raise InputError("set both rollout=<archive> and trial=<folder of the recorded trial>, or neither")
    archive, table = read_archive(options.rollout), load_map(options.map)
    if options.episode >= len(archive.episodes):
        raise InputError(
            f"{options.rollout} has {len(archive.episodes)} episodes, so episode={options.episode} does not exist"
        )
    files = {"motion": options.motion, "forces": options.forces, "moments": options.moments, "emg": options.emg}
    laboratory = read_laboratory(options.trial, table, files, options.side, options.convention)
    body = body_of(archive)
    episode = options.episode if options.episode >= 0 else episode_of(body, archive, laboratory)
    one = compare_with_laboratory(body, archive, episode, laboratory, table, options.mass, options.cutoff,
                                  options.swap_plates)  # fmt: skip
    folder = Path(options.output)
    tables = {kind: (columns, agreement_rows(one, kind)) for kind, columns in COLUMNS.items() if one.of(kind)}
    for kind, (columns, rows) in tables.items():
        print(text_table(columns, rows), end="\n\n")
        write_table(folder / f"{kind}s.csv", columns, rows)
    write_series(folder / "curves.csv", curve_series(one))
    if len(one.of("muscle")) > 1:
        print(text_table(CHANCE_COLUMNS, chance_rows(one)), end="\n\n")
    for note in one.notes:
        print(f"excluded or assumed: {note}")
    print(summary(one))
    print(f"written to {laboratory_report(one).write(folder / 'report.html')}")
