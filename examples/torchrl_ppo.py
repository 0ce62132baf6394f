"""PPO from TorchRL's own parts, Collector and ClipPPOLoss: `python examples/torchrl_ppo.py`."""

import torch
from tensordict.nn import NormalParamExtractor, TensorDictModule
from torch import nn
from torchrl.collectors import Collector
from torchrl.envs import ObservationNorm, TransformedEnv
from torchrl.modules import MLP, IndependentNormal, ProbabilisticActor, ValueOperator
from torchrl.objectives import ClipPPOLoss
from torchrl.objectives.value import GAE

from muscle_torch.envs import make_env

NUM_ENVS, STEPS, EPOCHS, MINIBATCHES = 64, 32, 4, 4
NETWORK = {"num_cells": [256, 256], "activation_class": nn.SiLU}


def main(iterations: int = 60) -> list[float]:
    """Train a one-joint arm to follow motions; return the mean reward per control step of each iteration."""
    torch.manual_seed(0)
    base = make_env("toy_arm", num_envs=NUM_ENVS, device="cpu", threads=1)  # a TorchRL EnvBase
    env = TransformedEnv(base, ObservationNorm(in_keys=["observation"], standard_normal=True))
    env.transform.init_stats(num_iter=STEPS, reduce_dim=(0, 1), cat_dim=1)  # of random actions
    network = MLP(base.observation_size, 2 * base.action_size, **NETWORK)
    nn.init.zeros_(network[-1].weight)  # the first actions are noise around the middle of their range
    parameters = nn.Sequential(network, NormalParamExtractor("biased_softplus_0.3"))
    actor = ProbabilisticActor(
        TensorDictModule(parameters, in_keys=["observation"], out_keys=["loc", "scale"]),
        in_keys=["loc", "scale"],
        distribution_class=IndependentNormal,
        return_log_prob=True,
    )
    critic = ValueOperator(MLP(base.observation_size, 1, **NETWORK), in_keys=["observation"])
    loss = ClipPPOLoss(actor, critic, clip_epsilon=0.2, entropy_coeff=0.0, normalize_advantage=True)
    advantage = GAE(gamma=0.95, lmbda=0.9, value_network=critic)
    optimizer = torch.optim.Adam(loss.parameters(), lr=1e-3)
    frames, history = NUM_ENVS * STEPS, []
    budget = {"frames_per_batch": frames, "total_frames": iterations * frames}
    collector = Collector(env, actor, **budget, auto_register_policy_transforms=False)
    for batch in collector:
        history.append(float(batch["next", "reward"].mean()))
        print(f"iteration {len(history) - 1:3d}   reward per step {history[-1]:.3f}")
        with torch.no_grad():
            advantage(batch)
        flat = batch.reshape(-1)
        for rows in (rows for _ in range(EPOCHS) for rows in torch.randperm(frames).chunk(MINIBATCHES)):
            terms = loss(flat[rows])
            optimizer.zero_grad()
            (terms["loss_objective"] + terms["loss_critic"]).backward()
            optimizer.step()
    collector.shutdown()
    return history


if __name__ == "__main__":
    main()
