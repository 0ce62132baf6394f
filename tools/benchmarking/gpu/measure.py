"""Steps of measure.sh: `python -m muscle_torch.tools.benchmarking.gpu.measure STEP ARGUMENTS`.

Steps: facts, kernels, physics, learner, profile, sweep, compiled, most with a task; note NAME FILE; curve RUN PNG.
"""

import json
import sys
from pathlib import Path

from muscle_torch.tools.benchmarking.gpu import measure_learning, measure_physics, measure_training
from muscle_torch.tools.benchmarking.gpu.results import facts, report, survive

CURVES = (
    *("episode/return", "episode/length", "episode/early_termination_rate", "err/site_abs", "err/joint_pos"),
    *("speed/steps_per_s", "speed/environment_share", "speed/learning_share", "health/nan_resets", "health/overflow"),
    *("ppo/kl", "ppo/explained_variance", "ppo/skipped_updates", "memory/device_bytes"),
)
POINTS = 24  # of each curve


def note(name: str, file: str) -> None:
    """Copy the results of the benchmark file `file` into the results, under `name`."""
    contents = json.loads(Path(file).read_text())
    for row in contents.get("results", [contents]):
        report(name, **{k: v for k, v in row.items() if k not in ("samples", "versions")})


def curve(run: str, png: str) -> None:
    """Copy the learning curves of a run into the results, and plot the return into a PNG file."""
    from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator

    from muscle_torch.tools.curves import main as draw

    events = EventAccumulator(run, size_guidance={SCALARS: 0})
    events.Reload()
    for tag in (tag for tag in CURVES if tag in events.Tags()[SCALARS]):
        values = events.Scalars(tag)
        points = [(v.step, float(f"{v.value:.4g}")) for v in values[:: max(1, len(values) // POINTS)]]
        report("curve", tag=tag, points=points, seconds=values[-1].wall_time - values[0].wall_time)
    draw([f"runs=[{run}]", "tag=episode/return", f"output={png}"])


STEPS = {
    "facts": facts,
    "kernels": measure_physics.kernels,
    "physics": measure_physics.physics,
    "learner": measure_learning.learner,
    "profile": measure_training.profile,
    "sweep": measure_training.sweep,
    "compiled": measure_training.compiled,
    "most": measure_training.most,
    "note": note,
    "curve": curve,
}

if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print(__doc__)
        sys.exit(0 if sys.argv[1:] else 2)
    step, *arguments = sys.argv[1:]
    with survive(step):
        STEPS[step](*arguments)
