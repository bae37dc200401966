"""The models compiled from RASP programs, held to the programs and to what was published."""

from __future__ import annotations

import json
from collections import Counter
from itertools import product

import pytest
import torch
from conftest import mostly_slow
from safetensors.torch import load_file

import acdc_explorer as ax
from acdc_explorer.engine.cache import engine_for
from acdc_explorer.models.toys import COMPILED, HANDMADE, handmade_weights
from acdc_explorer.options import ABLATIONS
from acdc_explorer.tasks.builtin.rasp import RASP_TASKS
from acdc_explorer.training.compiled_circuits import CompiledModel, compiled_circuit
from acdc_explorer.training.rasp_programs import PROGRAMS

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


def after_the_last_time(row):
    """What came after this letter, if that is but one place; it may be this letter itself."""
    at = [number for number in range(1, len(row)) if row[number - 1] == row[-1]]
    return row[at[0]] if len(at) == 1 else None


def most_frequent(row):
    """Of a and b the one that is there more often, else b; and c if there are more of it."""
    better = "a" if row.count("a") > row.count("b") else "b"
    return "c" if row.count("c") > row.count(better) else better


def matches(row):
    """Whether brackets match: all can be taken away pair by pair."""
    text = "".join(row)
    while "()" in text:
        text = text.replace("()", "")
    return yes(not text)


def yes(is_so):
    return "yes" if is_so else "no"


# What the programs say of a row; None: several things at once, or nothing.
SAYS = {
    "reverse": lambda row: row[0],
    "previous": lambda row: row[-2] if len(row) > 1 else None,
    "induction": after_the_last_time,
    "pointer": lambda row: row[int(row[0])] if int(row[0]) < len(row) else None,
    "first": lambda row: yes(row[-1] == row[0]),
    "histogram": lambda row: str(row.count(row[-1])),
    "duplicate": lambda row: yes(row[-1] in row[:-1]),
    "count": lambda row: str(row.count("x")),
    "parity": lambda row: ("even", "odd")[row.count("x") % 2],
    "largest": max,
    "majority": most_frequent,
    "dyck": matches,
    "bigram": lambda row: yes("ab" in "".join(row)),
}
IN_SHARES = ("proportion", "balance")


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


def test_every_program_is_known_here():
    assert {*SAYS, *IN_SHARES} == set(PROGRAMS)
    assert {f"rasp-{name}" for name in PROGRAMS} == set(RASP_TASKS) < set(HANDMADE)


@pytest.mark.parametrize("name", list(SAYS))
@pytest.mark.parametrize("length", mostly_slow(LENGTHS, 3))
def test_the_model_says_what_the_program_does_of_every_row(name, length):
    rows = [row for row in all_rows(PROGRAMS[name].words, length) if SAYS[name](row) is not None]
    if not rows:
        assert name in ("previous", "induction", "pointer")
        return
    logits, token = logits_of(f"rasp-{name}", rows)
    said = torch.tensor([token[SAYS[name](row)] for row in rows])
    expected = torch.zeros_like(logits).scatter(1, said[:, None], 1.0)
    assert torch.allclose(logits, expected, rtol=0, atol=2e-5)
    if name == "reverse":
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


@pytest.mark.parametrize("length", LENGTHS)
def test_balance_is_the_share_of_open_less_that_of_closed_brackets(length):
    rows = all_rows("()", length)
    logits, token = logits_of("rasp-balance", rows)
    shares = torch.tensor([(row.count("(") - row.count(")")) / len(row) for row in rows])
    assert torch.allclose(logits[:, token["("]], shares, rtol=0, atol=1e-6)
    assert logits[:, token[")"]].abs().max() == 0


@pytest.mark.parametrize("name", list(PROGRAMS))
def test_card_tells_what_was_compiled(name):
    card = json.loads((COMPILED / f"{name}.json").read_text())
    program = PROGRAMS[name]
    assert card["program"] == program.text.splitlines()
    assert tuple(card["words"]) == program.vocabulary
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
    # Words that are only answered are never read.
    assert not embedding[2 + len(program.words) :].any()
    positions = weights["pos_embed.W_pos"].nonzero().tolist()
    assert [(at, dimensions[to]) for at, to in positions] == [
        (at + 1, f"indices:{at}") for at in range(5)
    ]
    for dimension, word in program.logits.items():
        read = (
            weights["unembed.W_U"][:, 2 + program.vocabulary.index(word)].nonzero()[:, 0].tolist()
        )
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


@pytest.mark.parametrize("ablation", mostly_slow(ABLATIONS, "corrupted"))
@pytest.mark.parametrize("name", list(RASP_TASKS))
def test_circuits_follow_from_the_weights(name, ablation):
    assert compiled_circuit(name, ablation) == list(HANDMADE[name].true_edges[ablation])


@pytest.mark.parametrize("ablation", ABLATIONS)
def test_circuits_that_follow_from_weights_are_those_told_by_hand(ablation):
    for name in ("five-heads", "induction-pair"):
        told = HANDMADE[name].true_edges[ablation]
        assert set(compiled_circuit(name, ablation)) == set(told)
    # Node by node, what stands in for another is not seen; the programs have nothing of the kind.
    assert compiled_circuit("or-gate", ablation) == ["m0->logits"]


@pytest.mark.parametrize("name", list(RASP_TASKS))
def test_node_by_node_a_compiled_model_does_the_same(name):
    model = ax.load_model(name)
    task = ax.load_task(name, model, 8)
    runs = engine_for(model, task).slices[0]
    compiled = CompiledModel(handmade_weights(name), model.graph)
    for tokens, run in ((task.clean_tokens, runs.clean), (task.corrupted_tokens, runs.ablated)):
        stream = torch.stack(list(compiled.run(tokens).values())).sum(0)
        torch.testing.assert_close(run.resid_final.double(), stream, rtol=0, atol=5e-4)


@pytest.mark.parametrize("name", [name for name in SAYS if name != "reverse"])
def test_rows_are_answered_and_their_twins_otherwise(name):
    task_name, says = f"rasp-{name}", SAYS[name]
    model = ax.load_model(task_name)
    pairs = ax.load_task(task_name, model, 60).pairs
    for pair in pairs:
        row, twin = pair.clean.split(), pair.corrupted.split()
        assert len(row) == len(twin) == {"majority": 5}.get(name, 4)
        assert pair.answer == (f" {says(row)}",)
        assert pair.wrong_answer == (f" {says(twin)}",)
        assert says(row) != says(twin)
        for number, (start, end) in enumerate(pair.spans.values()):
            assert pair.clean[start:end] == row[number]
        assert len(pair.spans) == len(row) - 1
    counts = Counter(pair.answer for pair in pairs)
    assert len(counts) > 1
    # Brackets that do not match are of two kinds.
    assert sorted(counts.values()) == (
        [20, 40] if name == "dyck" else [60 // len(counts)] * len(counts)
    )
    again, other = ax.load_task(task_name, model, 60), ax.load_task(task_name, model, 60, 1)
    assert again.pairs == pairs != other.pairs


def test_corrupted_rows_never_give_the_clean_answer():
    for seed in range(3):
        for name, length in (("rasp-reverse", 3), ("rasp-proportion", 4), ("rasp-balance", 4)):
            model = ax.load_model(name)
            pairs = ax.load_task(name, model, 200, seed).pairs
            rows = [(pair.clean.split(), pair.corrupted.split()) for pair in pairs]
            assert {len(row) for both in rows for row in both} == {length}
            if name == "rasp-reverse":
                assert all(sorted(one) == sorted(other) == list("ABC") for one, other in rows)
                assert all(one[0] != other[0] for one, other in rows)
                assert len({pair.clean + pair.corrupted for pair in pairs}) == 24
            else:
                counted, n_clean = {"rasp-proportion": ("x", 175), "rasp-balance": ("(", 5)}[name]
                assert all(one.count(counted) > other.count(counted) for one, other in rows)
                assert len({pair.clean for pair in pairs}) == n_clean
