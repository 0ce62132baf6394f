"""Convert a published MuscleMimic checkpoint to this package's format, without JAX.

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

CHOSEN = ("embodiment", "goal", "policy", "exploration")  # kinds that determine the sizes of policy and environment


@dataclasses.dataclass(frozen=True)
class ImportOptions:
    """Options of the program."""

    checkpoint: str = key("", "a folder checkpoint_<n>, a folder with several, or hf://owner/name[/folder]")
    output: str = key("", "the checkpoint file to write, e.g. policy.pt")
    model_version: str = key("", "version of musclemimic-models it was trained on; empty: as stated in the checkpoint")
    revision: str = key("", "hf:// only: branch, tag or commit; empty: the newest")


def main(words: Sequence[str]) -> int:
    """Convert the checkpoint; return the exit code."""
    options = parse_words(ImportOptions, words)
    output = _checked(options)
    from muscle_torch.published import orbax
    from muscle_torch.published.hub import download, is_hub

    location = options.checkpoint
    folder = orbax.find_published(download(location, options.revision) if is_hub(location) else location)
    # Imported late, so that a wrong address fails without loading torch.
    from muscle_torch.models.build import build_policy, policy_spec
    from muscle_torch.models.published_mlp import load_published
    from muscle_torch.published.config import published_config
    from muscle_torch.storage.checkpoint import save_checkpoint

    published = published_config(orbax.read_json(folder, orbax.CONFIG))
    progress = orbax.read_json(folder, orbax.PROGRESS)
    arrays = orbax.read_arrays(folder)

    sizes = environment_sizes(published.config, published.sites)
    _check_sizes(arrays, sizes)
    shape = {name: sizes[name] for name in ("observation_size", "action_size")}
    spec = policy_spec(published.config.policy, published.config.exploration, **shape)
    policy = build_policy(spec)
    load_published(policy, arrays)  # type: ignore[arg-type]
    step = int(progress.get("global_timestep", 0))
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
    """Return arguments of train.py for a policy and environment of the same shape: the differences from the task."""
    words, values = [f"task={config.task}"], config_to_dict(config)
    base = config_to_dict(load_config(config.task))
    words += [f"{name}={values[name]['name']}" for name in CHOSEN if values[name]["name"] != base[name]["name"]]
    base = config_to_dict(load_config(words=words))
    for name in (*CHOSEN, "observation"):
        words += _changes(name, values[name], base[name])
    for space, before in zip(values["actions"], base["actions"], strict=True):
        words += _changes(f"actions.{space['name']}", space, before)
    return words


def _changes(prefix: str, values: Mapping[str, Any], base: Mapping[str, Any]) -> list[str]:
    """Return the arguments for the keys whose values differ, including nested ones."""
    words: list[str] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            words += _changes(f"{prefix}.{name}", value, base[name])
        elif value != base[name]:
            words.append(_word(f"{prefix}.{name}", value))
    return words


def _word(name: str, value: Any) -> str:
    """Return an argument, quoted if it has brackets that a shell would interpret."""
    return f"'{name}=[{','.join(map(str, value))}]'" if isinstance(value, list) else f"{name}={value}"


def _checked(options: ImportOptions) -> Path:
    if not options.checkpoint:
        raise InputError("no checkpoint: set checkpoint=<folder> or checkpoint=hf://owner/name")
    if not options.output or Path(options.output).is_dir():
        raise InputError("no output file: set output=<file.pt>")
    if options.model_version and not re.fullmatch(r"\d+\.\d+\.\d+", options.model_version):
        raise InputError(f"model_version={options.model_version}: set a version such as 1.0.6")
    return Path(options.output)


def environment_sizes(config: Config, sites: tuple[str, ...]) -> dict[str, Any]:
    """Return identity and sizes of an environment of this config.

    Args:
        config: The config.
        sites: Tracked sites in the checkpoint's order; empty: the body's.

    Raises:
        InputError: The body has other sites.
    """
    from muscle_torch.embodiments import configured_embodiment
    from muscle_torch.envs import make_env
    from muscle_torch.motion import MotionClip

    body = configured_embodiment(config)
    if sites and sites != body.site_names:
        raise InputError(
            f"the checkpoint tracks the sites {', '.join(sites)}, but {body.name} has {', '.join(body.site_names)}"
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
            "action_names": list(env.action_names),
        }
    finally:
        env.close()


def _check_sizes(arrays: dict[str, Any], sizes: dict[str, Any]) -> None:
    """Raise InputError if the checkpoint's network does not fit the body and observation of its config."""
    means = [array for name, array in arrays.items() if name.startswith("run_stats.") and name.endswith(".mean")]
    stored = {
        "observation_size": len(means[0]) if means else 0,
        "action_size": len(arrays.get("params.log_std", ())),
    }
    for name, size in stored.items():
        if size != sizes[name]:
            raise InputError(
                f"the checkpoint's {name} is {size}, but {sizes['embodiment']} with its config's observation has "
                f"{sizes[name]}: it was trained on another body, or with other observations"
            )


def _model_version(requested: str, stored: str, installed: str) -> str:
    """Return the version to store; warn if the installed muscles may differ from those in training."""
    version = requested or stored
    risk = "muscle paths differ between versions (1.0.5 and 1.0.6: left knee and six wraps), so it may perform worse"
    if not version:
        print(
            f"warning: the checkpoint does not state the version of its body; {installed} is stored. If it was another "
            f"one, {risk}; set model_version=",
            file=sys.stderr,
        )
        return installed
    if version != installed:
        print(
            f"warning: trained on version {version} of the body, but {installed} is installed: {risk}", file=sys.stderr
        )
    return version


if __name__ == "__main__":
    run_command(main, ImportOptions, __doc__ or "")
