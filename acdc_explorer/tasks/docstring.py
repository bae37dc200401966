'''Docstring: the next argument name in a Python docstring.

From Heimersheim and Janiak 2023 ("A circuit for Python docstrings in a 4-layer attention-only
transformer"); Conmy et al. 2023, appendix H:

    def port(self, order, match, fields, model, old, parent):
        """agency rule manager

        :param fields: set song
        :param model: plane action
        :param

-> " old". The corrupted prompt is their `random_random`: the three arguments that the docstring
goes through are other random words in the definition, and again others in the docstring, so that
nothing tells what comes next.
'''

from __future__ import annotations

import random

from acdc_explorer.tasks.prompts import PromptPair, labelled_text

_ARGUMENTS = """
    action address amount base block body call case change child code color count data date
    description doc end error event fields file files filter first format group header index
    input item items key kind label last left length level limit line list load map match
    message model name new node number object offset old option order output page parent part
    path plan point position power price process project query range rate record result right
    root rule score section set shape size source space start state status step string target
    test text time title token total tree type unit update url user value version view volume
    weight width window word zone
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


def docstring_pairs(n_prompts: int, seed: int = 0) -> list[PromptPair]:
    """Makes docstring prompts: two arguments, the three that the docstring goes through, one more.

    Args:
        n_prompts: how many.
        seed: the same seed gives the same prompts.

    Returns:
        Pairs with position labels A_def, B_def, C_def (the three in the definition; C is the
        answer), A_doc and B_doc; END is the last "param". Wrong answers are the five other
        arguments of the definition; the metric takes their mean.
    """
    rng = random.Random(seed)
    pairs = []
    for _ in range(n_prompts):
        names = rng.sample(ARGUMENTS, 11)
        before, three, after = names[:2], names[2:5], names[5]
        other_three, other_two = names[6:9], names[9:]
        function, *words = rng.sample(WORDS, 8)
        clean, spans = _prompt(function, before, three, after, three[:2], words)
        corrupted, _ = _prompt(function, before, other_three, after, other_two, words)
        wrong, answer = [*before, *three[:2], after], three[2]
        pairs.append(
            PromptPair(clean, corrupted, f" {answer}", tuple(f" {name}" for name in wrong), spans)
        )
    return pairs


def _prompt(
    function: str,
    before: list[str],
    three: list[str],
    after: str,
    documented: list[str],
    words: list[str],
) -> tuple[str, dict[str, tuple[int, int]]]:
    a, b, c = three
    a_doc, b_doc = documented
    return labelled_text(
        (f"def {function}(self, {before[0]}, {before[1]}, ", None), (a, "A_def"), (", ", None),
        (b, "B_def"), (", ", None), (c, "C_def"),
        (f', {after}):\n    """{" ".join(words[:3])}\n\n    :param ', None), (a_doc, "A_doc"),
        (f": {' '.join(words[3:5])}\n    :param ", None), (b_doc, "B_doc"),
        (f": {' '.join(words[5:7])}\n    :param", None),
    )  # fmt: skip
