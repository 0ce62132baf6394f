"""What makes learning fast on a GPU gives what the plain way gives: shown on the CPU."""

import copy
import dataclasses
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from test_rl import small, without_times
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from muscle_torch.config import load_config
from muscle_torch.errors import InputError
from muscle_torch.rl.muon import BatchedMuon, deal_out, orthogonal, possible_halvings, symmetric_product
from muscle_torch.rl.optimizer import make_optimizer
from muscle_torch.rl.ppo import PPO
from muscle_torch.rl.ppo_update import count_minibatches, minibatches
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


@pytest.mark.parametrize("halvings", [0, 1, 2, 3])
def test_half_of_a_symmetric_product_is_the_whole(halvings):
    """Against double precision without blocks; `plus` is symmetric too."""
    x = torch.randn(3, 24, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    gram = x @ x.mT
    torch.testing.assert_close(symmetric_product(x, halvings), gram)
    torch.testing.assert_close(
        symmetric_product(gram, halvings, plus=gram, beta=-2.0, alpha=0.5), 0.5 * gram @ gram - 2.0 * gram
    )


def test_symmetric_products_halve_the_arithmetic():
    """Multiplications of x x^T counted by torch: by 1 - 1/2, 3/8, 7/16 of all, as the blocks say."""
    x = torch.zeros(2, 64, 96)
    counted = []
    for halvings in (0, 1, 2, 3):
        with FlopCounterMode(display=False) as counter:
            symmetric_product(x, halvings)
        counted.append(counter.get_total_flops())
    assert [count / counted[0] for count in counted] == [1, 3 / 4, 5 / 8, 9 / 16]


@pytest.mark.parametrize("shape", [(3, 48, 64), (2, 64, 48), (1, 48, 48)], ids=str)
def test_newton_schulz_by_blocks_is_that_without(shape):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(1)).bfloat16()
    settings = ((3.4445, -4.775, 2.0315), 5, 1e-7)
    whole = orthogonal(matrices, *settings, block=1000)
    assert possible_halvings(48, 12) == 2 and possible_halvings(48, 1000) == 0 and possible_halvings(45, 2) == 0
    torch.testing.assert_close(orthogonal(matrices, *settings, block=12), whole, rtol=0, atol=0.02)
    values = torch.linalg.svdvals(whole.float())
    assert values.max() < 1.3 and values.median() > 0.6


def test_work_is_dealt_out_by_cost():
    """The costliest alone on one stream, the others beside it."""
    assert deal_out([1, 9, 2, 3], 2) == [[1], [3, 2, 0]]
    assert deal_out([4], 2) == [[0], []]


@pytest.mark.parametrize(
    ("samples", "requested", "smallest", "made"),
    [(131072, 32, 16384, 8), (131072, 4, 16384, 4), (2048, 32, 16384, 1), (40000, 32, 16384, 2), (2048, 4, 0, 4)],
)
def test_minibatches_are_fewer_if_they_would_be_small(samples, requested, smallest, made):
    options = load_config("toy_arm", ppo={"minibatches": requested, "smallest_minibatch": smallest}).ppo
    assert count_minibatches(options, samples) == made
    sizes = [len(part) for part in minibatches(samples, made, "cpu")]
    assert sum(sizes) == samples and (made == 1 or min(sizes) >= smallest)


def test_a_bound_on_minibatches_reaches_the_update_and_cannot_be_negative(tmp_path):
    trainer = small(tmp_path, 1)
    options = dataclasses.replace(trainer.cfg.ppo, smallest_minibatch=40)
    trainer.algorithm.learner.options = options
    assert options.minibatches == 4 and options.epochs == 4  # 8 environments, 16 steps: 3 minibatches of 42 or 43
    trainer.collect()
    trainer.algorithm.rollout.action.fill_(float("nan"))
    assert trainer.learn()["ppo/skipped_updates"] == 4 * 3
    cfg = load_config("toy_arm", ppo={"smallest_minibatch": -1})
    with pytest.raises(InputError, match="smallest_minibatch=-1: cannot be negative"):
        PPO.check(trainer.env, trainer.policy, cfg)


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


def test_tf32_without_cuda_is_ignored_with_a_line(tmp_path, capsys):
    trainer = small(tmp_path / "tf32", 2, precision="tf32")
    assert capsys.readouterr().err.splitlines() == [
        "precision=tf32 is ignored: it needs CUDA, and on a CPU the networks compute in float32"
    ]
    with Products() as of_learning:
        metrics = trainer.iteration()
    assert of_learning.seen == {"highest"}
    np.testing.assert_equal(without_times(small(tmp_path / "plain", 2).iteration()), without_times(metrics))
