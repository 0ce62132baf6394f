"""Watch a policy in the browser: motions, pause, scrub, the reference as a ghost, muscles by activation.

`python tools/view.py checkpoint=runs/my_run` plays every motion with the run's policy and opens a page at
http://localhost:8080 (Ctrl-C ends it). `policy=zero task=toy_arm` plays a controller without a checkpoint;
`task=bimanual motion=wave` without either shows the motions alone. On a machine elsewhere: `ssh -L 8080:localhost:8080
machine` there, and the same page here.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from muscle_torch.config import Config, key, parse_words, run_command
from muscle_torch.errors import InputError
from muscle_torch.tools.controlled_env import ControlOptions, control_config, motions_alone, trajectories_of

ALONE = "motion alone"


@dataclasses.dataclass(frozen=True)
class ViewOptions(ControlOptions):
    max_seconds: float = key(20.0, "at most so much of each motion", "s")
    port: int = key(8080, "port of the page; the next free one where it is taken")
    host: str = key("127.0.0.1", "who may look: 127.0.0.1 this machine only, 0.0.0.0 everyone who reaches it")


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

    cfg = control_config(options)
    embodiment = configured_embodiment(cfg)
    return Viewer(Player(sources(options, cfg, embodiment)), embodiment, options.host, options.port)


def sources(options: ViewOptions, cfg: Config, embodiment: Any) -> dict[str, Callable[[], list[Any]]]:
    """What can be chosen as policy: the one asked for, the checkpoints of its run, and the motions, if any, alone."""

    def played(**changes: Any) -> Callable[[], list[Any]]:
        chosen = dataclasses.replace(options, **changes)
        return lambda: trajectories_of(chosen, options.max_seconds)[1]

    offered: dict[str, Callable[[], list[Any]]] = {}
    if options.policy:
        offered[options.policy] = played()
    if options.checkpoint:
        from muscle_torch.storage.checkpoint import find_checkpoint

        chosen = find_checkpoint(options.checkpoint)
        others = [path for path in sorted(chosen.parent.glob("*.pt")) if path != chosen]
        offered |= {path.stem: played(checkpoint=str(path), policy="") for path in (chosen, *others)}
    if cfg.motion:
        offered[ALONE] = lambda: motions_alone(cfg, embodiment, options.max_seconds)
    return offered


if __name__ == "__main__":
    run_command(main, ViewOptions, __doc__ or "")
