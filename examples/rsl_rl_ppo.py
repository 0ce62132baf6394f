"""Train with rsl_rl's PPO: `python examples/rsl_rl_ppo.py`."""

import tempfile

import torch
from rsl_rl.runners import OnPolicyRunner

from muscle_torch.envs import make_env
from muscle_torch.envs.faces.rsl_rl_env import RslRlEnv

NETWORK = {"class_name": "MLPModel", "hidden_dims": [64, 64], "obs_normalization": True}
CONFIG = {
    "num_steps_per_env": 32,
    "save_interval": 50,
    "obs_groups": {"actor": ["policy"], "critic": ["policy"]},
    "algorithm": {"class_name": "PPO", "gamma": 0.95, "lam": 0.9},
    "actor": {**NETWORK, "distribution_cfg": {"class_name": "GaussianDistribution", "init_std": 0.3}},
    "critic": NETWORK,
}


def main(iterations: int = 60) -> OnPolicyRunner:
    """Train a one-joint arm to follow motions; return the runner."""
    torch.manual_seed(0)
    env = RslRlEnv(make_env("toy_arm", num_envs=64, device="cpu", threads=1))
    with tempfile.TemporaryDirectory() as folder:  # set log_dir= to a folder to keep checkpoints and TensorBoard files
        runner = OnPolicyRunner(env, CONFIG, log_dir=folder, device="cpu")
        runner.learn(num_learning_iterations=iterations)
    return runner


if __name__ == "__main__":
    main()
