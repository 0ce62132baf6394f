"""Zero-phase Butterworth filters on even clocks."""

import numpy as np
from scipy import signal

from muscle_torch.errors import InputError

from .series import TimeSeries, regular


def butterworth(
    values: np.ndarray, rate: float, cutoff: float | tuple[float, float], kind: str, order: int
) -> np.ndarray:
    """`values` (T, ...) filtered forwards and backwards along the first axis; `order` is the order after both passes.

    `kind` is low, high or band, `cutoff` [Hz] one number or (low, high). Both passes together have their half-power
    point at `cutoff`: the design's cutoff is corrected (Winter 2009, section 3.4.4.2). Raises InputError for a cutoff
    beyond half the rate, or a recording shorter than the filter.
    """
    edges = np.atleast_1d(np.asarray(cutoff, dtype=float))
    if (edges <= 0).any() or (edges >= rate / 2).any():
        raise InputError(f"cutoff {cutoff} Hz lies outside 0 to {rate / 2:g} Hz, half the rate of the recording")
    if order < 2 or order % 2:
        raise InputError(f"filter order {order}: zero-phase filters pass twice, their order is even and at least 2")
    each = order // 2
    correction = (np.sqrt(2.0) - 1.0) ** (1.0 / (2 * each))
    sos_parts = []
    if kind in ("high", "band"):
        sos_parts.append(signal.butter(each, edges[0] * correction, "high", fs=rate, output="sos"))
    if kind in ("low", "band"):
        top = min(edges[-1] / correction, 0.499 * rate)
        sos_parts.append(signal.butter(each, top, "low", fs=rate, output="sos"))
    if not sos_parts:
        raise InputError(f"unknown kind of filter {kind!r}: low, high or band")
    out = np.asarray(values, dtype=float)
    pad = min(3 * int(rate / edges.min()), len(out) - 1)
    if len(out) < 3 * (2 * each + 1):
        raise InputError(f"{len(out)} samples are too few to filter")
    for sos in sos_parts:
        out = signal.sosfiltfilt(sos, out, axis=0, padlen=pad)
    return out


def low_pass(series: TimeSeries, cutoff: float, order: int = 4) -> TimeSeries:
    """The series on an even clock, low-passed at `cutoff` [Hz]."""
    even = series if series.is_regular else regular(series)
    return even.with_values(butterworth(even.values, even.rate, cutoff, "low", order))


def runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """[start, end) of every run of True."""
    edges = np.diff(np.concatenate(([0], mask.astype(np.int8), [0])))
    return list(zip(np.flatnonzero(edges == 1).tolist(), np.flatnonzero(edges == -1).tolist(), strict=True))
