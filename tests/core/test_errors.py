import re

import pytest

from gnomon import http_errors
from gnomon.core import errors
from gnomon.core.errors import GnomonError, all_errors


@pytest.mark.parametrize("error", list(all_errors()), ids=lambda error: error.__name__)
def test_every_error_has_a_code_of_its_own_and_a_status(error):
    others = [other for other in all_errors() if other is not error]

    assert re.fullmatch(r"[a-z_]+", error.code)
    assert error.code not in {other.code for other in others}
    assert 400 <= http_errors.STATUS[error] <= 507
    assert error.__doc__


def test_the_status_table_names_no_class_outside_the_tree():
    assert set(http_errors.STATUS) == set(all_errors())
    assert set(http_errors.HEADERS) <= set(all_errors())


def test_the_tree_in_the_docstring_is_the_tree_in_the_code():
    drawn = set(re.findall(r"[├└]── (\w+)", errors.__doc__))

    assert drawn == {error.__name__ for error in all_errors()} - {"GnomonError"}


def test_an_error_that_crossed_http_is_the_same_class_with_the_same_facts():
    sent = errors.InputMismatch("input 'area' must be float32", column="area", request_id="r-1")

    got = errors.from_code(sent.code, sent.message, request_id=sent.request_id, **sent.details)

    assert type(got) is errors.InputMismatch
    assert str(got) == "input 'area' must be float32"
    assert got.details == {"column": "area"}
    assert got.request_id == "r-1"


def test_a_code_of_a_newer_server_is_still_an_error():
    assert type(errors.from_code("from_the_future", "text")) is GnomonError


def test_overload_and_absence_tell_when_to_try_again():
    assert http_errors.headers_of(errors.Overloaded("full")) == {"Retry-After": "1"}
    assert http_errors.headers_of(errors.NotFound("none")) == {}
