"""Watch a policy in the browser: motions, pause, scrub, the reference as a ghost, muscles by activation.

`python tools/view.py checkpoint=runs/my_run` plays every motion with the run's policy and opens a page at
http://localhost:8080 (Ctrl-C ends it). `task=bimanual motion=wave` without a checkpoint shows the motions alone.
On a machine elsewhere: `ssh -L 8080:localhost:8080 machine` there, and the same page here.
"""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from muscle_torch.config import key, load_config, parse_words, run_command
from muscle_torch.errors import InputError

ALONE = "motion alone"


@dataclasses.dataclass(frozen=True)
class ViewOptions:
    checkpoint: str = key("", "the policy to play: a checkpoint file or a run folder; empty: motions alone")
    task: str = key("bimanual", "cfg/task/<task>.yaml, where there is no checkpoint")
    fingers: bool = key(False, "with movable fingers, where there is no checkpoint")
    motion: Any = key("", "generated motion name, file, folder, glob, or a list; empty: those of the training or task")
    max_seconds: float = key(20.0, "at most so much of each motion", "s")
    port: int = key(8080, "port of the page; the next free one where it is taken")
    host: str = key("127.0.0.1", "who may look: 127.0.0.1 this machine only, 0.0.0.0 everyone who reaches it")
    device: str = key("auto", "auto, cpu, cuda or cuda:N")
    backend: str = key("auto", "physics: auto (warp on CUDA, mujoco on a CPU), warp or mujoco")
    threads: int = key(0, "physics threads on a CPU; 0: all cores")


def main(words: Sequence[str]) -> int:
    """Serves the page until Ctrl-C; returns the exit code."""
    options = parse_words(ViewOptions, words)
    viewer = make_viewer(options)
    print(f"{len(viewer.player.clip_names)} motions at {viewer.url} (Ctrl-C ends it)", flush=True)
    try:
        viewer.run()
    finally:
        viewer.close()
    return 0


def make_viewer(options: ViewOptions) -> Any:
    """The page, served but not playing yet."""
    if options.max_seconds <= 0:
        raise InputError(f"max_seconds={options.max_seconds}: must be more than 0")
    try:
        from muscle_torch.rendering.viewer import Viewer
    except ImportError as error:
        raise InputError(str(error)) from None
    from muscle_torch.embodiments import configured_embodiment
    from muscle_torch.rendering.player import Player

    cfg = _config(options)
    embodiment = configured_embodiment(cfg)
    return Viewer(Player(sources(options, cfg, embodiment)), embodiment, options.host, options.port)


def sources(options: ViewOptions, cfg: Any, embodiment: Any) -> dict[str, Callable[[], list[Any]]]:
    """What can be chosen as policy: the checkpoints of the run, the given one first, and the motions alone."""
    found: dict[str, Callable[[], list[Any]]] = {}
    if options.checkpoint:
        from muscle_torch.storage.checkpoint import find_checkpoint

        given = find_checkpoint(options.checkpoint)
        others = [p for p in sorted(given.parent.glob("*.pt")) if p != given]
        found = {path.stem: partial(_played, options, path) for path in (given, *others)}
    return found | {ALONE: partial(_alone, options, cfg, embodiment)}


def _config(options: ViewOptions) -> Any:
    from muscle_torch.config import config_from_dict

    if not options.checkpoint:
        return load_config(options.task, fingers=options.fingers)
    from muscle_torch.storage.checkpoint import load_checkpoint

    return config_from_dict(load_checkpoint(options.checkpoint)["config"])


def _played(options: ViewOptions, checkpoint: Path) -> list[Any]:
    """Recordings of the policy in its own task, as it is evaluated."""
    from muscle_torch.config import config_from_dict
    from muscle_torch.envs import make_env
    from muscle_torch.models import load_policy
    from muscle_torch.physics import resolve_device
    from muscle_torch.rendering.video import record_policy
    from muscle_torch.tools.evaluate import EvaluateOptions, evaluation_config

    policy = load_policy(checkpoint, device=str(resolve_device(options.device)))
    shared = {name: getattr(options, name) for name in ("checkpoint", "motion", "device", "backend", "threads")}
    env = make_env(evaluation_config(config_from_dict(policy.config), EvaluateOptions(**shared)), evaluation=True)
    try:
        return record_policy(env, policy, options.max_seconds)
    finally:
        env.close()


def _alone(options: ViewOptions, cfg: Any, embodiment: Any) -> list[Any]:
    from muscle_torch.motion import load_motion
    from muscle_torch.rendering.video import Recording

    clips = load_motion(options.motion or cfg.motion, embodiment)
    most = [int(options.max_seconds * clip.frequency) + 1 for clip in clips]
    return [
        Recording(c.name, c.qpos[:frames], c.frequency, landmarks=None if c.landmarks is None else c.landmarks[:frames])
        for c, frames in zip(clips, most, strict=True)
    ]


if __name__ == "__main__":
    run_command(main, ViewOptions, __doc__ or "")
