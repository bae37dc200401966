"""Weights that are not the model's, files that are damaged, tokenizers that are not there."""

from __future__ import annotations

import json
import os
import random
import re
import shutil

import numpy as np
import pytest
import torch
from bpe import bpe_tokenizer, save_bpe_gpt2
from checkpoints import old_checkpoint
from conftest import random_gpt2, random_model, random_task
from safetensors.torch import load_file, save_file

import acdc_explorer as ax
from acdc_explorer.models.loading import BUNDLED

ADVICE = re.compile("weights_only|trust_remote_code|ignore_mismatched|install")


def rewrite(folder, rename=lambda name: name, add=(), **config):
    """Renames a folder's weights, adds some and changes its configuration."""
    file = folder / "model.safetensors"
    state = {rename(name): tensor for name, tensor in load_file(file).items()}
    added = {name: torch.ones(1) for name in add}
    save_file({**state, **added}, file, metadata={"format": "pt"})
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, **config}))


@pytest.fixture
def mini(tmp_path):
    """A copy of the bundled model, to be spoilt."""
    return shutil.copytree(BUNDLED["mini"], tmp_path / "mini")


def assert_refused(folder, message, **options):
    with pytest.raises(ValueError, match=message) as raised:
        ax.load_model(folder, **options)
    assert repr(str(folder)) in str(raised.value)
    assert not ADVICE.search(str(raised.value))
    # Nor may the traceback show another library's advice.
    shown = None if raised.value.__suppress_context__ else raised.value.__context__
    assert not ADVICE.search(str(shown))


@pytest.mark.parametrize("prefix", ["model.", "module.", "base_model.model.", "_orig_mod."])
def test_names_with_a_prefix_are_refused_with_it(mini, prefix):
    rewrite(mini, lambda name: prefix + name, [f"{prefix}transformer.h.0.attn.masked_bias"])
    assert_refused(
        mini,
        r"missing are 53 of the model's \('lm_head.weight', 'transformer.h.0.attn.c_attn.bias', .*"
        rf"not the model's are 49 of them \('{prefix}lm_head.weight', .*"
        f"all names start with '{prefix}'",
    )


def test_a_prefix_before_the_base_models_names(mini):
    rewrite(mini, lambda name: name.replace("transformer.", "module."))
    # The head is there; the rest is random without these.
    assert_refused(mini, "missing are 52 .*all names start with 'module.'")


@pytest.mark.parametrize(
    ("n_layer", "message"),
    [
        (5, r"missing are 12 of the model's \('transformer\.h\.4\..*number of layers"),
        (3, r"not the model's are 11 of them \('transformer\.h\.3\..*number of layers"),
    ],
)
def test_another_number_of_layers_is_refused(mini, n_layer, message):
    rewrite(mini, n_layer=n_layer)
    assert_refused(mini, message)


def test_weights_of_another_shape_are_refused(mini):
    rewrite(mini, n_positions=7)
    assert_refused(mini, r"of another shape are 1 \(transformer.wpe.weight \[64, 128\], not \[7, 1")


def test_a_classifier_is_refused(tmp_path):
    from transformers import GPT2ForSequenceClassification

    GPT2ForSequenceClassification(random_gpt2("2x4").config).save_pretrained(tmp_path)
    assert_refused(
        tmp_path,
        "says GPT2ForSequenceClassification, which is loaded as GPT2LMHeadModel.*'score.weight'",
    )


def test_an_output_that_is_neither_saved_nor_tied_is_refused(tmp_path):
    random_model("llama").model.save_pretrained(tmp_path)
    assert_refused(tmp_path, r"missing are 1 of the model's \('lm_head.weight'\)")


def test_adapters_are_refused(mini, tmp_path):
    (mini / "adapter_config.json").write_text('{"base_model_name_or_path": "gpt2"}')
    message = r"holds an adapter \(adapter_config.json.*merge_and_unload"
    assert_refused(mini, message)
    os.remove(mini / "config.json")
    os.rename(mini / "model.safetensors", mini / "adapter_model.safetensors")
    assert_refused(mini, message)


def test_an_adapter_that_was_not_merged_is_refused(mini):
    rewrite(mini, add=["transformer.h.0.attn.c_attn.lora_A.weight"])
    assert_refused(mini, "not the model's are 1 .*an adapter that was not merged")


@pytest.mark.parametrize(
    ("kind", "block", "buffers"),
    [
        ("gpt2", "transformer.h.0.attn", ["bias", "masked_bias"]),
        ("gpt_neo", "transformer.h.0.attn.attention", ["bias", "masked_bias"]),
        ("gpt_neox", "gpt_neox.layers.0.attention", ["bias", "masked_bias", "rotary_emb.inv_freq"]),
        ("llama", "model.layers.0.self_attn", ["rotary_emb.inv_freq"]),
    ],
)
def test_buffers_of_old_files_do_no_harm(tmp_path, kind, block, buffers):
    hf_model = random_gpt2("2x4") if kind == "gpt2" else random_model(kind)
    hf_model.save_pretrained(tmp_path)
    rewrite(tmp_path, add=[f"{block}.{buffer}" for buffer in buffers])
    # GPT-2's and GPT-Neo's outputs are tied, and so not in the file.
    assert ("lm_head.weight" in load_file(tmp_path / "model.safetensors")) == (kind == "llama")
    tokens = random_task().clean_tokens
    with torch.no_grad():
        got = ax.load_model(tmp_path).bridge(tokens, prepend_bos=False)
        torch.testing.assert_close(got, hf_model(tokens).logits, rtol=1e-4, atol=1e-4)


def test_names_without_the_base_models_are_filled_in(mini):
    rewrite(mini, lambda name: name.removeprefix("transformer."))
    expected = ax.load_model("mini").weights
    torch.testing.assert_close(ax.load_model(mini).weights.W_E, expected.W_E, rtol=0, atol=0)


def test_files_that_an_index_lists_and_that_are_missing(tmp_path):
    random_model("llama").save_pretrained(tmp_path, max_shard_size="20KB")
    assert ax.load_model(tmp_path).graph.n_layers == 2
    (tmp_path / "model-00002-of-00004.safetensors").unlink()
    assert_refused(tmp_path, r"1 of the 4 files .* missing \('model-00002-of-00004.safetensors'\)")
    (tmp_path / "model.safetensors.index.json").write_text("[]")
    assert_refused(tmp_path, "model.safetensors.index.json is no index of weights")
    (tmp_path / "model.safetensors.index.json").unlink()
    assert_refused(tmp_path, "has no model.safetensors or pytorch_model.bin, nor an index")


def test_damaged_files_of_tensors(mini):
    file = mini / "model.safetensors"
    whole = file.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"no such file" * 9, b""):
        file.write_bytes(damaged)
        assert_refused(mini, "model.safetensors is damaged or incomplete.*download it again")


class Harmful:
    """Unpickling it would run code."""

    def __reduce__(self):
        return os.mkdir, ("/nowhere/at/all",)


def test_pickles_that_hold_no_weights(mini):
    state = load_file(mini / "model.safetensors")
    (mini / "model.safetensors").unlink()
    file = mini / "pytorch_model.bin"
    for contents, message in [
        ({"model": state, "step": 3}, "lie under the key 'model'"),
        ({"epoch": 1, "model_state_dict": state}, "lie under the key 'model_state_dict'"),
        ({"state_dict": state}, "lie under the key 'state_dict'"),
        ({**state, "step": 3}, r"holds other things than tensors \('step'\)"),
        (state["lm_head.weight"], "holds a Tensor, not tensors by their names"),
        ({**state, "harmful": Harmful()}, "holds more than tensors, which is not read"),
    ]:
        torch.save(contents, file)
        assert_refused(mini, message, allow_pickle=True)
    torch.save(state, file)
    whole = file.read_bytes()
    for damaged, message in [
        (b"garbage" * 50, "or it was not written by PyTorch"),
        (b"", "damaged or incomplete"),
        (whole[: len(whole) // 2], "damaged or incomplete"),
    ]:
        file.write_bytes(damaged)
        assert_refused(mini, message, allow_pickle=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, "weights are quantised"),
        ({"model_type": "gpt9"}, "its model_type 'gpt9' is none that transformers knows"),
        ({"n_embd": "x"}, "config.json is faulty: .*'n_embd' expected int, got str"),
        ({"n_head": 7}, "cannot load the model"),
        ({"activation_function": "huh"}, "cannot load the model"),
    ],
)
def test_configurations_that_fit_no_model(mini, change, message):
    rewrite(mini, **change)
    assert_refused(mini, message)


def test_old_checkpoints_whose_weights_are_not_the_models(tmp_path):
    folder = tmp_path / "old"
    state, _ = old_checkpoint(folder, "LN")
    file = folder / "model.safetensors"
    save_file({f"module.{name}": tensor for name, tensor in state.items()}, file)
    assert_refused(folder, "missing are .*all names start with 'module.'")
    save_file(state, file)
    settings = json.loads((folder / "config.json").read_text())
    for change, message in [
        ({"n_layers": 1}, r"not the model's are 10 of them \('blocks\.1\."),
        ({"n_layers": 3}, r"missing are 10 of the model's \('blocks\.2\."),
        ({"d_vocab": 41}, r"embed.weight \[40, 24\], not \[41, 24\]"),
        ({"use_local_attn": True}, "as another model: some of its heads .*use_local_attn"),
        ({"use_attn_scale": False}, "does not scale attention scores"),
        ({"parallel_attn_mlp": True}, "read the same stream"),
    ]:
        (folder / "config.json").write_text(json.dumps({**settings, **change}))
        assert_refused(folder, message)
    (folder / "config.json").write_text(json.dumps(settings))
    save_file(state, folder / "earlier.safetensors")
    assert_refused(folder, r"2 files of weights \('earlier.safetensors', 'model.safetensors'\)")
    for name in ("earlier.safetensors", "model.safetensors"):
        (folder / name).unlink()
    torch.save({"model": state}, folder / "model_final.pth")
    assert_refused(folder, "lie under the key 'model'", allow_pickle=True)


def test_a_folder_without_a_tokenizer(tmp_path):
    hf_model = save_bpe_gpt2(tmp_path / "bpe")
    for file in (tmp_path / "bpe").glob("tokenizer*"):
        file.unlink()
    random_model("llama").save_pretrained(tmp_path / "llama")
    for folder in (tmp_path / "bpe", tmp_path / "llama"):
        model = ax.load_model(folder)
        assert model.tokenizer is None
        assert ax.find_circuit(model, random_task(), 0.2).complete
    own = bpe_tokenizer()
    before = own.pad_token
    model = ax.load_model(tmp_path / "bpe", tokenizer=own)
    assert model.tokenizer.tokenize("to Mary")[-1] == "ĠMary"
    assert own.pad_token == before
    assert hf_model.config.vocab_size == model.weights.n_vocab


def test_a_tokenizer_that_cannot_be_read(tmp_path):
    save_bpe_gpt2(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"model": 3}')
    assert_refused(tmp_path, "its tokenizer cannot be read.*Pass another one as tokenizer=")
    assert ax.load_model(tmp_path, tokenizer=bpe_tokenizer()).tokenizer.tokenize("a") == ["a"]


@pytest.mark.parametrize("name", ["mini", "or-gate"])
def test_loading_leaves_random_numbers_as_they_were(name):
    def draw():
        return torch.rand(1).item(), random.random(), np.random.random()

    def seed():
        torch.manual_seed(0)
        random.seed(0)
        np.random.seed(0)

    seed()
    expected = draw()
    seed()
    ax.load_model(name)
    assert draw() == expected


def test_a_failed_load_leaves_random_numbers_as_they_were(mini):
    rewrite(mini, n_layer=5)
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    assert_refused(mini, "missing are 12")
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    "mode",
    [
        lambda: torch.autocast("cpu", dtype=torch.bfloat16),
        torch.inference_mode,
        torch.no_grad,
    ],
)
def test_models_are_the_same_whatever_the_mode(mode):
    expected = ax.load_model("mini").weights
    with mode():
        models = [ax.load_model("mini"), ax.load_model(random_gpt2("2x4"))]
    for model in models:
        for tensor in (model.weights.W_E, model.weights.blocks[0].W_Q, model.weights.b_U):
            assert tensor.dtype == torch.float32
            assert not tensor.is_inference()
        # Which differentiates through the weights.
        tasks = {"mini": "ioi"}.get(model.name)
        task = ax.load_task(tasks, model) if tasks else random_task()
        assert len(ax.attribute(model, task, "eap")) == model.graph.n_edges
    assert torch.equal(models[0].weights.W_E, expected.W_E)
