"""Comparison of measured moment arms with the model's."""

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from omegaconf import OmegaConf

from muscle_torch.embodiments import Embodiment, moment_matrix
from muscle_torch.embodiments.independent import IndependentJoints
from muscle_torch.errors import InputError, nearest

from .agreement import pearson
from .muscle_mechanics import path_state, peak_force
from .text_tables import decimal_mark, number, read_rows

EXPERIMENT_COLUMNS = ("measured curve", "muscles", "about", "mean apart [mm]", "most apart [mm]", "r", "measured [mm]",
                      "model [mm]", "verdict")  # fmt: skip
PUBLISHED = "published"  # value of experiment=: measured_arms.csv of this package
CLOSE = 0.010  # [m]; comparable to the spread of cadavers at one angle


@dataclass(frozen=True, eq=False)
class MeasuredArm:
    """A measured moment arm curve and the model's."""

    name: str
    muscles: tuple[str, ...]
    axis: str  # joint about which the moment arm is taken
    source: str
    degrees: np.ndarray  # (P,) angle of the joint that is moved [deg]
    arm: np.ndarray  # (P,) [m], with the authors' sign
    model: np.ndarray  # (P,) [m], with the same sign


def compare_with_measured(embodiment: Embodiment, path: str | Path, mapping: str | Path = "") -> list[MeasuredArm]:
    """Compare measured moment arm curves with the body's muscles.

    Curves of muscles that the body lacks are skipped, and angles beyond a joint's range are left out.

    Args:
        embodiment: The body.
        path: Table with the columns study, curve, <joint>_deg, moment_arm_m; "published": values of knee and ankle
            from the literature.
        mapping: YAML like `experimental_arms.yaml`, on top of it.

    Raises:
        InputError: The table has another format, a curve has no mapping, or no curve applies to the body.
    """
    if str(path) == PUBLISHED:
        path = Path(str(resources.files("muscle_torch.biomechanics") / "measured_arms.csv"))
    curves, mappings = _read(Path(path)), _mapping(mapping)
    unknown = [name for name in curves if name not in mappings]
    if unknown:
        raise InputError(
            f"{path}: no mapping for {unknown[0]!r}{nearest(unknown[0], tuple(mappings))}; set mapping=<YAML>"
        )
    compared = []
    for name, (degrees, arm) in curves.items():
        row = mappings[name]
        if any(m not in embodiment.muscle_names for m in row["muscles"]) or row["axis"] not in embodiment.joint_names:
            continue
        joint = int(embodiment.resolve("joint", [row["along"]])[0])
        low, high = np.degrees(embodiment.model.jnt_range[joint])
        inside = (degrees >= low) & (degrees <= high)
        model = row["sign"] * arms_about(embodiment, tuple(row["muscles"]), row["axis"], row["along"], degrees[inside])
        compared.append(
            MeasuredArm(name, tuple(row["muscles"]), row["axis"], row["source"], degrees[inside], arm[inside], model)
        )
    if not compared:
        raise InputError(f"{path}: {embodiment.name} has none of the measured muscles; choose another body")
    return compared


def arms_about(
    embodiment: Embodiment, muscles: tuple[str, ...], axis: str, along: str, degrees: np.ndarray
) -> np.ndarray:
    """Return the moment arm (P,) [m] of a group of muscles over a joint's range, weighted by maximal force.

    Args:
        embodiment: The body.
        muscles: The muscles.
        axis: Joint about which the moment arm is taken.
        along: Joint that is moved.
        degrees: Its angles, (P,) [deg].
    """
    model, data = embodiment.model, mujoco.MjData(embodiment.model)
    ids = embodiment.resolve("actuator", muscles)
    columns, weights = embodiment.muscle_columns(muscles), np.array([peak_force(model, int(i)) for i in ids])
    moved = int(model.jnt_qposadr[int(embodiment.resolve("joint", [along])[0])])
    arms, independent = [], IndependentJoints(embodiment)
    for angle in np.radians(degrees):
        posture = embodiment.qpos0.copy()
        posture[moved] = angle
        posture = embodiment.project(posture)
        path_state(embodiment, data, posture)
        arms.append(-(moment_matrix(embodiment, data)[columns] @ independent.along(posture, [axis])[:, 0]))
    return np.stack(arms) @ weights / weights.sum()


def experiment_rows(curves: list[MeasuredArm]) -> list[tuple]:
    """Return one row (`EXPERIMENT_COLUMNS`) per curve.

    `close` means within 10 mm on average; signs are compared if both arms are longer than 5 mm.
    """
    rows = []
    for one in curves:
        difference = np.abs(one.arm - one.model)
        long = (np.abs(one.arm) > 5e-3) & (np.abs(one.model) > 5e-3)
        opposite = float(np.mean(np.sign(one.arm[long]) != np.sign(one.model[long]))) if long.any() else 0.0
        verdict = "close" if difference.mean() <= CLOSE else "apart"
        if opposite > 0.1:
            verdict += f", opposite sign over {100 * opposite:.0f} %"
        rows.append(
            (
                one.name,
                "+".join(one.muscles),
                one.axis,
                float(1e3 * difference.mean()),
                float(1e3 * difference.max()),
                pearson(one.arm, one.model) if len(one.arm) > 2 else float("nan"),
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
            raise InputError(f"{path} does not exist (in {Path.cwd()})")
        custom = OmegaConf.to_container(OmegaConf.load(Path(path)))
        if not isinstance(custom, dict):
            raise InputError(f"{path}: not a table of curves; see experimental_arms.yaml for the format")
        table = table | custom
    return {str(name): row for name, row in table.items()}
