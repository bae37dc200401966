"""Products with weights by oneDNN, for large ones on CPUs with AVX-512, are those of `@`."""

from __future__ import annotations

import pytest
import torch
from conftest import bridge_of, random_gpt2, random_model, random_task, ungrouped

from acdc_explorer.circuits.settings import SearchSettings
from acdc_explorer.circuits.steps import EdgeStep
from acdc_explorer.engine.engine import Engine
from acdc_explorer.models import linear as module
from acdc_explorer.models.bridge import extract_weights
from acdc_explorer.models.linear import ACTIVATIONS, linear, linear_each
from acdc_explorer.searches.acdc import acdc_steps
from acdc_explorer.testing.reference import Reference


@pytest.fixture(params=[0, 10**18], ids=["oneDNN", "MKL"])
def library(request, monkeypatch):
    """Each library in turn takes all products; without AVX-512 both are MKL."""
    monkeypatch.setattr(module, "_WORTH", request.param)


def random(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("activation", [None, *ACTIVATIONS])
@pytest.mark.parametrize("bias", [False, True])
def test_linear(library, activation, bias):
    x, weight = random(3, 5, 24), random(24, 40)
    offset = random(40) if bias else None
    # Weights as models have them: in order, transposed, and cut from a larger matrix.
    for stored in (weight, weight.T.contiguous().T, torch.cat([weight, weight], 1)[:, :40]):
        for rows in (x, x.transpose(0, 1), x.expand(2, -1, -1, -1)):
            expected = rows.double() @ weight.double() + (0 if offset is None else offset.double())
            if activation:
                expected = ACTIVATIONS[activation](expected)
            got = linear(rows, stored, offset, activation)
            torch.testing.assert_close(got, expected.float(), rtol=1e-5, atol=1e-5)


def test_some_heads(library):
    x, weight, bias = random(2, 3, 5, 24), random(4, 24, 8), random(4, 8)
    for offset in (None, bias):
        got = linear_each(x, weight, offset, [3, 1])
        for row, head in enumerate([3, 1]):
            expected = x[row] @ weight[head] + (0 if offset is None else bias[head])
            torch.testing.assert_close(got[row], expected, rtol=1e-5, atol=1e-5)


def test_gradients_pass(library):
    x = random(6, 24).requires_grad_()
    linear(x, random(24, 40), random(40), "gelu").sum().backward()
    assert x.grad is not None


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gpt2", "llama", "opt"])
def test_every_decision_of_a_search(library, kind):
    hf_model = random_gpt2("2x4") if kind == "gpt2" else random_model(kind)
    task, settings = random_task(), SearchSettings(0.05, "0.05")
    engine = Engine(extract_weights(bridge_of(hf_model)), task)
    expected = list(Reference(bridge_of(ungrouped(hf_model), torch.float64), task).acdc(settings))
    got = [step for step in acdc_steps(engine, settings) if isinstance(step, EdgeStep)]
    assert [(step.edge, step.kept) for step in got] == [(s.edge, s.kept) for s in expected]
    for mine, reference in zip(got, expected, strict=True):
        assert mine.after == pytest.approx(reference.after, abs=1e-5)
