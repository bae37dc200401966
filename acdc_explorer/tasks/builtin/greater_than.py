"""Greater-than: "The war lasted from the year 1732 to the year 17" -> a number above 32.

From Hanna et al. 2023 (arXiv 2305.00586), with the years 1102 to 1798 and the corrupted prompts of
Conmy et al. 2023 (appendix G): the same sentence with the first year's last two digits 01, after
which every number is right. The metric is the probability of all numbers above the first year's
last two digits minus that of all others.

Few tokenizers write a year as two and two digits. Where its last digit is a token by itself, the
same is asked of that: "from the year 1732 to the year 173" -> a digit above 2. The ten is given,
since after "from 1732 to 17" the digit 3 may begin a right year (1733) or a wrong one (1731). The
corrupted year ends in 0, after which all digits are right but one.
"""

from __future__ import annotations

import random

from acdc_explorer.tasks.prompts import PromptPair, labelled_text

_NOUNS = """
    attack battle campaign career case conflict contract crisis debate deal dispute drought
    expedition famine fight flood hunt journey march mission movement operation plague plan
    program project protest rebellion reform reign revolt rule search siege strike struggle study
    talks tour treaty trial trip truce voyage war work
"""
NOUNS: tuple[str, ...] = tuple(_NOUNS.split())
CENTURIES = range(11, 18)
# There is a number above and one below each, and 01 is for the corrupted prompts.
YEARS = range(2, 99)
_CORRUPTED_YEAR = "01"
# The same of the last digit.
LAST_DIGITS = range(1, 9)
_CORRUPTED_DIGIT = "0"


def greater_than_pairs(n_prompts: int, seed: int = 0) -> list[PromptPair]:
    """Makes greater-than prompts.

    Args:
        n_prompts: how many.
        seed: the same seed gives the same prompts.

    Returns:
        Pairs with position labels noun, XX (the century) and YY (the year in it); END is the
        century named again. Answers are all two-digit numbers above YY, wrong answers all others,
        with no space before them. A tokenizer must split the years into two and two digits.
    """
    rng = random.Random(seed)
    numbers = [f"{number:02d}" for number in range(100)]
    pairs = []
    for _ in range(n_prompts):
        noun, century, year = rng.choice(NOUNS), rng.choice(CENTURIES), rng.choice(YEARS)
        (clean, spans), (corrupted, _) = (
            labelled_text(
                ("The ", None), (noun, "noun"), (" lasted from the year ", None),
                (str(century), "XX"), (last_digits, "YY"), (f" to the year {century}", None),
            )
            for last_digits in (numbers[year], _CORRUPTED_YEAR)
        )  # fmt: skip
        answers, wrong = tuple(numbers[year + 1 :]), tuple(numbers[: year + 1])
        pairs.append(PromptPair(clean, corrupted, answers, wrong, spans))
    return pairs


def last_digit_pairs(n_prompts: int, seed: int = 0) -> list[PromptPair]:
    """Makes greater-than prompts for tokenizers in which a year's last digit is a token.

    Args:
        n_prompts: how many.
        seed: the same seed gives the same prompts.

    Returns:
        Pairs with position labels noun, XXY (the first year without its last digit) and Y (that
        digit); END is the last token of XXY named again. Answers are all digits above Y, wrong
        answers all others.
    """
    rng = random.Random(seed)
    digits = "0123456789"
    pairs = []
    for _ in range(n_prompts):
        noun, century, ten = rng.choice(NOUNS), rng.choice(CENTURIES), rng.choice(digits)
        last, decade = rng.choice(LAST_DIGITS), f"{century}{ten}"
        (clean, spans), (corrupted, _) = (
            labelled_text(
                ("The ", None), (noun, "noun"), (" lasted from the year ", None),
                (decade, "XXY"), (digit, "Y"), (f" to the year {decade}", None),
            )
            for digit in (digits[last], _CORRUPTED_DIGIT)
        )  # fmt: skip
        answers, wrong = tuple(digits[last + 1 :]), tuple(digits[: last + 1])
        pairs.append(PromptPair(clean, corrupted, answers, wrong, spans))
    return pairs
