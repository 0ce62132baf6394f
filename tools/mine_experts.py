"""Train experts on the motions that the previous expert fails, then a gate that chooses between them.

`python tools/mine_experts.py task=legs experts=3 motion=clips total_steps=2000000`. Every option that is not listed
here is one of train.py. Run the same command again to continue after a stop. The result is the run folder
<experiment>/gate_<number of experts>, which all tools accept (docs/experts.md).
"""

import dataclasses
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from muscle_torch.config import Config, key, load_config, parse_words, run_command
from muscle_torch.config.words import plain_words
from muscle_torch.errors import InputError

TRAIN = Path(__file__).resolve().parents[1] / "train.py"
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))
# Keys of train.py that this program sets for each of its runs.
PLACE = ("experiment", "runs_dir", "resume", "motion")
START = ("checkpoint", "reset_std", "schedule_start")  # of the experts, not of the gate
NETWORK = ("policy", "exploration", "stages", "stage_steps")  # of the experts, not of the gate


@dataclasses.dataclass(frozen=True)
class MiningOptions:
    """Options of the program."""

    experts: int = key(3, "number of experts at most")
    stop_below: int = key(1, "train no further expert when fewer motions than this have failed")
    gate_hidden: list[int] = key([1024, 512, 256], "widths of the hidden layers of the gate")
    gate_steps: int = key(0, "budget of the gate; 0: total_steps, the budget of each expert", "control steps")


class Stopped(Exception):
    """A run was stopped or failed; carries its exit code."""

    def __init__(self, code: int):
        super().__init__(f"exit code {code}")
        self.code = code


def main(words: Sequence[str]) -> int:
    """Mine experts and train the gate; return the exit code."""
    mining_words, train_words = split(plain_words(words))
    options = parse_words(MiningOptions, mining_words)
    cfg = load_config(words=train_words)
    _check(cfg, options)
    from muscle_torch.evaluation.mining import MiningState, mine, mining_table
    from muscle_torch.tools.training import recipe_of_device

    if recipe_of_device(cfg, train_words)[1]:
        # Named, because runs that start from a checkpoint do not choose it themselves.
        train_words = [*train_words, "preset=gpu"]
    clips, folder = load_clips(cfg), Path(cfg.runs_dir) / (cfg.experiment or f"{cfg.task}_experts")
    state = MiningState.open(folder / "mining.json", list(clips))
    runs = Runs(cfg, options, train_words, clips, folder)
    try:
        mine(state, runs.train, runs.evaluate, options.experts, options.stop_below)
        if len(state.experts) > 1 and not state.gate:
            state.gate = runs.train_gate(len(state.experts))
            state.save()
    except Stopped as stopped:
        print("stopped; run the same command again to continue")
        return stopped.code
    print(f"\n{mining_table(state)}")
    if state.experts[-1].failed:
        print(
            f"{len(state.experts[-1].failed)} motions that no expert has learned: {', '.join(state.experts[-1].failed)}"
        )
    result = folder / (gate_name(len(state.experts)) if state.gate else "expert_0")
    print(f"the result is {result}: python tools/evaluate.py checkpoint={result}")
    return 0


def split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the words of this program and those of train.py."""
    known = {field.name for field in dataclasses.fields(MiningOptions)}
    mining = [word for word in words if word.split("=", 1)[0] in known]
    return mining, [word for word in words if word not in mining]


def _check(cfg: Config, options: MiningOptions) -> None:
    from muscle_torch.config.kinds import row
    from muscle_torch.envs.goals.motion import MotionGoal

    if not issubclass(row("goal", cfg.goal.name).load(), MotionGoal):
        raise InputError(f"goal={cfg.goal.name} follows no motions: choose a task that does, such as task=legs")
    if cfg.resume:
        raise InputError("resume= is not needed: the same command continues its own runs")
    if options.gate_steps < 0 or cfg.policy.name == "experts":
        raise InputError("gate_steps cannot be negative, and policy= is the network of an expert, so not experts")
    if min(options.gate_hidden, default=1) < 1:
        raise InputError(f"gate_hidden={options.gate_hidden}: each layer needs at least 1 unit")


def load_clips(cfg: Config) -> dict[str, Any]:
    """Return the motions of a config by name."""
    from muscle_torch.embodiments import configured_embodiment
    from muscle_torch.motion import load_motion

    return {clip.name: clip for clip in load_motion(cfg.motion, configured_embodiment(cfg))}


def gate_name(experts: int) -> str:
    """Return the name of the run that trains the gate of a number of experts."""
    return f"gate_{experts}"


class Runs:
    """The runs of train.py and their evaluations, in one folder."""

    def __init__(self, cfg: Config, options: MiningOptions, words: Sequence[str], clips: dict[str, Any], folder: Path):
        """Prepare the runs.

        Args:
            cfg: The experts' config.
            options: Options of the program.
            words: The options of train.py.
            clips: All motions by name.
            folder: Folder of the runs.
        """
        self.cfg, self.options, self.clips, self.folder = cfg, options, clips, folder
        self.words = [word for word in words if _key(word) not in PLACE]

    def train(self, index: int, names: Sequence[str]) -> None:
        """Train an expert on motions, from the weights of the previous expert; continue if it was stopped.

        Raises:
            Stopped: The run did not finish.
        """
        words = [f"motion={self._folder_of(index, names)}"]
        if index:
            words += [word for word in self.words if _key(word) != "checkpoint"]
            words += [f"checkpoint={self._expert(index - 1)}"]
        else:
            words += self.words
        print(f"\nexpert {index}: {len(names)} motions", flush=True)
        self._run(f"expert_{index}", words)

    def evaluate(self, index: int, names: Sequence[str]) -> dict[str, Any]:
        """Return the evaluation of an expert on motions, with its mean actions and the evaluation thresholds."""
        return self._evaluate(self._expert(index), self._folder_of(index, names))

    def train_gate(self, experts: int) -> dict[str, Any]:
        """Train the gate over the experts on all motions; return its evaluation.

        Raises:
            Stopped: The run did not finish.
        """
        from muscle_torch.evaluation.mining import summary

        name, motion = gate_name(experts), self._folder_of(0, list(self.clips))
        words = [word for word in self.words if _key(word) not in (*START, *NETWORK)]
        paths = ",".join(str(self._expert(index)) for index in range(experts))
        hidden = ",".join(map(str, self.options.gate_hidden))
        words += ["stages=[ppo]", "policy=experts", f"policy.checkpoints=[{paths}]", f"policy.gate_hidden=[{hidden}]"]
        if self.options.gate_steps:
            words = [word for word in words if _key(word) not in ("total_steps", "max_iterations")]
            words += [f"total_steps={self.options.gate_steps}"]
        print(f"\ngate over {experts} experts: {len(self.clips)} motions", flush=True)
        self._run(name, [*words, f"motion={motion}"])
        return summary(self._evaluate(self.folder / name, motion))

    def _expert(self, index: int) -> Path:
        return (self.folder / f"expert_{index}").absolute()

    def _folder_of(self, index: int, names: Sequence[str]) -> Path:
        """Write the motions of an expert, if necessary, and return their folder."""
        folder = (self.folder / "motions" / f"expert_{index}").absolute()
        for number, name in enumerate(names):
            path = folder / f"{number:05d}.npz"
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                self.clips[name].save(path)
        return folder

    def _run(self, name: str, words: Sequence[str]) -> None:
        """Run train.py to its end; signals reach it, so that it saves before it stops."""
        command = [sys.executable, str(TRAIN), *words, f"experiment={name}", f"runs_dir={self.folder}", "resume=auto"]
        with subprocess.Popen(command) as process:
            before = {n: signal.signal(n, lambda number, _: process.send_signal(number)) for n in SIGNALS}
            try:
                code = process.wait()
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler)
        if code:
            raise Stopped(code)

    def _evaluate(self, checkpoint: Path, motion: Path) -> dict[str, Any]:
        from muscle_torch.evaluation import evaluate
        from muscle_torch.tools.controlled_env import ControlOptions, make_controlled_env

        machine = {"device": self.cfg.device, "backend": str(self.cfg.backend), "threads": self.cfg.threads}
        env, controller = make_controlled_env(ControlOptions(str(checkpoint), motion=[str(motion)], **machine))
        try:
            return evaluate(env, controller)
        finally:
            env.close()


def _key(word: str) -> str:
    """Return the first part of the key of a word: `policy` of `policy.hidden=[64]`."""
    return word.split("=", 1)[0].split(".")[0]


if __name__ == "__main__":
    run_command(main, MiningOptions, __doc__ or "")
