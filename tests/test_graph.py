"""Node and edge ids, edge counts, and what is no edge."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest

from acdc_explorer.graph import Edge, Graph, Node, Receiver, graph_of


@pytest.mark.parametrize(
    ("n_layers", "n_heads", "n_edges"), [(12, 12, 32_491), (4, 8, 1_519), (4, 4, 479), (2, 4, 110)]
)
def test_edge_counts(n_layers, n_heads, n_edges):
    """GPT-2 small and others, as counted from the published graph-building code."""
    assert graph_of(n_layers, n_heads).n_edges == n_edges


def test_every_id_reads_back():
    graph = graph_of(2, 3)
    for row, column in np.argwhere(graph.edge_mask):
        edge = graph.edge_at(row, column)
        assert graph.parse_edge(edge.id) == edge
        assert graph.cell(edge) == (row, column)
    for node in graph.nodes:
        assert Node.parse(node.id) == node
        assert graph.parse_node(node.id) == node


def test_ids_and_labels_are_the_fields():
    head = Node("head", 9, 6)
    edge = Edge(Node("head", 8, 6), Receiver(Node("head", 9, 9), "q"))
    assert (head.id, head.label) == ("a9.h6", "L9H6")
    assert (edge.id, edge.label, edge.kind) == ("a8.h6->a9.h9<q>", "L8H6 → L9H9 q", "q")
    assert Edge(Node("mlp", 0), Receiver(Node("logits", -1))).id == "m0->logits"
    assert Edge(Node("mlp", 0), Receiver(Node("logits", -1))).kind == "other"


def test_senders_come_before_receivers():
    graph = graph_of(3, 2)
    for edge_id in graph.edge_ids:
        edge = graph.parse_edge(edge_id)
        sender, node = edge.sender, edge.receiver.node
        if node.kind == "logits" or sender.kind == "input":
            continue
        feeds_own_block = sender.kind == "head" and node.kind == "mlp"
        assert sender.layer < node.layer or (feeds_own_block and sender.layer == node.layer)


@pytest.mark.parametrize(
    ("edge_id", "message"),
    [
        ("a0.h0->a1.h9<q>", "Did you mean 'a0.h0->a1.h"),
        ("a0.h0->a1.h1", "unknown edge"),
        ("m1->a1.h0<q>", "MLP 1 does not come before L1H0"),
        ("a1.h0->a1.h1<v>", "L1H0 does not come before L1H1"),
        ("input", "unknown edge 'input'"),
        ("", "unknown edge ''"),
        ("m0->m1<q>", "unknown edge"),
    ],
)
def test_what_is_no_edge_is_refused_by_name(edge_id, message):
    with pytest.raises(ValueError, match=message.replace(".", r"\.")):
        graph_of(2, 3).parse_edge(edge_id)


@pytest.mark.parametrize("labels", [(), ("IO", "S2", "rest", "END")])
@pytest.mark.parametrize("edge_id", ["a0.h0->a31.h99<q>", "a3.h0->m5@EMD", "x" * 10**6, "", "->"],
                         ids=lambda edge_id: edge_id[:9])  # fmt: skip
def test_a_wrong_edge_of_a_large_model_is_told_without_a_walk_over_all_edges(
    monkeypatch, edge_id, labels
):
    graph = Graph(32, 32, labels=labels)
    first_edges = list(itertools.islice(graph.edges(), 100))
    # The hundred and first edge is an IndexError.
    monkeypatch.setattr(Graph, "edges", lambda _: (first_edges.pop(0) for _ in itertools.count()))
    with pytest.raises(ValueError, match="unknown edge") as error:
        graph.parse_edge(edge_id)
    assert len(str(error.value)) < 700
    if edge_id.startswith("a"):
        nearest = re.search(r"Did you mean '(.*?)'", str(error.value))
        assert graph.parse_edge(nearest[1]).id == nearest[1]
        assert nearest[1].partition("->")[0] == edge_id.partition("->")[0]


def test_edges_come_in_the_order_of_the_matrix():
    for graph in (Graph(2, 2), Graph(1, 2, labels=("a", "END"), parallel=True)):
        cells = np.argwhere(graph.edge_mask)
        assert graph.edge_ids == [graph.edge_at(*cell).id for cell in cells]


def test_what_is_no_node_is_refused_by_name():
    with pytest.raises(ValueError, match=r"unknown node 'a7\.h0'"):
        graph_of(2, 3).parse_node("a7.h0")
    with pytest.raises(ValueError, match="nodes are written"):
        Node.parse("L3H1")


def test_a_string_is_no_list_of_edges():
    with pytest.raises(ValueError, match="list of edge ids, not the single string"):
        graph_of(2, 3).mask_of("m0->logits")


def test_graphs_of_one_shape_are_one_object():
    assert graph_of(2, 3) is graph_of(2, 3)
    assert Graph(2, 3) == graph_of(2, 3)
