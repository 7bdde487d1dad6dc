"""What a caller wants of the answer: Accept and the dataset parameters."""

from __future__ import annotations

import pytest

from gnomon.core.errors import MalformedRequest
from gnomon.front.codecs import DEFAULT, Wanted
from gnomon.front.codecs.wanted import Format

FILE, STREAM = Format.ARROW_FILE, Format.ARROW_STREAM
TENSORS, RECORDS = Format.NAMED_TENSORS, Format.RECORDS


def accept(text: str, came_in: Format) -> Format:
    return Wanted.of({b"accept": text.encode()}, {}).format(came_in)


def dataset(**query) -> Wanted:
    return Wanted.of({}, {name.replace("__", "."): values for name, values in query.items()})


def test_nothing_said_is_the_default():
    assert Wanted.of({}, {}) == Wanted.of({b"accept": b"*/*"}, {"utm_source": ["x"]}) == DEFAULT
    assert all(DEFAULT.format(each) is each for each in Format)


@pytest.mark.parametrize(
    ("text", "format"),
    [
        ("application/vnd.apache.arrow.file", FILE),
        ("application/vnd.apache.arrow.stream", STREAM),
        ("Application/JSON ; Format=Pandas-Records", RECORDS),
        ('application/json; format="pandas-records"; charset=utf-8', RECORDS),
        ("application/json; format=named-tensors", TENSORS),
        ("text/html, application/vnd.apache.arrow.file;q=0.1", FILE),
        ("application/json;q=0.5, application/vnd.apache.arrow.stream", STREAM),
        ("application/vnd.apache.arrow.stream, application/vnd.apache.arrow.file", STREAM),
        ("application/vnd.apache.arrow.stream, */*", STREAM),
        ("*/*, application/vnd.apache.arrow.stream", STREAM),
        ("application/json;q=0, application/vnd.apache.arrow.stream;q=0.1", STREAM),
    ],
)
@pytest.mark.parametrize("came_in", [TENSORS, RECORDS, STREAM])
def test_the_format_that_a_caller_likes_best_is_taken(text, format, came_in):
    assert accept(text, came_in) is format


@pytest.mark.parametrize(
    "text",
    [
        *("*/*", "application/*", "text/html", "", ",", ";;", "text/csv; q=1", "application"),
        *("application/json, text/plain, */*", "application/vnd.apache.arrow.file;q=0"),
        *("application/vnd.apache.arrow.file;q=x", "\xff\xfe"),
    ],
)
@pytest.mark.parametrize("came_in", [TENSORS, RECORDS, STREAM, FILE])
def test_any_and_unknown_types_are_as_came_in(text, came_in):
    assert accept(text, came_in) is came_in


@pytest.mark.parametrize("text", ["application/json", "application/json; format=other, text/xml"])
@pytest.mark.parametrize(
    ("came_in", "format"),
    [(TENSORS, TENSORS), (RECORDS, RECORDS), (STREAM, RECORDS), (FILE, RECORDS)],
)
def test_json_as_such_is_whichever_json_is_nearest(text, came_in, format):
    assert accept(text, came_in) is format


@pytest.mark.parametrize(
    ("shown", "hidden", "columns"),
    [
        (None, None, "time in.a in.b out.y anomaly.count out_rf.y"),
        (["*"], ["metadata"], "time in.a in.b out.y anomaly.count out_rf.y"),
        (["time", "out"], None, "time out.y"),
        (["*"], ["in"], "time out.y anomaly.count out_rf.y"),
        (["*"], ["in.a"], "time in.b out.y anomaly.count out_rf.y"),
        (["time", "anomaly.count"], ["anomaly"], "time anomaly.count"),
        (["out_rf.y"], None, "out_rf.y"),
        (["out", "in.b"], ["in", "out.y"], "in.b"),
        (["metadata"], None, "metadata.elapsed metadata.models.rf.sha"),
        (["time", "metadata.models"], None, "time metadata.models.rf.sha"),
        (["metadata.elapsed"], ["metadata"], "metadata.elapsed"),
        (
            ["*", "metadata"],
            ["in"],
            "time out.y anomaly.count metadata.elapsed metadata.models.rf.sha out_rf.y",
        ),
        (["out"], ["out"], ""),
        (["nothing"], None, ""),
    ],
)
def test_the_longer_of_two_entries_decides_about_a_column(shown, hidden, columns):
    query = {"dataset[]": shown, "dataset.exclude[]": hidden}
    wanted = Wanted.of({}, {name: values for name, values in query.items() if values})
    there_is = "time in.a in.b out.y anomaly.count metadata.elapsed metadata.models.rf.sha out_rf.y"
    assert " ".join(filter(wanted.shows, there_is.split())) == columns


@pytest.mark.parametrize("ending", ["", "[]"])
@pytest.mark.parametrize("dot", [".", "_"])
def test_parameters_are_known_by_either_spelling(ending, dot):
    query = {
        f"dataset{ending}": ["out", "time", "out"],
        f"dataset{dot}exclude{ending}": ["in"],
        f"dataset{dot}separator": ["."],
    }
    assert Wanted.of({}, query) == Wanted(None, ("out", "time"), ("in",), ".")


def test_an_empty_separator_is_another_one_than_none():
    assert dataset(dataset__separator=[""]).dataset_separator == ""
    assert dataset(dataset=[""]) == DEFAULT


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ({"datasets": ["out"]}, "no query parameter 'datasets'; there are dataset,"),
        ({"dataset.include[]": ["out"]}, "no query parameter 'dataset.include"),
        ({"dataset.separator": ["_"]}, "dataset.separator is '_'"),
        ({"dataset.separator": ["a"]}, "no letters"),
        ({"dataset.separator": ["\n"]}, "dataset.separator"),
        ({"dataset.separator": ["." * 9]}, "up to 8 characters"),
    ],
)
def test_other_parameters_are_malformed(query, says):
    with pytest.raises(MalformedRequest, match=says) as caught:
        Wanted.of({}, query)
    assert len(str(caught.value)) < 400
