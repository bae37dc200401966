"""Every task that comes with the package, on the bundled model: prompts, labels, answers, circuits.

What is right is worked out from the clean text by other means than the generators'.
"""

from __future__ import annotations

import calendar
import json
import random
import re

import pytest
import torch

import acdc_explorer as ax
from acdc_explorer.models.loading import BUNDLED
from acdc_explorer.tasks.builtin.ioi import TEMPLATES
from acdc_explorer.tasks.builtin.registry import STANDARD_TASKS
from acdc_explorer.tasks.builtin.words import MEN, NAMES, OBJECTS, PLACES, WOMEN
from acdc_explorer.tasks.prompts import each
from acdc_explorer.tasks.task import Task
from acdc_explorer.tasks.tokenizing import fitting_pairs
from acdc_explorer.training.card import N_PROMPTS
from acdc_explorer.training.corpus import PARTS
from acdc_explorer.training.measuring import held_out_task, measure
from acdc_explorer.training.splits import HELD_OUT, IOI_TEMPLATES, split_of, split_of_order

MONTHS, DAYS = list(calendar.month_name)[1:], list(calendar.day_name)
# Some of each, written down here.
CAPITALS = {"Paris": "France", "Tokyo": "Japan", "Cairo": "Egypt", "Oslo": "Norway", "Lima": "Peru"}
KINDS = {"dogs": {"animals"}, "apples": {"fruits"}, "swords": {"weapons"}, "iron": {"metals"},
         "shirts": {"clothes", "clothing"}, "tea": {"drinks"}, "roses": {"plants"},
         "carrots": {"vegetables"}, "ants": {"insects"}, "hotels": {"buildings"},
         "vans": {"vehicles"}, "drums": {"instruments"}}  # fmt: skip


def ioi(text):
    named = [name for name in re.findall(r"\w+", text) if name in NAMES]
    return {name for name in named if named.count(name) == 1}, {
        name for name in named if named.count(name) == 2
    }


def greater_than(text):
    year = int(re.fullmatch(r"The \w+ lasted from the year (\d{4}) to the year \d\d", text)[1])
    numbers = [f"{number:02}" for number in range(100)]
    right = {number for number in numbers if int(f"{year // 100}{number}") > year}
    return right, set(numbers) - right


def gendered(text):
    name = re.match(r"So (\w+) (?:is|really)", text)[1]
    assert (name in MEN) != (name in WOMEN)
    return ({"he"}, {"she"}) if name in MEN else ({"she"}, {"he"})


def induction(text):
    *words, last = text.split()
    return {words[words.index(last) + 1]}, None


def docstring(text):
    arguments = re.search(r"\(self, (.*)\):", text)[1].split(", ")
    documented = re.findall(r":param (\w+):", text)
    following = arguments[arguments.index(documented[-1]) + 1]
    assert arguments[arguments.index(following) - 2] == documented[0]
    return {following}, set(arguments) - {following}


def agreement(text):
    subject = text.split()[1]
    verbs = {"is", "was"}, {"are", "were"}
    return verbs[::-1] if subject.endswith("s") else verbs


def after(order, text):
    (named,) = [word for word in re.findall(r"\w+", text) if word in order]
    return {order[(order.index(named) + 1) % len(order)]}, named


def months(text):
    right, named = after(MONTHS, text)
    return right, {named}


def days(text):
    return after(DAYS, text)[0], None


def numbers(text):
    counted = [int(number) for number in re.findall(r"\d+", text)]
    assert counted == list(range(counted[0], counted[0] + 4))
    return {str(counted[-1] + 1)}, {str(counted[-1])}


def fact(table, text):
    known = [right for word, right in table.items() if word in text.replace(",", "").split()]
    return (({known[0]} if isinstance(known[0], str) else known[0]) if known else None), None


def choice(text):
    said = re.match(r"The \w+ is (\w+)\.", text)[1]
    letters = dict(re.findall(r"\n([A-D])\. (\w+)", text))
    assert len(letters) == len(set(letters.values())) == 4
    return {letter for letter, color in letters.items() if color == said}, None


RIGHT_AND_WRONG = {
    "ioi": ioi, "ioi_s2_other": ioi, "ioi_s2_flip": ioi, "greater_than": greater_than,
    "gendered_pronouns": gendered, "gendered_pronouns_opposite": gendered, "induction": induction,
    "docstring": docstring, "subject_verb_agreement": agreement, "months": months, "days": days,
    "numbers": numbers, "capital_country": lambda text: fact(CAPITALS, text),
    "hypernymy": lambda text: fact(KINDS, text), "multiple_choice": choice,
}  # fmt: skip
# The labels at whose tokens alone the corrupted prompt differs; months are an unlike sentence.
DIFFERENT_AT = {
    "ioi": {"IO", "S1", "S2"}, "ioi_s2_other": {"S2"}, "ioi_s2_flip": {"S2"},
    "greater_than": {"YY"}, "gendered_pronouns": {"So", "name"},
    "gendered_pronouns_opposite": {"name"}, "induction": {"B1", "other"},
    "docstring": {"A_def", "B_def", "C_def", "A_doc", "B_doc"},
    "subject_verb_agreement": {"subject"}, "days": {"Monday"},
    "numbers": {"1st", "2nd", "3rd", "END"}, "capital_country": {"city"}, "hypernymy": {"thing"},
    "multiple_choice": {"color"},
}  # fmt: skip


def following_argument(text, answer):
    """B and C of a clean docstring prompt; None if the last documented is no argument."""
    arguments = re.search(r"\(self, (.*)\):", text)[1].split(", ")
    documented = re.findall(r":param (\w+):", text)[-1]
    return (documented, answer) if documented in arguments else None


def first_number(text, answer):
    counted = [int(number) for number in (*re.findall(r"\d+", text), answer)]
    return counted[0] if counted == list(range(counted[0], counted[0] + 5)) else None


# What decides whether a prompt is held out, by its text and its answer.
DECIDING = {
    "greater_than": lambda text, answer: re.search(r"the year (\d{4})", text)[1],
    "induction": lambda text, answer: (text.split()[-1], answer),
    "docstring": following_argument,
    "subject_verb_agreement": lambda text, answer: (text.split()[1], text.split()[-1]),
    "months": lambda text, answer: re.sub("|".join(MONTHS), "_", text),
    "days": lambda text, answer: re.sub("|".join(DAYS), "_", text),
    "numbers": first_number,
    "multiple_choice": lambda text, answer: tuple(re.findall(r"[A-D]\. (\w+)", text)),
}


# Where it is not 95%. Of eight sequences of numbers it fails at the one that ends in 99, which no
# other does, so that training never saw that answer.
LEAST_ACCURACY = {"ioi": 0.99, "ioi_s2_other": 0.99, "ioi_s2_flip": 0.99, "numbers": 0.85}


def words_of(mini, tokens):
    return mini.tokenizer.convert_ids_to_tokens(tokens.tolist())


def test_every_task_is_checked_here():
    assert set(RIGHT_AND_WRONG) == set(STANDARD_TASKS)
    assert set(DIFFERENT_AT) | {"months"} == set(STANDARD_TASKS)


@pytest.mark.parametrize("name", STANDARD_TASKS)
def test_prompts_and_answers_are_right(mini, name):
    task = ax.load_task(name, mini, n_prompts=64, seed=3)
    unknown = mini.tokenizer.unk_token_id
    assert not (task.clean_tokens == unknown).any()
    assert not (task.corrupted_tokens == unknown).any()
    assert (task.clean_tokens != task.corrupted_tokens).any(1).all()
    assert len(set(task.texts)) > 30
    checked = 0
    for row, text in enumerate(task.texts):
        right, wrong = RIGHT_AND_WRONG[name](text)
        answers, wrongs = (
            {mini.tokenizer.convert_ids_to_tokens(int(t)) for t in tokens[row] if t >= 0}
            for tokens in (task.answer_tokens, task.wrong_tokens)
        )
        assert right is None or answers == right
        assert wrong is None or wrongs == wrong
        assert not answers & wrongs
        checked += right is not None
    assert checked >= 8


@pytest.mark.parametrize("name", DIFFERENT_AT)
def test_corrupted_prompts_differ_where_they_should(mini, name):
    task = ax.load_task(name, mini, n_prompts=64, seed=1)
    positions = torch.arange(task.n_positions)[None]
    real = positions <= task.end[:, None]
    differs = (task.clean_tokens != task.corrupted_tokens) & real
    masks = dict(task.position_masks)
    # Two places have no label: the first word, and the induction task's other word.
    masks["So"] = (positions == 1).expand(task.n_prompts, -1)
    if name == "induction":
        other = (task.clean_tokens == task.wrong_tokens) & real
        masks["other"] = other
        swapped = task.corrupted_tokens.clone()
        swapped[other] = task.wrong_tokens[:, 0]
        swapped[masks["B1"]] = task.answer_tokens[:, 0]
        assert torch.equal(swapped[real], task.clean_tokens[real])
    allowed = torch.stack([masks[label] for label in DIFFERENT_AT[name]]).any(0)
    assert not (differs & ~allowed).any()
    if name != "numbers":
        assert torch.equal(differs, allowed)
    unchanged = set(task.positions) - DIFFERENT_AT[name]
    assert all(not (differs & masks[label]).any() for label in unchanged)


def test_the_months_prompts_are_the_blog_posts(mini):
    (pair,) = STANDARD_TASKS["months"].pairs(1, 0)
    assert pair.clean == "Last month it was February so this month it is"
    assert pair.corrupted == "This time it is here and last time it was"
    assert (pair.answer, pair.wrong_answer) == (" March", " February")
    task = ax.load_task("months", mini, n_prompts=12)
    assert [index.ndim for index in task.positions.values()] == [2, 1, 2, 1]
    assert list(task.positions) == ["Last month", "February", "this month", "END"]
    assert words_of(mini, task.clean_tokens[0, task.positions["Last month"][0]]) == [
        "Last", "month"]  # fmt: skip
    assert words_of(mini, task.clean_tokens[0, task.positions["this month"][0]]) == [
        "this", "month"]  # fmt: skip
    named = words_of(mini, task.clean_tokens.gather(1, task.positions["February"][:, None])[:, 0])
    assert sorted(named) == sorted(MONTHS)
    assert all(text.startswith("Last month it was") for text in task.texts)
    later = STANDARD_TASKS["months"].pairs(1248, 0)
    assert len({pair.clean for pair in later}) == 1248
    assert any(", so this" in pair.clean and "here, and" in pair.corrupted for pair in later)


@pytest.mark.parametrize(
    ("name", "labelled"),
    [
        ("greater_than", {"XX": r"1[1-7]", "YY": r"\d\d", "END": r"1[1-7]"}),
        ("gendered_pronouns", {"is": "is", "END": "t"}),
        ("docstring", {"A_def": r"\w+", "END": "param"}),
        ("subject_verb_agreement", {"subject": r"\w+", "END": r"\w+"}),
        ("capital_country", {"capital": "capital", "END": "of"}),
        ("hypernymy", {"and": "and", "END": "other"}),
        ("days", {"today": "today", "END": "is"}),
        ("numbers", {"1st": r"\d+", "END": r"\d+"}),
        ("multiple_choice", {"letter": "[A-D]", "choice": r"[a-z]+", "END": ":"}),
    ],
)
def test_labels_stand_for_the_right_words(mini, name, labelled):
    task = ax.load_task(name, mini, n_prompts=32)
    rows = torch.arange(task.n_prompts)
    at = {
        label: words_of(mini, task.clean_tokens[rows, index])
        for label, index in task.positions.items()
    }
    for label, pattern in labelled.items():
        assert all(re.fullmatch(pattern, word) for word in at[label])
    if name == "docstring":
        assert at["A_def"] == at["A_doc"]
        assert at["B_def"] == at["B_doc"]
        assert at["C_def"] == words_of(mini, task.answer_tokens[:, 0])
    if name == "multiple_choice":
        assert at["color"] == at["choice"]
        assert at["letter"] == words_of(mini, task.answer_tokens[:, 0])


def test_where_the_docstring_answer_stands_does_not_tell_it(mini):
    """Neither from the start nor from the end, nor how far END is from the last argument named."""
    task = ax.load_task("docstring", mini, n_prompts=64)
    answer, b, end = task.positions["C_def"], task.positions["B_doc"], task.end
    for place in (answer, end, end - answer, end - b):
        assert len(place.unique()) >= 3
    # Where one stands, the other may stand anywhere still.
    for at in answer.unique():
        assert len((end - answer)[answer == at].unique()) >= 3
    texts = [pair.clean for pair in STANDARD_TASKS["docstring"].pairs(200, 0)]
    definitions = [re.search(r"\(self, (.*)\):", text)[1].split(", ") for text in texts]
    documented = [re.findall(r":param (\w+):", text) for text in texts]
    shapes = {
        (arguments.index(names[0]), len(arguments))
        for arguments, names in zip(definitions, documented, strict=True)
    }
    assert shapes == {(before, before + 3 + after) for before in (1, 2, 3) for after in (1, 2)}


def test_labels_of_induction(mini):
    task = ax.load_task("induction", mini, n_prompts=32)
    tokens, rows = task.clean_tokens, torch.arange(32)
    assert torch.equal(tokens[rows, task.positions["A1"]], tokens[rows, task.end])
    assert torch.equal(task.positions["B1"], task.positions["A1"] + 1)
    assert torch.equal(tokens[rows, task.positions["B1"]], task.answer_tokens[:, 0])
    assert (task.end - task.positions["A1"] == 9).all()


@pytest.mark.parametrize("name", STANDARD_TASKS)
def test_prompts_follow_the_seed(name):
    pairs = STANDARD_TASKS[name].pairs
    assert pairs(64, 1) == pairs(64, 1)
    assert pairs(64, 1) != pairs(64, 2)


@pytest.mark.parametrize("name", HELD_OUT)
def test_what_is_held_out_is_never_completed_in_training(name):
    by_split = {"training": set(), "validation": set(), "test": set()}
    for pair in STANDARD_TASKS[name].pairs(2000, 5):
        by_split[split_of(name, pair)].add(pair.clean)
    # By prompt; of words few in number, more or fewer than one in ten may fall into a split.
    n_prompts = sum(map(len, by_split.values()))
    assert all(0.05 < len(by_split[split]) / n_prompts < 0.2 for split in ("validation", "test"))
    assert not by_split["validation"] & by_split["test"]
    # The opposite gender's prompts are the same clean prompts.
    stream = PARTS[name.removesuffix("_opposite")].stream(random.Random(0))
    seen = {next(stream).prompt for _ in range(2500)}
    assert seen
    assert not seen & (by_split["validation"] | by_split["test"])


@pytest.mark.slow
@pytest.mark.parametrize("name", STANDARD_TASKS)
def test_validation_and_test_prompts_are_enough_and_never_the_same(mini, name):
    texts = {split: held_out_task(name, mini, 200, split).texts for split in ("validation", "test")}
    assert all(len(set(found)) == len(found) >= 50 for found in texts.values())
    assert not set(texts["validation"]) & set(texts["test"])


@pytest.mark.parametrize("name", DECIDING)
def test_held_out_words_never_meet_in_training(name):
    """Not only the prompts: the words that decide their split, read from the texts again."""
    stream = PARTS[name].stream(random.Random(1))
    examples = [next(stream) for _ in range(3000)]
    trained = {DECIDING[name](example.prompt, example.answer.strip()) for example in examples}
    held_out = {
        DECIDING[name](pair.clean, each(pair.answer)[0].strip())
        for pair in STANDARD_TASKS[name].pairs(3000, 9)
        if split_of(name, pair) != "training"
    }
    assert len(trained) > 20
    assert len(held_out) > 5
    assert None not in held_out
    assert not trained & held_out


def test_docstrings_of_training_go_through_no_held_out_pair():
    """Neither to the answer nor from the first argument documented to the second."""
    stream = PARTS["docstring"].stream(random.Random(1))
    examples = [next(stream) for _ in range(1500)]
    clean = [example for example in examples if example.weighted_at]
    assert len(clean) > 500
    before_b = [example.prompt[: example.weighted_at[0]] for example in clean]
    told = {following_argument(text, re.match(r"\w+", example.prompt[len(text) :])[0])
            for text, example in zip(before_b, clean, strict=True)}  # fmt: skip
    pairs = STANDARD_TASKS["docstring"].pairs(4000, 9)
    held_out = {
        following_argument(pair.clean, each(pair.answer)[0].strip())
        for pair in pairs
        if split_of("docstring", pair) != "training"
    }
    assert told
    assert not told & held_out


def test_ioi_sentences_of_training_have_neither_held_out_orders_nor_templates():
    stream = PARTS["ioi"].stream(random.Random(2))
    orders = set()
    for example in [next(stream) for _ in range(2000)]:
        first, second = [name for name in re.findall(r"\w+", example.prompt) if name in NAMES][:2]
        orders.add((first, second))
        assert split_of_order(first, second) == "training"
    assert len(orders) > 1000
    of_splits = [split_of_order(first, second) for first in NAMES for second in NAMES]
    assert 0.05 < of_splits.count("validation") / len(of_splits) < 0.15
    assert 0.05 < of_splits.count("test") / len(of_splits) < 0.15
    everywhere = [set(templates) for templates in IOI_TEMPLATES.values()]
    assert set.union(*everywhere) == set(TEMPLATES)
    assert sum(map(len, everywhere)) == len(TEMPLATES)
    shape = re.compile("|".join((*NAMES, *PLACES, *OBJECTS)))
    used = {shape.sub("_", next(stream).prompt) for _ in range(3000)}
    for split, templates in IOI_TEMPLATES.items():
        shapes = {re.sub(r"\{\w+\}", "_", template) for template in templates}
        assert bool(used & shapes) == (split == "training")


@pytest.mark.slow
@pytest.mark.parametrize("name", STANDARD_TASKS)
def test_mini_does_the_task_on_what_it_never_saw(mini, name):
    stored = json.loads((BUNDLED["mini"] / "tasks.json").read_text(encoding="utf-8"))[name]
    found = measure(mini, held_out_task(name, mini, N_PROMPTS))
    assert found["n_prompts"] == stored["n_prompts"]
    assert found["accuracy"] >= LEAST_ACCURACY.get(name, 0.95)
    assert found["accuracy"] == pytest.approx(stored["accuracy"], abs=0.003)
    assert found["clean"] == pytest.approx(stored["clean"], abs=1e-3)
    assert found["corrupted"] < 0.3 * found["clean"]
    listed = ax.list_tasks().set_index("task").loc[name]
    assert listed["accuracy on mini"] == stored["accuracy"]
    assert listed["metric"] == stored["metric"]


@pytest.mark.parametrize("name", STANDARD_TASKS)
def test_every_task_has_a_circuit_in_mini(mini, name):
    circuit = ax.find_circuit(mini, ax.load_task(name, mini, n_prompts=12), "3%")
    assert 3 <= len(circuit.kept) < 200
    assert circuit.faithfulness > 0.1
    assert any(edge.endswith("->logits") for edge in circuit.kept)
    assert any(edge.startswith("input->") for edge in circuit.kept)


def test_prompts_that_a_tokenizer_splits_otherwise_are_replaced(mini):
    """As in GPT-2, where some years are one token."""
    from tokenizers import Regex, pre_tokenizers

    tokenizer = type(mini.tokenizer).from_pretrained(str(BUNDLED["mini"]))
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Whitespace(),
            pre_tokenizers.Split(Regex(r"1[1-6]\d\d|\d{1,2}"), "isolated"),
        ]
    )

    class Other:
        """A model with another tokenizer."""

        prepend_bos = True
        weights = mini.weights

    Other.tokenizer = tokenizer
    drawn = STANDARD_TASKS["greater_than"].pairs(20, 0)
    fitting = fitting_pairs(drawn, tokenizer, ("XX", "YY"))
    assert fitting == [pair for pair in drawn if " 17" in pair.clean]
    task = ax.load_task("greater_than", Other, n_prompts=10)
    assert task.n_prompts == 10
    assert all("year 17" in text for text in task.texts)
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    with pytest.raises(
        ValueError, match=r"answer '\d\d' is 2 tokens, .*\n  row 0: and \d+ more faults"
    ):
        ax.load_task("greater_than", Other, n_prompts=10)


def test_published_circuits():
    found = ax.published_circuit("ioi")
    assert ax.published_circuit("ioi_s2_flip") is found
    assert len(found.heads) == len(set(found.heads)) == 26
    assert found.class_of("a9.h9") == "name mover"
    assert found.class_of("a3.h1") is None
    # Conmy et al. 2023: 124 edges from head to head, 13 from heads to the logits.
    between = [edge for edge in found.edge_ids if edge.startswith("a")]
    assert sum(edge.endswith("->logits") for edge in between) == 13
    assert len(between) == 124 + 13
    assert {"a8.h6->a9.h9<q>", "a3.h0->a7.h3<k>", "input->a9.h9<v>"} <= set(found.edge_ids)
    # And 24 edges between nodes in the docstring circuit.
    assert len(set(ax.published_circuit("docstring").edge_ids)) == 24
    greater = ax.published_circuit("greater_than")
    assert {"m0->m1", "a9.h1->m9", "input->m3", "m11->logits"} <= set(greater.edge_ids)
    assert not {"m1->m0", "a9.h1->m8", "m0->a0.h1<q>"} & set(greater.edge_ids)
    assert set(greater.heads) >= {"a0.h1", "a9.h1"}
    with pytest.raises(ValueError, match="unknown published circuit 'months'"):
        ax.published_circuit("months")


def test_published_edges_are_edges_of_the_models():
    from acdc_explorer.graph import graph_of

    for name, graph in (
        ("ioi", graph_of(12, 12)),
        ("greater_than", graph_of(12, 12)),
        ("docstring", graph_of(4, 8, has_mlps=False)),
    ):
        ids = ax.published_circuit(name).edge_ids
        # An id that is none of the graph's edges is refused.
        assert graph.mask_of(ids).sum() == len(ids)


def test_pairs_are_tasks_of_their_own_too(mini):
    """A generator's pairs can be chosen from, and given to `Task.from_pairs`."""
    pairs = [pair for pair in STANDARD_TASKS["greater_than"].pairs(200, 0) if "war" in pair.clean]
    task = Task.from_pairs("wars", pairs, mini, "prob_diff")
    assert task.n_prompts == len(pairs) > 0
    assert task.answer_tokens.shape[1] <= 97
