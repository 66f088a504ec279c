"""Among which labels a classification domain's answers lie, told from the training answers alone.

The evaluation answers have no say: neither prompts nor figures may depend on them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

MAX_LABELS = 100
"""A longer list is not shown: it would push the question out of a small model's context."""


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels of a corpus.

    Attributes:
        among: By domain, the labels that an answer may be, in order; none for a domain of more
            than MAX_LABELS, or of another task.
        own: By domain that is itself a label (R52, Reuters), that label.
    """

    among: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    own: Mapping[str, str] = field(default_factory=dict)


def labels_from_answers(answers: Mapping[str, Mapping[str, str]]) -> Labels:
    """Return what the answers of the classification domains say about their labels.

    Domains with several answers (yes and no) that share one of them have the same labels: all
    that occur in any of them, since a small domain may show but a few. A domain whose one answer
    is such a label belongs to them too. Where the one answer occurs in no other domain, the domain
    is that label, and its answers lie among those of all such domains; it takes two of them.

    Args:
        answers: By domain, its different answers: as they are compared (folded), and as written.
    """
    few = {domain: found for domain, found in answers.items() if 0 < len(found) <= MAX_LABELS}
    spelled: dict[str, str] = {}
    for found in few.values():
        for key, label in found.items():
            spelled[key] = min(label, spelled.get(key, label))
    groups = _joined([set(found) for found in few.values() if len(found) > 1])
    group_of = {key: group for group in groups for key in group}
    alone = {domain: key for domain, (key, *more) in few.items() if not more}
    times = Counter(alone.values())
    own = {d: key for d, key in sorted(alone.items()) if times[key] == 1 and key not in group_of}
    own = own if len(own) > 1 else {}
    shared = set(own.values())
    sets = {
        domain: shared if domain in own else group_of.get(next(iter(found)), set())
        for domain, found in sorted(few.items())
    }
    among = {
        domain: tuple(sorted(spelled[key] for key in keys))
        for domain, keys in sets.items()
        if 1 < len(keys) <= MAX_LABELS
    }
    return Labels(among, {domain: spelled[key] for domain, key in own.items()})


def _joined(sets: Collection[set[str]]) -> list[set[str]]:
    """Unions of the sets that have members in common."""
    groups: list[set[str]] = []
    for members in sets:
        touched = [group for group in groups if group & members]
        groups = [group for group in groups if not group & members]
        groups.append(members.union(*touched))
    return groups
