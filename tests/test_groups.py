"""Groups of nodes: plain data, how alike heads are, and exchanging outputs between prompts."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
from conftest import bridge_of, labelled_task, random_gpt2, random_model, random_task, ungrouped

import acdc_explorer as ax
from acdc_explorer.circuits.groups import Group, Groups
from acdc_explorer.engine.engine import Engine
from acdc_explorer.engine.evaluate import evaluate_removed
from acdc_explorer.engine.given_outputs import evaluate_given, outputs_in
from acdc_explorer.engine.patched_runs import GivenOutput
from acdc_explorer.engine.removed_edges import RemovedEdges
from acdc_explorer.graph import Node
from acdc_explorer.measures.grouping import cosines, joined
from acdc_explorer.measures.scrubbed import ALL
from acdc_explorer.measures.swaps import agreeing, aligned, drawn_sources, given_from
from acdc_explorer.models.bridge import extract_weights
from acdc_explorer.testing.reference import Reference


class Exchanging(Reference):
    """The slow reference, some of whose nodes write what they are made to, by hooks."""

    def __init__(self, *args, **options):
        self.given = {}
        super().__init__(*args, **options)

    def _sender_hooks(self, outputs):
        hooks = []
        for node, (values, where) in self.given.items():
            if node.kind == "head":
                name = f"blocks.{node.layer}.attn.hook_z"
            else:
                name = f"blocks.{node.layer}.hook_mlp_out"
            hooks.append((name, partial(self._give, node, values, where)))
        return [*hooks, *super()._sender_hooks(outputs)]

    def _give(self, node, values, where, value, hook):
        whole = value.clone()
        # A head's part, whether heads have an axis of their own or not.
        flat = whole.view(*whole.shape[:2], self.graph.n_heads if node.kind == "head" else 1, -1)
        place = node.head if node.kind == "head" else 0
        flat[:, :, place] = torch.where(where, values, flat[:, :, place])
        return whole


NODES = (Node("head", 0, 1), Node("mlp", 0), Node("head", 1, 0), Node("mlp", 1))


def hf_of(kind):
    return random_gpt2("2x4") if kind == "gpt2" else ungrouped(random_model(kind))


@pytest.mark.parametrize(
    ("kind", "ablation", "positions"),
    [
        ("gpt2", "corrupted", False),
        ("gpt2", "corrupted", True),
        ("gpt2", "zero", False),
        ("gpt2", "mean", False),
        ("gpt_neox", "corrupted", False),
        ("gpt_neo", "corrupted", False),
        ("llama", "mean", False),
        ("gemma2", "corrupted", False),
        ("olmo2", "zero", False),
    ],
)
def test_exchanged_outputs_equal_the_reference(kind, ablation, positions):
    """What nodes write in a circuit, and a circuit in which they write something else."""
    hf_model = hf_of(kind)
    task = labelled_task() if positions else random_task()
    engine = Engine(extract_weights(bridge_of(hf_model)), task, ablation, positions=positions)
    reference = Exchanging(bridge_of(hf_model, torch.float64), task, ablation, positions=positions)
    # Other models than GPT-2 have parts that stay in float32 in transformers.
    tolerance = 1e-11 if kind == "gpt2" else 2e-6
    graph, rng = engine.graph, np.random.default_rng(0)
    positions_of = torch.arange(task.n_positions)
    changes = []
    for share in (0.0, 0.3, 0.6):
        removed = graph.edge_mask & (rng.random(graph.edge_mask.shape) < share)
        outputs = outputs_in(engine.in_float64, RemovedEdges(removed), NODES)
        source = torch.from_numpy(rng.permutation(task.n_prompts))
        where = torch.from_numpy(rng.random((task.n_prompts, task.n_positions, 1)) < 0.7)
        where &= (positions_of <= task.end[:, None])[..., None]
        given = {node: GivenOutput(outputs[node][source], where) for node in NODES}
        reference.given = {}
        plain = reference.evaluate(removed)
        reference.given = {node: (each.values, each.where) for node, each in given.items()}
        expected = reference.evaluate(removed)
        changes.append((plain - expected).abs().max())
        got = evaluate_given(engine.in_float64, RemovedEdges(removed), given)
        torch.testing.assert_close(got, expected, rtol=0, atol=tolerance)
    # With few edges left the nodes may lead nowhere.
    assert max(changes) > 1e-2


def test_what_nodes_write_themselves_changes_nothing(model, task):
    engine = Engine(model.weights, task)
    graph, rng = engine.graph, np.random.default_rng(1)
    removed = RemovedEdges(graph.edge_mask & (rng.random(graph.edge_mask.shape) < 0.5))
    everywhere = torch.ones(task.n_prompts, task.n_positions, 1, dtype=torch.bool)
    outputs = outputs_in(engine, removed, NODES)
    given = {node: GivenOutput(outputs[node], everywhere) for node in NODES}
    plain = evaluate_removed(engine, [removed])[0]
    torch.testing.assert_close(evaluate_given(engine, removed, given), plain, rtol=0, atol=1e-5)


def test_batches_of_prompts_change_nothing(model, task, monkeypatch):
    engine = Engine(model.weights, task)
    removed = RemovedEdges(engine.graph.mask_of([]))
    source = torch.arange(task.n_prompts).roll(1)
    where = torch.ones(task.n_prompts, task.n_positions, 1, dtype=torch.bool)

    def exchanged():
        outputs = outputs_in(engine, removed, NODES)
        given = {node: GivenOutput(outputs[node][source], where) for node in NODES}
        return evaluate_given(engine, removed, given)

    expected = exchanged()
    monkeypatch.setattr("acdc_explorer.engine.given_outputs.BATCH_FLOATS", 1)
    torch.testing.assert_close(exchanged(), expected, rtol=0, atol=1e-5)


def test_groups_are_checked():
    with pytest.raises(ValueError, match="must be text, and not empty; got ''"):
        Group("", ("a0.h1",))
    with pytest.raises(ValueError, match="must not be that of a node; got 'L0H1'"):
        Group("L0H1", ("a0.h1",))
    with pytest.raises(ValueError, match="must have a node at least"):
        Group("movers", ())
    with pytest.raises(ValueError, match=r"must be a list; got 'a0\.h1'"):
        Group("movers", "a0.h1")
    with pytest.raises(ValueError, match="'x9' is no node id"):
        Group("movers", ("x9",))
    with pytest.raises(ValueError, match=r"has a0\.h1 twice"):
        Group("movers", ("a0.h1", "L0H1"))
    with pytest.raises(ValueError, match="must be heads and MLPs; got 'logits'"):
        Group("movers", ("logits",))
    one = Group("movers", ("a0.h1", "m0"))
    with pytest.raises(ValueError, match="two groups are called 'movers'"):
        Groups((one, Group("movers", ("a1.h1",))))
    with pytest.raises(ValueError, match=r"a0\.h1 is in two groups, 'movers' and 'others'"):
        Groups((one, Group("others", ("a0.h1",))))
    with pytest.raises(ValueError, match=r"unknown group 'mover'\. Did you mean 'movers'"):
        Groups((one,))["mover"]


def test_groups_change_as_copies():
    groups = Groups((Group("movers", ("9.9", "L9H6"), ("IO",)),))
    assert groups["movers"].nodes == ("a9.h9", "a9.h6")
    more = groups.with_group(Group("others", ("a9.h6", "m0")))
    assert more["movers"].nodes == ("a9.h9",)
    assert more["movers"].inputs == ("IO",)
    assert more.of(Node("mlp", 0)).name == "others"
    assert more.of(Node("mlp", 1)) is None
    # A group that loses all its members is gone.
    assert len(groups.with_group(Group("all", ("a9.h9", "a9.h6")))) == 1
    assert len(more.without("others")) == 1
    named = groups.changed("movers", new_name="name movers", inputs=["S1", "S1"])
    assert named["name movers"].inputs == ("S1",)
    assert str(named) == "name movers: L9H9, L9H6, from S1"
    assert str(Groups()) == "no groups"


def test_groups_by_role():
    roles = {"a0.h0": "previous token", "a0.h1": "induction", "a1.h0": "induction", "a1.h1": ""}
    groups = Groups.by_role(roles, {"induction": ("A1",)})
    assert [group.name for group in groups] == ["previous token", "induction"]
    assert groups["induction"] == Group("induction", ("a0.h1", "a1.h0"), ("A1",))
    with pytest.raises(ValueError, match="unknown role 'mover'"):
        Groups.by_role(roles, {"mover": ()})


def test_groups_are_saved(tmp_path):
    groups = Groups((Group("movers", ("a9.h9", "a9.h6"), ("IO",)), Group("mlp", ("m0",))))
    groups.save(tmp_path / "groups.json")
    assert Groups.load(tmp_path / "groups.json") == groups
    assert Groups.from_json(groups.to_json()) == groups
    with pytest.raises(
        ValueError, match=r"no file of groups: groups\[0\]\.nodes\[0\] must be text"
    ):
        Groups.from_json(groups.to_json().replace('"a9.h9"', "7", 1))
    with pytest.raises(ValueError, match="no file of groups: format is missing"):
        Groups.from_json("{}")


def test_edges_are_added_up_over_groups(model, task):
    circuit = ax.find_circuit(model, task, 0.05)
    heads = tuple(f"a1.h{head}" for head in range(4))
    table = Groups((Group("late", heads),)).edges(circuit)
    effects = circuit.kept_effects
    assert table.n_edges.sum() == len(effects)
    assert table.effect.sum() == pytest.approx(sum(effects.values()))
    row = table[(table.sender == "late") & (table.receiver == "logits")].iloc[0]
    mine = {e.id: x for e, x in effects.items() if e.id in {f"{h}->logits" for h in heads}}
    assert row.n_edges == len(mine)
    assert row.effect == pytest.approx(sum(mine.values()))
    assert row.kinds == "other"
    into = table[(table.sender == "m0") & (table.receiver == "late")].iloc[0]
    kinds = {e.kind for e in effects if e.sender.id == "m0" and e.receiver.node.id in heads}
    assert into.kinds == ", ".join(kind for kind in "qkv" if kind in kinds)
    with pytest.raises(ValueError, match=r"a7\.h0"):
        Groups((Group("late", ("a7.h0",)),)).edges(circuit)


def test_average_linkage_by_hand():
    """Three alike in pairs, one apart: 2 joins 0 and 1 at (0.7 + 0.5) / 2."""
    alike = np.array(
        [[1.0, 0.9, 0.7, 0.1], [0.9, 1.0, 0.5, 0.1], [0.7, 0.5, 1.0, 0.1], [0.1, 0.1, 0.1, 1.0]]
    )
    assert joined(alike, 0.95) == [[0], [1], [2], [3]]
    assert joined(alike, 0.61) == [[0, 1], [2], [3]]
    assert joined(alike, 0.60) == [[0, 1, 2], [3]]
    assert joined(alike, 0.0) == [[0, 1, 2, 3]]
    assert joined(np.zeros((0, 0)), 0.5) == []


def test_cosines_by_hand():
    vectors = np.array([[3.0, 4.0], [4.0, 3.0], [-3.0, -4.0], [0.0, 0.0]])
    expected = [[1, 0.96, 0, 0], [0.96, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    np.testing.assert_allclose(cosines(vectors), expected, atol=1e-12)


def test_equal_heads_are_one_group():
    """The five heads of the hand-built model do the same, in other sizes."""
    circuit = ax.find_circuit("five-heads", "five-heads", 0.5)
    alike = ax.head_similarity("five-heads", "five-heads", circuit)
    assert alike.heads == tuple(f"a0.h{head}" for head in range(len(alike.heads)))
    np.testing.assert_allclose(alike.effects, 1, atol=1e-6)
    (group,) = alike.groups(0.99)
    assert group.nodes == alike.heads
    assert ax.group_heads("five-heads", "five-heads", circuit, 0.99) == Groups((group,))
    for wrong in (1.5, "0.8", math.nan, True):
        with pytest.raises(ValueError, match="similarity must be a number from 0 to 1; got"):
            alike.groups(wrong)


def test_positions_are_aligned_by_label():
    task = labelled_task()
    end = task.end.tolist()
    for prompt, source in ((1, 2), (2, 1), (1, 3)):
        place = aligned(task, prompt, source)
        masks = task.position_masks
        if all((m[prompt] == m[source]).all() for label, m in masks.items() if label != "rest"):
            assert place[: end[prompt] + 1].tolist() == list(range(end[prompt] + 1))
            continue
        assert place[end[prompt]] == end[source]
        assert place[int(task.positions["MIDDLE"][prompt])] == task.positions["MIDDLE"][source]
        spans = [np.flatnonzero(masks["span"][row]) for row in (prompt, source)]
        n = min(map(len, spans))
        assert place[spans[0][:n]].tolist() == spans[1][:n].tolist()
        assert (place >= 0).sum() == 2 + n
    # With itself, or one of the same places: every position up to END.
    assert aligned(task, 1, 1)[: end[1] + 1].tolist() == list(range(end[1] + 1))
    assert (aligned(task, 1, 1)[end[1] + 1 :] == -1).all()


def test_sources_agree_and_are_others():
    agree = agreeing([["x", "y", "x", "x", "z"], [1, 1, 1, 2, 1]], 5)
    assert np.argwhere(agree).tolist() == [[0, 2], [2, 0]]
    task = random_task()
    sources = drawn_sources(agree, task, np.random.default_rng(0))
    assert sources.prompt.tolist() == [2, 1, 0, 3, 4]
    assert (sources.position[[1, 3, 4]] == -1).all()
    outputs = torch.arange(5 * task.n_positions, dtype=torch.float).view(5, -1, 1)
    given = given_from(outputs, sources)
    end = task.end[0], task.end[2]
    assert given.where[0, end[0], 0]
    assert given.values[0, end[0], 0] == outputs[2, end[1], 0]
    assert not given.where[1].any()


@pytest.mark.parametrize("positions", [False, True])
def test_the_right_claim_loses_nothing_and_a_wrong_one_does(positions):
    """The induction head's output is the letter after the first A; not that letter A itself."""
    model = ax.load_model("induction-pair")
    task = ax.load_task("induction-pair", model, 48)
    circuit = ax.find_circuit(model, task, 0.5, positions=positions)
    right = ax.scrub(model, task, circuit, Group("induction", ("a1.h0",), ("second",)), draws=3)
    row = right.table.loc["induction"]
    assert 0 < row.n_prompts <= 48
    assert row.circuit == 1
    assert row.stays_low == pytest.approx(1, abs=1e-5)
    wrong = ax.scrub(model, task, circuit, Group("induction", ("a1.h0",), ("first",)), draws=3)
    assert wrong.table.loc["induction"].stays_high < 0.7
    anything = ax.scrub(model, task, circuit, Group("induction", ("a1.h0",)), draws=3)
    assert anything.table.loc["induction"].stays_high < 0.5
    assert anything.table.loc["induction"].n_prompts == 48


def test_scrubbing_is_told(model, task):
    circuit = ax.find_circuit(model, task, 0.05)
    groups = Groups((Group("early", ("a0.h0", "a0.h1")), Group("late", ("a1.h0", "m1"))))
    features = {"half": [row % 2 for row in range(task.n_prompts)]}
    found = ax.scrub(model, task, circuit, groups, draws=3, features=features, seed=4)
    assert list(found.table.index) == ["early", "late", ALL]
    assert found.table.n_nodes.tolist() == [2, 2, 4]
    assert found.table.circuit.tolist() == pytest.approx([circuit.metric_value] * 3, abs=1e-4)
    assert len(found.by_draw) == 3 * 2 * 3
    of = found.by_draw[(found.by_draw.group == ALL) & (found.by_draw.kind == "group")]
    span = circuit.full_metric - circuit.corrupted_metric
    expected = (of.metric - circuit.corrupted_metric) / span
    np.testing.assert_allclose(of.faithfulness, expected, atol=1e-4)
    np.testing.assert_allclose(of.stays, of.faithfulness / circuit.faithfulness, atol=1e-3)
    assert found.table.stays[ALL] == pytest.approx(of.stays.mean())
    assert "early (2 nodes, any prompts): " in str(found)
    again = ax.scrub(model, task, circuit, groups, draws=3, seed=4)
    np.testing.assert_array_equal(again.by_draw.metric, found.by_draw.metric)
    halves = groups.changed("early", inputs=["half"])
    assert (
        ax.scrub(model, task, circuit, halves, draws=1, features=features).table.loc[
            "early", "inputs"
        ]
        == "half"
    )


def test_prompts_without_an_agreeing_one_are_told(model, task):
    circuit = ax.find_circuit(model, task, 0.05)
    alone = {"number": list(range(task.n_prompts))}
    group = Group("early", ("a0.h0",), ("number",))
    found = ax.scrub(model, task, circuit, group, draws=1, features=alone)
    assert found.table.loc["early", "n_prompts"] == 0
    assert math.isnan(found.table.loc["early", "stays"])
    assert "no prompt has another that agrees" in str(found)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"groups": ()}, "groups must hold a group at least"),
        ({"groups": Group("early", ("a9.h9",))}, r"a9\.h9"),
        ({"groups": Group("early", ("a0.h0",), ("IO",))}, "unknown input of group 'early' 'IO'"),
        ({"groups": Group(ALL, ("a0.h0",))}, "no group must be called 'all together'"),
        ({"draws": 0}, "draws must be a whole number from 1 on; got 0"),
        ({"features": {"END": [1]}}, "feature 'END' has the name of a position label"),
        ({"features": {"half": [1]}}, "feature 'half' must have a value for each of 5 prompts"),
    ],
)
def test_what_cannot_be_scrubbed_is_told(model, task, change, message):
    circuit = ax.find_circuit(model, task, 0.05)
    given = {"groups": Group("early", ("a0.h0",)), **change}
    with pytest.raises(ValueError, match=message):
        ax.scrub(model, task, circuit, **given)
