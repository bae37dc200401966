"""The models compiled from RASP programs, held to the programs and to what was published."""

from __future__ import annotations

import json
from itertools import product

import pytest
import torch
from safetensors.torch import load_file

import acdc_explorer as ax
from acdc_explorer.engine.cache import engine_for
from acdc_explorer.models.toys import COMPILED, HANDMADE
from acdc_explorer.training.compile_rasp import PROGRAMS

LENGTHS = range(1, 6)
# Sender, receiver and input: the circuits of `get_tracr_reverse_edges` and
# `get_tracr_proportion_edges` in acdc/tracr_task/utils.py of Conmy et al. 2023, which were found
# under zero ablation. (The links from a head to its own inputs are left out; there are no edges.)
PUBLISHED_ZERO = {
    "rasp-reverse": [
        ("a3.h0", "logits", ""),
        ("m2", "a3.h0", "q"),
        ("pos_embed", "a3.h0", "k"),
        ("embed", "a3.h0", "v"),
        ("m1", "m2", ""),
        ("m0", "m1", ""),
        ("embed", "m1", ""),
        ("pos_embed", "m1", ""),
        ("a0.h0", "m0", ""),
        ("embed", "m0", ""),
        ("embed", "a0.h0", "v"),
    ],
    "rasp-proportion": [
        ("a1.h0", "logits", ""),
        ("embed", "a1.h0", "q"),
        ("pos_embed", "a1.h0", "q"),
        ("embed", "a1.h0", "k"),
        ("pos_embed", "a1.h0", "k"),
        ("m0", "a1.h0", "v"),
        ("embed", "m0", ""),
    ],
}
# `tracr_reverse_true_edges` and `tracr_xproportion_official_edges` of auto-circuit (Miller et al.
# 2024), for corrupted activations.
PUBLISHED_CORRUPTED = {
    "rasp-reverse": [("embed", "a3.h0", "v"), ("a3.h0", "logits", "")],
    "rasp-proportion": [
        ("embed", "m0", ""),
        ("m0", "a1.h0", "v"),
        ("a1.h0", "logits", ""),
    ],
}


def all_rows(words, length):
    return list(product(words, repeat=length))


def logits_of(name, rows):
    """At END, and word -> token."""
    model = ax.load_model(name)
    texts = [" ".join(row) for row in rows]
    ids = model.tokenizer(texts, add_special_tokens=False)["input_ids"]
    tokens = torch.tensor([[model.tokenizer.bos_token_id, *row] for row in ids])
    assert tokens.shape[1] == len(rows[0]) + 1
    with torch.no_grad():
        logits = model.bridge(tokens, prepend_bos=False)
    return logits[:, -1], model.tokenizer.get_vocab()


@pytest.mark.parametrize("length", LENGTHS)
def test_reverse_ends_with_the_first_letter_of_every_row(length):
    rows = all_rows("ABC", length)
    logits, token = logits_of("rasp-reverse", rows)
    first = torch.tensor([token[list(reversed(row))[-1]] for row in rows])
    expected = torch.zeros_like(logits).scatter(1, first[:, None], 1.0)
    assert torch.equal(logits, expected)


@pytest.mark.parametrize("length", LENGTHS)
def test_proportion_is_the_share_of_x_in_every_row(length):
    rows = all_rows("wxyz", length)
    logits, token = logits_of("rasp-proportion", rows)
    difference = logits[:, token["x"]] - logits[:, token["w"]]
    shares = torch.tensor([row.count("x") / len(row) for row in rows])
    # Thirds and fifths are no binary fractions, and are summed from such.
    assert torch.allclose(difference, shares, rtol=0, atol=0 if length in (1, 2, 4) else 1e-7)
    others = [index for index in range(logits.shape[1]) if index != token["x"]]
    assert logits[:, others].abs().max() == 0


@pytest.mark.parametrize("name", list(PROGRAMS))
def test_card_tells_what_was_compiled(name):
    card = json.loads((COMPILED / f"{name}.json").read_text())
    program = PROGRAMS[name]
    assert card["program"] == program.text.splitlines()
    assert tuple(card["words"]) == program.words
    assert card["tracr"] == "1.0.0"
    dimensions = card["residual_stream"]
    assert len(dimensions) == card["shape"]["d_model"]
    assert set(program.logits) <= set(dimensions)
    weights = load_file(COMPILED / f"{name}.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
    # The dimensions are those: each word's embedding is its own and "one".
    embedding = weights["embed.W_E"]
    for row, word in enumerate(["compiler_bos", "compiler_pad", *program.words]):
        held = {dimensions[at] for at in embedding[row].nonzero()[:, 0].tolist()}
        assert held == {f"tokens:{word}", "one"}
    positions = weights["pos_embed.W_pos"].nonzero().tolist()
    assert [(at, dimensions[to]) for at, to in positions] == [
        (at + 1, f"indices:{at}") for at in range(5)
    ]
    for dimension, word in program.logits.items():
        read = weights["unembed.W_U"][:, 2 + program.words.index(word)].nonzero()[:, 0].tolist()
        assert [dimensions[at] for at in read] == [dimension]


def test_streams_hold_what_their_dimensions_say():
    """The length, the letters to come, and where the letter to be copied is."""
    model = ax.load_model("rasp-reverse")
    task = ax.load_task("rasp-reverse", model, 6)
    dimensions = json.loads((COMPILED / "reverse.json").read_text())["residual_stream"]
    final = engine_for(model, task).slices[0].clean.resid_final
    for at in range(1, 4):
        values = dict(zip(dimensions, final[:, at].T, strict=True))
        # A causal model has read as many letters as the position says, and none are to come.
        for name, value in {"length": at, "from_end": 1, "opposite": 0}.items():
            of_name = {key: held for key, held in values.items() if key.startswith(f"{name}:")}
            for key, held in of_name.items():
                expected = torch.full_like(held, float(key == f"{name}:{value}"))
                assert torch.allclose(held, expected, atol=1e-5), (at, key)


@pytest.mark.parametrize("name", list(PUBLISHED_ZERO))
@pytest.mark.parametrize(
    ("ablation", "lists"), [("zero", PUBLISHED_ZERO), ("corrupted", PUBLISHED_CORRUPTED)]
)
def test_the_published_circuits_are_the_same(name, ablation, lists):
    merged = {"embed": "input", "pos_embed": "input"}
    published = {
        f"{merged.get(sender, sender)}->{receiver}{f'<{qkv}>' if qkv else ''}"
        for sender, receiver, qkv in lists[name]
    }
    assert published == set(HANDMADE[name].true_edges[ablation])


@pytest.mark.parametrize("method", ["acdc", "path_patching"])
@pytest.mark.parametrize("ablation", ["corrupted", "mean"])
def test_positions_are_those_that_the_programs_read(method, ablation):
    kept = {}
    for name in ("rasp-reverse", "rasp-proportion"):
        model = ax.load_model(name)
        task = ax.load_task(name, model, 16)
        options = {"method": method, "ablation": ablation, "positions": True}
        kept[name] = set(ax.find_circuit(model, task, 0.01, **options).kept)
    assert kept["rasp-reverse"] == {"input->a3.h0<v>@first", "a3.h0->logits@END"}
    letters = ("first", "second", "third", "END")
    assert kept["rasp-proportion"] == {
        *(f"input->m0@{label}" for label in letters),
        *(f"m0->a1.h0<v>@{label}" for label in letters),
        "a1.h0->logits@END",
    }


def test_corrupted_rows_never_give_the_clean_answer():
    for seed in range(3):
        for name, length in (("rasp-reverse", 3), ("rasp-proportion", 4)):
            model = ax.load_model(name)
            pairs = ax.load_task(name, model, 200, seed).pairs
            rows = [(pair.clean.split(), pair.corrupted.split()) for pair in pairs]
            assert {len(row) for both in rows for row in both} == {length}
            if name == "rasp-reverse":
                assert all(sorted(one) == sorted(other) == list("ABC") for one, other in rows)
                assert all(one[0] != other[0] for one, other in rows)
                assert len({pair.clean + pair.corrupted for pair in pairs}) == 24
            else:
                assert all(one.count("x") > other.count("x") for one, other in rows)
                assert len({pair.clean for pair in pairs}) == 175
