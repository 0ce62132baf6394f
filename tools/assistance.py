"""Predict what weak muscles and an exoskeleton change, without learning.

`python tools/assistance.py reference=cycles.csv mass=74.3` solves one leg over gait cycles of angles and moments;
`python tools/assistance.py motion=walk.mot forces=grf.mot mass=72` solves both legs of a recording by inverse dynamics
and static optimisation. Four conditions: able, weak (deficit=), able and weak with the torque profile of the device
(profile.*). Prints the change of activations and metabolic cost, and writes a folder with tables and report.html.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from muscle_torch.config import key, parse_words, run_command
from muscle_torch.envs.actions.assistance_options import ProfileOptions
from muscle_torch.errors import InputError


@dataclasses.dataclass(frozen=True)
class AssistanceOptions:
    """Options of the program."""

    reference: str = key("", "gait cycles of one leg (.csv): percent, hip_flexion_deg, hip_moment_Nm_kg, ...")
    motion: str = key("", "or OpenSim coordinates (.mot, .sto, .csv) of both legs, with forces= or moments=")
    forces: str = key("", "ground forces of motion=")
    moments: str = key("", "joint moments of motion= from another program (.sto, .csv), instead of inverse dynamics")
    mass: float = key(0.0, "the subject's mass", "kg")
    leg_length: float = key(0.0, "reference=: leg length, for the stride time; 0: the model's", "m")
    start: float = key(0.0, "start of the part of motion= to analyse; 0: the beginning", "s")
    end: float = key(0.0, "end of that part; 0: the end", "s")
    body: str = key("legs", "key of a body with legs")
    deficit: Any = key({"plantarflexors_r": 0.5}, "muscle weakness: a preset such as hemiparesis_r, or group: strength")
    joints: list[str] = key(["ankle_angle"], "joints with a motor: ankle_angle, hip_flexion")
    profile: ProfileOptions = key(ProfileOptions(), "torque profile of the device")
    output: str = key("assistance_report", "folder for the report and its tables")


def main(words: Sequence[str]) -> int:
    """Solve all motions under all conditions, write the report, and return the exit code."""
    options = parse_words(AssistanceOptions, words)
    if bool(options.reference) == bool(options.motion):
        raise InputError("set reference=<gait cycles, .csv> or motion=<OpenSim coordinates> with forces= or moments=")
    if options.mass <= 0:
        raise InputError("set mass=<of the subject, kg>: muscles produce moments in Nm")
    from muscle_torch.biomechanics.assistance_report import (
        RISE_COLUMNS,
        SUMMARY_COLUMNS,
        assistance_report,
        rise_rows,
        summary_rows,
    )
    from muscle_torch.biomechanics.report import text_table, write_table
    from muscle_torch.embodiments import make_embodiment

    body = make_embodiment(options.body)
    tasks, notes = read_tasks(options, body)
    results = [(task, predictions_of(options, body, task)) for task in tasks]
    tables = [
        ("Activations and cost", SUMMARY_COLUMNS, [row for one in results for row in summary_rows(body, *one)]),
        ("Muscles that rise most", RISE_COLUMNS, [row for one in results for row in rise_rows(body, *one)]),
    ]
    folder = Path(options.output)
    for (title, columns, rows), name in zip(tables, ("summary", "muscles"), strict=True):
        print(f"{title}\n{text_table(columns, rows)}", end="\n\n")
        write_table(folder / f"{name}.csv", columns, rows)
    for note in notes:
        print(f"assumed: {note}")
    print(f"written to {assistance_report(body, results, tables, notes).write(folder / 'report.html')}")
    return 0


def read_tasks(options: AssistanceOptions, body: Any) -> tuple[list[Any], list[str]]:
    """Return the motions with their joint moments, and notes on assumptions and corrected signs."""
    from muscle_torch.biomechanics.predicted_assistance import leg_task
    from muscle_torch.biomechanics.reference_gait import read_gait_cycles
    from muscle_torch.biomechanics.sign_check import with_signs

    if options.motion:
        return recorded_task(options, body)
    gaits = read_gait_cycles(options.reference, options.mass)
    gaits = [with_signs(body, gait, options.mass, options.leg_length) for gait in gaits]
    notes = ["pelvis upright and at rest; moments of the sagittal plane only, one leg"]
    notes += [note for gait in gaits for note in gait.notes]
    return [leg_task(body, gait, options.mass) for gait in gaits], notes


def recorded_task(options: AssistanceOptions, body: Any) -> tuple[list[Any], list[str]]:
    """Return the motion of a recording with its joint moments, and notes."""
    from muscle_torch.biomechanics.coordinates import in_model_signs
    from muscle_torch.biomechanics.gait import opensim_gait
    from muscle_torch.biomechanics.gait_numbers import walking_speed
    from muscle_torch.biomechanics.predicted_assistance import walk_task
    from muscle_torch.biomechanics.recordings import read_series
    from muscle_torch.biomechanics.sign_check import checked_moments

    if not (options.forces or options.moments):
        raise InputError(f"motion={options.motion} needs forces=<ground forces>, or moments=<joint moments>")
    gait, qpos = opensim_gait(body, options.motion, options.forces, options.mass, start=options.start, end=options.end)
    if gait.no_walk:
        raise InputError(f"{options.motion} is not a walk: {gait.no_walk}")
    notes = list(gait.notes)
    if options.moments:
        stated = in_model_signs(read_series(options.moments), "rajagopal")
        moments, more = checked_moments(body, gait, qpos, stated)
        gait, notes = dataclasses.replace(gait, moments=moments), notes + more
    return [walk_task(gait, qpos, walking_speed(gait) / gait.scale)], notes


def predictions_of(options: AssistanceOptions, body: Any, task: Any) -> dict[str, Any]:
    """Return condition -> prediction of a task, able first.

    Args:
        options: Deficit and device.
        body: The body with normal strength.
        task: Motion and moments.
    """
    import numpy as np

    from muscle_torch.biomechanics.predicted_assistance import predict
    from muscle_torch.embodiments.weakened import deficit_strength

    weak, torque = deficit_strength(body, options.deficit), device_torque(options, task)
    able = np.ones(len(weak))
    return {
        "able": predict(body, task, able, {}),
        "weak": predict(body, task, weak, {}),
        "able, device": predict(body, task, able, torque),
        "weak, device": predict(body, task, weak, torque),
    }


def device_torque(options: AssistanceOptions, task: Any) -> dict[str, Any]:
    """Return <joint>_<side> -> torque (T,) [Nm] of the profile."""
    import torch

    from muscle_torch.biomechanics.torque_profile import profile_shape

    torques = {}
    for joint in options.joints:
        kind = joint.partition("_")[0]
        if kind not in ("ankle", "hip"):
            raise InputError(f"joints={joint}: choose from ankle_angle and hip_flexion")
        peak, *shape = (float(getattr(options.profile, f"{kind}_{name}")) for name in ("peak", "time", "rise", "fall"))
        for side, phase in task.phase.items():
            relative = profile_shape(torch.from_numpy(phase), *(torch.tensor(value / 100) for value in shape))
            torques[f"{joint}_{side}"] = peak * task.mass * relative.numpy()
    return torques


if __name__ == "__main__":
    run_command(main, AssistanceOptions, __doc__ or "")
