"""Train a policy: `python train.py task=bimanual`. `--help` lists every key.

config -> environment -> policy -> trainer -> evaluation. All output goes into the run folder.
"""

import sys
import time
from collections.abc import Sequence

try:
    import muscle_torch.cfg  # noqa: F401  only an installed muscle_torch has it
    from muscle_torch.config import Config, load_config, run_command
except ImportError as error:
    if error.name and error.name.split(".")[0] not in ("muscle_torch", "omegaconf"):
        raise
    print("error: muscle_torch is not installed: run `pip install -r requirements.txt` first", file=sys.stderr)
    sys.exit(2)


def main(words: Sequence[str]) -> int:
    """Run one training command; return the exit code."""
    cfg = load_config(words=words)
    # Imported after parsing, so that a mistyped key is reported at once, without loading torch.
    from muscle_torch.rl import StopSignals, make_processes

    with StopSignals() as stop, make_processes(cfg) as processes:
        return train(cfg, words, processes, stop)


def train(cfg: Config, words: Sequence[str], processes, stop) -> int:
    """Train on this process; rank 0 writes, evaluates and prints.

    Args:
        cfg: Configuration of the whole run.
        words: Command-line arguments, for the manifest.
        processes: Group of the processes that train together.
        stop: Signals that end the run early.

    Returns:
        The exit code.
    """
    from muscle_torch.rl import Trainer
    from muscle_torch.tools import teaching, training

    run = processes.broadcast(lambda: training.open_run(cfg, words))
    cfg, assets = training.fit_num_envs(run.config, processes)
    with training.report_out_of_memory(cfg):
        env, policy = processes.local_leader_first(lambda: training.build(cfg, run, assets, processes))
        teacher = processes.local_leader_first(lambda: teaching.make_teacher(cfg, env, run.resumed is not None))
        trainer = Trainer(env, policy, cfg, run.folder, processes, teacher)
        training.begin(trainer, run, processes)
        start = time.monotonic()
        validation = training.make_validation(trainer) if processes.first else None
        code = trainer.run(validation, stop)
    if validation is not None:
        validation.close()
    processes.shutdown()
    if not processes.first:
        return code
    if code:
        print(f"stopped and saved; continue with: python train.py resume={trainer.run_dir}")
        return code
    training.evaluate(trainer)
    print(training.last_lines(trainer, time.monotonic() - start))
    return 0


if __name__ == "__main__":
    run_command(main, Config, __doc__ or "")
