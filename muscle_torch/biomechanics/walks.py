"""The walks and reference curves that the options of `tools/analyze.py` select."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from muscle_torch.config import load_config
from muscle_torch.embodiments import Embodiment, configured_embodiment, make_embodiment
from muscle_torch.errors import InputError
from muscle_torch.motion import load_motion
from muscle_torch.motion.rollout_archive import RolloutArchive

from .analyze_options import AnalyzeOptions
from .coordinates import in_model_signs, knee_convention
from .gait import (
    Gait,
    angle_error,
    body_of,
    followed_gait,
    gait_of,
    model_leg,
    opensim_gait,
    rollout_gait,
    walking_bodies,
)
from .gait_report import Walks, curves_of, pooled_cycles
from .ground_forces import ON_GROUND
from .muscle_activity import activity_of_motion, activity_of_rollouts
from .recordings import read_series
from .reference_curves import ReferenceCurves, is_curve_file, read_reference
from .series import TimeSeries, low_pass

RECORDINGS = (".mot", ".sto", ".mat")


def read_walks(options: AnalyzeOptions, archives: Sequence[RolloutArchive] = ()) -> Walks:
    """Return the walks of rollouts, or without any of motion=.

    Args:
        options: Options of the program.
        archives: Rollouts, one archive per seed.
    """
    if archives:
        return walks_of_rollouts(options, archives)
    if is_recording(options.motion):
        return walk_of_recording(options)
    if options.forces or options.optimise:
        raise InputError(
            "forces= and optimise= apply only to OpenSim coordinates (.mot, .sto), not to clips; remove them"
        )
    return Walks(gaits_of_clips(options, options.motion, options.mass))


def selected_body(options: AnalyzeOptions, default: str = "fullbody") -> Embodiment:
    """Return the body of task=, with the options embodiment=.

    Args:
        options: Options of the program.
        default: Key of the body without task=.
    """
    if not options.task:
        return make_embodiment(default, **options.embodiment)
    return configured_embodiment(load_config(options.task, embodiment=options.embodiment))


def smoothed(walks: Walks, cutoff: float) -> Walks:
    """Return the walks with their angles low-passed [Hz]; 0: unchanged."""
    if not cutoff:
        return walks
    gaits = [dataclasses.replace(gait, angles=low_pass(gait.angles, cutoff)) for gait in walks.gaits]
    return dataclasses.replace(walks, gaits=gaits)


def is_recording(motion: Any) -> bool:
    """Return whether `motion=` is a file of OpenSim coordinates."""
    return isinstance(motion, str) and Path(motion).suffix.lower() in RECORDINGS


def walks_of_rollouts(options: AnalyzeOptions, archives: Sequence[RolloutArchive]) -> Walks:
    """Return every episode of every archive (one per seed), excluding with a note those without a step."""
    body, count = body_of(archives[0]), len(archives[0].episodes)
    walking_bodies(body)
    if options.episode >= count:
        raise InputError(f"there are {count} episodes, so episode={options.episode} does not exist")
    walks = Walks([], activity=activity_of_rollouts(body, archives))
    for seed, archive in enumerate(archives):
        if archive.joint_names != archives[0].joint_names:
            raise InputError(
                f"archive= contains rollouts of {archives[0].embodiment} and of {archive.embodiment}; use one body"
            )
        for index, episode in enumerate(archive.episodes):
            if options.episode not in (-1, index):
                continue
            try:
                gait, followed = rollout_gait(body, archive, index), followed_gait(body, archive, index)
            except InputError as error:
                walks.left_out.append(f"{episode.name}, seed {seed}, {len(episode.qpos)} frames: {error}")
                continue
            walks.gaits.append(gait)
            walks.followed.append(followed)
            seconds = [archive.dt * len(q) for q in (episode.qpos, episode.reference)]
            strides = [max(len(gait.contacts[side].starts) - 1, 0) for side in "rl"]
            walks.episodes.append((episode.name, seed, *seconds, *strides, angle_error(gait, followed)))
    if not walks.gaits:
        raise InputError(f"no episode can be analysed: {walks.left_out[0]}")
    return walks


def walk_of_recording(options: AnalyzeOptions) -> Walks:
    """Return the walk of OpenSim coordinates, with inverse dynamics and static optimisation if requested."""
    body = selected_body(options)
    gait, qpos = opensim_gait(body, options.motion, options.forces, options.mass, options.convention,
                              options.swap_plates, options.cutoff, options.start, options.end,
                              options.force_threshold or ON_GROUND, options.angle_unit, options.leg_length,
                              options.rate)  # fmt: skip
    if not options.inverse_dynamics:
        gait = dataclasses.replace(gait, moments=moments_of_file(options))
    if not options.optimise:
        return Walks([gait])
    if gait.moments is None:
        raise InputError("optimise=true needs forces=<ground reaction forces>")
    return Walks([gait], activity=activity_of_motion(body, qpos, gait.moments, gait.rate))


def moments_of_file(options: AnalyzeOptions) -> TimeSeries:
    """Return the moments of moments= with the model's signs; the sign of the knee follows from the motion."""
    if not options.moments:
        raise InputError("inverse_dynamics=false needs moments=<joint moments of the same motion>")
    angles = read_series(options.motion) if is_recording(options.motion) else None
    convention = knee_convention(angles, options.convention) if angles else "rajagopal"
    return in_model_signs(read_series(options.moments), convention)


def gaits_of_clips(options: AnalyzeOptions, motion: Any, mass: float) -> list[Gait]:
    """Return the gaits of motion clips.

    Args:
        options: Body, episode and leg length.
        motion: Value of `motion=`.
        mass: The subject's mass [kg]; 0: the model's.
    """
    body = selected_body(options)
    clips = load_motion(motion, body)
    if options.episode >= len(clips):
        raise InputError(f"{motion} has {len(clips)} motions, so episode={options.episode} does not exist")
    chosen = clips if options.episode < 0 else [clips[options.episode]]
    leg = model_leg(body) / options.leg_length if options.leg_length else 0.0
    gaits = [
        gait_of(body, clip.qpos.astype(float), clip.frequency, clip.name, mass, scale=leg or clip.scale)
        for clip in chosen
    ]
    unknown = (
        "the clip does not contain the subject's size: speed and lengths are the model's; set leg_length= for both"
    )
    return [gait if gait.no_walk or np.isfinite(gait.scale) else
            dataclasses.replace(gait, notes=(*gait.notes, unknown)) for gait in gaits]  # fmt: skip


def read_reference_curves(options: AnalyzeOptions, walks: Walks) -> ReferenceCurves | None:
    """Return the curves of reference=, or else those of the motions that a policy follows, or None."""
    if not options.reference:
        return curves_of(pooled_cycles(walks.followed, 101)[0], "reference motion") if walks.followed else None
    if is_curve_file(options.reference):
        curves = read_reference(options.reference, options.convention)
        return curves.trial(options.reference_trial) if options.reference_trial else curves
    if is_recording(options.reference):
        body = selected_body(options)
        gaits = [opensim_gait(body, options.reference, options.reference_forces, options.reference_mass)[0]]
    else:
        gaits = gaits_of_clips(dataclasses.replace(options, episode=-1), options.reference, 0.0)
    cycles, notes = pooled_cycles(gaits, 101)
    if not cycles:
        reasons = [*(gait.no_walk for gait in gaits if gait.no_walk), *notes]
        raise InputError(f"reference={options.reference} contains no complete gait cycle ({reasons[0]})")
    return curves_of(cycles, Path(options.reference).stem)
