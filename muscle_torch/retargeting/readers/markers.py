"""Optical markers from .trc and .c3d files -> joint centres and frames of pelvis and trunk."""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from muscle_torch.errors import InputError, nearest

from ..raw import SIDES, RawMotion
from .static_trial import carried

# role -> names the marker goes by, without subject prefix, punctuation and case; {} is R or L; several: their middle.
SIDE_ROLES = {
    "{}ASI": ("{}ASI", "{}ASIS", "{}FWT", "ASIS{}"),
    "{}PSI": ("{}PSI", "{}PSIS", "{}BWT", "PSIS{}"),
    "{}HJC": ("{}HJC",),
    "{}KJC": ("{}KJC",),
    "{}AJC": ("{}AJC",),
    "{}KNE": ("{}KNE", "{}LFC", "{}KNEE", "{}KNEELAT", "{}LEK"),
    "{}KNM": ("{}KNM", "{}MFC", "{}KNEEMED", "{}MEK"),
    "{}ANK": ("{}ANK", "{}LMAL", "{}ANKLE", "{}ANKLELAT", "{}LAK"),
    "{}ANM": ("{}ANM", "{}MMAL", "{}ANKLEMED", "{}MAK"),
    "{}TOE": ("{}TOE", "{}MT2", "{}TOEMED"),
    "{}SJC": ("{}SJC",),
    "{}EJC": ("{}EJC",),
    "{}SHO": ("{}SHO", "{}ACR", "{}SHOULDER", "{}ACROMIUM", "{}ACROMION", "ACROTIP{}"),
    "{}ELB": ("{}ELB", "{}LEL", "{}ELBOW", "EPICL{}"),
    "{}ELM": ("{}ELM", "{}MEL", "EPICM{}"),
    "{}WRA": ("{}WRA", "{}WRIST", "{}WRISTLAT", "{}FARADIUS", "STYLR{}"),
    "{}WRB": ("{}WRB", "{}WRISTMED", "{}FAULNA", "STYLU{}"),
    "{}FIN": ("{}FIN", "INDEX{}"),
}
CENTRE_ROLES: dict[str, tuple[str | tuple[str, ...], ...]] = {
    "SACR": ("SACR", "VSACRAL", "S2", "SACRUM"),
    "C7": ("C7", "T1"),
    "CLAV": ("CLAV", "STER", ("RCLAVICLE", "LCLAVICLE")),
    "STRN": ("STRN", "XIPH", "STERNUM"),
    "T10": ("T10",),
}
ONE_ARM = ("ACROTIP", "EPICL", "EPICM", "STYLR", "STYLU", "INDEX")
SPACE = 1e-9
KNEE_INWARD, ANKLE_INWARD = 0.055, 0.04  # [m] joint centre from a lateral marker where the medial one is missing
SHOULDER_DROP = 0.17  # of the distance between both acromia, below the marker (Rab et al. 2002)
METRES = {"mm": 1e-3, "cm": 1e-2, "m": 1.0, "meters": 1.0, "metres": 1.0, "in": 0.0254}


class Markers(NamedTuple):
    """A file's content."""

    labels: list[str]
    points: np.ndarray  # (T, M, 3) [m], NaN where unseen
    rate: float  # [Hz]


def read_markers(path: Path, unit: float = 0.0, names: dict[str, str] | None = None, static: str = "") -> RawMotion:
    """Landmarks from a .trc or .c3d file.

    `names`: role -> marker name of this file, where the usual names do not fit. `static`: a file of the same subject
    standing; what it alone shows is carried over.
    """
    beside = _load(Path(static), unit) if static else None
    return from_markers(path, _load(path, unit), names, beside)


def _load(path: Path, unit: float) -> Markers:
    if path.suffix.lower() not in (".trc", ".c3d") or not path.is_file():
        raise InputError(f"static={path}: no such .trc or .c3d file")
    return load_trc(path, unit) if path.suffix.lower() == ".trc" else load_c3d(path, unit)


def load_trc(path: Path, unit: float = 0.0) -> Markers:
    """Tab-separated markers."""
    lines = path.read_text(encoding="latin-1").splitlines()
    try:
        keys, values = lines[1].split(), lines[2].split()
        header = dict(zip(keys, values, strict=False))
        rate, stated = float(header["DataRate"]), header["Units"].lower()
        labels = [word.strip() for word in lines[3].split("\t")[2:] if word.strip()]
    except (IndexError, KeyError, ValueError) as error:
        raise InputError(f"{path}: not a .trc file: its header is not whole ({error})") from None
    rows = []
    for number, line in enumerate(lines[5:], start=6):
        words = line.rstrip("\r\n").split("\t")
        if not "".join(words).strip():
            continue
        cells = words[2 : 2 + 3 * len(labels)]
        cells += [""] * (3 * len(labels) - len(cells))
        try:
            rows.append([float(cell) if cell.strip() else np.nan for cell in cells])
        except ValueError:
            raise InputError(f"{path}: line {number} holds something that is no number") from None
    frames = int(float(header.get("NumFrames", len(rows))))
    if len(rows) < frames:
        raise InputError(f"{path}: states {frames} frames and holds {len(rows)}: the file was cut off")
    points = np.array(rows).reshape(len(rows), len(labels), 3)
    scale = unit or METRES.get(stated, 0.0)
    if not scale:
        raise InputError(f"{path}: unknown unit {stated!r}; set unit= to its length in metres")
    return Markers(labels, points * scale, rate)


def load_c3d(path: Path, unit: float = 0.0) -> Markers:
    """Binary C3D, by ezc3d."""
    try:
        import ezc3d
    except ModuleNotFoundError:
        raise InputError("reading .c3d files needs ezc3d: pip install 'muscle_torch[biomech]'") from None
    _check_whole(path)
    try:
        stored = ezc3d.c3d(str(path))
    except (OSError, RuntimeError, ValueError, IndexError) as error:
        raise InputError(f"{path}: damaged C3D file ({error}); copy it again") from None
    point = stored["parameters"]["POINT"]
    labels = list(point["LABELS"]["value"])
    units = point.get("UNITS", {}).get("value") or ["mm"]
    scale = unit or METRES.get(units[0].strip().lower(), 1e-3)
    points = stored["data"]["points"][:3].transpose(2, 1, 0) * scale
    hidden = np.all(points == 0, axis=-1)
    points[hidden[..., None].repeat(3, axis=-1)] = np.nan
    labels = labels[: points.shape[1]]
    return Markers(labels, points[:, : len(labels)], float(point["RATE"]["value"][0]))


def _check_whole(path: Path) -> None:
    """The header says how long a C3D file is; what lacks of it would be read as zeros."""
    header = path.read_bytes()[:512]
    if len(header) < 512 or header[1] != 0x50:
        raise InputError(f"{path}: not a C3D file, or only a part of one; copy it again")
    word = np.frombuffer(header, dtype="<u2")
    scale = np.frombuffer(header, dtype="<f4", count=1, offset=12)[0]
    frames = int(word[4]) - int(word[3]) + 1
    size = (int(word[8]) - 1) * 512 + frames * (4 * int(word[1]) + int(word[2])) * (4 if scale < 0 else 2)
    if 0 < frames < 65000 and path.stat().st_size < size:
        raise InputError(f"{path}: states {frames} frames and holds fewer: the file was cut off")


def from_markers(
    path: Path, markers: Markers, names: dict[str, str] | None = None, static: Markers | None = None
) -> RawMotion:
    """Joint centres from labelled markers; any axis may point up."""
    labels, names = markers.labels, names or {}
    both = labels + (static.labels if static else [])
    at = _roles(markers, _mine(names, labels, both, path), path)
    if static is not None:
        at |= _carried(at, markers, static, _roles(static, _mine(names, static.labels, both, path), path))
    up = _up(at, path)
    at = {role: values @ up.T for role, values in at.items()}
    positions: dict[str, np.ndarray] = {}
    orientations: dict[str, np.ndarray] = {}
    _pelvis(at, positions, orientations)
    _trunk(at, positions, orientations)
    if "thorax" not in orientations:
        raise InputError(_unknown(path, labels, "the trunk (C7 or CLAV, with both shoulders or STRN and T10)"))
    for side in SIDES:
        _leg(at, side, positions, orientations)
        _arm(at, side, positions, orientations)
    if not any(name.endswith(("knee", "elbow")) for name in positions):
        raise InputError(_unknown(path, labels, "knees or elbows"))
    if "pelvis" not in positions:
        positions.pop("head", None)
    return RawMotion(
        name=path.stem,
        rate=markers.rate,
        positions=positions,
        orientations=orientations,
        subject=path.stem,
        source=str(path),
    )


def _unknown(path: Path, labels: list[str], what: str) -> str:
    return (
        f"{path}: no markers for {what}; it has {', '.join(labels[:10])}, ...: write a YAML file of role: marker pairs "
        "(RASI: my_name; roles are those of docs/retargeting.md) and set markers=<file>"
    )


def _plain(label: str) -> str:
    return re.sub(r"[^A-Z0-9]", "", label.rpartition(":")[2].upper())


def _mine(names: dict[str, str], labels: list[str], both: list[str], path: Path) -> dict[str, str]:
    """The given names that are among `labels`; each must be in one of the files."""
    for role, label in names.items():
        if _plain(label) not in map(_plain, both):
            raise InputError(f"{path}: has no marker {label!r} (for {role}){nearest(label, both)}")
    return {role: label for role, label in names.items() if _plain(label) in map(_plain, labels)}


def _carried(
    at: dict[str, np.ndarray], markers: Markers, static: Markers, standing: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Roles that only the static trial shows, in the motion."""
    moving = {_plain(label): markers.points[:, i] for i, label in enumerate(markers.labels)}
    still = {_plain(label): np.nanmedian(static.points[:, i], axis=0) for i, label in enumerate(static.labels)
             if np.isfinite(static.points[:, i]).all(axis=1).any()}  # fmt: skip
    found = {}
    for role, values in standing.items():
        placed = None if role in at else carried(np.nanmedian(values, axis=0), still, moving)
        if placed is not None:
            found[role] = placed[0]
    return found


def _roles(markers: Markers, names: dict[str, str], path: Path) -> dict[str, np.ndarray]:
    labels, points = markers.labels, markers.points
    place = {_plain(label): i for i, label in enumerate(labels)}
    known: dict[str, tuple[str | tuple[str, ...], ...]] = dict(CENTRE_ROLES)
    for role, forms in SIDE_ROLES.items():
        for side in "RL":
            known[role.format(side)] = tuple(form.format(side) for form in forms)
    # A recording of one arm often names no side: it is the right one.
    for role in ("RSHO", "RELB", "RELM", "RWRA", "RWRB", "RFIN"):
        unsided = (form for form in known[role] if isinstance(form, str) and form.startswith(ONE_ARM))
        known[role] = (*known[role], *(form.removesuffix("R") for form in unsided))
    found = {}
    for role, forms in known.items():
        for form in forms:
            group = (form,) if isinstance(form, str) else form
            if all(name in place for name in group):
                found[role] = np.mean([points[:, place[name]] for name in group], axis=0)
                break
    for role, label in names.items():
        if role not in known:
            raise InputError(f"markers: unknown role {role!r}{nearest(role, tuple(known))}")
        found[role] = points[:, place[_plain(label)]]
    return {role: values for role, values in found.items() if np.isfinite(values).all(axis=1).any()}


def _up(at: dict[str, np.ndarray], path: Path) -> np.ndarray:
    """Rotation (3, 3) that takes the file's vertical axis, along which the neck is above hips or sternum, to z."""
    high = [at[r] for r in ("C7", "CLAV", "RSHO", "LSHO") if r in at]
    low = [at[r] for r in ("RASI", "LASI", "SACR", "STRN", "T10") if r in at]
    if not high or not low:
        raise InputError(
            f"{path}: cannot tell which axis points up: needs C7, CLAV or shoulders, and pelvis or sternum markers"
        )
    tall = np.nanmedian(np.mean(high, axis=0) - np.mean(low, axis=0), axis=0)
    axis = int(np.argmax(np.abs(tall)))
    if np.abs(tall[axis]) < 0.05:
        raise InputError(
            f"{path}: the neck is not above the pelvis; upright motion is needed to find the vertical axis"
        )
    row = np.zeros(3)
    row[axis] = np.sign(tall[axis])
    first = np.roll(np.abs(row), 1) if axis != 1 else np.array([0.0, 0.0, 1.0])
    return np.stack((first, np.cross(row, first), row))


def _mean(at: dict[str, np.ndarray], *roles: str) -> np.ndarray | None:
    there = [at[role] for role in roles if role in at]
    return np.mean(there, axis=0) if there else None


def _frame(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(T, 3, 3): first axis along y exactly, x made square to it; columns x, y, z."""
    y = y / np.maximum(np.linalg.norm(y, axis=1, keepdims=True), SPACE)
    x = x - np.sum(x * y, axis=1, keepdims=True) * y
    x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), SPACE)
    return np.stack((x, y, np.cross(x, y)), axis=-1)


def _pelvis(at: dict[str, np.ndarray], positions: dict[str, np.ndarray], orientations: dict[str, np.ndarray]) -> None:
    """Frame of the iliac spines; hip centres as given, or by regression (Harrington et al. 2007)."""
    back = _mean(at, "RPSI", "LPSI") if {"RPSI", "LPSI"} <= at.keys() else at.get("SACR")
    if not {"RASI", "LASI"} <= at.keys() or back is None:
        return
    front = (at["RASI"] + at["LASI"]) / 2
    frame = _frame(front - back, at["LASI"] - at["RASI"])
    width = float(np.nanmedian(np.linalg.norm(at["LASI"] - at["RASI"], axis=1)))
    depth = float(np.nanmedian(np.linalg.norm(front - back, axis=1)))
    for side, sign in (("left", 1.0), ("right", -1.0)):
        local = np.array([-0.24 * depth - 0.0099, sign * (0.33 * width + 0.0073), -0.30 * width - 0.0109])
        positions[f"{side}_hip"] = _seen(at.get(f"{side[0].upper()}HJC"), front + frame @ local)
    positions["pelvis"] = (positions["left_hip"] + positions["right_hip"]) / 2
    orientations["pelvis"] = frame


def _seen(centre: np.ndarray | None, regressed: np.ndarray) -> np.ndarray:
    """A computed joint centre of the file, and the regression where it is missing."""
    return regressed if centre is None or not np.isfinite(centre).all() else centre


def _trunk(at: dict[str, np.ndarray], positions: dict[str, np.ndarray], orientations: dict[str, np.ndarray]) -> None:
    neck = _mean(at, "C7", "CLAV") if {"C7", "CLAV"} <= at.keys() else _mean(at, "RSHO", "LSHO")
    if neck is None:
        return
    positions["neck"] = neck
    below = _mean(at, "STRN", "T10") if {"STRN", "T10"} <= at.keys() else positions.get("pelvis")
    if below is None:
        return
    up = neck - below
    if {"RSHO", "LSHO"} <= at.keys():
        left = at["LSHO"] - at["RSHO"]
    elif {"C7", "CLAV"} <= at.keys():
        left = np.cross(up, at["CLAV"] - at["C7"])
    else:
        return
    # The line from chest to neck is kept; shoulders may shrug.
    up = up / np.linalg.norm(up, axis=1, keepdims=True)
    left = left - np.sum(left * up, axis=1, keepdims=True) * up
    orientations["thorax"] = _frame(np.cross(left, up), left)


def _leg(
    at: dict[str, np.ndarray], side: str, positions: dict[str, np.ndarray], orientations: dict[str, np.ndarray]
) -> None:
    s = side[0].upper()
    hip = positions.get(f"{side}_hip")
    if hip is None:
        return
    inward = orientations["pelvis"][..., 1] * (-1.0 if side == "left" else 1.0)
    above = hip
    for joint, centre, lateral, medial, offset in (
        ("knee", "KJC", "KNE", "KNM", KNEE_INWARD),
        ("ankle", "AJC", "ANK", "ANM", ANKLE_INWARD),
    ):
        if s + centre in at and np.isfinite(at[s + centre]).mean() >= np.isfinite(at.get(s + lateral, np.nan)).mean():
            found = at[s + centre]
        elif s + lateral in at and s + medial in at:
            found = (at[s + lateral] + at[s + medial]) / 2
        elif s + lateral in at:
            along = at[s + lateral] - above
            along = along / np.linalg.norm(along, axis=1, keepdims=True)
            square = inward - np.sum(inward * along, axis=1, keepdims=True) * along
            found = at[s + lateral] + offset * square / np.linalg.norm(square, axis=1, keepdims=True)
        else:
            return
        positions[f"{side}_{joint}"] = above = found
    if s + "TOE" in at:
        positions[f"{side}_toe"] = at[s + "TOE"]


def _arm(
    at: dict[str, np.ndarray], side: str, positions: dict[str, np.ndarray], orientations: dict[str, np.ndarray]
) -> None:
    s = side[0].upper()
    shoulder = at.get(s + "SJC")
    if shoulder is None and s + "SHO" in at:
        if {"RSHO", "LSHO"} <= at.keys():
            width = float(np.nanmedian(np.linalg.norm(at["LSHO"] - at["RSHO"], axis=1)))
        else:
            width = 0.36
        shoulder = at[s + "SHO"] - SHOULDER_DROP * width * orientations["thorax"][..., 2]
    elbow = at[s + "EJC"] if s + "EJC" in at else _mean(at, s + "ELB", s + "ELM")
    wrist, hand = _mean(at, s + "WRA", s + "WRB"), at.get(s + "FIN")
    for joint, found in (("shoulder", shoulder), ("elbow", elbow), ("wrist", wrist), ("hand", hand)):
        if found is None:
            return
        positions[f"{side}_{joint}"] = found
