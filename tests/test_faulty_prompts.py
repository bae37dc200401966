"""Own prompts that cannot be used, and how each fault is told."""

from __future__ import annotations

import dataclasses

import pandas as pd
import pytest
import torch
from prompt_tables import CLEAN, TO, other, row, table

import acdc_explorer as ax
from acdc_explorer.engine.checks import check_fits
from acdc_explorer.tasks.tokenizing import fitting_pairs, side_by_side


def message_of(frame, model) -> str:
    with pytest.raises(ValueError, match=r".") as error:
        ax.Task.from_dataframe(frame, model)
    return str(error.value)


def test_columns(mini):
    frame = table(row()).rename(columns={"corrupted": "corupted", "wrong_answer": "incorrect"})
    assert message_of(frame, mini) == (
        "there is no column 'corrupted' (is it 'corupted'?); there is no column 'wrong_answer'. "
        "Needed are clean, corrupted, answer, wrong_answer; any other column is a position label. "
        "Found: clean, corupted, answer, incorrect"
    )
    twice = table(row()).assign(S=3).set_axis(["clean", "corrupted", "answer", "wrong_answer",
                                               "clean"], axis=1)  # fmt: skip
    assert message_of(twice, mini).startswith("2 columns are called 'clean'.")
    assert message_of(table(row(END=3)), mini).startswith("no column may be called 'END': that is")
    assert message_of(table(row(rest=3)), mini).startswith("no column may be called 'rest'")
    assert message_of(table(row()).assign(**{" ": 3}), mini).startswith("a column has no name")
    assert message_of(table(row()).assign(**{" S": 3}), mini).startswith(
        "no column may have space around its name; got ' S'."
    )
    assert message_of(table(), mini).endswith("Found: none")
    assert message_of(table(row()).iloc[:0], mini) == "a task needs at least one prompt; got none"
    assert message_of([row()], mini) == "prompts must come in a pandas DataFrame; got list"


DIFFER = """\
row 1: clean and corrupted must have the same number of tokens; they have 14 and 16:
      clean      When|Mary|and|John|   |    |went|to|the|store|,|John |gave|a|drink|to
      corrupted  When|Lisa|and|Adam|and|Eric|went|to|the|store|,|Scott|gave|a|drink|to"""


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clean": " "}, "row 1: clean is empty"),
        ({"corrupted": None}, "row 1: corrupted is empty"),
        ({"answer": float("nan")}, "row 1: answer is empty"),
        ({"wrong_answer": []}, "row 1: wrong_answer is empty"),
        ({"wrong_answer": [" John", ""]}, "row 1: wrong_answer names an empty text"),
        ({"answer": 3}, "row 1: answer is 3, which is not text"),
        ({"clean": 3}, "row 1: clean is 3, which is not text"),
        ({"answer": ["Mary", "Mary"]}, "row 1: answer names 'Mary' more than once"),
        ({"corrupted": CLEAN},
         "row 1: clean and corrupted are the same, so patching cannot change anything"),
        ({"corrupted": f"When Lisa and Adam and Eric {TO.format('Scott')}"}, DIFFER),
        ({"answer": "Mary Ann"},
         "row 1: answer ' Mary Ann' is not in the vocabulary of the model's tokenizer"),
        ({"answer": "Mary Lisa"}, "row 1: answer ' Mary Lisa' is 2 tokens, Mary|Lisa; it must be "
         "one"),
        ({"answer": "Zarathustra"},
         "row 1: answer ' Zarathustra' is not in the vocabulary of the model's tokenizer"),
        ({"corrupted": f"When Xerxes and Ymir {TO.format('Xerxes')}"},
         "row 1: corrupted has words that the model does not know: 'Xerxes', 'Ymir'"),
        ({"wrong_answer": "Mary"}, "row 1: 'Mary' is both an answer and a wrong answer"),
        ({"IO": None}, "row 1: IO is empty; a position label needs a place in every prompt"),
        ({"IO": "John"}, "row 1: IO is 'John', which occurs 2 times in the clean prompt; give more "
         "words around it, a token index or a span"),
        ({"IO": "Marie"},
         "row 1: IO is 'Marie', which does not occur in the clean prompt (is it 'Mary'?)"),
        ({"IO": 15}, "row 1: position 'IO' is token 15; the clean prompt has tokens 0 to 14"),
        ({"IO": "9:17"}, "row 1: position 'IO' is tokens 9:17; the clean prompt has tokens 0 to "
         "14"),
    ],
)  # fmt: skip
def test_faults_of_a_row(mini, changes, message):
    frame = table(other(IO="Amy"), row(**{"IO": "Mary", **changes}))
    assert message_of(frame, mini) == f"1 of 2 prompts cannot be used:\n  {message}"


def test_prompts_longer_than_the_model_takes(mini):
    long = {name: " ".join([row()[name].replace(",", "")] * 6) for name in ("clean", "corrupted")}
    assert message_of(table(row(**long)), mini).endswith(
        "row 0: clean is 79 tokens long; the model takes 64"
    )


def test_rows_that_repeat_another_and_rows_with_names(mini):
    frame = table(row(), other(), row()).set_axis(["x", "y", "z"])
    assert message_of(frame, mini) == (
        "1 of 3 prompts cannot be used:\n  row z: is the same as row x"
    )
    assert "row 2: is the same as row 0" in message_of(frame.set_axis(["x", "x", "x"]), mini)


def test_tokens_of_split_names_are_shown(bpe):
    frame = table(row(answer="Zoe", corrupted=row()["corrupted"].replace("Eric", "Zoe")))
    pieces = "|".join(
        bpe.tokenizer.decode([t]) for t in bpe.tokenizer.encode(" Zoe", add_special_tokens=False)
    )
    message = message_of(frame, bpe)
    count = pieces.count("|") + 1
    assert count > 1
    assert f"row 0: answer ' Zoe' is {count} tokens, {pieces}; it must be one" in message
    n_tokens = len(bpe.tokenizer.encode(CLEAN, add_special_tokens=False))
    assert f"they have {n_tokens} and {n_tokens + count - 1}:" in message


def test_everything_is_told_at_once_and_ten_rows_are_shown(mini):
    names = "Mary Lisa Paul Amy Adam Eric Sara Scott Mark Laura Kyle Emily"
    rows = [row(S="John", answer="Zoe", clean=f"{CLEAN} {name}") for name in names.split()]
    lines = message_of(table(*rows, other(S=3)), mini).splitlines()
    assert lines[0] == "12 of 13 prompts cannot be used:"
    assert lines[-1] == "  and 2 more rows"
    of_first = [line for line in lines if line.startswith("  row 0: ")]
    assert len(of_first) == 3
    assert "occurs 2 times" in of_first[0]
    assert "15 and 14" in of_first[1]
    assert "vocabulary" in of_first[2]
    assert [number for number in range(13) if any(f"row {number}:" in line for line in lines)] == (
        list(range(10))
    )


def test_only_the_neighbourhood_of_a_difference_is_shown():
    letters = list("abcdefghijklmnopqrstuvwxyz")
    lines = side_by_side(letters, [*letters[:13], "new\n", *letters[13:]])
    assert lines == (r"…|j|k|l|m|     |n|o|p|q|…", r"…|j|k|l|m|new\n|n|o|p|q|…")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the CSV text is empty"),
        (" \n ", "the CSV text is empty"),
        ("clean,corrupted,answer,wrong_answer\n", "at least one prompt; got none"),
        ("clean,corrupted,answer,wrong_answer\na,b,c,d,e", "not a CSV table: .*Expected 4 fields"),
        ("clean,corrupted,answer,wrong_answer\na,b", "row 0: answer is empty"),
        ("clean|corrupted\na|b", "there is no column 'clean'"),
    ],
)
def test_faulty_csv(mini, text, message):
    with pytest.raises(ValueError, match=message):
        ax.Task.from_csv_text(text, mini)


def test_faulty_files(mini, tmp_path):
    with pytest.raises(ValueError, match=r"there is no CSV file '.*nowhere\.csv'"):
        ax.Task.from_csv(tmp_path / "nowhere.csv", mini)
    (tmp_path / "x").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="is not UTF-8 text"):
        ax.Task.from_csv(tmp_path / "x", mini)
    for text, message in [("", "JSONL text is empty"), ('{"a": 1}\n{', "line 2 is not valid JSON"),
                          ("[" * 100_000, "line 1 is not valid JSON .it nests too deep"),
                          ('{"a": ' + "9" * 5000 + "}", "line 1 is not valid JSON"),
                          ("\n3", "line 2 is not a JSON object but '3'")]:  # fmt: skip
        (tmp_path / "x").write_text(text)
        with pytest.raises(ValueError, match=message):
            ax.Task.from_jsonl(tmp_path / "x", mini)


def test_words_that_pandas_takes_for_missing_are_words(bpe):
    text = f'clean,corrupted,answer,wrong_answer\n"{CLEAN}","{row()["corrupted"]}",NA,None\n'
    with pytest.raises(ValueError, match=r"answer ' NA' is") as error:
        ax.Task.from_csv_text(text, bpe)
    assert "empty" not in str(error.value)


def test_pairs_that_fit_a_tokenizer(bpe):
    good = ax.PromptPair(CLEAN, row()["corrupted"], " Mary", " John", {"IO": (5, 9), "S": (14, 18)})

    def changed(**fields):
        return dataclasses.replace(good, **fields)

    faulty = [
        changed(answer=" Zoe"),
        changed(wrong_answer=" Mary"),
        changed(corrupted=good.corrupted.replace("Eric", "Zoe")),
        changed(spans={**good.spans, "S": (10, 18)}),
        changed(spans={**good.spans, "S": (15, 18)}),
    ]
    assert fitting_pairs([good, *faulty, good], bpe.tokenizer, ("S",)) == [good, good]
    assert fitting_pairs(faulty, bpe.tokenizer) == faulty[3:]
    assert fitting_pairs(faulty, None, ("S",)) == faulty


def test_a_beginning_of_text_token_in_the_prompts_is_told(bpe):
    start = "<|endoftext|>"
    frame = table(row(clean=start + CLEAN, corrupted=start + row()["corrupted"]))
    assert message_of(frame, bpe) == (
        "1 of 1 prompt cannot be used:\n"
        "  row 0: clean starts with '<|endoftext|>', which the model puts before every prompt; "
        "leave it out\n"
        "  row 0: corrupted starts with '<|endoftext|>', which the model puts before every prompt; "
        "leave it out"
    )
    parted = {name: row()[name].replace("went", f"{start} went") for name in ("clean", "corrupted")}
    assert ax.Task.from_dataframe(table(row(**parted)), bpe).n_prompts == 1


@pytest.mark.parametrize("first_bad", [0, 20_000])
def test_of_many_faulty_rows_only_the_first_are_looked_at(mini, first_bad):
    bad = {"corrupted": f"When Xerxes {TO.format('Eric')} me", "answer": "Zoe", "IO": "Marie"}
    frame = pd.DataFrame([row(IO=2)] * first_bad + [row(**bad)] * (100_000 - first_bad))
    frame["clean"] += [f" {number % 100} {number // 100 % 100}" for number in frame.index]
    frame["corrupted"] += [f" {number % 100} {number // 100 % 100}" for number in frame.index]
    message = message_of(frame, mini)
    assert "of 1000 prompts cannot be used (99000 more were not looked at):" in message


def test_a_few_faulty_rows_of_many_are_all_found(mini):
    rows = [row(clean=f"{CLEAN} {n:02d} {m}", corrupted=f"{row()['corrupted']} {n:02d} {m}")
            for n in range(100) for m in range(15)]  # fmt: skip
    for faulty in (3, 1400):
        rows[faulty]["answer"] = "Zoe"
    message = message_of(table(*rows), mini)
    assert message.startswith("2 of 1500 prompts cannot be used:\n  row 3: ")
    assert "\n  row 1400: answer ' Zoe' is not in" in message


def test_prompts_that_differ_only_after_end_are_refused():
    clean = torch.tensor([[1, 2, 3, 4], [1, 2, 5, 6]])
    corrupted = clean.clone()
    corrupted[:, 3] = 7
    fields = {"answer_tokens": torch.tensor([1, 1]), "wrong_tokens": torch.tensor([2, 2])}
    with pytest.raises(ValueError, match="up to END, clean and corrupted prompts are all the same"):
        ax.Task("t", clean, corrupted, **fields, positions={"END": torch.tensor([2, 2])})
    assert ax.Task("t", clean, corrupted, **fields, positions={"END": torch.tensor([2, 3])})


def test_answers_must_be_tokens_that_the_model_says_and_prompts_those_that_it_reads(mini):
    weights = dataclasses.replace(mini.weights, W_U=mini.weights.W_U[:, :50])
    more = dataclasses.replace(mini.weights, W_E=mini.weights.W_E[:50])
    task = ax.Task("t", torch.tensor([[1, 2]]), torch.tensor([[1, 3]]),
                   torch.tensor([60]), torch.tensor([4]))  # fmt: skip
    check_fits(more, task)
    with pytest.raises(ValueError, match=r"answer_tokens holds .* gives logits for 50 tokens"):
        check_fits(weights, task)
    task = dataclasses.replace(task, corrupted_tokens=torch.tensor([[1, 60]]))
    with pytest.raises(ValueError, match=r"corrupted_tokens holds ids .* the model reads 50 tok"):
        check_fits(more, task)
