"""The feedforward of all clips of a motion library."""

import numpy as np
import torch
from tqdm import tqdm

from muscle_torch.motion import MotionLibrary

from .body import ControlBody
from .env_controller import library_clips
from .tables import clip_tables


def add_feedforward(library: MotionLibrary) -> None:
    """Set `library.feedforward` to the excitations of all frames, (F, muscles) in [0, 1], unless it is already set.

    A clip takes a few seconds, or is read from the on-disk cache. Infeasible motions cause a warning.

    Args:
        library: The motion library; modified in place.

    Raises:
        InputError: A free body has no feet, or an actuator is neither a muscle nor a motor.
    """
    if library.feedforward is not None:
        return
    body, clips = ControlBody(library.embodiment), library_clips(library)
    muscles = library.embodiment.muscle_ids
    tables = [clip_tables(clip, body).feedforward.excitation for clip in tqdm(clips, "feedforward", disable=None)]
    excitation = np.concatenate(tables)[:, muscles]
    library.feedforward = torch.from_numpy(excitation).to(library.device, torch.float32)
