"""Own prompts: tables and files, what is refused and how it is said, previews and checks."""

from __future__ import annotations

import dataclasses
import json

import pandas as pd
import pytest
import torch
from bpe import bpe_tokenizer, save_bpe_gpt2

import acdc_explorer as ax
from acdc_explorer.metrics import NO_TOKEN
from acdc_explorer.tasks.answers import spelled_after
from acdc_explorer.tasks.labels import changed_tokens, parse_label
from acdc_explorer.tasks.prompts import TokenSpan
from acdc_explorer.tasks.tokenizing import fitting_pairs, side_by_side, tokenize_pairs

TO = "went to the store, {} gave a drink to"


@pytest.fixture(scope="module")
def mini():
    return ax.load_model("mini")


@pytest.fixture(scope="module")
def bpe(tmp_path_factory):
    """A small GPT-2 whose tokenizer tells "Mary" and " Mary" apart."""
    folder = tmp_path_factory.mktemp("bpe")
    save_bpe_gpt2(folder)
    return ax.load_model(folder)


def row(**changes):
    return {
        "clean": f"When Mary and John {TO.format('John')}",
        "corrupted": f"When Lisa and Eric {TO.format('Scott')}",
        "answer": " Mary",
        "wrong_answer": " John",
        **changes,
    }


def other(**changes):
    return row(
        clean=f"When Amy and Paul {TO.format('Paul')}",
        corrupted=f"When Sara and Eric {TO.format('Adam')}",
        answer=" Amy",
        wrong_answer=" Paul",
        **changes,
    )


def table(*rows):
    return pd.DataFrame(list(rows))


def same(one, two):
    """Whether two tasks are made of the same tensors."""
    fields = ("clean_tokens", "corrupted_tokens", "answer_tokens", "wrong_tokens")
    assert all(torch.equal(getattr(one, name), getattr(two, name)) for name in fields)
    assert list(one.positions) == list(two.positions)
    assert all(torch.equal(one.positions[label], two.positions[label]) for label in one.positions)
    return True


def message_of(frame, model) -> str:
    with pytest.raises(ValueError, match=r".") as error:
        ax.Task.from_dataframe(frame, model)
    return str(error.value)


# --- what is right -------------------------------------------------------------------------------


def test_own_prompts_to_a_circuit(mini):
    frame = pd.DataFrame(
        {
            "clean": ["When Mary and John went to the store, John gave a drink to"],
            "corrupted": ["When Lisa and Eric went to the store, Scott gave a drink to"],
            "answer": ["Mary"],
            "wrong_answer": ["John"],
        }
    )
    circuit = ax.find_circuit("mini", ax.Task.from_dataframe(frame, "mini"), threshold="7%")
    assert circuit.complete
    assert 0 < len(circuit.kept) < 200
    assert circuit.full_metric > 1


@pytest.mark.parametrize("model", ["mini", "bpe"])
def test_answers_with_and_without_a_leading_space_are_the_same_token(request, model):
    model = request.getfixturevalue(model)
    spaced = ax.Task.from_dataframe(table(row()), model)
    bare = ax.Task.from_dataframe(table(row(answer="Mary", wrong_answer="John")), model)
    assert same(spaced, bare)
    expected = model.tokenizer(" Mary", add_special_tokens=False)["input_ids"]
    assert spaced.answer_tokens.tolist() == [expected]
    assert bare.pairs[0].answer == (" Mary",)
    is_bpe = model.name != "mini"
    assert any("read with one, as 'Mary' after '… to'" in note for note in bare.notes) is is_bpe
    assert not any("leading space" in note for note in spaced.notes)


def test_pairs_take_answers_exactly_as_given(bpe):
    pair = ax.PromptPair(row()["clean"], row()["corrupted"], "Mary", "John")
    task = ax.Task.from_pairs("bare", [pair], bpe)
    expected = bpe.tokenizer("Mary", add_special_tokens=False)["input_ids"]
    assert task.answer_tokens.tolist() == [expected]


@pytest.mark.parametrize(
    ("prompt", "answer", "spelled"),
    [
        ("gave it to", "Mary", " Mary"),
        ("gave it to", " Mary", " Mary"),
        ("gave it to ", "Mary", "Mary"),
        ("gave it to ", " Mary", "Mary"),
        ("from 1732 to 17", "33", "33"),
        ("the year", "33", " 33"),
        ("He left.", "Then", " Then"),
        ("he isn'", "t", "t"),
        ("f(", "x", "x"),
        ("gave it to", ",", ","),
        ("東京は", "日本", "日本"),
    ],
)
def test_how_an_answer_is_spelled_after_a_prompt(prompt, answer, spelled):
    assert spelled_after(prompt, answer) == spelled


def test_a_prompt_that_ends_in_a_space_is_noted(bpe):
    spaced = row(clean=row()["clean"] + " ", corrupted=row()["corrupted"] + " ")
    task = ax.Task.from_dataframe(table(spaced), bpe)
    assert task.pairs[0].answer == ("Mary",)
    assert "1 prompts end in a space" in " ".join(task.notes)
    assert "2 answers lose their leading space" in " ".join(task.notes)


def test_labels_are_words_phrases_indices_and_spans(mini):
    frame = table(row(IO="Mary", pair="Mary and John", S2=10, after="11:13"),
                  other(IO="Amy", pair="Amy and Paul", S2="10", after="11 : 13"))  # fmt: skip
    task = ax.Task.from_dataframe(frame, mini)
    assert list(task.positions) == ["IO", "pair", "S2", "after", "END"]
    assert task.positions["IO"].tolist() == [2, 2]
    assert task.positions["S2"].tolist() == [10, 10]
    words = mini.tokenizer.convert_ids_to_tokens(task.clean_tokens[0].tolist())
    assert words[2] == "Mary"
    assert words[10] == "John"
    assert task.positions["pair"][0].nonzero()[:, 0].tolist() == [2, 3, 4]
    assert task.positions["after"][1].nonzero()[:, 0].tolist() == [11, 12]
    assert ax.find_circuit(mini, task, "20%").complete


@pytest.mark.parametrize(
    ("cell", "span"),
    [
        ("Mary", (0, 4)),
        (" Mary ", (0, 4)),
        ("Mary met", (0, 8)),
        ("John,", (9, 14)),
        (3, TokenSpan(3, 4)),
        (3.0, TokenSpan(3, 4)),
        ("0:2", TokenSpan(0, 2)),
        ("Joh", "is 'Joh', which does not occur in the clean prompt (is it 'John'?)"),
        ("met", "is 'met', which occurs 2 times in the clean prompt; give more words around it, a "
         "token index or a span"),
        ("-1", "is '-1'; token indices count from 0, and a span '3:6' goes from 3 up to 5"),
        ("6:3", "is '6:3'; token indices count from 0, and a span '3:6' goes from 3 up to 5"),
        (2.5, "is 2.5; it must be a word, a token index or a span like '3:6'"),
        (True, "is True; it must be a word, a token index or a span like '3:6'"),
    ],
)  # fmt: skip
def test_cells_of_labels(cell, span):
    found = parse_label(cell, "Mary met John, he met Johnny")
    assert found == span
    assert type(found) is type(span)


@pytest.mark.parametrize(
    ("clean", "corrupted", "labels"),
    [
        # The same number of places in each, wherever they are.
        (["abcdef", "abcdef"], ["aXcdYf", "abXdYf"], {"changed 1": [[1], [2]],
                                                     "changed 2": [[4], [4]]}),
        (["abcdef", "abc"], ["aXYdef", "aXc"], {"changed": [[1, 2], [1]]}),
        # Unlike numbers of places, equal lengths: where half of the prompts differ.
        (["abcdef"] * 3, ["aXcYef", "aXcYeZ", "abcYXf"], {"changed 1": [[1]] * 3,
                                                        "changed 2": [[3]] * 3}),
        (["abcdef"] * 3, ["aXcYef", "aXYdef", "abcYXf"], {"changed 1": [[1]] * 3,
                                                        "changed 2": [[3]] * 3}),
        # Unlike numbers and lengths: one label for all.
        (["abcdef", "abc"], ["aXcYef", "aXc"], {"changed": [[1, 3], [1]]}),
        # END belongs to no place.
        (["abcdef"], ["aXcdYZ"], {"changed 1": [[1]], "changed 2": [[4]]}),
        (["abc", "abc"], ["abX", "abY"], {}),
    ],
)  # fmt: skip
def test_labels_where_prompts_differ(clean, corrupted, labels):
    def ids(texts):
        return [[ord(letter) for letter in text] for text in texts]

    assert changed_tokens(ids(clean), ids(corrupted)) == labels


def test_labels_are_found_when_no_column_gives_any(mini):
    task = ax.Task.from_dataframe(table(row(), other()), mini)
    assert list(task.positions) == ["changed 1", "changed 2", "changed 3", "END"]
    assert task.positions["changed 3"].tolist() == [10, 10]
    assert "changed 1, changed 2, changed 3, END" in task.notes[-1]


def test_several_answers(mini):
    lists = table(row(answer=["Mary", "Lisa"], wrong_answer=["John"]), other())
    task = ax.Task.from_dataframe(lists, mini)
    one = mini.tokenizer.convert_tokens_to_ids
    assert task.answer_tokens.tolist() == [[one("Mary"), one("Lisa")], [one("Amy"), NO_TOKEN]]
    assert task.wrong_tokens.tolist() == [[one("John")], [one("Paul")]]
    assert task.preview()["answer"].tolist() == [[" Mary", " Lisa"], " Amy"]


def test_round_trips_through_files(bpe, tmp_path):
    rows = [row(IO="Mary", S2=12, both="4:7"), other(IO="Amy", S2=12, both="4:7")]
    rows[0]["answer"] = [" Mary", " Lisa"]
    task = ax.Task.from_dataframe(pd.DataFrame(rows), bpe)
    flat = pd.DataFrame([rows[0] | {"answer": " Mary| Lisa"}, rows[1]])
    for index in (True, False):
        flat.to_csv(tmp_path / "mine.csv", index=index)
        read = ax.Task.from_csv(tmp_path / "mine.csv", bpe)
        assert same(task, read)
        assert read.name == "mine"
    for separator in ("\t", ";"):
        # The prompts have commas, the header has none.
        text = flat.to_csv(index=False, sep=separator)
        assert same(task, ax.Task.from_csv_text("\ufeff" + text, bpe))
    lines = "\n\n".join(json.dumps(row) for row in rows)
    (tmp_path / "mine.jsonl").write_text(lines)
    assert same(task, ax.Task.from_jsonl(tmp_path / "mine.jsonl", bpe))
    preview = task.preview()
    columns = ["clean", "corrupted", "answer", "wrong_answer"]
    again = ax.Task.from_dataframe(preview[columns].assign(IO=["Mary", "Amy"], S2=12, both="4:7"),
                                   bpe)  # fmt: skip
    assert same(task, again)


def test_datasets_of_auto_circuit(mini, tmp_path):
    def dataset(**fields):
        renamed = {"corrupted": "corrupt", "answer": "answers", "wrong_answer": "wrong_answers"}
        prompts = [
            {
                renamed.get(k, k): [v] if k.endswith("answer") else v
                for k, v in prompt.items()
            }
            for prompt in (row(), other())
        ]  # fmt: skip
        (tmp_path / "names.json").write_text(json.dumps({"prompts": prompts, **fields}))
        return ax.Task.from_json(tmp_path / "names.json", mini)

    task = dataset(word_idxs={"IO": 1, "S1": 3, "S2": 9, "end": 13})
    assert task.name == "names"
    assert list(task.positions) == ["IO", "S1", "S2", "END"]
    # The file does not count <|bos|>.
    assert task.positions["IO"].tolist() == [2, 2]
    words = [
        *[
            "When",
            "name",
            "and",
            "name",
            "went",
            "to",
            "the",
            "store",
            ",",
            "name",
            "gave",
            "a",
            "drink",
            "to",
        ]
    ]
    assert len(words) == 14
    labelled = dataset(seq_labels=words, word_idxs={})
    assert list(labelled.positions)[:5] == ["When", "name", "and", "name (2)", "went"]
    assert labelled.positions["name (2)"].tolist() == [4, 4]
    assert list(labelled.positions)[-2:] == ["drink", "END"]
    assert list(dataset().positions) == ["changed 1", "changed 2", "changed 3", "END"]
    with pytest.raises(ValueError, match="word_idxs must map names to token indices"):
        dataset(word_idxs={"IO": "Mary"})
    with pytest.raises(ValueError, match=r"position 'IO' is token 100; .* tokens 0 to 14"):
        dataset(word_idxs={"IO": 99})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "the file is not JSON"),
        ("[]", "no auto-circuit dataset"),
        ('{"prompts": [{"clean": "a"}]}', "prompt 0 has no corrupt and no answers and no wrong"),
        ('{"prompts": [{"clean": [1], "corrupt": [2], "answers": [3], "wrong_answers": [4]}]}',
         "prompt 0 is given as token ids"),
    ],
)  # fmt: skip
def test_faulty_datasets(mini, tmp_path, text, message):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        ax.Task.from_json(tmp_path / "x.json", mini)


# --- what is wrong -------------------------------------------------------------------------------


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
    assert message_of(table(), mini).endswith("Found: none")
    assert message_of(table(row()).iloc[:0], mini) == "a task needs at least one prompt; got none"
    assert message_of([row()], mini) == "prompts must come in a pandas DataFrame; got list"


CLEAN = row()["clean"]
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
    for text, message in [("", "JSONL text is empty"), ('{"a": 1}\n{', "line 2 is not JSON"),
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


# --- preview and check ---------------------------------------------------------------------------


def test_previews(mini):
    task = ax.Task.from_dataframe(table(row(pair="Mary and John"), other(pair="Amy")), mini)
    plain = task.preview()
    assert list(plain.columns) == ["clean", "corrupted", "answer", "wrong_answer", "pair", "END"]
    assert plain["pair"].tolist() == ["Mary and John [2:5]", "Amy [2]"]
    assert plain["END"].tolist() == ["to [14]", "to [14]"]
    asked = task.preview("mini")
    assert list(asked.columns[-3:]) == ["top_answer", "correct", "logit_diff"]
    engine = mini.engine(task)
    assert asked["logit_diff"].tolist() == engine.clean_by_prompt.tolist()
    best = engine.clean_logits.argmax(-1).tolist()
    assert asked["top_answer"].tolist() == mini.tokenizer.convert_ids_to_tokens(best)
    by_tokens = ax.Task("t", task.clean_tokens, task.corrupted_tokens, [1, 2], [2, 1],
                        {"gap": torch.eye(15).bool()[:2] | torch.eye(15).bool()[5]})  # fmt: skip
    assert by_tokens.preview().to_dict("list") == {
        "gap": ["[0, 5]", "[1, 5]"], "END": ["[14]", "[14]"]
    }  # fmt: skip


def test_a_task_that_the_model_does(mini):
    check = ax.load_task("ioi", mini, n_prompts=32).check(mini)
    assert check.accuracy > 0.9
    assert check.clean > 1
    assert abs(check.corrupted) < 1
    assert min(check.clean_spread, check.corrupted_spread) > 0
    assert check.warnings == ()
    lines = str(check).splitlines()
    assert lines[0] == "ioi on mini, 32 prompts"
    assert lines[1].startswith("  accuracy   ")
    assert f"± {check.clean_spread:.3f} logits" in lines[3]


def test_a_task_that_the_model_does_not(mini):
    turned = table(row(answer="John", wrong_answer="Mary"))
    check = ax.Task.from_dataframe(turned, mini).check("mini")
    assert check.accuracy == 0
    assert "its answer is right on 0% of the prompts" in check.warnings[0]


def test_prompts_whose_corruption_changes_nothing_much(mini):
    frame = table(row(corrupted=CLEAN.replace("store", "garden")))
    check = ax.Task.from_dataframe(frame, mini).check(mini)
    gap = abs(check.clean - check.corrupted)
    assert gap < 0.2 * check.clean
    assert f"differ by {gap:.3g} in logit difference" in check.warnings[0]
    assert "too close for a search" in check.warnings[0]
    assert check.warnings[0] in str(check)


def test_reports_escape_what_they_show(mini):
    frame = table(row(), other())
    task = ax.Task.from_dataframe(frame, mini, name="<script>alert(1)</script>")
    shown = task.check(mini)._repr_html_()
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown
    assert "<li><b>note</b>: " in shown


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


def test_the_tokenizer_of_these_tests_is_of_gpt2s_type():
    tokenizer = bpe_tokenizer()
    tokens = tokenizer.tokenize("gave it to Mary")
    assert tokens[-1] == "ĠMary"
    assert tokenizer.tokenize("Mary") == ["Mary"]
    assert tokenizer.unk_token == tokenizer.eos_token


def test_tokenizers_that_put_a_space_before_every_text():
    """LLaMA's kind: " Mary" by itself is two tokens, and one after a prompt."""
    from tokenizers import Tokenizer, decoders, models, normalizers
    from transformers import PreTrainedTokenizerFast

    words = ["▁When", "▁Mary", "▁and", "▁John", "▁met", ",", "▁gave", "▁it", "▁to", "▁Lisa", "▁"]
    pieces = [("<unk>", 0.0), ("<s>", 0.0), *((word, -1.0) for word in words)]
    core = Tokenizer(models.Unigram(pieces, unk_id=0))
    core.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    core.decoder = decoders.Metaspace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>", bos_token="<s>")
    assert tokenizer.tokenize("Mary") == ["▁Mary"]
    assert tokenizer.tokenize(" Mary") == ["▁", "▁Mary"]
    for answer, wrong in [(" Mary", " John"), ("Mary", "John")]:
        pair = ax.PromptPair("When Mary and John met, John gave it to",
                             "When Lisa and John met, Mary gave it to", answer, wrong)  # fmt: skip
        found = tokenize_pairs([pair], tokenizer, prepend_bos=True, guess_spaces=True)
        assert found.answer_tokens.tolist() == [[pieces.index(("▁Mary", -1.0))]]
        assert found.notes == []
