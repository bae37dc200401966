"""Own prompts: tables and files that become tasks."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from bpe import bpe_tokenizer
from prompt_tables import other, row, same, table

import acdc_explorer as ax
from acdc_explorer.metrics import NO_TOKEN
from acdc_explorer.tasks.answers import spelled_after
from acdc_explorer.tasks.labels import changed_tokens, label_fault, occurrences, parse_label
from acdc_explorer.tasks.prompts import TokenSpan
from acdc_explorer.tasks.tokenizing import tokenize_pairs


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
    clean = "Mary met John, he met Johnny"
    found = parse_label(cell, clean)
    if found is None:
        assert label_fault(cell, clean) == span
    else:
        assert found == span
        assert type(found) is type(span)


def test_no_token_index_is_too_long_to_be_told():
    for cell in (10**30, 10**5000, -(10**5000), "9" * 5000, "1:" + "9" * 5000):
        assert parse_label(cell, "Mary met John") is None
        assert label_fault(cell, "Mary met John")


@pytest.mark.parametrize(
    ("phrase", "text", "starts"),
    [
        ("aa", "aaaa aa a aa", [5, 10]),
        ("..", "....", [0, 2]),
        ("a b", "a b a b_ a b", [0, 9]),
        ("é", "éa é _é", [3]),
        ("b", "", []),
    ],
)
def test_where_a_phrase_occurs(phrase, text, starts):
    assert occurrences(phrase, text) == starts


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
        ("[", "the file is not valid JSON"),
        ("[]", "no auto-circuit dataset"),
        ("[" * 100_000, "the file is not valid JSON .it nests too deep"),
        ('{"prompts": [], "word_idxs": {"IO": ' + "9" * 5000 + "}}", "the file is not valid JSON"),
        ('{"prompts": [], "word_idxs": {"IO": ' + "9" * 50 + "}}", "indices; got 9+ for 'IO'"),
        ('{"prompts": [], "word_idxs": {"IO": true}}', "token indices; got True for 'IO'"),
        ('{"prompts": [], "word_idxs": {"IO": NaN}}', "token indices; got nan for 'IO'"),
        ('{"prompts": [], "word_idxs": 0}', "must map names to token indices; got 0"),
        ('{"prompts": [], "seq_labels": ""}', "seq_labels must be a list of names; got ''"),
        ('{"prompts": [], "word_idxs": {"clean": 1}}', "no position may be called 'clean'"),
        ('{"prompts": [{"clean": "a"}]}', "prompt 0 has no corrupt and no answers and no wrong"),
        ('{"prompts": [{"clean": [1], "corrupt": [2], "answers": [3], "wrong_answers": [4]}]}',
         "prompt 0 is given as token ids"),
    ],
    ids=lambda text: text[:40],
)  # fmt: skip
def test_faulty_datasets(mini, tmp_path, text, message):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        ax.Task.from_json(tmp_path / "x.json", mini)


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
