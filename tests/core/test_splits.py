"""Which of a split's models answers."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from gnomon.core.errors import InputMismatch
from gnomon.core.plan import Split
from gnomon.core.splits import by_chance, by_key, by_value, key_text, values_of


@pytest.mark.parametrize(
    ("number", "option"), [(0, 0), (0.19, 0), (0.2, 2), (0.99, 2), (1, 2), (np.float64(0.1), 0)]
)
def test_a_number_from_0_to_1_finds_the_option_whose_share_it_falls_into(number, option):
    split = Split(column="user", shares=(0.2, 0.0, 0.8, 0.0))  # two have none, one is the last
    assert by_value(split, number) == option


def test_an_option_without_a_share_is_never_found():
    split = Split(shares=(0.0, 1.0, 0.0))
    assert {by_chance(split, f"id-{n}", 0) for n in range(500)} == {1}


def test_steps_decide_independently_of_each_other():
    split = Split(shares=(0.5, 0.5))
    pairs = Counter(
        (by_chance(split, f"id-{n}", 0), by_chance(split, f"id-{n}", 1)) for n in range(4_000)
    )
    assert all(900 < count < 1_100 for count in pairs.values())
    assert len(pairs) == 4


def test_numbers_are_the_same_as_their_texts():
    texts = [key_text(value) for value in (7, 7.0, np.float32(7), "7", True, np.True_, 0.5)]
    assert texts == ["7", "7", "7", "7", "true", "true", "0.5"]
    split = Split(column="region", values={"7": 1})
    assert by_key(split, [7, 7.0, "7", "8", None]) == [1, 1, 1, 0, 0]


def test_a_column_that_decides_has_one_value_for_each_row():
    assert values_of("region", np.array([["eu"], ["us"]], dtype=object), 2) == ["eu", "us"]
    for array, rows in ((np.zeros((2, 2)), 2), (np.zeros(2), 3), (np.zeros(0), None)):
        with pytest.raises(InputMismatch, match="'region' decides"):
            values_of("region", array, rows)
