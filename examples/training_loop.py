"""PPO in one plain loop, without muscle_torch's trainer: `python examples/training_loop.py`."""

import torch
from tensordict import TensorDict
from torchrl.objectives.value.functional import generalized_advantage_estimate

from muscle_torch.envs import VecTask, make_env
from muscle_torch.models import make_policy

STEPS, EPOCHS, MINIBATCHES, GAMMA, LAMBDA, CLIP = 32, 4, 4, 0.95, 0.9, 0.2


def value(policy, observation):
    """Return the expected returns (...,) of observations (..., D)."""
    return policy.critic(TensorDict({"observation": observation}, observation.shape[:-1]))["state_value"][..., 0]


@torch.no_grad()
def collect(env, policy):
    """Return observations, actions, log-probabilities, advantages and returns (STEPS * W, ...), and rewards."""
    rows = []
    for _ in range(STEPS):
        observation, distribution = env.obs_buf, policy.distribution(env.obs_buf)
        action = distribution.sample()
        policy.normalizer.observe(observation)
        _, reward, done, extras = env.step(action)
        values = value(policy, observation), value(policy, extras["final_observation"])
        lost = done & ~extras["time_outs"]  # earns nothing more; an episode that ran out of time would go on
        rows.append((observation, action, distribution.log_prob(action), *values, reward, done, lost))
    columns = [torch.stack(column) for column in zip(*rows, strict=True)]
    estimates = generalized_advantage_estimate(GAMMA, LAMBDA, *(c[..., None] for c in columns[3:]), time_dim=0)
    return [c.flatten(0, 1) for c in (*columns[:3], *(estimate[..., 0] for estimate in estimates), columns[5])]


def main(iterations: int = 60) -> list[float]:
    """Train a one-joint arm to follow motions; return the mean reward per control step of each iteration."""
    torch.manual_seed(0)
    env = VecTask(make_env("toy_arm", num_envs=64, device="cpu", threads=1))
    policy = make_policy("mlp", env.env)
    optimizer = torch.optim.Adam(policy.parameters(), lr=1e-3)
    env.reset()
    history = []
    for iteration in range(iterations):
        *batch, rewards = collect(env, policy)
        for rows in (rows for _ in range(EPOCHS) for rows in torch.randperm(len(rewards)).chunk(MINIBATCHES)):
            observation, action, old, advantage, target = (column[rows] for column in batch)
            advantage = (advantage - advantage.mean()) / advantage.std()
            ratio = (policy.distribution(observation).log_prob(action) - old).exp()
            gain = torch.minimum(ratio * advantage, ratio.clamp(1 - CLIP, 1 + CLIP) * advantage).mean()
            optimizer.zero_grad()
            (0.5 * (target - value(policy, observation)).square().mean() - gain).backward()
            optimizer.step()
        policy.normalizer.commit()
        history.append(float(rewards.mean()))
        print(f"iteration {iteration:3d}   reward per step {history[-1]:.3f}")
    return history


if __name__ == "__main__":
    main()
