"""A few of the random searches of `fuzz.py`, which runs as many as one likes."""

from __future__ import annotations

import pytest
from fuzz import Case, check

# Two always, the others with the slow tests.
SEEDS = [*range(2), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 14))]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_random_search_equals_the_reference(seed):
    compared = check(Case.of(seed))
    assert compared.decisions or compared.undecidable
