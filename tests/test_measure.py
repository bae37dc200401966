"""Measures of a circuit: each against cases computed by hand, and against single evaluations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import bridge_of, labelled_task, mostly_slow, random_gpt2, random_task

import acdc_explorer as ax
from acdc_explorer.circuits.connected import on_paths
from acdc_explorer.engine.cache import engine_for
from acdc_explorer.graph import INPUT, LOGITS, Graph
from acdc_explorer.measures import hypotheses
from acdc_explorer.measures.held_out import prompts_to_measure_on
from acdc_explorer.measures.observations import head_roles
from acdc_explorer.measures.random_circuits import (
    alike_edges,
    any_edges,
    connected_edges,
    path_through,
)
from acdc_explorer.models import Model, toys
from acdc_explorer.models.toys import HandMade, build_handmade

# A chain of draws, small so that tests are quick.
FEW = {"n_random": 20, "n_bootstrap": 200}


@pytest.fixture(scope="module")
def five_heads():
    return ax.load_model("five-heads")


@pytest.fixture(scope="module")
def model():
    return Model(bridge_of(random_gpt2("2x4")), "random 2x4")


def edges_of_heads(*heads):
    return [
        edge
        for head in heads
        for edge in (
            *(f"input->a0.h{head}<{qkv}>" for qkv in "qkv"),
            f"a0.h{head}->logits",
        )
    ]


def test_three_of_five_equal_heads_are_three_fifths_of_the_model(five_heads):
    measured = ax.measure(five_heads, "five-heads", edges_of_heads(0, 2, 4), **FEW)
    for ablation in ("corrupted", "zero", "mean"):
        row = measured.ablations.loc[ablation]
        assert row.full == pytest.approx(5, abs=1e-3)
        # Each of the heads writes the same on every prompt.
        assert row.circuit == pytest.approx(row.ablated + 0.6 * (5 - row.ablated), abs=1e-2)
        for name, value in (("faithfulness", 0.6), ("remainder", 0.4)):
            assert row[name] == pytest.approx(value, abs=1e-2), ablation
            assert row[f"{name}_low"] == pytest.approx(value, abs=1e-2)
            assert row[f"{name}_high"] == pytest.approx(value, abs=1e-2)
        assert row.full_accuracy == 1
    assert measured.faithfulness == measured.ablations.faithfulness["corrupted"]
    assert measured.n_kept == 12
    writes = measured.edges.set_index("edge").effect
    assert writes["a0.h2->logits"] == pytest.approx(1, abs=1e-3)
    assert measured.least_effect == pytest.approx(writes.abs().min())
    assert not measured.tests[0].passed
    assert str(measured).startswith("five-heads · five-heads, 12 edges on ")


def test_the_whole_circuit_leaves_nothing_over(five_heads):
    task = ax.load_task("five-heads", five_heads)
    circuit = ax.find_circuit(five_heads, task, 0.5)
    measured = ax.measure(five_heads, task, circuit, ablations=[])
    assert measured.faithfulness == pytest.approx(1, abs=1e-3)
    assert measured.remainder == pytest.approx(0, abs=1e-3)
    assert measured.ablations.kl["corrupted"] == pytest.approx(0, abs=1e-6)
    # The full model scores the same on all prompts, so that nothing can go with it.
    passed = {test.name: test.passed for test in measured.tests}
    assert passed.pop("independence") is None
    assert all(passed.values()), str(measured)
    # Of each head only the v input matters, so that no other edges are like these.
    assert list(measured.random.as_near) == [0, 100, 0]
    assert measured.random.shared["alike edges"] == 10
    # The prompts of the task are all there are.
    assert not measured.held_out
    assert "the circuit was found on" in measured.measured_on
    assert measured.observations == (
        "There are no held-out prompts: 'five-heads' has hardly any other prompts.",
    )


@pytest.mark.parametrize("ablation", ["corrupted", "zero", "mean"])
def test_scores_are_those_of_single_evaluations(model, ablation):
    task = replace(random_task(n_prompts=6), metric="nll")
    circuit = ax.find_circuit(model, task, "5%", rule="abs", ablation=ablation)
    measured = ax.measure(model, task, circuit, held_out=False, ablations=["zero"], **FEW)
    assert list(measured.ablations.index) == list(dict.fromkeys([ablation, "zero"]))
    for name, row in measured.ablations.iterrows():
        values = {
            "full": ax.evaluate(model, task, removed=[], ablation=name),
            "ablated": ax.evaluate(model, task, kept=[], ablation=name),
            "circuit": ax.evaluate(model, task, kept=circuit.kept, ablation=name),
            "without": ax.evaluate(model, task, removed=circuit.kept, ablation=name),
        }
        for each, value in values.items():
            assert row[each] == pytest.approx(value, abs=1e-4), (name, each)
        span = values["full"] - values["ablated"]
        faithfulness = (values["circuit"] - values["ablated"]) / span
        assert row.faithfulness == pytest.approx(faithfulness, abs=1e-3)
        assert row.faithfulness_low <= row.faithfulness <= row.faithfulness_high
        kl = replace(task, metric="kl_divergence")
        assert row.kl == pytest.approx(
            ax.evaluate(model, kl, kept=circuit.kept, ablation=name), abs=1e-4
        )
    assert measured.faithfulness == pytest.approx(circuit.faithfulness, abs=1e-4)
    for row in range(task.n_prompts):
        one = task.take([row])
        # The mean over prompts is another with other prompts.
        if ablation != "mean":
            value = ax.evaluate(model, one, kept=circuit.kept, ablation=ablation)
            assert measured.by_prompt.circuit[row] == pytest.approx(value, abs=1e-4)
    for edge, effect in zip(measured.edges.edge, measured.edges.effect, strict=True):
        rest = [each for each in circuit.kept if each != edge]
        without = ax.evaluate(model, task, kept=rest, ablation=ablation)
        assert effect == pytest.approx(circuit.metric_value - without, abs=1e-4)


def test_standard_errors_are_over_prompts(model):
    task = random_task(n_prompts=4)
    circuit = ax.find_circuit(model, task, "5%")
    measured = ax.measure(model, task, circuit, held_out=False, ablations=[], **FEW)
    edge = measured.edges.edge[0]
    rest = [each for each in circuit.kept if each != edge]
    effects = [
        ax.evaluate(model, one, kept=circuit.kept) - ax.evaluate(model, one, kept=rest)
        for one in (task.take([row]) for row in range(4))
    ]
    assert measured.edges.standard_error[0] == pytest.approx(
        np.std(effects, ddof=1) / 2, rel=1e-3, abs=1e-5
    )


def test_circuits_by_position_are_measured_by_position(model):
    task = labelled_task()
    circuit = ax.find_circuit(model, task, "5%", positions=True)
    measured = ax.measure(model, task, circuit, held_out=False, **FEW)
    assert measured.faithfulness == pytest.approx(circuit.faithfulness, abs=1e-4)
    with pytest.raises(ValueError, match="the circuit is by position"):
        ax.measure(model, task, circuit, held_out=random_task(), **FEW)


@pytest.mark.parametrize(
    "options",
    [
        {"split_qkv": False},
        {"method": "eap"},
        {"method": "path_patching", "positions": True},
        {"screen": 0.5, "ablation": "zero"},
    ],
    ids=str,
)
@pytest.mark.parametrize("metric", mostly_slow(["logit_diff", "kl_divergence"], "logit_diff"))
def test_circuits_of_every_kind_of_search_are_measured(model, options, metric):
    task = replace(labelled_task(), metric=metric)
    circuit = ax.find_circuit(model, task, 0.1, **options)
    measured = ax.measure(model, task, circuit, held_out=False, ablations=[], **FEW)
    assert measured.faithfulness == pytest.approx(circuit.faithfulness, abs=1e-3, nan_ok=True)
    assert measured.n_kept == len(circuit.kept) == len(measured.edges)
    assert list(measured.ablations.index) == [options.get("ablation", "corrupted")]
    assert len(measured.tests) == 5
    assert str(measured)


@pytest.mark.slow
def test_what_differs_by_rounding_alone_does_not_differ(mini):
    """Values of one circuit in other batches, and effects of edges that lead from nothing."""
    task = ax.load_task("ioi", mini, 8)
    nothing = ax.measure(mini, task, [], ablations=[], **FEW)
    assert list(nothing.random.as_near) == [20, 20, 20]
    passed = {test.name: test.passed for test in nothing.tests}
    assert passed["sufficiency"] is False
    assert passed["minimality"] is passed["partial necessity"] is None
    circuit = ax.find_circuit(mini, task, "3%")
    loose = {*circuit.kept} - {*circuit.connected()}
    assert loose
    edges = ax.measure(mini, task, circuit, ablations=[], **FEW).edges
    assert (edges.p_value[edges.edge.isin(loose)] == 1).all()


def test_of_the_whole_graph_nothing_can_be_added_or_removed_besides(five_heads):
    everything = ax.load_model("five-heads").graph.edge_ids
    measured = ax.measure(five_heads, "five-heads", everything, ablations="corrupted", **FEW)
    passed = {test.name: test.passed for test in measured.tests}
    assert passed["minimality"] is passed["partial necessity"] is None
    assert measured.faithfulness == pytest.approx(1)


def test_by_kl_divergence_nothing_can_be_better_than_the_full_model(mini):
    task = replace(ax.load_task("ioi", mini, 8), metric="kl_divergence")
    measured = ax.measure(mini, task, ax.find_circuit(mini, task, 0.5), ablations=[], **FEW)
    passed = {test.name: test.passed for test in measured.tests}
    assert passed["equivalence"] is passed["independence"] is None
    assert "no answer" in str(measured)
    assert not any("heads" in line for line in measured.observations)


def test_held_out_prompts_are_others_of_the_same_kind(mini):
    task = ax.load_task("ioi", mini, 16)
    found = prompts_to_measure_on(mini, task, None)
    assert found.held_out
    assert found.told == "16 held-out prompts (seed 1)"
    assert not {*found.task.texts} & {*task.texts}
    assert prompts_to_measure_on(mini, task, False).task is task
    own = task.take(range(8))
    told = prompts_to_measure_on(mini, own, None).told
    assert told == "8 prompts that the circuit was found on"
    why = prompts_to_measure_on(mini, own, None).why
    assert why == "these are some of a task's prompts; give held_out= others of them"
    renamed = replace(task, name="mine")
    assert prompts_to_measure_on(mini, renamed, None).why.startswith("part prompts of your own")
    # The same clean prompts with other corruptions, answers, labels or a metric of one's own.
    for change in (
        {"corrupted_tokens": task.corrupted_tokens.roll(1, 0)},
        {"answer_tokens": task.wrong_tokens, "wrong_tokens": task.answer_tokens},
        {"positions": {"first": torch.zeros(16, dtype=torch.long)}},
        {"metric": lambda logits: logits[:, 5] - logits[:, 7]},
    ):
        changed = replace(task, **change)
        found = prompts_to_measure_on(mini, changed, None)
        assert found.task is changed
        assert found.why
    second = task.take(range(8, 16))
    assert prompts_to_measure_on(mini, own, second).task is second
    seen = prompts_to_measure_on(mini, own, task)
    assert not seen.held_out
    assert seen.told == "16 prompts, 8 of which the circuit was found on"
    with pytest.raises(ValueError, match="has metric 'nll'; the circuit was found by 'logit_diff'"):
        prompts_to_measure_on(mini, own, replace(second, metric="nll"))
    for wrong in (0, np.array([1, 2])):
        with pytest.raises(ValueError, match="a Task, True, False or None"):
            prompts_to_measure_on(mini, own, wrong)
    with pytest.raises(ValueError, match="no held-out prompts: these are some of a task's"):
        prompts_to_measure_on(mini, own, True)
    with pytest.raises(ValueError, match="a Task, True, False or None; got str"):
        prompts_to_measure_on(mini, own, "yes")
    kl = replace(task, metric="kl_divergence")
    assert prompts_to_measure_on(mini, kl, None).task.metric.name == "kl_divergence"


def test_wrong_arguments_are_named(model):
    task = random_task()
    circuit = ax.find_circuit(model, task, "5%")
    for options, told in (
        ({"n_random": 5}, "n_random must be a whole number from 20 on; got 5"),
        ({"max_edges": 0}, "max_edges must be a whole number from 1 on; got 0"),
        ({"seed": -1}, "seed must be"),
        ({"ablations": ["zeros"]}, "unknown ablation 'zeros'"),
    ):
        with pytest.raises(ValueError, match=told):
            ax.measure(model, task, circuit, **options)
    with pytest.raises(ValueError, match="another model or other prompts"):
        ax.measure(model, random_task(seed=5), circuit, **FEW)
    with pytest.raises(ValueError, match="has not ended"):
        ax.measure(model, task, replace(circuit, complete=False), **FEW)


# Random circuits.


@pytest.mark.parametrize("labels", [(), ("S", "END", "rest")])
def test_random_circuits_are_of_the_size_and_kind_that_they_say(labels):
    graph, rng = Graph(3, 4, labels=labels), np.random.default_rng(0)
    kept = any_edges(graph.edge_mask, 40, rng)
    assert kept.sum() == 40
    assert not (kept & ~graph.edge_mask).any()

    def kinds(mask):
        edges = [graph.edge_at(*cell) for cell in np.argwhere(mask)]
        both = [(edge.sender, edge.receiver.node, edge.receiver) for edge in edges]
        return sorted(
            f"{sender.kind}{sender.layer} {node.kind}{node.layer} {into.qkv} {into.position}"
            for sender, node, into in both
        )

    alike = alike_edges(graph, kept, rng)
    assert kinds(alike) == kinds(kept)
    assert (alike != kept).any()
    for n_edges in (4, 40, int(graph.edge_mask.sum())):
        connected = connected_edges(graph, n_edges, rng)
        assert connected.sum() == n_edges
        assert (on_paths(graph, connected) == connected).all()
    assert (any_edges(kept, 100, rng) == kept).all()


def test_any_edge_is_as_likely_as_any_other():
    graph, rng = Graph(1, 2), np.random.default_rng(0)
    counts = sum(any_edges(graph.edge_mask, 3, rng).astype(int) for _ in range(3000))
    shares = counts[graph.edge_mask] / 3000
    assert shares == pytest.approx(3 / graph.n_edges, abs=0.04)


def test_a_path_leads_through_its_edge():
    graph, rng = Graph(3, 2), np.random.default_rng(0)
    edge = graph.parse_edge("a1.h0->a2.h1<k>")
    path = path_through(graph, graph.cell(edge), {INPUT, LOGITS}, rng)
    mask = np.zeros_like(graph.edge_mask)
    mask[tuple(np.array(path).T)] = True
    assert mask[graph.cell(edge)]
    assert (on_paths(graph, mask) == mask).all()


# The tests, by hand.


def test_a_sign_test_by_hand():
    full = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    assert hypotheses.equivalence(full[:5] - 1, full[:5]).passed is None
    worse = hypotheses.equivalence(full - 1, full)
    # All six worse, or all six better: 2 of 64 outcomes.
    assert worse.p_value == pytest.approx(2 / 64)
    assert not worse.passed
    more = np.arange(8.0)
    mixed = hypotheses.equivalence(more + np.array([1, -1, 1, -1, 1, -1, 1, 0]), more)
    # Of seven, four better: no outcome is likelier.
    assert mixed.p_value == 1
    assert mixed.passed
    assert "better than the full model on 4 of 8 prompts, worse on 3" in mixed.told
    assert hypotheses.equivalence(full, full).passed


def test_dependence_is_seen_whatever_its_form():
    rng = np.random.default_rng(0)
    full = rng.normal(size=60)
    assert not hypotheses.independence(2 * full, full, rng).passed
    assert not hypotheses.independence(full**2, full, rng).passed
    assert hypotheses.independence(rng.normal(size=60), full, rng).passed
    assert hypotheses.independence(np.zeros(60), full, rng).p_value == 1
    assert hypotheses.independence(full, np.ones(60), rng).passed is None
    assert hypotheses.independence(full[:3], full[:3], rng).passed is None


def test_p_values_are_adjusted_for_being_many_by_hand():
    adjusted = hypotheses.adjusted_for_many(np.array([0.01, 0.04, 0.03, 0.5]))
    # 0.01 * 4/1; 0.03 * 4/2 and 0.04 * 4/3, of which the smaller; 0.5.
    assert adjusted == pytest.approx([0.04, 0.16 / 3, 0.16 / 3, 0.5])


def test_ranks_among_draws_by_hand():
    draws = np.arange(1, 100, dtype=float)
    best = hypotheses.sufficiency(0.5, draws, "circuits")
    assert best.p_value == pytest.approx(0.01)
    assert best.passed
    assert best.told.startswith("0 of 99 circuits come as near")
    assert hypotheses.sufficiency(10.0, draws, "circuits").p_value == pytest.approx(0.11)
    assert hypotheses.partial_necessity(95.0, draws).p_value == pytest.approx(0.06)
    minimal, adjusted = hypotheses.minimality(np.array([200.0, 50.0]), draws, 2)
    assert adjusted == pytest.approx([0.02, 0.51])
    assert not minimal.passed
    assert "1 of 2 kept edges, each" in minimal.told
    # Above all of ten draws, which is no more than 1 in 11.
    few = hypotheses.minimality(np.array([200.0, 50.0]), draws[:10], 30)[0]
    assert "0 of 2 kept edges drawn from 30, each" in few.told
    assert "2 do more than any of the 10 draws, which are too few" in few.told
    nothing, adjusted = hypotheses.minimality(np.array([]), draws, 0)
    assert nothing.passed is None
    assert len(adjusted) == 0


def test_of_random_circuits_about_one_in_twenty_passes():
    rng = np.random.default_rng(0)
    passed = [
        hypotheses.sufficiency(rng.random(), rng.random(99), "circuits").passed for _ in range(1000)
    ]
    assert np.mean(passed) == pytest.approx(0.05, abs=0.02)


# Roles of heads.


def fill_roles(weights):
    """Two heads that write the answer, one against it, and one that steps in for them."""
    toys._fill_switch(weights, writes_to=toys._LEFT)
    weights["blocks.0.attn.W_O"][:, 0, toys._LEFT] = torch.tensor([2.0, 1.0, -1.0])
    # Looks at the switch only while nobody has said left.
    weights["blocks.1.attn.W_Q"][0, toys._GO, 0] = toys._SURE
    weights["blocks.1.attn.W_Q"][0, toys._LEFT, 0] = -toys._SURE
    weights["blocks.1.attn.W_K"][0, toys._STATE, 0] = 1
    weights["blocks.1.attn.W_V"][0, toys._ON, 0] = 1
    weights["blocks.1.attn.W_O"][0, 0, toys._LEFT] = 1


@pytest.fixture
def roles_model(monkeypatch):
    known = toys.HANDMADE["five-heads"]
    shape = {**known.shape, "n_layers": 2, "n_heads": 3}
    recipe = HandMade(known.true_edges, known.words, shape, fill_roles)
    monkeypatch.setitem(toys.HANDMADE, "roles", recipe)
    return Model(build_handmade("roles", "cpu"), "roles")


def test_heads_that_write_against_the_answer_or_step_in_are_found(roles_model):
    engine = engine_for(roles_model, ax.load_task("five-heads", roles_model))
    assert engine.full_metric == pytest.approx(2, abs=1e-2)
    roles = head_roles(engine)
    assert [(e.head.id, round(e.in_full)) for e in roles.writers] == [("a0.h0", 2), ("a0.h1", 1)]
    assert [(e.head.id, round(e.in_full)) for e in roles.negative] == [("a0.h2", -1)]
    (backup,) = roles.backup
    assert backup.head.id == "a1.h0"
    assert backup.in_full == pytest.approx(0, abs=1e-2)
    assert backup.without_writers == pytest.approx(1, abs=1e-2)


def test_what_is_noticed_is_said(roles_model):
    task = ax.load_task("five-heads", roles_model)
    kept = [
        edge
        for edge in engine_for(roles_model, task).graph.edge_ids
        if edge.startswith(("input->a0.h0", "input->a0.h1", "a0.h0->logits", "a0.h1->logits"))
    ]
    told = " ".join(ax.measure(roles_model, task, [*kept, "a0.h2->a1.h1<q>"], **FEW).observations)
    assert "1 of 9 kept edges lie on no path" in told
    # 3 of 2 logits: the head that writes against the answer is left out.
    assert "150% of what the full model does" in told
    assert "as a0.h2 (-1 logits)" in told
    assert "Negative heads write against the answer (+ helps): a0.h2 (-1 logits)" in told
    assert "Backup heads step in" in told
    assert "a1.h0 (" in told
