"""A few of the random searches of `fuzz.py`, which runs as many as one likes."""

from __future__ import annotations

import pytest
from fuzz import Case, check


@pytest.mark.parametrize("seed", range(24))
def test_a_random_search_equals_the_reference(seed):
    compared = check(Case.of(seed))
    assert compared.decisions or compared.undecidable
