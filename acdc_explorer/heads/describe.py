"""The heads of a circuit, each by what was measured of it, and what it may be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from acdc_explorer.arguments import check_found_here, engine_of, resolve
from acdc_explorer.arithmetic import plain_arithmetic
from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.engine.engine import Engine
from acdc_explorer.graph import END, Node
from acdc_explorer.heads.classes import known_classes, suggested, told_writes
from acdc_explorer.heads.facts import HeadFacts, facts_of, with_backups
from acdc_explorer.heads.pages import page_of
from acdc_explorer.models.model import Model, ModelLike
from acdc_explorer.tasks.task import Task

# From so much on it is told: attention from END, from END to itself, and from other labels; in
# logits, what a head writes; scores.
_TOLD_ATTENTION, _TOLD_OWN, _TOLD_ELSEWHERE, _TOLD_WRITES, _TOLD_SCORE = 0.1, 0.5, 0.3, 0.05, 0.2
_SINK = "first_token"
# Heads named in `__str__`.
_NAMED = 40


@dataclass(frozen=True, eq=False, repr=False)
class HeadDescriptions:
    """The heads of a circuit.

    Attributes:
        model_name: of the model.
        task_name: of the task.
        source: where the task's classes of heads are described, or None if none are known.
        table: a row for each head with a kept edge (index: its id), the earliest first. Columns:
            facts, what stands out, in words; suggestion, the class that it may be of, or None;
            evidence for that, in words, or None; writes, what it adds to the logit difference
            directly, in logits (see `direct_logit_attribution`), and writes_corrupted, on corrupted
            prompts; attends_from, attends_to and attention, the two position labels between which
            its mean attention is largest (its own left out), and how large; previous_token,
            duplicate_token, induction, first_token (see `head_scores`); n_in, n_out, its kept
            edges; page, the address of a public page about it, or None.
    """

    model_name: str
    task_name: str
    source: str | None
    table: pd.DataFrame

    def row_of(self, head: Node) -> dict[str, Any] | None:
        """What the table holds of a head, by column; None if it has no kept edge.

        Args:
            head: of the model.
        """
        rows: dict[Any, dict[Any, Any]] = self.table.to_dict("index")
        return rows.get(head.id)

    def __str__(self) -> str:
        """A line for each head."""
        n_heads, n_named = len(self.table), int(self.table.suggestion.notna().sum())
        known = f" Classes: {self.source}." if self.source else ""
        lines = [
            f"{self.model_name} · {self.task_name}: {n_heads} head{'s' * (n_heads != 1)} with kept "
            f"edges. What {n_named} of them may be is suggested, from measured facts alone.{known}"
        ]
        for name, row in self.table[:_NAMED].iterrows():
            perhaps = f" [perhaps: {row.suggestion}]" if row.suggestion else ""
            lines.append(f"{name}{perhaps}: {row.facts}")
        if n_heads > _NAMED:
            lines.append(f"and {n_heads - _NAMED} more")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return str(self)


def describe_heads(model: ModelLike, task: Task | str, circuit: Circuit) -> HeadDescriptions:
    """Describes every head of a circuit by measured facts, and suggests what it may be.

    A suggestion is the first of these rules that a head meets; attention is the mean over clean
    prompts between position labels, "writes" the direct logit attribution as a share of the logit
    difference. No rule shows that the head does what the class is named for.

    - With labels IO, S1, S2 (Wang et al. 2022, section 3). Name mover: at END attends to IO, at
      least 0.25 and more than to S1 and S2, and writes at least 3% towards the answer; negative
      name mover: likewise, 3% against it; backup name mover: the direct effect rises by 3% once all
      heads that write the answer are knocked out; S-inhibition head: at END attends to S2, at least
      0.25 and more than to IO, and kept edges lead into queries; duplicate-token head: at S2
      attends to S1, at least 0.25; induction head: at S2 to S1+1; previous-token head: at S1+1 to
      S1.
    - With labels A1, B1 (Olsson et al. 2022). Induction head: at END attends to B1, at least 0.25;
      previous-token head: at B1 to A1; duplicate-token head: at END to A1.
    - With labels XX, YY, or XXY, Y (Hanna et al. 2023). Start-year head: at END attends to YY (Y),
      at least 0.25, and kept edges lead into MLPs or the logits.
    - On any task: previous-token, induction and duplicate-token heads, if the score on random
      tokens (`head_scores`) is at least 0.4.

    Args:
        model: anything that `load_model` takes; the one that the circuit was found in.
        task: the one that the circuit was found for.
        circuit: finished or not.

    Raises:
        ValueError: if the circuit is of another model or of other prompts.
    """
    with plain_arithmetic():
        loaded, task = resolve(model, task)
        return descriptions(engine_of(circuit, loaded, task), loaded, circuit)


def descriptions(
    engine: Engine, model: Model, circuit: Circuit, *, backups: bool = True
) -> HeadDescriptions:
    """`describe_heads` on an engine that is there already.

    Args:
        engine: that the circuit was found on.
        model: its model.
        circuit: finished or not.
        backups: whether to look for backup heads, which takes by far the longest, where they are a
            class of the task.
    """
    check_found_here(engine, circuit, "the circuit")
    known = known_classes(engine.task)
    facts = facts_of(engine, model)
    if backups and known is not None and known.look_for_backups:
        facts = with_backups(engine, facts)
    rows: dict[str, dict[str, object]] = {}
    edges = [*circuit.kept_effects]
    ends = {node for edge in edges for node in (edge.sender, edge.receiver.node)}
    for head in (node for node in circuit.graph.senders if node.kind == "head" and node in ends):
        of_head = facts.heads[head]
        out = [edge for edge in edges if edge.sender == head]
        leads_to = frozenset(
            {"mlp": "MLPs", "logits": "logits"}.get(
                edge.receiver.node.kind, edge.receiver.qkv or "heads"
            )
            for edge in out
        )
        name, evidence = suggested(of_head, leads_to, known) or (None, [])
        attends_from, attends_to, attention = of_head.strongest_pair()
        rows[head.id] = {
            "facts": "; ".join(_in_words(of_head)),
            "suggestion": name,
            "evidence": "; ".join(evidence) or None,
            "writes": of_head.writes,
            "writes_corrupted": of_head.writes_corrupted,
            "attends_from": attends_from,
            "attends_to": attends_to,
            "attention": attention,
            **of_head.scores,
            "n_in": sum(edge.receiver.node == head for edge in edges),
            "n_out": len(out),
            "page": page_of(model.name, head),
        }
    table = pd.DataFrame.from_dict(rows, orient="index", columns=_COLUMNS).rename_axis("head")
    for column in ("suggestion", "evidence", "page"):
        # None stays None.
        values = [row[column] for row in rows.values()]
        table[column] = pd.Series(values, index=table.index, dtype=object)
    return HeadDescriptions(model.name, engine.task.name, known.source if known else None, table)


_COLUMNS = [
    "facts", "suggestion", "evidence", "writes", "writes_corrupted", "attends_from", "attends_to",
    "attention", "previous_token", "duplicate_token", "induction", "first_token", "n_in", "n_out",
    "page",
]  # fmt: skip


def _in_words(facts: HeadFacts) -> list[str]:
    """What stands out of a head."""
    told = []
    key, most = facts.most_from(END)
    own = facts.attends(END, END)
    if own >= _TOLD_OWN:
        told.append(f"at {END} attends to itself {own:.2f}")
    elif most >= _TOLD_ATTENTION:
        told.append(f"at {END} attends to {key} {most:.2f}")
    query, key, most = facts.strongest_pair()
    if query != END and most >= (_TOLD_ELSEWHERE if told else _TOLD_ATTENTION):
        told.append(f"at {query} attends to {key} {most:.2f}")
    if abs(facts.writes) >= _TOLD_WRITES:
        told.append(told_writes(facts.writes))
    told += [
        f"{'first-token (sink)' if name == _SINK else name.replace('_', '-')} {score:.2f}"
        for name, score in facts.scores.items()
        if score >= _TOLD_SCORE
    ]
    return told or ["nothing stands out"]
