"""Tasks for the models compiled from RASP programs (`training/rasp_programs.py`).

Prompts are rows of letters, of words, digits or brackets; the program says something of each at its
end.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import cycle, permutations, product

from acdc_explorer.tasks.builtin.recipe import TaskRecipe
from acdc_explorer.tasks.prompts import PromptPair

_REVERSED, _COUNTED, _COUNTED_LENGTH = "ABC", "wxyz", 4
_ORDINALS = ("first", "second", "third", "fourth")

Row = tuple[str, ...]
# What there is to say of a row; None: such rows are not asked about.
KindOf = Callable[[Row], str | None]


def answered_pairs(
    n_prompts: int,
    seed: int = 0,
    *,
    letters: Sequence[str],
    length: int,
    kind_of: KindOf,
    answers: Mapping[str, str] | None = None,
) -> list[PromptPair]:
    """Makes rows of letters with what a program says of them; the corrupted twin's is another.

    Each kind of row is there as often as any other, as far as the number of prompts allows. The
    twin's answer is the wrong answer.

    Args:
        n_prompts: how many pairs.
        seed: of the draw.
        letters: of which rows are made; words, digits and brackets, too.
        length: of the rows.
        kind_of: what the program says of a row, or why.
        answers: kind -> what the program says; None: the kind itself.

    Returns:
        Pairs with position labels from `first` on; the last letter is END.
    """
    rng = random.Random(seed)
    of_kind: dict[str, list[Row]] = {}
    for row in product(letters, repeat=length):
        kind = kind_of(row)
        if kind is not None:
            of_kind.setdefault(kind, []).append(row)
    kinds = rng.sample(sorted(of_kind), len(of_kind))
    answers = answers or {kind: kind for kind in kinds}
    turns = {kind: cycle(rng.sample(rows, len(rows))) for kind, rows in of_kind.items()}
    pairs = []
    for number in range(n_prompts):
        kind = kinds[number % len(kinds)]
        other = rng.choice([each for each in kinds if answers[each] != answers[kind]])
        row, twin = next(turns[kind]), rng.choice(of_kind[other])
        answer, wrong = f" {answers[kind]}", f" {answers[other]}"
        pairs.append(PromptPair(" ".join(row), " ".join(twin), answer, wrong, _letter_spans(row)))
    return pairs


def reversed_pairs(n_prompts: int, seed: int = 0) -> list[PromptPair]:
    """Makes "C A B" -> " C", the first letter; the corrupted twin is another order of the three.

    It begins with another letter, the wrong answer. (Conmy et al. 2023 take all six orders too, and
    derange them, so that some twins begin with the same letter.)

    Returns:
        Pairs with the position labels `first` and `second`; the third letter is END. There are 24
        different ones.
    """
    orders = list(permutations(_REVERSED))
    kinds = [(one, other) for one, other in product(orders, orders) if one[0] != other[0]]
    random.Random(seed).shuffle(kinds)
    pairs = []
    for number in range(n_prompts):
        one, other = kinds[number % len(kinds)]
        pairs.append(
            PromptPair(
                " ".join(one), " ".join(other), f" {one[0]}", f" {other[0]}", _letter_spans(one)
            )
        )
    return pairs


def counted_pairs(n_prompts: int, seed: int = 0) -> list[PromptPair]:
    """Makes "w x y x" -> " x" with a logit difference of 0.5, the share of x, against " w".

    The corrupted twin has fewer x, so that the effects of all prompts have the same sign and do not
    cancel in their mean. (Conmy et al. 2023 take any 50 rows, and those rows again in another
    order; they measure squared differences, which do not cancel.)

    Returns:
        Pairs with the position labels `first`, `second` and `third`; the fourth letter is END.
        There are 175 different clean rows.
    """
    rng = random.Random(seed)
    rows = list(product(_COUNTED, repeat=_COUNTED_LENGTH))
    with_x = [row for row in rows if "x" in row]
    rng.shuffle(with_x)
    pairs = []
    for number in range(n_prompts):
        row = with_x[number % len(with_x)]
        other = rng.choice([other for other in rows if other.count("x") < row.count("x")])
        pairs.append(PromptPair(" ".join(row), " ".join(other), " x", " w", _letter_spans(row)))
    return pairs


def balance_pairs(n_prompts: int, seed: int = 0) -> list[PromptPair]:
    """Makes "( ( ) (" -> " (" with a logit difference of 0.5: opening less closing ones, by length.

    The corrupted twin has fewer that open, so that the effects of all prompts have the same sign.

    Returns:
        Pairs with the position labels `first`, `second` and `third`; the fourth bracket is END.
        There are five different clean rows.
    """
    rng = random.Random(seed)
    rows = list(product("()", repeat=4))
    mostly_open = [row for row in rows if row.count("(") > 2]
    rng.shuffle(mostly_open)
    pairs = []
    for number in range(n_prompts):
        row = mostly_open[number % len(mostly_open)]
        twin = rng.choice([other for other in rows if other.count("(") < row.count("(")])
        pairs.append(PromptPair(" ".join(row), " ".join(twin), " (", " )", _letter_spans(row)))
    return pairs


def previous_letter(row: Row) -> str:
    """The letter before the last."""
    return row[-2]


def letter_after(row: Row) -> str | None:
    """The letter that came after the last one when it was there before, once."""
    before = [at for at, letter in enumerate(row[:-1]) if letter == row[-1]]
    return row[before[0] + 1] if len(before) == 1 and before[0] + 1 < len(row) - 1 else None


def pointed_digit(row: Row) -> str:
    """The digit at the place that the first one tells, itself at place 0."""
    return row[int(row[0])]


def same_as_first(row: Row) -> str:
    """Whether the last letter is the first again."""
    return "yes" if row[-1] == row[0] else "no"


def times_there(row: Row) -> str:
    """How often the last letter is there."""
    return str(row.count(row[-1]))


def was_there(row: Row) -> str:
    """Whether the last letter is there before."""
    return "yes" if row[-1] in row[:-1] else "no"


def number_of_x(row: Row) -> str:
    """How many x there are."""
    return str(row.count("x"))


def parity_of_x(row: Row) -> str:
    """Whether the number of x is odd."""
    return "odd" if row.count("x") % 2 else "even"


def largest_letter(row: Row) -> str:
    """The last of the letters in order."""
    return max(row)


def most_frequent(row: Row) -> str | None:
    """The most frequent of five letters, if it is there three times and another one twice.

    So that the answer changes where any one's number is lost; a third of each would not do that.
    """
    counts = Counter(row).most_common()
    return counts[0][0] if [number for _, number in counts] == [3, 2] else None


def why_brackets_match(row: Row) -> str | None:
    """Whether brackets match, or why not, if there is but one reason."""
    balances = [row[: at + 1].count("(") - row[: at + 1].count(")") for at in range(len(row))]
    is_below, is_uneven = min(balances) < 0, balances[-1] != 0
    if is_below and is_uneven:
        return None
    return "below" if is_below else "uneven" if is_uneven else "match"


def has_ab(row: Row) -> str:
    """Whether an a is followed by a b."""
    return "yes" if ("a", "b") in zip(row, row[1:], strict=False) else "no"


def _asked(
    description: str,
    letters: Sequence[str],
    length: int,
    kind_of: KindOf,
    source: str,
    answers: Mapping[str, str] | None = None,
) -> TaskRecipe:
    pairs = partial(
        answered_pairs, letters=letters, length=length, kind_of=kind_of, answers=answers
    )
    return TaskRecipe(description=description, source=source, pairs=pairs)


_ACDC = "Lindner et al. 2023, arXiv 2301.05062; Conmy et al. 2023, arXiv 2304.14997"
_TRACR = "compiled by Tracr; Lindner et al. 2023, arXiv 2301.05062"
_RASP = f"{_TRACR}; after Weiss et al. 2021, arXiv 2106.06981"

# By the name of the model that goes with each.
RASP_TASKS: dict[str, TaskRecipe] = {
    "rasp-reverse": TaskRecipe(
        description="the last of the letters backwards, which is the first",
        source=_ACDC,
        pairs=reversed_pairs,
    ),
    "rasp-proportion": TaskRecipe(
        description="which share of the letters is an x",
        source=_ACDC,
        pairs=counted_pairs,
    ),
    "rasp-previous": _asked("the letter before", "ABC", 4, previous_letter, _TRACR),
    "rasp-induction": _asked(
        "the letter that came after this one before", "ABC", 4, letter_after, _TRACR
    ),
    "rasp-pointer": _asked(
        "the digit at the place that the first one tells", "123", 4, pointed_digit, _TRACR
    ),
    "rasp-first": _asked("whether this is the first letter again", "ABC", 4, same_as_first, _TRACR),
    "rasp-histogram": _asked("how often this letter is there", "ABC", 4, times_there, _RASP),
    "rasp-duplicate": _asked("whether this letter was there before", "ABC", 4, was_there, _TRACR),
    "rasp-count": _asked("how many x there are", "xyz", 4, number_of_x, _TRACR),
    "rasp-parity": _asked("whether the number of x is odd", "xyz", 4, parity_of_x, _TRACR),
    "rasp-largest": _asked("the last of the letters in order", "abc", 4, largest_letter, _TRACR),
    "rasp-majority": _asked("the most frequent letter", "abc", 5, most_frequent, _RASP),
    "rasp-balance": TaskRecipe(
        description="how many more brackets open than close",
        source=_RASP,
        pairs=balance_pairs,
    ),
    "rasp-dyck": _asked(
        "whether brackets match",
        "()",
        4,
        why_brackets_match,
        _RASP,
        {"match": "yes", "below": "no", "uneven": "no"},
    ),
    "rasp-bigram": _asked("whether an a is followed by a b", "abc", 4, has_ab, _TRACR),
}


def _letter_spans(letters: tuple[str, ...]) -> dict[str, tuple[int, int]]:
    """Where the letters of a row are, all but the last; there is one space between them."""
    return {label: (2 * at, 2 * at + 1) for at, label in enumerate(_ORDINALS[: len(letters) - 1])}
