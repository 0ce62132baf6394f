"""Write the result of a finished run to its log: evaluation, joint angles, a short video, hyperparameters."""

import json
import sys
from typing import Any

import numpy as np

from muscle_torch.config import config_to_dict, explain_library
from muscle_torch.errors import InputError
from muscle_torch.evaluation import PolicyController, Trajectory, play
from muscle_torch.evaluation.figures import joint_figure
from muscle_torch.rl import Trainer
from muscle_torch.rl.logger import preformatted

SECONDS, FPS, SIZE = 4.0, 15, (320, 240)  # of the video in the log
SHOWN = ("ppo", "optimizer", "exploration", "goal", "policy")  # groups of keys in the table of hyperparameters


def log_result(trainer: Trainer, env: Any, table: str) -> None:
    """Write a finished run's result to TensorBoard, and to its mirror.

    Args:
        trainer: The trainer, at the end of its budget.
        env: Made with `evaluation=True`.
        table: The comparison of the controllers.
    """
    assert trainer.run_dir is not None
    metrics = json.loads((trainer.run_dir / "eval" / "final" / "metrics.json").read_text(encoding="utf-8"))
    numbers = {
        f"evaluation/{name}": float(value)
        for name, value in metrics.items()
        if isinstance(value, int | float) and not name.startswith("num_")
    }
    (first,) = play(env, PolicyController(trainer.policy), SECONDS, trials=[0])
    images = video_images(env.embodiment, first)
    log, step = trainer.open_log(), trainer.step
    log.text("evaluation/table", preformatted(table), step)
    log.hyperparameters(hyperparameters(trainer.cfg), numbers, step)
    log.figure(f"evaluation/joint_angles_{first.name}", joint_figure(env.embodiment, first), step)
    if images:
        log.animation(f"evaluation/video_{first.name}", images, FPS, step)
    log.close()


def hyperparameters(cfg: Any) -> dict[str, Any]:
    """Return the keys of a config that tell runs apart, flat: numbers, text and booleans by dotted name."""
    flat = {name: value for name, value in config_to_dict(cfg).items() if not isinstance(value, dict | list)}
    for group in SHOWN:
        options = config_to_dict(cfg)[group]
        flat |= {f"{group}.{name}": value for name, value in options.items() if not isinstance(value, dict | list)}
    return {name: value for name, value in flat.items() if isinstance(value, int | float | str | bool) and value != ""}


def video_images(embodiment: Any, trajectory: Trajectory) -> list[np.ndarray]:
    """Return the images of a short video; none, and a note, if no graphics backend works."""
    from muscle_torch.rendering.video import animation_images

    try:
        return animation_images(embodiment, trajectory, SECONDS, FPS, *SIZE)
    except InputError as error:
        print(f"note: no video in TensorBoard: {error}", file=sys.stderr)
        return []


if __name__ == "__main__":
    explain_library(__doc__ or "", "train.py")
