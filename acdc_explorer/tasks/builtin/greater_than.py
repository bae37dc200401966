"""Greater-than: "The war lasted from the year 1732 to the year 17" -> a number above 32.

From Hanna et al. 2023 (arXiv 2305.00586), with the years 1102 to 1798 and the corrupted prompts of
Conmy et al. 2023 (appendix G): the same sentence with the first year's last two digits 01, after
which every number is right. The metric is the probability of all numbers above the first year's
last two digits minus that of all others.
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
