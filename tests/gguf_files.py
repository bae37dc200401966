"""Small GGUF files, written as llama.cpp's converter does."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
import torch
from bpe import bpe_core
from conftest import random_model

# As `tokenizer.ggml.token_type` has them.
NORMAL, CONTROL = 1, 3


def tiny_llama(seed: int = 0):
    """A random LLaMA for the tokenizer of the tests; its rows can be cut into blocks of 32."""
    vocab_size = bpe_core().get_vocab_size()
    # Long enough for whole sentences.
    options = {"intermediate_size": 64, "max_position_embeddings": 64}
    return random_model("llama", seed, vocab_size=vocab_size, **options)


def write_gguf(
    file: Path,
    hf_model,
    arch: str = "llama",
    quantisation: str = "F32",
    *,
    tokenizer: str = "gpt2",
    leave_out: str = "",
    extra: dict[str, object] | None = None,
    extra_tensors: tuple[str, ...] = (),
) -> dict[str, torch.Tensor]:
    """Writes a model and the tests' tokenizer; returns the weights that the file stands for.

    Args:
        file: to write.
        hf_model: any whose tensors llama.cpp has names for.
        arch: llama.cpp's name of the architecture.
        quantisation: of the matrices, as "F32", "F16" or "Q4_1"; vectors are always F32.
        tokenizer: what the file calls the tokenizer's kind; empty: it has none.
        leave_out: the GGUF name of a tensor or key that is not written.
        extra: more metadata.
        extra_tensors: names of more tensors, of 4 numbers each.
    """
    config = hf_model.config
    writer = gguf.GGUFWriter(file, arch)
    metadata = {
        "block_count": config.num_hidden_layers,
        "context_length": getattr(config, "max_position_embeddings", 16),
        "embedding_length": config.hidden_size,
        "feed_forward_length": getattr(config, "intermediate_size", 4 * config.hidden_size),
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": getattr(
            config, "num_key_value_heads", config.num_attention_heads
        ),
        "rope.dimension_count": config.hidden_size // config.num_attention_heads,
        "vocab_size": config.vocab_size,
    }
    for key, value in metadata.items():
        if key != leave_out:
            writer.add_uint32(f"{arch}.{key}", value)
    writer.add_float32(f"{arch}.attention.layer_norm_rms_epsilon", 1e-6)
    writer.add_float32(f"{arch}.rope.freq_base", 10_000.0)
    for key, value in (extra or {}).items():
        writer.add_key_value(key, value, gguf.GGUFValueType.get_type(value))
    if tokenizer:
        _add_tokenizer(writer, tokenizer)
    kind = gguf.GGMLQuantizationType[quantisation]
    names = gguf.get_tensor_name_map(_arch_of(arch), config.num_hidden_layers)
    written = {}
    for name, tensor in hf_model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        # BLOOM's have a prefix that is not in the list.
        of_bloom = name.removeprefix("transformer.")
        named = (
            names.get_name(each, try_suffixes=(".weight", ".bias")) for each in (name, of_bloom)
        )
        gguf_name = next((each for each in named if each is not None), None)
        if gguf_name is None:
            raise ValueError(f"llama.cpp has no name for {name}")
        stored = tensor.numpy()
        if arch == "llama" and gguf_name.endswith(("attn_q.weight", "attn_k.weight")):
            stored = _neighbours_paired(stored, config.head_dim)
        exact = stored if stored.ndim == 1 else gguf.quants.quantize(stored, kind)
        raw_kind = gguf.GGMLQuantizationType.F32 if stored.ndim == 1 else kind
        if gguf_name != leave_out:
            writer.add_tensor(gguf_name, exact, raw_dtype=raw_kind)
        read = gguf.quants.dequantize(exact, raw_kind)
        if arch == "llama" and gguf_name.endswith(("attn_q.weight", "attn_k.weight")):
            read = _halves_paired(read, config.head_dim)
        written[name] = torch.from_numpy(np.ascontiguousarray(read, dtype=np.float32))
    for name in extra_tensors:
        writer.add_tensor(name, np.ones(4, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return written


def _add_tokenizer(writer: gguf.GGUFWriter, kind: str) -> None:
    model = json.loads(bpe_core().to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    writer.add_tokenizer_model(kind)
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([CONTROL, *[NORMAL] * (len(tokens) - 1)])
    writer.add_token_merges(merges)
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)


def _arch_of(name: str) -> gguf.MODEL_ARCH:
    return next(arch for arch, own in gguf.MODEL_ARCH_NAMES.items() if own == name)


def _neighbours_paired(rows: np.ndarray, d_head: int) -> np.ndarray:
    """Rotary dimensions paired with their neighbour, as llama.cpp keeps LLaMA's."""
    halves = rows.reshape(-1, 2, d_head // 2, rows.shape[1])
    return halves.swapaxes(1, 2).reshape(rows.shape)


def _halves_paired(rows: np.ndarray, d_head: int) -> np.ndarray:
    """The other way round: paired with the one half a head away, as transformers has them."""
    pairs = rows.reshape(-1, d_head // 2, 2, rows.shape[1])
    return pairs.swapaxes(1, 2).reshape(rows.shape)
