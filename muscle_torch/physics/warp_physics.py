"""MuJoCo Warp in float32: on CUDA, or for tests on Warp's CPU device; one graph a control step on both."""

import logging
from collections.abc import Callable

import mujoco
import mujoco_warp as mjw
import numpy as np
import torch
import warp as wp
from torch import Tensor

from muscle_torch.errors import InputError

from .contract import (
    ACCELERATION_FIELDS,
    Physics,
    check_field,
    check_state,
    model_field_shape,
    per_world,
)
from .warp_budget import calibrate

_STATE = ("qpos", "qvel", "act", "ctrl", "qacc_warmstart", "time")
_LARGEST = 1e10  # MuJoCo's mjMAXVAL: beyond it a number is as bad as NaN
_OVERFLOWS = {
    "constraints": mjw.OverflowType.NEFC,
    "constraint Jacobian": mjw.OverflowType.NJMAX_NNZ,
    "contact candidates": mjw.OverflowType.BROADPHASE,
    "contacts": mjw.OverflowType.NARROWPHASE,
    "convex contacts": mjw.OverflowType.CCD,
}

_log = logging.getLogger(__name__)


class WarpPhysics(Physics):
    """W worlds on one device. `field()` gives zero-copy views of Warp's arrays.

    A control step is step2, step x (n-1), step1. Warp clears the sensors in step1, and a forward pass after a reset
    recomputes the acceleration stage of every world; so that stage's fields are kept in buffers of their own.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        num_worlds: int,
        device: torch.device | None = None,
        iterations: int | None = None,
        ls_iterations: int | None = None,
        contacts: int | None = None,
        constraints: int | None = None,
    ):
        """iterations, ls_iterations: of the constraint solver; None: the model's own.

        contacts (a world, on average) and constraints (rows a world): buffer sizes; None: measured by a short rollout.
        """
        self.model = model
        self.num_worlds = num_worlds
        self.device = torch.device("cpu") if device is None else device
        # no line for each of a hundred kernels; and on the CPU, where it is no news, none that there is no CUDA driver
        quiet = wp.LOG_ERROR if self.device.type == "cpu" else wp.LOG_WARNING
        wp.config.log_level = max(wp.config.log_level, quiet)
        wp.init()
        self._wp_device = wp.device_from_torch(self.device)
        self._graphs: dict[object, wp.Graph] = {}
        if contacts is None or constraints is None:
            measured = calibrate(model)
            contacts = measured.contacts if contacts is None else contacts
            constraints = measured.constraints if constraints is None else constraints
        with wp.ScopedDevice(self._wp_device):
            self._m = _put_model(model)
            self._m.opt.warn_overflow = 0  # counted by overflow(), not printed from kernels
            self._m.opt.iterations = iterations or self._m.opt.iterations
            self._m.opt.ls_iterations = ls_iterations or self._m.opt.ls_iterations
            self._d = mjw.make_data(model, nworld=num_worlds, nconmax=contacts, njmax=constraints)
        self._make_views()
        self._warm_up()

    def reset(self, worlds: Tensor, qpos: Tensor, qvel: Tensor) -> None:
        chosen = worlds.to(self.device).unsqueeze(1)
        given = {"qpos": qpos, "qvel": qvel}
        for name in _STATE:
            held = self._views[name]
            mask = chosen if held.dim() == 2 else chosen.squeeze(1)
            value = given[name].to(held) if name in given else torch.zeros_like(held)
            torch.where(mask, value, held, out=held)
        self._run("forward", self._forward)
        for name, kept in self._acceleration.items():
            torch.where(chosen, self._views[name], kept, out=kept)

    def step(self, ctrl: Tensor, substeps: int) -> None:
        self._views["ctrl"].copy_(ctrl)
        self._run(substeps, lambda: self._control_step(substeps))
        self._refresh_sensors()

    def field(self, name: str, rows: tuple[int, ...] | None = None) -> Tensor:
        if name in self._acceleration:
            view = self._acceleration[name]
        else:
            check_field(name)
            view = self._view(name)
        if rows is None:
            return view
        if rows not in self._rows:
            self._rows[rows] = torch.tensor(rows, device=self.device)
        return view.index_select(1, self._rows[rows])

    def bad_worlds(self) -> Tensor:
        checked = [self._views[name] for name in ("qpos", "qvel", "act", "ctrl")]
        good = [(values.abs() < _LARGEST).all(1) for values in checked]  # NaN compares false
        return ~torch.stack(good).all(0)

    def state(self) -> dict[str, Tensor]:
        views = {name: self._views[name] for name in _STATE} | self._acceleration
        return {name: view.clone() for name, view in views.items()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        check_state(state, {name: tensor.shape for name, tensor in self.state().items()})
        for name in _STATE:
            self._views[name].copy_(state[name])
        self._run("step1", self._step1)
        for name, kept in self._acceleration.items():
            kept.copy_(state[name])

    def set_model_field(self, name: str, values: Tensor) -> None:
        shape = model_field_shape(self.model, name)
        held = getattr(self._m, name, None)
        if name in mujoco.MjModel._setconst_inputs or not isinstance(held, wp.array) or not _is_batched(name):
            raise InputError(f"model field {name!r} cannot differ between worlds on Warp; use backend=mujoco for it")
        given = per_world(values, self.num_worlds, shape, name).to(self.device, torch.float32)
        if held.shape[0] != self.num_worlds:
            with wp.ScopedDevice(self._wp_device):
                held = wp.array(given.cpu().numpy(), dtype=held.dtype, shape=(self.num_worlds, *held.shape[1:]))
                held._is_batched = True  # pyright: ignore  (Warp's own mark)
            setattr(self._m, name, held)
            self._graphs.clear()  # they hold the old array's address
        wp.to_torch(held).copy_(given.reshape(wp.to_torch(held).shape))
        self._run("step1", self._step1)
        self._refresh_sensors()

    def overflow(self) -> dict[str, int]:
        bits = wp.to_torch(self._d.overflow)
        found = bits.clone().cpu()
        bits.zero_()
        counts = {kind: int(((found & int(bit)) != 0).sum()) for kind, bit in _OVERFLOWS.items()}
        return {kind: count for kind, count in counts.items() if count}

    def close(self) -> None:
        self._graphs.clear()
        self._views.clear()
        self._acceleration.clear()
        self._rows.clear()
        del self._m, self._d

    def _make_views(self) -> None:
        self._rows: dict[tuple[int, ...], Tensor] = {}
        self._views: dict[str, Tensor] = {}
        for name in (*_STATE, *ACCELERATION_FIELDS):
            self._view(name)
        with wp.ScopedDevice(self._wp_device):
            self._kept = {name: wp.zeros_like(getattr(self._d, name)) for name in ACCELERATION_FIELDS}
        self._acceleration = {name: wp.to_torch(array) for name, array in self._kept.items()}
        late = np.zeros(self.model.nsensordata, dtype=bool)
        for i in np.flatnonzero(self.model.sensor_needstage == mujoco.mjtStage.mjSTAGE_ACC):
            late[self.model.sensor_adr[i] : self.model.sensor_adr[i] + self.model.sensor_dim[i]] = True
        self._late_sensors = torch.from_numpy(late).to(self.device)

    def _view(self, name: str) -> Tensor:
        """Zero-copy torch view of a Data array, 3 x 3 matrices flattened as in MuJoCo's Python."""
        if name not in self._views:
            view = wp.to_torch(getattr(self._d, name))
            self._views[name] = view.flatten(2) if view.dim() == 4 else view
        return self._views[name]

    def _warm_up(self) -> None:
        """Compiles and loads every kernel outside graph capture, then puts all worlds to the model's default pose."""
        _log.info("loading Warp kernels on %s (the first time on a machine they compile for minutes)", self.device)
        self._launch(lambda: self._control_step(2))
        everyone = torch.ones(self.num_worlds, dtype=torch.bool, device=self.device)
        qpos = torch.from_numpy(self.model.qpos0).to(self.device, torch.float32).expand(self.num_worlds, -1)
        self._launch(self._forward)
        self.reset(everyone, qpos, torch.zeros_like(self._views["qvel"]))
        self.overflow()

    def _run(self, key: object, launches: Callable[[], None]) -> None:
        """Replays the launches, captured into one graph the first time, on torch's current stream."""
        if key not in self._graphs:
            side = wp.Stream(self._wp_device) if self._wp_device.is_cuda else None
            scopes = wp.ScopedDevice(self._wp_device), wp.ScopedStream(side)
            with scopes[0], scopes[1], wp.ScopedCapture(self._wp_device, stream=side) as capture:
                launches()
            assert capture.graph is not None
            self._graphs[key] = capture.graph
        wp.capture_launch(self._graphs[key], stream=self._stream())

    def _launch(self, launches: Callable[[], None]) -> None:
        """Runs the launches one by one."""
        with wp.ScopedDevice(self._wp_device), wp.ScopedStream(self._stream()):
            launches()

    def _stream(self) -> wp.Stream | None:
        """Torch's current stream as Warp's; None on a CPU."""
        if not self._wp_device.is_cuda:
            return None
        return wp.stream_from_torch(torch.cuda.current_stream(self.device))

    def _control_step(self, substeps: int) -> None:
        mjw.step2(self._m, self._d)
        for _ in range(substeps - 1):
            mjw.step(self._m, self._d)
        for name, kept in self._kept.items():
            wp.copy(kept, getattr(self._d, name))
        mjw.step1(self._m, self._d)

    def _step1(self) -> None:
        mjw.step1(self._m, self._d)

    def _forward(self) -> None:
        """step1 and the acceleration stage of step2. `mjw.forward` factors the inertia by another kernel, so that
        continuing after it would differ in the last bits from continuing after load_state."""
        m, d = self._m, self._d
        mjw.step1(m, d)
        mjw.fwd_actuation(m, d)
        mjw.fwd_acceleration(m, d)
        mjw.solve(m, d)
        if m.opt.run_rne_postconstraint or m.sensor_rne_postconstraint:
            mjw.rne_postconstraint(m, d)
        mjw.sensor_acc(m, d, skip_rne_postconstraint=True)

    def _refresh_sensors(self) -> None:
        """Position and velocity sensors as of now; those of the acceleration stage stay as kept."""
        kept = self._acceleration["sensordata"]
        torch.where(self._late_sensors, kept, self._views["sensordata"], out=kept)


def _put_model(model: mujoco.MjModel) -> mjw.Model:
    try:
        return mjw.put_model(model)
    except NotImplementedError as error:
        raise InputError(f"MuJoCo Warp cannot simulate this model: {error} Use backend=mujoco") from None


def _is_batched(name: str) -> bool:
    """Whether MuJoCo Warp indexes this model array by world."""
    annotation = mjw.Model.__annotations__[name]
    return getattr(annotation, "shape", ("",))[0] == "*"
