"""Terms of imitation as in KINESIS (arXiv 2503.14637 and its released code), `KinesisState -> Tensor`.

In the order `root_height root_tilt body_pos body_rot body_linvel body_angvel touch tracked_reference` the observations
are the published ones. Points are the origins of bodies; the published velocities are those of mass centres.
"""

import torch
from torch import Tensor

from ..terms import ObservationTerm, RewardTerm, Term, Tracking
from .kinesis_state import KinesisState

ENERGY = 0.05  # published sharpness of the energy term
LEG_MUSCLES = 80  # of the body for which it was chosen


def root_height(state: KinesisState) -> Tensor:
    """Return the height of the root [m], (W, 1)."""
    return state.qpos[:, 2:3]


def root_tilt(state: KinesisState) -> Tensor:
    """Return cosine and sine of the sideways tilt, then of the forward tilt of the root, (W, 4)."""
    return torch.stack((state.tilt.cos(), state.tilt.sin()), dim=2).flatten(1)


def body_pos(state: KinesisState) -> Tensor:
    """Return the positions of the observed bodies after the root in the heading frame [m], (W, 3 (B-1))."""
    return state.to_heading(state.body_pos[:, 1:] - state.body_pos[:, :1]).flatten(1)


def body_rot(state: KinesisState) -> Tensor:
    """Return the x and the z axis of each observed body in the heading frame, (W, 6 B)."""
    axes = state.body_mat[..., [0, 2]].transpose(-1, -2)
    return state.to_heading(axes).flatten(1)


def body_linvel(state: KinesisState) -> Tensor:
    """Return the velocities of the observed bodies in axes of the heading frame [m/s], (W, 3 B)."""
    return state.to_heading(state.body_velocity[1]).flatten(1)


def body_angvel(state: KinesisState) -> Tensor:
    """Return the angular velocities of the observed bodies in axes of the heading frame [rad/s], (W, 3 B)."""
    return state.to_heading(state.body_velocity[0]).flatten(1)


def tracked_reference(state: KinesisState) -> tuple[Tensor, ...]:
    """Return the reference of the tracked points in the second look-ahead frame, heading frame, (W, 9 T).

    Position minus that of the point [m], velocity minus that of the point [m/s], position minus that of the root [m].
    """
    pos, vel = state.reference_pos(state.next_reference), state.reference_vel(state.next_reference)
    parts = (pos - state.tracked_pos, vel - state.tracked_vel, pos - state.qpos[:, None, :3])
    return tuple(state.to_heading(part).flatten(1) for part in parts)


def tracked_pos_errors(state: KinesisState) -> Tensor:
    """Return the squared position errors of the tracked points [m^2], (W, 3 T)."""
    return state.tracked_error.square().flatten(1)


def tracked_vel_errors(state: KinesisState) -> Tensor:
    """Return the squared velocity errors of the tracked points [m^2/s^2], (W, 3 T)."""
    return (state.tracked_vel - state.reference_vel(state.reference)).square().flatten(1)


def tilt_errors(state: KinesisState) -> Tensor:
    """Return the sum of the squared sideways and forward tilts of the root [rad^2], (W, 1)."""
    return state.tilt.square().sum(dim=1, keepdim=True)


def energy(state: KinesisState) -> Tensor:
    """Return exp(-0.05 (80 mean + sqrt(80) root mean square)) of the excitations, mean over substeps, (W,).

    For 80 muscles this is the published term, `energy_published`; it does not depend on the number of muscles.
    """
    excitation = state.substep_excitation
    rms = excitation.square().mean(dim=2).sqrt()
    return torch.exp(-ENERGY * (LEG_MUSCLES * excitation.mean(dim=2) + LEG_MUSCLES**0.5 * rms)).mean(dim=1)


def energy_published(state: KinesisState) -> Tensor:
    """Return exp(-0.05 (sum + 2-norm)) of the excitations, mean over substeps, (W,)."""
    excitation = state.substep_excitation
    return torch.exp(-ENERGY * (excitation.sum(dim=2) + excitation.norm(dim=2))).mean(dim=1)


def max_tracked_deviation(state: KinesisState) -> Tensor:
    """Return the largest distance of a tracked point from its reference [m], (W,); published in training: 0.15."""
    return state.tracked_distance.amax(dim=1)


def mean_tracked_deviation(state: KinesisState) -> Tensor:
    """Return the mean distance of the tracked points from their references [m], (W,); published in evaluation: 0.5."""
    return state.tracked_distance.mean(dim=1)


OBSERVATIONS: dict[str, ObservationTerm] = {
    "root_height": root_height,
    "root_tilt": root_tilt,
    "body_pos": body_pos,
    "body_rot": body_rot,
    "body_linvel": body_linvel,
    "body_angvel": body_angvel,
    "tracked_reference": tracked_reference,
}
REWARDS: dict[str, RewardTerm] = {
    "tracked_pos": Tracking(tracked_pos_errors, 200.0),
    "tracked_vel": Tracking(tracked_vel_errors, 5.0),
    "upright": Tracking(tilt_errors, 3.0),
    "energy": energy,
    "energy_published": energy_published,
}
TERMINATIONS: dict[str, Term] = {
    "max_tracked_deviation": max_tracked_deviation,
    "mean_tracked_deviation": mean_tracked_deviation,
}
ERRORS: dict[str, Term] = {"mpjpe": mean_tracked_deviation}
