"""Length and smoothness of a point's path: spectral arc length and dimensionless jerk."""

import numpy as np

AT_REST = 1e-6  # [m/s]; a point that stays slower does not move


def path_length(positions: np.ndarray) -> float:
    """Return the length [m] of a path (T, 3) [m]: the sum of the distances between frames."""
    return float(np.linalg.norm(np.diff(positions, axis=0), axis=1).sum())


def spectral_arc_length(
    speed: np.ndarray, rate: float, cutoff: float = 10.0, threshold: float = 0.05, padding: int = 4
) -> float:
    """Return the spectral arc length (SPARC) of a speed profile; closer to 0 is smoother.

    Negative length of the normalized amplitude spectrum, from 0 to the last frequency whose amplitude is above a
    threshold. It does not depend on the size of the movement. Balasubramanian et al. 2015, J NeuroEng Rehabil 12:112.

    Args:
        speed: (T,), in any unit.
        rate: Sampling rate [Hz].
        cutoff: Higher frequencies are ignored [Hz].
        threshold: Fraction of the largest amplitude.
        padding: The spectrum has 2^padding times the points of the profile.

    Returns:
        The arc length; NaN for a point at rest.
    """
    if len(speed) < 2 or np.abs(speed).max() < AT_REST:
        return float("nan")
    points = 2 ** (int(np.ceil(np.log2(len(speed)))) + padding)
    amplitude = np.abs(np.fft.rfft(speed, points))
    amplitude = amplitude[np.arange(len(amplitude)) * rate / points <= cutoff] / amplitude.max()
    amplitude = amplitude[: np.flatnonzero(amplitude >= threshold)[-1] + 1]
    if len(amplitude) < 2:
        return float("nan")
    return float(-np.hypot(1.0 / (len(amplitude) - 1), np.diff(amplitude)).sum())


def log_dimensionless_jerk(velocity: np.ndarray, rate: float) -> float:
    """Return the negative logarithm of the dimensionless jerk of a movement; larger (closer to 0) is smoother.

    -ln(T^3 / v_peak^2 * integral of |jerk|^2 dt), independent of the size and duration of a movement: -5.32 for the
    smoothest one from rest to rest. Hogan and Sternad 2009, J Mot Behav 41:529-534.

    Args:
        velocity: (T, 3) [m/s].
        rate: Sampling rate [Hz].

    Returns:
        The logarithm; NaN for a point at rest, or for fewer than 3 frames.
    """
    peak = float(np.linalg.norm(velocity, axis=1).max(initial=0.0))
    if len(velocity) < 3 or peak < AT_REST:
        return float("nan")
    jerk = np.diff(velocity, n=2, axis=0) * rate**2
    duration = (len(velocity) - 1) / rate
    integral = float(np.mean(np.sum(jerk**2, axis=1))) * duration
    return float(-np.log(duration**3 / peak**2 * integral)) if integral > 0 else float("nan")
