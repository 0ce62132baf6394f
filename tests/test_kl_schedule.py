"""The adaptive learning rate keeps an update's KL divergence near its aim while the noise falls."""

import torch
from env_cases import CPU

from muscle_torch.config import load_config
from muscle_torch.envs import make_env
from muscle_torch.models import make_policy
from muscle_torch.rl import Trainer

UPDATES, LAST = 24, 8
AIM = 0.02


def divergences(schedule: str) -> tuple[torch.Tensor, float]:
    """(KL of each of the last updates, last learning rate) of a run whose noise falls from 0.3 to 0.02."""
    cfg = load_config(
        "toy_arm",
        num_envs=8,
        max_iterations=UPDATES,
        policy={"name": "mlp", "hidden": [32]},
        exploration={"initial_std": 0.3, "final_std": 0.02},
        ppo={"num_steps": 16, "minibatches": 4, "epochs": 1},
        optimizer={"learning_rate": 1e-2, "schedule": schedule, "desired_kl": AIM},
        **CPU,
    )
    torch.manual_seed(0)
    env = make_env(cfg)
    trainer = Trainer(env, make_policy(cfg.policy, env, cfg.exploration), cfg, None)
    rows = [trainer.iteration() for _ in range(UPDATES)][-LAST:]
    return torch.tensor([row["ppo/kl"] for row in rows]), rows[-1]["ppo/learning_rate"]


def test_the_adaptive_schedule_holds_the_divergence_where_a_constant_one_lets_it_grow():
    """A step of one size moves the policy further, in standard deviations, the less noise there is."""
    constant, unchanged = divergences("constant")
    adaptive, fallen = divergences("adaptive")
    assert unchanged == 1e-2 > 2 * fallen
    assert AIM / 4 < float(adaptive.median()) < 4 * AIM
    assert float(constant.median()) > 5 * float(adaptive.median())
