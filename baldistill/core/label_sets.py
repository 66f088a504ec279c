"""Find the labels of each classification domain, from the training answers alone.

Neither prompts nor figures may depend on the evaluation answers.
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
        among: By domain, the labels that an answer may be, in order. A domain with more than
            MAX_LABELS, or of another task, has no entry.
        own: The label of each domain that is itself a label (R52, Reuters), by domain.
    """

    among: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    own: Mapping[str, str] = field(default_factory=dict)


def labels_from_answers(answers: Mapping[str, Mapping[str, str]]) -> Labels:
    """Return the labels that the answers of the classification domains show.

    Domains with several answers (yes and no) that share an answer have the same labels: all answers
    of these domains, since a small domain may show only a few. A domain whose one answer is
    among these labels has the same labels. If no other domain has the one answer, this answer is
    the domain's own label. All such own labels, at least two, are the labels of their domains.

    Args:
        answers: The different answers of each domain: from the folded text to the text as written.
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
    """Return the unions of the sets that have members in common."""
    groups: list[set[str]] = []
    for members in sets:
        touched = [group for group in groups if group & members]
        groups = [group for group in groups if not group & members]
        groups.append(members.union(*touched))
    return groups
