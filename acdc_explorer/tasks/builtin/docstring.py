'''Docstring: the next argument name in a Python docstring.

From Heimersheim and Janiak 2023 ("A circuit for Python docstrings in a 4-layer attention-only
transformer"); Conmy et al. 2023, appendix H. A prompt of the published length:

    def port(self, order, match, fields, model, old, parent):
        """agency rule manager

        :param fields: set song
        :param model: plane action
        :param

-> " old". The corrupted prompt is their `random_random`: the three arguments that the docstring
goes through are other random words in the definition, and again others in the docstring, so that
nothing tells what comes next. Here the numbers of other arguments and of words of description
differ from prompt to prompt, so that the answer's place does not tell it.
'''

from __future__ import annotations

import random
from collections.abc import Sequence

from acdc_explorer.tasks.prompts import PromptPair, labelled_text

_ARGUMENTS = """
    action address amount block body call case color count data date error event fields file
    filter first format group index input item key label last left level limit line list match
    message model name node object offset old option order output page parent path point price
    project query range result right root rule score shape size source state step string target
    text time title token total tree type update url user value version view volume width zone
"""
_WORDS = """
    agency air army bank beach blood board bone brain bridge camp card chair city coast cross
    culture disk dog earth effort energy farm fish floor forest fuel game gas glass gold grant
    heart history hotel house island lake land law leader light machine manager market metal
    mind mission moon mountain movie music nature night oil ocean paper peace phone plane plant
    player police pool race rain river road rock roof school sea season seat shop sister skin sky
    snow song sound spring star station stone store story sugar summer sun table team tower town
    trade train travel water wave weather wife wind wine winter wood world
"""
ARGUMENTS: tuple[str, ...] = tuple(_ARGUMENTS.split())
WORDS: tuple[str, ...] = tuple(_WORDS.split())
# The fewest and the most; published are 2, 1, 3 and 2.
_ARGUMENTS_BEFORE = (1, 3)
_ARGUMENTS_AFTER = (1, 2)
_SUMMARY_WORDS = (2, 4)
_DESCRIPTION_WORDS = (1, 3)
# As many arguments as a pair of prompts can have: the longest definition and the corrupted five.
FEWEST_ARGUMENTS = _ARGUMENTS_BEFORE[1] + 3 + _ARGUMENTS_AFTER[1] + 5


def docstring_pairs(
    n_prompts: int, seed: int = 0, *, argument_names: Sequence[str] = ARGUMENTS
) -> list[PromptPair]:
    """Makes docstring prompts: arguments, the three that the docstring goes through, and more.

    Args:
        n_prompts: how many.
        seed: the same seed gives the same prompts.
        argument_names: to choose from, at least `FEWEST_ARGUMENTS`.

    Returns:
        Pairs with position labels A_def, B_def, C_def (the three in the definition; C is the
        answer), A_doc and B_doc; END is the last "param". Wrong answers are the four to seven
        other arguments of the definition; the metric takes their mean.
    """
    rng = random.Random(seed)
    pairs = []
    for _ in range(n_prompts):
        before = rng.randint(*_ARGUMENTS_BEFORE)
        after = rng.randint(*_ARGUMENTS_AFTER)
        arguments = rng.sample(argument_names, before + 3 + after)
        three = arguments[before : before + 3]
        *other_three, other_a, other_b = rng.sample(
            [name for name in argument_names if name not in arguments], 5
        )
        function = rng.choice(WORDS)
        summary, *described = (
            rng.sample(WORDS, rng.randint(*bounds))
            for bounds in (_SUMMARY_WORDS, _DESCRIPTION_WORDS, _DESCRIPTION_WORDS)
        )
        sides = arguments[:before], arguments[before + 3 :]
        clean, spans = _prompt(function, sides, three, three[:2], summary, described)
        corrupted, _ = _prompt(function, sides, other_three, [other_a, other_b], summary, described)
        answer = three[2]
        wrong = [name for name in arguments if name != answer]
        pairs.append(
            PromptPair(clean, corrupted, f" {answer}", tuple(f" {name}" for name in wrong), spans)
        )
    return pairs


def _prompt(
    function: str,
    sides: tuple[list[str], list[str]],
    three: list[str],
    documented: list[str],
    summary: list[str],
    described: list[list[str]],
) -> tuple[str, dict[str, tuple[int, int]]]:
    """The text and its labels; `sides` are the arguments before the three and after them."""
    (a, b, c), (a_doc, b_doc) = three, documented
    before, after = ("".join(f", {name}" for name in side) for side in sides)
    a_words, b_words = (" ".join(words) for words in described)
    return labelled_text(
        (f"def {function}(self{before}, ", None), (a, "A_def"), (", ", None), (b, "B_def"),
        (", ", None), (c, "C_def"),
        (f'{after}):\n    """{" ".join(summary)}\n\n    :param ', None), (a_doc, "A_doc"),
        (f": {a_words}\n    :param ", None), (b_doc, "B_doc"),
        (f": {b_words}\n    :param", None),
    )  # fmt: skip
