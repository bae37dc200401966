"""The RASP programs that are compiled to models (`compile_rasp.py`).

`reverse` and `proportion` are those on which ACDC was tested (Conmy et al. 2023, arXiv 2304.14997);
the others are small ones in the manner of the RASP paper's (Weiss et al. 2021, arXiv 2106.06981)
and of InterpBench's (Gupta et al. 2024, arXiv 2407.14494), made to be read at the last letter, by a
model that sees no letter after the one it is at.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Program:
    """What is compiled.

    Attributes:
        text: in RASP as Tracr writes it; the last line assigns `output`.
        words: that it reads.
        logits: dimension of the residual stream -> the word whose logit it is.
    """

    text: str
    words: tuple[str, ...]
    logits: dict[str, str]

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The words that it reads, then those that it only answers."""
        return tuple(dict.fromkeys([*self.words, *self.logits.values()]))


def _of_words(name: str, words: str | tuple[str, ...]) -> dict[str, str]:
    """The logits of an output whose values are words."""
    return {f"{name}:{word}": word for word in words}


def _of_numbers(name: str) -> dict[str, str]:
    """Those of an output that counts up to five letters."""
    return _of_words(name, "012345")


PROGRAMS: dict[str, Program] = {
    "reverse": Program(
        text="""\
length = SelectorWidth(Select(tokens, tokens, Comparison.TRUE)).named("length")
from_end = (length - indices).named("from_end")
opposite = (from_end - 1).named("opposite")
output = Aggregate(Select(indices, opposite, Comparison.EQ), tokens).named("reverse")
""",
        words=("A", "B", "C"),
        logits=_of_words("reverse", "ABC"),
    ),
    "proportion": Program(
        text="""\
is_x = numerical(tokens == "x").named("is_x")
so_far = Select(indices, indices, Comparison.LEQ)
output = numerical(Aggregate(so_far, is_x, default=0)).named("proportion")
""",
        words=("w", "x", "y", "z"),
        logits={"proportion": "x"},
    ),
    # The letter before.
    "previous": Program(
        text="""\
before = Select(indices, indices, lambda key, query: key == query - 1)
output = Aggregate(before, tokens).named("previous")
""",
        words=("A", "B", "C"),
        logits=_of_words("previous", "ABC"),
    ),
    # The letter that came after the last time this one was there.
    "induction": Program(
        text="""\
before = Select(indices, indices, lambda key, query: key == query - 1)
previous = Aggregate(before, tokens).named("previous")
output = Aggregate(Select(previous, tokens, Comparison.EQ), tokens).named("after")
""",
        words=("A", "B", "C"),
        logits=_of_words("after", "ABC"),
    ),
    # Of digits the one at the place that the first tells.
    "pointer": Program(
        text="""\
start = Select(indices, indices, lambda key, query: key == 0)
first = Aggregate(start, tokens).named("first")
pointed = Select(indices, first, lambda key, query: str(key) == query)
output = Aggregate(pointed, tokens).named("pointed")
""",
        words=("1", "2", "3"),
        logits=_of_words("pointed", "123"),
    ),
    # Whether this is the first letter again.
    "first": Program(
        text="""\
start = Select(indices, indices, lambda key, query: key == 0)
first = Aggregate(start, tokens).named("first")
same = SequenceMap(lambda here, first: "yes" if here == first else "no", tokens, first)
output = same.named("same")
""",
        words=("A", "B", "C"),
        logits=_of_words("same", ("yes", "no")),
    ),
    # How often this letter has come up.
    "histogram": Program(
        text="""\
output = SelectorWidth(Select(tokens, tokens, Comparison.EQ)).named("times")
""",
        words=("A", "B", "C"),
        logits=_of_numbers("times"),
    ),
    # Whether it has come up before.
    "duplicate": Program(
        text="""\
times = SelectorWidth(Select(tokens, tokens, Comparison.EQ)).named("times")
output = Map(lambda times: "yes" if times > 1 else "no", times).named("seen")
""",
        words=("A", "B", "C"),
        logits=_of_words("seen", ("yes", "no")),
    ),
    "count": Program(
        text="""\
is_x = Select(tokens, tokens, lambda key, query: key == "x")
output = SelectorWidth(is_x).named("count")
""",
        words=("x", "y", "z"),
        logits=_of_numbers("count"),
    ),
    "parity": Program(
        text="""\
is_x = Select(tokens, tokens, lambda key, query: key == "x")
count = SelectorWidth(is_x).named("count")
output = Map(lambda count: "odd" if count % 2 else "even", count).named("parity")
""",
        words=("x", "y", "z"),
        logits=_of_words("parity", ("even", "odd")),
    ),
    # The last of the letters in order.
    "largest": Program(
        text="""\
n_b = SelectorWidth(Select(tokens, tokens, lambda key, query: key == "b")).named("n_b")
n_c = SelectorWidth(Select(tokens, tokens, lambda key, query: key == "c")).named("n_c")
largest = SequenceMap(lambda b, c: "c" if c else "b" if b else "a", n_b, n_c)
output = largest.named("largest")
""",
        words=("a", "b", "c"),
        logits=_of_words("largest", "abc"),
    ),
    # The most frequent letter.
    "majority": Program(
        text="""\
n_a = SelectorWidth(Select(tokens, tokens, lambda key, query: key == "a")).named("n_a")
n_b = SelectorWidth(Select(tokens, tokens, lambda key, query: key == "b")).named("n_b")
n_c = SelectorWidth(Select(tokens, tokens, lambda key, query: key == "c")).named("n_c")
better = SequenceMap(lambda a, b: f"a{a}" if a > b else f"b{b}", n_a, n_b).named("better")
most = SequenceMap(lambda ab, c: "c" if c > int(ab[1]) else ab[0], better, n_c)
output = most.named("majority")
""",
        words=("a", "b", "c"),
        logits=_of_words("majority", "abc"),
    ),
    # The share of opening brackets less that of closing ones.
    "balance": Program(
        text="""\
so_far = Select(indices, indices, Comparison.LEQ)
is_open = numerical(tokens == "(").named("is_open")
is_close = numerical(tokens == ")").named("is_close")
opens = numerical(Aggregate(so_far, is_open, default=0)).named("opens")
closes = numerical(Aggregate(so_far, is_close, default=0)).named("closes")
output = numerical(LinearSequenceMap(opens, closes, 1, -1)).named("balance")
""",
        words=("(", ")"),
        logits={"balance": "("},
    ),
    # Whether brackets match (Dyck-1): as many open as close, and never have more closed.
    "dyck": Program(
        text="""\
opens = SelectorWidth(Select(tokens, tokens, lambda key, query: key == "(")).named("opens")
closes = SelectorWidth(Select(tokens, tokens, lambda key, query: key == ")")).named("closes")
below = SequenceMap(lambda opens, closes: opens < closes, opens, closes).named("below")
even = SequenceMap(lambda opens, closes: opens == closes, opens, closes).named("even")
n_below = SelectorWidth(Select(below, below, lambda key, query: key)).named("n_below")
match = SequenceMap(lambda even, n: "yes" if even and n == 0 else "no", even, n_below)
output = match.named("match")
""",
        words=("(", ")"),
        logits=_of_words("match", ("yes", "no")),
    ),
    # Whether "a b" has come up.
    "bigram": Program(
        text="""\
before = Select(indices, indices, lambda key, query: key == query - 1)
previous = Aggregate(before, tokens).named("previous")
is_ab = SequenceMap(lambda one, two: one == "a" and two == "b", previous, tokens).named("is_ab")
count = SelectorWidth(Select(is_ab, is_ab, lambda key, query: key)).named("count")
output = Map(lambda count: "yes" if count else "no", count).named("said")
""",
        words=("a", "b", "c"),
        logits=_of_words("said", ("yes", "no")),
    ),
}
