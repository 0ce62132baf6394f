"""Write a trained policy to a small folder to pass on: `python tools/share.py checkpoint=runs/my_run output=my_policy`.

The folder has `policy.pt`, a checkpoint for all programs (evaluate, render, fine-tune) without the state of optimizer
and environments, and `metrics.json`, the evaluation of that file on the motions or trials of its training.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from muscle_torch.config import Config, config_from_dict, config_to_dict, key, parse_words, run_command
from muscle_torch.errors import InputError

# What load_policy, tools and a fine-tune read of a checkpoint; the rest continues a run.
KEPT = ("policy", "policy_spec", "task", "step", "progress", "embodiment", "embodiment_options", "model_version")
KEPT += ("observation_size", "action_size", "action_names")
# Keys of the config that name folders and the machine of the run.
LOCAL = ("experiment", "runs_dir", "checkpoint", "resume", "device", "backend", "threads")


@dataclasses.dataclass(frozen=True)
class ShareOptions:
    """Options of the program."""

    checkpoint: str = key("", "the trained policy: a checkpoint file or a run folder")
    output: str = key("", "the folder to write")
    threads: int = key(0, "physics threads of the evaluation on a CPU; 0: all cores")


def main(words: Sequence[str]) -> int:
    """Write checkpoint and evaluation; return the exit code."""
    options = parse_words(ShareOptions, words)
    if not (options.checkpoint and options.output):
        raise InputError("set checkpoint=<run folder or checkpoint file> and output=<folder>")
    from muscle_torch.evaluation import evaluate, trial_table, write_evaluation
    from muscle_torch.storage.checkpoint import load_checkpoint, save_checkpoint
    from muscle_torch.tools.controlled_env import ControlOptions, make_controlled_env

    path = Path(options.output) / "policy.pt"
    contents = compact(load_checkpoint(options.checkpoint))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {path.parent}: {error.strerror}; choose another output=") from None
    save_checkpoint(path, contents)
    env, controller = make_controlled_env(ControlOptions(checkpoint=str(path), threads=options.threads))
    try:
        metrics = evaluate(env, controller)
        print(trial_table(metrics, env.goal.headline))
    finally:
        env.close()
    write_evaluation(path.with_name("metrics.json"), {**metrics, "task": contents["task"], "step": contents["step"]})
    print(f"written to {path.parent}: policy.pt with {path.stat().st_size / 1e6:.2f} MB, metrics.json")
    return 0


def compact(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a checkpoint that inference and fine-tuning need, without paths of the machine.

    Raises:
        InputError: The policy trained beside a partner, whose checkpoint is a file of its own.
    """
    config = config_from_dict(stored["config"])
    if config.partner:
        raise InputError("the policy was trained with partner=, without which it cannot be evaluated")
    local = {name: getattr(Config, name) for name in LOCAL}
    config = dataclasses.replace(config, **local)
    return {name: stored[name] for name in KEPT if name in stored} | {"config": config_to_dict(config)}


if __name__ == "__main__":
    run_command(main, ShareOptions, __doc__ or "")
