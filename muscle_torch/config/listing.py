"""Available choices: `--list` prints every table, `--help` those of the selected task."""

import textwrap
from collections.abc import Iterable

from .kinds import KINDS, import_object, row, table
from .loading import names_in, tasks
from .schema import Config

# Heading -> table whose keys are listed, "package.module:NAME". Imported only when printed.
TABLES = {
    "stages": "muscle_torch.rl.algorithms:ALGORITHMS",
    "controllers (policy= of evaluate, render, play)": "muscle_torch.evaluation.controller:CONTROLLERS",
    "pretrained policies (checkpoint=pretrained:<name>)": "muscle_torch.pretrained:PRETRAINED",
    "deficits (deficit=)": "muscle_torch.embodiments.deficits:PRESETS",
    "muscle groups of deficits, with _r, _l or on both sides": "muscle_torch.embodiments.deficits:GROUPS",
    "muscle quantities (observation.muscle)": "muscle_torch.envs.state:MUSCLE_FIELDS",
    "penalties (reward.penalties)": "muscle_torch.envs.rewards:PENALTIES",
}
BODY_TERMS = {
    "observations": "muscle_torch.envs.observations:OBSERVATIONS",
    "rewards": "muscle_torch.envs.rewards:REWARDS",
    "terminations": "muscle_torch.envs.terminations:TERMINATIONS",
}
TERM_KEYS = {"observations": "observation.terms", "rewards": "reward.weights", "terminations": "termination"}
MOTIONS = "muscle_torch.motion.generated:MOTIONS"
WIDTH = 118


def choices(config: Config | None = None) -> str:
    """Return the available choices as text, one paragraph per table.

    Args:
        config: List only the motions and muscle groups of its body and the terms of its goal; None: list all.
    """
    bodies = [config.embodiment.name] if config else list(table("embodiment"))
    goals = [config.goal.name] if config else list(table("goal"))
    lists: dict[str, Iterable[str]] = {"tasks": tasks(), "presets": names_in("preset"), "profiles": names_in("profile")}
    lists |= {key: table(key) for key in KINDS}
    lists |= {heading: import_object(path) for heading, path in TABLES.items()}
    motions = import_object(MOTIONS)
    lists |= {f"motions of {body}": ("all", *motions[body]) for body in bodies if body in motions}
    for goal in goals:
        kind = row("goal", goal).load()
        for terms, key in TERM_KEYS.items():
            of_body = import_object(BODY_TERMS[terms]) if terms in BODY_TERMS else {}
            lists[f"{terms} of goal {goal} ({key})"] = [*of_body, *getattr(kind, terms)]
    for body in bodies:
        lists[f"muscle groups of {body} (randomization)"] = ["all", *_groups(body, config)]
    return "\n".join(_paragraph(heading, names) for heading, names in lists.items())


def _groups(body: str, config: Config | None) -> Iterable[str]:
    if config is not None:
        return import_object("muscle_torch.embodiments:configured_embodiment")(config).groups
    return import_object("muscle_torch.embodiments:make_embodiment")(body).groups


def _paragraph(heading: str, names: Iterable[str]) -> str:
    text = " ".join(map(str, names)) or "none"
    return textwrap.fill(text, WIDTH, initial_indent=f"  {heading}: ", subsequent_indent="      ")
