"""Learning equals the published system's: optimiser, advantages, schedules, normalisers, loss, gradients, updates.

docs/fidelity.md explains every difference that is left; the bounds here are those figures.
"""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import data_file
from tensordict import TensorDict

from muscle_torch.config import Choice, PPOConfig
from muscle_torch.models import MLPPolicy, MoEPolicy, ObservationNormalizer
from muscle_torch.models.published_mlp import load_published, targets
from muscle_torch.rl.muon import BatchedMuon
from muscle_torch.rl.optimizer import make_optimizer
from muscle_torch.rl.options import AdamWOptions, MuonOptions
from muscle_torch.rl.ppo_update import PPOUpdate
from muscle_torch.rl.return_normalizer import ReturnNormalizer
from muscle_torch.rl.rollout import Rollout


class Oracle:
    """One file of expected values."""

    def __init__(self, name: str):
        self.arrays = np.load(data_file(f"oracle/checkpoints/{name}.npz"))
        self.meta = json.loads(str(self.arrays["meta_json"])) if "meta_json" in self.arrays.files else {}

    def __getitem__(self, name: str) -> torch.Tensor:
        """Kernels, stored (in, out), the way of torch's Linear."""
        values = torch.from_numpy(np.array(self.arrays[name]))
        return values.T.contiguous() if name.endswith(".kernel") else values

    def names(self, prefix: str) -> list[str]:
        return [name.removeprefix(prefix) for name in self.arrays.files if name.startswith(prefix)]


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest difference in units of the largest expected value."""
    assert found.shape == expected.shape
    return float((found.double() - expected.double()).abs().max() / expected.abs().max().clamp(min=1e-12))


def alike(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Cosine of the angle between two arrays."""
    return float(torch.nn.functional.cosine_similarity(found.flatten().double(), expected.flatten().double(), dim=0))


# Optimiser


def optimizer_choice(variant: dict) -> Choice:
    muon = variant["optimizer_type"] == "muon"
    options = (MuonOptions if muon else AdamWOptions)(
        learning_rate=variant["lr"],
        schedule="linear" if variant["anneal_lr"] else "constant",
        weight_decay=variant["muon_config"].get("weight_decay", 0.0) if muon else variant["weight_decay"],
        epsilon=1e-8 if muon else 1e-5,
    )
    return Choice(variant["optimizer_type"], options)


def updates(oracle: Oracle, name: str, steps: int = 5) -> list[dict[str, torch.Tensor]]:
    """What each step adds to each parameter, in double precision, by PPO's own step."""
    variant = oracle.meta["variants"][name]
    parameters = {n: torch.nn.Parameter(oracle[f"params_0/{n}"].double()) for n in oracle.names("params_0/")}
    optimizer = make_optimizer(optimizer_choice(variant), parameters.values())
    ppo = PPOUpdate(MLPPolicy(2, 1, hidden=[2]), optimizer, PPOConfig(max_grad_norm=variant["max_grad_norm"]))
    per_update, found, taken = variant["num_minibatches"] * variant["update_epochs"], [], 0
    for step in range(1, steps + 1):
        optimizer.schedule((taken // per_update) / variant["num_updates"], kl=0.0)
        before = {n: p.detach().clone() for n, p in parameters.items()}
        gradients = {n: oracle[f"grads_{step}/{n}"].double() for n in parameters}
        if name.endswith("nan3") and step == 3:
            gradients["actor.Dense_0.bias"][3] = float("nan")
        # A loss whose gradient is the given one
        loss = torch.stack([(p * gradients[n]).sum() for n, p in parameters.items()]).sum()
        taken += int(ppo._step(loss)[1])
        found.append({n: p.detach() - before[n] for n, p in parameters.items()})
    return found


@pytest.mark.parametrize("name", ["adamw_wd0", "adamw", "muon_bimanual", "muon_fullbody", "muon_linear_lr"])
def test_adam_is_the_published_one(name):
    oracle = Oracle("optimizer")
    variant = oracle.meta["variants"][name]
    for step, found in enumerate(updates(oracle, name), 1):
        for leaf, update in found.items():
            if variant["optimizer_type"] == "muon" and update.dim() == 2:
                continue
            expected = oracle[f"x64/{name}/updates_{step}/{leaf}"]
            if name == "adamw" and update.dim() != 2:
                # Theirs decays biases, scales and gates too.
                before = oracle[f"{name}/params_1/{leaf}"] if step == 2 else oracle[f"params_0/{leaf}"]
                if step > 2:
                    continue
                expected = expected + variant["lr"] * variant["weight_decay"] * before
            assert relative(update, expected) < 5e-6, (leaf, step)


# What bfloat16 leaves of Muon's steps, and what the lack of a bias correction adds from the second step on: a little
# more than the worst of 2000 and of 300 random seeds. These are: cosine 0.99915 and 0.984 (0.848 for square matrices,
# which have singular values near 0), largest difference 0.101 and 0.35 (1.14), norm 0.028 and 0.061.
BFLOAT16 = {"cosine": 0.999, "relative": 0.12, "norm": 0.05}
WITHOUT_BIAS_CORRECTION = {"cosine": 0.975, "relative": 0.5, "norm": 0.08}
OF_A_SQUARE = {"cosine": 0.8, "relative": 1.5, "norm": 0.08}


def check_muon(update: torch.Tensor, expected: torch.Tensor, bounds: dict[str, float], what: object) -> None:
    assert relative(update, expected) < bounds["relative"], what
    assert alike(update, expected) > bounds["cosine"], what
    assert float(update.norm() / expected.norm()) == pytest.approx(1.0, abs=bounds["norm"]), what


@pytest.mark.parametrize("name", ["muon_bimanual", "muon_fullbody", "muon_linear_lr"])
def test_muon_is_the_published_one_but_for_bfloat16_and_bias_correction(name):
    oracle = Oracle("optimizer")
    for step, found in enumerate(updates(oracle, name), 1):
        for leaf, update in found.items():
            expected = oracle[f"x64/{name}/updates_{step}/{leaf}"]
            if update.dim() != 2 or leaf == "critic.lowrank.kernel":
                continue
            if not expected.any():
                assert not update.any()
                continue
            later = OF_A_SQUARE if update.shape[0] == update.shape[1] else WITHOUT_BIAS_CORRECTION
            check_muon(update, expected, BFLOAT16 if step == 1 else later, (leaf, step))


def exact_newton_schulz(matrix: torch.Tensor) -> torch.Tensor:
    """Five steps in double precision, with the published coefficients."""
    x = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / x.norm()
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.775 * gram + 2.0315 * gram @ gram) @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x


@pytest.mark.parametrize("seed", range(20))
def test_muon_is_newton_schulz_in_double_precision_but_for_bfloat16(seed):
    """Random matrices and gradients: five steps with Nesterov momentum, weight decay and the factor for tall ones."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [(16, 24), (40, 16), (24, 24), (6, 40), (1, 16), (12, 1)]
    weights = [torch.nn.Parameter(torch.randn(shape, generator=generator).double()) for shape in shapes]
    optimizer = BatchedMuon(weights, lr=4e-4, weight_decay=1e-3, momentum=0.95)
    optimizer.found_inf = torch.zeros(())
    momentum = [torch.zeros(shape).double() for shape in shapes]
    for step in range(5):
        before = [weight.detach().clone() for weight in weights]
        for weight in weights:
            weight.grad = torch.randn(weight.shape, generator=generator).double()
        optimizer.step()
        for i, weight in enumerate(weights):
            assert weight.grad is not None
            momentum[i] = 0.95 * momentum[i] + 0.05 * weight.grad
            direction = exact_newton_schulz(0.95 * momentum[i] + 0.05 * weight.grad)
            rows, columns = weight.shape
            expected = -4e-4 * (max(1.0, rows / columns) ** 0.5 * direction + 1e-3 * before[i])
            check_muon(weight.detach() - before[i], expected, BFLOAT16, (shapes[i], step))


def test_muon_fills_the_directions_that_a_gradient_of_rank_one_lacks():
    """bfloat16's rounding errors are orthogonalised like a gradient: known, and only where a gradient lacks rank."""
    oracle = Oracle("optimizer")
    leaf = "critic.lowrank.kernel"
    found = updates(oracle, "muon_fullbody", 1)[0][leaf]
    expected = oracle[f"x64/muon_fullbody/updates_1/{leaf}"]
    along = float((found * expected).sum() / expected.square().sum())
    assert along == pytest.approx(1.0, abs=0.04)  # what the gradient asks for is done in full
    assert 0.4 < alike(found, expected) < 0.95  # of 2000 random matrices of rank one: 0.50 to 0.87


def test_a_gradient_that_is_not_finite_changes_nothing_and_counts_as_no_step():
    oracle = Oracle("optimizer")
    found = updates(oracle, "muon_bimanual_nan3")
    assert not any(update.any() for update in found[2].values())
    for step in (4, 5):
        for leaf, update in found[step - 1].items():
            expected = oracle[f"x64/muon_bimanual_nan3/updates_{step}/{leaf}"]
            if update.dim() != 2:
                assert relative(update, expected) < 5e-6, (leaf, step)


# Learning rate


@pytest.mark.parametrize(
    ("name", "settings", "exact_from"),
    [
        ("linear", {"schedule": "linear"}, 0),
        ("constant", {"schedule": "constant"}, 0),
        ("warmup_cosine", {"schedule": "cosine", "min_ratio": 0.1, "warmup": 0.1}, 1),
        ("warmup_cosine_min0", {"schedule": "cosine", "min_ratio": 0.0, "warmup": 0.1}, 1),
        ("warmup_cosine_w12", {"schedule": "cosine", "min_ratio": 0.1, "warmup": 12 / 50}, 1),
        ("warmup_cosine_w0", {"schedule": "cosine", "min_ratio": 0.1, "warmup": 0.0}, 0),
        ("warmup_cosine_w80", {"schedule": "cosine", "min_ratio": 0.1, "warmup": 80 / 50}, 1),
    ],
)
def test_learning_rates(name, settings, exact_from):
    oracle = Oracle("lr_schedules")
    config = AdamWOptions(learning_rate=oracle.meta["lr"], **settings)
    optimizer = make_optimizer(Choice("adamw", config), [torch.nn.Parameter(torch.ones(2, 2))])
    found = []
    for update in range(oracle.meta["num_updates"] + 1):
        optimizer.schedule(update / oracle.meta["num_updates"], kl=0.0)
        found.append(optimizer.learning_rate)
    expected = oracle[f"{name}/per_update"].numpy()
    assert np.abs(np.array(found) - expected)[exact_from:].max() <= 1e-6 * oracle.meta["lr"]
    # Theirs warms up from 0, so the whole first rollout is thrown away; ours from a thousandth.
    assert abs(found[0] - expected[0]) <= 1.001e-3 * oracle.meta["lr"]


def test_adaptive_learning_rate():
    oracle = Oracle("lr_schedules")
    config = AdamWOptions(learning_rate=oracle.meta["lr"], schedule="adaptive", desired_kl=oracle.meta["desired_kl"])
    optimizer = make_optimizer(Choice("adamw", config), [torch.nn.Parameter(torch.ones(2, 2))])
    for kl, expected in zip(oracle["adaptive/kl"].tolist(), oracle["adaptive/lr_after"].tolist(), strict=True):
        optimizer.schedule(0.0, kl)
        assert optimizer.learning_rate == pytest.approx(expected, rel=1e-6)


# Advantages


@pytest.mark.parametrize("prefix", ["", "b_"])
def test_advantages(prefix):
    oracle = Oracle("gae")
    steps, worlds = oracle["rewards"].shape
    env = SimpleNamespace(num_envs=worlds, device=torch.device("cpu"), observation_size=1, action_size=1)
    rollout = Rollout(steps, env)
    # The value of an observation is the observation: so all values are given.
    rollout.observation[:-1, :, 0], rollout.observation[-1, :, 0] = oracle["values"], oracle["last_value"]
    rollout.final_observation[..., 0] = oracle["final_values"]
    rollout.done[:], rollout.terminated[:] = oracle["dones"], oracle["absorbing"]

    class Value(torch.nn.Module):
        def critic(self, read):
            return read.set("state_value", read["observation"])

    gamma, lmbda = float(oracle[f"{prefix}gamma"]), float(oracle[f"{prefix}lambda"])
    advantage, target, _ = rollout.advantages(Value(), oracle["rewards"], gamma, lmbda)
    assert relative(advantage, oracle[f"{prefix}advantages_true"]) < 1e-6
    assert relative(target, oracle[f"{prefix}targets_true"]) < 1e-6
    # The published system's own take the value of another episode's first observation after a truncation.
    truncated = oracle["dones"] & ~oracle["absorbing"]
    untouched = truncated.flip(0).cumsum(0).flip(0) == 0
    difference = (advantage - oracle[f"{prefix}advantages_ref"]).abs()
    assert difference[untouched].max() < 1e-5 and difference[truncated].min() > 1e-3


# Normalisers


def test_reward_scale():
    oracle = Oracle("normalizers")
    scale = ReturnNormalizer(oracle["rewards"].shape[1], float(oracle["gamma"]), torch.device("cpu"))
    for t, (reward, done) in enumerate(zip(oracle["rewards"], oracle["dones"], strict=True)):
        scale.observe(reward.unsqueeze(0), done.unsqueeze(0))
        assert relative(scale(reward), oracle["reward_norm"][t]) < 2e-6
        assert relative(scale.running, oracle["return_val"][t]) < 2e-6
        expected = torch.tensor([oracle[f"ret_{name}"][t] for name in ("mean", "var", "count")])
        assert torch.allclose(scale.moments, expected.float(), rtol=1e-5)


def test_observation_statistics():
    """Theirs adds 1e-6 to every batch's variance; ours does not."""
    oracle = Oracle("normalizers")
    batches = [*oracle["obs_batches"], oracle["obs_single"].unsqueeze(0)]
    normalizer = ObservationNormalizer(batches[0].shape[1], epsilon=1e-8, clip=0.0)
    for name in ("mean", "var", "count"):
        getattr(normalizer, name).copy_(oracle[f"obs_{name}"][0])
    for row, batch in enumerate(batches, 1):
        normalizer.observe(batch)
        normalizer.commit()
        assert relative(normalizer.mean, oracle["obs_mean"][row]) < 1e-6
        assert (normalizer.var - oracle["obs_var"][row]).abs().max() < 1.1e-6 + 1e-6 * oracle["obs_var"][row].max()
        assert float(normalizer.count) == pytest.approx(float(oracle["obs_count"][row]), rel=1e-6)
    normalizer.var.copy_(oracle["obs_var"][-1])
    seen = oracle["obs_batches"].flatten(0, 1)
    assert relative(normalizer(seen), oracle["obs_norm_frozen"]) < 1e-5


# PPO


class Learner:
    """The oracle's network in our policy, its rollout as our batch."""

    def __init__(self, net: str, settings: str = "", **optimizer):
        self.oracle = oracle = Oracle("ppo_update")
        self.net, about = net, oracle.meta[net]
        given = oracle.meta["configs"][settings]
        exploration = {"name": "normal", "min_std": 1e-8, "max_std": 1e8}
        network = {"normalizer_epsilon": 1e-8, "normalizer_clip": 0.0, "exploration": exploration}
        if net == "moe":
            mixture = {"experts": about["num_experts"], "layers": about["moe_at_layers"], "networks": "both"}
            mixture |= {"temperature": about["temperature"], "balance": about["load_balance_loss_weight"]}
            self.policy = MoEPolicy(10, 4, hidden=about["hidden"], mixture=mixture, **network)
        else:
            hidden = {"hidden": about["actor_hidden"], "critic_hidden": about["critic_hidden"]}
            self.policy = MLPPolicy(10, 4, **hidden, **network)
        # Kernels are stored (in, out), as in a checkpoint.
        arrays = {f"params.{n}": oracle.arrays[f"{net}/params/{n}"] for n in oracle.names(f"{net}/params/")}
        arrays |= {f"run_stats.x.{n}": oracle.arrays[f"run_{n}"] for n in ("mean", "var", "count")}
        load_published(self.policy, arrays)
        config = PPOConfig(
            epochs=1,
            minibatches=1,
            clip=given["clip_eps"],
            value_clip=given["clip_eps_vf"],
            value_coef=given["vf_coef"],
            entropy_coef=given["ent_coef"],
            max_grad_norm=optimizer.pop("max_grad_norm", 0.0),
        )
        self.given = given
        name = optimizer.pop("name", "adamw")
        options = (MuonOptions if name == "muon" else AdamWOptions)(schedule="constant", **optimizer)
        self.ppo = PPOUpdate(self.policy, make_optimizer(Choice(name, options), self.policy.parameters()), config)

    def batch(self, rows: torch.Tensor | None = None) -> TensorDict:
        oracle, net = self.oracle, self.net
        keys = {"action": "actions", "action_log_prob": "log_probs_old", "state_value": "values_old"}
        keys |= {"advantage": "advantages", "value_target": "targets"}
        values = {ours: oracle[f"{net}/{theirs}"].flatten(0, 1) for ours, theirs in keys.items()}
        for name in ("state_value", "advantage", "value_target"):
            values[name] = values[name].unsqueeze(-1)
        values["observation"] = oracle["obs"].flatten(0, 1)
        batch = TensorDict(values, batch_size=[len(values["observation"])])
        return batch if rows is None else batch[rows]

    def check(self, found: dict[str, float], where: str, tolerance: float = 1e-4) -> None:
        """PPO's metrics against the loss terms below `where`."""
        theirs = {"policy_loss": "policy_loss", "value_loss": "value_loss", "entropy": "entropy"}
        theirs |= {"clip_fraction": "clip_fraction", "auxiliary_loss": "moe_loss", "kl": "approx_kl"}
        weight = {"value_loss": self.given["vf_coef"]}  # ours is logged with its weight
        for name, other in theirs.items():
            expected = weight.get(name, 1.0) * float(self.oracle[f"{where}/{other}"])
            assert found[name] == pytest.approx(expected, rel=tolerance, abs=tolerance * 1e-2), name


def in_our_names(learner: Learner, prefix: str, read) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Their name -> (what `read` says of our parameter, the oracle's array below `prefix`)."""
    ours = dict(targets(learner.policy, {"run_stats.x.mean": np.zeros(1)}))
    names = learner.oracle.names(prefix)
    assert len(names) >= 11
    return {name: (read(ours[f"params.{name}"]), learner.oracle[prefix + name]) for name in names}


@pytest.mark.parametrize("net", ["dense", "moe"])
@pytest.mark.parametrize("rows", ["full", "mini"])
@pytest.mark.parametrize("settings", ["", "alt_"])
def test_loss_terms(net, rows, settings):
    learner = Learner(net, settings)
    chosen = learner.oracle["idx"] if rows == "mini" else None
    found = learner.ppo.update(learner.batch(chosen))
    learner.check(found, f"{net}/{settings}{rows}_frozen")


@pytest.mark.parametrize("net", ["dense", "moe"])
@pytest.mark.parametrize("rows", ["full", "mini"])
def test_gradients(net, rows):
    learner = Learner(net)
    learner.ppo.update(learner.batch(learner.oracle["idx"] if rows == "mini" else None))
    pairs = in_our_names(learner, f"{net}/{rows}_frozen/grads/", lambda p: p.grad)
    for name, (found, expected) in pairs.items():
        assert relative(found, expected) < 1e-4, name
        assert (found - expected).abs().max() < 1e-5, name


@pytest.mark.parametrize("net", ["dense", "moe"])
def test_a_complete_update(net):
    """Two passes, three minibatches each, Muon. What Adam moves moves the same; Muon's part as near as bfloat16."""
    settings = {"name": "muon", "learning_rate": 4e-4, "weight_decay": 1e-3, "epsilon": 1e-8, "max_grad_norm": 1.0}
    learner = Learner(net, **settings)
    sums: dict[str, float] = {}
    for order in learner.oracle["update_permutations"]:
        for rows in order.chunk(3):
            for name, value in learner.ppo.update(learner.batch(rows)).items():
                sums[name] = sums.get(name, 0.0) + value / 6
    learner.check(sums, f"{net}/update_frozen", tolerance=5e-3)
    before = Learner(net)
    start = in_our_names(before, f"{net}/update_frozen/params/", lambda p: p.detach().clone())
    for name, (found, expected) in in_our_names(learner, f"{net}/update_frozen/params/", lambda p: p.detach()).items():
        ours, theirs = found - start[name][0], expected - start[name][0]
        if found.dim() != 2:
            assert relative(ours, theirs) < 2e-3, name
        # A gate's gradients sum to 0 over the experts: one direction is without gradient, and filled by Muon.
        gate = "gate" in name
        assert alike(ours, theirs) > (0.96 if gate else 0.998), name
