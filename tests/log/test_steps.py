"""Pipelines of several steps in the log: options of a split, validations, one version twice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from gnomon.core.model import Signature
from gnomon.core.tensors import TensorSpec
from gnomon.log.flusher import Flusher
from gnomon.log.places import directory_of, table_paths
from gnomon.log.query import LogQuery
from gnomon.log.reader import read
from gnomon.log.records import table_of
from gnomon.log.segments import encode
from gnomon.log.views import decode
from gnomon.log.where import Where
from tests.log.entries import (
    ALONE,
    SHADOWED,
    group,
    inference,
    observation,
    requests,
    route,
    values,
)
from tests.log.files import all_records, ids, write


@pytest.fixture
def path(tmp_path):
    return tmp_path / "front-0.sqlite"


@pytest.fixture(params=["fresh", "moved"])
def settle(request, path):
    """Leave what was logged where it is, or have it moved to the table."""
    return (lambda: None) if request.param == "fresh" else Flusher(path.parent).flush


def with_outputs(*names):
    """The champion, with the outputs of one option of a split."""
    specs = tuple(TensorSpec(name=name, dtype="float32", shape=(None, 1)) for name in names)
    split = TensorSpec(name="_model_split", dtype="string", shape=(None, 1))
    signature = Signature(inputs=ALONE.champion.signature.inputs, outputs=(*specs, split))
    return replace(ALONE.champion, signature=signature)


def outputs_of(record):
    """The champion's outputs by name."""
    seen = record.entry.champion
    names = [spec.name for spec in seen.model.signature.outputs]
    return {name: array.tolist() for name, array in zip(names, seen.outputs, strict=True)}


def test_each_option_of_a_split_has_columns_of_its_own(path, settle):
    # Given options whose outputs are alike in all but their names, and one with more of them
    options = [with_outputs("left"), with_outputs("right"), with_outputs("left", "more")]

    def answered(number):
        ran = options[number % 3]
        count = len(ran.signature.outputs) - 1
        outputs = [np.full((2, 1), number + 0.5 * n, np.float32) for n in range(count)]
        split = np.array([[f"option {number % 3}"]] * 2, dtype=object)
        return inference(number, rows=2, ran=ran, outputs=(*outputs, split))

    write(path, [answered(number) for number in range(9)], [answered(9)])

    settle()

    found = {int(r.entry.request_id[8:]): outputs_of(r) for r in all_records(path.parent)}
    for number in range(10):
        option = number % 3
        expected = {
            "right" if option == 1 else "left": [[number]] * 2,
            **({"more": [[number + 0.5]] * 2} if option == 2 else {}),
            "_model_split": [[f"option {option}"]] * 2,
        }
        assert found[number] == expected
    [row] = table_of(read(path.parent, 1, limit=1).records).to_pylist()
    assert [each["name"] for each in row["models"][0]["outputs"]] == ["left", "_model_split"]
    if table_paths(directory_of(path.parent, 1, 1)):
        [place] = table_paths(directory_of(path.parent, 1, 1))
        frame = pl.read_delta(str(place)).sort("metadata.place", "metadata.row")
        assert frame["out.right"].list.first().to_list()[:6] == [None, None, 1, 1, None, None]
        assert frame["out._model_split"].list.first()[2] == "option 1"


def checked(number, rows=3, at=ALONE, **named):
    """An inference of which validations found something: `odd` in odd numbers, `last` in the last
    row of each third one."""
    found = {
        "odd": np.full(rows, number % 2 == 1),
        "last": np.arange(rows) == (rows - 1 if number % 3 == 0 else -1),
    }
    return inference(number, at, rows=rows, anomalies=found, **named)


def test_what_validations_found_is_kept_with_each_row(path, settle):
    entries = [checked(0), group([checked(1), checked(2, rows=1), checked(3)]), inference(4)]
    alone = [request for entry in entries for request in requests(entry)]
    write(path, entries)

    settle()

    records = all_records(path.parent)[::-1]
    assert [values(record.entry) for record in records] == [*map(values, alone)]
    first, *_, last = table_of(records).to_pylist()
    assert [(each["name"], each["dtype"], each["shape"]) for each in first["anomalies"]] == [
        ("last", "bool", [3]),
        ("odd", "bool", [3]),
    ]
    assert (first["anomalies"][0]["data"], last["anomalies"]) == (b"\0\0\1", [])


def test_the_table_says_in_each_row_which_validations_failed_and_how_many(path):
    write(path, [checked(number) for number in (2, 3)], [inference(4)])

    Flusher(path.parent).flush()

    [place] = table_paths(directory_of(path.parent, 1, 1))
    frame = pl.read_delta(str(place)).sort("metadata.place", "metadata.row")
    assert frame["anomaly.odd"].to_list() == [False] * 3 + [True] * 3 + [None]
    assert frame["anomaly.last"].to_list() == [False] * 3 + [False, False, True] + [None]
    assert frame["anomaly.count"].to_list() == [0, 0, 0, 1, 1, 2, 0]


def test_requests_are_chosen_by_whether_rows_of_them_are_valid(path, settle):
    write(path, *([checked(number), inference(10 + number)] for number in range(6)))
    settle()

    def found(**conditions):
        return {int(each) for each in ids(all_records(path.parent, query=LogQuery(**conditions)))}

    unchecked = {10 + number for number in range(6)}
    assert found(valid=False) == {0, 1, 3, 5}
    assert found(valid=True) == {0, 2, 4} | unchecked
    # With a condition it is the same row that it holds for
    assert found(valid=False, where=Where('"metadata.row" = 0')) == {1, 3, 5}
    assert found(valid=True, where=Where('"metadata.row" = 2 AND "in.tensor"[1] < 10')) == {2, 4}
    assert found(where=Where('"anomaly.count" = 2')) == {3}
    assert found(where=Where('"anomaly.last" AND NOT "anomaly.odd"')) == {0}
    assert found(valid=False, request_id="request-3", oldest_first=True) == {3}


def test_requests_without_anomalies_are_passed_over_quickly_and_the_pages_go_on(path):
    write(path, *([checked(number)] for number in range(10)))
    Flusher(path.parent).flush()
    write(path, *([checked(number)] for number in range(10, 20)))

    found = ids(all_records(path.parent, query=LogQuery(valid=False), limit=2))

    assert [int(each) for each in found] == [n for n in range(19, -1, -1) if n % 2 or n % 3 == 0]


@pytest.mark.parametrize(
    "found", [np.zeros(2, bool), np.zeros((3, 1), bool), np.zeros(3, np.uint8)]
)
def test_what_is_no_truth_value_for_each_row_is_refused_and_the_rest_is_kept(found):
    good = checked(1)

    segments, refused = encode([good, inference(2, rows=3, anomalies={"odd": found}), checked(3)])

    assert len(refused) == 1
    decoded = sorted((number, entry.request_id) for s in segments for number, entry in decode(s))
    assert decoded == [(0, "request-1"), (2, "request-3")]


def test_one_version_that_watches_two_steps_is_two_challengers(path, settle):
    # Given a version that is a challenger of two steps, under two labels
    [first, second] = SHADOWED.challengers
    second = replace(second, uuid=first.uuid, version_id=first.version_id)
    twice = replace(SHADOWED, challengers=(first, second))
    entries = [inference(number, twice) for number in range(4)]
    seen = [
        observation(entry, model, outputs=(np.full((1, 1), at, np.float32),))
        for entry in entries
        for at, model in enumerate(twice.challengers)
    ]
    write(path, entries, seen)

    settle()

    for record in all_records(path.parent):
        told = {each.model.label: each.outputs[0].item() for each in record.challengers}
        assert told == {"zeta": 0.0, "alpha": 1.0}


def test_an_observation_of_a_former_version_of_the_route_stays_with_its_request(path, settle):
    other = route(version="v2", challengers=("alpha", "zeta"))
    entries = [inference(number, SHADOWED if number % 2 else other) for number in range(4)]
    done = [observation(entry, model) for entry in entries for model in entry.route.challengers]
    write(path, entries, done[::-1])

    settle()

    for record in all_records(path.parent):
        for each in record.challengers:
            assert each.outputs[0].item() == record.entry.champion.outputs[0].item() * 2
