import uuid

import pytest

from gnomon.core.errors import InvalidName, MalformedRequest
from gnomon.core.names import check_name, check_request_id, name_key, uuid7


@pytest.mark.parametrize("name", ["a", "Z", "ccfraud-lstm", "a1", "a--b", "x" * 63])
def test_a_good_name_is_returned_as_it_is(name):
    assert check_name("model", name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "-a",
        "a-",
        "1a",
        "a_b",
        "a.b",
        "a b",
        "ä",
        "a\n",
        "x" * 64,
        "../x",
        "a/b",
        None,
        3,
        "a\0",
    ],
)
def test_a_bad_name_is_refused_and_shown(name):
    with pytest.raises(InvalidName, match="DNS-compatible"):
        check_name("workspace", name)


def test_a_huge_name_is_shown_shortened():
    with pytest.raises(InvalidName) as caught:
        check_name("model", "x" * 100_000)
    assert len(str(caught.value)) < 400


def test_pipelines_are_lower_case_and_the_message_says_which_name_would_do():
    with pytest.raises(InvalidName, match="'cc-shadow'"):
        check_name("pipeline", "CC-Shadow")
    assert check_name("pipeline", "cc-shadow") == "cc-shadow"


def test_names_that_differ_only_in_case_are_one():
    assert name_key("CCFraud") == name_key("ccfraud")


@pytest.mark.parametrize("request_id", ["a", "A.b_c-9", "x" * 64])
def test_a_good_request_id_is_kept(request_id):
    assert check_request_id(request_id) == request_id


@pytest.mark.parametrize("request_id", ["", "x" * 65, "a b", "a\r\nb", "é", "a/b"])
def test_a_bad_request_id_is_refused(request_id):
    with pytest.raises(MalformedRequest):
        check_request_id(request_id)


def test_uuid7_sorts_by_time_and_says_its_version():
    early, late = uuid7(1_700_000_000_000, bytes(10)), uuid7(1_700_000_000_001, b"\xff" * 10)

    assert early < late
    assert uuid.UUID(late).version == 7
    assert uuid.UUID(late).variant == uuid.RFC_4122
    assert uuid.UUID(late).int >> 80 == 1_700_000_000_001
