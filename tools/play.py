"""Watch a policy in the browser: motions, pause, scrub, the reference as a ghost, muscles colored by activation.

`python tools/play.py` plays the pretrained policy of the arms, `checkpoint=runs/my_run` that of a run, on every motion,
and serves a page at http://localhost:8080 (Ctrl-C to stop). `policy=zero task=toy_arm` plays a controller without a
checkpoint; `task=bimanual` without either shows only the motions, and motion= selects some. For a remote machine run
`ssh -L 8080:localhost:8080 machine` and open the same page locally. `live=true` simulates in real time instead of
replaying; a policy of goal=direction is then steered by buttons, or by the keys 1 to 9 as on a numeric keypad.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from muscle_torch.config import Config, key, parse_words, run_command, with_overrides
from muscle_torch.errors import InputError
from muscle_torch.tools.controlled_env import (
    ControlOptions,
    control_config,
    make_controlled_env,
    motion_trajectories,
    trajectories_of,
)

LONG = 10**6  # [control steps]
MOTION_ONLY = "motion only"
SHOWN_FIRST = "pretrained:bimanual"


@dataclasses.dataclass(frozen=True)
class PlayOptions(ControlOptions):
    """Options of the program."""

    task: str = key("", f"without a checkpoint: cfg/task/<task>.yaml; empty, and no policy: checkpoint={SHOWN_FIRST}")
    max_seconds: float = key(20.0, "maximum duration of each motion", "s")
    live: bool = key(False, "simulate in real time instead of playing trials; the page steers goal=direction")
    port: int = key(8080, "port of the page; the next free one if it is in use")
    host: str = key("127.0.0.1", "address to listen on: 127.0.0.1 this machine only, 0.0.0.0 all networks")


def main(words: Sequence[str]) -> int:
    """Serve the page until Ctrl-C; return the exit code."""
    options = complete(parse_words(PlayOptions, words))
    viewer = make_viewer(options)
    print(f"{len(viewer.player.clip_names)} motions at {viewer.url} (Ctrl-C to stop)", flush=True)
    try:
        viewer.run()
    finally:
        viewer.close()
    return 0


def complete(options: PlayOptions) -> PlayOptions:
    """Return the options, with the pretrained policy of the arms if they select neither policy nor task."""
    selected = options.checkpoint or options.policy or options.task
    return options if selected else dataclasses.replace(options, checkpoint=SHOWN_FIRST)


def make_viewer(options: PlayOptions) -> Any:
    """Return the page, served but not yet playing. Raises InputError if the viewer is not installed."""
    if options.max_seconds <= 0:
        raise InputError(f"max_seconds={options.max_seconds}: must be positive")
    try:
        from muscle_torch.rendering.viewer import Viewer
    except ImportError as error:
        raise InputError(str(error)) from None
    from muscle_torch.envs.factory import task_embodiment
    from muscle_torch.rendering.player import Player

    if options.live:
        player, embodiment = live_player(options)
        return Viewer(player, embodiment, options.host, options.port)
    cfg = control_config(options)
    embodiment = task_embodiment(cfg)
    return Viewer(Player(sources(options, cfg, embodiment)), embodiment, options.host, options.port)


def live_player(options: PlayOptions) -> tuple[Any, Any]:
    """Return a player that simulates the chosen controller, and its body.

    Args:
        options: Options of the program; `checkpoint=` or `policy=` selects the controller.
    """
    from muscle_torch.envs.goals.direction import DirectionGoal
    from muscle_torch.rendering.live import LivePlayer

    config = control_config(options)
    if config.goal.name == "direction":  # walks on until it falls
        config = with_overrides(config, goal={"duration": LONG})
    env, controller = make_controlled_env(options, config, num_envs=1)
    steer = env.goal.set_direction if isinstance(env.goal, DirectionGoal) else None
    return LivePlayer(env, controller, steer), env.embodiment


def sources(options: PlayOptions, cfg: Config, embodiment: Any) -> dict[str, Callable[[], list[Any]]]:
    """Return the selectable sources: the chosen policy, the other checkpoints of its run, and the motions only.

    Args:
        options: Options of the program.
        cfg: Config of the environment.
        embodiment: The body.
    """

    def played(**changes: Any) -> Callable[[], list[Any]]:
        chosen = dataclasses.replace(options, **changes)
        return lambda: trajectories_of(chosen, options.max_seconds)[1]

    available: dict[str, Callable[[], list[Any]]] = {}
    if options.policy:
        available[options.policy] = played()
    if options.checkpoint:
        from muscle_torch.storage.checkpoint import find_checkpoint

        chosen = find_checkpoint(options.checkpoint)
        siblings = [path for path in sorted(chosen.parent.glob("*.pt")) if path != chosen]
        available |= {path.stem: played(checkpoint=str(path), policy="") for path in (chosen, *siblings)}
    if cfg.motion:
        available[MOTION_ONLY] = lambda: motion_trajectories(cfg, embodiment, options.max_seconds)
    return available


if __name__ == "__main__":
    run_command(main, PlayOptions, __doc__ or "")
