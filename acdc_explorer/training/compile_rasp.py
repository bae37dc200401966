"""Compiles RASP programs to weights: `python -m acdc_explorer.training.compile_rasp`.

RASP (Weiss et al. 2021, arXiv 2106.06981) is a language of what transformers compute: `Select`
makes an attention pattern, `Aggregate` averages over it. Tracr (Lindner et al. 2023, arXiv
2301.05062) compiles it to weights, so that the circuit is known from the program. The programs are
in `rasp_programs.py`.

Run it, in the folder that holds the package, where `pip install tracr-pypi safetensors` (1.0.0,
with jax 0.10.2 and dm-haiku 0.0.17) was done; what the package needs need not be there. The package
never needs Tracr: `models/toys.py` reads the weights, which are stored beside it. Each program
gives a safetensors file of the tensors that are not all zero, named and laid out as TransformerLens
does, and a card (json): the program, Tracr's version, the words, the shape, and the name of every
dimension of the residual stream. Then `compiled_circuits.py` adds the circuit to the cards.

The weights are Tracr's but for three things. Tokens are in the order of the package's tokenizer,
with Tracr's BOS and PAD as beginning of text and unknown. Tracr unembeds by an argmax over
dimensions, or reads one off; here those dimensions are logits. And queries are multiplied by
sqrt(d_head), which attention divides by: scores are then 100 and 50 (for BOS, where nothing else is
looked for), and e^-50 is nothing beside 1, even in float64. As Tracr has it, they are 29 and 14 in
`reverse`, and its logits 6e-7 off. What rounding is left is inside: m0 there tells the length to
2e-6, and the next softmax hides it.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from acdc_explorer.training.rasp_programs import PROGRAMS, Program

logger = logging.getLogger(__name__)

# Where the weights and cards are.
_COMPILED = Path(__file__).parents[1] / "models" / "rasp"
# The most letters in a prompt, as in ACDC's.
_MAX_LENGTH = 5
_BOS, _PAD = "compiler_bos", "compiler_pad"


def compile_program(program: Program) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Compiles a program.

    Returns:
        Weights by name, float32, those that are all zero left out; and the card.
    """
    from tracr.compiler import compiling
    from tracr.rasp import rasp

    names = dict(vars(rasp))
    exec(program.text, names)
    compiled = compiling.compile_rasp_to_model(
        names["output"],
        vocab=set(program.words),
        max_seq_len=_MAX_LENGTH,
        causal=True,
        compiler_bos=_BOS,
        compiler_pad=_PAD,
    )
    # Tracr numbers its expressions as it meets them; the names are enough.
    dimensions = [
        re.sub(r"_\d+(?=:|_selector_width|$)", "", label) for label in compiled.residual_labels
    ]
    params = {
        f"{module}/{name}": np.array(value)
        for module, values in compiled.params.items()
        for name, value in values.items()
    }
    config = compiled.model_config
    shape = {
        "n_layers": config.num_layers,
        "n_heads": config.num_heads,
        "d_model": len(dimensions),
        "d_head": config.key_size,
        "n_ctx": _MAX_LENGTH + 1,
        "d_mlp": config.mlp_hidden_size,
    }
    token_of = compiled.input_encoder.encoding_map
    read, vocabulary = (_BOS, _PAD, *program.words), (_BOS, _PAD, *program.vocabulary)
    embedding, unembedding = np.zeros((2, len(vocabulary), len(dimensions)), np.float32)
    embedding[: len(read)] = params["token_embed/embeddings"][[token_of[word] for word in read]]
    for dimension, word in program.logits.items():
        unembedding[vocabulary.index(word), dimensions.index(dimension)] = 1
    weights = {
        "embed.W_E": embedding,
        "pos_embed.W_pos": params["pos_embed/embeddings"],
        "unembed.W_U": unembedding.T,
    }
    for layer in range(config.num_layers):
        weights |= _block(params, layer, shape)
    card = {
        "program": program.text.splitlines(),
        "tracr": version("tracr-pypi"),
        "words": program.vocabulary,
        "shape": shape,
        "residual_stream": dimensions,
        # `compiled_circuits.py` fills it in.
        "true_edges": {},
    }
    return {name: value for name, value in weights.items() if value.any()}, card


def _block(params: dict[str, np.ndarray], layer: int, shape: dict[str, int]) -> dict[str, Any]:
    """One block's weights, heads first."""
    theirs, ours = f"transformer/layer_{layer}", f"blocks.{layer}"
    n_heads, d_model, d_head = shape["n_heads"], shape["d_model"], shape["d_head"]
    weights = {}
    for letter, name in {"Q": "query", "K": "key", "V": "value"}.items():
        scale = math.sqrt(d_head) if letter == "Q" else 1
        weight = params[f"{theirs}/attn/{name}/w"].reshape(d_model, n_heads, d_head)
        weights[f"{ours}.attn.W_{letter}"] = scale * weight.transpose(1, 0, 2)
        bias = params[f"{theirs}/attn/{name}/b"].reshape(n_heads, d_head)
        weights[f"{ours}.attn.b_{letter}"] = scale * bias
    out = params[f"{theirs}/attn/linear/w"].reshape(n_heads, d_head, d_model)
    weights[f"{ours}.attn.W_O"] = out
    weights[f"{ours}.attn.b_O"] = params[f"{theirs}/attn/linear/b"]
    for side, name in {"in": "linear_1", "out": "linear_2"}.items():
        weights[f"{ours}.mlp.W_{side}"] = params[f"{theirs}/mlp/{name}/w"]
        weights[f"{ours}.mlp.b_{side}"] = params[f"{theirs}/mlp/{name}/b"]
    return weights


def main(arguments: list[str] | None = None) -> None:
    """Compiles all programs and writes their weights and cards."""
    from safetensors.numpy import save_file

    parser = argparse.ArgumentParser(description="Compile the RASP programs.")
    parser.add_argument("--out", type=Path, default=_COMPILED)
    out = parser.parse_args(arguments).out
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    out.mkdir(parents=True, exist_ok=True)
    for name, program in PROGRAMS.items():
        weights, card = compile_program(program)
        tensors = {
            key: np.ascontiguousarray(value, dtype=np.float32) for key, value in weights.items()
        }
        save_file(tensors, out / f"{name}.safetensors")
        text = json.dumps(card, indent=1) + "\n"
        (out / f"{name}.json").write_text(text, encoding="utf-8")
        logger.info("%s: %d tensors written to %s", name, len(tensors), out)


if __name__ == "__main__":
    main()
