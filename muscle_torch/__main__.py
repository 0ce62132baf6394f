"""`muscle-torch <command> key=value ...`, also `python -m muscle_torch`: one entry point for all programs."""

import runpy
import sys
from importlib import metadata
from pathlib import Path

from muscle_torch.errors import nearest

# Command -> summary. `train` is train.py; any other `x-y` is tools/x_y.py.
COMMANDS = {
    "play": "watch a policy or motions in the browser; without arguments the pretrained arms",
    "train": "train a policy",
    "evaluate": "measure a policy or controller on every motion or trial",
    "render": "write a video or image of a policy or of motions",
    "runs": "list the runs of a folder: task, steps, headline, date, state",
    "curves": "plot learning curves of several runs",
    "retarget": "convert motion capture to motions of a body",
    "check-motion": "check whether feet and muscles can produce a motion",
    "analyze": "compare a policy, a motion or a recording with people",
    "emg": "compare EMG with muscles of a policy or of a model",
    "check-muscles": "check moment arms and symmetry of a body's muscles",
    "latent": "analyse the latent of a policy=intention",
    "assistance": "predict what weak muscles and an exoskeleton change, without learning",
    "co-adapt": "train an impaired body and an exoskeleton in turn",
    "mine-experts": "train experts on the motions that earlier ones fail, and a gate",
    "export": "export a policy to ONNX or TorchScript",
    "share": "write a policy to a small folder to pass on",
    "import-checkpoint": "convert a published MuscleMimic checkpoint",
    "benchmark": "measure speed and the time of each part of a step",
    "doctor": "check the installation",
}
USAGE = f"""muscle-torch {metadata.version("muscle_torch")}: teach muscle-driven bodies to move

usage: muscle-torch <command> key=value ...      `muscle-torch <command> --help` lists the keys of a command

"""
CHECKOUT_TRAIN = Path(__file__).resolve().parents[1] / "train.py"  # an installed package has muscle_torch/train.py
COMPLETION = "completion"


def main() -> None:
    """Run the command that the arguments name, and exit with its code; without one print the list."""
    name, *words = sys.argv[1:] or ["--help"]
    name = name.replace("_", "-")
    if name in COMMANDS:
        run(name, words)
    elif name == COMPLETION:
        print(f"complete -o default -W '{' '.join(COMMANDS)}' muscle-torch")
    elif name in ("-h", "--help", "help"):
        print(USAGE + "\n".join(f"  {command:18s} {summary}" for command, summary in COMMANDS.items()))
        print(f'\nTab completion of the commands in bash: eval "$(muscle-torch {COMPLETION})"')
    elif name == "--version":
        print(f"muscle_torch {metadata.version('muscle_torch')}")
    else:
        print(f"error: no command {name!r}{nearest(name, list(COMMANDS), count=1)}", file=sys.stderr)
        sys.exit(2)


def run(name: str, words: list[str]) -> None:
    """Run a program as if it had been started by its path.

    Args:
        name: A key of `COMMANDS`.
        words: Its arguments.
    """
    sys.argv[1:] = words
    if name == "train" and CHECKOUT_TRAIN.exists():
        sys.argv[0] = str(CHECKOUT_TRAIN)
        runpy.run_path(str(CHECKOUT_TRAIN), run_name="__main__")
    else:
        module = "muscle_torch.train" if name == "train" else f"muscle_torch.tools.{name.replace('-', '_')}"
        runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
