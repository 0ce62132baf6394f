"""Registry of the algorithms that `stages` may list."""

from .algorithm import Algorithm
from .cem import CEM
from .dagger import Dagger
from .ppo import PPO

ALGORITHMS: dict[str, type[Algorithm]] = {
    "cem": CEM,
    "dagger": Dagger,
    "ppo": PPO,
}
