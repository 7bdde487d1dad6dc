from __future__ import annotations

import numpy as np
import pytest

from gnomon.core.errors import Invalid
from gnomon.core.inference import Observation, Status
from gnomon.log.query import ANY, Cursor, LogQuery
from tests.log.entries import SHADOWED

ZETA, ALPHA = SHADOWED.challengers


def gave(model, *outputs):
    return Observation(model=model, status=Status.OK, outputs=outputs)


CLASSES = np.array([["a"], ["b"]], dtype=object)
NUMBERS = np.array([[1.0], [np.nan]], dtype=np.float32)


@pytest.mark.parametrize(
    ("champion", "challenger", "differ"),
    [
        ((NUMBERS,), (NUMBERS.reshape(2) * (1 + 1e-7),), False),
        ((NUMBERS,), (NUMBERS.astype(np.float64),), False),
        ((NUMBERS,), (NUMBERS + 0.01,), True),
        ((NUMBERS,), (NUMBERS[:1],), True),
        ((CLASSES,), (CLASSES.copy(),), False),
        ((CLASSES,), (CLASSES[::-1],), True),
        ((np.array([1]),), (np.array([True]),), False),
        ((NUMBERS, CLASSES), (NUMBERS,), True),
    ],
)
def test_models_disagree_when_their_values_differ_by_more_than_rounding(
    champion, challenger, differ
):
    seen = gave(SHADOWED.champion, *champion), [gave(ZETA, *challenger)]

    assert LogQuery(disagree="zeta").takes_values(*seen) is differ
    assert LogQuery(disagree=ANY).takes_values(*seen) is differ
    assert LogQuery(disagree="alpha").takes_values(*seen) is False
    assert LogQuery().takes_values(*seen)


def test_a_challenger_without_an_answer_disagrees_with_nobody():
    champion = gave(SHADOWED.champion, NUMBERS)
    failed = Observation(model=ALPHA, status=Status.TIMEOUT, error="late")

    assert not LogQuery(disagree=ANY).takes_values(champion, [failed])


def test_a_cursor_survives_its_text_and_nothing_else_is_one():
    cursor = Cursor({"a": 0, "b": 2**62})

    assert Cursor.parse(str(cursor)) == cursor
    for text in ("", "x", "W10=", "eyJhIjoieCJ9", "eyJhIjotMX0=", "\U0001f600"):
        with pytest.raises(Invalid, match="cursor"):
            Cursor.parse(text)
