"""RelP's rules, against autograd through models of transformers that have them."""

from __future__ import annotations

import copy
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from backward_rules import freeze_activations, freeze_norms, halve_gates
from conftest import bridge_of, labelled_task, random_gpt2, random_model

from acdc_explorer.engine.engine import Engine
from acdc_explorer.models.bridge import extract_weights
from acdc_explorer.models.forward import embed, run_block
from acdc_explorer.searches.attribution import edge_scores

# Plain and gated MLPs, grouped queries, norms of queries and keys, of each head and of all in a
# row, parallel blocks, norms after sublayers, soft caps, sliding windows.
KINDS = ["gpt2", "llama", "qwen3", "gpt_neox", "gemma2", "olmo2"]
OF_HEADS = re.compile(r"\.(\d+)\.(attn|self_attn|attention)\.(c_proj|o_proj|dense)$")
OF_MLP = re.compile(r"\.(\d+)\.(mlp|post_feedforward_layernorm)$")


def hf_of(kind):
    return random_gpt2("2x4") if kind == "gpt2" else random_model(kind)


def outputs(hf_model, tokens):
    """Logits, and by sender (layer 0 to 1, "heads" and "mlp") what it writes; heads before W_O."""
    written, hooks = {}, []
    for name, module in hf_model.named_modules():
        if found := OF_HEADS.search(name):
            key = int(found[1]), "heads"
            hook = module.register_forward_pre_hook(
                lambda _, x, key=key: written.__setitem__(key, x[0])
            )
        elif found := OF_MLP.search(name):
            # The norm of what the MLP writes, where there is one, comes later.
            key = int(found[1]), "mlp"
            hook = module.register_forward_hook(
                lambda _, x, y, key=key: written.__setitem__(key, y)
            )
        else:
            continue
        hooks.append(hook)
    embedded = hf_model.get_input_embeddings()
    hooks.append(embedded.register_forward_hook(lambda _, x, y: written.__setitem__("input", y)))
    logits = hf_model(tokens).logits
    for hook in hooks:
        hook.remove()
    return logits, written


def expected_sums(hf_model, task):
    """By sender: minus gradient times change of its output, of the metric's mean over prompts."""
    logits, clean = outputs(hf_model, task.clean_tokens)
    with torch.no_grad():
        _, corrupted = outputs(hf_model, task.corrupted_tokens)
    rows = torch.arange(task.n_prompts)
    at_end = logits[rows, task.end]
    values = at_end[rows, task.answer_tokens[:, 0]] - at_end[rows, task.wrong_tokens[:, 0]]
    names = list(clean)
    gradients = torch.autograd.grad(values.mean(), [clean[name] for name in names])
    sums = {}
    for name, gradient in zip(names, gradients, strict=True):
        product = -(gradient * (corrupted[name] - clean[name])).detach()
        if name != "input" and name[1] == "heads":
            for head, part in enumerate(product.unflatten(-1, (4, -1)).sum((0, 1, 3)).tolist()):
                sums[f"a{name[0]}.h{head}"] = part
        else:
            sums["input" if name == "input" else f"m{name[0]}"] = product.sum().item()
    return sums


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["eap", "relp"])
def test_what_a_sender_does_by_all_its_edges_is_autograd_s(kind, method):
    """Every receiver's gradient has a part in it: that of a sender's output is their sum."""
    hf_model, task = hf_of(kind), labelled_task()
    engine = Engine(extract_weights(bridge_of(hf_model)).double(), task)
    hf_model = copy.deepcopy(hf_model).double()
    hf_model.config._attn_implementation = "eager"
    if method == "relp":
        freeze_norms(hf_model)
        freeze_activations(hf_model)
        halve_gates(hf_model)
    expected = expected_sums(hf_model, task)
    sums = edge_scores(engine, method).sum(0)
    got = {sender.id: sums[n] for n, sender in enumerate(engine.graph.senders)}
    assert got.keys() == expected.keys()
    assert max(map(abs, got.values())) > 0.1
    for sender, value in expected.items():
        assert got[sender] == pytest.approx(value, rel=1e-3, abs=1e-4), sender


@pytest.mark.parametrize("kind", ["gpt2", "gemma2", "olmo2"])
def test_rules_leave_the_forward_run_as_it_is(kind):
    weights, tokens = extract_weights(bridge_of(hf_of(kind))).double(), labelled_task().clean_tokens
    resid = embed(weights, tokens)
    plain, ruled = (
        run_block(weights, weights.blocks[0], resid, relp=relp) for relp in (False, True)
    )
    torch.testing.assert_close(ruled.resid_post, plain.resid_post, rtol=1e-12, atol=1e-12)


def test_a_metric_that_is_a_function_goes_by_the_same_rules():
    weights, task = extract_weights(bridge_of(hf_of("gpt2"))).double(), labelled_task()
    answers, wrong = task.answer_tokens[:, :1], task.wrong_tokens[:, :1]

    def difference(logits):
        return (logits.gather(-1, answers) - logits.gather(-1, wrong))[:, 0]

    by_name = edge_scores(Engine(weights, task), "relp")
    by_function = edge_scores(Engine(weights, replace(task, metric=difference)), "relp")
    np.testing.assert_allclose(by_function, by_name, rtol=0, atol=1e-9)
