"""The words that tasks draw from and that must be one token each, by the generators' arguments."""

from __future__ import annotations

from acdc_explorer.tasks.builtin.agreement import NOUNS as AGREEMENT_NOUNS
from acdc_explorer.tasks.builtin.docstring import ARGUMENTS, FEWEST_ARGUMENTS
from acdc_explorer.tasks.builtin.facts import COUNTRIES, FEWEST_THINGS, KINDS
from acdc_explorer.tasks.builtin.induction import COPY_LENGTH
from acdc_explorer.tasks.builtin.multiple_choice import COLOURS, LETTERS
from acdc_explorer.tasks.builtin.successors import DAYS as ALL_DAYS
from acdc_explorer.tasks.builtin.successors import MONTHS as ALL_MONTHS
from acdc_explorer.tasks.builtin.successors import following
from acdc_explorer.tasks.builtin.words import MEN, NAMES, NOUNS, WOMEN
from acdc_explorer.tasks.word_pool import WordPool

IOI = {"names": WordPool.of("names", NAMES, fewest=5)}
GENDERED_PRONOUNS = {
    "men": WordPool.of("men's names", MEN, fewest=1),
    "women": WordPool.of("women's names", WOMEN, fewest=1),
}
INDUCTION = {"nouns": WordPool.of("nouns", NOUNS, fewest=COPY_LENGTH)}
DOCSTRING = {"argument_names": WordPool.of("argument names", ARGUMENTS, fewest=FEWEST_ARGUMENTS)}
SUBJECT_VERB_AGREEMENT = {
    "nouns": WordPool("nouns", {noun: (noun, f"{noun}s") for noun in AGREEMENT_NOUNS}, fewest=2)
}
MONTHS = {
    "months": WordPool(
        "months", {month: (month, following(month, ALL_MONTHS)) for month in ALL_MONTHS}, fewest=1
    )
}
DAYS = {"days": WordPool("days", {day: (day, following(day, ALL_DAYS)) for day in ALL_DAYS}, 2)}
CAPITAL_COUNTRY = {
    "cities": WordPool(
        "capitals", {city: (city, country) for city, country in COUNTRIES.items()}, fewest=2
    )
}
HYPERNYMY = {
    "things": WordPool(
        "things",
        {thing: (thing, *kind) for kind, things in KINDS.items() for thing in things},
        fewest=FEWEST_THINGS,
    )
}
MULTIPLE_CHOICE = {"colours": WordPool.of("colors", COLOURS, fewest=len(LETTERS))}
