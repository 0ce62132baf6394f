"""Load configurations from layers; later layers override earlier ones.

Dataclass default < `cfg/task/<task>.yaml` < `cfg/preset/<preset>.yaml` < `cfg/profile/<observation.profile>.yaml` <
`key=value` arguments. An unknown key is an error that suggests the nearest known name.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from muscle_torch.errors import InputError, nearest

from .kinds import KINDS, NAME, NAMES, Layer, check_keys, choose, choose_several, structured, to_plain
from .schema import Config
from .words import nested, plain_words, spaced

Schema = TypeVar("Schema")


def load_config(task: str | None = None, words: Sequence[str] = (), **overrides: Any) -> Config:
    """Return the training config of a task.

    Args:
        task: Name of a file in cfg/task; `task=` in `words` takes precedence.
        words: Command line arguments `key=value`; nested keys are dotted (`"ppo.epochs=2"`).
        **overrides: The same as keywords; nested keys are dicts (`ppo={"epochs": 2}`) or dotted (`"ppo.epochs": 2`).

    Raises:
        InputError: Unknown task, preset, key or row of a table, or a value of the wrong type.
    """
    user = [Layer(_words(Config, words), True), Layer(_overrides(overrides), True)]
    task = str(_last(user, "task") or task or Config.task)
    layers = [Layer({"task": task}, False), _yaml_layer("task", task)]
    preset = _last(user, "preset") or layers[1].values.get("preset")
    if preset:
        layers.append(_by_task("preset", str(preset), task))
    profile = _last([*layers, *user], "observation", "profile")
    if profile:
        layers.append(_by_task("profile", str(profile), task))
    return _build(Config, [*layers, *user])


def with_overrides(config: Config, **overrides: Any) -> Config:
    """Return a copy of a config with some keys changed, checked as by `load_config`."""
    return _build(Config, [Layer(to_plain(config), False), Layer(_overrides(overrides), True)])


def parse_words(schema: type[Schema], words: Sequence[str]) -> Schema:
    """Return a tool's options: the frozen dataclass `schema` filled from `key=value` arguments.

    Raises:
        InputError: Unknown key, or a value of the wrong type.
    """
    return _build(schema, [Layer(_words(schema, words), True)])


def config_to_dict(config: Any) -> dict[str, Any]:
    """Return a config as plain containers, for YAML, JSON and checkpoints."""
    return to_plain(config)


def config_from_dict(values: Mapping[str, Any]) -> Config:
    """Rebuild a config from the output of `config_to_dict`.

    Raises:
        InputError: The dict was written by a version with other keys.
    """
    values = _without_mixing(values)
    check_keys(Config, values, "stored config")
    return _build(Config, [Layer(values, True)])


def _without_mixing(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a stored config without the action options of versions in which the environment mixed muscles."""
    actions = values.get("actions")
    if not isinstance(actions, list):
        return values
    for one in actions:
        if one.get("synergy_mixing") or one.get("action_bias"):
            raise InputError(
                "this checkpoint is from a version in which the environment mixed muscles; now the policy does: "
                "retrain it (exploration.synergy_mixing, exploration.action_bias)"
            )
    removed = ("synergy_mixing", "action_bias")
    kept = [{name: value for name, value in one.items() if name not in removed} for one in actions]
    return {**values, "actions": kept}


def tasks() -> list[str]:
    """Return the names of all task files."""
    return names_in("task")


def names_in(folder: str) -> list[str]:
    """Return the names of the YAML files in cfg/<folder>."""
    return sorted(p.name.removesuffix(".yaml") for p in _folder(folder).iterdir() if p.name.endswith(".yaml"))


def _folder(name: str) -> Any:
    return resources.files("muscle_torch.cfg") / name


def _yaml(folder: str, name: str) -> dict[str, Any]:
    known = names_in(folder)
    if name not in known:
        raise InputError(f"unknown {folder} {name!r}{nearest(name, known)}")
    loaded = OmegaConf.to_container(OmegaConf.load(Path(str(_folder(folder) / f"{name}.yaml"))))
    assert isinstance(loaded, dict)
    return {str(key): value for key, value in loaded.items()}


def _yaml_layer(folder: str, name: str) -> Layer:
    values = _yaml(folder, name)
    check_keys(Config, values, f"key in cfg/{folder}/{name}.yaml:")
    return Layer(values, False)


def _by_task(folder: str, name: str, task: str) -> Layer:
    """Return a preset's or profile's block for a task, merged on top of its block `all`."""
    blocks = _yaml(folder, name)
    if task not in blocks and "all" not in blocks:
        raise InputError(f"{folder} {name!r} has no settings for task {task!r}")
    merged = OmegaConf.to_container(OmegaConf.merge(blocks.get("all") or {}, blocks.get(task) or {}))
    assert isinstance(merged, dict)
    values = {str(key): value for key, value in merged.items()}
    check_keys(Config, values, f"key in cfg/{folder}/{name}.yaml:")
    return Layer(values, False)


def _last(layers: Sequence[Layer], *path: str) -> Any:
    """Return the value at a path of keys from the last layer that has it; None if none does."""
    for layer in reversed(layers):
        value: Any = layer.values
        for name in path:
            value = value.get(name) if isinstance(value, Mapping) else None
        if value is not None:
            return value
    return None


def _words(schema: type, words: Sequence[str]) -> dict[str, Any]:
    """Parse `key=value` arguments into nested dicts."""
    words = plain_words(words)
    for word in words:
        if "=" not in word or word.startswith("-"):
            raise InputError(f"cannot read {word!r}: write options as key=value (`--help` lists the keys)")
    try:
        parsed = OmegaConf.to_container(OmegaConf.from_dotlist([_chosen(schema, spaced(word)) for word in words]))
    except (OmegaConfBaseException, YAMLError, ValueError) as error:
        raise InputError(f"cannot read the options: {str(error).splitlines()[0]}") from None
    assert isinstance(parsed, dict)
    values = {str(key): value for key, value in parsed.items()}
    check_keys(schema, values, "option")
    return values


def _chosen(schema: type, word: str) -> str:
    """Rewrite `policy=mlp` as `policy.name=mlp`, so that setting an option does not replace the choice."""
    name, value = word.split("=", 1)
    if name not in _kinds(schema):
        return word
    if not KINDS[name].several:
        return f"{name}.{NAME}={value}"
    return f"{name}.{NAMES}={value if value.startswith('[') else f'[{value}]'}"


def _overrides(values: Mapping[str, Any]) -> dict[str, Any]:
    values = nested(values)
    check_keys(Config, values, "argument")
    return values


def _kinds(schema: type) -> dict[str, Any]:
    """Return the fields that choose rows of a table, with their default choice."""
    return {f.name: f.metadata["kind"] for f in dataclasses.fields(schema) if "kind" in f.metadata}


@functools.cache
def _plain(schema: type) -> type:
    """Return the dataclass without the fields that choose rows, which OmegaConf cannot type-check."""
    if not _kinds(schema):
        return schema
    fields = [f for f in dataclasses.fields(schema) if "kind" not in f.metadata]
    copies = [(f.name, f.type, dataclasses.field(**_defaults(f), metadata=f.metadata)) for f in fields]
    return dataclasses.make_dataclass(schema.__name__, copies, frozen=True)


def _defaults(field: dataclasses.Field) -> dict[str, Any]:
    if field.default is not dataclasses.MISSING:
        return {"default": field.default}
    return {"default_factory": field.default_factory}


def _build(schema: type[Schema], layers: Sequence[Layer]) -> Schema:
    kinds = _kinds(schema)
    plain = _plain(schema)
    lists = {f.name for f in dataclasses.fields(plain) if f.type == list[str]}
    values = [
        {name: _as_list(value) if name in lists else to_plain(value) for name, value in layer.values.items()}
        for layer in layers
    ]
    whole = [f.name for f in dataclasses.fields(plain) if f.type is Any]  # a later layer replaces them, not merges
    for index, layer in enumerate(values):
        later = {name for above in values[index + 1 :] for name in above}
        values[index] = {k: v for k, v in layer.items() if not (k in whole and k in later)}
    built = structured(plain, [{k: v for k, v in layer.items() if k not in kinds} for layer in values])
    chosen = {
        name: choose_several(name, default or (), layers) if KINDS[name].several else choose(name, default, layers)
        for name, default in kinds.items()
        if default is not None or any(name in layer.values for layer in layers)
    }
    if not kinds:
        return built
    return schema(**chosen, **{f.name: getattr(built, f.name) for f in dataclasses.fields(plain)})


def _as_list(value: Any) -> list[str]:
    """Return a list of words; a single word or path becomes a list of one."""
    if value is None:  # `motion=` without a value
        return []
    many = value if isinstance(value, list | tuple) else [value] if str(value) else []
    return [str(one) for one in many]
