"""Videos: a policy or a motion played by one or several bodies."""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import torch
from torch import nn

from muscle_torch.embodiments import Embodiment
from muscle_torch.errors import InputError
from muscle_torch.evaluation import policy_mean

from .scene import SceneRenderer


@dataclass(frozen=True)
class Recording:
    """One played motion, at `frequency` [Hz]."""

    name: str
    qpos: np.ndarray  # (T, nq)
    frequency: float
    reference: np.ndarray | None = None  # (T, nq), drawn as a ghost
    activation: np.ndarray | None = None  # (T, muscles) in [0, 1]; None: muscles in one colour
    landmarks: np.ndarray | None = None  # (T, K, 3) [m], recorded points, drawn as small spheres

    @property
    def seconds(self) -> float:
        return (len(self.qpos) - 1) / self.frequency

    def at(self, time: float) -> dict[str, Any]:
        """What `SceneRenderer.draw` needs for the frame nearest to `time` [s]."""
        frame = min(round(time * self.frequency), len(self.qpos) - 1)
        rows = {"qpos": self.qpos, "reference": self.reference, "activation": self.activation}
        rows["landmarks"] = self.landmarks
        return {key: None if values is None else values[frame] for key, values in rows.items()}


# What drawing or encoding fails with (InputError is a ValueError): no reason to end a training run.
FAILURES = (OSError, RuntimeError, ValueError, mujoco.FatalError)


@torch.no_grad()
def record_policy(env: Any, policy: nn.Module, max_seconds: float = 60.0) -> list[Recording]:
    """Plays every clip of `env.goal.library` once from its start with the policy's mean action, to the end of the clip.

    A body that has lost its motion is kept going: the picture should show how.
    """
    act, library, frequency = policy_mean(policy), env.goal.library, env.embodiment.control_frequency
    recordings: list[Recording] = []
    was_training = policy.training
    policy.eval()
    for first in range(0, library.num_clips, env.num_envs):
        count = min(env.num_envs, library.num_clips - first)
        clip = (first + torch.arange(env.num_envs, device=env.device)).clamp(max=first + count - 1)
        observation = env.assign((clip, torch.zeros_like(clip)))
        length = library.length.to(env.device)[clip]
        frames: list[tuple[np.ndarray, ...]] = [_frame(env, clip, 0)]
        for frame in range(1, min(int(length.max()), int(max_seconds * frequency) + 1)):
            observation = env.advance(act(observation)).observation
            frames.append(_frame(env, clip, frame))
        qpos, reference, activation = (np.stack(values) for values in zip(*frames, strict=True))
        for world in range(count):
            own = slice(0, int(length[world]))
            rows = (values[own, world] for values in (qpos, reference, activation))
            body, ghost, level = rows
            recordings.append(Recording(library.names[first + world], body, frequency, ghost, level))
    policy.train(was_training)
    return recordings


def _frame(env: Any, clip: torch.Tensor, frame: int) -> tuple[np.ndarray, ...]:
    """Copies of qpos, reference and activation of all worlds, on the host."""
    library = env.goal.library
    reference = library.qpos[library.rows(clip, torch.full_like(clip, frame))]
    if env.embodiment.root_joint is not None:  # the environment puts the start of each clip at the origin
        reference = reference.clone()
        reference[:, :2] -= library.qpos[library.rows(clip, torch.zeros_like(clip)), :2]
    values = (env.physics.field("qpos"), reference, env.physics.field("act", env.embodiment.field_rows.get("act")))
    return tuple(value.to("cpu", copy=True).numpy() for value in values)


def render(
    embodiment: Embodiment,
    recordings: Sequence[Recording],
    output: Path,
    *,
    width: int = 640,
    height: int = 480,
    fps: int = 30,
    speed: float = 1.0,
    max_seconds: float = 60.0,
    samples: int = 0,
    grid: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Writes an mp4 of the recordings at `speed` times their pace; `samples`: antialiasing.

    One after the other, or with `grid` all at once side by side, each in its part of the picture; those that end
    before the longest stay on their last frame.
    """
    if not recordings:
        raise InputError("there is no motion to render")
    groups = [recordings] if grid else [[recording] for recording in recordings]
    columns = math.ceil(math.sqrt(len(groups[0])))
    rows = math.ceil(len(groups[0]) / columns)
    tile_width, tile_height = width // columns & ~1, height // rows & ~1  # both even
    if min(tile_width, tile_height) < 64:
        raise InputError(f"{len(recordings)} motions in {width} x {height} are too small to see: give larger width=")
    counts = [int(min(max(r.seconds for r in group), max_seconds) / speed * fps) + 1 for group in groups]
    with SceneRenderer(embodiment, tile_width, tile_height, samples) as renderer:

        def images() -> Iterator[np.ndarray]:
            done = 0
            for group, count in zip(groups, counts, strict=True):
                views = [renderer.aim(_sample(recording)) for recording in group]
                for k in range(count):
                    image = np.full((rows, tile_height, columns, tile_width, 3), 255, np.uint8)
                    for tile, (recording, view) in enumerate(zip(group, views, strict=True)):
                        time = min(k * speed / fps, recording.seconds)
                        drawn = renderer.draw(**recording.at(time), view=view, label=(recording.name, f"{time:5.2f} s"))
                        image[tile // columns, :, tile % columns] = drawn
                    yield image.reshape(rows * tile_height, columns * tile_width, 3)
                    done += 1
                    if progress is not None:
                        progress(done, sum(counts))

        write_mp4(output, images(), columns * tile_width, rows * tile_height, fps)


def render_still(
    embodiment: Embodiment, recording: Recording, output: Path, time: float, width: int = 640, height: int = 480
) -> None:
    """Writes a PNG of the recording at `time` [s]."""
    from matplotlib.image import imsave

    with SceneRenderer(embodiment, width, height) as renderer:
        shown = recording.at(time)
        renderer.aim([pose for pose in (shown["qpos"], shown["reference"]) if pose is not None])
        image = renderer.draw(**shown)
    _make_folder(output)
    imsave(output, image)


def render_policy(env: Any, policy: nn.Module, output: Path, **options: Any) -> None:
    """Plays every clip of `env` with the policy and writes an mp4; `options` are those of `render`."""
    render(env.embodiment, record_policy(env, policy, options.get("max_seconds", 60.0)), output, **options)


def write_mp4(output: Path, images: Iterator[np.ndarray], width: int, height: int, fps: int) -> None:
    """Encodes images (height, width, 3) uint8 as H.264; `output` appears when it is complete."""
    import imageio_ffmpeg

    _make_folder(output)
    partial = output.with_name(f"{output.stem}.partial.mp4")
    writer = imageio_ffmpeg.write_frames(
        str(partial), (width, height), fps=fps, codec="libx264", quality=8, macro_block_size=2
    )
    writer.send(None)
    try:
        for image in images:
            writer.send(image)
        writer.close()
        os.replace(partial, output)
    finally:
        writer.close()
        partial.unlink(missing_ok=True)


def _make_folder(output: Path) -> None:
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {output}: {error.strerror}; choose another output=") from None


def _sample(recording: Recording, count: int = 20) -> list[np.ndarray]:
    """Poses spread over a recording and its reference, for the camera; those of a reference have no props."""
    frames = np.linspace(0, len(recording.qpos) - 1, count).astype(int)
    return [*recording.qpos[frames], *(() if recording.reference is None else recording.reference[frames])]
