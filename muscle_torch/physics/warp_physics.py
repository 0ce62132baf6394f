"""MuJoCo Warp in float32, on CUDA or (for tests) on Warp's CPU device; a control step is one graph."""

import logging
from collections.abc import Callable

import mujoco
import mujoco_warp as mjw
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
from .graphs import capture, refuse_in_capture
from .warp_broken import freeze_broken
from .warp_budget import calibrate
from .warp_resets import Resets
from .warp_step import INTEGRATORS, accelerate, constrain, has_passive, put_model, update_kinematics

_STATE = ("qpos", "qvel", "act", "ctrl", "qacc_warmstart", "time")
_OVERFLOWS = {
    "constraints": mjw.OverflowType.NEFC,
    "constraint Jacobian": mjw.OverflowType.NJMAX_NNZ,
    "contact candidates": mjw.OverflowType.BROADPHASE,
    "contacts": mjw.OverflowType.NARROWPHASE,
    "convex contacts": mjw.OverflowType.CCD,
}

_OF_ROWS = ("constraints", "constraint Jacobian")

_log = logging.getLogger(__name__)


class WarpPhysics(Physics):
    """W worlds on one device. `field()` gives zero-copy views of Warp's arrays.

    A control step begins after the position and velocity stages (`warp_step.update_kinematics`) and ends with them, so
    that positions and velocities are up to date when they are read. All fields of worlds that are reset are computed in
    small batches.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        num_worlds: int,
        device: torch.device | None = None,
        contacts: int | None = None,
        constraints: int | None = None,
    ):
        """Compile and load all kernels, and put all worlds to rest in the model's default pose.

        Args:
            model: MuJoCo model; its options select solver, iterations and integrator.
            num_worlds: W.
            device: Device of the simulation; None: the CPU.
            contacts: Contact candidates per world, on average, that the buffer holds; None: measured by a short
                rollout.
            constraints: Constraint rows per world that its buffer holds; None: measured.

        Raises:
            InputError: MuJoCo Warp cannot simulate the model.
        """
        self.model = model
        self.num_worlds = num_worlds
        self.device = torch.device("cpu") if device is None else device
        # Silence the line that Warp prints for each of a hundred kernels, and on a CPU its warning of no CUDA driver.
        quiet = wp.LOG_ERROR if self.device.type == "cpu" else wp.LOG_WARNING
        wp.config.log_level = max(wp.config.log_level, quiet)
        wp.init()
        self._wp_device = wp.device_from_torch(self.device)
        self._graphs: dict[object, wp.Graph] = {}
        self._passive = has_passive(model)
        with wp.ScopedDevice(self._wp_device):
            self._m = put_model(model)
            self._m.opt.warn_overflow = 0  # counted by overflow(), not printed from kernels
            self.buffers = calibrate(model, self._m).with_sizes(contacts, constraints)
            self._d = self.buffers.make_data(model, num_worlds)
            self._broken = wp.zeros(num_worlds, dtype=int)
            self._resets = Resets(model, self._m, self._d, self._passive, self.buffers, self._broken)
        self._make_views()
        self._warm_up()

    def reset(self, worlds: Tensor, qpos: Tensor, qvel: Tensor) -> None:
        chosen = worlds.to(self.device).unsqueeze(1)
        start = {"qpos": qpos, "qvel": qvel}
        for name in _STATE:
            view = self._views[name]
            mask = chosen if view.dim() == 2 else chosen.squeeze(1)
            value = start[name].to(view) if name in start else torch.zeros_like(view)
            torch.where(mask, value, view, out=view)
        self._chosen.copy_(chosen.squeeze(1))
        self._bad.mul_(1 - self._chosen)
        if self._in_small_batches:
            self._run("reset", self._reset)
        else:
            self._forward_all(chosen)

    def step(self, ctrl: Tensor, substeps: int) -> None:
        self._views["ctrl"].copy_(ctrl)
        self._bad.zero_()
        self._run(substeps, lambda: self._control_step(substeps))

    def field(self, name: str, rows: tuple[int, ...] | None = None) -> Tensor:
        check_field(name)
        view = self._view(name)
        if rows is None:
            return view
        if rows not in self._rows:
            self._rows[rows] = torch.tensor(rows, device=self.device)
        return view.index_select(1, self._rows[rows])

    def bad_worlds(self) -> Tensor:
        return self._bad != 0

    def kick(self, change: Tensor) -> None:
        state = self.state()
        state["qvel"] += change
        self.load_state(state)

    def state(self) -> dict[str, Tensor]:
        return {name: self.field(name).clone() for name in (*_STATE, *ACCELERATION_FIELDS)}

    def load_state(self, state: dict[str, Tensor]) -> None:
        check_state(state, {name: tensor.shape for name, tensor in self.state().items()})
        for name in (*_STATE, *ACCELERATION_FIELDS):
            self._views[name].copy_(state[name])
        self._bad.zero_()
        self._refresh_kinematics()

    def set_model_field(self, name: str, values: Tensor) -> None:
        shape = model_field_shape(self.model, name)
        array = getattr(self._m, name, None)
        if name in mujoco.MjModel._setconst_inputs or not isinstance(array, wp.array) or not _is_batched(name):
            raise InputError(f"model field {name!r} cannot differ between worlds on Warp; use backend=mujoco for it")
        rows = per_world(values, self.num_worlds, shape, name).to(self.device, torch.float32)
        if array.shape[0] != self.num_worlds:
            with wp.ScopedDevice(self._wp_device):
                array = wp.array(rows.cpu().numpy(), dtype=array.dtype, shape=(self.num_worlds, *array.shape[1:]))
                array._is_batched = True  # pyright: ignore  (Warp's own mark)
            setattr(self._m, name, array)
            self._resets.add_model_field(name)
            self._graphs.clear()  # they contain the old array's address
        wp.to_torch(array).copy_(rows.reshape(wp.to_torch(array).shape))
        self._refresh_kinematics()

    def overflow(self) -> dict[str, int]:
        bits = wp.to_torch(self._d.overflow)
        stored = bits.clone().cpu()
        bits.zero_()
        counts = {kind: int(((stored & int(bit)) != 0).sum()) for kind, bit in _OVERFLOWS.items()}
        counts = {kind: count for kind, count in counts.items() if count}
        rows, contacts = self.buffers.rows, self.buffers.contacts
        remedies = dict.fromkeys(counts, f"increase physics.contacts, now {contacts}")
        remedies |= dict.fromkeys(_OF_ROWS, f"increase physics.constraint_rows, now {rows}")
        self._announce(counts, remedies)
        return counts

    def close(self) -> None:
        self._graphs.clear()
        self._views.clear()
        self._rows.clear()
        del self._m, self._d

    def _make_views(self) -> None:
        self._rows: dict[tuple[int, ...], Tensor] = {}
        self._views: dict[str, Tensor] = {}
        for name in (*_STATE, *ACCELERATION_FIELDS):
            self._view(name)
        self._bad, self._chosen = wp.to_torch(self._broken), wp.to_torch(self._resets.chosen)

    def _view(self, name: str) -> Tensor:
        """Return a zero-copy torch view of a Data array; 3 x 3 matrices are flattened as in MuJoCo's Python."""
        if name not in self._views:
            view = wp.to_torch(getattr(self._d, name))
            self._views[name] = view.flatten(2) if view.dim() == 4 else view
        return self._views[name]

    def _warm_up(self) -> None:
        """Compile and load every kernel outside graph capture, then put all worlds into the model's default pose."""
        _log.info("loading Warp kernels on %s (the first time on a machine they compile for minutes)", self.device)
        self._launch(lambda: update_kinematics(self._m, self._d, self._passive))
        self._launch(lambda: self._control_step(1))
        self._chosen.fill_(1)
        self._launch(self._reset)
        self._launch(self._forward)
        self._in_small_batches = self._can_reset_in_small_batches()
        everyone = torch.ones(self.num_worlds, dtype=torch.bool, device=self.device)
        qpos = torch.from_numpy(self.model.qpos0).to(self.device, torch.float32).expand(self.num_worlds, -1)
        self.reset(everyone, qpos, torch.zeros_like(self._views["qvel"]))
        wp.to_torch(self._d.overflow).zero_()

    def _run(self, key: object, launches: Callable[[], None]) -> None:
        """Replay the launches on torch's current stream; the first call captures them into a graph named `key`."""
        refuse_in_capture(self._wp_device)
        if key not in self._graphs:
            self._graphs[key] = capture(self._wp_device, launches)
        wp.capture_launch(self._graphs[key], stream=self._stream())

    def _launch(self, launches: Callable[[], None]) -> None:
        """Run the launches one by one, without a graph."""
        with wp.ScopedDevice(self._wp_device), wp.ScopedStream(self._stream()):
            launches()

    def _stream(self) -> wp.Stream | None:
        """Return torch's current stream as a Warp stream; None on a CPU."""
        if not self._wp_device.is_cuda:
            return None
        return wp.stream_from_torch(torch.cuda.current_stream(self.device))

    def _control_step(self, substeps: int) -> None:
        m, d, broken = self._m, self._d, self._broken
        integrate = INTEGRATORS[self.model.opt.integrator]
        freeze_broken(m, d, broken)
        for _ in range(substeps):
            constrain(m, d)
            d.sensordata.zero_()
            accelerate(m, d, broken)
            integrate(m, d)
            freeze_broken(m, d, broken)
            update_kinematics(m, d, self._passive)

    def _reset(self) -> None:
        freeze_broken(self._m, self._d, self._broken)
        self._resets.launch()

    def _forward(self) -> None:
        freeze_broken(self._m, self._d, self._broken)
        self._d.sensordata.zero_()
        update_kinematics(self._m, self._d, self._passive)
        constrain(self._m, self._d)
        accelerate(self._m, self._d, self._broken)

    def _forward_all(self, chosen: Tensor) -> None:
        """Compute all fields of all worlds; those that are not `chosen` (W, 1) keep their accelerations."""
        kept = {name: self._views[name].clone() for name in ACCELERATION_FIELDS}
        self._run("forward", self._forward)
        for name, values in kept.items():
            torch.where(chosen, self._views[name], values, out=self._views[name])

    def _can_reset_in_small_batches(self) -> bool:
        """Return whether the driver records a graph of nested loops, which `Resets` needs."""
        if not self._wp_device.is_cuda:
            return True
        try:
            self._graphs["reset"] = capture(self._wp_device, self._reset)
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            _log.warning("resets compute all worlds, which is slower: no graph of small batches (%s)", reason)
            return False
        return True

    def _refresh_kinematics(self) -> None:
        """Update positions and velocities after the state was changed from outside."""
        self._run("kinematics", self._kinematics)

    def _kinematics(self) -> None:
        freeze_broken(self._m, self._d, self._broken)
        update_kinematics(self._m, self._d, self._passive)


def _is_batched(name: str) -> bool:
    """Return whether MuJoCo Warp indexes this model array by world."""
    annotation = mjw.Model.__annotations__[name]
    return getattr(annotation, "shape", ("",))[0] == "*"
