"""Tasks for tokenizers that split their words: what is drawn instead, told, refused."""

from __future__ import annotations

import hashlib
import re
from types import SimpleNamespace

import pytest

import acdc_explorer as ax
from acdc_explorer.tasks.builtin.registry import STANDARD_TASKS
from acdc_explorer.tasks.builtin.words import NAMES
from acdc_explorer.tasks.prompts import each
from acdc_explorer.tasks.tokenizing import pair_faults

WITH_POOLS = [name for name, recipe in STANDARD_TASKS.items() if recipe.pools]
ONE_DIGIT, THREE_DIGITS = r"\d", r"\d{1,3}"
# Of 64 prompts of seed 0 each. Saved circuits tell their prompts by task and seed alone.
PROMPTS_ON_MINI = {
    "ioi": "2e200befd5fcd04e",
    "ioi_s2_other": "dba76e72361de49a",
    "ioi_s2_flip": "c898151f64711887",
    "greater_than": "9ae22e52765e2ade",
    "gendered_pronouns": "93e07e015e1d0187",
    "gendered_pronouns_opposite": "60fdcdb4dacb9900",
    "induction": "4d5d3e701b92dac6",
    "docstring": "ef36e959c8e28c65",
    "subject_verb_agreement": "b6f74f2dd0404efa",
    "months": "122cf39ccbc67bd7",
    "days": "ea31da227bc29c19",
    "numbers": "bb45c669a7837382",
    "capital_country": "fbc90eaf1ed52cad",
    "hypernymy": "e26fddf0267a759c",
    "multiple_choice": "1df9da7d72889a27",
}


def model_that_keeps(words, numbers=ONE_DIGIT):
    """A model's tokenizer to which each of some words is one token, with the space before it.

    Everything else is split into characters, and a space before a number is a token of its own.
    """
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    longest_first = sorted(words, key=len, reverse=True)
    kept = rf" ?(?:{'|'.join(longest_first)})(?!\w)"
    vocab = [chr(code) for code in range(9, 127)] + [str(number) for number in range(10, 1000)]
    vocab += [f"{number:0{width}}" for width in (2, 3) for number in range(10 ** (width - 1))]
    vocab += [space + word for word in words for space in ("", " ")]
    core = Tokenizer(models.WordLevel({text: at for at, text in enumerate(dict.fromkeys(vocab))}))
    core.pre_tokenizer = pre_tokenizers.Split(Regex(rf"{kept}|{numbers}|[\s\S]"), "isolated")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core)
    return SimpleNamespace(
        tokenizer=tokenizer, prepend_bos=False, weights=SimpleNamespace(n_ctx=None)
    )


def other_words(name):
    """The words of a task's prompts and answers that are in none of its pools."""
    pairs = STANDARD_TASKS[name].pairs(400, 0)
    texts = [text for pair in pairs for text in (pair.clean, pair.corrupted, *each(pair.answer))]
    of_pools = {
        form
        for pool in STANDARD_TASKS[name].pools.values()
        for forms in pool.forms.values()
        for form in forms
    }
    return set(re.findall(r"[A-Za-z]+", " ".join(texts))) - of_pools


def model_with_words_of(name, n_fewer=0):
    """One whose tokenizer keeps as few words of a task's pools as it can do with, or fewer."""
    chosen = [
        form
        for pool in STANDARD_TASKS[name].pools.values()
        for forms in list(pool.forms.values())[: pool.fewest - n_fewer]
        for form in forms
    ]
    return model_that_keeps({*other_words(name), *chosen}), set(chosen)


@pytest.mark.parametrize("name", WITH_POOLS)
def test_prompts_have_the_words_that_the_tokenizer_keeps(name):
    model, chosen = model_with_words_of(name)
    task = ax.load_task(name, model, n_prompts=8, seed=1)
    assert task.n_prompts == 8
    pools = STANDARD_TASKS[name].pools.values()
    words = {form for pool in pools for forms in pool.forms.values() for form in forms}
    for pair in task.pairs:
        text = " ".join((pair.clean, pair.corrupted, *each(pair.answer), *each(pair.wrong_answer)))
        used = words & set(re.findall(r"\w+", text))
        assert used
        assert used <= chosen
    for pool, note in zip(pools, task.notes, strict=True):
        counted = f"{pool.fewest} of {len(pool.forms)} {pool.kind}"
        assert note.startswith(f"the prompts use {counted}; the tokenizer splits ")
    again = ax.load_task(name, model, n_prompts=8, seed=1)
    assert again.texts == task.texts
    assert again.notes == task.notes


@pytest.mark.parametrize("name", WITH_POOLS)
def test_too_few_words_are_refused_with_those_that_are_split(name):
    model, _ = model_with_words_of(name, n_fewer=1)
    pool = next(iter(STANDARD_TASKS[name].pools.values()))
    (missing,) = list(pool.forms)[pool.fewest - 1 : pool.fewest]
    split = next(form for form in pool.forms[missing] if form not in _kept(pool))
    with pytest.raises(ValueError, match=f"task '{name}' needs {pool.fewest} {pool.kind}") as error:
        ax.load_task(name, model, n_prompts=8)
    assert f"{pool.fewest - 1} of {len(pool.forms)} are; the tokenizer splits " in str(error.value)
    assert f"{split} ({'|'.join(split)})" in str(error.value)


def _kept(pool):
    """The forms of all but the last of the words that a task cannot do without."""
    return {form for forms in list(pool.forms.values())[: pool.fewest - 1] for form in forms}


def test_which_names_are_left_out_is_told():
    name = "ioi"
    model = model_that_keeps({*other_words(name), *NAMES[3:]})
    task = ax.load_task(name, model, n_prompts=16)
    assert list(task.notes) == [
        f"the prompts use {len(NAMES) - 3} of {len(NAMES)} names; the tokenizer splits "
        "Aaron (A|a|r|o|n), Adam (A|d|a|m), Alexander (A|l|e|x|a|n|d|e|r)"
    ]
    assert not any(left_out in text for left_out in NAMES[:3] for text in task.texts)
    few = model_that_keeps({*other_words(name), *NAMES[-4:]})
    with pytest.raises(ValueError, match=rf"4 of 99 are.* and {len(NAMES) - 4 - 20} more$"):
        ax.load_task(name, few)
    everything = ax.load_task(name, model_that_keeps({*other_words(name), *NAMES}), n_prompts=16)
    assert list(everything.notes) == []


def test_names_are_one_token_wherever_they_are_labelled():
    """At the beginning of a sentence there is no space before them."""
    model = model_that_keeps({*other_words("ioi"), *NAMES})
    core = model.tokenizer.backend_tokenizer
    from tokenizers import Regex, pre_tokenizers

    core.pre_tokenizer = pre_tokenizers.Split(Regex(r" (?:[A-Za-z]+)|[\s\S]"), "isolated")
    task = ax.load_task("ioi", model, n_prompts=32)
    assert all(task.positions[label].ndim == 1 for label in ("IO", "S1", "S2"))
    starting = re.compile(f"(?:{'|'.join(NAMES)}) ")
    assert not any(starting.match(text) for text in task.texts)
    assert any(starting.match(pair.clean) for pair in STANDARD_TASKS["ioi"].pairs(32, 0))
    drawn = [pair for pair in STANDARD_TASKS["ioi"].pairs(64, 0) if starting.match(pair.clean)]
    with pytest.raises(ValueError, match=r"position '(IO|S1)' is \w(\|\w)+; '\w+' must be one tok"):
        pair_faults(drawn, model.tokenizer, ("IO", "S1")).raise_if_any()


@pytest.mark.parametrize("numbers", [ONE_DIGIT, THREE_DIGITS])
def test_greater_than_by_the_last_digit(numbers):
    task = ax.load_task("greater_than", model_that_keeps({"noun"}, numbers), n_prompts=48, seed=2)
    assert task.metric.name == "prob_diff"
    assert [note.partition(",")[0] for note in task.notes] == [
        "this tokenizer does not write years as two and two digits"
    ]
    assert list(task.positions) == ["noun", "XXY", "Y", "END"]
    assert task.positions["Y"].ndim == 1
    years = set()
    for pair in task.pairs:
        decade, digit = re.fullmatch(
            r"The \w+ lasted from the year (1[1-7]\d)(\d) to the year \1", pair.clean
        ).groups()
        above = [str(end) for end in range(10) if int(f"{decade}{end}") > int(f"{decade}{digit}")]
        assert list(pair.answer) == above
        assert list(pair.wrong_answer) == [end for end in "0123456789" if end not in above]
        assert pair.answer
        assert len(pair.wrong_answer) >= 2
        assert pair.corrupted == pair.clean.replace(f"{decade}{digit}", f"{decade}0")
        assert pair.clean[slice(*pair.spans["XXY"])] == decade
        assert pair.clean[slice(*pair.spans["Y"])] == digit
        years.add((decade, digit))
    assert len(years) > 40


def test_numbers_digit_by_digit():
    task = ax.load_task("numbers", model_that_keeps({"Count"}), n_prompts=64, seed=1)
    assert [note.partition(",")[0] for note in task.notes] == [
        "this tokenizer writes numbers digit by digit"
    ]
    lengths = set()
    for pair in task.pairs:
        *counted, begun = re.search(r"[:\w] ((?:\d+ )+\d*)$", pair.clean)[1].split(" ")
        (right,), (wrong,) = each(pair.answer), each(pair.wrong_answer)
        sequence = [int(number) for number in counted]
        assert sequence == list(range(sequence[0], sequence[0] + 4))
        assert int(begun + right) == sequence[-1] + 1
        assert int(begun + wrong) == sequence[-1]
        lengths.add(len(str(sequence[-1])))
        *unordered, same = re.search(r"((?:\d+ )+\d*)$", pair.corrupted)[1].split(" ")
        assert same == begun
        assert {len(number) for number in unordered} == {len(counted[0])} == {len(counted[-1])}
        assert not {begun + right, begun + wrong} & set(unordered)
    assert lengths == {1, 2}
    assert list(task.positions) == ["1st", "2nd", "3rd", "4th", "END"]


def test_numbers_after_a_space_of_its_own():
    task = ax.load_task("numbers", model_that_keeps({"Count"}, THREE_DIGITS), n_prompts=32)
    assert len(task.notes) == 1
    assert "the prompts end in the space" in task.notes[0]
    for pair in task.pairs:
        *_, last = re.findall(r"\d+", pair.clean)
        assert pair.clean.endswith(f"{last} ")
        assert (*each(pair.answer), *each(pair.wrong_answer)) == (str(int(last) + 1), last)


@pytest.mark.parametrize("name", STANDARD_TASKS)
def test_prompts_on_mini_stay_as_they_are(name):
    task = ax.load_task(name, ax.load_model("mini"), n_prompts=64, seed=0)
    assert list(task.notes) == []
    rows = [(p.clean, p.corrupted, p.answer, p.wrong_answer, p.spans) for p in task.pairs]
    assert hashlib.sha256(repr(rows).encode()).hexdigest()[:16] == PROMPTS_ON_MINI[name]
