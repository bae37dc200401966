"""Every kind of model that the engine takes, against transformers and the slow reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import (
    CONTEXT,
    KINDS,
    VOCAB,
    assert_logits_equal_transformers,
    attention_only,
    bridge_of,
    labelled_task,
    mostly_slow,
    random_gpt2,
    random_model,
    random_task,
    ungrouped,
)
from derivatives import assert_derivatives

from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.settings import SearchSettings
from acdc_explorer.circuits.steps import EdgeStep
from acdc_explorer.engine.engine import Engine
from acdc_explorer.engine.evaluate import evaluate_removed
from acdc_explorer.engine.removed_edges import RemovedEdges
from acdc_explorer.models.bridge import extract_weights
from acdc_explorer.models.faults import UnsupportedModelError
from acdc_explorer.models.forward import run
from acdc_explorer.models.sublayers import normalize
from acdc_explorer.options import ABLATIONS
from acdc_explorer.searches.acdc import acdc_steps
from acdc_explorer.searches.methods import circuit_of
from acdc_explorer.testing.reference import Reference

NATIVE = ["attention-only", "no norms", "no norms, attention-only"]
ALL = [*KINDS, *NATIVE]
# transformers computes RMS norms and softmaxes in float32 whatever the model's precision.
TOLERANCE = 5e-5
LATENT = {
    "q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8,
    "v_head_dim": 8, "n_routed_experts": 4, "n_group": 1, "topk_group": 1, "num_experts_per_tok": 2,
    "moe_intermediate_size": 8, "first_k_dense_replace": 2,
}  # fmt: skip


def native(dtype=torch.float32, **options):
    """A random model of TransformerLens's own making, 2 layers x 3 heads, without norms."""
    from transformer_lens import TransformerBridgeConfig
    from transformer_lens.model_bridge import TransformerBridge

    config = {
        "d_model": 24, "d_head": 8, "n_heads": 3, "n_layers": 2, "n_ctx": CONTEXT, "d_vocab": VOCAB,
        "normalization_type": None, "act_fn": "gelu", "seed": 0, "device": "cpu", **options,
    }  # fmt: skip
    bridge = TransformerBridge.boot_native(TransformerBridgeConfig(**config)).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in bridge.parameters():
            parameter += 0.25 * torch.randn(parameter.shape, generator=generator)
    return bridge.to(dtype)


def bridges(kind):
    """A bridge for the engine, and one in float64 for the reference."""
    if kind == "attention-only":
        return attention_only(), attention_only(torch.float64)
    if kind in NATIVE:
        options = {"attn_only": "attention-only" in kind, "d_mlp": 48}
        return native(**options), native(torch.float64, **options)
    hf_model = random_model(kind)
    return bridge_of(hf_model), bridge_of(ungrouped(hf_model), torch.float64)


def make(kind, ablation="corrupted"):
    bridge, exact = bridges(kind)
    # Prompts longer than the sliding windows, and differing early enough to fall out of them.
    task = random_task(length=11)
    return Engine(extract_weights(bridge), task, ablation), Reference(exact, task, ablation)


@pytest.mark.parametrize("kind", list(KINDS))
def test_logits_equal_transformers(kind):
    assert_logits_equal_transformers(random_model(kind))


def test_gated_mlps_with_biases():
    hf_model = random_model("llama", mlp_bias=True)
    assert_logits_equal_transformers(hf_model)
    assert extract_weights(bridge_of(hf_model)).blocks[0].mlp.b_gate.abs().max() > 0.1


@pytest.mark.parametrize("saved", [True, False])
def test_a_gpt2_without_an_attention_scale(tmp_path, saved):
    import acdc_explorer as ax

    hf_model = random_gpt2("2x4")
    config = hf_model.config
    config.scale_attn_weights = False
    scaled, hf_model = hf_model, type(hf_model)(config).eval()
    hf_model.load_state_dict(scaled.state_dict())
    hf_model.save_pretrained(tmp_path)
    tokens = random_task().clean_tokens
    with torch.no_grad():
        expected = hf_model(tokens).logits
        assert (expected - scaled(tokens).logits).abs().max() > 1
    model = ax.load_model(tmp_path if saved else hf_model)
    torch.testing.assert_close(
        run(model.weights, tokens).logits(model.weights), expected, rtol=1e-5, atol=2e-5
    )
    with torch.no_grad():
        torch.testing.assert_close(hf_model(tokens).logits, expected)
    # A bridge that somebody else made scales all the same.
    with pytest.raises(UnsupportedModelError, match="unscaled attention scores, which Transf"):
        extract_weights(bridge_of(hf_model))


@pytest.mark.parametrize("options", [{"attn_only": True}, {"d_mlp": 48}])
def test_models_without_norms(options):
    bridge = native(**options)
    weights = extract_weights(bridge)
    assert weights.ln_final is None
    assert all(block.ln1 is None for block in weights.blocks)
    assert normalize(weights.W_E, None) is weights.W_E
    assert_derivatives(Engine(weights.double(), labelled_task()))


def test_a_last_norm_of_another_kind():
    weights = extract_weights(native(normalization_type="LN", final_rms=True, attn_only=True))
    assert weights.ln_final.bias is None
    assert weights.blocks[0].ln1.bias is not None


def test_own_attention_scales():
    assert extract_weights(native(attn_only=True, attn_scale=3.0)).attn_scale == 3
    # TransformerLens's own attention scales whatever this says.
    unscaled = extract_weights(native(attn_only=True, use_attn_scale=False))
    assert unscaled.attn_scale == pytest.approx(8**0.5)


@pytest.mark.parametrize("kind", ["gpt_neo", "mistral"])
def test_windows_are_seen(kind):
    weights = extract_weights(bridge_of(random_model(kind)))
    assert weights.blocks[-1].window == 4
    # GPT-Neo alternates; Mistral slides in every block.
    assert weights.blocks[0].window == (None if kind == "gpt_neo" else 4)


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("ablation", mostly_slow(ABLATIONS, "corrupted"))
def test_random_removed_sets_equal_the_reference(kind, ablation):
    engine, reference = make(kind, ablation)
    assert engine.graph == reference.graph
    rng = np.random.default_rng(0)
    edges = engine.graph.edge_mask
    masks = [edges & (rng.random(edges.shape) < share) for share in (0, 0.02, 0.3, 0.8, 1)]
    expected = torch.stack([reference.evaluate(mask) for mask in masks])
    assert (expected.mean(1) - expected[0].mean()).abs().max() > 0.01
    circuits = [RemovedEdges(mask) for mask in masks]
    exact = evaluate_removed(engine.in_float64, circuits)
    torch.testing.assert_close(exact, expected.double(), rtol=0, atol=TOLERANCE)
    if ablation != "zero":
        # A stream of which all is taken away is rounding alone, and an RMS norm blows that up.
        single = evaluate_removed(engine, circuits).double()
        torch.testing.assert_close(single, exact, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("kind", "threshold"),
    [
        *mostly_slow([(kind, 0.2) for kind in ALL], ("llama", 0.2), ("gemma2", 0.2)),
        # A decision takes the reference long; tests/fuzz.py draws thresholds for all kinds.
        *(
            pytest.param(kind, 0.03, marks=pytest.mark.slow)
            for kind in ("llama", "gpt_neox", "gemma2", "olmo2", "attention-only")
        ),
    ],
)
def test_every_decision_equals_the_reference(kind, threshold):
    engine, reference = make(kind)
    settings = SearchSettings(threshold, str(threshold))
    got = [s for s in acdc_steps(engine, settings) if isinstance(s, EdgeStep)]
    expected = list(reference.acdc(settings))
    assert any(step.kept for step in expected)
    assert not all(step.kept for step in expected)
    assert [step.edge.id for step in got] == [step.edge.id for step in expected]
    assert [step.kept for step in got] == [step.kept for step in expected]
    for mine, exact in zip(got, expected, strict=True):
        assert mine.after == pytest.approx(exact.after, abs=TOLERANCE)


def test_the_heads_of_a_parallel_block_do_not_feed_its_mlp():
    graph = extract_weights(bridge_of(random_model("gpt_neox"))).graph
    with pytest.raises(ValueError, match="L1H0 does not come before MLP 1"):
        graph.parse_edge("a1.h0->m1")
    assert graph.parse_edge("a0.h0->m1").id == "a0.h0->m1"


def test_an_attention_only_model_has_no_mlps(tmp_path):
    engine, _ = make("attention-only")
    assert not any(node.kind == "mlp" for node in engine.graph.nodes)
    settings = SearchSettings(0.1, "0.1")
    circuit = circuit_of("toy", engine, settings, acdc_steps(engine, settings))
    circuit.save(tmp_path / "toy.json")
    assert Circuit.load(tmp_path / "toy.json").graph == engine.graph


def test_query_heads_of_one_group_have_keys_of_their_own():
    """Removing an edge into one query head's keys must not change its neighbour's."""
    engine, _ = make("llama")
    assert engine.graph.parse_edge("input->a1.h1<k>")
    first, second = (
        evaluate_removed(engine, [RemovedEdges(engine.graph.mask_of([edge]))])[0]
        for edge in ("input->a1.h0<k>", "input->a1.h1<k>")
    )
    assert (first - second).abs().max() > 1e-3


def test_the_reference_says_that_it_needs_ungrouped_heads():
    with pytest.raises(ValueError, match="as many key-value heads as query heads \\(4\\)"):
        Reference(bridge_of(random_model("llama")), random_task())


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("Mixtral", {"num_local_experts": 2}, "experts"),
        ("Bloom", {"n_layer": 2, "n_head": 4}, "alibi positions"),
        ("OPT", {"word_embed_proj_dim": 16}, "embeddings of 16 dimensions on a stream of 32"),
        ("OPT", {"do_layer_norm_before": False, "word_embed_proj_dim": 32}, "norms after each sub"),
        ("Mamba", {"state_size": 4}, "blocks without attention"),
        ("Llama", {"is_causal": False}, "attention to later tokens too"),
        ("Mistral", {"is_causal": False}, "attention to later tokens too"),
        ("Gemma", {"head_dim": 8, "use_bidirectional_attention": True}, "later tokens too"),
        ("DeepseekV3", LATENT, "multi-head latent attention"),
        ("GPTJ", {"n_embd": 32, "n_layer": 2, "n_head": 4, "rotary_dim": 4}, "interleaved rotary"),
    ],
)
def test_what_cannot_be_reproduced_is_refused_with_the_reason(monkeypatch, name, options, reason):
    monkeypatch.setitem(KINDS, "refused", (name, options))
    with pytest.raises(UnsupportedModelError, match=reason):
        extract_weights(bridge_of(random_model("refused")))


@pytest.mark.parametrize(
    ("setting", "value", "reason"),
    [
        ("is_causal", False, "attention to later tokens too"),
        ("scale_attn_by_inverse_layer_idx", True, "an attention scale that differs by layer"),
    ],
)
def test_settings_of_gpt2_that_are_refused_with_the_reason(setting, value, reason):
    hf_model = random_gpt2("2x4")
    setattr(hf_model.config, setting, value)
    with pytest.raises(UnsupportedModelError, match=reason):
        extract_weights(bridge_of(hf_model))


def test_models_of_images_and_text_are_refused_with_the_reason():
    import transformers

    text = {
        "vocab_size": VOCAB, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
        "intermediate_size": 48,
    }  # fmt: skip
    vision = {
        "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 2, "image_size": 8, "patch_size": 4,
    }  # fmt: skip
    llava = transformers.LlavaConfig(
        text_config={"model_type": "llama", **text},
        vision_config={"model_type": "clip_vision_model", "projection_dim": 8, **vision},
    )
    gemma = transformers.Gemma3Config(
        text_config={"head_dim": 8, **text}, vision_config=vision, mm_tokens_per_image=4
    )
    for config in (llava, gemma):
        name = type(config).__name__.replace("Config", "ForConditionalGeneration")
        model = getattr(transformers, name)(config)
        with pytest.raises(UnsupportedModelError, match="images or sound besides text"):
            extract_weights(bridge_of(model))


def test_encoders_are_refused_with_the_reason():
    from transformers import BertConfig, BertForMaskedLM, T5Config, T5ForConditionalGeneration

    t5 = T5Config(vocab_size=VOCAB, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4)
    with pytest.raises(UnsupportedModelError, match="an encoder besides its decoder"):
        extract_weights(bridge_of(T5ForConditionalGeneration(t5)))
    bert = BertConfig(
        vocab_size=VOCAB, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=48,
    )  # fmt: skip
    with pytest.raises(UnsupportedModelError, match=r"norms after each .*later tokens too"):
        extract_weights(bridge_of(BertForMaskedLM(bert)))
    with pytest.raises(UnsupportedModelError, match="attention to later tokens too"):
        extract_weights(native(attn_only=True, attention_dir="bidirectional"))


def test_a_component_that_the_configuration_does_not_mention():
    hf_model = random_model("llama")
    # Doubles what the first block writes.
    bridge = bridge_of(hf_model)
    bridge.blocks[0].register_forward_hook(lambda module, inputs, output: output * 2)
    with pytest.raises(UnsupportedModelError, match="a component that its config does not mention"):
        extract_weights(bridge)


def test_a_saved_folder_of_another_kind_loads_and_is_searched(tmp_path):
    import acdc_explorer as ax

    random_model("qwen3").save_pretrained(tmp_path)
    model = ax.load_model(tmp_path, device="cpu")
    circuit = ax.find_circuit(model, random_task(), threshold=0.2)
    assert circuit.kept
    assert circuit.complete
    removed = circuit.edges.query("state == 'removed'").edge
    assert ax.evaluate(model, random_task(), removed) == pytest.approx(
        circuit.metric_value, abs=1e-4
    )
