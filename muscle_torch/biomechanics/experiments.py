"""Measured moment arms against the model's."""

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from omegaconf import OmegaConf

from muscle_torch.embodiments import Embodiment, moment_matrix
from muscle_torch.errors import InputError, nearest

from .agreement import pearson
from .muscle_mechanics import joint_tangent, path_state, peak_force
from .text_tables import decimal_mark, number, read_rows

EXPERIMENT_COLUMNS = ("measured curve", "muscles", "about", "mean apart [mm]", "most apart [mm]", "r", "measured [mm]",
                      "model [mm]", "verdict")  # fmt: skip
CLOSE = 0.010  # [m]; the spread of cadavers at one angle reaches it


@dataclass(frozen=True, eq=False)
class MeasuredArm:
    """One curve: `degrees` (P,) of the joint moved, `arm` (P,) [m], signs the authors'; and the model's, same signs."""

    name: str
    muscles: tuple[str, ...]
    axis: str
    source: str
    degrees: np.ndarray
    arm: np.ndarray
    model: np.ndarray


def compare_with_measured(embodiment: Embodiment, path: str | Path, mapping: str | Path = "") -> list[MeasuredArm]:
    """The curves of a table (columns study, curve, <joint>_deg, moment_arm_m) that the body has muscles for.

    `mapping`: YAML like `experimental_arms.yaml`. Angles beyond the joint's range are left out. Raises InputError for
    a table of another form, or where no curve belongs to the body.
    """
    curves, known = _read(Path(path)), _mapping(mapping)
    unknown = [name for name in curves if name not in known]
    if unknown:
        raise InputError(
            f"{path}: no mapping for {unknown[0]!r}{nearest(unknown[0], tuple(known))}; give mapping=<YAML>"
        )
    found = []
    for name, (degrees, arm) in curves.items():
        row = known[name]
        if any(m not in embodiment.muscle_names for m in row["muscles"]) or row["axis"] not in embodiment.joint_names:
            continue
        joint = int(embodiment.resolve("joint", [row["along"]])[0])
        low, high = np.degrees(embodiment.model.jnt_range[joint])
        inside = (degrees >= low) & (degrees <= high)
        model = row["sign"] * arms_about(embodiment, tuple(row["muscles"]), row["axis"], row["along"], degrees[inside])
        found.append(
            MeasuredArm(name, tuple(row["muscles"]), row["axis"], row["source"], degrees[inside], arm[inside], model)
        )
    if not found:
        raise InputError(f"{path}: {embodiment.name} has none of the measured muscles")
    return found


def arms_about(
    embodiment: Embodiment, muscles: tuple[str, ...], axis: str, along: str, degrees: np.ndarray
) -> np.ndarray:
    """(P,) moment arm [m] about `axis` while `along` moves through `degrees`; muscles weigh by maximal force."""
    model, data = embodiment.model, mujoco.MjData(embodiment.model)
    ids = embodiment.resolve("actuator", muscles)
    columns, weights = embodiment.muscle_columns(muscles), np.array([peak_force(model, int(i)) for i in ids])
    moved, about = (int(model.jnt_qposadr[int(embodiment.resolve("joint", [j])[0])]) for j in (along, axis))
    arms = []
    for angle in np.radians(degrees):
        posture = embodiment.qpos0.copy()
        posture[moved] = angle
        posture = embodiment.project(posture)
        path_state(embodiment, data, posture)
        arms.append(-(moment_matrix(embodiment, data)[columns] @ joint_tangent(embodiment, posture, about)))
    return np.stack(arms) @ weights / weights.sum()


def experiment_rows(curves: list[MeasuredArm]) -> list[tuple]:
    """One row a curve. `close`: on average within 10 mm; the sign is judged where both are longer than 5 mm."""
    rows = []
    for one in curves:
        apart = np.abs(one.arm - one.model)
        long = (np.abs(one.arm) > 5e-3) & (np.abs(one.model) > 5e-3)
        opposite = float(np.mean(np.sign(one.arm[long]) != np.sign(one.model[long]))) if long.any() else 0.0
        verdict = "close" if apart.mean() <= CLOSE else "apart"
        if opposite > 0.1:
            verdict += f", opposite sign over {100 * opposite:.0f} %"
        rows.append(
            (
                one.name,
                "+".join(one.muscles),
                one.axis,
                float(1e3 * apart.mean()),
                float(1e3 * apart.max()),
                pearson(one.arm, one.model),
                _span(one.arm),
                _span(one.model),
                verdict,
            )
        )
    return rows


def _span(arm: np.ndarray) -> str:
    return f"{1e3 * arm.min():.0f} to {1e3 * arm.max():.0f}"


def _read(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    rows, _, separator = read_rows(path)
    if not rows or len(rows[0].cells) != 4 or rows[0].cells[3] != "moment_arm_m":
        raise InputError(f"{path}: expected the columns study, curve, <joint>_deg, moment_arm_m")
    decimal = decimal_mark(rows, separator)
    table: dict[str, list[tuple[float, float]]] = {}
    for line, cells in rows[1:]:
        try:
            values = number(cells[2], decimal), number(cells[3], decimal)
        except (ValueError, IndexError):
            raise InputError(f"{path}: line {line}: expected two names and two numbers") from None
        table.setdefault(f"{cells[0]}.{cells[1]}", []).append(values)
    return {name: (np.array(rows)[:, 0], np.array(rows)[:, 1]) for name, rows in table.items()}


def _mapping(path: str | Path) -> dict[str, Any]:
    built_in = resources.files("muscle_torch.biomechanics") / "experimental_arms.yaml"
    table = OmegaConf.to_container(OmegaConf.load(Path(str(built_in))))
    assert isinstance(table, dict)
    if path:
        if not Path(path).is_file():
            raise InputError(f"{path}: no such file")
        own = OmegaConf.to_container(OmegaConf.load(Path(path)))
        if not isinstance(own, dict):
            raise InputError(f"{path}: not a table of curves")
        table = table | own
    return {str(name): row for name, row in table.items()}
