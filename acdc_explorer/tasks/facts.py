"""Facts about words: the country of a capital, and what kind of thing something is.

Both are tasks of Hanna et al. 2024 (arXiv 2403.17806). The corrupted prompt names another capital
or another kind of thing, and the wrong answers are the ones right there.
"""

from __future__ import annotations

import random

from acdc_explorer.tasks.prompts import PromptPair, labelled_text

# Capital -> country, both in one word.
COUNTRIES: dict[str, str] = {
    "Athens": "Greece", "Baghdad": "Iraq", "Bangkok": "Thailand", "Beijing": "China",
    "Berlin": "Germany", "Brussels": "Belgium", "Budapest": "Hungary", "Cairo": "Egypt",
    "Copenhagen": "Denmark", "Damascus": "Syria", "Dublin": "Ireland", "Havana": "Cuba",
    "Helsinki": "Finland", "Kabul": "Afghanistan", "Lima": "Peru", "Lisbon": "Portugal",
    "London": "England", "Madrid": "Spain", "Moscow": "Russia", "Nairobi": "Kenya",
    "Oslo": "Norway", "Ottawa": "Canada", "Paris": "France", "Rome": "Italy",
    "Stockholm": "Sweden", "Tehran": "Iran", "Tokyo": "Japan", "Tripoli": "Libya",
    "Vienna": "Austria", "Warsaw": "Poland",
}  # fmt: skip
CITY_TEMPLATES: tuple[tuple[str, str], ...] = (
    ("The city of ", " is the capital of"),
    ("They flew to ", ", the capital of"),
    ("She lives in ", ", the capital of"),
    ("He wrote about ", ", the capital of"),
    ("We know that ", " is the capital of"),
    ("The train to ", " goes to the capital of"),
)
# Kind -> things of that kind, in the plural. A kind may have a second name.
KINDS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("animals",): ("dogs", "cats", "cows", "horses", "pigs", "lions", "rabbits", "wolves"),
    ("fruits",): ("apples", "oranges", "bananas", "grapes", "lemons"),
    ("vehicles",): ("cars", "trucks", "buses", "trains", "bikes", "vans"),
    ("weapons",): ("guns", "knives", "swords", "bombs", "arrows"),
    ("clothes", "clothing"): ("shirts", "jackets", "hats", "coats", "shoes", "pants"),
    ("buildings",): ("houses", "churches", "hotels", "schools", "towers", "hospitals"),
    ("plants",): ("trees", "flowers", "roses", "weeds"),
    ("drinks",): ("beer", "wine", "coffee", "tea", "milk"),
    ("metals",): ("gold", "silver", "iron", "copper", "steel"),
    ("instruments",): ("guitars", "drums", "pianos"),
}
KIND_TEMPLATES: tuple[tuple[str, str], ...] = (
    ("There were ", " and other"),
    ("They talked about ", " and other"),
    ("He wrote a book about ", " and other"),
    ("She has always liked ", " and other"),
    ("We saw many pictures of ", " and other"),
    ("The shop was full of ", " and other"),
)


def capital_country_pairs(n_prompts: int, seed: int = 0) -> list[PromptPair]:
    """Makes prompts that ask for the country of a capital.

    Args:
        n_prompts: how many.
        seed: the same seed gives the same prompts.

    Returns:
        Pairs with position labels city and capital.
    """
    rng = random.Random(seed)
    pairs = []
    for _ in range(n_prompts):
        city, other = rng.sample(sorted(COUNTRIES), 2)
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


def hypernymy_pairs(n_prompts: int, seed: int = 0) -> list[PromptPair]:
    """Makes prompts that ask for a kind: "There were dogs and other" -> " animals".

    Args:
        n_prompts: how many.
        seed: the same seed gives the same prompts.

    Returns:
        Pairs with position labels thing and "and". A kind may have two names, both right.
    """
    rng = random.Random(seed)
    pairs = []
    for _ in range(n_prompts):
        kind, other_kind = rng.sample(sorted(KINDS), 2)
        before, after = rng.choice(KIND_TEMPLATES)
        rest = after.removeprefix(" and")
        (clean, spans), (corrupted, _) = (
            labelled_text(
                (before, None), (thing, "thing"), (" ", None), ("and", "and"), (rest, None)
            )
            for thing in (rng.choice(KINDS[kind]), rng.choice(KINDS[other_kind]))
        )
        answer, wrong = (tuple(f" {name}" for name in names) for names in (kind, other_kind))
        pairs.append(PromptPair(clean, corrupted, answer, wrong, spans))
    return pairs
