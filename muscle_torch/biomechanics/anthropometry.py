"""Segment masses of a body compared with anthropometric tables."""

import re
from dataclasses import dataclass

from muscle_torch.embodiments import Embodiment


@dataclass(frozen=True)
class Segment:
    """Pattern of the body names of a segment, and its share of the body mass in three tables."""

    pattern: str
    winter: float  # Winter 2009, table 4.1 (after Dempster)
    de_leva_female: float = float("nan")  # de Leva 1996, table 4 (after Zatsiorsky)
    de_leva_male: float = float("nan")


# Shares of one side.
SEGMENTS = {
    "head and neck": Segment(r"^(neck|head|head_attach)$", 0.081, 0.0668, 0.0694),
    "trunk": Segment(
        r"^(sacrum|pelvis|Abdomen|lumbar\d|torso|thorax|cervical_spine|(clavicle|clavphant|scapula|scapphant)_[rl])$",
        0.497,
        0.4257,
        0.4346,
    ),
    # Parts of the trunk, divided by Winter at C7, T12-L1, L4-L5 and the hip; de Leva divides elsewhere.
    "thorax": Segment(r"^(torso|thorax|cervical_spine|(clavicle|clavphant|scapula|scapphant)_[rl])$", 0.216),
    "abdomen": Segment(r"^(Abdomen|lumbar\d)$", 0.139),
    "pelvis": Segment(r"^(sacrum|pelvis)$", 0.142),
    "upper arm": Segment(r"^(humphant1?|humerus)_{side}$", 0.028, 0.0255, 0.0271),
    "forearm": Segment(r"^(ulna|radius)_{side}$", 0.016, 0.0138, 0.0162),
    "hand": Segment(
        r"^(lunate|scaphoid|pisiform|triquetrum|capitate|trapezium|trapezoid|hamate|(first|second|third|fourth"
        r"|fifth)mc|(proximal|distal)_thumb|\d(prox|mid|dist)ph)_{side}$",
        0.006,
        0.0056,
        0.0061,
    ),
    "thigh": Segment(r"^(femur|patella)_{side}$", 0.100, 0.1478, 0.1416),
    "shank": Segment(r"^tibia_{side}$", 0.0465, 0.0481, 0.0433),
    "foot": Segment(r"^(talus|calcn|toes)_{side}$", 0.0145, 0.0129, 0.0137),
}
SEGMENT_COLUMNS = ("segment", "mass [kg]", "of body [%]", "Winter [%]", "de Leva f [%]", "de Leva m [%]", "verdict")
FULL_BODY = 30.0  # [kg]; lighter models are parts of a body, so shares are undefined


def segment_table(embodiment: Embodiment) -> list[tuple]:
    """Return one row (`SEGMENT_COLUMNS`) per segment and side of a body; empty for bodies without known segments.

    The verdict is `within` if the share lies between the smallest and largest of the tables, widened by a tenth.
    """
    model = embodiment.model
    masses = {model.body(i).name: float(model.body_mass[i]) for i in range(model.nbody)}
    whole = sum(masses.values())
    rows = []
    for name, segment in SEGMENTS.items():
        for side in "rl" if "{side}" in segment.pattern else " ":
            pattern = re.compile(segment.pattern.replace("{side}", side))
            segment_masses = [mass for body, mass in masses.items() if pattern.match(body)]
            if sum(segment_masses) < 0.01:
                continue
            title = f"{name} { {'r': 'right', 'l': 'left'}.get(side, '') }".strip()
            shares = (segment.winter, segment.de_leva_female, segment.de_leva_male)
            share = sum(segment_masses) / whole if whole > FULL_BODY else float("nan")
            rows.append((title, sum(segment_masses), 100 * share, *(100 * s for s in shares), _verdict(share, shares)))
    return rows


def _verdict(share: float, tables: tuple[float, ...]) -> str:
    if share != share:
        return "part of a body: no share"
    shares = [one for one in tables if one == one]
    if share < 0.9 * min(shares):
        return "lighter than all tables"
    return "heavier than all tables" if share > 1.1 * max(shares) else "within"
