"""What HTTP/1.1 asks of a server, one request a rule, sent to ours and to plain uvicorn.

Each rule is tried on connections that have answered a request before, and several times over: a
server may remember heads, and has to treat the second like the first.
"""

from __future__ import annotations

import pytest

from tests.front import twins
from tests.front.rules.connections import CONNECTIONS
from tests.front.rules.differences import DIFFERENCES, FAULTS, expected
from tests.front.rules.framing import FRAMING
from tests.front.rules.heads import HEADS
from tests.front.rules.rule import Rule
from tests.front.twins import Server, post

RULES = [*FRAMING, *HEADS, *CONNECTIONS]
TIMES = 3
PATIENCE_S = 0.3  # where nothing is to come


@pytest.fixture(scope="module")
def ours():
    with twins.ours() as server:
        yield server


@pytest.fixture(scope="module")
def uvicorn():
    with twins.uvicorns() as server:
        yield server


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_ours_obeys(ours, rule):
    assert tried(ours, rule) == {expected("ours", rule)}


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_uvicorn_obeys(uvicorn, rule):
    assert tried(uvicorn, rule) == {expected("uvicorn", rule)}


def tried(server: Server, rule: Rule) -> set[str]:
    """Return the different outcomes of a rule that is tried `TIMES` times."""
    gives = expected(server.name, rule)
    hopeless = "nothing" in gives
    outcomes: set[str] = set()
    tries = 1 if hopeless else TIMES
    while tries:
        with server.talk(PATIENCE_S if hopeless else 10.0) as talk:
            assert talk.outcome(post(), 1) == "200 open"
            outcome = "open"
            while tries and outcome.endswith("open"):
                outcome = talk.outcome(rule.sends, answers(gives), method=rule.method)
                outcomes.add(outcome)
                tries -= 1
    return outcomes


def answers(gives: str) -> int:
    """Return how many answers to wait for."""
    return max(1, sum(word.isdigit() for word in gives.partition("then")[0].split()))


def test_every_rule_has_a_name_of_its_own():
    names = [rule.name for rule in RULES]
    assert len(set(names)) == len(names)


def test_what_is_listed_as_a_difference_is_one():
    gives = {rule.name: rule.gives for rule in RULES}
    for (server, name), difference in {**DIFFERENCES, **FAULTS}.items():
        assert server in ("ours", "uvicorn")
        assert difference.gives != gives[name], name
        assert difference.reason
    assert not DIFFERENCES.keys() & FAULTS.keys()
