"""Print SHA-256 hashes of seeded runs: the same before and after a change that must not alter behaviour.

`python tests/fingerprint.py [motion.bvh]`. Bits depend on the processor and the library versions, so compare hashes
of one machine only; no test asserts them.
"""

import hashlib
import sys
from collections.abc import Iterable

import torch
from torch import Tensor

from muscle_torch.config import load_config
from muscle_torch.envs import make_env
from muscle_torch.models import make_policy
from muscle_torch.retargeting import Retargeter, read_motion
from muscle_torch.rl import Trainer

ROLLOUTS = {"toy_arm": 200, "bimanual": 60, "fullbody": 40}  # control steps


def digest(tensors: Iterable[Tensor]) -> str:
    """Return the hash of the tensors' bytes."""
    total = hashlib.sha256()
    for tensor in tensors:
        total.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return total.hexdigest()


def rollout(task: str, steps: int) -> str:
    """Hash all that 8 environments return under seeded noise, with resets."""
    env = make_env(task, num_envs=8, device="cpu", seed=0, threads=1)
    generator = torch.Generator().manual_seed(0)
    values = [env.begin()]
    for t in range(steps):
        step = env.advance(0.5 * torch.randn(env.num_envs, env.action_size, generator=generator))
        done = step.terminated | step.truncated
        done[t % env.num_envs] |= t % 7 == 6
        values += [step.observation, step.reward, step.terminated, step.truncated, *step.terms.values()]
        values.append(env.restart(done))
    env.close()
    return digest(values)


def two_updates() -> str:
    """Hash the policy after two PPO updates on the toy arm."""
    cfg = load_config("toy_arm", device="cpu", threads=1, num_envs=16)
    torch.manual_seed(0)
    env = make_env(cfg)
    policy = make_policy(cfg.policy, env, cfg.exploration)
    trainer = Trainer(env, policy, cfg, None)
    for _ in range(2):
        trainer.iteration()
    env.close()
    return digest(policy.state_dict().values())


def retargeted(path: str) -> str:
    """Hash the joint angles of a retargeted recording."""
    return digest([torch.from_numpy(Retargeter("fullbody")(read_motion(path)).clip.qpos)])


if __name__ == "__main__":
    torch.set_num_threads(1)
    for task, steps in ROLLOUTS.items():
        print(f"{task:10s} {rollout(task, steps)}", flush=True)
    print(f"{'updates':10s} {two_updates()}", flush=True)
    for path in sys.argv[1:]:
        print(f"{'motion':10s} {retargeted(path)}")
