"""Surface EMG: from the raw signal to a normalized envelope."""

import dataclasses
from dataclasses import dataclass

import numpy as np

from muscle_torch.config import key
from muscle_torch.errors import InputError, nearest
from muscle_torch.motion.support import runs

from .series import TimeSeries, butterworth, check_rate, regular

FLAT_SECONDS = 0.25  # a surface electrode is never constant for longer
GAP_SECONDS = 0.05  # longer gaps are not interpolated
CLIPPED_SHARE = 0.002  # fraction of samples in runs of 3 or more at the extreme value
FASTEST_ENVELOPE = 25.0  # [Hz]; envelopes are low-passed at 20 Hz or less, raw surface EMG is faster
NORMALISATIONS = ("max", "mvc", "mean", "none")


@dataclass(frozen=True)
class EmgSettings:
    """Parameters of the processing steps, with the source of each default."""

    signal: str = key("auto", "raw, envelope (already smoothed: only normalized), or auto: detect")
    high_pass: float = key(20.0, "high-pass against motion artefacts (De Luca 2010: 20; ISEK: 10 to 20)", "Hz")
    low_pass: float = key(450.0, "low-pass against noise; 0: off (SENIAM, ISEK: 400 to 500)", "Hz")
    band_order: int = key(4, "Butterworth order of these filters over both passes (ISEK: 4)")
    envelope: float = key(
        6.0, "low-pass of the rectified signal (Winter 2009: 3 to 6 for walking, 20 for running)", "Hz"
    )
    envelope_order: int = key(4, "Butterworth order of the envelope over both passes (Winter 2009: 4)")
    normalise: str = key("max", "max (peak of the recording), mvc (peak of mvc= file), mean, or none")


@dataclass(frozen=True, eq=False)
class Envelopes:
    """Normalized, non-negative envelopes of the usable channels."""

    series: TimeSeries
    scale: np.ndarray  # (C,) divisor of each channel, in the channel's unit
    left_out: tuple[str, ...]  # notes on excluded channels and assumptions


def envelopes(raw: TimeSeries, settings: EmgSettings, mvc: TimeSeries | None = None) -> Envelopes:
    """Compute EMG envelopes: band-pass (or high-pass), rectify, low-pass, normalize. Unusable channels are left out.

    Args:
        raw: The recording.
        settings: Parameters of the steps.
        mvc: Recording of the maximal contractions, for `normalise=mvc`.

    Raises:
        InputError: The settings do not fit the rate, no channel is usable, `normalise=mvc` has no recording, or the
            rate is not plausible for EMG (10 Hz to 100 kHz).
    """
    _check(settings)
    if settings.normalise == "mvc" and mvc is None:
        raise InputError("normalise=mvc needs mvc=<recording of the maximal contractions>")
    check_rate(raw.rate, 10.0, raw.source or "EMG")
    assumptions: tuple[str, ...] = ()
    if settings.signal == "auto":
        smoothed = looks_smooth(raw)
        settings = dataclasses.replace(settings, signal="envelope" if smoothed else "raw")
        assumptions = ("assumed to be envelopes: no negative values, and little power above "
                       f"{FASTEST_ENVELOPE:g} Hz; set signal=raw if it is raw EMG",) if smoothed else ()  # fmt: skip
    usable, left_out = usable_channels(raw, settings.signal == "raw")
    left_out = (*assumptions, *left_out)
    if not usable.names:
        raise InputError(f"{raw.source or 'EMG'}: no usable channel ({'; '.join(left_out[:4])})")
    smooth = _smooth(usable, settings)
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
    """Return whether a recording appears to contain envelopes: non-negative, with 95 % of its power below 25 Hz."""
    finite = np.isfinite(series.values)
    values = series.values[:, finite.mean(axis=0) > 0.9]
    values = values[np.isfinite(values).all(axis=1)]
    # Smoothing causes small negative ripples next to steep rises.
    if len(values) < 30 or not values.size or values.min() < -0.05 * values.max():
        return False
    if series.rate <= 2 * FASTEST_ENVELOPE:
        return True
    power = np.abs(np.fft.rfft(values - values.mean(axis=0), axis=0)) ** 2
    fast = np.fft.rfftfreq(len(values), 1 / series.rate) > FASTEST_ENVELOPE
    return bool(power[fast].sum() < 0.05 * power.sum())


def usable_channels(raw: TimeSeries, is_raw: bool = True) -> tuple[TimeSeries, tuple[str, ...]]:
    """Return the usable channels on a regular clock, with short gaps interpolated, and notes on those left out.

    Args:
        raw: The recording.
        is_raw: Whether it is raw EMG, which is also checked for flat and saturated channels.
    """
    kept, columns, left_out = [], [], []
    for name, column in zip(raw.names, raw.values.T, strict=True):
        filled, issue = _inspect(column, raw.rate, is_raw)
        twin = next((n for n, c in zip(kept, columns, strict=True) if np.array_equal(c, filled)), None)
        if not issue and twin is not None:
            issue = f"is identical to channel {twin!r}"
        if issue:
            left_out.append(f"channel {name!r} {issue}")
        else:
            kept.append(name)
            columns.append(filled)
    if not kept:
        return dataclasses.replace(raw, values=np.zeros((len(raw.time), 0)), names=(), units=()), tuple(left_out)
    usable = raw.select(kept).with_values(np.stack(columns, axis=1))
    return (usable if usable.is_regular else regular(usable)), tuple(left_out)


def _inspect(column: np.ndarray, rate: float, is_raw: bool) -> tuple[np.ndarray, str]:
    """Return the column with short gaps interpolated, and the issue that makes it unusable ("" if there is none)."""
    missing = ~np.isfinite(column)
    if missing.all():
        return column, "contains no numbers"
    gaps = [end - start for start, end in runs(missing)]
    if gaps and max(gaps) > GAP_SECONDS * rate:
        return column, f"is missing for {max(gaps) / rate:.2f} s"
    if gaps:
        samples = np.arange(len(column))
        column = np.interp(samples, samples[~missing], column[~missing])
    if np.ptp(column) == 0.0:
        return column, f"is flat at {column[0]:g}"
    if is_raw:
        constant = [end - start for start, end in runs(np.diff(column) == 0.0)]
        if constant and max(constant) > FLAT_SECONDS * rate:
            return column, f"is flat for {max(constant) / rate:.2f} s"
        clipped = _clipped_share(column)
        if clipped > CLIPPED_SHARE:
            return column, f"is saturated in {100 * clipped:.1f} % of its samples"
    return column, ""


def _clipped_share(column: np.ndarray) -> float:
    """Return the fraction of samples in runs of 3 or more at the largest or smallest value."""
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
            "if it is an envelope, set signal=envelope"
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
    usable, left_out = usable_channels(mvc, settings.signal == "raw")
    names = [name for name in smooth.names if name in usable.names]
    missing = tuple(
        f"channel {name!r} has no usable maximal contraction{nearest(name, usable.names) if usable.names else ''}"
        for name in smooth.names
        if name not in usable.names
    )
    if not names:
        raise InputError(
            f"{mvc.source or 'mvc'} shares no channel name with {smooth.source or 'the recording'}; rename its channels"
        )
    peaks = _smooth(usable.select(names), settings).values.max(axis=0)
    notes = tuple(f"maximal contractions: {line}" for line in left_out)
    return peaks, smooth.select(names), (*missing, *notes)


def _check(settings: EmgSettings) -> None:
    if settings.normalise not in NORMALISATIONS:
        raise InputError(f"normalise={settings.normalise!r}{nearest(settings.normalise, NORMALISATIONS)}")
    if settings.signal not in ("auto", "raw", "envelope"):
        raise InputError(f"signal={settings.signal!r}: choose auto, raw or envelope")
