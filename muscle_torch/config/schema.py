"""Every key of a training run: frozen dataclasses with a default, a help text and a unit."""

import dataclasses
from enum import StrEnum, auto
from typing import Any

from muscle_torch.errors import InputError

from .kinds import Choice


def key(default: Any, text: str, unit: str = "") -> Any:
    """A documented dataclass field; mutable defaults are copied."""
    metadata = {"help": text, "unit": unit}
    if isinstance(default, dict | list) or dataclasses.is_dataclass(default):
        make = type(default) if dataclasses.is_dataclass(default) else (lambda: type(default)(default))
        return dataclasses.field(default_factory=make, metadata=metadata)  # type: ignore[arg-type]
    return dataclasses.field(default=default, metadata=metadata)


def kind(default: str | list[str], text: str) -> Any:
    """A documented field that chooses a row, or several, of the table of the same name in `kinds.KINDS`."""
    return dataclasses.field(metadata={"help": text, "unit": "", "kind": default})


class Backend(StrEnum):
    auto = "auto"  # warp on CUDA, mujoco on a CPU
    warp = "warp"
    mujoco = "mujoco"


class Precision(StrEnum):
    float32 = auto()
    tf32 = auto()
    bf16 = auto()


class Solver(StrEnum):
    """Solver of the constraints: contacts, joint limits, equalities."""

    newton = auto()
    cg = auto()
    pgs = auto()


class Integrator(StrEnum):
    """Numerical integrator of a physics step."""

    euler = auto()
    rk4 = auto()
    implicit = auto()
    implicitfast = auto()


@dataclasses.dataclass(frozen=True)
class ObservationConfig:
    terms: list[str] = key([], "observation terms of body and goal, in the order of the vector")
    muscle: list[str] = key(
        ["force", "activation"], "muscle quantities: length, velocity, force, excitation, activation"
    )
    history: int = key(1, "number of control steps shown, the newest last", "control steps")
    goal_history: bool = key(True, "with history: repeat the goal's terms too; false: only their newest, at the end")
    profile: str = key("", "named choice of observation and goal options: cfg/profile/<profile>.yaml, e.g. musclemimic")


@dataclasses.dataclass(frozen=True)
class EnvConfig:
    horizon: int = key(1000, "longest episode", "control steps")


@dataclasses.dataclass(frozen=True)
class PhysicsConfig:
    """Replaces a body's settings; the defaults leave them as they are."""

    timestep: float = key(0.0, "length of a substep; 0: the body's; alone, it keeps the control frequency", "s")
    substeps: int = key(0, "substeps of a control step; 0: the body's; alone, it changes the control frequency")
    solver: Solver | None = key(None, "constraint solver: newton, cg or pgs; absent: the body's")
    integrator: Integrator | None = key(None, "euler, rk4, implicit or implicitfast; absent: the body's")


@dataclasses.dataclass(frozen=True)
class RewardConfig:
    weights: dict[str, float] = key({}, "weight of each reward term of the goal")
    sharpness: dict[str, float] = key({}, "sharpness of each tracking term; absent: the term's own default")
    elementwise: bool = key(False, "each tracking term the mean of the exponentials, not the exponential of the mean")
    penalties: dict[str, float] = key({"action_out_of_bounds": 0.01}, "coefficient of each penalty term")
    signed: bool = key(False, "allow rewards below 0 and penalties beyond 1 (published: neither)")


@dataclasses.dataclass(frozen=True)
class TerminationCurriculumConfig:
    enabled: bool = key(False, "tighten the termination thresholds while few episodes fail")
    terms: list[str] = key([], "which of `termination`; empty: all")
    min_ratio: float = key(0.2, "tightest threshold, as a fraction of the configured one")
    factor: float = key(0.95, "one step of tightening; loosening divides by it, up to the configured threshold")
    low: float = key(0.1, "tighten while the failure rate is below this")
    high: float = key(0.2, "loosen while it is above this")
    patience: int = key(5, "consecutive updates required", "updates")
    smoothing: float = key(0.1, "weight of the newest rollout in the running failure rate")


@dataclasses.dataclass(frozen=True)
class RewardCurriculumConfig:
    highest: dict[str, float] = key({}, "reward terms whose weights grow, and how far; empty: none")
    growth: float = key(0.02, "one step, as a fraction of the weight")
    below: float = key(0.08, "grow while the failure rate is below this")
    patience: int = key(5, "consecutive updates required", "updates")
    smoothing: float = key(0.2, "weight of the newest rollout in the running failure rate")


@dataclasses.dataclass(frozen=True)
class CurriculumConfig:
    termination: TerminationCurriculumConfig = key(TerminationCurriculumConfig(), "thresholds that tighten")
    reward: RewardCurriculumConfig = key(RewardCurriculumConfig(), "weights that grow")


@dataclasses.dataclass(frozen=True)
class SamplingConfig:
    adaptive: bool = key(False, "draw the goal's groups (motions: clips) that fail often more often")
    sharpness: float = key(1.0, "power of the failure rate in a group's weight")
    uniform_share: float = key(0.1, "fraction of the draws that stays uniform")
    smoothing: float = key(0.2, "weight of the newest rollout in the running counts")
    prior_episodes: float = key(10.0, "episodes counted for each group before the first")
    prior_failures: float = key(5.0, "failures among them")


@dataclasses.dataclass(frozen=True)
class RandomizationConfig:
    strength: dict[str, list[float]] = key(
        {}, "muscle, muscle group or all: [lowest, highest] factor of an environment's maximal force"
    )
    activation_time: dict[str, list[float]] = key({}, "the same for the activation time constant")
    deactivation_time: dict[str, list[float]] = key({}, "the same for the deactivation time constant")


@dataclasses.dataclass(frozen=True)
class PPOConfig:
    num_steps: int = key(32, "rollout length", "control steps an environment")
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
    critic_warmup: int = key(0, "first updates that train only the critic", "updates")
    target_kl: float = key(0.0, "after a pass with a larger KL divergence only the critic is trained; 0: never")


@dataclasses.dataclass(frozen=True)
class CEMConfig:
    rounds: int = key(16, "rounds of the cross-entropy method (stage cem); not counted in total_steps")
    candidates: int = key(64, "parameter sets tried a round, at most one an environment")
    trials: int = key(3, "trials of each in a round, from different starts")
    steps: int = key(400, "longest trial, that of the last round", "control steps")


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything a training run is made of."""

    embodiment: Choice = kind("bimanual", "the body (muscle_torch/embodiments)")
    goal: Choice = kind("motion", "what the body is to do (envs/goals)")
    actions: tuple[Choice, ...] = kind(["muscles"], "action spaces, joined in this order (envs/actions)")
    policy: Choice = kind("gated_residual", "the network (models); your own: package.module:Class or file.py:Class")
    exploration: Choice = kind("normal", "distribution of the actions while training (models/distributions.py)")
    optimizer: Choice = kind("adamw", "optimizer and learning-rate schedule (muscle_torch/rl)")
    task: str = key("bimanual", "cfg/task/<task>.yaml")
    preset: str = key("", "cfg/preset/<preset>.yaml on top of the task, e.g. paper")
    motion: list[str] = key([], "generated motion names, files, folders, globs; one word stands for a list of one")
    num_envs: int | str = key(256, "environments stepped together, or max: as many as fit (docs/scale.md)")
    check_memory: bool = key(True, "refuse to begin a run that seems not to fit into memory")
    seed: int = key(0, "seed of everything random")
    device: str = key("auto", "auto, cpu, cuda or cuda:N")
    backend: Backend = key(Backend.auto, "physics: auto (warp on CUDA, mujoco on a CPU), warp or mujoco")
    threads: int = key(0, "physics threads on a CPU; 0: all cores")
    total_steps: int = key(1_000_000, "budget, all environments together", "control steps")
    max_iterations: int = key(0, "the same budget in updates; 0: total_steps decides", "updates")
    stages: list[str] = key(["ppo"], "algorithms, one after the other (muscle_torch/rl)")
    stage_steps: list[int] = key([], "budget of each stage; empty: total_steps in equal parts", "control steps")
    experiment: str = key("", "name of the run folder; empty: <task>_<date>_<time>")
    runs_dir: str = key("runs", "folder of the run folders")
    checkpoint: str = key("", "start from these weights (fine-tuning); a checkpoint file or a run folder")
    reset_std: float = key(0.0, "with checkpoint=: restart its noise at this; 0: keep it", "action units")
    schedule_start: float = key(
        0.0, "fraction of the schedules (learning rate, noise) already completed; -1: as far as the checkpoint was"
    )
    resume: str = key(
        "",
        "continue this run exactly: a run folder, or auto: that of experiment=, else the task's newest, else a new one",
    )
    partner: str = key("", "checkpoint of a frozen policy that acts too, with the actions it was trained with")
    headless: bool = key(True, "ignored (Isaac compatibility): training never opens a window")
    capture_video: bool = key(False, "render videos/final.mp4 when the run ends, and one at each validation")
    log_interval: int = key(1, "updates between two lines of the log", "updates")
    save_interval: int = key(10, "updates between two saves of checkpoints/last.pt", "updates")
    keep_checkpoints: int = key(0, "also keep the newest N step_<N>.pt files")
    keep_videos: int = key(20, "number of validation videos kept, the newest; 0: all")
    validation_interval: int = key(0, "updates between two validations; 0: never", "updates")
    validation_clips: int = key(16, "number of trials (motions: clips) validated, evenly spaced; 0: all")
    validation_motion: list[str] = key([], "motions to validate on; empty: those trained on")
    evaluate: bool = key(
        True, "evaluate untrained policy, the controllers below and the final policy when the run ends"
    )
    evaluation_controllers: list[str] = key(
        ["zero"], "controllers to compare with: zero (no excitation), muscle_control"
    )
    evaluation_robustness: bool = key(
        False, "evaluate the final policy under noise, pushes, other starts, weak and strong muscles too"
    )
    precision: Precision = key(Precision.float32, "of the networks: float32, tf32 (CUDA), or bf16 (matrix products)")
    compile: bool = key(False, "compile the networks with torch.compile; uncompiled if that fails")
    env: EnvConfig = key(EnvConfig(), "episode")
    physics: PhysicsConfig = key(PhysicsConfig(), "simulation")
    observation: ObservationConfig = key(ObservationConfig(), "observation")
    reward: RewardConfig = key(RewardConfig(), "reward")
    termination: dict[str, float] = key({}, "termination terms and thresholds while training (envs/terminations.py)")
    evaluation_termination: dict[str, float] = key({}, "the same for evaluation")
    curriculum: CurriculumConfig = key(CurriculumConfig(), "what changes as learning succeeds")
    sampling: SamplingConfig = key(SamplingConfig(), "how often each of the goal's groups is drawn")
    randomization: RandomizationConfig = key(RandomizationConfig(), "muscles that differ between environments")
    ppo: PPOConfig = key(PPOConfig(), "stage ppo")
    cem: CEMConfig = key(CEMConfig(), "stage cem")

    def __post_init__(self) -> None:
        if isinstance(self.num_envs, str) and self.num_envs != "max":
            raise InputError(f"bad value for 'num_envs': {self.num_envs!r} is neither a whole number nor max")
