"""MuJoCo Warp in float32: on CUDA, or for tests on Warp's CPU device; one graph a control step on both."""

import copy
import logging
from collections.abc import Callable

import mujoco
import mujoco_warp as mjw
import numpy as np
import torch
import warp as wp
from mujoco_warp._src.forward import _actuator_velocity  # within fwd_velocity; a part of its own only here
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
_FORCES = ("actuator_force", "qfrc_actuator")  # of the acceleration stage, known before its solver
_LARGEST = 1e10  # MuJoCo's mjMAXVAL: beyond it a number is as bad as NaN
_SENSOR = mujoco.mjtSensor
_OF_CONSTRAINTS = [
    *(_SENSOR.mjSENS_JOINTLIMITPOS, _SENSOR.mjSENS_JOINTLIMITVEL, _SENSOR.mjSENS_TENDONLIMITPOS),
    *(_SENSOR.mjSENS_TENDONLIMITVEL, _SENSOR.mjSENS_GEOMDIST, _SENSOR.mjSENS_GEOMNORMAL, _SENSOR.mjSENS_GEOMFROMTO),
]
# of a model: what makes tendons push by themselves, or bodies float
_PASSIVE = ("tendon_stiffness", "tendon_stiffnesspoly", "tendon_damping", "tendon_dampingpoly", "body_gravcomp")
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

    A physics step is three parts: where everything is (`_look`: kinematics, tendons, velocities, their sensors), what
    constrains it (`_constrain`: inertia, collision, constraint rows), and how it accelerates (`_accelerate`), after
    which it is integrated; together they are mjw.step. A control step begins behind the first part and ends with
    it, so that positions and velocities can be read and resets seen for that part alone. What a reset world's forces,
    touch and accelerations would be is computed where they are asked for.
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
        self._constrained = False  # whether `_constrain` has been made for the present positions
        # Worlds (W, 1) reset since the last step whose forces, and whose accelerations, are not known yet; None: none.
        self._unactuated: Tensor | None = None
        self._unsolved: Tensor | None = None
        if contacts is None or constraints is None:
            measured = calibrate(model)
            contacts = measured.contacts if contacts is None else contacts
            constraints = measured.constraints if constraints is None else constraints
        self._passive = _has_passive(model)
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
        self._moved()
        self._unactuated = chosen if self._unactuated is None else chosen | self._unactuated
        self._unsolved = chosen if self._unsolved is None else chosen | self._unsolved

    def step(self, ctrl: Tensor, substeps: int) -> None:
        self._views["ctrl"].copy_(ctrl)
        constrained = self._constrained
        self._run((substeps, constrained), lambda: self._control_step(substeps, constrained))
        self._constrained, self._unactuated, self._unsolved = False, None, None

    def field(self, name: str, rows: tuple[int, ...] | None = None) -> Tensor:
        check_field(name)
        self._catch_up(name, rows)
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
        return {name: self.field(name).clone() for name in (*_STATE, *ACCELERATION_FIELDS)}

    def load_state(self, state: dict[str, Tensor]) -> None:
        check_state(state, {name: tensor.shape for name, tensor in self.state().items()})
        for name in (*_STATE, *ACCELERATION_FIELDS):
            self._views[name].copy_(state[name])
        self._moved()
        self._unactuated, self._unsolved = None, None

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
        self._moved()

    def overflow(self) -> dict[str, int]:
        bits = wp.to_torch(self._d.overflow)
        found = bits.clone().cpu()
        bits.zero_()
        counts = {kind: int(((found & int(bit)) != 0).sum()) for kind, bit in _OVERFLOWS.items()}
        return {kind: count for kind, count in counts.items() if count}

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
        late = np.zeros(self.model.nsensordata, dtype=bool)
        for i in np.flatnonzero(self.model.sensor_needstage == mujoco.mjtStage.mjSTAGE_ACC):
            late[self.model.sensor_adr[i] : self.model.sensor_adr[i] + self.model.sensor_dim[i]] = True
        self._late_sensors = torch.from_numpy(late).to(self.device)
        self._late_ids = frozenset(np.flatnonzero(late).tolist())

    def _view(self, name: str) -> Tensor:
        """Zero-copy torch view of a Data array, 3 x 3 matrices flattened as in MuJoCo's Python."""
        if name not in self._views:
            view = wp.to_torch(getattr(self._d, name))
            self._views[name] = view.flatten(2) if view.dim() == 4 else view
        return self._views[name]

    def _warm_up(self) -> None:
        """Compiles and loads every kernel outside graph capture, then puts all worlds to the model's default pose."""
        _log.info("loading Warp kernels on %s (the first time on a machine they compile for minutes)", self.device)
        self._launch(self._look)
        self._launch(lambda: self._control_step(1))
        everyone = torch.ones(self.num_worlds, dtype=torch.bool, device=self.device)
        qpos = torch.from_numpy(self.model.qpos0).to(self.device, torch.float32).expand(self.num_worlds, -1)
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

    def _control_step(self, substeps: int, constrained: bool = False) -> None:
        integrate = INTEGRATORS[self.model.opt.integrator]
        for substep in range(substeps):
            if substep or not constrained:
                self._constrain()
            self._accelerate()
            integrate(self._m, self._d)
            self._look()

    def _look(self) -> None:
        """The position and velocity stages but for `_constrain`; sensors of the acceleration stage stay."""
        m, d = self._m, self._d
        mjw.fwd_kinematics(m, d)
        mjw.transmission(m, d)
        mjw.sensor_pos(m, d)
        self._find_velocities()
        mjw.sensor_vel(m, d)

    def _find_velocities(self) -> None:
        """mjw.fwd_velocity, which looks for springs, dampers and armature of each tendon at every degree of freedom,
        and for a float of each body at every one: where the model has none of these, without looking.
        """
        m, d = self._m, self._d
        if self._passive:
            mjw.fwd_velocity(m, d)
            return
        moment = [d.moment_rownnz, d.moment_rowadr, d.moment_colind, d.actuator_moment]
        wp.launch(_actuator_velocity, d.actuator_velocity.shape, [d.qvel, *moment], [d.actuator_velocity])
        mjw.com_vel(m, d)
        joints_only = copy.copy(m)
        joints_only.ntendon, joints_only.nbody = 0, 1  # of bodies the world, which has no weight
        mjw.passive(joints_only, d)
        mjw.rne(m, d)

    def _constrain(self) -> None:
        m, d = self._m, self._d
        mjw.crb(m, d)
        if m.opt.run_collision_detection:
            mjw.collision(m, d)
        mjw.make_constraint(m, d)

    def _actuate(self) -> None:
        mjw.fwd_actuation(self._m, self._d)

    def _accelerate(self) -> None:
        m, d = self._m, self._d
        d.sensordata.zero_()  # a touch sensor adds up its contacts
        mjw.fwd_actuation(m, d)
        mjw.fwd_acceleration(m, d, factorize=True)
        mjw.solve(m, d)
        if m.opt.run_rne_postconstraint or m.sensor_rne_postconstraint:
            mjw.rne_postconstraint(m, d)
        mjw.sensor_acc(m, d, skip_rne_postconstraint=True)

    def _solve(self) -> None:
        self._constrain()
        self._accelerate()

    def _moved(self) -> None:
        """Brings positions and velocities up to date after the state was changed from outside."""
        self._run("look", self._look)
        self._constrained = False

    def _catch_up(self, name: str, rows: tuple[int, ...] | None) -> None:
        """Computes of the acceleration stage what a field needs, if worlds were reset since the last step.

        It is computed for all worlds; those that were not reset keep what the last substep left.
        """
        if name in _FORCES:
            behind, fields = self._unactuated, _FORCES
        elif name == "qacc" or (name == "sensordata" and (rows is None or not self._late_ids.isdisjoint(rows))):
            behind, fields = self._unsolved, ACCELERATION_FIELDS
        else:
            return
        if behind is None:
            return
        kept = {field: self._views[field].clone() for field in fields}
        self._unactuated = None
        if fields is _FORCES:
            self._run("actuate", self._actuate)
        else:
            self._run("solve", self._solve)
            self._unsolved, self._constrained = None, True
        for field, old in kept.items():
            chosen = behind & self._late_sensors if field == "sensordata" else behind
            torch.where(chosen, self._views[field], old, out=self._views[field])


def _runge_kutta(m: mjw.Model, d: mjw.Data) -> None:
    """Integrate as mjw.rungekutta4; sensors of the acceleration stage stay those of the step's start, as in C.

    It evaluates all stages anew at three more points, and leaves positions and velocities of the last of them.
    """
    sensors = wp.clone(d.sensordata)
    mjw.rungekutta4(m, d)
    wp.copy(d.sensordata, sensors)


# mjtIntegrator -> what takes the state from the start of a substep, where all stages are known, to its end
INTEGRATORS: dict[int, Callable[[mjw.Model, mjw.Data], None]] = {
    mujoco.mjtIntegrator.mjINT_EULER: mjw.euler,
    mujoco.mjtIntegrator.mjINT_RK4: _runge_kutta,
    mujoco.mjtIntegrator.mjINT_IMPLICIT: mjw.implicit,
    mujoco.mjtIntegrator.mjINT_IMPLICITFAST: mjw.implicit,
}


def _put_model(model: mujoco.MjModel) -> mjw.Model:
    try:
        _check(model)
        return mjw.put_model(model)
    except NotImplementedError as error:
        raise InputError(f"MuJoCo Warp cannot simulate this model: {error} Use backend=mujoco") from None


def _check(model: mujoco.MjModel) -> None:
    """What would need contacts or limits where a control step ends, which are computed where the next one begins.

    And what a step made of parts leaves out: inertia of tendons, checks of flexible bodies.
    """
    refused = {
        "adhesion": (model.actuator_trntype == mujoco.mjtTrn.mjTRN_BODY).any(),
        "tendon armature": model.tendon_armature.any(),
        "sensors of limits or distances": np.isin(model.sensor_type, _OF_CONSTRAINTS).any(),
        "an integrator other than euler, rk4, implicit and implicitfast": model.opt.integrator not in INTEGRATORS,
        "the solver pgs": model.opt.solver == mujoco.mjtSolver.mjSOL_PGS,
        "sleeping": model.opt.enableflags & mujoco.mjtEnableBit.mjENBL_SLEEP,
        "flexible bodies": model.nflex,
    }
    for name, found in refused.items():
        if found:
            raise NotImplementedError(f"it has {name}.")


def _has_passive(model: mujoco.MjModel) -> bool:
    """Whether anything but joints makes passive forces, or reads a tendon's velocity."""
    in_fluid = model.opt.density > 0 or model.opt.viscosity > 0 or model.opt.wind.any()
    sensed = (model.sensor_type == _SENSOR.mjSENS_TENDONVEL).any()
    return bool(in_fluid or sensed or any(getattr(model, name).any() for name in _PASSIVE))


def _is_batched(name: str) -> bool:
    """Whether MuJoCo Warp indexes this model array by world."""
    annotation = mjw.Model.__annotations__[name]
    return getattr(annotation, "shape", ("",))[0] == "*"
