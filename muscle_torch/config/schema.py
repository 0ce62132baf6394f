"""Every key of a training run: frozen dataclasses with a default, a help text and a unit."""

import dataclasses
from typing import Any

from muscle_torch.errors import InputError


def key(default: Any, text: str, unit: str = "") -> Any:
    """A documented dataclass field; mutable defaults are copied."""
    metadata = {"help": text, "unit": unit}
    if isinstance(default, dict | list) or dataclasses.is_dataclass(default):
        kind = type(default)
        make = kind if dataclasses.is_dataclass(default) else (lambda: kind(default))  # type: ignore[call-arg]
        return dataclasses.field(default_factory=make, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class ObservationConfig:
    terms: list[str] = key([], "observation terms, in the order of the vector (envs/observations.py)")
    muscle: list[str] = key(
        ["force", "activation"], "muscle quantities: length, velocity, force, excitation, activation"
    )
    lookahead: int = key(5, "reference frames shown, the current one included")
    stride: int = key(4, "distance between them", "control steps")
    history: int = key(1, "how many control steps are shown, the newest last", "control steps")
    split_goal: bool = key(False, "with history: of what tells of the motion only the newest, at the end")
    profile: str = key("", "named choice of all of the above: cfg/profile/<profile>.yaml, e.g. musclemimic")
    concise: bool = key(True, "leave the reference's relative site rotation and velocity out of the look-ahead")


@dataclasses.dataclass(frozen=True)
class EnvConfig:
    horizon: int = key(1000, "longest episode", "control steps")
    action_mapping: str = key(
        "full", "action to excitation: full ((a+1)/2) or half (max(a, 0), the published checkpoints')"
    )
    synergies: float = key(
        0.0, "share of the action that moves muscles with like moment arms together; 0: a number a muscle"
    )
    tone: float = key(0.0, "added to every muscle's action", "action units")
    start: str = key("random", "where an episode starts in its clip: random or beginning")


@dataclasses.dataclass(frozen=True)
class RewardConfig:
    weights: dict[str, float] = key({}, "weight of each reward term (envs/rewards.py)")
    sharpness: dict[str, float] = key({}, "sharpness of each exponential term; absent: the term's own default")
    elementwise: bool = key(False, "each term the mean of the exponentials, not the exponential of the mean")
    penalties: dict[str, float] = key({"action_out_of_bounds": 0.01}, "coefficient of each penalty term")


@dataclasses.dataclass(frozen=True)
class MixtureConfig:
    experts: int = key(6, "experts of a layer, each half as wide as the layer")
    layers: list[int] = key([1], "which hidden layers are mixtures, counted from 0")
    networks: str = key("both", "which networks have them: actor, critic or both")
    temperature: float = key(0.7, "of the softmax that weighs the experts")
    balance: float = key(0.01, "weight of the loss that keeps all experts in use")


@dataclasses.dataclass(frozen=True)
class TerminationCurriculumConfig:
    enabled: bool = key(False, "tighten the termination thresholds while few episodes fail")
    terms: list[str] = key([], "which of `termination`; empty: all")
    min_ratio: float = key(0.2, "tightest threshold, as a fraction of the configured one")
    factor: float = key(0.95, "one step of tightening; loosening divides by it, up to the configured threshold")
    low: float = key(0.1, "tighten while the failure rate is below this")
    high: float = key(0.2, "loosen while it is above this")
    patience: int = key(5, "updates in a row that it takes", "updates")
    smoothing: float = key(0.1, "weight of the newest rollout in the running failure rate")


@dataclasses.dataclass(frozen=True)
class RewardCurriculumConfig:
    highest: dict[str, float] = key({}, "reward terms whose weights grow, and how far; empty: none")
    growth: float = key(0.02, "one step, as a fraction of the weight")
    below: float = key(0.08, "grow while the failure rate is below this")
    patience: int = key(5, "updates in a row that it takes", "updates")
    smoothing: float = key(0.2, "weight of the newest rollout in the running failure rate")


@dataclasses.dataclass(frozen=True)
class CurriculumConfig:
    termination: TerminationCurriculumConfig = key(TerminationCurriculumConfig(), "thresholds that tighten")
    reward: RewardCurriculumConfig = key(RewardCurriculumConfig(), "weights that grow")


@dataclasses.dataclass(frozen=True)
class SamplingConfig:
    adaptive: bool = key(False, "draw clips that fail often more often")
    sharpness: float = key(1.0, "power of the failure rate in a clip's weight")
    uniform_share: float = key(0.1, "share of the draws that stays uniform")
    smoothing: float = key(0.2, "weight of the newest rollout in the running counts")
    prior_episodes: float = key(10.0, "episodes counted for each clip before the first")
    prior_failures: float = key(5.0, "failures among them")


@dataclasses.dataclass(frozen=True)
class RandomizationConfig:
    strength: dict[str, list[float]] = key(
        {}, "muscle group or all: [lowest, highest] factor of a world's maximal force"
    )
    activation_time: dict[str, list[float]] = key({}, "the same for the activation time constant")
    deactivation_time: dict[str, list[float]] = key({}, "the same for the deactivation time constant")


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    hidden: list[int] = key([256, 256], "widths of the actor's hidden layers")
    critic_hidden: list[int] = key([], "widths of the critic's hidden layers; empty: as the actor's")
    activation: str = key("silu", "silu, relu, elu or tanh")
    initial_std: float = key(0.3, "initial standard deviation of the action", "action units")
    final_std: float = key(0.0, "it falls to this by the end, geometrically; 0: it is learned", "action units")
    min_std: float = key(0.01, "standard deviation is clamped from below", "action units")
    max_std: float = key(5.0, "and from above", "action units")
    learn_std: bool = key(True, "whether the standard deviation is learned (final_std=0)")
    residual: str = key("gated", "gated residual only: gated (learned gate) or fixed (factor 0.1)")
    layernorm_epsilon: float = key(1e-5, "added to the variance in every LayerNorm; 0: no LayerNorm")
    normalizer_epsilon: float = key(1e-4, "added to the variance when observations are normalised (published: 1e-8)")
    normalizer_clip: float = key(10.0, "normalised observations are clipped to this; 0: never (published)")
    mixture: MixtureConfig = key(MixtureConfig(), "policy=moe only: mixture of experts")


@dataclasses.dataclass(frozen=True)
class PPOConfig:
    num_steps: int = key(32, "rollout length", "control steps a world")
    epochs: int = key(1, "passes over each rollout")
    minibatches: int = key(4, "minibatches a pass")
    gamma: float = key(0.99, "discount")
    gae_lambda: float = key(0.95, "trace decay of the generalized advantage estimate")
    clip: float = key(0.2, "clip range of the probability ratio")
    value_clip: float = key(0.0, "clip range of the value (published: 0.2); 0: not clipped")
    value_coef: float = key(1.0, "weight of the value loss, half the mean squared error")
    entropy_coef: float = key(0.0, "weight of the entropy bonus")
    max_grad_norm: float = key(1.0, "gradient norm is clipped to this")
    normalize_reward: bool = key(True, "divide rewards by the running standard deviation of the return")
    critic_warmup: int = key(0, "first updates that move only the critic", "updates")
    target_kl: float = key(0.0, "after a pass with a larger KL divergence only the critic goes on; 0: never")


@dataclasses.dataclass(frozen=True)
class CEMConfig:
    rounds: int = key(16, "rounds of the cross-entropy method (stage cem); not counted in total_steps")
    candidates: int = key(64, "parameter sets tried a round, at most one an environment")
    trials: int = key(3, "trials of each in a round, from different starts")
    steps: int = key(400, "longest trial, that of the last round", "control steps")


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    name: str = key("adamw", "adamw, or muon (2-D weights by Muon, the rest by Adam with Nesterov momentum)")
    learning_rate: float = key(1e-3, "learning rate")
    schedule: str = key("linear", "linear, cosine (with warm-up), constant or adaptive (by KL)")
    min_ratio: float = key(0.0, "the schedule ends at this fraction of learning_rate")
    warmup: float = key(0.1, "cosine: fraction of the updates spent warming up")
    desired_kl: float = key(0.01, "adaptive: KL divergence an update aims at")
    weight_decay: float = key(0.0, "decoupled weight decay of the 2-D weights")
    momentum: float = key(0.95, "muon: momentum")
    epsilon: float = key(1e-5, "Adam's epsilon (published: 1e-5, with muon 1e-8)")


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything a training run is made of."""

    task: str = key("bimanual", "cfg/task/<task>.yaml")
    preset: str = key("", "cfg/preset/<preset>.yaml on top of the task, e.g. paper")
    embodiment: str = key("bimanual", "the body (muscle_torch/embodiments)")
    fingers: bool = key(False, "with movable fingers")
    motion: Any = key("", "generated motion name, file, folder, glob, or a list of these")
    motion_interpolation: str = key(
        "derivative", "resampled velocities: derivative (of the positions) or reference (the published system's)"
    )
    num_envs: Any = key(256, "worlds stepped together, or max: as many as fit (docs/scale.md)")
    check_memory: bool = key(True, "refuse to begin what seems not to fit into the memory")
    seed: int = key(0, "seed of everything random")
    device: str = key("auto", "auto, cpu, cuda or cuda:N")
    backend: str = key("auto", "physics: auto (warp on CUDA, mujoco on a CPU), warp or mujoco")
    threads: int = key(0, "physics threads on a CPU; 0: all cores")
    total_steps: int = key(1_000_000, "budget, all worlds together", "control steps")
    max_iterations: int = key(0, "the same budget in updates; 0: total_steps decides", "updates")
    stages: list[str] = key(
        ["ppo"], "algorithms, one after the other: ppo (trains), cem (finds initial parameters; skipped by checkpoint=)"
    )
    stage_steps: list[int] = key(
        [], "budget of each stage that trains; empty: total_steps in equal parts", "control steps"
    )
    experiment: str = key("", "name of the run folder; empty: <task>_<date>_<time>")
    runs_dir: str = key("runs", "where run folders go")
    checkpoint: str = key("", "start from these weights (fine-tuning); a checkpoint file or a run folder")
    reset_std: float = key(0.0, "with checkpoint=: its noise begins anew at this; 0: where it stopped", "action units")
    schedule_start: float = key(
        0.0, "share of the schedules (learning rate, noise) that is behind; -1: as much as the checkpoint had"
    )
    resume: str = key(
        "",
        "continue this run exactly: a run folder, or auto: that of experiment=, else the task's newest, else a new one",
    )
    headless: bool = key(True, "accepted for habit: training never opens a window")
    capture_video: bool = key(False, "render videos/final.mp4 when the run ends, and one at each validation")
    log_interval: int = key(1, "log every so many updates", "updates")
    save_interval: int = key(10, "save checkpoints/last.pt every so many updates", "updates")
    keep_checkpoints: int = key(0, "also keep the newest N step_<N>.pt files")
    keep_videos: int = key(20, "validation videos kept, the newest; 0: all")
    validation_interval: int = key(0, "follow some clips from start to end every so many updates; 0: never", "updates")
    validation_clips: int = key(16, "so many, spread over all; 0: all")
    validation_motion: Any = key("", "the motions they are taken from; empty: those trained on")
    evaluate: bool = key(True, "evaluate untrained, zero-excitation and final policy when the run ends")
    policy: str = key(
        "gated_residual", "gated_residual, mlp, moe, reflex, or your own: package.module:Class, file.py:Class"
    )
    precision: str = key("float32", "of the networks: float32, tf32 (CUDA), or bf16 (their matrix products)")
    compile: bool = key(False, "compile the networks with torch.compile; plain ones where that fails")
    env: EnvConfig = key(EnvConfig(), "episode")
    observation: ObservationConfig = key(ObservationConfig(), "observation")
    reward: RewardConfig = key(RewardConfig(), "reward")
    termination: dict[str, float] = key({}, "termination terms and thresholds while training (envs/terminations.py)")
    evaluation_termination: dict[str, float] = key({}, "the same for evaluation")
    curriculum: CurriculumConfig = key(CurriculumConfig(), "what changes as learning succeeds")
    sampling: SamplingConfig = key(SamplingConfig(), "which clips are drawn")
    randomization: RandomizationConfig = key(RandomizationConfig(), "muscles that differ from world to world")
    excluded_sites: list[str] = key([], "tracked sites that termination does not look at")
    network: NetworkConfig = key(NetworkConfig(), "policy network")
    ppo: PPOConfig = key(PPOConfig(), "learning")
    cem: CEMConfig = key(CEMConfig(), "stage cem")
    optimizer: OptimizerConfig = key(OptimizerConfig(), "optimiser")

    def __post_init__(self) -> None:
        worlds = self.num_envs
        if isinstance(worlds, bool) or not (isinstance(worlds, int) or worlds == "max"):
            raise InputError(f"bad value for 'num_envs': {worlds!r} is neither a whole number nor max")
