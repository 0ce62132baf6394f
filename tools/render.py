"""Render a video (.mp4) or a picture (.png) without a screen: a policy with its reference as a ghost, or motions alone.

`python tools/render.py checkpoint=runs/my_run motion=wave output=wave.mp4` plays the policy, every motion from its
start to its end; muscles redden with activation. Without a checkpoint the motions themselves are shown:
`python tools/render.py task=bimanual motion=wave output=wave.mp4`.
"""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from muscle_torch.config import key, load_config, parse_words, run_command
from muscle_torch.errors import InputError


@dataclasses.dataclass(frozen=True)
class RenderOptions:
    checkpoint: str = key("", "the policy to play: a checkpoint file or a run folder; empty: show the motions alone")
    task: str = key("bimanual", "cfg/task/<task>.yaml, where there is no checkpoint")
    fingers: bool = key(False, "with movable fingers, where there is no checkpoint")
    motion: Any = key("", "generated motion name, file, folder, glob, or a list; empty: those of the training or task")
    output: str = key("motion.mp4", "a .mp4 video, or a .png picture of the first motion")
    time: float = key(1.0, "moment a picture shows", "s")
    width: int = key(640, "width, even", "pixels")
    height: int = key(480, "height, even", "pixels")
    fps: int = key(30, "frames a second of the video")
    speed: float = key(1.0, "pace of the video; 0.25 is slow motion")
    max_seconds: float = key(60.0, "at most so much of each motion", "s")
    grid: bool = key(False, "all motions at once, side by side, instead of one after the other")
    samples: int = key(4, "antialiasing samples a pixel of a video; 0 is twice as fast where there is no GPU")
    device: str = key("auto", "auto, cpu, cuda or cuda:N")
    backend: str = key("auto", "physics: auto (warp on CUDA, mujoco on a CPU), warp or mujoco")
    threads: int = key(0, "physics threads on a CPU; 0: all cores")


def main(words: Sequence[str]) -> int:
    """Writes one video or picture; returns the exit code."""
    options = parse_words(RenderOptions, words)
    output = _checked(options)
    from muscle_torch.rendering.scene import choose_gl
    from muscle_torch.rendering.video import render, render_still

    choose_gl()  # before the policy plays: no OpenGL is known at once
    embodiment, recordings = _play(options) if options.checkpoint else _show_motions(options)
    size = {"width": options.width, "height": options.height}
    if output.suffix == ".png":
        render_still(embodiment, recordings[0], output, options.time, **size)
    else:
        pace = {
            "fps": options.fps,
            "speed": options.speed,
            "max_seconds": options.max_seconds,
            "samples": options.samples,
            "grid": options.grid,
        }
        render(embodiment, recordings, output, **size, **pace, progress=_progress)
    print(f"written to {output}")
    return 0


def _checked(options: RenderOptions) -> Path:
    output = Path(options.output)
    if output.suffix not in (".mp4", ".png"):
        raise InputError(f"cannot write {output}: output= must end in .mp4 or .png")
    for name in ("fps", "speed", "max_seconds"):
        if getattr(options, name) <= 0:
            raise InputError(f"{name}={getattr(options, name)}: must be more than 0")
    if options.time < 0:
        raise InputError(f"time={options.time}: must be 0 or more")
    return output


def _play(options: RenderOptions) -> tuple[Any, list[Any]]:
    """The policy of the checkpoint in its own task, as it is evaluated."""
    from muscle_torch.config import config_from_dict
    from muscle_torch.envs import make_env
    from muscle_torch.models import load_policy
    from muscle_torch.physics import resolve_device
    from muscle_torch.rendering.video import record_policy
    from muscle_torch.tools.evaluate import EvaluateOptions, evaluation_config

    policy = load_policy(options.checkpoint, device=str(resolve_device(options.device)))
    shared = {name: getattr(options, name) for name in ("checkpoint", "motion", "device", "backend", "threads")}
    env = make_env(evaluation_config(config_from_dict(policy.config), EvaluateOptions(**shared)), evaluation=True)
    try:
        return env.embodiment, record_policy(env, policy, options.max_seconds)
    finally:
        env.close()


def _show_motions(options: RenderOptions) -> tuple[Any, list[Any]]:
    """The motions as they are: the body is put on them, nothing is simulated."""
    from muscle_torch.embodiments import configured_embodiment
    from muscle_torch.motion import load_motion
    from muscle_torch.rendering.video import Recording

    cfg = load_config(options.task, fingers=options.fingers)
    embodiment = configured_embodiment(cfg)
    clips = load_motion(options.motion or cfg.motion, embodiment)
    return embodiment, [Recording(c.name, c.qpos, c.frequency, landmarks=c.landmarks) for c in clips]


def _progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{done} of {total} frames", end="\n" if done == total else "", file=sys.stderr, flush=True)


if __name__ == "__main__":
    run_command(main, RenderOptions, __doc__ or "")
