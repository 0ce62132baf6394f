"""Planning for many environments, in this process or in several."""

import dataclasses
import multiprocessing
from multiprocessing.connection import Connection
from typing import NamedTuple

import mujoco
import numpy as np

from muscle_torch.embodiments import Embodiment
from muscle_torch.errors import InputError

from .body import ControlBody
from .options import MuscleControlOptions
from .planner import StepPlanner
from .reference import Reference


class Steps(NamedTuple):
    """Planned control steps of W environments."""

    controls: np.ndarray  # (W, nu)
    iterations: np.ndarray  # (W,) iterations of Newton's method
    converged: np.ndarray  # (W,) bool


class World(NamedTuple):
    """State of one environment, and the clip and frame that it follows."""

    qpos: np.ndarray  # (nq,)
    qvel: np.ndarray  # (nv,)
    act: np.ndarray  # (na,)
    clip: int  # key of the reference in the pool
    frame: int  # current frame of the clip


class PlannerPool:
    """Plans control steps of W environments; an environment is always planned by the same process."""

    def __init__(self, body: ControlBody, options: MuscleControlOptions) -> None:
        """Start the planning processes.

        Args:
            body: The body.
            options: Gains; `processes` is the number of processes, 1: plan in this process.

        Raises:
            InputError: The number of processes is below 1.
        """
        processes = options.processes
        if processes < 1:
            raise InputError(f"control.processes={processes}: must be at least 1")
        self._planner = StepPlanner(body, options) if processes == 1 else None
        self._references: dict[int, Reference] = {}
        self._workers: list[tuple[multiprocessing.process.BaseProcess, Connection]] = []
        # Spawn: a forked process would inherit the state of torch's threads, which do not run in it.
        context = multiprocessing.get_context("spawn")
        for _ in range(processes if processes > 1 else 0):
            here, there = context.Pipe()
            process = context.Process(target=_serve, args=(there, _simulated(body.embodiment), options), daemon=True)
            process.start()
            there.close()
            self._workers.append((process, here))

    def add(self, clip: int, reference: Reference) -> None:
        """Send the reference of a clip to all planners."""
        self._references[clip] = reference
        for _, connection in self._workers:
            connection.send((clip, reference))

    def plan(self, worlds: list[World]) -> Steps:
        """Plan one control step of every environment."""
        if self._planner is not None:
            return _plan(self._planner, self._references, worlds)
        count = len(self._workers)
        for index, (_, connection) in enumerate(self._workers):
            connection.send(worlds[index::count])
        parts = [connection.recv() for _, connection in self._workers]
        out = [np.zeros((len(worlds), *column.shape[1:]), column.dtype) for column in parts[0]]
        for index, part in enumerate(parts):
            for column, values in zip(out, part, strict=True):
                column[index::count] = values
        return Steps(*out)

    def close(self) -> None:
        """Stop the processes."""
        for process, connection in self._workers:
            connection.close()
            process.join(timeout=5.0)
        self._workers.clear()


def _simulated(embodiment: Embodiment) -> Embodiment:
    """Return the body without its spec functions, which cannot be pickled."""
    return dataclasses.replace(embodiment, build_spec=mujoco.MjSpec, compile_spec=_no_spec)


def _no_spec(spec: mujoco.MjSpec) -> mujoco.MjModel:
    raise TypeError("the body of a planning process has no spec")


def _plan(planner: StepPlanner, references: dict[int, Reference], worlds: list[World]) -> Steps:
    controls = np.zeros((len(worlds), planner.body.model.nu))
    iterations, converged = np.zeros(len(worlds), dtype=np.int64), np.ones(len(worlds), dtype=bool)
    for index, world in enumerate(worlds):
        if not np.isfinite(world.qpos).all():  # diverged: zero controls until it is reset
            continue
        reference = references[world.clip]
        controls[index], plan = planner.controls(world.qpos, world.qvel, world.act, reference, world.frame)
        iterations[index], converged[index] = plan.iterations, plan.converged
    return Steps(controls, iterations, converged)


def _serve(connection: Connection, embodiment: Embodiment, options: MuscleControlOptions) -> None:
    """Run a planning process: receive references (clip, Reference) and states until the connection closes."""
    planner, references = StepPlanner(ControlBody(embodiment), options), {}
    while True:
        try:
            message = connection.recv()
        except (EOFError, KeyboardInterrupt):
            return
        if isinstance(message, tuple):
            references[message[0]] = message[1]
        else:
            connection.send(_plan(planner, references, message))
