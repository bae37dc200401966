"""What is measured of every head of a model on a task, whatever the circuit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

import pandas as pd

from acdc_explorer.engine.engine import Engine
from acdc_explorer.engine.label_attention import attention_by_labels
from acdc_explorer.graph import Node
from acdc_explorer.heads.attribution import DirectLogitAttribution, attribution_of
from acdc_explorer.heads.scores import SCORES, head_scores
from acdc_explorer.measures.observations import DirectEffect, head_roles
from acdc_explorer.models.model import Model


@dataclass(frozen=True, eq=False)
class HeadFacts:
    """What is known of one head.

    Attributes:
        head: the head.
        attention: mean attention from each position label to each and "other", on clean prompts.
        scores: of `head_scores`, by name.
        writes: towards the answer directly, in logits, on clean prompts.
        writes_corrupted: on corrupted ones.
        full: the logit difference of clean prompts.
        backup: its direct effects, if it is known to step in once the heads that write the answer
            are knocked out; see `HeadRoles`.
    """

    head: Node
    attention: pd.DataFrame
    scores: Mapping[str, float]
    writes: float
    writes_corrupted: float
    full: float
    backup: DirectEffect | None = None

    def attends(self, query: str, key: str) -> float:
        """Mean attention from one label to another; 0 if the task lacks one of them."""
        table = self.attention
        if not {query, key} <= {*table.index}:
            return 0.0
        return float(table.to_numpy()[table.index.get_loc(query), table.columns.get_loc(key)])

    def most_from(self, query: str) -> tuple[str, float]:
        """The label, other than its own, to which a label attends most, and how much."""
        others = [label for label in self.attention.index if label != query]
        most = max(others, key=lambda label: self.attends(query, label), default="")
        return most, self.attends(query, most)

    def strongest_pair(self) -> tuple[str, str, float]:
        """The two labels between which attention is largest, from and to, and how much."""
        pairs = [(query, *self.most_from(query)) for query in self.attention.index]
        return max(pairs, key=lambda pair: pair[2])


@dataclass(frozen=True, eq=False)
class AllHeadFacts:
    """Of all heads.

    Attributes:
        heads: by node, the earliest first.
        attribution: of all nodes.
    """

    heads: Mapping[Node, HeadFacts]
    attribution: DirectLogitAttribution


# Of an engine, once they are known: circuits found on it share them.
_known: WeakKeyDictionary[Engine, AllHeadFacts] = WeakKeyDictionary()
_known_backups: WeakKeyDictionary[Engine, dict[Node, DirectEffect]] = WeakKeyDictionary()


def facts_of(engine: Engine, model: Model) -> AllHeadFacts:
    """Measures all heads, but for which of them are backup heads.

    Args:
        engine: of the model and the prompts.
        model: the model.
    """
    if engine not in _known:
        _known[engine] = _measured(engine, model)
    return _known[engine]


def with_backups(engine: Engine, facts: AllHeadFacts) -> AllHeadFacts:
    """Looks for heads that step in for others, which takes a run for every few heads.

    Args:
        engine: that the facts were measured on.
        facts: of all heads.
    """
    if engine not in _known_backups:
        _known_backups[engine] = {each.head: each for each in head_roles(engine).backup}
    backups = _known_backups[engine]
    heads = {head: replace(each, backup=backups.get(head)) for head, each in facts.heads.items()}
    return replace(facts, heads=heads)


def _measured(engine: Engine, model: Model) -> AllHeadFacts:
    heads = [node for node in engine.graph.senders if node.kind == "head"]
    attention, attribution = attention_by_labels(engine, heads), attribution_of(engine, model.name)
    scores = head_scores(model).to_dict("index")
    clean, corrupted = (attribution.nodes[run].to_dict() for run in ("clean", "corrupted"))
    facts = {
        head: HeadFacts(
            head=head,
            attention=attention[head],
            scores={name: scores[head.id][name] for name in SCORES},
            writes=clean[head.id],
            writes_corrupted=corrupted[head.id],
            full=attribution.logit_difference,
        )
        for head in heads
    }
    return AllHeadFacts(facts, attribution)
