"""The page and the figures of `tools/latent.py`."""

from typing import Any

import numpy as np

from .latent_analysis import FORECAST_COLUMNS, LATENT, VARIANCE_COLUMNS, LatentAnalysis
from .report import COLORS, GREY, Curve, Panel, Report, grid
from .trial_emg import COLUMNS, GLOSSARY, MusclePair

TRIALS = 5  # in the picture of latents
WORDS = (
    "PC: share of the variance along the first principal components, over all trials together",
    "effective number: (sum of variances)^2 / sum of their squares; 1 is one direction",
    "rho: correlation of forecast and signal, each trial forecast from the others (simplex); mean of trials",
    "shuffled: 95th percentile of |rho| if what follows is permuted; persistence: r of the signal with itself as many "
    "steps before",
)


def latent_report(analysis: LatentAnalysis) -> Report:
    """Return the page of an analysis."""
    archive = analysis.archive
    seconds = archive.dt * sum(len(episode.qpos) for episode in archive.episodes)
    report = Report(
        f"Latent and muscles of {archive.embodiment}",
        f"{len(archive.episodes)} trials, {seconds:.1f} s at {1 / archive.dt:.0f} Hz. {summary(analysis)}",
    )
    captions = {
        "emg": "Mean and one standard deviation over the trials, from their start.",
        "latent": f"Mean of the latent in the first {TRIALS} trials.",
        "variance": "Share of the variance in the first principal components.",
        "forecast": "Correlation of forecast and signal; dots: chance level (95th percentile of shuffled libraries).",
    }
    for name, figure in figures(analysis).items():
        report.figure(figure, captions[name])
    if analysis.pairs:
        report.heading("Excitation against EMG")
        report.table(COLUMNS, [pair.row() for pair in analysis.pairs])
        report.glossary(GLOSSARY)
    report.heading("Variance")
    report.table(VARIANCE_COLUMNS, analysis.variance_rows())
    report.heading("Forecasts")
    report.table(FORECAST_COLUMNS, analysis.forecast_rows())
    report.glossary(WORDS)
    report.heading("What was left out or assumed")
    report.notes(analysis.notes)
    return report


def summary(analysis: LatentAnalysis) -> str:
    """Return one sentence: how many directions the latent uses, and how muscles compare with EMG."""
    parts = []
    if LATENT in analysis.variances:
        latent = analysis.variances[LATENT]
        parts.append(f"The latent of {len(latent.fractions)} numbers uses {latent.participation:.1f} directions.")
    if analysis.pairs:
        better = sum(pair.mae < pair.constant for pair in analysis.pairs)
        parts.append(f"{better} of {len(analysis.pairs)} muscles are nearer to the EMG than the best constant.")
    return " ".join(parts)


def figures(analysis: LatentAnalysis) -> dict[str, Any]:
    """Return the figures by name."""
    made: dict[str, Any] = {"emg": _emg(analysis.pairs)} if analysis.pairs else {}
    made["latent"] = _latents(analysis)
    if analysis.variances:
        made["variance"] = _variances(analysis)
    if analysis.forecasts:
        made["forecast"] = _forecasts(analysis)
    return made


def _emg(pairs: list[MusclePair]) -> Any:
    length = min(min(map(len, pair.emg)) for pair in pairs)
    panels = []
    for pair in pairs:
        curves = []
        for label, trials, color in (("EMG", pair.emg, GREY), ("excitation", pair.excitation, COLORS[0])):
            values = np.stack([trial[:length] for trial in trials])
            curves.append(Curve(label, values.mean(0), values.std(0), color))
        best = float(np.median(np.concatenate(pair.emg)))
        curves.append(Curve("best constant", np.full(length, best), None, COLORS[1], "--"))
        panels.append(Panel(f"{pair.muscle}: r {pair.r:.2f}", curves, floor=0.0))
    return grid(
        panels, 1000 * pairs[0].dt * (np.arange(length) + 0.5), "time [ms]", width=max(6.0, 2.9 * min(len(panels), 4))
    )


def _latents(analysis: LatentAnalysis) -> Any:
    episodes = analysis.archive.episodes[:TRIALS]
    length = min(len(episode.qpos) for episode in episodes)
    size = episodes[0].network[LATENT].shape[1]
    panels = [
        Panel(f"latent {i + 1}", [Curve(e.name, e.network[LATENT][:length, i]) for e in episodes]) for i in range(size)
    ]
    return grid(panels, analysis.archive.dt * np.arange(length), "time [s]")


def _variances(analysis: LatentAnalysis) -> Any:
    from matplotlib.figure import Figure

    names = list(analysis.variances)
    figure = Figure(figsize=(1.1 * len(names) + 2.5, 3.0), layout="constrained")
    axis = figure.subplots()
    bottom = np.zeros(len(names))
    for index in range(3):
        heights = np.nan_to_num([100 * one.leading(3)[index] for one in analysis.variances.values()])
        axis.bar(names, heights, bottom=bottom, color=COLORS[index], label=f"PC {index + 1}")
        bottom += heights
    axis.set_ylabel("variance [%]")
    axis.set_ylim(0, 100)
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=3, fontsize=9)
    return figure


def _forecasts(analysis: LatentAnalysis) -> Any:
    from matplotlib.figure import Figure

    targets = list(dict.fromkeys(row.target for row in analysis.forecasts))
    sources = list(dict.fromkeys(row.source for row in analysis.forecasts))
    figure = Figure(figsize=(0.9 * len(targets) + 3, 3.2), layout="constrained")
    axis = figure.subplots()
    width = 0.8 / len(sources)
    for index, source in enumerate(sources):
        rows = [row for row in analysis.forecasts if row.source == source]
        x = np.array([targets.index(row.target) for row in rows]) + (index - (len(sources) - 1) / 2) * width
        axis.bar(x, [row.result.rho for row in rows], width, color=COLORS[index], label=source)
        axis.plot(x, [row.result.shuffled for row in rows], "o", color="white", markeredgecolor=GREY, ms=5)
    axis.set_xticks(range(len(targets)), targets, rotation=30, ha="right", fontsize=8)
    axis.set_ylabel("rho")
    axis.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=len(sources), fontsize=9)
    return figure
