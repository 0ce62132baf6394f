"""The feedforward of a whole motion library: excitations beside its other tables."""

import numpy as np
import torch
from tqdm import tqdm

from muscle_torch.motion import MotionLibrary

from .body import ControlBody
from .env_controller import library_clips
from .tables import clip_tables


def add_feedforward(library: MotionLibrary) -> None:
    """Fill `library.feedforward` with every frame's excitations (F, muscles) in [0, 1]; do nothing if it is there.

    A clip takes some seconds, the second time it is read from disk. Motions that no body can follow are warned of.

    Raises:
        InputError: The body is free and has no feet.
    """
    if library.feedforward is not None:
        return
    body, clips = ControlBody(library.embodiment), library_clips(library)
    muscles = library.embodiment.muscle_ids
    tables = [clip_tables(clip, body).feedforward.excitation for clip in tqdm(clips, "feedforward", disable=None)]
    excitation = np.concatenate(tables)[:, muscles]
    library.feedforward = torch.from_numpy(excitation).to(library.device, torch.float32)
