"""How the physics of a body is stepped: group `physics` of a config. Imports no torch."""

from dataclasses import dataclass
from enum import StrEnum

from muscle_torch.config import key


class Solver(StrEnum):
    """Solver of the constraints (contacts, joint limits, equalities)."""

    newton = "newton"
    cg = "cg"
    pgs = "pgs"


class Integrator(StrEnum):
    """Numerical integrator of a substep."""

    euler = "euler"
    rk4 = "rk4"
    implicit = "implicit"
    implicitfast = "implicitfast"


@dataclass(frozen=True)
class PhysicsOptions:
    """What replaces a body's own settings; the defaults leave them as they are. Applied by `with_physics`."""

    timestep: float = key(0.0, "length of a substep; 0: the body's own; alone, it keeps the control frequency", "s")
    substeps: int = key(0, "substeps of a control step; 0: the body's own; alone, it changes the control frequency")
    solver: Solver | None = key(None, "solver of the constraints: newton, cg or pgs; absent: the body's own")
    integrator: Integrator | None = key(
        None, "euler, rk4, implicit or implicitfast; absent: the body's own (of the bodies here euler)"
    )
