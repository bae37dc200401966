"""Facts about words: the country of a capital, and what kind of thing something is.

Both are tasks of Hanna et al. 2024 (arXiv 2403.17806). The corrupted prompt names another capital
or another kind of thing, and the wrong answers are the ones right there.
"""

from __future__ import annotations

import random
from collections.abc import Collection

from acdc_explorer.tasks.prompts import PromptPair, labelled_text

# Capital -> country, both one token in GPT-2's tokenizer, with their leading space.
COUNTRIES: dict[str, str] = {
    "Ankara": "Turkey", "Athens": "Greece", "Baghdad": "Iraq", "Bangkok": "Thailand",
    "Beijing": "China", "Beirut": "Lebanon", "Berlin": "Germany", "Bern": "Switzerland",
    "Brussels": "Belgium", "Budapest": "Hungary", "Cairo": "Egypt", "Canberra": "Australia",
    "Cardiff": "Wales", "Copenhagen": "Denmark", "Damascus": "Syria", "Dublin": "Ireland",
    "Edinburgh": "Scotland", "Havana": "Cuba", "Helsinki": "Finland", "Islamabad": "Pakistan",
    "Jakarta": "Indonesia", "Kabul": "Afghanistan", "Kingston": "Jamaica", "Lima": "Peru",
    "Lisbon": "Portugal", "London": "England", "Madrid": "Spain", "Moscow": "Russia",
    "Oslo": "Norway", "Ottawa": "Canada", "Paris": "France", "Rome": "Italy",
    "Santiago": "Chile", "Stockholm": "Sweden", "Tehran": "Iran", "Tokyo": "Japan",
    "Tripoli": "Libya", "Tunis": "Tunisia", "Vienna": "Austria", "Warsaw": "Poland",
}  # fmt: skip
CITY_TEMPLATES: tuple[tuple[str, str], ...] = (
    ("The city of ", " is the capital of"),
    ("They flew to ", ", the capital of"),
    ("She lives in ", ", the capital of"),
    ("He wrote about ", ", the capital of"),
    ("We know that ", " is the capital of"),
    ("The train to ", " goes to the capital of"),
    ("She flew to ", ", the capital of"),
    ("They wrote about ", ", the capital of"),
    ("He lives in ", ", the capital of"),
    ("The road to ", " goes to the capital of"),
    ("We talked about ", ", the capital of"),
    ("They say that ", " is the capital of"),
    ("Everybody knows ", ", the capital of"),
    ("He came from ", ", the capital of"),
    ("The town of ", " became the capital of"),
)
# Kind -> things of that kind, in the plural, one token each. A kind may have a second name.
KINDS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("animals",): ("dogs", "cats", "cows", "horses", "pigs", "lions", "rabbits", "wolves"),
    ("fruits",): ("apples", "oranges", "bananas", "grapes", "berries"),
    ("vegetables",): ("carrots", "potatoes", "onions", "tomatoes", "beans", "peas"),
    ("insects",): ("ants", "bees", "flies", "butterflies", "beetles"),
    ("vehicles",): ("cars", "trucks", "buses", "trains", "bikes", "vans"),
    ("weapons",): ("guns", "knives", "swords", "bombs", "arrows", "rifles"),
    ("clothes", "clothing"): ("shirts", "jackets", "hats", "coats", "shoes", "pants"),
    ("buildings",): ("houses", "churches", "hotels", "schools", "towers", "hospitals"),
    ("plants",): ("trees", "flowers", "roses", "weeds"),
    ("drinks",): ("beer", "wine", "coffee", "tea", "milk"),
    ("metals",): ("gold", "silver", "iron", "copper", "steel"),
    ("instruments",): ("guitars", "drums"),
}
THINGS: tuple[str, ...] = tuple(thing for things in KINDS.values() for thing in things)
# So many things are of two kinds at least, since no kind has more.
FEWEST_THINGS = 1 + max(map(len, KINDS.values()))
KIND_TEMPLATES: tuple[tuple[str, str], ...] = (
    ("There were ", " and other"),
    ("They talked about ", " and other"),
    ("He wrote a book about ", " and other"),
    ("She has always liked ", " and other"),
    ("We saw many pictures of ", " and other"),
    ("The shop was full of ", " and other"),
    ("She wrote about ", " and other"),
    ("He has always liked ", " and other"),
    ("They saw many pictures of ", " and other"),
    ("The book is about ", " and other"),
)


def capital_country_pairs(
    n_prompts: int, seed: int = 0, *, cities: Collection[str] = tuple(COUNTRIES)
) -> list[PromptPair]:
    """Makes prompts that ask for the country of a capital.

    Args:
        n_prompts: how many.
        seed: the same seed gives the same prompts.
        cities: to choose from, at least two of `COUNTRIES`.

    Returns:
        Pairs with position labels city and capital.
    """
    rng = random.Random(seed)
    pairs = []
    for _ in range(n_prompts):
        city, other = rng.sample(sorted(cities), 2)
        before, after = rng.choice(CITY_TEMPLATES)
        until, _, rest = after.partition("capital")
        (clean, spans), (corrupted, _) = (
            labelled_text(
                (before, None), (name, "city"), (until, None), ("capital", "capital"), (rest, None)
            )
            for name in (city, other)
        )
        answer, wrong = f" {COUNTRIES[city]}", f" {COUNTRIES[other]}"
        pairs.append(PromptPair(clean, corrupted, answer, wrong, spans))
    return pairs


def hypernymy_pairs(
    n_prompts: int, seed: int = 0, *, things: Collection[str] = THINGS
) -> list[PromptPair]:
    """Makes prompts that ask for a kind: "There were dogs and other" -> " animals".

    Args:
        n_prompts: how many.
        seed: the same seed gives the same prompts.
        things: to choose from, of two kinds at least.

    Returns:
        Pairs with position labels thing and "and". A kind may have two names, both right.
    """
    rng = random.Random(seed)
    of_kind = {
        kind: chosen
        for kind, all_things in KINDS.items()
        if (chosen := [thing for thing in all_things if thing in things])
    }
    pairs = []
    for _ in range(n_prompts):
        kind, other_kind = rng.sample(sorted(of_kind), 2)
        before, after = rng.choice(KIND_TEMPLATES)
        rest = after.removeprefix(" and")
        (clean, spans), (corrupted, _) = (
            labelled_text(
                (before, None), (thing, "thing"), (" ", None), ("and", "and"), (rest, None)
            )
            for thing in (rng.choice(of_kind[kind]), rng.choice(of_kind[other_kind]))
        )
        answer, wrong = (tuple(f" {name}" for name in names) for names in (kind, other_kind))
        pairs.append(PromptPair(clean, corrupted, answer, wrong, spans))
    return pairs
