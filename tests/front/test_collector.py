"""What the front says of its collector's pauses."""

import gc

import pytest

from gnomon.front.collector import Collector


@pytest.fixture
def collector():
    thresholds = gc.get_threshold()
    made = Collector()
    yield made
    made.close()
    assert made._note not in gc.callbacks
    gc.set_threshold(*thresholds)
    gc.unfreeze()


def test_a_collection_is_counted_and_timed(collector):
    before = collector.to_json()["pauses"]

    gc.collect()

    found = collector.to_json()
    assert found["pauses"] == before + 1
    assert found["longest_ms"] > 0


def test_tidying_is_no_pause_and_leaves_nothing_to_collect(collector):
    before = collector.to_json()["pauses"]

    collector.tidy()

    found = collector.to_json()
    assert found["pauses"] == before
    assert found["tidy_longest_ms"] > 0
    assert gc.get_freeze_count() > 0
