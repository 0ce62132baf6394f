"""Surface EMG: from the raw signal to a normalised envelope."""

import dataclasses
from dataclasses import dataclass

import numpy as np

from muscle_torch.config import key
from muscle_torch.errors import InputError, nearest
from muscle_torch.motion.support import runs

from .series import TimeSeries, butterworth, check_rate, regular

FLAT_SECONDS = 0.25  # a surface electrode is never still for so long
GAP_SECONDS = 0.05  # longer holes are not bridged
CLIPPED_SHARE = 0.002  # of the samples, in runs of 3 and more at the extreme value
FASTEST_ENVELOPE = 25.0  # [Hz]; envelopes are low-passed at 20 Hz and below, raw surface EMG lies above
NORMALISATIONS = ("max", "mvc", "mean", "none")


@dataclass(frozen=True)
class EmgSettings:
    """Every step's parameter, its default, and where the default comes from."""

    signal: str = key("auto", "raw, envelope (smoothed already: it is only normalised), or auto: what it looks like")
    high_pass: float = key(20.0, "motion artefacts below are removed (De Luca 2010: 20; ISEK: 10 to 20)", "Hz")
    low_pass: float = key(450.0, "noise above is removed; 0: not (SENIAM, ISEK: 400 to 500)", "Hz")
    band_order: int = key(4, "Butterworth order of these, both passes together (ISEK: 4)")
    envelope: float = key(
        6.0, "low-pass of the rectified signal (Winter 2009: 3 to 6 for walking, 20 for running)", "Hz"
    )
    envelope_order: int = key(4, "its order, both passes together (Winter 2009: 4)")
    normalise: str = key("max", "max (peak of the recording), mvc (peak of mvc= file), mean, or none")


@dataclass(frozen=True, eq=False)
class Envelopes:
    """`series`: good channels, normalised, not negative. `scale` (C,): what each was divided by, in its own unit."""

    series: TimeSeries
    scale: np.ndarray
    left_out: tuple[str, ...]


def envelopes(raw: TimeSeries, settings: EmgSettings, mvc: TimeSeries | None = None) -> Envelopes:
    """Band-pass (or high-pass), rectify, low-pass, normalise; bad channels are left out and told.

    Raises InputError if the settings do not fit the rate, no channel is good, `normalise=mvc` has no file, or the clock
    is none of EMG (10 Hz to 100 kHz).
    """
    _check(settings)
    if settings.normalise == "mvc" and mvc is None:
        raise InputError("normalise=mvc needs mvc=<recording of the maximal contractions>")
    check_rate(raw.rate, 10.0, raw.source or "EMG")
    told: tuple[str, ...] = ()
    if settings.signal == "auto":
        done = looks_smooth(raw)
        settings = dataclasses.replace(settings, signal="envelope" if done else "raw")
        told = ("taken for envelopes, for nothing is negative and little moves faster than "
                f"{FASTEST_ENVELOPE:g} Hz; set signal=raw if it is raw EMG",) if done else ()  # fmt: skip
    good, left_out = good_channels(raw, settings.signal == "raw")
    left_out = (*told, *left_out)
    if not good.names:
        raise InputError(f"{raw.source or 'EMG'}: no usable channel ({'; '.join(left_out[:4])})")
    smooth = _smooth(good, settings)
    if mvc is not None and settings.normalise == "mvc":
        scale, smooth, missing = _mvc_scale(smooth, mvc, settings)
        left_out = (*left_out, *missing)
    else:
        columns = smooth.values
        scale = {"max": columns.max(axis=0), "mean": columns.mean(axis=0)}.get(
            settings.normalise, np.ones(columns.shape[1])
        )
    units = smooth.units if settings.normalise == "none" else (f"of {settings.normalise}",) * len(smooth.names)
    return Envelopes(smooth.with_values(smooth.values / scale, units), scale, left_out)


def looks_smooth(series: TimeSeries) -> bool:
    """Whether a recording seems to hold envelopes: not negative, and 95 % of its power below `FASTEST_ENVELOPE`."""
    known = np.isfinite(series.values)
    values = series.values[:, known.mean(axis=0) > 0.9]
    values = values[np.isfinite(values).all(axis=1)]
    # Smoothing leaves small negative ripples beside steep rises.
    if len(values) < 30 or not values.size or values.min() < -0.05 * values.max():
        return False
    if series.rate <= 2 * FASTEST_ENVELOPE:
        return True
    power = np.abs(np.fft.rfft(values - values.mean(axis=0), axis=0)) ** 2
    fast = np.fft.rfftfreq(len(values), 1 / series.rate) > FASTEST_ENVELOPE
    return bool(power[fast].sum() < 0.05 * power.sum())


def good_channels(raw: TimeSeries, is_raw: bool = True) -> tuple[TimeSeries, tuple[str, ...]]:
    """The usable channels on an even clock, short holes bridged; and in words what was left out."""
    kept, columns, left_out = [], [], []
    for name, column in zip(raw.names, raw.values.T, strict=True):
        filled, complaint = _inspect(column, raw.rate, is_raw)
        twin = next((n for n, c in zip(kept, columns, strict=True) if np.array_equal(c, filled)), None)
        if not complaint and twin is not None:
            complaint = f"is the same as channel {twin!r}, sample by sample"
        if complaint:
            left_out.append(f"channel {name!r} {complaint}")
        else:
            kept.append(name)
            columns.append(filled)
    if not kept:
        return dataclasses.replace(raw, values=np.zeros((len(raw.time), 0)), names=(), units=()), tuple(left_out)
    good = raw.select(kept).with_values(np.stack(columns, axis=1))
    return (good if good.is_regular else regular(good)), tuple(left_out)


def _inspect(column: np.ndarray, rate: float, is_raw: bool) -> tuple[np.ndarray, str]:
    """The column with short holes bridged, and a complaint ('' where it is usable)."""
    bad = ~np.isfinite(column)
    if bad.all():
        return column, "holds no numbers"
    holes = [end - start for start, end in runs(bad)]
    if holes and max(holes) > GAP_SECONDS * rate:
        return column, f"is missing for {max(holes) / rate:.2f} s"
    if holes:
        samples = np.arange(len(column))
        column = np.interp(samples, samples[~bad], column[~bad])
    if np.ptp(column) == 0.0:
        return column, f"is flat at {column[0]:g}"
    if is_raw:
        still = [end - start for start, end in runs(np.diff(column) == 0.0)]
        if still and max(still) > FLAT_SECONDS * rate:
            return column, f"is flat for {max(still) / rate:.2f} s"
        clipped = _clipped_share(column)
        if clipped > CLIPPED_SHARE:
            return column, f"is saturated in {100 * clipped:.1f} % of its samples"
    return column, ""


def _clipped_share(column: np.ndarray) -> float:
    """Share of samples that lie in runs of 3 or more at the greatest or least value."""
    count = 0
    for extreme in (column.max(), column.min()):
        at = column == extreme
        count += sum(end - start for start, end in runs(at) if end - start >= 3)
    return count / len(column)


def _smooth(series: TimeSeries, settings: EmgSettings) -> TimeSeries:
    if settings.signal == "envelope":
        return series.with_values(np.maximum(series.values, 0.0))
    rate = series.rate
    if settings.high_pass >= rate / 2:
        raise InputError(
            f"{series.source or 'EMG'} has {rate:g} Hz: too slow for raw EMG (high_pass={settings.high_pass:g} Hz); "
            "is it an envelope? then signal=envelope"
        )
    values = series.values - series.values.mean(axis=0)
    if settings.low_pass and settings.low_pass < 0.49 * rate:
        values = butterworth(values, rate, (settings.high_pass, settings.low_pass), "band", settings.band_order)
    else:
        values = butterworth(values, rate, settings.high_pass, "high", settings.band_order)
    smooth = butterworth(np.abs(values), rate, settings.envelope, "low", settings.envelope_order)
    return series.with_values(np.maximum(smooth, 0.0))


def _mvc_scale(
    smooth: TimeSeries, mvc: TimeSeries, settings: EmgSettings
) -> tuple[np.ndarray, TimeSeries, tuple[str, ...]]:
    good, left_out = good_channels(mvc, settings.signal == "raw")
    names = [name for name in smooth.names if name in good.names]
    missing = tuple(
        f"channel {name!r} has no usable maximal contraction{nearest(name, good.names) if good.names else ''}"
        for name in smooth.names
        if name not in good.names
    )
    if not names:
        raise InputError(f"{mvc.source or 'mvc'}: none of its channels belongs to {smooth.source or 'the recording'}")
    peaks = _smooth(good.select(names), settings).values.max(axis=0)
    told = tuple(f"maximal contractions: {line}" for line in left_out)
    return peaks, smooth.select(names), (*missing, *told)


def _check(settings: EmgSettings) -> None:
    if settings.normalise not in NORMALISATIONS:
        raise InputError(f"normalise={settings.normalise!r}{nearest(settings.normalise, NORMALISATIONS)}")
    if settings.signal not in ("auto", "raw", "envelope"):
        raise InputError(f"signal={settings.signal!r}: auto, raw or envelope")
