"""The pretrained arms behind the interface of Gymnasium: `python examples/gymnasium_policy.py`."""

import numpy as np
from gymnasium.wrappers.vector import RecordEpisodeStatistics

from muscle_torch.envs import make_env
from muscle_torch.envs.faces.gymnasium_env import GymnasiumEnv
from muscle_torch.models import load_policy


def main(steps: int = 200) -> dict[str, float]:
    """Return the mean site error [mm] of random actions and of the pretrained policy."""
    policy = load_policy("pretrained:bimanual")
    errors = {}
    for name in ("random", "pretrained"):
        env = RecordEpisodeStatistics(GymnasiumEnv(make_env(policy.task, num_envs=8, device="cpu", threads=1)))
        env.action_space.seed(0)
        observation, info = env.reset(seed=0)
        distances = []
        for _ in range(steps):
            action = policy.act(observation).numpy() if name == "pretrained" else env.action_space.sample()
            observation, _, _, _, info = env.step(action)
            distances.append(info["err/site_abs"])  # (8,) [m]
        errors[name] = 1e3 * float(np.mean(distances))
        print(f"{name:12s} mean site error {errors[name]:6.1f} mm, {env.episode_count} episodes ended")
        env.close()
    return errors


if __name__ == "__main__":
    main()
