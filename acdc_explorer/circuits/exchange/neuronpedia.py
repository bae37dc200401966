"""Neuronpedia's graph JSON: a circuit with positions on one prompt, to be uploaded there.

The fields that neuronpedia.org's schema of attribution graphs requires, and what its page needs
besides: a numeric layer, a logit node whose `clerp` has a probability. Its nodes are meant for
features of transcoders; here they are heads and MLPs at a token. Graphs of others are not read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from acdc_explorer.checked_json import Value
from acdc_explorer.circuits.exchange.scores import EdgeScores, check_finished
from acdc_explorer.circuits.files import graph_from, graph_to_json
from acdc_explorer.circuits.imported import EdgeCollector, ImportedEdges
from acdc_explorer.graph import END, INPUT, LOGITS, Edge, Node

if TYPE_CHECKING:
    from acdc_explorer.circuits.circuit import Circuit

_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_MOST_BYTES = 100 * 1024 * 1024
# The one type of nodes for which the page asks for no features, of those that are no logits,
# embeddings or errors.
_COMPONENT = "unknown"
# Where a graph keeps what Neuronpedia has no place for.
_OURS = "acdc_explorer"


@dataclass(frozen=True)
class PromptOfGraph:
    """The prompt on which a graph stands.

    Attributes:
        text: all of it.
        tokens: in words, one text each.
        positions: label -> index of the token at which it stands; of a span the last one. Edges at
            a label that is not among them are left out.
        answer: the right answer, in words.
        answer_probability: that the model gives it at `END`, from 0 to 1.
    """

    text: str
    tokens: Sequence[str]
    positions: Mapping[str, int]
    answer: str
    answer_probability: float


def is_neuronpedia(data: Any) -> bool:
    """Whether JSON is of this format."""
    return isinstance(data, dict) and {"metadata", "nodes", "links"} <= data.keys()


def read_neuronpedia(data: Any, origin: str) -> ImportedEdges:
    """Reads a graph that was written here.

    Args:
        data: of the file.
        origin: the file, in words.

    Raises:
        ValueError: naming the value that is wrong; or if the graph is of anything but heads and
            MLPs.
    """
    value = Value(data)
    if _OURS not in value["metadata"]:
        raise ValueError(
            "its nodes are features of transcoders; of Neuronpedia's graphs only those that were "
            "written here have heads and MLPs"
        )
    ours = value["metadata"][_OURS]
    graph = graph_from(ours["model"])
    collector, seen = EdgeCollector(graph), set[str]()
    for link in value["links"].items():
        edge_id = link["edge"].text()
        # An edge into keys or values has a link to every token at which the head writes.
        if edge_id not in seen:
            seen.add(edge_id)
            collector.add(edge_id, link["weight"], kept=True)
    names = ours["model_name"].text(), ours["task_name"].text()
    return ImportedEdges(origin, graph, tuple(collector.kept), collector.scores, *names)


def write_neuronpedia(
    circuit: Circuit, scores: EdgeScores, prompt: PromptOfGraph, *, scan: str, slug: str
) -> str:
    """The JSON text of a circuit on one prompt.

    An edge leads from the sender to the receiver at the token at which the receiver reads. Keys and
    values are read at one token and used at later ones: such an edge, or one into a head whose q, k
    and v are one receiver, leads to the head at that token or each later one from which an edge of
    the circuit leads on.

    Args:
        circuit: by position.
        scores: of its edges, the links' weights.
        prompt: on which it stands.
        scan: Neuronpedia's id of the model, as "gpt2-small"; it has to exist there.
        slug: what the graph is called in its address.

    Raises:
        ValueError: naming what Neuronpedia would refuse; or if the circuit is not by position, or
            its search has not come to its end.
    """
    check_finished(circuit)
    graph = circuit.graph
    if not graph.labels:
        raise ValueError("Neuronpedia's graphs stand on tokens: search with positions=True")
    for name, given in (("scan", scan), ("slug", slug)):
        if not _NAME.fullmatch(given):
            raise ValueError(f"{name} must be of letters, digits, _ . and - alone; got {given!r}")
    if not 0 <= prompt.answer_probability <= 1:
        raise ValueError(
            f"answer_probability must be from 0 to 1; got {prompt.answer_probability!r}"
        )
    if END not in prompt.positions:
        raise ValueError(f"positions must have {END!r}, at which the logits are read")
    for label, token in prompt.positions.items():
        if not 0 <= token < len(prompt.tokens):
            raise ValueError(f"positions must have the index of a token for {label!r}; got {token}")
    layout = _TokenGraph(circuit, prompt)
    links = [
        {"source": source, "target": target, "weight": weight, "edge": edge.id}
        for edge in circuit.kept_effects
        for weight in [float(scores.matrix[graph.cell(edge)])]
        for source, target in layout.links_of(edge)
    ]
    # The page counts the layers below the logits.
    drawn = [node for node in layout.nodes.values() if node["feature_type"] == _COMPONENT]
    if not any(int(node["layer"]) > 0 for node in drawn):
        raise ValueError("Neuronpedia's page needs a node above layer 0")
    end_id = layout.node_id(LOGITS, prompt.positions[END])
    data = {
        "metadata": {
            "slug": slug,
            "scan": scan,
            "prompt_tokens": list(prompt.tokens),
            "prompt": prompt.text,
            "info": {"generator": {"name": "acdc_explorer"}, "description": scores.told},
            _OURS: {
                "model": graph_to_json(graph),
                "model_name": circuit.model_name,
                "task_name": circuit.task_name,
            },
        },
        "qParams": {
            "pinnedIds": list(layout.nodes),
            "supernodes": [],
            "linkType": "both",
            "clickedId": end_id,
        },
        "nodes": list(layout.nodes.values()),
        "links": links,
    }
    text = json.dumps(data)
    if len(text.encode()) > _MOST_BYTES:
        raise ValueError(f"Neuronpedia takes at most {_MOST_BYTES:,} bytes; got {len(text):,}")
    return text


class _TokenGraph:
    """Nodes at tokens, made as links need them.

    Attributes:
        nodes: id -> what the file says of the node.
    """

    def __init__(self, circuit: Circuit, prompt: PromptOfGraph):
        self.nodes: dict[str, dict[str, Any]] = {}
        self._prompt, self._n_layers = prompt, circuit.graph.n_layers
        # Sender -> the tokens at which an edge of the circuit reads it.
        self._read_at: dict[Node, set[int]] = {}
        for edge in circuit.kept_effects:
            token = self._token_of(edge)
            if token is not None:
                self._read_at.setdefault(edge.sender, set()).add(token)
        self.node_id(LOGITS, prompt.positions[END])

    def links_of(self, edge: Edge) -> list[tuple[str, str]]:
        """The ids of the two ends of each link that an edge is."""
        token, receiver = self._token_of(edge), edge.receiver
        if token is None:
            return []
        targets = {token}
        if receiver.node.kind == "head" and receiver.qkv != "q":
            targets = {at for at in self._read_at.get(receiver.node, ()) if at >= token} or {token}
        source = self.node_id(edge.sender, token)
        return [(source, self.node_id(receiver.node, at)) for at in sorted(targets)]

    def node_id(self, node: Node, token: int) -> str:
        """The id of a node at a token, which is in `nodes` from then on."""
        layer, feature, kind = str(node.layer), None, _COMPONENT
        clerp = f"{node.label} at {self._prompt.tokens[token]!r}"
        if node.kind == "head":
            feature = node.head
        elif node == INPUT:
            layer, kind, clerp = "E", "embedding", "input"
        elif node == LOGITS:
            probability = self._prompt.answer_probability
            layer, kind = str(self._n_layers), "logit"
            # The page takes apart what is between the marks, and after "(p=".
            clerp = f'Output "{self._prompt.answer}" (p={probability:.3f})'
        name = f"{layer}_{node.id.replace('.', '')}"
        node_id = f"{name}_{token}"
        self.nodes.setdefault(
            node_id,
            {
                "node_id": node_id,
                "feature": feature,
                "layer": layer,
                "ctx_idx": token,
                "feature_type": kind,
                "jsNodeId": f"{name}-{token}",
                "clerp": clerp,
            },
        )
        return node_id

    def _token_of(self, edge: Edge) -> int | None:
        """The token at which an edge's receiver reads; None: the prompt has no such label."""
        return self._prompt.positions.get(edge.receiver.position or END)
