"""What stands after END is padding, and matters to nothing."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from conftest import VOCAB, bridge_of, mostly_slow, random_gpt2, random_model, random_task

from acdc_explorer.circuits.settings import SearchSettings
from acdc_explorer.circuits.steps import EdgeStep
from acdc_explorer.engine.engine import Engine
from acdc_explorer.models.bridge import extract_weights
from acdc_explorer.options import ABLATIONS
from acdc_explorer.searches.attribution import edge_scores
from acdc_explorer.searches.methods import search_steps


def padded(task, seed):
    """The same prompts with other tokens after END."""
    generator = torch.Generator().manual_seed(seed)
    after = torch.arange(task.n_positions) > task.end[:, None]
    assert after.any()
    clean, corrupted = (
        torch.where(after, torch.randint(VOCAB, tokens.shape, generator=generator), tokens)
        for tokens in (task.clean_tokens, task.corrupted_tokens)
    )
    return dataclasses.replace(task, clean_tokens=clean, corrupted_tokens=corrupted)


@pytest.mark.parametrize("ablation", ABLATIONS)
@pytest.mark.parametrize("kind", mostly_slow(["gpt2", "llama"], "gpt2"))
@pytest.mark.parametrize("positions", mostly_slow([False, True], True))
def test_padding_never_matters(ablation, kind, positions):
    hf_model = random_gpt2("2x4") if kind == "gpt2" else random_model(kind)
    weights, task = extract_weights(bridge_of(hf_model)), random_task(n_prompts=6)
    results = []
    for each in (task, padded(task, 1), padded(task, 2)):
        engine = Engine(weights, each, ablation, positions=positions)
        settings = SearchSettings(0.05, "", ablation=ablation)
        steps = [s for s in search_steps(engine, settings) if isinstance(s, EdgeStep)]
        decided = [(step.edge, step.kept) for step in steps]
        results.append((decided, engine.corrupted_metric, torch.tensor(edge_scores(engine))))
    for decided, corrupted, scores in results[1:]:
        assert decided == results[0][0]
        assert corrupted == pytest.approx(results[0][1], abs=1e-5)
        torch.testing.assert_close(scores, results[0][2], atol=1e-5, rtol=0)


def test_a_mean_is_taken_over_the_prompts_that_reach_a_position():
    engine = Engine(
        extract_weights(bridge_of(random_gpt2("2x4"))), random_task(n_prompts=6), "mean"
    )
    corrupted = engine.slices[0].corrupted_run().mlp_out[0]
    for position in range(engine.task.n_positions):
        reaching = engine.task.end >= position
        if reaching.any():
            expected = corrupted[reaching, position].mean(0)
            torch.testing.assert_close(engine.slices[0].ablated.mlp_out[0][0, position], expected)
