"""Names of markers and joints in any spelling, with or without a subject's name."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence, Set
from itertools import takewhile

from muscle_torch.errors import InputError

GAIN = 2  # minimal number of names that become known if the preceding word is a subject's name
HEAD = re.compile(r"([^\s_.\-]+)[\s_.\-]+(\S.*)")


def plain_names(names: Sequence[str], known: Set[str], where: str) -> list[str]:
    """Remove subject, punctuation and case: `Sub01:L.ASIS` and `Sub01_l-asis` become `LASIS`.

    A subject's name is the part before a colon. It is also the part before the first space, `_`, `-` or `.`, or a
    common prefix of all names, if names become one of `known` without it.

    Args:
        names: Names in the file.
        known: Known names without punctuation, in capitals.
        where: The file, for messages.

    Raises:
        InputError: Two subjects have a known name in common.
    """
    if not names:
        return []
    pairs = [_split_colon(name) for name in names]
    rest = [name for _, name in pairs]
    matches = [HEAD.match(name) for name in rest]
    heads = Counter(match[1] for match in matches if match)
    for head in heads:
        members = [(i, match[2]) for i, match in enumerate(matches) if match and match[1] == head]
        if _gain((rest[i] for i, _ in members), (name for _, name in members), known) >= GAIN:
            for i, name in members:
                pairs[i] = (pairs[i][0] or head, name)
    prefix = "".join(a for a, _ in takewhile(lambda pair: pair[0] == pair[1], zip(min(rest), max(rest), strict=False)))
    if prefix and _gain(rest, (name.removeprefix(prefix) for name in rest), known) >= GAIN:
        pairs = [(subject, name.removeprefix(prefix)) for subject, name in pairs]
    _check_one_subject(pairs, known, where)
    return [_plain(name) for _, name in pairs]


def _plain(name: str) -> str:
    return re.sub(r"[^A-Z0-9]", "", name.upper())


def _split_colon(name: str) -> tuple[str, str]:
    subject, _, rest = name.rpartition(":")
    return subject.strip(), rest.strip()


def _gain(before: Iterable[str], after: Iterable[str], known: Set[str]) -> int:
    """Return how many more names are known after than before."""
    return sum(_plain(name) in known for name in after) - sum(_plain(name) in known for name in before)


def _check_one_subject(pairs: Sequence[tuple[str, str]], known: Set[str], where: str) -> None:
    owners: dict[str, set[str]] = {}
    for subject, name in pairs:
        if _plain(name) in known:
            owners.setdefault(_plain(name), set()).add(subject)
    subjects = sorted(max(owners.values(), key=len, default=set()) - {""})
    if len(subjects) > 1:
        raise InputError(f"{where}: contains the subjects {', '.join(subjects)}; export each to a separate file")
