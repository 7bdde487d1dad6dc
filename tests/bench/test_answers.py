"""What a right answer is, for the load generator."""

from __future__ import annotations

import pytest

from bench.servers.answers import WrongAnswer, context_before, learn


def first_output(answer):
    return answer["outputs"][0][0]


def test_the_number_is_found_behind_what_precedes_it():
    answer = b'{"in": [[0.5, 0.25]], "outputs": [[0.125]]}'

    learned = learn(answer, first_output, 0.125)

    assert (learned.text, learned.after) == (b"0.125", b"]")
    assert answer.index(learned.context) + len(learned.context) == answer.index(b"0.125")


def test_float32_and_float64_texts_of_one_number_are_both_right():
    assert learn(b'{"outputs": [[0.0204]]}', first_output, 0.020400000736117363)
    assert learn(b'{"outputs": [[2.04e-2]]}', first_output, 0.0204).text == b"2.04e-2"


@pytest.mark.parametrize(
    "answer",
    [
        b'{"outputs": [[0.12502]]}',
        b'{"outputs": [[NaN]]}',
        b'{"outputs": []}',
        b'{"outputs": [[null]]}',
        b"<html>",
    ],
)
def test_another_number_or_none_is_a_wrong_answer(answer):
    with pytest.raises(WrongAnswer):
        learn(answer, first_output, 0.125)


def test_a_context_is_no_longer_than_it_has_to_be():
    assert context_before(b"[[0.5]]", 2) == b"[["
    assert context_before(b"0.5", 0) == b""
    assert context_before(b"[1,[1,2]]", 6) == b",[1,"
