"""Which column feeds which model, and what is logged."""

from __future__ import annotations

import json

import numpy as np
import pytest

from gnomon.core.errors import InputMismatch
from gnomon.front import codecs
from gnomon.front.feeding import Feeding
from tests.front.models import challenger, champion, route, spec


def columns(value):
    return codecs.read(json.dumps(value).encode(), None).columns


def logged(deployed, value) -> dict[str, np.ndarray]:
    feeding, given = Feeding(deployed), columns(value)
    plan = feeding.plan(given, strict=isinstance(value, dict))
    return feeding.logged(given, plan, feeding.champion(given, plan))


def test_a_challenger_with_the_same_inputs_gets_the_very_arrays_of_the_champion():
    deployed = route(champion(), challenger("rf", inputs=(spec("other_name"),)))
    feeding, given = Feeding(deployed), columns({"tensor": [[1, 2]]})
    plan = feeding.plan(given, strict=True)
    arrays = feeding.champion(given, plan)
    assert feeding.challenger(0, given, plan, arrays) is arrays
    assert arrays[0].dtype == np.float32


def test_a_challenger_with_another_type_gets_its_own():
    deployed = route(champion(), challenger("rf", inputs=(spec(dtype="float64"),)))
    feeding, given = Feeding(deployed), columns({"tensor": [[0.1, 2]]})
    plan = feeding.plan(given, strict=True)
    [array] = feeding.challenger(0, given, plan, feeding.champion(given, plan))
    assert array.tolist() == [[0.1, 2.0]]


def test_a_challenger_without_its_column_is_told_which():
    deployed = route(champion(), challenger("rf", fields=("tenser",)))
    feeding, given = Feeding(deployed), columns({"tensor": [[1, 2]]})
    plan = feeding.plan(given, strict=True)
    with pytest.raises(InputMismatch, match=r"rf@1: input 'tenser' .*Did you mean 'tensor'"):
        feeding.challenger(0, given, plan, feeding.champion(given, plan))


def test_a_column_is_logged_with_the_type_that_the_champion_declares():
    assert logged(route(champion()), {"tensor": [[1, 2]]})["tensor"].dtype == np.float32


def test_a_shared_column_is_logged_with_the_widest_type():
    deployed = route(champion(), challenger("rf", inputs=(spec(dtype="float64"),)))
    array = logged(deployed, {"tensor": [[0.1, 2]]})["tensor"]
    assert array.dtype == np.float64
    assert array.tolist() == [[0.1, 2.0]]


def test_a_column_that_only_a_challenger_takes_is_logged_with_its_type():
    deployed = route(
        champion(fields=("a",)), challenger("rf", fields=("b",), inputs=(spec(dtype="float64"),))
    )
    rows = [{"a": [1, 2], "b": [3, 4]}]
    assert logged(deployed, rows)["b"].dtype == np.float64


def test_further_columns_are_logged_as_they_are():
    rows = [{"tensor": [1, 2], "n": 2**53 + 1, "t": "x", "o": None}]
    inputs = logged(route(champion()), rows)
    assert list(inputs) == ["tensor", "n", "t", "o"]
    assert inputs["n"].tolist() == [2**53 + 1]
    assert inputs["t"].tolist() == ["x"]
    assert inputs["o"].tolist() == ["null"]


def test_a_challengers_impossible_wish_does_not_keep_a_request_from_being_logged():
    # A text cannot be made of numbers: the challenger has status schema, the log has numbers
    deployed = route(champion(), challenger("rf", inputs=(spec(dtype="string"),)))
    assert logged(deployed, {"tensor": [[1, 2]]})["tensor"].dtype == np.float32
    deployed = route(
        champion(fields=("a",)), challenger("rf", fields=("b",), inputs=(spec(dtype="int64"),))
    )
    assert logged(deployed, [{"a": [1, 2], "b": [1.5, None]}])["b"].tolist() == ["[1.5,null]"]


def test_an_unknown_name_is_refused_in_named_tensors_and_taken_in_records():
    feeding = Feeding(route(champion(fields=("a",))))
    with pytest.raises(InputMismatch, match="nothing takes the input 'b'"):
        feeding.plan(columns({"a": [[1, 2]], "b": [1]}), strict=True)
    assert feeding.plan(columns([{"a": [1, 2], "b": 1}]), strict=False).further == ("b",)


def test_many_different_sets_of_columns_do_not_pile_up():
    feeding = Feeding(route(champion()))
    for number in range(500):
        feeding.plan(columns([{"tensor": [1, 2], f"c{number}": 1}]), strict=False)
    assert len(feeding._plans) <= 64
