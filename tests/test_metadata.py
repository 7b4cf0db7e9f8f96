"""The encoding of age, sex and site against rows written out."""

import re

import numpy as np
import pandas as pd
import pytest

from lesion.errors import DataError
from lesion.metadata import COLUMNS, WIDTH, encode, nothing_known


def table(ages, sexes=None, sites=None):
    count = len(ages)
    return pd.DataFrame({"age": ages, "sex": sexes or ["male"] * count, "site": sites or ["back"] * count})


def said(rows):
    return [[COLUMNS[at] for at in row.nonzero()[0]] for row in rows]


def test_one_place_of_each_is_marked_and_unknown_is_one():
    rows = encode(table([0.0, 9.5, 10.0, 85.0, 120.0, np.nan]))
    assert rows.shape == (6, WIDTH)
    assert rows.dtype == np.float32
    assert [row[0] for row in said(rows)] == [
        "age 0-9", "age 0-9", "age 10-19", "age 80-89", "age 90 and over", "age unknown",
    ]  # fmt: skip
    assert set(rows.sum(axis=1)) == {3.0}


def test_what_is_missing_is_unknown():
    rows = encode(table([50.0] * 3, ["", None, "female"], ["ear", None, ""]))
    assert [row[1:] for row in said(rows)] == [
        ["sex unknown", "site ear"],
        ["sex unknown", "site unknown"],
        ["sex female", "site unknown"],
    ]
    assert np.array_equal(nothing_known(2), encode(table([np.nan] * 2, ["unknown"] * 2, ["unknown"] * 2)))
    assert nothing_known(0).shape == (0, WIDTH)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"ages": [-5.0]}, "an age is -5, must be at least 0"),
        ({"sexes": ["mail"]}, "no sex 'mail'; known: female, male, unknown (did you mean 'male'?)"),
        ({"sites": ["anterior torso"]}, "no site 'anterior torso'; known: abdomen, acral"),
    ],
)
def test_what_has_no_place_is_said(changed, message):
    with pytest.raises(DataError, match=re.escape(message)):
        encode(table(**({"ages": [30.0]} | changed)))
