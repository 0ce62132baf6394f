"""Make one muscle twice as strong, by name: `python examples/strengthen_muscle.py`.

`randomization.strength` takes muscles and muscle groups; a range such as [0.8, 1.2] differs between environments.
`train.py` accepts the same: `python train.py task=bimanual randomization.strength.BIClong=[2,2]`.
"""

import torch

from muscle_torch.envs import VecTask, make_env

MUSCLE = "BIClong"


def force_under_full_excitation(factor: float) -> float:
    """Return the force [N] of the muscle after half a second of full excitation, with its strength times `factor`."""
    options = {"motion": "rest", "goal": {"start": "beginning"}, "termination": {"mean_site_deviation": 10.0}}
    strength = {"strength": {MUSCLE: [factor, factor]}}
    env = VecTask(make_env("bimanual", num_envs=1, device="cpu", randomization=strength, **options))
    muscle = env.env.action_names.index(MUSCLE)
    action = env.zero_actions()
    action[:, muscle] = 1.0
    env.reset()
    for _ in range(round(0.5 * env.env.embodiment.control_frequency)):
        env.step(action)
    force = -env.env.physics.field("actuator_force")[0, muscle]  # MuJoCo's muscles pull with a negative force
    env.close()
    return float(force)


def main() -> tuple[float, float]:
    """Return the force [N] of the muscle, normal and strengthened."""
    torch.manual_seed(0)
    normal, strong = force_under_full_excitation(1.0), force_under_full_excitation(2.0)
    print(f"{MUSCLE}: {normal:.0f} N as in the model, {strong:.0f} N with twice the strength")
    return normal, strong


if __name__ == "__main__":
    main()
