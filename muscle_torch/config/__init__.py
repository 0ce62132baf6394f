"""Configuration: a documented, strict schema; YAML and `key=value` words on top."""

from .command import help_text, run_command
from .loading import config_from_dict, config_to_dict, load_config, parse_words, tasks
from .schema import (
    CEMConfig,
    Config,
    CurriculumConfig,
    EnvConfig,
    MixtureConfig,
    NetworkConfig,
    ObservationConfig,
    OptimizerConfig,
    PPOConfig,
    RandomizationConfig,
    RewardConfig,
    RewardCurriculumConfig,
    SamplingConfig,
    TerminationCurriculumConfig,
    key,
)

__all__ = [
    "CEMConfig",
    "Config",
    "CurriculumConfig",
    "EnvConfig",
    "MixtureConfig",
    "NetworkConfig",
    "ObservationConfig",
    "OptimizerConfig",
    "PPOConfig",
    "RandomizationConfig",
    "RewardConfig",
    "RewardCurriculumConfig",
    "SamplingConfig",
    "TerminationCurriculumConfig",
    "config_from_dict",
    "config_to_dict",
    "help_text",
    "key",
    "load_config",
    "parse_words",
    "run_command",
    "tasks",
]
