"""Schema of a training run: frozen dataclasses in which every key has a default, a help text and a unit."""

import dataclasses
from enum import StrEnum, auto
from typing import Any

from muscle_torch.errors import InputError

from .kinds import Choice


def key(default: Any, text: str, unit: str = "") -> Any:
    """Return a documented dataclass field.

    Args:
        default: Default value; mutable defaults are copied per instance.
        text: Help text.
        unit: Unit shown by `--help`.
    """
    metadata = {"help": text, "unit": unit}
    if isinstance(default, dict | list) or dataclasses.is_dataclass(default):
        make = type(default) if dataclasses.is_dataclass(default) else (lambda: type(default)(default))
        return dataclasses.field(default_factory=make, metadata=metadata)  # type: ignore[arg-type]
    return dataclasses.field(default=default, metadata=metadata)


def kind(default: str | list[str] | None, text: str) -> Any:
    """Return a documented field that chooses one or several rows of the table of that name in `kinds.KINDS`.

    Args:
        default: Row or rows to use if none is named; None: the field is then None.
        text: Help text.
    """
    metadata = {"help": text, "unit": "", "kind": default}
    return dataclasses.field(metadata=metadata) if default else dataclasses.field(default=None, metadata=metadata)


class Backend(StrEnum):
    """Physics backend."""

    auto = "auto"  # warp on CUDA, mujoco on a CPU
    warp = "warp"
    mujoco = "mujoco"


class Precision(StrEnum):
    """Precision of the networks' matrix products."""

    float32 = auto()
    tf32 = auto()
    bf16 = auto()


class LogService(StrEnum):
    """Where a run's log goes in addition to its own files."""

    tensorboard = auto()
    wandb = auto()


class Solver(StrEnum):
    """Constraint solver (contacts, joint limits, equalities)."""

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
    """Observation: terms, muscle quantities and history."""

    terms: list[str] = key([], "observation terms of body and goal, in the order of the observation vector")
    muscle: list[str] = key(
        ["force", "activation"], "muscle quantities: length, velocity, force, excitation, activation"
    )
    history: int = key(1, "number of stacked control steps, newest last", "control steps")
    goal_history: bool = key(True, "with history: stack the goal's terms too; false: only the newest, at the end")
    profile: str = key("", "named set of observation and goal options: cfg/profile/<profile>.yaml, e.g. musclemimic")


@dataclasses.dataclass(frozen=True)
class EnvConfig:
    """Episode."""

    horizon: int = key(1000, "maximum episode length", "control steps")
    graph: bool = key(False, "observation, reward and termination as one CUDA graph, for few environments; CUDA only")


@dataclasses.dataclass(frozen=True)
class PhysicsConfig:
    """Overrides of the body's simulation settings; the defaults change nothing."""

    timestep: float = key(0.0, "length of a substep; 0: the body's default; keeps the control frequency", "s")
    substeps: int = key(0, "substeps per control step; 0: the body's default; changes the control frequency")
    solver: Solver | None = key(None, "constraint solver: newton, cg or pgs; unset: the body's default")
    integrator: Integrator | None = key(None, "euler, rk4, implicit or implicitfast; unset: the body's default")
    iterations: int | None = key(None, "solver iterations per substep at most; unset: the body's default")
    ls_iterations: int | None = key(None, "iterations per line search at most; unset: the body's default")
    eulerdamp: bool | None = key(None, "implicit joint damping in euler; unset: the body's default")
    contacts: int | None = key(
        None,
        "size of Warp's buffer: mean number of contact candidates per world; unset: calibrated (MuJoCo C: no limit)",
    )
    constraint_rows: int | None = key(None, "size of Warp's buffer: constraint rows per world; unset: calibrated")


@dataclasses.dataclass(frozen=True)
class RewardConfig:
    """Reward terms and penalties."""

    weights: dict[str, float] = key({}, "weight of each reward term of the goal")
    sharpness: dict[str, float] = key({}, "sharpness of each tracking term; unset: the term's default")
    elementwise: bool = key(False, "tracking terms: mean of exponentials instead of exponential of the mean")
    penalties: dict[str, float] = key({"action_out_of_bounds": 0.01}, "coefficient of each penalty term")
    signed: bool = key(False, "allow rewards below 0 and penalties above 1 (published: clipped)")


@dataclasses.dataclass(frozen=True)
class TerminationCurriculumConfig:
    """Termination thresholds that tighten as learning succeeds."""

    enabled: bool = key(False, "tighten the termination thresholds while few episodes fail")
    terms: list[str] = key([], "terms of `termination` to tighten; empty: all")
    min_ratio: float = key(0.2, "tightest threshold, as a fraction of the configured one")
    factor: float = key(0.95, "factor of one tightening step; loosening divides by it, up to the configured threshold")
    low: float = key(0.1, "tighten while the failure rate is below this")
    high: float = key(0.2, "loosen while the failure rate is above this")
    patience: int = key(5, "consecutive updates required", "updates")
    smoothing: float = key(0.1, "weight of the newest rollout in the running failure rate")


@dataclasses.dataclass(frozen=True)
class RewardCurriculumConfig:
    """Reward weights that grow as learning succeeds, or shrink with time."""

    highest: dict[str, float] = key({}, "reward terms whose weights grow, with the maximum weight; empty: none")
    lowest: dict[str, float] = key({}, "reward terms whose weights shrink at every update, with the minimum weight")
    decay: float = key(0.01, "decrease per update, as a fraction of the weight")
    growth: float = key(0.02, "growth per step, as a fraction of the weight")
    below: float = key(0.08, "grow while the failure rate is below this")
    patience: int = key(5, "consecutive updates required", "updates")
    smoothing: float = key(0.2, "weight of the newest rollout in the running failure rate")


@dataclasses.dataclass(frozen=True)
class CurriculumConfig:
    """Curricula."""

    termination: TerminationCurriculumConfig = key(TerminationCurriculumConfig(), "thresholds that tighten")
    reward: RewardCurriculumConfig = key(RewardCurriculumConfig(), "weights that grow")


@dataclasses.dataclass(frozen=True)
class SamplingConfig:
    """How often each of the goal's groups is drawn."""

    adaptive: bool = key(False, "draw groups of the goal (motions: clips) that fail often more frequently")
    sharpness: float = key(1.0, "exponent of the failure rate in a group's weight")
    uniform_share: float = key(0.1, "fraction of draws that stays uniform")
    smoothing: float = key(0.2, "weight of the newest rollout in the running counts")
    prior_episodes: float = key(10.0, "initial episode count of each group")
    prior_failures: float = key(5.0, "initial failure count of each group")


@dataclasses.dataclass(frozen=True)
class RandomizationConfig:
    """Muscle parameters that differ between environments."""

    strength: dict[str, list[float]] = key(
        {}, "muscle, muscle group or all: [lowest, highest] factor of the maximal force"
    )
    activation_time: dict[str, list[float]] = key({}, "the same for the activation time constant")
    deactivation_time: dict[str, list[float]] = key({}, "the same for the deactivation time constant")


@dataclasses.dataclass(frozen=True)
class FatigueConfig:
    """Muscle fatigue, the 3CC-r model; the defaults are those of elbow muscles (docs/experts.md)."""

    enabled: bool = key(False, "limit the excitation of each muscle by its fatigue; observation term: fatigue")
    fatigue_rate: float = key(0.00912, "rate at which active motor units fatigue, F", "1/s")
    recovery_rate: float = key(0.00094, "rate at which fatigued motor units recover, R", "1/s")
    rest_factor: float = key(15.0, "factor of the recovery rate while the muscle is not pulling harder, r")
    tracking_rate: float = key(10.0, "rate at which the active share follows the excitation, L", "1/s")
    initial_share: float = key(0.1, "episodes start with a fatigued share from 0 to this (evaluation: half of it)")


@dataclasses.dataclass(frozen=True)
class PPOConfig:
    """Stage ppo."""

    num_steps: int = key(32, "rollout length", "control steps per environment")
    epochs: int = key(1, "passes over each rollout")
    minibatches: int = key(4, "minibatches per pass")
    smallest_minibatch: int = key(0, "use fewer minibatches if each would be smaller than this; 0: never", "samples")
    gamma: float = key(0.99, "discount factor")
    gae_lambda: float = key(0.95, "trace decay of the generalized advantage estimate")
    clip: float = key(0.2, "clip range of the probability ratio")
    value_clip: float = key(0.0, "clip range of the value (published: 0.2); 0: no clipping")
    value_coef: float = key(1.0, "weight of the value loss (half the mean squared error)")
    entropy_coef: float = key(0.0, "weight of the entropy bonus")
    max_grad_norm: float = key(1.0, "gradients are clipped to this norm")
    clip_critic: bool = key(True, "whether max_grad_norm limits the critic's gradients too (KINESIS: false)")
    normalize_reward: bool = key(True, "divide rewards by the running standard deviation of the return")
    critic_warmup: int = key(0, "initial updates that train only the critic", "updates")
    target_kl: float = key(0.0, "after a pass with a larger KL divergence, train only the critic; 0: never")


@dataclasses.dataclass(frozen=True)
class CEMConfig:
    """Stage cem."""

    rounds: int = key(16, "rounds of the cross-entropy method (stage cem); not counted in total_steps")
    candidates: int = key(64, "parameter sets tried per round, at most one per environment")
    trials: int = key(3, "trials per candidate and round, from different starts")
    steps: int = key(400, "length of a trial in the last round, the longest", "control steps")


@dataclasses.dataclass(frozen=True)
class DaggerConfig:
    """Stage dagger."""

    teacher: str = key("muscle_control", "controller to imitate: a row of CONTROLLERS (muscle_torch/evaluation)")
    num_steps: int = key(64, "control steps per environment in a round; the teacher labels each", "control steps")
    gradient_steps: int = key(100, "gradient steps after each round")
    batch: int = key(256, "samples of a gradient step, from the whole data set", "samples")
    learning_rate: float = key(1e-3, "learning rate at the start; it falls linearly to a tenth")
    teacher_share: float = key(1.0, "fraction of the episodes that the teacher drives at the start")
    fade: float = key(0.3, "fraction of the stage over which this share falls to 0")
    noise: float = key(0.05, "standard deviation of the noise on the actions while collecting", "action units")
    capacity: int = key(40_000, "size of the data set; the newest samples replace the oldest", "samples")
    processes: int = key(1, "processes that compute the teacher's actions; 1: the training process")


@dataclasses.dataclass(frozen=True)
class Config:
    """All keys of a training run."""

    embodiment: Choice = kind("bimanual", "the body (muscle_torch/embodiments)")
    exoskeleton: Choice = kind("none", "joint motors that the body wears (docs/exoskeleton.md)")
    goal: Choice = kind("motion", "the task of the body (envs/goals)")
    actions: tuple[Choice, ...] = kind(["muscles"], "action spaces, concatenated in this order (envs/actions)")
    assistance: Choice = kind(
        "zero", "who drives the exoskeleton if actions= does not: a controller, or the checkpoint of a trained device"
    )
    policy: Choice = kind("gated_residual", "the network (models); your own: package.module:Class or file.py:Class")
    exploration: Choice = kind("normal", "action distribution while training (models/distributions.py)")
    optimizer: Choice = kind("adamw", "optimizer and learning-rate schedule (muscle_torch/rl)")
    task: str = key("bimanual", "cfg/task/<task>.yaml")
    preset: str = key("", "cfg/preset/<preset>.yaml on top of the task, e.g. paper; empty: train.py takes gpu on a GPU")
    motion: list[str] = key([], "generated motion names, files, folders or globs; a single word is a list of one")
    num_envs: int | str = key(256, "environments stepped in parallel, or max: as many as fit (docs/scale.md)")
    check_memory: bool = key(True, "refuse to start a run that is unlikely to fit into memory")
    seed: int = key(0, "seed of all random number generators")
    device: str = key("auto", "auto, cpu, cuda or cuda:N")
    backend: Backend = key(Backend.auto, "physics: auto (warp on CUDA, mujoco on a CPU), warp or mujoco")
    threads: int = key(0, "physics threads on a CPU; 0: all cores")
    total_steps: int = key(1_000_000, "budget, summed over all environments", "control steps")
    max_iterations: int = key(0, "the same budget in updates; 0: use total_steps", "updates")
    stages: list[str] = key(["ppo"], "algorithms, run one after the other (muscle_torch/rl)")
    stage_steps: list[int] = key([], "budget of each stage; empty: equal shares of total_steps", "control steps")
    experiment: str = key("", "name of the run folder; empty: <task>_<date>_<time>")
    runs_dir: str = key("runs", "folder of the run folders")
    checkpoint: str = key(
        "", "start from these weights (fine-tuning): a checkpoint file, a run folder or pretrained:<name>"
    )
    reset_std: float = key(0.0, "with checkpoint=: reset the exploration noise to this; 0: keep it", "action units")
    schedule_start: float = key(
        0.0, "fraction of the schedules (learning rate, noise) already completed; -1: as stored in the checkpoint"
    )
    resume: str = key(
        "",
        "resume this run exactly: a run folder, or auto (that of experiment=, else the task's newest, else a new one)",
    )
    partner: str = key("", "checkpoint of a frozen policy that also acts, with the actions it was trained with")
    headless: bool = key(True, "ignored (Isaac compatibility): training never opens a window")
    capture_video: bool = key(False, "render videos/final.mp4 at the end of the run, and a video at each validation")
    logger: LogService = key(
        LogService.tensorboard, "tensorboard, or wandb: mirrored to Weights & Biases, too (extra wandb; docs/scale.md)"
    )
    log_interval: int = key(1, "updates between log lines", "updates")
    save_interval: int = key(10, "updates between saves of checkpoints/last.pt", "updates")
    keep_checkpoints: int = key(0, "number of step_<N>.pt files to keep as well, the newest")
    keep_videos: int = key(20, "number of validation videos to keep, the newest; 0: all")
    validation_interval: int = key(0, "updates between validations; 0: never", "updates")
    validation_clips: int = key(16, "number of trials (motions: clips) to validate, evenly spaced; 0: all")
    validation_motion: list[str] = key([], "motions to validate on; empty: the training motions")
    evaluate: bool = key(
        True, "at the end of the run, evaluate the untrained policy, the controllers below and the final policy"
    )
    evaluation_controllers: list[str] = key(
        ["zero"], "controllers to compare with: zero (no excitation), muscle_control"
    )
    evaluation_robustness: bool = key(
        False, "also evaluate the final policy under noise, pushes, other starts, weaker and stronger muscles"
    )
    precision: Precision = key(
        Precision.float32, "of the networks: float32, tf32 (CUDA only) or bf16 (matrix products)"
    )
    compile: bool = key(False, "compile the networks with torch.compile; falls back to uncompiled if that fails")
    env: EnvConfig = key(EnvConfig(), "episode")
    physics: PhysicsConfig = key(PhysicsConfig(), "simulation")
    observation: ObservationConfig = key(ObservationConfig(), "observation")
    reward: RewardConfig = key(RewardConfig(), "reward")
    termination: dict[str, float] = key({}, "termination terms and thresholds for training (envs/terminations.py)")
    evaluation_termination: dict[str, float] = key({}, "the same for evaluation")
    curriculum: CurriculumConfig = key(CurriculumConfig(), "curricula")
    sampling: SamplingConfig = key(SamplingConfig(), "sampling of the goal's groups")
    randomization: RandomizationConfig = key(RandomizationConfig(), "muscle randomization")
    fatigue: FatigueConfig = key(FatigueConfig(), "muscle fatigue")
    deficit: Any = key(
        {},
        "muscle weakness: a preset such as hemiparesis_r, or group: fraction of strength that remains, or its range "
        "over the environments: {plantarflexors_r: 0.5, hip_flexors_l: [0.25,1]} (docs/exoskeleton.md)",
    )
    ppo: PPOConfig = key(PPOConfig(), "stage ppo")
    cem: CEMConfig = key(CEMConfig(), "stage cem")
    dagger: DaggerConfig = key(DaggerConfig(), "stage dagger")

    def __post_init__(self) -> None:
        if isinstance(self.num_envs, str) and self.num_envs != "max":
            raise InputError(f"bad value for 'num_envs': {self.num_envs!r} is neither a whole number nor max")
