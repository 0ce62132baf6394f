"""Reference data of gait: cycle curves of people or trials, from a curve file or from a recording of one's own."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from muscle_torch.errors import InputError

# Where a quantity stands in a curve file, the factor on its values to ours, and how its columns are called there.
KEYS = {
    "angle": ("angle_deg", 1.0),
    "moment": ("moment_Nm", 1.0),
    "force": ("grf_pctBW", 0.01),
}
FORCE_NAMES = {"fore-aft": "Fore-aft", "vertical": "Vertical", "lateral": "Lateral"}


@dataclass(frozen=True, eq=False)
class ReferenceCurves:
    """`curves`: (quantity, name) -> (N trials, points); angles [deg], moments [Nm/kg], forces [BW], model's signs."""

    curves: dict[tuple[str, str], np.ndarray]
    source: str  # what a figure calls it

    def trial(self, number: int) -> "ReferenceCurves":
        """Only the trial of that number (from 1) of each curve."""
        count = min(len(rows) for rows in self.curves.values())
        if not 1 <= number <= count:
            raise InputError(f"{self.source} has trials 1 to {count}, not {number}")
        picked = {name: rows[number - 1 : number] for name, rows in self.curves.items()}
        return ReferenceCurves(picked, f"{self.source}, trial {number}")

    def get(self, quantity: str, name: str, points: int) -> np.ndarray | None:
        """(N, points) resampled; None where the reference has none."""
        found = self.curves.get((quantity, name))
        if found is None:
            return None
        # Published curves hold both ends of the cycle, whatever their count (100 points of falisse2019 do).
        theirs = np.linspace(0.0, 100.0, found.shape[1])
        ours = np.linspace(0.0, 100.0, points, endpoint=bool(points % 2))
        return np.stack([np.interp(ours, theirs, row) for row in found])


def is_curve_file(path: str | Path) -> bool:
    """Whether `path` is a .npz of curves (not a motion clip, which is .npz too)."""
    if Path(path).suffix.lower() != ".npz":
        return False
    stored = _arrays(Path(path), only=[key for key, _ in KEYS.values()])
    return bool(stored)


def read_reference(path: str | Path, convention: str = "auto") -> ReferenceCurves:
    """A .npz with `angle_deg`, `moment_Nm` or `grf_pctBW` (points, variables, trials) and `<key>_names` beside each.

    Knees that bend into the negative (gait2392) are turned to the model's sign, moments with them.
    """
    path = Path(path)
    arrays = _arrays(path)
    known = {quantity: key for quantity, (key, _) in KEYS.items() if key in arrays and f"{key}_names" in arrays}
    if not known:
        raise InputError(f"{path}: no curves: expected angle_deg, moment_Nm or grf_pctBW and their names")
    if "moment" in known and "body_mass_kg" not in arrays:
        raise InputError(f"{path}: moment_Nm needs body_mass_kg beside it, to be compared by mass")
    mass = float(arrays.get("body_mass_kg", 1.0))
    curves: dict[tuple[str, str], np.ndarray] = {}
    for quantity, key in known.items():
        values, names = arrays[key], [str(name) for name in arrays[f"{key}_names"]]
        if values.ndim != 3 or values.shape[1] != len(names):
            raise InputError(f"{path}: {key} is {values.shape}, expected (points, {len(names)} variables, trials)")
        wanted = FORCE_NAMES if quantity == "force" else {name: name for name in names}
        factor = KEYS[quantity][1] / (mass if quantity == "moment" else 1.0)
        for ours, theirs in wanted.items():
            if theirs in names:
                curves[quantity, ours] = factor * values[:, names.index(theirs), :].T.astype(float)
    knee = curves.get(("angle", "knee_angle"))
    if knee is not None and (convention == "gait2392" or (convention == "auto" and knee.max() < -knee.min())):
        for quantity in ("angle", "moment"):
            if (quantity, "knee_angle") in curves:
                curves[quantity, "knee_angle"] = -curves[quantity, "knee_angle"]
    complete = {name: rows[np.isfinite(rows).all(axis=1)] for name, rows in curves.items()}
    return ReferenceCurves({name: rows for name, rows in complete.items() if len(rows)}, path.stem)


def _arrays(path: Path, only: Sequence[str] = ()) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {key: stored[key] for key in stored.files if not only or key in only}
    except (ValueError, BadZipFile, OSError, EOFError):
        raise InputError(f"{path}: not a file of curves (.npz)") from None
