"""What a head may be, by what was measured of it: suggestions with their evidence.

Each class of the literature is a rule on measured facts with stated thresholds. A head that meets
it need not do what the class is named for; the evidence is told with every suggestion.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from acdc_explorer.heads.facts import HeadFacts
from acdc_explorer.measures.observations import LEAST_SHARE
from acdc_explorer.tasks.task import Task

# Mean attention, between labels of the task and on random tokens, from which on it counts.
LEAST_ATTENTION, LEAST_SCORE = 0.25, 0.4

# What a head must do; what of it was measured, in words; None if it does not.
Rule = Callable[[HeadFacts, frozenset[str]], "list[str] | None"]


@dataclass(frozen=True)
class HeadClass:
    """A class of heads.

    Attributes:
        name: in the literature.
        rule: who belongs to it.
    """

    name: str
    rule: Rule


@dataclass(frozen=True)
class KnownClasses:
    """The classes that the literature knows on a task.

    Attributes:
        labels: a task with these position labels is such a task.
        source: where they are described.
        classes: the first whose rule a head meets is suggested.
        look_for_backups: whether one of them is for heads that step in for others.
    """

    labels: frozenset[str]
    source: str
    classes: tuple[HeadClass, ...]
    look_for_backups: bool = False


def _attending(query: str, key: str, score: str | None = None) -> Rule:
    """Attends from one label to another; what it scores on random tokens is told besides."""

    def rule(facts: HeadFacts, leads_to: frozenset[str]) -> list[str] | None:
        if facts.attends(query, key) < LEAST_ATTENTION:
            return None
        told = [_told_attention(facts, query, key)]
        return told if score is None else [*told, _told_score(facts, score)]

    return rule


def _mover(sign: int) -> Rule:
    """Attends from END to IO, more than to S1 and S2, and writes for or against the answer."""

    def rule(facts: HeadFacts, leads_to: frozenset[str]) -> list[str] | None:
        to_io = facts.attends("END", "IO")
        to_subject = max(facts.attends("END", label) for label in ("S1", "S2"))
        writes = sign * facts.writes >= LEAST_SHARE * abs(facts.full) > 0
        if not (writes and to_io >= LEAST_ATTENTION and to_io > to_subject):
            return None
        return [_told_attention(facts, "END", "IO"), told_writes(facts.writes)]

    return rule


def _backup(facts: HeadFacts, leads_to: frozenset[str]) -> list[str] | None:
    if facts.backup is None:
        return None
    return [
        f"direct effect {facts.backup.in_full:+.2f}, and {facts.backup.without_writers:+.2f} once "
        "the heads that write the answer are knocked out"
    ]


def _s_inhibition(facts: HeadFacts, leads_to: frozenset[str]) -> list[str] | None:
    to_subject = facts.attends("END", "S2")
    inhibits = to_subject >= LEAST_ATTENTION and to_subject > facts.attends("END", "IO")
    # Where a head has one input, queries are part of it.
    inputs = {"q": "queries of later heads", "heads": "later heads"}
    further = [told for kind, told in inputs.items() if kind in leads_to]
    if not (inhibits and further):
        return None
    return [_told_attention(facts, "END", "S2"), f"kept edges lead into {further[0]}"]


def _start_year(label: str) -> Rule:
    def rule(facts: HeadFacts, leads_to: frozenset[str]) -> list[str] | None:
        further = leads_to & {"MLPs", "logits"}
        if facts.attends("END", label) < LEAST_ATTENTION or not further:
            return None
        where = " and ".join(sorted(further, reverse=True))
        return [_told_attention(facts, "END", label), f"kept edges lead into {where}"]

    return rule


def _scoring(score: str) -> Rule:
    def rule(facts: HeadFacts, leads_to: frozenset[str]) -> list[str] | None:
        # NaN is no such head.
        return [_told_score(facts, score)] if facts.scores[score] >= LEAST_SCORE else None

    return rule


KNOWN = (
    KnownClasses(
        frozenset({"IO", "S1", "S2"}),
        "Wang et al. 2022, section 3",
        (
            HeadClass("name mover", _mover(1)),
            HeadClass("negative name mover", _mover(-1)),
            HeadClass("backup name mover", _backup),
            HeadClass("S-inhibition head", _s_inhibition),
            HeadClass("duplicate-token head", _attending("S2", "S1", "duplicate_token")),
            HeadClass("induction head", _attending("S2", "S1+1", "induction")),
            HeadClass("previous-token head", _attending("S1+1", "S1", "previous_token")),
        ),
        look_for_backups=True,
    ),
    KnownClasses(
        frozenset({"A1", "B1"}),
        "Olsson et al. 2022",
        (
            HeadClass("induction head", _attending("END", "B1", "induction")),
            HeadClass("previous-token head", _attending("B1", "A1", "previous_token")),
            HeadClass("duplicate-token head", _attending("END", "A1", "duplicate_token")),
        ),
    ),
    *(
        KnownClasses(
            frozenset(labels),
            "Hanna et al. 2023",
            (HeadClass("start-year head", _start_year(labels[-1])),),
        )
        for labels in (("XX", "YY"), ("XXY", "Y"))
    ),
)
# On any task, after its own.
GENERAL = (
    HeadClass("previous-token head", _scoring("previous_token")),
    HeadClass("induction head", _scoring("induction")),
    HeadClass("duplicate-token head", _scoring("duplicate_token")),
)


def known_classes(task: Task) -> KnownClasses | None:
    """The classes that the literature knows on a task, told by its labels; or None."""
    return next((each for each in KNOWN if each.labels <= {*task.positions}), None)


def suggested(
    facts: HeadFacts, leads_to: frozenset[str], known: KnownClasses | None
) -> tuple[str, list[str]] | None:
    """The first class whose rule a head meets, and the evidence; or None.

    Args:
        facts: of the head.
        leads_to: where its kept edges lead: "q", "k" and "v" of heads, "MLPs", "logits".
        known: the task's classes.
    """
    for each in (*(known.classes if known else ()), *GENERAL):
        evidence = each.rule(facts, leads_to)
        if evidence is not None:
            return each.name, evidence
    return None


def told_writes(writes: float) -> str:
    """What a head writes, in words."""
    return f"writes {writes:+.2f} logits {'towards' if writes >= 0 else 'against'} the answer"


def _told_attention(facts: HeadFacts, query: str, key: str) -> str:
    return f"at {query} attends to {key} {facts.attends(query, key):.2f}"


def _told_score(facts: HeadFacts, score: str) -> str:
    return f"on random tokens {score.replace('_', '-')} {facts.scores[score]:.2f}"
