"""Render a video (.mp4) or image (animated .webp, .png) off-screen: a policy with its reference, or motions only.

`python tools/render.py checkpoint=runs/my_run motion=wave output=wave.mp4` plays the policy, every motion from start to
end; muscles turn from blue to orange with activation. `policy=zero task=toy_arm` plays a controller without a
checkpoint. Without either it shows the motions themselves: `python tools/render.py task=bimanual motion=wave`.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from muscle_torch.config import key, parse_words, run_command
from muscle_torch.errors import InputError
from muscle_torch.tools.controlled_env import ControlOptions, trajectories_of


@dataclasses.dataclass(frozen=True)
class RenderOptions(ControlOptions):
    """Options of the program."""

    output: str = key("motion.mp4", "a .mp4 video, an animated .webp image, or a .png image of the first motion")
    time: float = key(1.0, "moment shown by a .png image", "s")
    width: int = key(640, "width, even; of each cell if grid=true", "pixels")
    height: int = key(480, "height, even; of each cell if grid=true", "pixels")
    fps: int = key(30, "frames per second of the video")
    speed: float = key(1.0, "playback speed; 0.25 is slow motion")
    max_seconds: float = key(60.0, "maximum duration of each motion", "s")
    grid: bool = key(False, "show all motions side by side at one scale, instead of in sequence")
    samples: int = key(4, "antialiasing samples per pixel of a video; 0 is twice as fast without a GPU")


def main(words: Sequence[str]) -> int:
    """Render one video or image; return the exit code."""
    options = parse_words(RenderOptions, words)
    output = _checked(options)
    from muscle_torch.rendering.scene import choose_gl
    from muscle_torch.rendering.video import progress_bar, render, render_still

    choose_gl()  # fail before the policy plays if there is no OpenGL
    # An image needs no more than its moment.
    seconds = min(options.max_seconds, options.time + 0.1) if output.suffix == ".png" else options.max_seconds
    embodiment, trajectories = trajectories_of(options, seconds)
    size = {"width": options.width, "height": options.height}
    if output.suffix == ".png":
        render_still(embodiment, trajectories[0], output, options.time, **size)
    else:
        names = ("fps", "speed", "max_seconds", "samples", "grid")
        pace = {name: getattr(options, name) for name in names}
        with progress_bar(output) as show:
            render(embodiment, trajectories, output, **size, **pace, progress=show)
    print(f"written to {output}")
    return 0


def _checked(options: RenderOptions) -> Path:
    output = Path(options.output)
    if output.suffix not in (".mp4", ".webp", ".png"):
        raise InputError(f"cannot write {output}: output= must end in .mp4, .webp or .png")
    for name in ("fps", "speed", "max_seconds"):
        if getattr(options, name) <= 0:
            raise InputError(f"{name}={getattr(options, name)}: must be more than 0")
    if options.time < 0:
        raise InputError(f"time={options.time}: must be 0 or more")
    return output


if __name__ == "__main__":
    run_command(main, RenderOptions, __doc__ or "")
