"""Retention under a clock that is set; see also `tests/end_to_end/test_log_clock.py`."""

from __future__ import annotations

import time

import pytest

from gnomon.log import upkeep
from gnomon.log.flusher import Flusher, Keep
from tests.log.entries import inference
from tests.log.files import all_records, ids, write

DAY_S = 86_400
AGES_D = [2.5, 1.5, 0.5, 0.0]


@pytest.mark.parametrize(
    ("days", "left"), [(-1, [3, 2, 1, 0]), (0, [3, 2, 1]), (1, [3, 2]), (10, [])]
)
def test_a_clock_that_is_set_forgets_as_much_as_it_says_and_no_more(
    tmp_path, monkeypatch, days, left
):
    # Given requests of several days, and a log that keeps two
    path, now = tmp_path / "front-0.sqlite", time.time()
    flusher = Flusher(tmp_path, Keep(seconds=2 * DAY_S))
    for number, age in enumerate(AGES_D):
        write(path, [inference(number, time_us=int((now - age * DAY_S) * 1e6))])
        flusher.flush()

    # When the clock is set by some days
    monkeypatch.setattr(upkeep.time, "time", lambda: now + days * DAY_S)
    flusher.tidy()

    assert ids(all_records(tmp_path)) == [str(number) for number in left]
