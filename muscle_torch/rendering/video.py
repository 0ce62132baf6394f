"""Videos and pictures of trajectories: one after the other, or side by side."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from tqdm import tqdm

from muscle_torch.embodiments import Embodiment
from muscle_torch.errors import InputError
from muscle_torch.evaluation import Trajectory
from muscle_torch.storage.files import write_atomically

from .scene import SceneRenderer, View

CANNOT_WRITE = "free disk space or choose another output="
# What drawing or encoding fails with.
FAILURES = (OSError, RuntimeError, InputError, mujoco.FatalError)


def render(
    embodiment: Embodiment,
    trajectories: Sequence[Trajectory],
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
    """Write an .mp4 video, or an .webp picture that moves, of trajectories.

    Args:
        embodiment: The body.
        trajectories: What it does.
        output: The file.
        width, height: Of the picture [pixels], both even.
        fps: Frames a second of the video.
        speed: Pace of the video; 0.25 is slow motion.
        max_seconds: At most so much of each trajectory [s].
        samples: Antialiasing samples a pixel.
        grid: All at once side by side, each in its part of the picture, instead of one after the other; those that
            end before the longest stay on their last frame.
        progress: Called with (frames done, frames) after each.

    Raises:
        InputError: There is nothing to render, it would be too small to see, or the file cannot be written.
    """
    if not trajectories:
        raise InputError("there is no motion to render")
    groups = [trajectories] if grid else [[trajectory] for trajectory in trajectories]
    columns = math.ceil(math.sqrt(len(groups[0])))
    rows = math.ceil(len(groups[0]) / columns)
    tile_width, tile_height = width // columns & ~1, height // rows & ~1  # both even
    if min(tile_width, tile_height) < 64:
        raise InputError(f"{len(trajectories)} motions in {width} x {height} are too small to see: give larger width=")
    counts = [int(min(max(r.seconds for r in group), max_seconds) / speed * fps) + 1 for group in groups]
    with SceneRenderer(embodiment, tile_width, tile_height, samples) as renderer:

        def images() -> Iterator[np.ndarray]:
            done = 0
            for group, count in zip(groups, counts, strict=True):
                views = [_aim(renderer, trajectory) for trajectory in group]
                for k in range(count):
                    image = np.full((rows, tile_height, columns, tile_width, 3), 255, np.uint8)
                    for tile, (trajectory, view) in enumerate(zip(group, views, strict=True)):
                        time = min(k * speed / fps, trajectory.seconds)
                        label = (trajectory.name, f"{time:5.2f} s")
                        drawn = renderer.draw(**trajectory.at(time), view=view, label=label)
                        image[tile // columns, :, tile % columns] = drawn
                    yield image.reshape(rows * tile_height, columns * tile_width, 3)
                    done += 1
                    if progress is not None:
                        progress(done, sum(counts))

        WRITERS[output.suffix](output, images(), columns * tile_width, rows * tile_height, fps)


def render_still(
    embodiment: Embodiment, trajectory: Trajectory, output: Path, time: float, width: int = 640, height: int = 480
) -> None:
    """Write a PNG of the trajectory at `time` [s]. Raises InputError if the file cannot be written."""
    from matplotlib.image import imsave

    with SceneRenderer(embodiment, width, height) as renderer:
        shown = trajectory.at(time)
        poses = [pose for pose in (shown["qpos"], shown["reference"]) if pose is not None]
        renderer.aim(poses, landmarks=[] if shown["landmarks"] is None else [shown["landmarks"]])
        image = renderer.draw(**shown)
    with write_atomically(output, CANNOT_WRITE) as temporary:
        imsave(temporary, image, format="png")


@contextmanager
def progress_bar(output: Path) -> Iterator[Callable[[int, int], None]]:
    """Give what `render` reports its frames to: a bar on a terminal, one line elsewhere."""
    with tqdm(desc=f"rendering {output.name}", unit="frame", disable=None, leave=False) as bar:
        if bar.disable:
            print(f"rendering {output.name}", flush=True)

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield show


def film(embodiment: Embodiment, trajectories: Sequence[Trajectory], output: Path, **options: Any) -> None:
    """Render as part of a longer run: raise InputError for whatever drawing or encoding fails with.

    Args:
        embodiment: The body.
        trajectories: What it does.
        output: The file.
        options: Those of `render`.
    """
    try:
        with progress_bar(output) as show:
            render(embodiment, trajectories, output, **{"progress": show, **options})
    except FAILURES as error:
        raise InputError(str(error) or type(error).__name__) from error


def write_mp4(output: Path, images: Iterator[np.ndarray], width: int, height: int, fps: int) -> None:
    """Encode images (height, width, 3) uint8 as H.264; `output` appears when it is complete."""
    import imageio_ffmpeg

    options = {"fps": fps, "codec": "libx264", "quality": 8, "macro_block_size": 2, "output_params": ["-f", "mp4"]}
    with write_atomically(output, CANNOT_WRITE) as temporary:
        writer = imageio_ffmpeg.write_frames(str(temporary), (width, height), **options)
        writer.send(None)
        try:
            for image in images:
                writer.send(image)
        finally:
            writer.close()


def write_webp(output: Path, images: Iterator[np.ndarray], width: int, height: int, fps: int) -> None:
    """Encode images (height, width, 3) uint8 as an endless animation that web pages show; for seconds, not minutes."""
    from PIL import Image

    first, *others = [Image.fromarray(image) for image in images]
    pace = {"duration": round(1000 / fps), "loop": 0, "quality": 60, "method": 4}
    with write_atomically(output, CANNOT_WRITE) as temporary:
        first.save(temporary, format="WEBP", save_all=True, append_images=others, **pace)


WRITERS = {".mp4": write_mp4, ".webp": write_webp}


def _aim(renderer: SceneRenderer, trajectory: Trajectory, count: int = 20) -> View:
    """Return a camera that sees poses spread over a trajectory, its reference, which may lack props, and landmarks."""
    frames = np.linspace(0, len(trajectory.qpos) - 1, count).astype(int)
    series = [trajectory.qpos] + ([] if trajectory.reference is None else [trajectory.reference])
    landmarks = () if trajectory.landmarks is None else trajectory.landmarks[frames]
    return renderer.aim([pose for poses in series for pose in poses[frames]], landmarks=landmarks)
