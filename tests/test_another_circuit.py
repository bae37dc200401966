"""Looking for another circuit that is as faithful, and the search that avoids edges."""

from __future__ import annotations

import math

import numpy as np
import pytest
from conftest import bridge_of, random_gpt2, random_model, random_task

import acdc_explorer as ax
from acdc_explorer.circuits.settings import SearchSettings
from acdc_explorer.circuits.steps import EdgeStep
from acdc_explorer.engine.cache import engine_for
from acdc_explorer.engine.evaluate import evaluate_removed
from acdc_explorer.engine.removed_edges import RemovedEdges
from acdc_explorer.engine.scoring import mean_metric
from acdc_explorer.graph import LOGITS
from acdc_explorer.measures.another_circuit import Attempt, attempt_steps, most_unlike
from acdc_explorer.searches.acdc import acdc_steps
from acdc_explorer.searches.avoided import AvoidedEdges
from acdc_explorer.searches.order import search_receivers, search_senders


def plainly_avoiding(engine, settings, avoided) -> set[str]:
    """ACDC as in the docstring of `searches/acdc.py`, with a full run for every edge."""
    graph, removed, leads_on, kept = engine.graph, engine.graph.mask_of([]), {LOGITS}, set()
    higher = engine.metric.higher_is_better

    def metric(mask):
        return mean_metric(evaluate_removed(engine, [RemovedEdges(mask.copy())])[0])

    before = metric(removed)
    for receiver in search_receivers(graph):
        row = graph.receiver_index[receiver]
        if receiver.node not in leads_on:
            removed[row] = graph.edge_mask[row]
            continue
        senders = search_senders(graph, receiver)
        given = [sender for sender in senders if avoided.mask[row, sender]]
        others = [sender for sender in senders if not avoided.mask[row, sender]]
        for sender in given + others:
            removed[row, sender] = True
            after = metric(removed)
            penalty = avoided.penalty if sender in given else 1.0
            change = settings.change(before, after, engine.full_metric, higher)
            if change < settings.threshold * penalty:
                before = after
            else:
                removed[row, sender] = False
                leads_on.add(graph.senders[sender])
                kept.add(graph.edge_at(row, sender).id)
    return kept


def kept_avoiding(engine, settings, avoided) -> set[str]:
    steps = acdc_steps(engine, settings, avoided=avoided)
    return {step.edge.id for step in steps if isinstance(step, EdgeStep) and step.kept}


@pytest.mark.slow
class TestAvoidingSearch:
    @pytest.mark.parametrize("rule", ["abs", "signed", "cumulative"])
    @pytest.mark.parametrize("kind", ["gpt2", "gemma2"])
    def test_against_plain_runs(self, kind, rule):
        hf_model = random_gpt2("3x2") if kind == "gpt2" else random_model(kind)
        model, task = ax.load_model(bridge_of(hf_model)), random_task()
        circuit = ax.find_circuit(model, task, 0.1, rule=rule)
        engine = engine_for(model, task)
        results = []
        for penalty in (1.0, 3.0, math.inf):
            avoided = AvoidedEdges(engine.graph, circuit.kept_mask, penalty)
            results.append(kept_avoiding(engine, circuit.settings, avoided))
            assert results[-1] == plainly_avoiding(engine, circuit.settings, avoided)
        assert results[0] != results[1]
        assert not results[2] & set(circuit.kept)

    def test_none_avoided_is_the_plain_search(self):
        model, task = ax.load_model(bridge_of(random_gpt2("3x2"))), random_task()
        engine, settings = engine_for(model, task), SearchSettings(0.1, "0.1")
        none = AvoidedEdges(engine.graph, engine.graph.mask_of([]), 8.0)
        assert kept_avoiding(engine, settings, none) == set(ax.find_circuit(model, task, 0.1).kept)

    def test_screening_finds_nearly_the_same(self):
        model = ax.load_model("mini")
        task = ax.load_task("greater_than", model, 16)
        exact = ax.find_circuit(model, task, "5%")
        engine = engine_for(model, task)
        found = []
        for screen in (0.0, 0.5):
            settings = SearchSettings(exact.threshold, "5%", screen=screen)
            avoided = AvoidedEdges(engine.graph, exact.kept_mask, 2.0)
            found.append(kept_avoiding(engine, settings, avoided))
        assert len(found[0] ^ found[1]) <= 0.2 * len(found[0])


class TestHandBuilt:
    @pytest.mark.slow
    def test_either_input_of_the_or_gate_suffices(self):
        model = ax.load_model("or-gate")
        task = ax.load_task("or-gate", model, 8)
        circuit = ax.find_circuit(model, task, 0.5)
        other = ax.another_circuit(model, task, circuit)
        given = {"input->a0.h0<v>", "a0.h0->m0", "m0->logits"}
        assert set(circuit.kept) == given
        assert other.found
        assert set(other.kept) == {"input->a0.h1<v>", "a0.h1->m0", "m0->logits"}
        assert other.shared == ("m0->logits",)
        assert other.jaccard == pytest.approx(1 / 5)
        assert other.faithfulness == 1
        # Found at the circuit's own threshold, so that no lower one is tried.
        assert set(other.attempts["threshold"]) == {0.5}
        assert str(other) == (
            "There is another circuit (3 edges, 1 of them among the 3 of the given one; "
            "faithfulness 100.0%, the given one's 100.0%): do not say 'the' circuit."
        )

    @pytest.mark.slow
    def test_all_five_heads_are_needed(self):
        model = ax.load_model("five-heads")
        task = ax.load_task("five-heads", model, 8)
        circuit = ax.find_circuit(model, task, 0.5)
        other = ax.another_circuit(model, task, circuit)
        assert not other.found
        assert set(other.shared) == set(other.kept) == set(circuit.kept)
        assert other.as_faithful
        assert str(other).startswith("No other circuit was found in 9 searches. The most unlike")

    @pytest.mark.slow
    @pytest.mark.parametrize("options", [{"screen": 0.5}, {"order": "ascending_heads"}])
    def test_with_other_options(self, options):
        model = ax.load_model("or-gate")
        task = ax.load_task("or-gate", model, 8)
        circuit = ax.find_circuit(model, task, 0.5, **options)
        other = ax.another_circuit(model, task, circuit)
        assert other.found
        assert other.shared == ("m0->logits",)

    def test_a_circuit_that_does_nothing_has_no_other(self):
        model = ax.load_model("or-gate")
        task = ax.load_task("or-gate", model, 8)
        # Alone, either head does nothing, so that attribution sees the MLP only.
        circuit = ax.find_circuit(model, task, 0.2, method="eap")
        assert circuit.kept == ["m0->logits"]
        with pytest.raises(ValueError, match=r"faithfulness is 0.0%; with a tolerance of 5%, no"):
            ax.another_circuit(model, task, circuit)


class TestChoice:
    """On attempts made up, against a circuit of ten edges with faithfulness 1."""

    @staticmethod
    def attempt(n_shared, n_others, faithfulness, circuit):
        kept = [*circuit.kept[:n_shared], *circuit.removed[:n_others]]
        as_faithful = abs(1 - faithfulness) <= 0.05
        return Attempt(0.5, 1.0, tuple(kept), n_shared, faithfulness, as_faithful)

    @pytest.fixture(scope="class")
    def circuit(self):
        model = ax.load_model("five-heads")
        return ax.find_circuit(model, ax.load_task("five-heads", model, 4), 0.5)

    def test_the_fewest_shared_edges_of_those_as_faithful(self, circuit):
        attempts = [
            self.attempt(8, 1, 1.0, circuit),
            self.attempt(4, 5, 0.96, circuit),
            self.attempt(4, 4, 0.97, circuit),
            self.attempt(0, 2, 0.9, circuit),
        ]
        found = most_unlike(circuit, attempts, 0.5)
        assert found.found
        assert found.kept == attempts[2].kept
        assert found.shared == attempts[2].kept[:4]
        assert found.jaccard == pytest.approx(4 / 14)
        assert not most_unlike(circuit, attempts, 0.4).found
        table = found.attempts
        assert table["edges"].tolist() == [9, 9, 8, 2]
        assert table["shared"].tolist() == [8, 4, 4, 0]
        np.testing.assert_allclose(table["jaccard"], [8 / 11, 4 / 15, 4 / 14, 0])

    def test_a_part_of_the_given_circuit_is_no_other(self, circuit):
        part, other = self.attempt(2, 1, 1.0, circuit), self.attempt(3, 6, 1.0, circuit)
        assert not most_unlike(circuit, [part], 0.5).found
        # Though that shares more edges.
        assert most_unlike(circuit, [part, other], 0.5).kept == other.kept

    def test_the_most_faithful_where_none_is_as_faithful(self, circuit):
        attempts = [
            self.attempt(0, 2, math.nan, circuit),
            self.attempt(1, 2, 1.2, circuit),
            self.attempt(0, 2, 0.7, circuit),
        ]
        found = most_unlike(circuit, attempts, 0.5)
        assert not found.found
        assert found.faithfulness == 1.2
        assert str(found).startswith(
            "No other circuit was found in 3 searches: none is as faithful. The nearest: 3 edges, 1"
        )


class TestOnMini:
    @pytest.fixture(scope="class")
    def given(self):
        model = ax.load_model("mini")
        task = ax.load_task("induction", model, 16)
        return model, task, ax.find_circuit(model, task, "7%")

    def test_what_is_said_of_the_circuits_is_so(self, given):
        model, task, circuit = given
        other = ax.another_circuit(model, task, circuit)
        value = ax.evaluate(model, task, kept=other.kept)
        span = circuit.full_metric - circuit.corrupted_metric
        share = (value - circuit.corrupted_metric) / span
        assert other.faithfulness == pytest.approx(share, abs=1e-5)
        assert abs(1 - share) <= abs(1 - circuit.faithfulness) + 0.05
        assert set(other.shared) == set(other.kept) & set(circuit.kept)
        thresholds = sorted(set(other.attempts["threshold"]), reverse=True)
        np.testing.assert_allclose(thresholds, circuit.threshold * np.array([1, 0.5, 0.25]))

    def test_step_by_step(self, given):
        model, task, circuit = given
        steps, n_tests = attempt_steps(engine_for(model, task), circuit, 0.05, 0.5), 0
        for step in steps:
            n_tests += isinstance(step, EdgeStep)
            if isinstance(step, Attempt):
                break
        assert n_tests > len(step.kept)
        assert step.n_shared == len(set(step.kept) & set(circuit.kept))

    def test_wrong_arguments_are_named(self, given):
        model, task, circuit = given
        with pytest.raises(ValueError, match="tolerance must be a share from 0 to below 1; got -1"):
            ax.another_circuit(model, task, circuit, tolerance=-1)
        with pytest.raises(ValueError, match=r"most_shared must be a share .* got '50%'"):
            ax.another_circuit(model, task, circuit, most_shared="50%")
        other = ax.load_task("induction", model, 16, seed=3)
        with pytest.raises(ValueError, match="of another model or other prompts"):
            ax.another_circuit(model, other, circuit)
        empty = ax.find_circuit(model, task, 1e6)
        with pytest.raises(ValueError, match="keeps no edge"):
            ax.another_circuit(model, task, empty)
