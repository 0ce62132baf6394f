"""Stages of a run: algorithms that run one after the other, each with its budget."""

import dataclasses

from muscle_torch.config import Config
from muscle_torch.errors import InputError, nearest

from .algorithm import Algorithm
from .algorithms import ALGORITHMS
from .contracts import ActorCritic, TrainingEnv


@dataclasses.dataclass(frozen=True)
class Stage:
    """An algorithm and its budget.

    Attributes:
        name: Key in ALGORITHMS.
        algorithm: Class of the algorithm.
        updates: Number of updates.
        steps_per_update: Control steps per update that count in the run's budget, of all processes.
    """

    name: str
    algorithm: type[Algorithm]
    updates: int
    steps_per_update: int

    @property
    def counted(self) -> bool:
        """Whether its control steps count in the run's budget."""
        return self.algorithm.counted


def plan_stages(env: TrainingEnv, policy: ActorCritic, cfg: Config, num_envs: int) -> list[Stage]:
    """Return the stages of a run.

    Args:
        env: Environments of this process.
        policy: Policy to train.
        cfg: Configuration of the whole run.
        num_envs: Number of environments of all processes.

    Raises:
        InputError: A stage is unknown or cannot run, or the budgets do not match the stages.
    """
    for name in cfg.stages:
        if name not in ALGORITHMS:
            raise InputError(f"stages: unknown algorithm {name!r}{nearest(name, list(ALGORITHMS))}")
    chosen = [(name, ALGORITHMS[name]) for name in cfg.stages]
    if cfg.checkpoint:
        chosen = [(name, algorithm) for name, algorithm in chosen if algorithm.counted]
    if not chosen:
        raise InputError(f"stages={cfg.stages}: list at least one algorithm that trains, such as stages=[ppo]")
    for _, algorithm in chosen:
        algorithm.check(env, policy, cfg)
    parts = iter(_updates(cfg, [algorithm for _, algorithm in chosen if algorithm.counted], num_envs))
    stages = []
    for name, algorithm in chosen:
        if algorithm.counted:
            stages.append(Stage(name, algorithm, next(parts), algorithm.num_steps(cfg) * num_envs))
        else:
            stages.append(Stage(name, algorithm, algorithm.num_updates(cfg, 0, num_envs), 0))
    return stages


def _updates(cfg: Config, algorithms: list[type[Algorithm]], num_envs: int) -> list[int]:
    """Return the number of updates of each counted algorithm: from stage_steps, or equal parts of the run's budget."""
    count = len(algorithms)
    if cfg.stage_steps:
        names = [name for name in cfg.stages if ALGORITHMS[name].counted]
        if len(cfg.stage_steps) != count or min(cfg.stage_steps) < 1:
            raise InputError(f"stage_steps={cfg.stage_steps}: list one budget of at least 1 for each of {names}")
        budgets = zip(algorithms, cfg.stage_steps, strict=True)
        return [algorithm.num_updates(cfg, budget, num_envs) for algorithm, budget in budgets]
    if cfg.max_iterations:
        if cfg.max_iterations < count:
            raise InputError(
                f"max_iterations={cfg.max_iterations} for {count} stages: set at least one update for each"
            )
        return [(cfg.max_iterations + count - 1 - index) // count for index in range(count)]
    return [algorithm.num_updates(cfg, cfg.total_steps / count, num_envs) for algorithm in algorithms]
