from __future__ import annotations

import json

from gnomon.core.stats import FrontStats, ModelStats, of_deployment, total

FAST = ModelStats(
    sampled=10, ok=7, error=1, skipped=2, p50_ms=1.0, p99_ms=9.0, breaker="closed", connected=True
)
SLOW = ModelStats(
    sampled=5, ok=1, pending=4, p50_ms=3.0, p99_ms=4.0, breaker="half_open", connected=True
)


def test_counts_of_fronts_are_added_and_the_slowest_one_s_quantiles_stand():
    both = total([FAST, SLOW])
    assert both == ModelStats(
        sampled=15,
        ok=8,
        error=1,
        skipped=2,
        pending=4,
        p50_ms=3.0,
        p99_ms=9.0,
        breaker="half_open",
        connected=True,
    )
    assert both.sampled == sum(both.counts.values())


def test_of_no_front_nothing_is_known():
    assert total([]) == ModelStats()
    assert total([ModelStats(), FAST]).p50_ms == 1.0
    assert not total([ModelStats(), FAST]).connected


def test_the_breaker_that_lets_least_through_stands():
    def breaker(*states):
        return total([ModelStats(breaker=state) for state in states]).breaker

    assert breaker("closed", "open", "half_open") == "open"
    assert breaker("closed", "closed") == "closed"
    assert breaker(None, None) is None


def test_stats_survive_being_sent():
    assert ModelStats.from_json(json.loads(json.dumps(SLOW.to_json()))) == SLOW


def test_what_a_front_says_is_read_and_what_else_it_says_is_passed_over():
    front = FrontStats.from_json(
        "front-0",
        {
            "connected": {"d7-s0-m1-champion": True},
            "requests": 3,
            "log": {"appended": 6, "dropped": 0, "path": "x"},
            "models": {"7": {"champ": {**FAST.to_json(), "more": 1}, "rival": SLOW.to_json()}},
        },
    )
    assert (front.front, front.answers, front.requests) == ("front-0", True, 3)
    assert front.log == {"appended": 6, "dropped": 0}
    assert front.models == {7: {"champ": FAST, "rival": SLOW}}


def test_a_deployment_is_summed_over_the_fronts_that_know_it():
    fronts = [
        FrontStats(front="front-0", answers=True, models={7: {"champ": FAST}}),
        FrontStats(front="front-1", answers=True, models={7: {"champ": SLOW, "rival": SLOW}}),
        FrontStats(front="front-2", answers=False),
    ]
    assert of_deployment(fronts, 7) == {"champ": total([FAST, SLOW]), "rival": SLOW}
    assert of_deployment(fronts, 8) == {}
