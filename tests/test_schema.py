"""Values of a JSON file are checked, and called by their place."""

from __future__ import annotations

import math

import pytest

from acdc_explorer.checked_json import Value, parse_json, read_json, shown

DATA = Value({"steps": [{"kept": "false", "n": True, "x": 3}], "name": "a"})


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda: DATA["steps"].items()[0]["kept"].truth(),
         "steps[0].kept must be true or false; got 'false'"),
        (lambda: DATA["steps"].items()[0]["n"].number(),
         "steps[0].n must be a finite number, smaller than 1e+100; got True"),
        (lambda: DATA["steps"].items()[0]["n"].whole(0), "whole number at least 0; got True"),
        (lambda: DATA["steps"].items()[0]["x"].whole(4, 5), "whole number from 4 to 5; got 3"),
        (lambda: DATA["step"], "step is missing"),
        (lambda: DATA["name"]["first"], "name must be an object; got 'a'"),
        (lambda: DATA["name"].items(), "name must be a list; got 'a'"),
        (lambda: DATA["steps"].text(), "steps must be text; got a list of 1"),
        (lambda: DATA["steps"].mapping(), "steps must be an object"),
        (lambda: DATA.fields(["step", "name"]), "unknown field 'steps'. Did you mean 'step'?"),
    ],
)  # fmt: skip
def test_errors_name_the_place(read, message):
    with pytest.raises(ValueError, match=r".") as error:
        read()
    assert message in str(error.value)


@pytest.mark.parametrize(
    "data",
    [math.nan, math.inf, -math.inf, 10**400, 1e200, "1", None, False],
    ids=lambda data: str(data)[:9],
)
def test_what_is_no_number(data):
    with pytest.raises(ValueError, match="x must be a finite number, smaller than"):
        Value(data, "x").number()


def test_numbers():
    assert Value(3).number() == 3.0
    assert Value(-0.5).number() == -0.5
    for data in (0, -1.0):
        with pytest.raises(ValueError, match="a finite number above 0"):
            Value(data).number(positive=True)


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, "9" * 5000, "{", "", '{"a": tru}'],
    ids=lambda text: text[:9],
)
def test_what_is_no_json(text, tmp_path):
    with pytest.raises(ValueError, match="not valid JSON"):
        parse_json(text)
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ValueError, match="not valid JSON"):
        read_json(tmp_path / "x.json")


def test_long_values_are_cut_short():
    assert len(shown("x" * 10**6)) < 200
    assert shown(10**5000) == "a whole number of 16610 bits"
    assert shown([1] * 10**6) == "a list of 1000000"
    assert shown("short") == "'short'"
