"""Train a policy to imitate motion: `python train.py task=bimanual`. `--help` lists every key.

The whole story: config -> environment -> policy -> trainer -> evaluation. The run folder holds all it wrote.
"""

import dataclasses
import sys
import time
from collections.abc import Sequence
from pathlib import Path

try:
    import muscle_torch.cfg  # noqa: F401  only an installed muscle_torch has it
    from muscle_torch.config import Config, load_config, run_command
    from muscle_torch.errors import InputError
except ImportError as error:
    if error.name and error.name.split(".")[0] not in ("muscle_torch", "omegaconf"):
        raise
    print("error: muscle_torch is not installed: run `pip install -r requirements.txt` first", file=sys.stderr)
    sys.exit(2)

VALIDATION_VIDEO_SECONDS, VIDEO_SECONDS = 10.0, 60.0  # of a trial


def main(words: Sequence[str]) -> int:
    """Runs one training command; returns the exit code."""
    cfg = load_config(words=words)
    # Imported after the words are read: a mistyped key answers at once, without loading torch.
    from muscle_torch.rl import StopSignals, make_processes

    with StopSignals() as stop, make_processes(cfg) as processes:
        return _train(cfg, words, processes, stop)


def _train(cfg: Config, words: Sequence[str], processes, stop) -> int:
    import torch

    from muscle_torch.envs import make_env
    from muscle_torch.models import make_policy
    from muscle_torch.physics.memory import full_memory_is_one_line
    from muscle_torch.rl import Trainer
    from muscle_torch.storage.checkpoint import load_checkpoint, load_weights
    from muscle_torch.storage.run_folder import find_run, fine_tuning, write_facts

    cfg, run_dir, resumed = processes.broadcast(lambda: find_run(cfg, words))
    given = load_checkpoint(cfg.checkpoint) if cfg.checkpoint and resumed is None else None
    if given is not None:
        cfg = fine_tuning(cfg, given)
    cfg, library = _fitted(cfg, processes)
    own = processes.shard(cfg)
    torch.manual_seed(cfg.seed)

    def build():
        env = make_env(own, library=library)
        policy = make_policy(cfg.policy, env, cfg.network).to(env.device)
        if given is not None:
            load_weights(policy, given, env, cfg.task, cfg.reset_std)
        return env, policy

    with full_memory_is_one_line(cfg, cfg.num_envs):
        env, policy = processes.local_leader_first(build)
        trainer = Trainer(env, policy, cfg, run_dir, processes)
    if resumed is not None:
        trainer.load_state(resumed)
    else:
        processes.broadcast(lambda: write_facts(cfg, run_dir))
    if processes.first:
        _introduce(cfg, trainer, run_dir)

    start = time.monotonic()
    validation = _validation(cfg, trainer, run_dir) if processes.first else None
    with full_memory_is_one_line(cfg, cfg.num_envs):
        code = trainer.run(validation, stop)
    if validation is not None:
        validation.close()
    processes.shutdown()
    if not processes.first:
        return code
    if code:
        print(f"stopped and saved; continue with: python train.py resume={run_dir}")
        return code
    if cfg.evaluate:
        _evaluate(cfg, trainer, run_dir)
    if cfg.capture_video:
        _film(cfg, trainer, run_dir)
    print(f"done in {time.monotonic() - start:.0f} s; everything is in {run_dir} (tensorboard --logdir {cfg.runs_dir})")
    return 0


def _fitted(cfg: Config, processes):
    """(config with a number of worlds that the memory holds, the motion library): where `max` was given, the most."""
    import torch

    from muscle_torch.envs import make_env, resolved_device
    from muscle_torch.models import make_policy
    from muscle_torch.physics.memory import estimate, fitting, free_memory
    from muscle_torch.rl import rows_at_once

    def look():
        device = processes.device or resolved_device(cfg)
        # One world on the CPU says how large everything is; random numbers are left as they were.
        probe = make_env(cfg, 1, "cpu", backend="mujoco", threads=1)
        with torch.random.fork_rng(devices=[]):
            policy = make_policy(cfg.policy, probe, cfg.network)
        memory = estimate(
            probe,
            sum(p.numel() for p in policy.parameters()),
            cfg,
            device.type == "cuda",
            rows_at_once(probe.observation_size),
        )
        worlds = fitting(cfg, memory, device, processes.local_size, processes.size)
        if processes.first:
            print(memory.line(worlds // processes.size, free_memory(device)))
        probe.close()
        return worlds, probe.library.to(device)

    worlds, library = processes.local_leader_first(look)
    return dataclasses.replace(cfg, num_envs=-processes.all_reduce_max(-worlds)), library


def _introduce(cfg: Config, trainer, run_dir: Path) -> None:
    counts = [sum(p.numel() for p in part.parameters()) for part in (trainer.policy.actor, trainer.policy.critic)]
    print(f"{cfg.policy}: actor with {counts[0]:,} parameters, critic with {counts[1]:,}")
    if trainer.step:
        print(f"continuing {run_dir} after {trainer.step:,} steps")


def _validation(cfg: Config, trainer, run_dir: Path):
    """What looks at the policy every `validation_interval` updates; None where nobody asked for it."""
    if not cfg.validation_interval:
        return None
    from muscle_torch.envs import make_env
    from muscle_torch.evaluation import PolicyController
    from muscle_torch.evaluation.validation import Validation

    motion, library = (cfg.validation_motion, None) if cfg.validation_motion else (None, trainer.env.library)
    worlds = cfg.validation_clips if library is None else min(cfg.validation_clips, library.num_clips)
    env = make_env(cfg, worlds or None, motion=motion, evaluation=True, library=library)
    film = None
    if cfg.capture_video:
        from muscle_torch.rendering.scene import choose_gl
        from muscle_torch.rendering.video import film as render_video

        choose_gl()  # if nothing can be drawn, training should not begin

        def film(trajectory, path: Path) -> None:
            render_video(env.embodiment, [trajectory], path, max_seconds=VALIDATION_VIDEO_SECONDS)

    options = {"interval": cfg.validation_interval, "most": cfg.validation_clips, "keep_videos": cfg.keep_videos}
    return Validation(env, trainer.env, PolicyController(trainer.policy), run_dir, film=film, **options)


def _evaluate(cfg: Config, trainer, run_dir: Path) -> None:
    """Whole clips from their start: what did learning bring over an untrained policy and over doing nothing?"""
    from muscle_torch.envs import make_env
    from muscle_torch.evaluation import PolicyController, ZeroController, compare_controllers

    env = make_env(cfg, evaluation=True, library=trainer.env.library)
    controllers = {
        "untrained": PolicyController(trainer.untrained_policy()),
        "zero": ZeroController(),
        "final": PolicyController(trainer.policy),
    }
    headings = {"untrained": "at the start"} if cfg.checkpoint else {}
    print(compare_controllers(env, controllers, run_dir / "eval", headings))
    env.close()


def _film(cfg: Config, trainer, run_dir: Path) -> None:
    """A video of the trained policy; where that fails, the run is done all the same."""
    from muscle_torch.envs import make_env
    from muscle_torch.evaluation import PolicyController, play
    from muscle_torch.rendering.video import film

    env = make_env(cfg, evaluation=True, library=trainer.env.library)
    trajectories = play(env, PolicyController(trainer.policy), max_seconds=VIDEO_SECONDS)
    try:
        film(env.embodiment, trajectories, run_dir / "videos" / "final.mp4")
    except InputError as error:
        print(f"warning: no video: {error}", file=sys.stderr)


if __name__ == "__main__":
    run_command(main, Config, __doc__ or "")
