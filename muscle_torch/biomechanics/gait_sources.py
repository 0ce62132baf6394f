"""Walks to analyse: OpenSim motions with forces, motion clips, rollout archives."""

from pathlib import Path

import numpy as np

from muscle_torch.embodiments import Embodiment
from muscle_torch.errors import InputError

from .archive import Archive, read_archive
from .coordinates import leg_scale, to_model
from .files import read_series
from .gait import Contacts, contacts_from_force
from .gait_analysis import Gait, gait_of
from .inverse_dynamics import foot_forces, inverse_dynamics
from .muscle_paths import independent_joints, joint_tangent
from .series import TimeSeries

MOST_HZ = 200.0  # faster motions are thinned: gait holds nothing above


def opensim_gait(
    embodiment: Embodiment,
    motion: str | Path,
    forces: str | Path = "",
    mass: float = 0.0,
    convention: str = "auto",
    swap_plates: bool = False,
    cutoff: float = 6.0,
    start: float = 0.0,
    end: float = 0.0,
) -> tuple[Gait, np.ndarray]:
    """A coordinates file (.mot, .sto) on the model, with inverse dynamics where `forces` are given; and its qpos.

    Over the time that both files cover, within `start` to `end` [s] (0: all).
    """
    series = read_series(motion)
    measured = read_series(forces) if forces else None
    first = max(series.time[0], start or -np.inf, measured.time[0] if measured else -np.inf)
    last = min(series.time[-1], end or np.inf, measured.time[-1] if measured else np.inf)
    rate = min(series.rate, MOST_HZ)
    if last - first < 5 / rate:
        raise InputError(f"{motion}: {series.time[0]:g} to {series.time[-1]:g} s and its forces share no time")
    at = series.at(np.minimum(first + np.arange(int((last - first) * rate + 1e-6) + 1) / rate, series.time[-1]))
    scale = leg_scale(at, embodiment, convention)
    qpos, notes = to_model(at, embodiment, convention, scale)
    grounds, contacts, moments = {}, None, None
    if measured is not None:
        feet = foot_forces(measured, at.time, swap_plates)
        solved = inverse_dynamics(
            embodiment, qpos, rate, feet, independent_joints(embodiment), scale, mass, cutoff, first
        )
        moments = solved.moments
        grounds = {side: foot.force for side, foot in feet.items()}
        seen = foot_forces(measured, measured.time, swap_plates)
        contacts = {side: contacts_from_force(foot.force[:, 1], measured.rate, start_time=float(measured.time[0]))
                    for side, foot in seen.items()}  # fmt: skip
        pushed = np.sqrt(np.mean(solved.residual[:, :3] ** 2))
        notes = (
            *notes,
            f"residual force at the pelvis {pushed:.0f} N (root mean square): what the ground does not give",
        )
    whole = {side: one for side, one in (contacts or {}).items() if len(one.starts) >= 2}
    gait = gait_of(embodiment, qpos, rate, Path(motion).stem, mass, moments, grounds,
                   contacts if len(whole) == 2 else None, first)  # fmt: skip
    return _with_notes(gait, (*notes, f"lengths scaled by {scale:.3f}: the model's legs over the subject's")), qpos


def archive_gait(embodiment: Embodiment, path: str | Path, episode: int) -> tuple[Gait, Archive]:
    """One episode of a rollout archive: moments from muscle forces, ground forces from the touch sensors (vertical)."""
    archive = read_archive(path)
    if not 0 <= episode < len(archive.episodes):
        raise InputError(f"{path} has {len(archive.episodes)} episodes, episode={episode}")
    one, rate = archive.episodes[episode], 1.0 / archive.step
    if one.qpos.shape[1] != embodiment.model.nq:
        raise InputError(f"{path}: qpos has {one.qpos.shape[1]} columns, {embodiment.name} has {embodiment.model.nq}")
    vertical = {side: one.touch[:, i : i + 2].sum(axis=1) for side, i in (("r", 0), ("l", 2))}
    forces = {side: np.stack([0 * up, up, 0 * up], axis=1) for side, up in vertical.items()}
    contacts, notes = {}, []
    for side, up in vertical.items():
        try:
            contacts[side] = contacts_from_force(up, rate)
        except InputError as error:
            notes.append(f"touch sensors of side {side}: {error}; events from kinematics")
    whole = {side: c for side, c in contacts.items() if isinstance(c, Contacts) and len(c.starts) >= 2}
    moments = _total_moments(embodiment, one.qpos, one.actuator_forces) if one.actuator_forces is not None else None
    gait = gait_of(embodiment, one.qpos.astype(float), rate, one.name, archive.mass or 0.0, moments, forces,
                   contacts if len(whole) == 2 else None)  # fmt: skip
    return _with_notes(gait, tuple(notes)), archive


def _total_moments(embodiment: Embodiment, qpos: np.ndarray, raw: TimeSeries) -> TimeSeries:
    """Moments about independent joints: those of the joints coupled to them added, at the posture of each frame."""
    model, names = embodiment.model, independent_joints(embodiment)
    full = np.zeros((len(raw.time), model.nv))
    for name, column in zip(raw.names, raw.values.T, strict=True):
        full[:, int(model.jnt_dofadr[int(embodiment.resolve("joint", [name])[0])])] = column
    addresses = [int(model.jnt_qposadr[int(i)]) for i in embodiment.resolve("joint", names)]
    postures = qpos[: len(raw.time)].astype(float)
    totals = np.array([[joint_tangent(embodiment, q, a) @ f for a in addresses] for q, f in zip(
        postures, full, strict=True)])  # fmt: skip
    return TimeSeries(raw.time, totals, names, ("Nm",) * len(names), raw.source)


def _with_notes(gait: Gait, notes: tuple[str, ...]) -> Gait:
    import dataclasses

    return dataclasses.replace(gait, notes=notes)
