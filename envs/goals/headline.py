"""The one number that says how well a goal is met."""

from typing import NamedTuple


class Headline(NamedTuple):
    """The metric that the progress line shows and that `best.pt` follows."""

    name: str  # key of the training metrics, "err/<name>"
    label: str  # what the progress line calls it
    unit: str  # unit that is displayed
    factor: float  # from the metric's SI unit to the displayed one
    lower_is_better: bool = True
