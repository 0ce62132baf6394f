"""Starting a command as several processes that find each other, and what one of them does in the tests."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

CASE = {
    "num_envs": 8,
    "threads": 1,
    "max_iterations": 4,
    "device": "cpu",
    "ppo": {"num_steps": 16, "minibatches": 4, "epochs": 2, "target_kl": 0.02},
    "optimizer": {"schedule": "adaptive", "epsilon": 1e-3},
    "sampling": {"adaptive": True},
    "curriculum": {"termination": {"enabled": True, "patience": 1, "low": 0.9, "high": 0.95, "smoothing": 0.5}},
}
STORED = ("observation", "final_observation", "action", "log_prob", "reward", "terminated", "done")
UPDATES = 4
SHAPES = [(48, 32), (32, 48), (48, 32), (64, 64), (48, 32), (64, 64), (1, 48), (64, 64)]


def launch(command: Sequence[str | list[str]], count: int, cwd: Path, **environment: str) -> list[subprocess.Popen]:
    """`count` processes of one command on this machine; a list in it gives each process its own word."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    started = []
    for rank in range(count):
        own = [word if isinstance(word, str) else word[rank] for word in command]
        variables = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count), "OMP_NUM_THREADS": "1"}
        variables |= {"LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port} | environment
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(own, cwd=cwd, env=os.environ | variables, **pipes))
    return started


def finish(started: Sequence[subprocess.Popen], timeout: float = 120) -> list[tuple[int, str, str]]:
    """(exit code, stdout, stderr) of each; kills what is left after `timeout` seconds."""
    end = time.monotonic() + timeout
    ended = []
    for process in started:
        try:
            out, err = process.communicate(timeout=max(1.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            err += "\nkilled: did not end in time"
        ended.append((process.returncode, out, err))
    return ended


def make_trainer(cfg: Any, processes: Any = None) -> Any:
    from muscle_torch.envs import make_env
    from muscle_torch.models import make_policy
    from muscle_torch.rl import Trainer

    env = make_env(processes.shard(cfg) if processes else cfg)
    torch.manual_seed(cfg.seed)
    return Trainer(env, make_policy(cfg.policy, env, cfg.exploration), cfg, None, processes)


def learn_and_tell(folder: Path, policy: str) -> None:
    """A few updates of a policy; everything that went into them and what came out, to `folder`."""
    from muscle_torch.config import load_config
    from muscle_torch.rl import gradients, make_processes, ppo_update

    gradients.BUCKET = 10_000  # several, though the networks are small
    cfg = load_config("toy_arm", policy=policy, **CASE)
    told: dict[str, Any] = {"rollouts": [], "minibatches": [], "metrics": [], "counts": []}
    with make_processes(cfg) as processes:
        trainer = make_trainer(cfg, processes)
        told["weights"] = {name: value.clone() for name, value in trainer.policy.state_dict().items()}
        roll_out, split, adapt = trainer._rollout, ppo_update.minibatches, trainer.env.adapt

        def collected(steps: int) -> None:
            roll_out(steps)
            rollout, episodes = trainer.algorithm.rollout, trainer.episodes
            rollout.observation[-1] = trainer.observation
            kept = {name: getattr(rollout, name).clone() for name in STORED}
            told["rollouts"].append(kept | {"finished": episodes.finished.clone(), "terms": dict(episodes.terms)})

        def divided(*given: Any) -> list[torch.Tensor]:
            told["minibatches"].append(split(*given))
            return told["minibatches"][-1]

        def adapted(total: Any) -> dict[str, float]:
            kept = trainer.env._adaptation
            told["counts"].append((kept._ended.clone(), kept._failed.clone()))
            return adapt(total)

        trainer._rollout, ppo_update.minibatches, trainer.env.adapt = collected, divided, adapted
        told["metrics"] = [trainer.iteration() for _ in range(UPDATES)]
        told["after"] = trainer.policy.state_dict()
        told["moments"] = trainer.algorithm.return_normalizer.moments
        told["clips"], told["thresholds"] = trainer.env.goal._sampler.weights, trainer.env.termination.thresholds
        torch.save(told, folder / f"{processes.rank}.pt")


def fail_and_list_threads(folder: Path) -> None:
    """Fail after an environment was made; write the names of the threads that are left (Linux)."""
    from muscle_torch.config import load_config
    from muscle_torch.rl import make_processes

    cfg = load_config("toy_arm", **CASE)
    with contextlib.suppress(ArithmeticError), make_processes(cfg) as processes:
        from muscle_torch.envs import make_env  # after the group exists, as in train.py

        make_env(processes.shard(cfg))
        raise ArithmeticError
    names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    (folder / f"{processes.rank}.json").write_text(json.dumps(names))


def orthogonalise_and_tell(folder: Path) -> None:
    """Steps of Muon on matrices of several shapes, alone and together; the weights of both and what was done for it."""
    from muscle_torch.config import load_config
    from muscle_torch.rl import make_processes, muon
    from muscle_torch.rl.process_group import SingleProcess

    done: list[int] = []
    orthogonal = muon.orthogonal

    def counted(matrices: torch.Tensor, *settings: Any) -> torch.Tensor:
        done[-1] += len(matrices)
        return orthogonal(matrices, *settings)

    muon.orthogonal = counted
    found = []
    with make_processes(load_config("toy_arm", device="cpu")) as processes:
        for together in (SingleProcess(), processes):
            generator = torch.Generator().manual_seed(0)
            weights = [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]
            optimizer = muon.BatchedMuon(weights, together, lr=0.02, weight_decay=0.1)
            done.append(0)
            for step in range(4):
                for weight in weights:
                    weight.grad = torch.randn(weight.shape, generator=generator)
                    weight.grad[0] *= float("nan") if step == 2 else 1.0
                optimizer.found_inf = torch.tensor(float(step == 2))
                optimizer.step()
            found.append([weight.detach() for weight in weights])
        torch.save({"weights": found, "done": done}, folder / f"{processes.rank}.pt")


if __name__ == "__main__":
    globals()[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])
