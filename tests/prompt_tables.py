"""Rows of own prompts, as somebody would bring them."""

from __future__ import annotations

import pandas as pd
import torch

TO = "went to the store, {} gave a drink to"


def row(**changes):
    return {
        "clean": f"When Mary and John {TO.format('John')}",
        "corrupted": f"When Lisa and Eric {TO.format('Scott')}",
        "answer": " Mary",
        "wrong_answer": " John",
        **changes,
    }


def other(**changes):
    return row(
        clean=f"When Amy and Paul {TO.format('Paul')}",
        corrupted=f"When Sara and Eric {TO.format('Adam')}",
        answer=" Amy",
        wrong_answer=" Paul",
        **changes,
    )


def table(*rows):
    return pd.DataFrame(list(rows))


def same(one, two):
    """Whether two tasks are made of the same tensors."""
    fields = ("clean_tokens", "corrupted_tokens", "answer_tokens", "wrong_tokens")
    assert all(torch.equal(getattr(one, name), getattr(two, name)) for name in fields)
    assert list(one.positions) == list(two.positions)
    assert all(torch.equal(one.positions[label], two.positions[label]) for label in one.positions)
    return True


CLEAN = row()["clean"]
