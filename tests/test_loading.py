"""Models from every source: objects in memory, GPT-2's type of folder, old checkpoints, pickles."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys

import pytest
import torch
from bpe import bpe_gpt2, bpe_tokenizer, save_bpe_gpt2
from checkpoints import old_checkpoint
from conftest import bridge_of, random_gpt2, random_model, random_task
from safetensors.torch import save_file

import acdc_explorer as ax
from acdc_explorer.engine.cache import engine_for
from acdc_explorer.models.faults import UnsupportedModelError
from acdc_explorer.tasks.builtin.ioi import ioi_pairs

TOKENS = torch.arange(8)[None]


def logits_of(model):
    with torch.no_grad():
        return model.bridge(TOKENS, prepend_bos=False)


def ioi_text(n_prompts):
    """IOI as somebody would bring it: texts in a table, answers without a space."""
    import pandas as pd

    return pd.DataFrame(
        [
            {
                "clean": pair.clean,
                "corrupted": pair.corrupted,
                "answer": pair.answer.strip(),
                "wrong_answer": pair.wrong_answer.strip(),
            }
            for pair in ioi_pairs(n_prompts, seed=1)
        ]
    )


def test_a_folder_of_gpt2s_type_from_text_to_a_circuit(tmp_path):
    hf_model = save_bpe_gpt2(tmp_path / "mine")
    model = ax.load_model(tmp_path / "mine", device="cpu")
    with torch.no_grad():
        torch.testing.assert_close(logits_of(model), hf_model(TOKENS).logits)
    task = ax.Task.from_dataframe(ioi_text(8), model)
    assert task.clean_tokens[:, 0].eq(model.tokenizer.bos_token_id).all()
    names = model.tokenizer.convert_ids_to_tokens(task.answer_tokens[:, 0].tolist())
    assert all(name.startswith("Ġ") for name in names)
    assert list(task.positions) == ["changed 1", "changed 2", "changed 3", "END"]
    circuit = ax.find_circuit(model, task, "20%")
    assert circuit.complete
    assert 0 < len(circuit.kept) < model.graph.n_edges
    assert ax.evaluate(model, task, removed=[]) == pytest.approx(circuit.full_metric)


@pytest.mark.slow
def test_gpt2s_exact_shape_from_text_to_a_circuit(tmp_path):
    save_bpe_gpt2(tmp_path / "big", n_layer=12, n_head=12, n_embd=768)
    model = ax.load_model(tmp_path / "big", device="cpu")
    assert model.graph.n_edges == 32_491
    task = ax.Task.from_dataframe(ioi_text(2), model)
    engine = engine_for(model, task)
    threshold = 0.15 * abs(engine.full_metric - engine.corrupted_metric)
    circuit = ax.find_circuit(model, task, threshold)
    assert circuit.complete
    assert 3 <= len(circuit.kept) < 3_000
    removed = set(model.graph.edge_ids) - set(circuit.kept)
    assert ax.evaluate(model, task, removed) == pytest.approx(circuit.metric_value, abs=1e-4)


def test_a_hugging_face_model_object_is_copied_and_not_changed():
    hf_model, tokenizer = bpe_gpt2().to(torch.bfloat16), bpe_tokenizer()
    before = copy.deepcopy(hf_model.state_dict())
    classes = [type(module) for module in hf_model.modules()]
    attention, pad = hf_model.config._attn_implementation, tokenizer.pad_token
    model = ax.load_model(hf_model, tokenizer=tokenizer)
    assert model.weights.W_E.dtype == torch.float32
    task = ax.Task.from_dataframe(ioi_text(2), model)
    ax.find_circuit(model, task, "50%")
    after = hf_model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(after[name].dtype == before[name].dtype for name in before)
    assert [type(module) for module in hf_model.modules()] == classes
    assert hf_model.config._attn_implementation == attention
    assert tokenizer.pad_token == pad
    # In float32 the copy computes what the original would.
    with torch.no_grad():
        expected = copy.deepcopy(hf_model).float()(TOKENS).logits
    torch.testing.assert_close(logits_of(model), expected, rtol=1e-4, atol=1e-4)


def test_a_model_object_without_a_tokenizer():
    model = ax.load_model(random_gpt2("2x4"))
    assert model.name == "GPT2LMHeadModel"
    assert model.tokenizer is None
    assert ax.find_circuit(model, random_task(), 0.2).complete


def test_arguments_that_do_not_go_with_the_model(tmp_path):
    bridge = bridge_of(random_gpt2("2x4"))
    for arguments, message in [
        ({"model": "mini", "revision": "v1"}, "model 'mini' is bundled and takes no revision"),
        ({"model": str(tmp_path), "revision": "v1"}, "is a folder and takes no revision"),
        ({"model": "or-gate", "tokenizer": 3}, "'or-gate' is hand-built and takes no tokenizer"),
        ({"model": bridge, "revision": "v1"}, "revision goes with a name on the Hugging Face hub"),
        ({"model": bridge, "tokenizer": 3}, "tokenizer goes with a Hugging Face model"),
        ({"model": "mini", "tokenizer": 3}, "must be one of transformers' tokenizers.*; got 3"),
        ({"model": random_gpt2("2x4"), "tokenizer": "gpt2"}, "transformers' .*; got 'gpt2'"),
        ({"model": "mini", "dtype": torch.float16}, r"must be float32.*got torch\.float16"),
        ({"model": "mini", "dtype": "int8"}, "must be float32.*got 'int8'"),
        ({"model": "mini", "device": "gpu"}, "device must be 'auto', 'cpu', .*; got 'gpu'"),
        ({"model": "mini", "device": "meta"}, "device must be 'auto', 'cpu', .*; got 'meta'"),
        ({"model": "mini", "device": "mps"}, "device 'mps' cannot be used: it has no float64"),
    ]:
        with pytest.raises(ValueError, match=message):
            ax.load_model(**arguments)
    assert ax.load_model("or-gate", dtype=torch.float32).name == "or-gate"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there():
    with pytest.raises(ValueError, match="device 'cuda' needs a GPU, and PyTorch finds none"):
        ax.load_model("mini", device="cuda")


def test_pickles_are_read_only_when_allowed(tmp_path):
    hf_model = save_bpe_gpt2(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(hf_model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"only pytorch_model\.bin: pickled weights.*allow_pickle"):
        ax.load_model(tmp_path)
    model = ax.load_model(tmp_path, allow_pickle=True)
    with torch.no_grad():
        torch.testing.assert_close(logits_of(model), hf_model(TOKENS).logits)
    # Another file of tensors beside them does not allow it.
    save_file({"step": torch.ones(1)}, tmp_path / "optimizer.safetensors")
    with pytest.raises(ValueError, match=r"only pytorch_model\.bin: pickled weights.*allow_pickle"):
        ax.load_model(tmp_path)


def test_code_that_comes_with_a_model_is_not_run(tmp_path):
    save_bpe_gpt2(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "evil.Config"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "evil.py").write_text("raise SystemExit('the code was run')")
    with pytest.raises(ValueError, match=r"model_type 'own' is none .* is not run") as raised:
        ax.load_model(tmp_path)
    assert "trust_remote_code" not in str(raised.value)


# Old TransformerLens's names of parameters, and how a bridge's tensor becomes one of them.
@pytest.mark.parametrize("normalization", ["LN", "LNPre"])
def test_old_transformer_lens_checkpoints(tmp_path, normalization):
    state, logits = old_checkpoint(tmp_path / "old", normalization)
    save_file(state, tmp_path / "old" / "model.safetensors")
    model = ax.load_model(tmp_path / "old")
    torch.testing.assert_close(logits_of(model), logits, rtol=1e-4, atol=1e-5)
    assert model.tokenizer is None
    assert ax.find_circuit(model, random_task(), 0.2).complete
    bpe_tokenizer().save_pretrained(tmp_path / "old")
    assert ax.load_model(tmp_path / "old").tokenizer.tokenize("to Mary")[-1] == "ĠMary"


def test_old_checkpoints_that_are_pickled_or_faulty(tmp_path):
    state, logits = old_checkpoint(tmp_path / "old", "LN")
    torch.save(state, tmp_path / "old" / "model_final.pth")
    with pytest.raises(ValueError, match=r"only model_final\.pth: pickled"):
        ax.load_model(tmp_path / "old")
    model = ax.load_model(tmp_path / "old", allow_pickle=True)
    torch.testing.assert_close(logits_of(model), logits, rtol=1e-4, atol=1e-5)
    torch.save({**state, "huh": torch.ones(1)}, tmp_path / "old" / "model_final.pth")
    with pytest.raises(ValueError, match="don't know how to convert key 'huh'"):
        ax.load_model(tmp_path / "old", allow_pickle=True)
    del state["blocks.1.attn.W_V"]
    torch.save(state, tmp_path / "old" / "model_final.pth")
    with pytest.raises(ValueError, match=r"missing are 1 .*\('blocks\.1\.attn\.v\.weight'\)"):
        ax.load_model(tmp_path / "old", allow_pickle=True)


class Harmful:
    """Unpickling it would run code."""

    def __reduce__(self):
        return os.mkdir, ("/nowhere/at/all",)


def test_pickles_are_read_as_plain_tensors(tmp_path):
    state, _ = old_checkpoint(tmp_path / "old", "LN")
    torch.save({**state, "harmful": Harmful()}, tmp_path / "old" / "model_final.pth")
    with pytest.raises(ValueError, match="holds more than tensors, which is not read"):
        ax.load_model(tmp_path / "old", allow_pickle=True)


@pytest.mark.slow
def test_a_revision_in_the_cache_needs_no_network(tmp_path):
    repo = tmp_path / "models--someone--tiny"
    for seed, (revision, commit) in enumerate([("main", "a" * 40), ("v2", "b" * 40)]):
        random_gpt2("2x4", seed).save_pretrained(repo / "snapshots" / commit)
        ax.load_model("mini").tokenizer.save_pretrained(repo / "snapshots" / commit)
        (repo / "refs").mkdir(exist_ok=True)
        (repo / "refs" / revision).write_text(commit)
    # Of this one a file is missing that its index lists.
    random_model("llama").save_pretrained(
        tmp_path / "models--someone--part" / "snapshots" / ("c" * 40), max_shard_size="20KB"
    )
    (tmp_path / "models--someone--part" / "refs").mkdir()
    (tmp_path / "models--someone--part" / "refs" / "main").write_text("c" * 40)
    next((tmp_path / "models--someone--part").rglob("model-00002*")).unlink()
    script = (
        "import acdc_explorer as ax, sys\n"
        "for revision in (None, 'main', 'v2'):\n"
        "    m = ax.load_model('someone/tiny', revision=revision)\n"
        "    print(m.weights.W_E[0, 0].item())\n"
        "try: ax.load_model('someone/tiny', revision='v3')\n"
        "except ConnectionError as error: print(error)\n"
        "try: ax.load_model('someone/part')\n"
        "except ValueError as error: print(error)\n"
    )
    environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    result = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    lines = result.stdout.splitlines()
    first, second = (random_gpt2("2x4", seed).transformer.wte.weight[0, 0] for seed in (0, 1))
    assert [float(line) for line in lines[:3]] == pytest.approx(
        [first.item(), first.item(), second.item()]
    )
    assert "cache in revision 'v3'" in lines[3]
    assert "`hf download someone/tiny --revision v3`" in lines[3]
    assert "1 of the 4 files of its weights are missing ('model-00002-of-0" in lines[4]


def test_unsupported_model_objects():
    from transformers import BertConfig, BertModel

    config = BertConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=9
    )
    with pytest.raises(
        UnsupportedModelError, match=r"BertModel .*TransformerLens does not support"
    ):
        ax.load_model(BertModel(config))
