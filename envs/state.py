"""What the terms see: the body, the motion it should follow and the last action, read when a term asks for it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from muscle_torch.embodiments import Embodiment
from muscle_torch.errors import InputError, nearest
from muscle_torch.motion import site_velocity

from .relative import RelativeSites

Index = slice | Tensor
MUSCLE_FIELDS = {
    "length": "actuator_length",
    "velocity": "actuator_velocity",
    "force": "actuator_force",
    "excitation": "ctrl",
    "activation": "act",
}


@dataclass(frozen=True, eq=False)
class ModelIndices:
    """Where the parts of a body are in MuJoCo's arrays; found once from an embodiment."""

    name: str
    has_root: bool  # a free joint: the first 7 of qpos, the first 6 of qvel
    joint_qpos: Index  # hinges and slides in qpos
    joint_qvel: Index  # the same in qvel
    site_ids: tuple[int, ...]  # tracked sites, anchor first
    site_body_ids: tuple[int, ...]  # the bodies they are on
    com_ids: tuple[int, ...]  # bodies whose subtree centre `cvel` of these bodies refers to
    touch_ids: tuple[int, ...]  # touch sensors in sensordata
    relative_sites: RelativeSites
    muscle_range: Tensor  # difference of each muscle's longest and shortest length [m], (muscles,)
    field_rows: dict[str, tuple[int, ...]]  # `Embodiment.field_rows`: of the body, of its muscles
    control_step: float  # [s]
    ankles: Index | None  # which of the tracked sites are ankles
    judged: Index  # which of the tracked sites termination looks at
    judged_others: Index  # the same among the sites after the anchor

    @classmethod
    def of(cls, embodiment: Embodiment, device: torch.device, excluded: Sequence[str] = ()) -> "ModelIndices":
        """excluded: tracked sites that termination does not look at."""
        model, names = embodiment.model, embodiment.site_names
        for name in excluded:
            if name not in names:
                raise InputError(f"excluded_sites: {embodiment.name} does not track {name!r}{nearest(name, names)}")
        judged = np.flatnonzero([name not in excluded for name in names])
        if not judged.any():
            raise InputError("excluded_sites leaves termination no site but the anchor to look at: name fewer")
        ankles = np.flatnonzero([name.endswith("ankle_mimic") for name in names])
        roots = model.body_rootid[embodiment.site_body_ids]
        sensors = embodiment.resolve("sensor", embodiment.touch_sensors)
        muscle_range = np.ptp(model.actuator_lengthrange[embodiment.muscle_ids], axis=1)
        return cls(
            name=embodiment.name,
            has_root=embodiment.has_root,
            joint_qpos=_index(embodiment.joint_qpos_ids, device),
            joint_qvel=_index(embodiment.joint_qvel_ids, device),
            site_ids=tuple(embodiment.site_ids.tolist()),
            site_body_ids=tuple(embodiment.site_body_ids.tolist()),
            com_ids=tuple(np.unique(roots).tolist() if np.ptp(roots) == 0 else roots.tolist()),
            touch_ids=tuple(model.sensor_adr[sensors].tolist()),
            relative_sites=RelativeSites(torch.from_numpy(model.site_quat[embodiment.site_ids]).float().to(device)),
            muscle_range=torch.from_numpy(muscle_range).float().to(device),
            field_rows=embodiment.field_rows,
            control_step=1.0 / embodiment.control_frequency,
            ankles=_index(ankles, device) if len(ankles) else None,
            judged=_index(judged, device),
            judged_others=_index(judged[judged > 0] - 1, device),
        )

    @property
    def rows(self) -> dict[str, tuple[int, ...]]:
        """Physics fields of which only some rows are read."""
        on_body = {"xquat": self.site_body_ids, "cvel": self.site_body_ids, "subtree_com": self.com_ids}
        sites = {"site_xpos": self.site_ids, "site_xmat": self.site_ids}
        return {**self.field_rows, **sites, "sensordata": self.touch_ids, **on_body}


class RootRange(NamedTuple):
    """Where the root is in all frames of the motions."""

    lowest: Tensor  # [m], ()
    highest: Tensor
    orientation: Tensor  # mean quaternion, (4,)

    @classmethod
    def of(cls, qpos: Tensor) -> "RootRange":
        """Of all frames (F, nq). The mean orientation is that of least squared distance, whatever the signs."""
        quat = qpos[:, 3:7].double()
        mean = torch.linalg.eigh(quat.T @ quat).eigenvectors[:, -1]
        return cls(qpos[:, 2].min(), qpos[:, 2].max(), mean.to(qpos.dtype))


class Tables(Protocol):
    """What a motion library holds, one row a frame: (F, ...)."""

    qpos: Tensor
    qvel: Tensor
    site_pos: Tensor
    rpos: Tensor
    rrot: Tensor
    rvel: Tensor
    muscle_length: Tensor
    muscle_velocity: Tensor


class Reference:
    """Frames of a motion library, read when asked for: (*rows.shape, ...), shapes and frames as in the library.

    origin (W, 2): horizontal position of the reference's root where the episode began, the world's origin from then on
    [m]; None for a body without a root.
    """

    def __init__(self, tables: Tables, rows: Tensor, origin: Tensor | None = None):
        self._tables, self._rows, self._origin = tables, rows, origin

    def frame(self, index: int) -> "Reference":
        """One of several frames a world, or the last one."""
        return Reference(self._tables, self._rows[:, min(index, self._rows.shape[1] - 1)], self._origin)

    def _read(self, name: str) -> Tensor:
        table = getattr(self._tables, name)
        return table.index_select(0, self._rows.flatten()).view(*self._rows.shape, *table.shape[1:])

    def _shifted(self, values: Tensor) -> Tensor:
        if self._origin is not None:
            spread = self._origin.view(-1, *[1] * (values.dim() - 2), 2)
            values[..., :2] -= spread
        return values

    @cached_property
    def qpos(self) -> Tensor:
        """(..., nq)."""
        return self._shifted(self._read("qpos"))

    @cached_property
    def qvel(self) -> Tensor:
        """(..., nv)."""
        return self._read("qvel")

    @cached_property
    def site_pos(self) -> Tensor:
        """World position of the tracked sites [m], (..., S, 3)."""
        return self._shifted(self._read("site_pos"))

    @cached_property
    def rpos(self) -> Tensor:
        """As `State.rpos`, (..., S-1, 3)."""
        return self._read("rpos")

    @cached_property
    def rrot(self) -> Tensor:
        """As `State.rrot`, (..., S-1, 3)."""
        return self._read("rrot")

    @cached_property
    def rvel(self) -> Tensor:
        """As `State.rvel`, (..., S-1, 6)."""
        return self._read("rvel")

    @cached_property
    def muscle_length(self) -> Tensor:
        """[m], (..., nu)."""
        return self._read("muscle_length")

    @cached_property
    def muscle_velocity(self) -> Tensor:
        """[m/s], (..., nu)."""
        return self._read("muscle_velocity")


@dataclass(eq=False)
class State:
    """One control step of W worlds. Valid until the physics moves on: nothing here is kept."""

    body: ModelIndices
    read: Callable[[str], Tensor]  # physics field -> (W, ...), rows as in `ModelIndices.rows`
    reference: Reference  # the frame the body should be at: rows (W,)
    ahead: Reference  # that frame and the next ones shown to the policy: rows (W, n)
    phase: Tensor  # frame / clip length, (W,)
    action: Tensor  # as the policy gave it, unclipped; 0 after a reset, (W, nu)
    previous_action: Tensor  # the one before, (W, nu)
    previous_qvel: Tensor | None = None  # before this step, (W, nv); kept only for penalties that need it
    root_range: RootRange | None = None  # for a body with a root
    quantities: tuple[str, ...] = ()  # muscle quantities shown to the policy: keys of MUSCLE_FIELDS
    concise: bool = True  # whether the look-ahead leaves out relative rotations and velocities of the sites
    _squared: dict[str, Tensor] = field(default_factory=dict, init=False)

    @cached_property
    def soon(self) -> Reference:
        """The second frame of the look-ahead (the first where there is only one), rows (W,)."""
        return self.ahead.frame(1)

    @cached_property
    def qpos(self) -> Tensor:
        """(W, nq)."""
        return self.read("qpos")

    @cached_property
    def qvel(self) -> Tensor:
        """(W, nv)."""
        return self.read("qvel")

    @cached_property
    def site_pos(self) -> Tensor:
        """World position of the tracked sites, anchor first [m], (W, S, 3)."""
        return self.read("site_xpos")

    @cached_property
    def site_deviation(self) -> Tensor:
        """Distance of each tracked site from its reference [m], (W, S)."""
        return self.squared_error("site_pos").sum(dim=-1).sqrt_()

    @property
    def rpos(self) -> Tensor:
        """Position of the sites from the anchor, world axes [m], (W, S-1, 3)."""
        return self._relative[0]

    @property
    def rrot(self) -> Tensor:
        """Rotation vector of the sites in the anchor's frame [rad], (W, S-1, 3)."""
        return self._relative[1]

    @property
    def rvel(self) -> Tensor:
        """Velocity of the sites against the anchor, angular [rad/s] then linear [m/s], (W, S-1, 6).

        In the frames of the published system, which mixes them: `muscle_torch.motion.relative`.
        """
        return self._relative[2]

    @cached_property
    def _relative(self) -> tuple[Tensor, Tensor, Tensor]:
        velocity = site_velocity(self.site_pos, self.read("cvel"), self.read("subtree_com"))
        mat = self.read("site_xmat").unflatten(-1, (3, 3))
        return self.body.relative_sites(self.site_pos, self.read("xquat"), mat, *velocity)

    def squared_error(self, name: str) -> Tensor:
        """Squared differences between one's own and the reference's `name`, an attribute of both, (W, ...)."""
        if name not in self._squared:
            self._squared[name] = (getattr(self, name) - getattr(self.reference, name)).square_()
        return self._squared[name]


def _index(ids: np.ndarray, device: torch.device) -> Index:
    """A slice where the ids are consecutive: it costs no copy."""
    if len(ids) and np.array_equal(ids, np.arange(ids[0], ids[0] + len(ids))):
        return slice(int(ids[0]), int(ids[0]) + len(ids))
    return torch.from_numpy(ids).to(device)
