"""Wrong arguments are named; what the caller has switched on around a call changes nothing."""

from __future__ import annotations

import sys
from contextlib import contextmanager

import pytest
import torch
from conftest import bridge_of, random_gpt2, random_model, random_task

import acdc_explorer as ax
from acdc_explorer.engine.cache import engine_for
from acdc_explorer.inspection import shares_at
from acdc_explorer.models import Model


@pytest.fixture(scope="module")
def model():
    return Model(bridge_of(random_gpt2("2x4")), "random")


@pytest.fixture(scope="module")
def task():
    return random_task()


@pytest.fixture(scope="module")
def circuit(model, task):
    return ax.find_circuit(model, task, 0.2)


class TestOptions:
    def test_search_takes_what_find_circuit_takes(self, model, task, circuit):
        top = list(ax.search(model, task, method="eap", top_n=7))
        assert sum(step.kept for step in top) <= 7
        replayed = list(ax.search(model, task, 0.2, replay=circuit))
        assert [(step.edge, step.kept) for step in replayed] == [
            (step.edge, step.kept) for step in circuit.decisions
        ]

    @pytest.mark.parametrize("call", [ax.search, ax.threshold_path, ax.Explorer])
    def test_a_typo_is_named_at_once(self, call, model, task):
        with pytest.raises(ValueError, match=r"unknown option 'positons'\. Did you mean 'posi"):
            call(model, task, 0.2, positons=True)

    def test_what_does_not_apply_is_refused_by_name(self, model, task, circuit):
        with pytest.raises(ValueError, match="replay must be a ThresholdPath here; got a Circuit"):
            ax.threshold_path(model, task, replay=circuit)
        with pytest.raises(ValueError, match=r"top_n does not apply here: .* threshold"):
            ax.threshold_path(model, task, top_n=5)
        with pytest.raises(ValueError, match="top_n does not apply here"):
            ax.Explorer(model, task, method="eap", top_n=5)

    @pytest.mark.parametrize("top_n", [2.5, True, 0, 10**6, "5"])
    def test_top_n_is_a_number_of_edges(self, top_n, model, task):
        with pytest.raises(ValueError, match=r"whole number between 1 and .*; got"):
            ax.find_circuit(model, task, method="eap", top_n=top_n)

    @pytest.mark.parametrize("order_seed", [-1, 1.5, "a"])
    def test_order_seed_is_a_whole_number(self, order_seed, model, task):
        with pytest.raises(ValueError, match="order_seed must be a whole number from 0 on; got"):
            ax.find_circuit(model, task, order="random", order_seed=order_seed)

    @pytest.mark.parametrize("steps", [0, 2.5])
    def test_steps_of_attribution(self, steps, model, task):
        with pytest.raises(ValueError, match="steps must be a whole number from 1 on; got"):
            ax.attribute(model, task, "eap_ig", steps=steps)

    @pytest.mark.parametrize("wrong", [None, 3, object()])
    def test_a_task_is_a_task_or_a_name(self, wrong, model):
        with pytest.raises(ValueError, match=r"task must be a Task, or the name of one .*; got"):
            ax.find_circuit(model, wrong)


class TestAnotherTask:
    """What takes a circuit checks that it was found on this model and these prompts."""

    def test_is_refused(self, model, circuit):
        other, edge = random_task(seed=9), circuit.kept[0]
        message = "the circuit is of another model or other prompts: logit_diff .* clean"
        with pytest.raises(ValueError, match=message):
            ax.inspect_edge(model, other, circuit, edge)
        with pytest.raises(ValueError, match=message):
            ax.inspect_node(model, other, circuit, "m0")
        with pytest.raises(ValueError, match=message):
            shares_at(engine_for(model, other), circuit, "END")

    def test_so_is_another_metric_or_model(self, model, circuit):
        with pytest.raises(ValueError, match="of another model or other prompts"):
            ax.inspect_edge(model, random_task(metric="nll"), circuit, circuit.kept[0])
        wider = Model(bridge_of(random_gpt2("4x1")), "other shape")
        with pytest.raises(ValueError, match="2 layers x 4 heads; this one has 4 layers x 1 heads"):
            ax.inspect_edge(wider, random_task(), circuit, circuit.kept[0])


@contextmanager
def lower_precision():
    torch.set_float32_matmul_precision("medium")
    try:
        yield
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")


class TestAroundACall:
    """Autocast, inference mode and lower precision around a call: the same numbers."""

    def results(self, hf_model):
        model, task = ax.load_model(hf_model), random_task()
        check, preview = ax.check_task(model, task), ax.preview_task(model, task)
        found = ax.find_circuit(model, task, 0.02)
        assert len(found.kept) > 20
        inspected = ax.inspect_edge(model, task, found, found.kept[0])
        searched = next(iter(ax.search(model, task, 0.02, method="path_patching")))
        scores = ax.attribute(model, task)
        path = ax.threshold_path(model, task, 0.2, 0.5, seconds=1)
        return (
            found.kept,
            [step.after for step in found.decisions],
            inspected.effect,
            searched.after,
            list(scores.score),
            path.circuits[0].kept,
            ax.evaluate(model, task, found.kept),
            check.clean,
            check.corrupted,
            preview.to_dict(),
        )

    @pytest.mark.slow
    @pytest.mark.parametrize("kind", ["gpt2", "llama"])
    def test_changes_nothing(self, kind):
        hf_model = random_gpt2("2x4") if kind == "gpt2" else random_model(kind)
        expected = self.results(hf_model)
        for around in (
            torch.autocast("cpu", dtype=torch.bfloat16),
            torch.inference_mode(),
            torch.no_grad(),
            lower_precision(),
        ):
            with around:
                assert self.results(hf_model) == expected

    def test_an_engine_made_in_inference_mode_is_whole(self):
        """What one call leaves behind is used by the next."""
        model, task = Model(bridge_of(random_gpt2("2x4")), "random"), random_task()
        with torch.inference_mode():
            ax.evaluate(model, task, [])
            first = next(iter(ax.search(model, task, 0.02)))
        assert ax.attribute(model, task).score.abs().max() > 0
        assert next(iter(ax.search(model, task, 0.02))) == first


def test_an_exit_in_a_metric_does_not_end_the_worker():
    from acdc_explorer.runner.runner import Runner
    from acdc_explorer.runner.state import Request

    calls = []

    def metric(logits):
        calls.append(1)
        if len(calls) > 20:
            sys.exit("enough")
        return logits[:, 0]

    model = Model(bridge_of(random_gpt2("2x4")), "random")
    runner = Runner()
    try:
        runner.start(Request(model, random_task(metric=metric), 0.1))
        assert runner.wait(30) == "error"
        assert "SystemExit: enough" in str(runner.snapshot().error)
        runner.start(Request(model, random_task(), 0.1))
        assert runner.wait(30) == "done"
    finally:
        runner.close()


def test_the_options_are_those_of_find_circuit():
    import inspect

    from acdc_explorer.arguments import SearchOptions

    parameters = inspect.signature(ax.find_circuit).parameters.values()
    options = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
    # What to look for, like the threshold, is an argument of its own wherever it is taken.
    assert options - {"faithfulness"} == set(SearchOptions.__annotations__)
