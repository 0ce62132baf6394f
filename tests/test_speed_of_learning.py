"""What makes learning fast on a GPU gives what the plain way gives: shown on the CPU."""

import copy
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from env_cases import actions, small_env
from test_rl import small, without_times
from torch.utils._python_dispatch import TorchDispatchMode

from muscle_torch.config import load_config
from muscle_torch.errors import InputError
from muscle_torch.rl.muon import BatchedMuon
from muscle_torch.rl.optimizer import make_optimizer
from muscle_torch.storage.checkpoint import load_checkpoint

SHAPES = [(8, 6), (6, 8), (8, 6), (6, 8), (5,), (3, 3)]


def weights(seed: int = 0) -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


def give_gradients(parameters, step: int, finite: bool = True, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1000 * seed + 100 + step)
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.shape, generator=generator)
        if not finite:
            parameter.grad[0] = float("nan")
    return torch.tensor(finite)


@pytest.mark.parametrize("name", ["adamw", "muon"])
@pytest.mark.parametrize("broken", [(), (0,), (2,), (0, 1, 4)], ids=str)
def test_a_step_whose_gradient_is_not_finite_is_none(name, broken):
    """Weights, moments and counts are to the bit those of a run that never met it, from the first step on."""
    cfg = load_config("toy_arm", optimizer={"name": name, "weight_decay": 0.01}).optimizer
    found = []
    for skipped in (True, False):
        own = weights()
        optimizer = make_optimizer(cfg, own)
        for step in range(5):
            finite = give_gradients(own, step, finite=step not in broken)
            if finite or not skipped:
                optimizer.step(finite)
            if step == 0 and broken[:1] == (0,):
                assert all(torch.equal(a, b) for a, b in zip(own, weights(), strict=True))
        found.append(torch.utils._pytree.tree_leaves((own, optimizer.state_dict())))
    assert all(torch.isfinite(value).all() for value in found[1] if torch.is_tensor(value))
    assert all(torch.equal(a, b) if torch.is_tensor(a) else a == b for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("seed", range(20))
def test_batched_muon_is_torchs(seed):
    """To what bfloat16 leaves of an update: 5 % of its largest entry (of 400 seeds, 3.1 % in the worst)."""
    options: dict[str, Any] = {"lr": 0.02, "weight_decay": 0.1, "momentum": 0.9}
    matrices = [[p for p in weights(seed) if p.dim() == 2] for _ in range(2)]
    plain = torch.optim.Muon(matrices[0], adjust_lr_fn="original", **options)
    batched = BatchedMuon(matrices[1], **options)
    batched.found_inf = torch.zeros(())
    for step in range(4):
        before = [p.detach().clone() for p in matrices[0]]
        for own, optimizer in zip(matrices, (plain, batched), strict=True):
            give_gradients(own, step, seed=seed)
            optimizer.step()
        for old, a, b in zip(before, *matrices, strict=True):
            assert (a - b).abs().max() < 0.05 * (a - old).abs().max()
        for one, other in zip(*matrices, strict=True):
            assert torch.equal(plain.state[one]["momentum_buffer"], batched.state[other]["momentum_buffer"])
            other.data.copy_(one.data)
    again = BatchedMuon(matrices[1], **options)
    again.load_state_dict(copy.deepcopy(plain.state_dict()))  # a checkpoint goes from one to the other


def test_bfloat16_learns_nearly_the_same_and_resumes_exactly(tmp_path):
    plain = small(tmp_path / "plain", 6)
    wanted = [plain.iteration() for _ in range(3)]
    half = small(tmp_path / "half", 6, precision="bf16")
    assert plain.policy.state_dict().keys() == half.policy.state_dict().keys()
    assert all(value.dtype == torch.float32 for value in half.policy.state_dict().values())
    for a in wanted:
        b = half.iteration()
        assert b["ppo/first_ratio"] == pytest.approx(1.0, abs=0.02) and b["ppo/skipped_updates"] == 0
        assert b["episode/reward"] == pytest.approx(a["episode/reward"], rel=0.02)
        assert b["ppo/policy_loss"] != a["ppo/policy_loss"]
    half.save({})
    straight = half.iteration()
    again = small(tmp_path / "half", 6, precision="bf16")
    again.load_state(load_checkpoint(tmp_path / "half"))
    np.testing.assert_equal(without_times(again.iteration()), without_times(straight))
    with pytest.raises(InputError, match="bf16"):
        small(tmp_path / "other", 1, precision="bf61")


@pytest.mark.slow
def test_compiled_networks_learn_the_same_and_the_plain_ones_go_on_without_a_compiler(tmp_path):
    plain = small(tmp_path / "plain", 6)
    wanted = [plain.iteration() for _ in range(2)]
    compiled = small(tmp_path / "compiled", 6, compile=True)
    assert plain.policy.state_dict().keys() == compiled.policy.state_dict().keys()
    for a in wanted:
        b = compiled.iteration()
        for name in ("ppo/policy_loss", "ppo/value_loss", "ppo/grad_norm", "episode/reward"):
            assert b[name] == pytest.approx(a[name], rel=1e-2, abs=1e-4), name
    compiled.save({})
    load_checkpoint(tmp_path / "compiled")
    code = (
        "import sys; sys.path[:0] = sys.argv[1:]\nfrom pathlib import Path\nfrom test_rl import small\n"
        "trainer = small(Path(sys.argv[1]) / 'x', 2, compile=True)\ntrainer.iteration()\nprint('learned')"
    )
    environment = os.environ | {"CXX": "no-such-compiler", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    command = [sys.executable, "-c", code, str(tmp_path), os.path.dirname(__file__)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "learned" in done.stdout, done.stderr[-2000:]
    assert "not compiled" in done.stderr


class Products(TorchDispatchMode):
    """Float32 matrix products, and in which precision a GPU would make them."""

    def __init__(self):
        super().__init__()
        self.seen: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.bmm, torch.ops.aten.addmm):
            self.seen.add(torch.get_float32_matmul_precision())
        return func(*args, **(kwargs or {}))


def test_tf32_is_for_the_networks_and_not_for_what_they_observe(tmp_path):
    env = small_env("fullbody", 2)
    trainer = small(tmp_path, 1, precision="tf32")
    try:
        with Products() as of_env:
            env.begin()
            step = env.advance(actions(env, 1)[0])
            env.restart(torch.ones_like(step.terminated))
        with Products() as of_learning:
            trainer.iteration()
    finally:
        torch.set_float32_matmul_precision("highest")
        env.close()
    assert of_env.seen == {"highest"} and "high" in of_learning.seen
