"""Prompts, labels and answers: what the tasks make, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import acdc_explorer as ax
from acdc_explorer.engine.cache import engine_for
from acdc_explorer.tasks.builtin.ioi import TEMPLATES, ioi_pairs
from acdc_explorer.tasks.builtin.words import NAMES, OBJECTS, PLACES
from acdc_explorer.tasks.prompts import PromptPair
from acdc_explorer.tasks.task import Task


def test_there_are_enough_words_and_templates():
    assert len(set(NAMES)) == len(NAMES) >= 90
    assert min(len(set(PLACES)), len(set(OBJECTS))) >= 20
    assert len(set(TEMPLATES)) >= 12


def test_ioi_pairs_are_what_wang_et_al_describe():
    pairs = ioi_pairs(200, seed=3)
    io_first = 0
    for pair in pairs:
        text, spans = pair.clean, pair.spans
        io, subject = pair.answer.strip(), pair.wrong_answer.strip()
        assert text[slice(*spans["IO"])] == io
        assert text[slice(*spans["S1"])] == text[slice(*spans["S2"])] == subject
        assert text.count(io) == 1
        assert text.count(subject) == 2
        assert spans["S2"][0] > max(spans["IO"][1], spans["S1"][1])
        io_first += spans["IO"] < spans["S1"]
        others = [name for name in NAMES if name in pair.corrupted.replace(",", " ").split()]
        assert len(others) == 3
        assert not {io, subject} & set(others)
        assert "{" not in text + pair.corrupted
    assert io_first == 100
    assert len({pair.clean for pair in pairs}) > 190


def test_prompts_follow_the_seed():
    assert ioi_pairs(20, seed=1) == ioi_pairs(20, seed=1)
    assert ioi_pairs(20, seed=1) != ioi_pairs(20, seed=2)


def test_labels_stand_for_the_right_tokens(mini):
    task = ax.load_task("ioi", mini, n_prompts=50, seed=0)
    assert list(task.positions) == ["IO", "S1", "S1+1", "S2", "END"]
    words = mini.tokenizer.convert_ids_to_tokens
    for row in range(task.n_prompts):
        tokens = words(task.clean_tokens[row].tolist())
        at = {label: tokens[index[row]] for label, index in task.positions.items()}
        assert at["IO"] == words(int(task.answer_tokens[row, 0]))
        assert at["S1"] == at["S2"] == words(int(task.wrong_tokens[row, 0]))
        assert task.positions["S1+1"][row] == task.positions["S1"][row] + 1
        assert tokens[0] == "<|bos|>"
        assert at["END"] == task.texts[row].split()[-1]
    assert task.clean_tokens.shape == task.corrupted_tokens.shape
    assert task.metric.name == "logit_diff"


def test_unknown_tasks_and_numbers(mini):
    with pytest.raises(ValueError, match=r"unknown task 'ioii'\. Did you mean 'ioi'"):
        ax.load_task("ioii", mini)
    for number in (0, -3, 2.5, "ten"):
        with pytest.raises(ValueError, match="n_prompts must be a whole number from 1 on"):
            ax.load_task("ioi", mini, n_prompts=number)


def test_the_list_of_tasks():
    tasks = ax.list_tasks().set_index("task")
    assert tasks.loc["ioi", "labels"] == "IO, S1, S1+1, S2, END"
    assert "Wang" in tasks.loc["ioi", "source"]


def pair(clean="Mary met John", corrupted="Mary met Paul", answer=" Mary", wrong=" John", **spans):
    return PromptPair(clean, corrupted, answer, wrong, spans)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([], "at least one prompt; got none"),
        ([pair(clean="", corrupted="")], "row 0: clean is empty\n  row 0: corrupted is empty"),
        (
            [pair(), pair(corrupted="Mary and Lisa met Paul")],
            "1 of 2 prompts .*\n  row 1: .*they have 3 and 5:",
        ),
        (
            [pair(answer=" Mary John")],
            r"answer ' Mary John' is 2 tokens, Mary\|John; it must be one",
        ),
        ([pair(answer=" Zarathustra")], "' Zarathustra' is not in the vocabulary"),
        ([pair(corrupted="Mary met John")], "all the same, so patching cannot change anything"),
        ([pair(S=(0, 4)), pair()], "row 1: there is no position 'S'"),
        ([pair(S=(40, 44))], "hold no token"),
    ],
)
def test_faulty_pairs_are_named(mini, pairs, message):
    with pytest.raises(ValueError, match=message):
        Task.from_pairs("mine", pairs, mini)


def test_pairs_of_unlike_lengths_are_padded(mini):
    task = Task.from_pairs(
        "mine",
        [pair(), pair(clean="Lisa and Mary met John", corrupted="Lisa and Mary met Paul")],
        mini,
    )
    assert task.clean_tokens.shape == (2, 6)
    assert task.end.tolist() == [3, 5]
    assert list(task.positions) == ["END"]
    alone = Task.from_pairs("mine", [pair()], mini)
    together = ax.find_circuit(mini, task, 0.3)
    assert together.full_metric == pytest.approx(
        (ax.find_circuit(mini, alone, 0.3).full_metric
         + engine_for(mini, task).clean_by_prompt[1].item()) / 2, abs=1e-5,
    )  # fmt: skip


def tensors(**changes):
    fields = {
        "clean_tokens": torch.tensor([[1, 2, 3], [4, 5, 6]]),
        "corrupted_tokens": torch.tensor([[1, 2, 9], [4, 9, 6]]),
        "answer_tokens": torch.tensor([7, 8]),
        "wrong_tokens": torch.tensor([8, 7]),
    }
    return Task(name="t", **{**fields, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clean_tokens": torch.zeros(0, 3)}, "at least one prompt"),
        ({"clean_tokens": torch.zeros(3)}, r"\[prompt, pos\]"),
        (
            {"corrupted_tokens": torch.zeros(2, 4)},
            r"same number of tokens; got \[2, 3\] and \[2, 4\]",
        ),
        ({"answer_tokens": torch.zeros(3)}, "answer_tokens must be"),
        ({"wrong_tokens": torch.zeros(2, 0)}, "wrong_tokens must be"),
        (
            {"positions": {"A": torch.tensor([0, 3])}},
            r"position 'A' is 3 in prompt 1, outside 0\.\.2",
        ),
        ({"positions": {"A": torch.tensor([0])}}, "one index per prompt"),
        ({"positions": {"END": torch.tensor([1, 3])}}, "END is 3"),
        ({"metric": "logit_dif"}, "Did you mean 'logit_diff'"),
    ],
)
def test_faulty_tensors_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        tensors(**changes)


def test_tasks_from_tensors():
    task = tensors(positions={"A": torch.tensor([0, 1])})
    assert task.end.tolist() == [2, 2]
    assert list(task.positions) == ["A", "END"]
    assert task.answer_tokens.shape == (2, 1)
    assert "2 prompts" in repr(task)


def test_a_prompt_may_have_several_answers_and_a_label_several_tokens(mini):
    pairs = [
        PromptPair("Then, Mary and John", "Then, Adam and Eric", (" Mary", " John"), " Eric",
                   {"names": (6, 19), "first": (6, 10)}),
        PromptPair("Then, John", "Then, Eric", " John", " Mary",
                   {"names": (6, 10), "first": (6, 10)}),
    ]  # fmt: skip
    task = Task.from_pairs("names", pairs, mini)
    one = mini.tokenizer.convert_tokens_to_ids
    assert task.answer_tokens.tolist() == [[one("Mary"), one("John")], [one("John"), -1]]
    assert task.positions["first"].tolist() == [3, 3]
    assert task.positions["names"].tolist() == [
        [False, False, False, True, True, True],
        [False, False, False, True, False, False],
    ]
    masks = task.position_masks
    assert list(masks) == ["names", "first", "END", "rest"]
    assert masks["rest"].nonzero().tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]


@pytest.mark.parametrize("metric", ["logit_diff", "prob_diff", "nll"])
def test_missing_answers_do_not_count(mini, metric):
    one = mini.tokenizer.convert_tokens_to_ids
    pairs = [PromptPair("Then, Mary and John", "Then, Adam and Eric", (" Mary", " John"), " Eric")]
    task = Task.from_pairs("names", pairs, mini, metric)
    answers, wrong = [[one("Mary"), -1, one("John")]], [[one("Eric"), -1, -1]]
    padded = Task("names", task.clean_tokens, task.corrupted_tokens, answers, wrong, metric=metric)
    assert engine_for(mini, padded).full_metric == pytest.approx(engine_for(mini, task).full_metric)
    logits = engine_for(mini, task).scoring.clean_logits[0]
    chosen = logits[[one("Mary"), one("John"), one("Eric")]]
    expected = {
        "logit_diff": chosen[:2].mean() - chosen[2],
        "prob_diff": logits.softmax(-1)[[one("Mary"), one("John")]].sum()
        - logits.softmax(-1)[one("Eric")],
        "nll": -logits.softmax(-1)[[one("Mary"), one("John")]].sum().log(),
    }[metric]
    assert engine_for(mini, task).full_metric == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"positions": {"X": torch.zeros(5, 4, dtype=torch.bool)}}, "must be"),
        ({"positions": {"X": torch.zeros(5, 9, dtype=torch.bool)}}, "is empty in prompt 0"),
        ({"positions": {"X": torch.ones(5, 9, dtype=torch.bool), "END": torch.full((5,), 7)}},
         "goes past END"),
        ({"positions": {"rest": torch.zeros(5)}}, "called 'rest'"),
        ({"answer_tokens": torch.tensor([[1], [2], [-1], [3], [4]])},
         "of prompt 2 are all missing"),
    ],
)  # fmt: skip
def test_faulty_spans_and_answers_are_named(change, message):
    tokens = torch.arange(45).reshape(5, 9)
    arguments = {
        "name": "x", "clean_tokens": tokens, "corrupted_tokens": tokens + 1,
        "answer_tokens": torch.arange(5), "wrong_tokens": torch.arange(5), **change,
    }  # fmt: skip
    with pytest.raises(ValueError, match=message):
        Task(**arguments)


def test_a_task_for_a_model_by_its_name():
    mini = ax.load_model("mini")
    by_name, by_model = (ax.load_task("ioi", model, n_prompts=3) for model in ("mini", mini))
    assert torch.equal(by_name.clean_tokens, by_model.clean_tokens)


def test_some_of_the_prompts_are_a_task():
    model = ax.load_model("mini")
    task = ax.load_task("ioi", model, 8)
    some = task.take([5, 2, 5])
    assert some.texts == [task.texts[5], task.texts[2], task.texts[5]]
    assert some.options == {"n_prompts": 8, "seed": 0, "rows": [5, 2, 5]}
    assert torch.equal(some.positions["S2"], task.positions["S2"][[5, 2, 5]])
    one, all_prompts = ax.evaluate(model, some, removed=[]), ax.evaluate(model, task, removed=[])
    assert one != pytest.approx(all_prompts)
    assert some.take([2, 0]).options["rows"] == [5, 5]
    with pytest.raises(ValueError, match="numbers of prompts; got True or False"):
        task.take([True, False])
    by_function = replace(task, metric=lambda logits: logits[:, 5] - logits[:, 7])
    with pytest.raises(ValueError, match="give the task a Metric, or one by name"):
        by_function.take([0])
    for rows, told in (([8], "got 8"), ([], "none is named"), ([-1], "got -1")):
        with pytest.raises(ValueError, match=f"prompts 0 to 7; {told}"):
            task.take(rows)


def test_parts_of_a_task_have_no_prompt_in_common():
    task = ax.load_task("ioi", ax.load_model("mini"), 9)
    first, second = task.split(0.3, seed=1)
    assert (first.n_prompts, second.n_prompts) == (3, 6)
    assert {*first.options["rows"], *second.options["rows"]} == set(range(9))
    assert first.options["rows"] != task.split(0.3, seed=2)[0].options["rows"]
    with pytest.raises(ValueError, match="between 0 and 1; got 1"):
        task.split(1)
    with pytest.raises(ValueError, match="one prompt"):
        task.take([0]).split()
