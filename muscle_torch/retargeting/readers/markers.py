"""Optical markers from .trc and .c3d files: joint centres and frames of pelvis, trunk and arms."""

import re
from pathlib import Path

import numpy as np

from muscle_torch.errors import InputError, nearest

from ..arm_axes import segment_axes
from ..raw import SIDES, RawMotion
from .axes import AXES, axis_name, check_axis
from .marker_files import Markers, load_markers
from .names import plain_names
from .static_trial import carried

# Role -> names of its marker, without subject prefix, punctuation and case; {} is R or L. A tuple: their midpoint.
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
UPRIGHT = 0.85  # minimal cosine to the vertical of a trunk that clearly determines the axis
KNEE_INWARD, ANKLE_INWARD = 0.055, 0.04  # [m] from a lateral marker to the joint centre, without a medial one
SHOULDER_DROP = 0.17  # below the marker, as a fraction of the distance of both acromia (Rab et al. 2002)


def read_markers(
    path: Path,
    unit: float = 0.0,
    rate: float = 0.0,
    names: dict[str, str] | None = None,
    static: str = "",
    up: str = "",
) -> RawMotion:
    """Read landmarks from a .trc or .c3d file.

    Args:
        path: The file.
        unit: Unit of length [m], also of `static`; 0: as stated in the file.
        rate: Frame rate [Hz]; 0: as stated in the file.
        names: Role -> marker name in this file, for names other than the usual ones.
        static: A static trial of the same subject, for markers that the motion lacks.
        up: Vertical axis, such as "y" or "-z"; "": by the markers.

    Raises:
        InputError: The file is damaged, or lacks the markers of trunk and limbs.
    """
    if static and (Path(static).suffix.lower() not in (".trc", ".c3d") or not Path(static).is_file()):
        raise InputError(f"static={static} is not an existing .trc or .c3d file")
    # The rate of a static trial does not matter.
    static_markers = load_markers(Path(static), unit, rate=100.0) if static else None
    return from_markers(path, load_markers(path, unit, rate), names, static_markers, up)


def from_markers(
    path: Path,
    markers: Markers,
    names: dict[str, str] | None = None,
    static: Markers | None = None,
    up: str = "",
) -> RawMotion:
    """Compute joint centres from labelled markers; any axis may point up.

    Args:
        path: The file, for names and messages.
        markers: Its markers.
        names: Role -> marker name, for names other than the usual ones.
        static: Markers of a static trial of the same subject.
        up: Vertical axis, such as "y" or "-z"; "": by the markers.

    Raises:
        InputError: Markers of trunk and limbs are missing.
    """
    labels, names = markers.labels, names or {}
    all_labels = labels + (static.labels if static else [])
    at = _roles(markers, _present(names, labels, all_labels, path), path)
    if static is not None:
        at |= _carried(at, markers, static, _roles(static, _present(names, static.labels, all_labels, path), path))
    turn, axis_notes = _up(at, labels, up, path)
    at = {role: values @ turn.T for role, values in at.items()}
    positions: dict[str, np.ndarray] = {}
    orientations: dict[str, np.ndarray] = {}
    _pelvis(at, positions, orientations)
    _trunk(at, positions, orientations)
    if "thorax" not in orientations:
        raise InputError(_unknown(path, labels, "the trunk (C7 or CLAV, with both shoulders or STRN and T10)"))
    for side in SIDES:
        _leg(at, side, positions, orientations)
        _arm(at, side, positions, orientations)
        _arm_turns(at, side, positions, orientations)
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
        notes=(*markers.notes, *axis_notes),
    )


def _unknown(path: Path, labels: list[str], what: str) -> str:
    return (
        f"{path}: no markers for {what}; it has {', '.join(labels[:10])}, ...: write a YAML file of role: marker pairs "
        "(RASI: my_name; docs/retargeting.md lists the roles) and set markers=<file>, or set static=<file> if a static "
        "trial contains them"
    )


def _plain(label: str) -> str:
    return re.sub(r"[^A-Z0-9]", "", label.rpartition(":")[2].upper())


def _present(names: dict[str, str], labels: list[str], all_labels: list[str], path: Path) -> dict[str, str]:
    """Return the user's names that are among `labels`; each must be in one of the files."""
    for role, label in names.items():
        if label not in all_labels and _plain(label) not in map(_plain, all_labels):
            raise InputError(f"{path}: has no marker {label!r} (for {role}){nearest(label, all_labels)}")
    return {role: label for role, label in names.items() if label in labels or _plain(label) in map(_plain, labels)}


def _carried(
    at: dict[str, np.ndarray], markers: Markers, static: Markers, standing: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Return the roles that only the static trial has, transferred to the motion."""
    moving = dict(zip(plain_names(markers.labels, KNOWN, ""), markers.points.swapaxes(0, 1), strict=True))
    still = {
        label: np.nanmedian(points, axis=0)
        for label, points in zip(plain_names(static.labels, KNOWN, ""), static.points.swapaxes(0, 1), strict=True)
        if np.isfinite(points).all(axis=1).any()
    }
    roles = {}
    for role, values in standing.items():
        placed = None if role in at else carried(np.nanmedian(values, axis=0), still, moving)
        if placed is not None:
            roles[role] = placed[0]
    return roles


def _forms() -> dict[str, tuple[str | tuple[str, ...], ...]]:
    """Return role -> names of its marker."""
    forms: dict[str, tuple[str | tuple[str, ...], ...]] = dict(CENTRE_ROLES)
    for role, names in SIDE_ROLES.items():
        for side in "RL":
            forms[role.format(side)] = tuple(name.format(side) for name in names)
    # Marker names of a single arm often have no side: assume the right one.
    for role in ("RSHO", "RELB", "RELM", "RWRA", "RWRB", "RFIN"):
        unsided = (form for form in forms[role] if isinstance(form, str) and form.startswith(ONE_ARM))
        forms[role] = (*forms[role], *(form.removesuffix("R") for form in unsided))
    return forms


FORMS = _forms()
KNOWN = frozenset(n for forms in FORMS.values() for form in forms for n in ((form,) if isinstance(form, str) else form))


def _roles(markers: Markers, names: dict[str, str], path: Path) -> dict[str, np.ndarray]:
    """Return role -> positions of its marker (T, 3); a marker that is always hidden is absent."""
    labels, points = markers.labels, markers.points
    index_of = {plain: i for i, plain in enumerate(plain_names(labels, KNOWN, str(path)))}
    roles = {}
    for role, forms in FORMS.items():
        for form in forms:
            group = (form,) if isinstance(form, str) else form
            if all(name in index_of for name in group):
                roles[role] = np.mean([points[:, index_of[name]] for name in group], axis=0)
                break
    for role, label in names.items():
        if role not in FORMS:
            raise InputError(f"markers: unknown role {role!r}{nearest(role, tuple(FORMS))}")
        index = labels.index(label) if label in labels else [_plain(name) for name in labels].index(_plain(label))
        roles[role] = points[:, index]
    return {role: values for role, values in roles.items() if np.isfinite(values).all(axis=1).any()}


def _up(at: dict[str, np.ndarray], labels: list[str], up: str, path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the rotation (3, 3) of the vertical axis to z, and a note if the trunk leans far from it.

    The vertical axis is the one along which the neck is above hips or chest.
    """
    notes = ()
    high = [at[r] for r in ("C7", "CLAV", "RSHO", "LSHO") if r in at]
    low = [at[r] for r in ("RASI", "LASI", "SACR", "STRN", "T10") if r in at]
    if not high:
        raise InputError(_unknown(path, labels, "the trunk (C7 or CLAV, or both shoulders)"))
    if not low:
        raise InputError(_unknown(path, labels, "the pelvis (RASI, LASI, RPSI, LPSI or SACR) or chest (STRN, T10)"))
    if up:
        check_axis(up)
        row = AXES[up]
    else:
        tall = np.nanmedian(np.mean(high, axis=0) - np.mean(low, axis=0), axis=0)
        axis = int(np.argmax(np.abs(tall)))
        if np.abs(tall[axis]) < 0.05:
            raise InputError(
                f"{path}: unknown vertical axis, because the neck is not above the pelvis along any axis; set up= "
                "(y, z, ...)"
            )
        row = np.zeros(3)
        row[axis] = np.sign(tall[axis])
        if np.abs(tall[axis]) < UPRIGHT * np.linalg.norm(tall):
            notes = (f"vertical axis assumed to be {axis_name(row)}, although the trunk leans far (override with up=)",)
    first = np.roll(np.abs(row), 1) if not row[1] else np.array([0.0, 0.0, 1.0])
    return np.stack((first, np.cross(row, first), row)), notes


def _mean(at: dict[str, np.ndarray], *roles: str) -> np.ndarray | None:
    present = [at[role] for role in roles if role in at]
    return np.mean(present, axis=0) if present else None


def _frame(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return frames (T, 3, 3) with columns x, y, z: y exact, x orthogonalized to it."""
    y = y / np.maximum(np.linalg.norm(y, axis=1, keepdims=True), SPACE)
    x = x - np.sum(x * y, axis=1, keepdims=True) * y
    x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), SPACE)
    return np.stack((x, y, np.cross(x, y)), axis=-1)


def _pelvis(at: dict[str, np.ndarray], positions: dict[str, np.ndarray], orientations: dict[str, np.ndarray]) -> None:
    """Set the frame of the iliac spines, and hip centres from the file or by regression (Harrington et al. 2007)."""
    back = _mean(at, "RPSI", "LPSI") if {"RPSI", "LPSI"} <= at.keys() else at.get("SACR")
    if not {"RASI", "LASI"} <= at.keys() or back is None:
        return
    front = (at["RASI"] + at["LASI"]) / 2
    frame = _frame(front - back, at["LASI"] - at["RASI"])
    width = float(np.nanmedian(np.linalg.norm(at["LASI"] - at["RASI"], axis=1)))
    depth = float(np.nanmedian(np.linalg.norm(front - back, axis=1)))
    for side, sign in (("left", 1.0), ("right", -1.0)):
        local = np.array([-0.24 * depth - 0.0099, sign * (0.33 * width + 0.0073), -0.30 * width - 0.0109])
        positions[f"{side}_hip"] = _or_regression(at.get(f"{side[0].upper()}HJC"), front + frame @ local)
    positions["pelvis"] = (positions["left_hip"] + positions["right_hip"]) / 2
    orientations["pelvis"] = frame


def _or_regression(centre: np.ndarray | None, regressed: np.ndarray) -> np.ndarray:
    """Return the file's joint centre, or the regressed one if it is missing or has gaps."""
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
    # The line from chest to neck is exact, because shoulders may shrug.
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
            centre_at = at[s + centre]
        elif s + lateral in at and s + medial in at:
            centre_at = (at[s + lateral] + at[s + medial]) / 2
        elif s + lateral in at:
            along = at[s + lateral] - above
            along = along / np.linalg.norm(along, axis=1, keepdims=True)
            orthogonal = inward - np.sum(inward * along, axis=1, keepdims=True) * along
            centre_at = at[s + lateral] + offset * orthogonal / np.linalg.norm(orthogonal, axis=1, keepdims=True)
        else:
            return
        positions[f"{side}_{joint}"] = above = centre_at
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
    for joint, position in (("shoulder", shoulder), ("elbow", elbow), ("wrist", wrist), ("hand", hand)):
        if position is None:
            return
        positions[f"{side}_{joint}"] = position


def _arm_turns(
    at: dict[str, np.ndarray], side: str, positions: dict[str, np.ndarray], orientations: dict[str, np.ndarray]
) -> None:
    """Set the axial rotation of upper arm and forearm from the markers on both sides of elbow and wrist."""
    s = side[0].upper()
    for segment, start, end, front in (
        ("upper_arm", "shoulder", "elbow", (s + "ELB", s + "ELM")),
        ("forearm", "elbow", "wrist", (s + "WRA", s + "WRB")),
    ):
        joints = (f"{side}_{start}", f"{side}_{end}")
        if not set(front) <= at.keys() or not set(joints) <= positions.keys():
            continue
        along = positions[joints[1]] - positions[joints[0]]
        across = at[front[0]] - at[front[1]]
        if segment == "upper_arm":  # from the inner to the outer epicondyle; the elbow flexes orthogonally to it
            across = np.cross(across, along) * (1.0 if side == "right" else -1.0)
        turn = segment_axes(across, along, side)
        visible = np.isfinite(along).all(axis=1)
        if np.isfinite(turn[visible]).all():
            orientations[f"{side}_{segment}"] = turn
