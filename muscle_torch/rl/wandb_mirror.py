"""Mirror of a run's TensorBoard log in Weights & Biases (`logger=wandb`, extra `wandb`)."""

import hashlib
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from muscle_torch.errors import InputError

PROJECT = "muscle_torch"


def start_mirror(folder: Path) -> Any:
    """Start mirroring everything that is written to TensorBoard from now on; return the run, to be finished.

    A resumed run continues its own page. `WANDB_MODE=offline` writes to the run folder without a network.

    Args:
        folder: Run folder.

    Raises:
        InputError: wandb is not installed, or cannot start, for example because nobody is logged in.
    """
    try:
        import wandb
    except ModuleNotFoundError:
        raise InputError("logger=wandb: wandb is not installed: run `pip install 'muscle_torch[wandb]'`") from None
    name = f"{folder.name}_{hashlib.sha1(str(folder.resolve()).encode()).hexdigest()[:8]}"
    path = folder / "config.yaml"
    config: Any = OmegaConf.to_container(OmegaConf.load(path)) if path.exists() else {}
    try:
        return wandb.init(
            project=PROJECT,
            id="".join(letter if letter.isalnum() else "-" for letter in name),
            name=folder.name,
            dir=folder,
            config=config,
            sync_tensorboard=True,
            resume="allow",
            settings=wandb.Settings(silent=True),
        )
    except (wandb.errors.Error, OSError) as error:
        raise InputError(
            f"logger=wandb: {str(error).splitlines()[0]}; log in with `wandb login`, or set WANDB_MODE=offline"
        ) from None
