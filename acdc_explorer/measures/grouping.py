"""Heads that do alike: how alike they are, and groups of those that are alike enough."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from acdc_explorer.arguments import check_found_here, engine_of, resolve
from acdc_explorer.arithmetic import plain_arithmetic
from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.groups import Group, Groups
from acdc_explorer.engine.engine import Engine
from acdc_explorer.engine.label_attention import attention_by_labels
from acdc_explorer.graph import Node
from acdc_explorer.models.model import ModelLike
from acdc_explorer.progress import working_on
from acdc_explorer.tasks.task import Task

# Heads as alike as this are grouped unless told.
SIMILARITY = 0.8


@dataclass(frozen=True)
class HeadSimilarity:
    """How alike the heads of a circuit are; 1: they do the same, 0: nothing that one does.

    Attributes:
        heads: ids of the heads that have a kept edge, by layer.
        effects: [head, head], the cosine of what the circuit's edges of two heads do, 0 where it is
            negative. Each head has a vector with a place for every other end that a kept edge of
            any head has: for edges in, their sender, the input (q, k, v) and the position; for
            edges out, their receiver. There it has the edge's effect, with its sign, in the
            search's test; 0 where it has no such edge, or could have none.
        attention: [head, head], the cosine of the mean attention of two heads in the clean run,
            from every position label to every label and to what has none.
        similarity: [head, head], the mean of the two.
    """

    heads: tuple[str, ...]
    effects: pd.DataFrame
    attention: pd.DataFrame
    similarity: pd.DataFrame

    def groups(self, similarity: float = SIMILARITY) -> Groups:
        """The heads that are at least so alike, in groups of two or more.

        Agglomerative clustering with average linkage: first every head is by itself; then the two
        clusters that are most alike, by the mean similarity of a head of the one and a head of the
        other, are joined, for as long as these are alike enough.

        Args:
            similarity: from 0, all heads in one group, to 1.

        Returns:
            Groups called after their first heads, as "L9H9 and 2 more", without inputs; the largest
            first.

        Raises:
            ValueError: if the similarity is no number from 0 to 1.
        """
        if isinstance(similarity, bool) or not isinstance(similarity, (int, float, np.number)):
            raise ValueError(f"similarity must be a number from 0 to 1; got {similarity!r}")
        if not 0 <= similarity <= 1:
            raise ValueError(f"similarity must be a number from 0 to 1; got {similarity!r}")
        clusters = joined(self.similarity.to_numpy(), float(similarity))
        return Groups(
            tuple(
                Group(name_of(nodes), nodes)
                for cluster in sorted(clusters, key=lambda each: (-len(each), each))
                if len(nodes := tuple(self.heads[row] for row in cluster)) > 1
            )
        )

    def __str__(self) -> str:
        n = len(self.heads)
        rows, columns = np.triu_indices(n, 1)
        if not len(rows):
            return f"{n} head{'s' if n != 1 else ''}: nothing to compare"
        values = self.similarity.to_numpy()[rows, columns]
        best = int(values.argmax())
        pair = " and ".join(Node.parse(self.heads[end[best]]).label for end in (rows, columns))
        return f"{n} heads; the most alike are {pair} ({values[best]:.2f})"


def head_similarity(model: ModelLike, task: Task | str, circuit: Circuit) -> HeadSimilarity:
    """How alike the heads of a circuit are, by the effects of their edges and by their attention.

    Args:
        model: anything that `load_model` takes; the one that the circuit was found in.
        task: the one that the circuit was found for: a `Task`, or the name of one.
        circuit: finished or not.

    Raises:
        ValueError: if the circuit is of another model or of other prompts.
    """
    if not isinstance(circuit, Circuit):
        raise ValueError(f"circuit must be a Circuit; got a {type(circuit).__name__}")
    with plain_arithmetic():
        loaded, task = resolve(model, task)
        engine = engine_of(circuit, loaded, task)
        check_found_here(engine, circuit, "the circuit")
        return similarity_of_heads(engine, circuit)


def group_heads(
    model: ModelLike, task: Task | str, circuit: Circuit, similarity: float = SIMILARITY
) -> Groups:
    """Groups of the heads of a circuit that do alike.

    What alike is, `HeadSimilarity` tells: half of it is which edges of the circuit two heads share
    and what these do, half of it where they attend to. `HeadSimilarity.groups` tells how they are
    grouped.

    Args:
        model: anything that `load_model` takes; the one that the circuit was found in.
        task: the one that the circuit was found for: a `Task`, or the name of one.
        circuit: finished or not.
        similarity: how alike heads must be, on average, to be in one group; from 0 to 1.

    Returns:
        Groups of two heads or more.

    Raises:
        ValueError: if the similarity is no number from 0 to 1, or the circuit is of another model
            or of other prompts.
    """
    return head_similarity(model, task, circuit).groups(similarity)


def similarity_of_heads(engine: Engine, circuit: Circuit) -> HeadSimilarity:
    """The same on an engine."""
    ends = {node for edge in circuit.kept_effects for node in (edge.sender, edge.receiver.node)}
    heads = [node for node in circuit.graph.senders if node in ends and node.kind == "head"]
    ids = [head.id for head in heads]

    def table(vectors: Float[np.ndarray, "head feature"]) -> pd.DataFrame:
        return pd.DataFrame(cosines(vectors), index=ids, columns=ids)

    effects, attention = table(_effects_of(heads, circuit)), table(_attention_of(heads, engine))
    return HeadSimilarity(tuple(ids), effects, attention, (effects + attention) / 2)


def cosines(vectors: Float[np.ndarray, "row feature"]) -> Float[np.ndarray, "row row"]:
    """The cosine of each two rows, 0 where it is negative or one is zero; with itself, 1."""
    sizes = np.linalg.norm(vectors, axis=1, keepdims=True)
    units = vectors / np.where(sizes > 0, sizes, 1)
    result = np.clip(units @ units.T, 0, 1)
    np.fill_diagonal(result, 1)
    return np.asarray(result)


def joined(alike: Float[np.ndarray, "row row"], least: float) -> list[list[int]]:
    """Clusters by average linkage, each at least so alike when it was joined; rows ascending.

    Args:
        alike: how alike each two rows are.
        least: that clusters must be, on average, to be joined.
    """
    clusters = [[row] for row in range(len(alike))]
    between = alike.astype(float).copy()
    np.fill_diagonal(between, -math.inf)
    while len(clusters) > 1:
        one, other = sorted(divmod(int(between.argmax()), len(clusters)))
        # Rounding does not part what is alike.
        if between[one, other] < least - 1e-9:
            break
        sizes = len(clusters[one]), len(clusters[other])
        mean = np.average(between[[one, other]], axis=0, weights=sizes)
        between[one], between[:, one] = mean, mean
        between[one, one] = -math.inf
        between = np.delete(np.delete(between, other, 0), other, 1)
        clusters[one] = sorted(clusters[one] + clusters.pop(other))
    return clusters


def _effects_of(heads: list[Node], circuit: Circuit) -> Float[np.ndarray, "head end"]:
    rows = {head: row for row, head in enumerate(heads)}
    places: dict[object, int] = {}
    found = []
    for edge, effect in circuit.kept_effects.items():
        sender, receiver = edge.sender, edge.receiver
        ends = (
            (sender, ("out", receiver)),
            (receiver.node, ("in", sender, receiver.qkv, receiver.position)),
        )
        for head, end in ends:
            if head in rows:
                found.append((rows[head], places.setdefault(end, len(places)), effect))
    vectors = np.zeros((len(heads), len(places)))
    for row, place, effect in found:
        vectors[row, place] = effect
    return vectors


def _attention_of(heads: list[Node], engine: Engine) -> Float[np.ndarray, "head pair"]:
    if not heads:
        return np.zeros((0, 0))
    with working_on("how heads attend"):
        tables = attention_by_labels(engine, heads)
    return np.array([tables[head].to_numpy().ravel() for head in heads])


def name_of(nodes: Sequence[str]) -> str:
    """What a group by similarity is called."""
    return f"{Node.parse(nodes[0]).label} and {len(nodes) - 1} more"
