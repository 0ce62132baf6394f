"""Excite all muscles at random and plot activations: `python examples/random_excitations.py`."""

import sys

import torch
from matplotlib.figure import Figure
from torch import Tensor

from muscle_torch.envs import VecTask, make_env

SHOWN = ("BIClong", "TRIlat", "DELT2", "PECM1")


def main(output: str = "activations.png", seconds: float = 2.0) -> tuple[Tensor, Tensor]:
    """Write the figure; return excitations and activations (steps, muscles), both from 0 to 1."""
    torch.manual_seed(0)
    # The episode lasts as long as the motion, even if the arms are metres away from it.
    one_episode = {"goal": {"start": "beginning"}, "termination": {"mean_site_deviation": 10.0}}
    task = VecTask(make_env("bimanual", num_envs=1, device="cpu", motion="rest", **one_episode))
    body, physics = task.env.embodiment, task.env.physics
    task.reset()
    excitations, activations = [], []
    for step in range(round(seconds * body.control_frequency)):
        if step % 10 == 0:  # a new excitation five times per second
            excitation = torch.rand(1, task.num_actions)
        task.step(excitation)  # an action is an excitation: 1 is full, 0 none
        excitations.append(excitation[0])
        activations.append(physics.field("act")[0, body.muscle_act_ids].clone())  # live tensors: copy what you keep
    task.close()
    plot(torch.stack(excitations), torch.stack(activations), body, output)
    return torch.stack(excitations), torch.stack(activations)


def plot(excitations: Tensor, activations: Tensor, body, output: str) -> None:
    """Plot excitation (grey) and activation (colored) of some muscles over time."""
    figure = Figure(figsize=(7, 5), layout="constrained")
    time = torch.arange(len(activations)) / body.control_frequency
    for axes, muscle in zip(figure.subplots(len(SHOWN), sharex=True), SHOWN, strict=True):
        (column,) = body.muscle_columns([muscle])
        axes.step(time, excitations[:, column], color="0.7", where="post", label="excitation")
        axes.plot(time, activations[:, column], color="tab:red", label="activation")
        axes.set(ylabel=muscle, ylim=(0, 1.05))
    axes.set_xlabel("time [s]")
    axes.legend(loc="upper right", frameon=False, ncols=2)
    figure.savefig(output, dpi=120)
    print(f"written to {output}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
