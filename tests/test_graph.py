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
        Node.parse("L3")


NODE_NAMES = [
    ("a1.h2", ["A1.H2", "L1H2", "l1h2", "1.2", "a1h2", " a1 . h2 ", "L1 H2", "a01.h02"]),
    ("m1", ["M1", "MLP 1", "mlp1", " m 1"]),
    ("input", ["Input", " INPUT "]),
    ("logits", ["LOGITS", "logits "]),
]


@pytest.mark.parametrize(("node_id", "names"), NODE_NAMES)
def test_a_node_is_read_by_every_name_that_the_page_writes(node_id, names):
    graph = graph_of(2, 3)
    for name in names:
        assert Node.parse(name).id == node_id
        assert graph.parse_node(name).id == node_id
        assert graph.parse(name) == graph.parse_node(node_id)


@pytest.mark.parametrize("labels", [(), ("IO", "S1+1", "rest", "END")])
def test_an_edge_is_read_by_every_name_that_the_page_writes(labels):
    graph = Graph(2, 3, labels=labels)
    for edge in graph.edges():
        receiver = edge.receiver
        qkv = receiver.qkv or ""
        at = f" @ {receiver.position.lower()}" if receiver.position else ""
        loose = f"{edge.sender.id.upper()} -> {receiver.node.id} {qkv.upper()}{at}"
        for name in (edge.label, edge.label.upper(), loose, f" {edge.id.replace('->', '→')} "):
            assert graph.parse_edge(name) == edge, name
            assert graph.parse(name).id == edge.id
    if not labels:
        assert graph.parse("0.1->1.2q").id == "a0.h1->a1.h2<q>"
        assert graph.parse("L0H1→L1H2 <K>").id == "a0.h1->a1.h2<k>"


def test_labels_that_differ_in_case_alone_are_told_apart():
    graph = Graph(1, 1, labels=("s", "S", "Noun", "END"))
    assert graph.parse_edge("input->m0@s").receiver.position == "s"
    assert graph.parse_edge("input->m0@S").receiver.position == "S"
    assert graph.parse_edge("input->m0 @ nOUN").receiver.position == "Noun"


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("L1H3", "a1.h"),
        ("MLP 7", "m"),
        ("L0H1 → L1H2", "a0.h1->a1.h2<"),
        ("0.1 -> 1.9 q", "a0.h1->a1.h"),
        ("L0H1 → LOGITZ", "a0.h1->logits"),
    ],
)
def test_what_a_name_does_not_name_is_told_with_the_nearest_id(name, nearest):
    with pytest.raises(ValueError, match=re.escape(f"Did you mean '{nearest}")) as error:
        graph_of(2, 3).parse(name)
    assert repr(name) in str(error.value)


def test_what_is_like_nothing_is_told_without_a_guess():
    for name in ("37", "L3", "the second head", "a" * 10**5, "." * 10**5, "1" * 10**5 + "."):
        with pytest.raises(ValueError, match="unknown node") as error:
            graph_of(2, 3).parse(name)
        assert "Did you mean" not in str(error.value)


def test_a_string_is_no_list_of_edges():
    with pytest.raises(ValueError, match="list of edge ids, not the single string"):
        graph_of(2, 3).mask_of("m0->logits")


def test_graphs_of_one_shape_are_one_object():
    assert graph_of(2, 3) is graph_of(2, 3)
    assert Graph(2, 3) == graph_of(2, 3)
