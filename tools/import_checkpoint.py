"""Convert a published MuscleMimic checkpoint into one of ours, without JAX.

python tools/import_checkpoint.py checkpoint=hf://owner/name output=policy.pt
"""

import dataclasses
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from muscle_torch.config import Config, config_to_dict, key, load_config, parse_words, run_command, tasks
from muscle_torch.errors import InputError

CHOSEN = ("embodiment", "goal", "policy", "exploration")  # what makes the shape of a policy and its environment


@dataclasses.dataclass(frozen=True)
class ImportOptions:
    checkpoint: str = key("", "a folder checkpoint_<n>, a folder that holds some, or hf://owner/name[/folder]")
    output: str = key("", "the checkpoint file to write, e.g. policy.pt")
    model_version: str = key("", "version of musclemimic-models it was trained on; empty: what the checkpoint says")
    revision: str = key("", "hf:// only: branch, tag or commit; empty: the newest")


def main(words: Sequence[str]) -> int:
    """Runs one conversion; returns the exit code."""
    options = parse_words(ImportOptions, words)
    output = _checked(options)
    from muscle_torch.published import orbax
    from muscle_torch.published.hub import download, is_hub

    given = options.checkpoint
    folder = orbax.find_published(download(given, options.revision) if is_hub(given) else given)
    # Imported after the checkpoint is found: a wrong address answers without loading torch.
    from muscle_torch.models.build import build_policy, policy_spec
    from muscle_torch.models.published_mlp import load_published
    from muscle_torch.published.config import published_config
    from muscle_torch.storage.checkpoint import save_checkpoint

    published = published_config(orbax.read_json(folder, orbax.CONFIG))
    facts = orbax.read_json(folder, orbax.PROGRESS)
    arrays = orbax.read_arrays(folder)

    sizes = environment_sizes(published.config, published.sites)
    _check_sizes(arrays, sizes)
    shape = {name: sizes[name] for name in ("observation_size", "action_size")}
    spec = policy_spec(published.config.policy, published.config.exploration, **shape)
    policy = build_policy(spec)
    load_published(policy, arrays)  # type: ignore[arg-type]
    step = int(facts.get("global_timestep", 0))
    contents = {
        "policy": policy.state_dict(),
        "task": published.config.task,
        "config": config_to_dict(published.config),
        "policy_spec": spec,
        "step": step,
        **sizes,
        "model_version": _model_version(options.model_version, published.model_version, sizes["model_version"]),
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(output, contents)
    for note in published.notes:
        print(f"note: {note}")
    parameters = sum(p.numel() for p in policy.parameters())
    print(
        f"{folder}: {sizes['embodiment']}, {published.config.policy.name}, {parameters:,} parameters, "
        f"{shape['observation_size']} observations, {shape['action_size']} muscles, {step:,} control steps"
    )
    print(f"written to {output}\nevaluate:  python tools/evaluate.py checkpoint={output} motion=<motion file>")
    if published.config.task in tasks():
        print(f"fine-tune: python train.py checkpoint={output} {' '.join(training_words(published.config))}")
    return 0


def training_words(config: Config) -> list[str]:
    """Return the words for train.py that make a policy and an environment of the same shape: what differs from the
    task."""
    words, ours = [f"task={config.task}"], config_to_dict(config)
    base = config_to_dict(load_config(config.task))
    words += [f"{name}={ours[name]['name']}" for name in CHOSEN if ours[name]["name"] != base[name]["name"]]
    base = config_to_dict(load_config(words=words))
    for name in (*CHOSEN, "observation"):
        words += _changes(name, ours[name], base[name])
    for space, before in zip(ours["actions"], base["actions"], strict=True):
        words += _changes(f"actions.{space['name']}", space, before)
    return words


def _changes(prefix: str, values: Mapping[str, Any], base: Mapping[str, Any]) -> list[str]:
    """Return the words for the keys whose values differ, those of nested groups included."""
    words: list[str] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            words += _changes(f"{prefix}.{name}", value, base[name])
        elif value != base[name]:
            words.append(_word(f"{prefix}.{name}", value))
    return words


def _word(name: str, value: Any) -> str:
    """Quoted where a shell would read brackets its own way."""
    return f"'{name}=[{','.join(map(str, value))}]'" if isinstance(value, list) else f"{name}={value}"


def _checked(options: ImportOptions) -> Path:
    if not options.checkpoint:
        raise InputError("no checkpoint given: write checkpoint=<folder> or checkpoint=hf://owner/name")
    if not options.output or Path(options.output).is_dir():
        raise InputError("no output file given: write output=<file.pt>")
    if options.model_version and not re.fullmatch(r"\d+\.\d+\.\d+", options.model_version):
        raise InputError(f"model_version={options.model_version}: write a version such as 1.0.6")
    return Path(options.output)


def environment_sizes(config: Config, sites: tuple[str, ...]) -> dict[str, Any]:
    """What an environment of this config has, by making one on a motion that stands still."""
    from muscle_torch.embodiments import configured_embodiment
    from muscle_torch.envs import make_env
    from muscle_torch.motion import MotionClip

    body = configured_embodiment(config)
    if sites and sites != body.site_names:
        raise InputError(
            f"the checkpoint tracks the sites {', '.join(sites)}; {body.name} has {', '.join(body.site_names)}"
        )
    rest = body.project(body.qpos0[None].repeat(2, axis=0))
    clip = MotionClip("still", rest, body.control_frequency, body.joint_names, body.name, body.model_version)
    with tempfile.TemporaryDirectory() as folder:
        motion = str(clip.save(Path(folder) / "still.npz"))
        env = make_env(config, 1, "cpu", motion=motion, backend="mujoco", threads=1)
    try:
        return {
            **body.identity,
            "observation_size": env.observation_size,
            "action_size": env.action_size,
        }
    finally:
        env.close()


def _check_sizes(arrays: dict[str, Any], sizes: dict[str, Any]) -> None:
    """Raises InputError where the checkpoint's network is not of the body and observation that its config names."""
    means = [array for name, array in arrays.items() if name.startswith("run_stats.") and name.endswith(".mean")]
    given = {
        "observation_size": len(means[0]) if means else 0,
        "action_size": len(arrays.get("params.log_std", ())),
    }
    for name, found in given.items():
        if found != sizes[name]:
            raise InputError(
                f"the checkpoint's {name} is {found}; {sizes['embodiment']} with the observation its config names has "
                f"{sizes[name]}: was it trained on another body, or with other observations?"
            )


def _model_version(asked: str, stored: str, installed: str) -> str:
    """The version to note, with a warning where muscles may not be the ones it was trained with."""
    version = asked or stored
    risk = "muscle paths differ between versions (1.0.5 and 1.0.6: left knee and six wraps), so it may act worse here"
    if not version:
        print(
            f"warning: the checkpoint does not say which version of the body it was trained on; {installed} is noted. "
            f"If it was another one, {risk}; say so with model_version=",
            file=sys.stderr,
        )
        return installed
    if version != installed:
        print(f"warning: trained on version {version} of the body, {installed} is installed: {risk}", file=sys.stderr)
    return version


if __name__ == "__main__":
    run_command(main, ImportOptions, __doc__ or "")
