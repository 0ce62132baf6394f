"""Planning of one control step: from state and reference to excitations."""

import mujoco
import numpy as np

from .activation import ActivationDynamics
from .body import ControlBody
from .dynamics import Dynamics
from .options import MuscleControlOptions
from .preview import foot_targets
from .programme import Inputs, Plan, Programme
from .reference import Reference
from .tasks import BodyState, Rows, Tasks


class StepPlanner:
    """Plans control steps of a body, one environment at a time. Not thread-safe, because it owns an `MjData`.

    Attributes:
        body: The body.
        options: Gains.
        dynamics: Linearized dynamics.
        tasks: Tasks of the body.
        data: MuJoCo data for computations.
    """

    def __init__(self, body: ControlBody, options: MuscleControlOptions) -> None:
        self.body, self.options = body, options
        self.dynamics = Dynamics(body)
        self.tasks = Tasks(body, options.tasks)
        self.data = mujoco.MjData(body.model)
        self._muscles = np.flatnonzero(body.muscle)
        self._act = body.model.actuator_actadr[self._muscles]
        self._activation = ActivationDynamics.of(body.model, self._muscles, body.embodiment.substeps)

    def controls(
        self, qpos: np.ndarray, qvel: np.ndarray, act: np.ndarray, reference: Reference, frame: int
    ) -> tuple[np.ndarray, Plan]:
        """Plan the next control step.

        Args:
            qpos: Pose in the world frame of the reference, (nq,).
            qvel: Velocity, (nv,).
            act: Activations, (na,).
            reference: Tables of the clip.
            frame: Current frame of the clip.

        Returns:
            Excitations of muscles in [0, 1] and controls of motors, (nu,); and the plan.
        """
        data = self.data
        data.qpos[:], data.qvel[:], data.act[:] = qpos, qvel, act
        # Extrapolate the pose to the mean time at which the forces of the control step act.
        mujoco.mj_integratePos(self.body.model, data.qpos, data.qvel, self.body.lead)
        self.dynamics.forward(data)
        plan = self.plan(BodyState(self.body, data, reference, frame))
        out = plan.inputs.copy()
        out[self._muscles] = self._activation.invert(act[self._act], plan.inputs[self._muscles])
        return out, plan

    def plan(self, state: BodyState) -> Plan:
        """Optimize inputs and contact forces for a state after `Dynamics.forward`."""
        options = self.options.programme
        linear = self.dynamics.linearize(state.data, options.horizon)
        standing = state.reference.stands[state.next]
        return Programme(linear, self._rows(state), self._inputs(state), standing, options).solve()

    def _inputs(self, state: BodyState) -> Inputs:
        """Return reachable bounds of the inputs and the costs of effort, deviation and change."""
        options, model = self.options.programme, self.body.model
        lowest, highest = model.actuator_ctrlrange.T.copy()
        now, table = np.zeros(model.nu), state.reference.activation[state.next]
        now[self._muscles] = state.data.act[self._act]
        lowest[self._muscles], highest[self._muscles] = self._activation.reachable(now[self._muscles])
        cost = np.full(model.nu, options.effort + options.deviation + options.change)
        centre = (options.deviation * table + options.change * now) / cost
        # Motor controls are measured in units of their range, and have no activation dynamics.
        motors = ~self.body.muscle
        largest = np.maximum(np.abs(lowest), np.abs(highest))[motors]
        cost[motors], centre[motors] = options.motor_effort / largest**2, 0.0
        return Inputs(lowest, highest, centre, cost)

    def _rows(self, state: BodyState) -> list[Rows]:
        """Return the rows of all tasks."""
        tasks = self.tasks
        rows = [*tasks.posture(state), *tasks.balance(state), *tasks.lean(state), *tasks.momentum(state)]
        if not self.body.feet:
            return rows
        heels = [foot.body for foot in self.body.feet]
        target = foot_targets(
            *(state.reference, state.next, state.com, state.com_velocity),
            *(state.data.xpos[heels], state.lowest[0][:, 2], self.options.steps),
        )
        return [*rows, *tasks.feet(state, target), *tasks.clearance(state, self.options.steps.clearance)]
