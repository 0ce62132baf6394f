"""MuJoCo C on the CPU: `mujoco.batch.Batch`, one MjData per world, and a C++ thread pool that releases the GIL."""

import logging

import mujoco
import numpy as np
import torch
from mujoco.batch import Batch, SimulationError
from torch import Tensor

from muscle_torch.config.threads import usable_cores

from .contract import (
    ACCELERATION_FIELDS,
    Physics,
    check_field,
    check_state,
    model_field_shape,
    per_world,
)

_VELOCITY_STAGE = mujoco.mjtStage.mjSTAGE_VEL.value
_WARNING = mujoco.mjtWarning
_INVALID = [w.value for w in (_WARNING.mjWARN_BADQPOS, _WARNING.mjWARN_BADQVEL, _WARNING.mjWARN_BADQACC)]
_INVALID.append(_WARNING.mjWARN_BADCTRL.value)
_OVERFLOWS = {"contacts": _WARNING.mjWARN_CONTACTFULL.value, "constraints": _WARNING.mjWARN_CNSTRFULL.value}
# A site at its body's frame has the body's pose, to the bit: site field -> body field.
_OF_BODY = {"site_xpos": "xpos", "site_xmat": "xmat"}

_log = logging.getLogger(__name__)


class MujocoPhysics(Physics):
    """W worlds in float64 on a pool of threads.

    A step is `Batch.step(nstep, stage=VEL)` of a persistent batch, which runs mj_step2, mj_step x (n-1), mj_step1. The
    new qpos equals that of plain mj_step to the bit, and position and velocity fields agree with it at no extra cost.
    """

    def __init__(self, model: mujoco.MjModel, num_worlds: int, threads: int = 0):
        """Put all worlds to rest in the model's default pose.

        Args:
            model: MuJoCo model.
            num_worlds: W.
            threads: Number of threads; 0: all cores that this process may use.
        """
        self.model = model
        self.num_worlds = num_worlds
        self.device = torch.device("cpu")
        quiet_warnings()
        self._batch = Batch(model, num_worlds, threads or usable_cores(), persistent=True)
        self._sources = {name: self._batch.bind(name) for name in ("qpos", "qvel", "act", "ctrl", *ACCELERATION_FIELDS)}
        self._buffers: dict[tuple[str, tuple[int, ...] | None], tuple[np.ndarray, Tensor]] = {}
        self._fresh: set[tuple[str, tuple[int, ...] | None]] = set()  # buffers filled since the last change
        self._loaded: dict[str, np.ndarray] = {}  # acceleration fields of a loaded state, until the next step
        self._bad = np.zeros(num_worlds, dtype=bool)
        self._overflow = dict.fromkeys(_OVERFLOWS, 0)
        self._default_row = self._default_state()
        self.reset(
            torch.ones(num_worlds, dtype=torch.bool),
            torch.from_numpy(np.tile(model.qpos0, (num_worlds, 1))),
            torch.zeros(num_worlds, model.nv),
        )

    def reset(self, worlds: Tensor, qpos: Tensor, qvel: Tensor) -> None:
        mask = worlds.numpy()
        ids = np.flatnonzero(mask)
        if not ids.size:
            return
        self._batch.state[ids] = self._default_row
        self._sources["qpos"][ids] = qpos.detach().numpy()[ids]
        self._sources["qvel"][ids] = qvel.detach().numpy()[ids]
        bad = self._run(self._batch.forward, ids=ids)
        self._bad[ids] = bad[ids]
        for name, values in self._loaded.items():
            values[ids] = self._sources[name][ids]

    def step(self, ctrl: Tensor, substeps: int) -> None:
        self._sources["ctrl"][:] = ctrl.detach().numpy()
        self._bad[:] = self._run(self._batch.step, nstep=substeps, stage=_VELOCITY_STAGE)
        self._loaded.clear()

    def kick(self, change: Tensor) -> None:
        self._sources["qvel"] += change.detach().numpy()
        self.load_state(self.state())

    def field(self, name: str, rows: tuple[int, ...] | None = None) -> Tensor:
        key = (name, rows)
        if key not in self._buffers:
            self._register(name, rows)
        array, tensor = self._buffers[key]
        if key not in self._fresh:
            name, rows = self._resolve(name, rows)
            source = self._loaded.get(name, self._sources[name])
            array[:] = source if rows is None else source[:, rows]
            self._fresh.add(key)
        return tensor

    def bad_worlds(self) -> Tensor:
        return torch.from_numpy(self._bad.copy())

    def state(self) -> dict[str, Tensor]:
        acceleration = {n: self._loaded.get(n, self._sources[n]) for n in ACCELERATION_FIELDS}
        arrays = {"integration": self._batch.state, "bad": self._bad, **acceleration}
        return {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        check_state(state, {name: tensor.shape for name, tensor in self.state().items()})
        self._batch.state[:] = state["integration"].numpy()
        self._run(self._batch.forward, stage=_VELOCITY_STAGE)
        self._bad[:] = state["bad"].numpy()
        self._loaded = {name: state[name].numpy().copy() for name in ACCELERATION_FIELDS}

    def set_model_field(self, name: str, values: Tensor) -> None:
        shape = model_field_shape(self.model, name)
        self._batch.expand(name)[:] = per_world(values, self.num_worlds, shape, name).numpy()
        if name in mujoco.MjModel._setconst_inputs:
            self._batch.set_const()
        saved = self.state()
        self.load_state(saved)  # position and velocity fields under the new model

    def overflow(self) -> dict[str, int]:
        counts = {kind: count for kind, count in self._overflow.items() if count}
        self._overflow = dict.fromkeys(_OVERFLOWS, 0)
        self._announce(counts, dict.fromkeys(counts, "give the model more memory (<size memory=...> in its XML)"))
        return counts

    def close(self) -> None:
        self._buffers.clear()
        self._sources.clear()
        self._loaded.clear()
        del self._batch

    def _default_state(self) -> np.ndarray:
        spec = mujoco.mjtState.mjSTATE_INTEGRATION
        row = np.empty(mujoco.mj_stateSize(self.model, spec))
        mujoco.mj_getState(self.model, mujoco.MjData(self.model), row, spec)
        return row

    def _run(self, call, **arguments) -> np.ndarray:
        """Run a batch call; return which worlds failed or had warnings of bad numbers, bool (W,)."""
        self._fresh.clear()
        # When MuJoCo resets a bad world it clears its counters, so only counts from zero are reliable.
        self._batch.warning[:] = 0
        try:
            call(**arguments)
        except SimulationError as error:
            _log.debug("%s", error)
        counts = self._batch.warning[:, :, 1]
        for kind, warning in _OVERFLOWS.items():
            self._overflow[kind] += int(counts[:, warning].sum())
        finite = np.isfinite(self._sources["qpos"]).all(1) & np.isfinite(self._sources["qvel"]).all(1)
        return counts[:, _INVALID].any(1) | (self._batch.status != 0) | ~finite

    def _resolve(self, name: str, rows: tuple[int, ...] | None) -> tuple[str, tuple[int, ...] | None]:
        """Return the field and rows to read: copying a thousand sites takes 3 % of a step, their bodies nothing."""
        if name in _OF_BODY and rows is not None:
            picked = list(rows)
            if (self.model.site_sameframe[picked] == mujoco.mjtSameFrame.mjSAMEFRAME_BODY).all():
                return _OF_BODY[name], tuple(int(b) for b in self.model.site_bodyid[picked])
        return name, rows

    def _register(self, name: str, rows: tuple[int, ...] | None) -> None:
        check_field(name)
        source, picked = self._resolve(name, rows)
        if source not in self._sources:
            self._sources[source] = self._batch.bind(source)
            self._run(self._batch.forward, stage=_VELOCITY_STAGE)  # a field bound between calls is zero until the next
        template = self._sources[source]
        shape = template.shape if picked is None else template[:, picked].shape
        array = np.empty(shape, dtype=np.float32)
        self._buffers[name, rows] = (array, torch.from_numpy(array))


def quiet_warnings() -> None:
    """Send MuJoCo's warnings to Python's logging, not to the terminal and MUJOCO_LOG.TXT, unless a handler is set."""
    if mujoco.get_mju_user_warning() is None:
        mujoco.set_mju_user_warning(lambda message: _log.debug("MuJoCo: %s", message))
