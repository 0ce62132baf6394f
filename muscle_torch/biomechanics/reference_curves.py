"""Reference curves of gait: cycles of people or trials, from a curve file or a recording."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from muscle_torch.errors import InputError

# Quantity -> its key in a curve file, and the factor to this package's unit.
KEYS = {
    "angle": ("angle_deg", 1.0),
    "moment": ("moment_Nm", 1.0),
    "force": ("grf_pctBW", 0.01),
}
FORCE_NAMES = {"fore-aft": "Fore-aft", "vertical": "Vertical", "lateral": "Lateral"}


@dataclass(frozen=True, eq=False)
class ReferenceCurves:
    """Reference cycles: angles [deg], moments [Nm/kg], forces [BW], with the model's signs."""

    curves: dict[tuple[str, str], np.ndarray]  # (quantity, name) -> (N trials, points)
    source: str  # name in figures

    def trial(self, number: int) -> "ReferenceCurves":
        """Return the curves of one trial, counted from 1. Raises InputError if it does not exist."""
        count = min(len(rows) for rows in self.curves.values())
        if not 1 <= number <= count:
            raise InputError(f"{self.source} has trials 1 to {count}, not {number}")
        selected = {name: rows[number - 1 : number] for name, rows in self.curves.items()}
        return ReferenceCurves(selected, f"{self.source}, trial {number}")

    def get(self, quantity: str, name: str, points: int) -> np.ndarray | None:
        """Return a curve resampled to (N, points); None if the reference does not have it.

        Args:
            quantity: angle, moment or force.
            name: Name of the curve.
            points: Number of points; an odd number includes both ends of the cycle.
        """
        stored = self.curves.get((quantity, name))
        if stored is None:
            return None
        # Published curves include both ends of the cycle, whatever their number of points (falisse2019: 100).
        stored_grid = np.linspace(0.0, 100.0, stored.shape[1])
        grid = np.linspace(0.0, 100.0, points, endpoint=bool(points % 2))
        return np.stack([np.interp(grid, stored_grid, row) for row in stored])


def is_curve_file(path: str | Path) -> bool:
    """Return whether `path` is a .npz file of curves (motion clips are .npz too)."""
    if Path(path).suffix.lower() != ".npz":
        return False
    stored = _arrays(Path(path), only=[key for key, _ in KEYS.values()])
    return bool(stored)


def read_reference(path: str | Path, convention: str = "auto") -> ReferenceCurves:
    """Read a .npz file of curves.

    The file contains `angle_deg`, `moment_Nm` or `grf_pctBW` (points, variables, trials), each with `<key>_names`.
    Negative knee flexion (gait2392) is converted to the model's sign, including moments.

    Args:
        path: The file.
        convention: Sign of knee flexion: rajagopal (+), gait2392 (-) or auto.

    Raises:
        InputError: The file is not a file of curves, or moments have no body mass.
    """
    path = Path(path)
    arrays = _arrays(path)
    present = {quantity: key for quantity, (key, _) in KEYS.items() if key in arrays and f"{key}_names" in arrays}
    if not present:
        raise InputError(f"{path}: no curves; expected angle_deg, moment_Nm or grf_pctBW and their names")
    if "moment" in present and "body_mass_kg" not in arrays:
        raise InputError(f"{path}: moment_Nm also needs body_mass_kg, to be divided by mass")
    mass = float(arrays.get("body_mass_kg", 1.0))
    curves: dict[tuple[str, str], np.ndarray] = {}
    for quantity, key in present.items():
        values, names = arrays[key], [str(name) for name in arrays[f"{key}_names"]]
        if values.ndim != 3 or values.shape[1] != len(names):
            raise InputError(f"{path}: {key} is {values.shape}, expected (points, {len(names)} variables, trials)")
        names_there = FORCE_NAMES if quantity == "force" else {name: name for name in names}
        factor = KEYS[quantity][1] / (mass if quantity == "moment" else 1.0)
        for name, name_there in names_there.items():
            if name_there in names:
                curves[quantity, name] = factor * values[:, names.index(name_there), :].T.astype(float)
    knee = curves.get(("angle", "knee_angle"))
    if knee is not None and (convention == "gait2392" or (convention == "auto" and knee.max() < -knee.min())):
        for quantity in ("angle", "moment"):
            if (quantity, "knee_angle") in curves:
                curves[quantity, "knee_angle"] = -curves[quantity, "knee_angle"]
    complete = {name: rows[np.isfinite(rows).all(axis=1)] for name, rows in curves.items()}
    return ReferenceCurves({name: rows for name, rows in complete.items() if len(rows)}, path.stem)


def _arrays(path: Path, only: Sequence[str] = ()) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise InputError(f"{path} does not exist (in {Path.cwd()})")
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {key: stored[key] for key in stored.files if not only or key in only}
    except (ValueError, BadZipFile, OSError, EOFError):
        raise InputError(f"{path}: not a file of curves (.npz)") from None
