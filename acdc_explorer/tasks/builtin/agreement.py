"""Subject-verb agreement: "The keys near the cabinet" -> " are", " were" against " is", " was".

With an attractor, a second noun between subject and verb, after Linzen et al. 2016
(arXiv 1611.01368); as a circuit task in arXiv 2506.22105. The corrupted prompt has
the subject in the other number.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from acdc_explorer.tasks.prompts import PromptPair, labelled_text

_NOUNS = """
    bird book boy brother car cat chair cup doctor dog door driver farmer flower friend game girl
    guard hat horse house key king letter lion map mother picture plane plant player queen ring
    river road rock room ship sister star stone student table teacher tower town train tree wall
    window writer
"""
# Each is one token in GPT-2's tokenizer, with its leading space, in both numbers.
NOUNS: tuple[str, ...] = tuple(_NOUNS.split())
PREPOSITIONS = ("near", "behind", "beside", "above", "with", "from")
SINGULAR, PLURAL = (" is", " was"), (" are", " were")


def subject_verb_agreement_pairs(
    n_prompts: int, seed: int = 0, *, nouns: Sequence[str] = NOUNS
) -> list[PromptPair]:
    """Makes prompts whose next word is a verb, subjects in the plural and singular in turn.

    Args:
        n_prompts: how many.
        seed: the same seed gives the same prompts.
        nouns: to choose from, at least two.

    Returns:
        Pairs with position labels subject and preposition; END is the attractor, in the subject's
        number as often as in the other. Two verbs are right and two are wrong.
    """
    rng = random.Random(seed)
    pairs = []
    for number in range(n_prompts):
        subject, attractor = rng.sample(nouns, 2)
        preposition = rng.choice(PREPOSITIONS)
        plural = number % 2 == 0
        attractor += rng.choice(("", "s"))
        (clean, spans), (corrupted, _) = (
            labelled_text(
                ("The ", None), (subject + ending, "subject"), (" ", None),
                (preposition, "preposition"), (f" the {attractor}", None),
            )
            for ending in (("s", "") if plural else ("", "s"))
        )  # fmt: skip
        answer, wrong = (PLURAL, SINGULAR) if plural else (SINGULAR, PLURAL)
        pairs.append(PromptPair(clean, corrupted, answer, wrong, spans))
    return pairs
