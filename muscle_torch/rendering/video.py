"""Videos and images of trajectories, in sequence or side by side."""

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

from .colors import BACKGROUND
from .scene import SceneRenderer, View

MAX_PIXELS = 8192  # width and height of a video
CANNOT_WRITE = "free disk space or choose another output="
# Exceptions raised by drawing or encoding.
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
    """Write an .mp4 video, or an animated .webp image, of trajectories.

    Args:
        embodiment: The body.
        trajectories: The trajectories, in order.
        output: The file; its suffix chooses the format.
        width: Of the video, or of each cell of a grid [pixels], even.
        height: The same.
        fps: Frames per second of the video.
        speed: Playback speed; 0.25 is slow motion.
        max_seconds: Maximum duration of each trajectory [s].
        samples: Antialiasing samples per pixel.
        grid: Show all trajectories side by side, at one scale, instead of in sequence; shorter ones stop on their
            last frame.
        progress: Called with (frames done, total frames) after each frame.

    Raises:
        InputError: There is nothing to render, the grid would be too large, or the file cannot be written.
    """
    if not trajectories:
        raise InputError("there is no motion to render: set checkpoint= or motion=")
    groups = [trajectories] if grid else [[trajectory] for trajectory in trajectories]
    rows, columns = grid_shape(len(groups[0]))
    if max(rows * height, columns * width) > MAX_PIXELS:
        raise InputError(
            f"{len(trajectories)} motions of {width} x {height} pixels exceed {MAX_PIXELS}: reduce width= and height=, "
            "the size of each cell, or choose fewer motions"
        )
    counts = [int(min(max(r.seconds for r in group), max_seconds) / speed * fps) + 1 for group in groups]
    with SceneRenderer(embodiment, width, height, samples) as renderer:

        def images() -> Iterator[np.ndarray]:
            done = 0
            for group, count in zip(groups, counts, strict=True):
                view = _aim(renderer, group)
                for k in range(count):
                    image = np.full((rows, height, columns, width, 3), BACKGROUND, np.uint8)
                    for tile, trajectory in enumerate(group):
                        time = min(k * speed / fps, trajectory.seconds)
                        label = (trajectory.name, f"{time:5.2f} s")
                        drawn = renderer.draw(**trajectory.at(time), view=view, label=label)
                        image[tile // columns, :, tile % columns] = drawn
                    yield image.reshape(rows * height, columns * width, 3)
                    done += 1
                    if progress is not None:
                        progress(done, sum(counts))

        WRITERS[output.suffix](output, images(), columns * width, rows * height, fps)


def grid_shape(count: int) -> tuple[int, int]:
    """Return (rows, columns) for cells: one row for up to 3, else as few empty cells as a near-square grid has."""
    if count <= 3:
        return 1, count
    side = math.isqrt(count)
    rows = min((side, side + 1), key=lambda rows: (-count % rows, rows))
    return rows, math.ceil(count / rows)


def render_still(
    embodiment: Embodiment, trajectory: Trajectory, output: Path, time: float, width: int = 640, height: int = 480
) -> None:
    """Write a PNG image of one moment of a trajectory.

    Args:
        embodiment: The body.
        trajectory: The trajectory.
        output: The file.
        time: The moment [s].
        width: Of the image [pixels], even.
        height: Of the image [pixels], even.

    Raises:
        InputError: The file cannot be written.
    """
    from matplotlib.image import imsave

    with SceneRenderer(embodiment, width, height) as renderer:
        shown = trajectory.at(time)
        poses = [pose for pose in (shown["qpos"], shown["reference"]) if pose is not None]
        renderer.aim(poses, landmarks=[] if shown["landmarks"] is None else [shown["landmarks"]])
        image = renderer.draw(**shown)
    with write_atomically(output, CANNOT_WRITE) as temporary:
        imsave(temporary, image, format="png")


def animation_images(
    embodiment: Embodiment, trajectory: Trajectory, seconds: float, fps: int, width: int, height: int
) -> list[np.ndarray]:
    """Return the images (height, width, 3) uint8 of the start of a trajectory.

    Args:
        embodiment: The body.
        trajectory: The trajectory.
        seconds: Maximum duration [s].
        fps: Frames per second.
        width: Of the images [pixels], even.
        height: Of the images [pixels], even.

    Raises:
        InputError: Drawing failed.
    """
    count = int(min(trajectory.seconds, seconds) * fps) + 1
    try:
        with SceneRenderer(embodiment, width, height) as renderer:
            view = _aim(renderer, [trajectory])
            return [renderer.draw(**trajectory.at(index / fps), view=view) for index in range(count)]
    except FAILURES as error:
        raise InputError(str(error) or type(error).__name__) from error


@contextmanager
def progress_bar(output: Path) -> Iterator[Callable[[int, int], None]]:
    """Yield a progress callback for `render`: a bar on a terminal, a single line otherwise."""
    with tqdm(desc=f"rendering {output.name}", unit="frame", disable=None, leave=False) as bar:
        if bar.disable:
            print(f"rendering {output.name}", flush=True)

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield show


def film(embodiment: Embodiment, trajectories: Sequence[Trajectory], output: Path, **options: Any) -> None:
    """Render during a longer run, turning every drawing or encoding failure into an InputError.

    Args:
        embodiment: The body.
        trajectories: The trajectories, in order.
        output: The file.
        **options: Options of `render`.

    Raises:
        InputError: Rendering failed.
    """
    try:
        with progress_bar(output) as show:
            render(embodiment, trajectories, output, **{"progress": show, **options})
    except FAILURES as error:
        raise InputError(str(error) or type(error).__name__) from error


def write_mp4(output: Path, images: Iterator[np.ndarray], width: int, height: int, fps: int) -> None:
    """Encode images as H.264; `output` appears only when it is complete.

    Args:
        output: The file.
        images: (height, width, 3) uint8 each.
        width: Of the images [pixels].
        height: Of the images [pixels].
        fps: Frames per second.
    """
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
    """Encode images as an endless animation for web pages; suited to seconds, not minutes.

    Args:
        output: The file.
        images: (height, width, 3) uint8 each.
        width: Of the images [pixels].
        height: Of the images [pixels].
        fps: Frames per second.
    """
    from PIL import Image

    first, *following = [Image.fromarray(image) for image in images]
    pace = {"duration": round(1000 / fps), "loop": 0, "quality": 60, "method": 4}
    with write_atomically(output, CANNOT_WRITE) as temporary:
        first.save(temporary, format="WEBP", save_all=True, append_images=following, **pace)


WRITERS = {".mp4": write_mp4, ".webp": write_webp}


def _aim(renderer: SceneRenderer, trajectories: Sequence[Trajectory], count: int = 20) -> View:
    """Return a camera that shows poses spread over trajectories, their references (which may lack props), landmarks."""
    poses: list[np.ndarray] = []
    landmarks: list[np.ndarray] = []
    for trajectory in trajectories:
        frames = np.linspace(0, len(trajectory.qpos) - 1, count).astype(int)
        if trajectory.landmarks is not None:
            # The camera takes landmarks with the first poses.
            poses, landmarks = [*trajectory.qpos[frames], *poses], [*trajectory.landmarks[frames], *landmarks]
        else:
            poses += list(trajectory.qpos[frames])
        if trajectory.reference is not None:
            poses += list(trajectory.reference[frames])
    return renderer.aim(poses, landmarks=landmarks)
