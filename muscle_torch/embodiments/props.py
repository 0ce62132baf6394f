"""Props: objects beside a body, such as a ball. They are attached after it, so the body comes first in the model."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import mujoco

from muscle_torch.errors import InputError

from .embodiment import Embodiment, names_of


class Prop(Protocol):
    """An object whose bodies are children of the world body, after those of the embodiment."""

    @property
    def name(self) -> str:
        """Name of its top-level body."""
        ...

    def add_to(self, spec: mujoco.MjSpec) -> None:
        """Append the prop's bodies, joints and geoms to a spec."""
        ...


@dataclass(frozen=True)
class Ball:
    """A free sphere that collides with every geom that can collide."""

    name: str = "ball"
    radius: float = 0.11  # [m]
    mass: float = 0.45  # [kg]
    position: tuple[float, float, float] = (0.0, 0.0, 0.11)  # position of its centre in the default pose [m]

    def add_to(self, spec: mujoco.MjSpec) -> None:
        """Append the ball, its free joint and its geom to a spec."""
        body = spec.worldbody.add_body(name=self.name, pos=self.position)
        body.add_freejoint(name=self.name)
        # Explicit contact parameters: defaults of the body's model may disable contacts.
        contact = {"contype": 1, "conaffinity": 1, "condim": 3}
        sphere = mujoco.mjtGeom.mjGEOM_SPHERE
        body.add_geom(name=self.name, type=sphere, size=[self.radius, 0, 0], mass=self.mass, **contact)


def attach(embodiment: Embodiment, *props: Prop) -> Embodiment:
    """Return the body with props beside it: `attach(embodiment, Ball(position=(0.0, -0.4, 0.11)))`.

    Names, ids, poses and sizes of the body do not change; the props come after them in `model`. The model is compiled
    again: edits of the old model that are not in its spec are lost.

    Args:
        embodiment: The body.
        props: Props to attach, in order.

    Raises:
        InputError: A name is already used, or a prop is not a separate tree after the body in the model.
    """
    names = (*embodiment.props, *(prop.name for prop in props))
    for name in (prop.name for prop in props):
        if name in names_of(embodiment.model, "body") or names.count(name) > 1:
            raise InputError(f"{embodiment.name} already has a body {name!r}: give the prop another name")
    build_spec = partial(_with_props, embodiment.build_spec, props)
    model = embodiment.compile_spec(build_spec())
    made = dataclasses.replace(embodiment, model=model, build_spec=build_spec, props=names, body_sizes=embodiment.sizes)
    before = {kind: names_of(embodiment.model, kind) for kind in ("body", "joint", "actuator")}
    after = all(names_of(model, kind)[: len(those)] == those for kind, those in before.items())
    if not after or (model.body_rootid[embodiment.model.nbody :] < embodiment.model.nbody).any():
        raise InputError(
            f"{embodiment.name}: one of {', '.join(names)} is not a separate tree after the body: fix its add_to"
        )
    return made


def _with_props(build_spec: Callable[[], mujoco.MjSpec], props: Sequence[Prop]) -> mujoco.MjSpec:
    spec = build_spec()
    for prop in props:
        prop.add_to(spec)
    return spec
