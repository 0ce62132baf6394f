"""Layers of configuration; later ones win.

Dataclass default < `cfg/task/<task>.yaml` < `cfg/preset/<preset>.yaml` < `cfg/profile/<observation.profile>.yaml` <
`key=value` words. Unknown keys stop with the nearest known name.
"""

import dataclasses
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from muscle_torch.errors import InputError, nearest

from .schema import Config

Schema = TypeVar("Schema")


def load_config(task: str | None = None, words: Sequence[str] = (), **overrides: Any) -> Config:
    """The training config of `task`, with `key=value` words and keyword overrides (`num_envs=4`) on top.

    Nested keys are dotted words (`"ppo.epochs=2"`) or nested dicts (`ppo={"epochs": 2}`).
    Raises InputError for an unknown task, preset or key, and for values of the wrong type.
    """
    given = OmegaConf.merge(_words(Config, words), _checked(Config, overrides, "argument"))
    assert isinstance(given, DictConfig)
    task = str(given.get("task") or task or Config.task)
    layers = [DictConfig({"task": task}), _yaml("task", task)]
    preset = given.get("preset") or layers[1].get("preset")
    if preset:
        layers.append(_by_task("preset", str(preset), task))
    profile = OmegaConf.select(OmegaConf.merge(*layers, given), "observation.profile")
    if profile:
        layers.append(OmegaConf.create({"observation": _by_task("profile", str(profile), task)}))
    return _build(Config, [*layers, given])


def parse_words(schema: type[Schema], words: Sequence[str]) -> Schema:
    """A tool's options: the frozen dataclass `schema` filled from `key=value` words."""
    return _build(schema, [_words(schema, words)])


def config_to_dict(config: Any) -> dict[str, Any]:
    """Plain containers only: for YAML, JSON and checkpoints."""
    return dataclasses.asdict(config)


def config_from_dict(values: dict[str, Any]) -> Config:
    """The inverse of `config_to_dict`. Raises InputError where the keys are another version's."""
    return _build(Config, [_checked(Config, values, "stored config")])


def tasks() -> list[str]:
    return sorted(p.name.removesuffix(".yaml") for p in _folder("task").iterdir() if p.name.endswith(".yaml"))


def _folder(kind: str) -> Any:
    return resources.files("muscle_torch.cfg") / kind


def _yaml(kind: str, name: str) -> DictConfig:
    known = sorted(p.name.removesuffix(".yaml") for p in _folder(kind).iterdir() if p.name.endswith(".yaml"))
    if name not in known:
        raise InputError(f"unknown {kind} {name!r}{nearest(name, known)}")
    loaded = OmegaConf.load(Path(str(_folder(kind) / f"{name}.yaml")))
    assert isinstance(loaded, DictConfig)
    return loaded


def _by_task(kind: str, name: str, task: str) -> DictConfig:
    """A preset or profile holds `all:` and one block a task; the task's block wins."""
    blocks = _yaml(kind, name)
    if task not in blocks and "all" not in blocks:
        raise InputError(f"{kind} {name!r} has no settings for task {task!r}")
    merged = OmegaConf.merge(blocks.get("all") or {}, blocks.get(task) or {})
    assert isinstance(merged, DictConfig)
    return merged


def _words(schema: type, words: Sequence[str]) -> DictConfig:
    for word in words:
        if "=" not in word or word.startswith("-"):
            raise InputError(f"cannot read {word!r}: write options as key=value (`--help` lists the keys)")
    try:
        parsed = OmegaConf.from_dotlist(list(words))
    except (OmegaConfBaseException, ValueError) as error:
        raise InputError(f"cannot read the options: {str(error).splitlines()[0]}") from None
    return _checked(schema, parsed, "option")


def _checked(schema: type, values: Any, where: str, prefix: str = "") -> DictConfig:
    """`values` as a DictConfig whose keys all exist in `schema`."""
    node = values if isinstance(values, DictConfig) else OmegaConf.create(dict(values))
    known = {f.name: f for f in dataclasses.fields(schema)}
    for name in node:
        if name not in known:
            raise InputError(f"unknown {where} {prefix + str(name)!r}{nearest(str(name), list(known))}")
        inner = known[str(name)].type
        if dataclasses.is_dataclass(inner) and isinstance(node.get(name), DictConfig):
            _checked(inner, node.get(name), where, f"{prefix}{name}.")  # type: ignore[arg-type]
    return node


def _build(schema: type[Schema], layers: list[DictConfig]) -> Schema:
    try:
        for layer in layers:
            _checked(schema, layer, "key")
        merged = OmegaConf.merge(OmegaConf.structured(schema), *layers)
        built = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        name = getattr(error, "full_key", "") or ""
        raise InputError(f"bad value for {name!r}: {str(error).splitlines()[0]}") from None
    assert isinstance(built, schema)
    return built
