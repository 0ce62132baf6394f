"""Props: what stands beside a body, such as a ball. Attached after it, so that the body comes first in the model."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import mujoco

from muscle_torch.errors import InputError

from .embodiment import Embodiment, names_of


class Prop(Protocol):
    """One prop. Its bodies hang from the world body, last."""

    @property
    def name(self) -> str:
        """Name of its outermost body."""
        ...

    def add_to(self, spec: mujoco.MjSpec) -> None:
        """Add the prop's bodies, joints, geoms and so on to the end of a spec."""
        ...


@dataclass(frozen=True)
class Ball:
    """A sphere that moves freely and touches everything that can be touched."""

    name: str = "ball"
    radius: float = 0.11  # [m]
    mass: float = 0.45  # [kg]
    position: tuple[float, float, float] = (0.0, 0.0, 0.11)  # of its centre in the default pose [m]

    def add_to(self, spec: mujoco.MjSpec) -> None:
        body = spec.worldbody.add_body(name=self.name, pos=self.position)
        body.add_freejoint(name=self.name)
        # Contacts are stated: the body's own defaults may switch them off.
        contact = {"contype": 1, "conaffinity": 1, "condim": 3}
        sphere = mujoco.mjtGeom.mjGEOM_SPHERE
        body.add_geom(name=self.name, type=sphere, size=[self.radius, 0, 0], mass=self.mass, **contact)


def attach(embodiment: Embodiment, *props: Prop) -> Embodiment:
    """Return the body with props beside it, e.g. `attach(embodiment, Ball(position=(0.0, -0.4, 0.11)))`.

    Names, ids, poses and sizes stay those of the body; in `model` the props come after them. The model is compiled
    anew: values that were changed in the old one, not in its spec, are lost.

    Raises:
        InputError: A name is taken, or a prop is no tree of its own after the body in the model.
    """
    names = (*embodiment.props, *(prop.name for prop in props))
    for name in (prop.name for prop in props):
        if name in names_of(embodiment.model, "body") or names.count(name) > 1:
            raise InputError(f"{embodiment.name} has a body {name!r} already: give the prop another name")
    build_spec = partial(_with_props, embodiment.build_spec, props)
    model = embodiment.compile_spec(build_spec())
    made = dataclasses.replace(embodiment, model=model, build_spec=build_spec, props=names, body_sizes=embodiment.sizes)
    before = {kind: names_of(embodiment.model, kind) for kind in ("body", "joint", "actuator")}
    after = all(names_of(model, kind)[: len(those)] == those for kind, those in before.items())
    if not after or (model.body_rootid[embodiment.model.nbody :] < embodiment.model.nbody).any():
        raise InputError(f"{embodiment.name}: one of {', '.join(names)} does not stand beside the body, after it")
    return made


def _with_props(build_spec: Callable[[], mujoco.MjSpec], props: Sequence[Prop]) -> mujoco.MjSpec:
    spec = build_spec()
    for prop in props:
        prop.add_to(spec)
    return spec
