"""Several stages: what one gives the next one takes, each request its own rows, each ended once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from gnomon.core.errors import ModelFailed
from gnomon.core.plan import Split
from gnomon.core.routing import Route
from tests.front.desk import Desk, json_of, outputs_of, status_of
from tests.front.models import challenger, champion, spec, stage, staged


@pytest.fixture
def desk_of() -> Iterator[Callable[[Route], Desk]]:
    """Makes desks, and closes their loops."""
    made: list[Desk] = []

    def make(route: Route) -> Desk:
        made.append(Desk(route))
        return made[-1]

    yield make
    for desk in made:
        desk.loop.close()


def plus(amount: float):
    return lambda x: (x + np.float32(amount),)


def first(label: str = "first"):
    return champion(label, outputs=(spec("z"),))


def second(label: str = "second", takes: str = "z"):
    return champion(label, inputs=(spec(takes),), outputs=(spec("y"),))


def half_and_half(*champions, **more):
    return stage(*champions, split=Split(shares=(0.5, 0.5)), **more)


def by_column(*champions, column: str = "region", **more):
    values = {"eu": 0, "us": 1}
    return stage(*champions, split=Split(column=column, values=values), **more)


def values_of(call) -> list[float]:
    return outputs_of(call)[0]["Float"]["data"]


def picked(call) -> list[str]:
    texts = outputs_of(call)[-1]["String"]["data"]
    return [json.loads(text)["name"] for text in texts]


# Chains


def test_the_second_stage_takes_what_the_first_gives(desk_of) -> None:
    desk = desk_of(staged(stage(first()), stage(second())))
    desk.channels["second"].run = plus(100)
    calls = desk.infer_together([{"tensor": [[1.0, 2.0]]}, {"tensor": [[3.0, 4.0], [5.0, 6.0]]}])
    assert [values_of(call) for call in calls] == [[102, 104], [106, 108, 110, 112]]
    assert len(desk.channels["second"].runs) == 1, "they travel together"
    assert json_of(calls[0])[0]["model_name"] == "second"
    assert desk.status("first") == desk.status("second") == {"ok": 2}


def test_a_model_that_fails_in_the_middle_fails_the_request_with_its_own_words(desk_of) -> None:
    desk = desk_of(staged(stage(first()), stage(second()), stage(second("third", takes="y"))))

    def broken(_):
        raise ModelFailed("division by zero")

    desk.channels["second"].run = broken
    call = desk.infer()
    assert status_of(call) == 422
    assert "division by zero" in json_of(call)["error"]
    assert not desk.log.entries
    assert not desk.channels["third"].runs
    assert (desk.status("first"), desk.status("second")) == ({"ok": 1}, {"error": 1})
    assert desk.status("third") == {"error": 1}, "there is no answer"


def test_what_does_not_fit_the_next_step_names_the_step(desk_of) -> None:
    desk = desk_of(staged(stage(first()), stage(second())))
    desk.channels["first"].run = lambda x: (x[:, :1],)
    call = desk.infer()
    assert status_of(call) == 422
    assert "step 1 cannot take what the step before gives" in json_of(call)["error"]


def test_a_stage_without_a_host_is_said_to_have_none(desk_of) -> None:
    desk = desk_of(staged(stage(first()), stage(second())))
    desk.channels["second"].connected = False
    assert status_of(desk.infer()) == 503
    assert not desk.exchange.service.is_ready


def test_a_challenger_of_a_later_stage_sees_what_the_champion_before_it_gave(desk_of) -> None:
    rival = challenger("rival", inputs=(spec("z"),))
    desk = desk_of(staged(stage(first()), stage(second(), challengers=1), challengers=(rival,)))
    call = desk.infer()
    assert values_of(call) == [4, 8]
    [(given,)] = desk.channels["rival"].runs
    assert given.tolist() == [[2, 4]]
    assert desk.status("rival") == {"ok": 1}
    assert len(desk.log.entries) == 2


@pytest.mark.parametrize("position", ["first", "later"])
def test_an_answer_that_waits_has_the_challengers_of_every_stage(desk_of, position: str) -> None:
    rival = challenger("rival", inputs=(spec("x" if position == "first" else "z"),))
    stages = [stage(first()), stage(second())]
    at = 0 if position == "first" else 1
    stages[at] = stage(*stages[at].champions, challengers=1)
    desk = desk_of(staged(*stages, challengers=(rival,), mode="joined"))
    desk.channels["rival"].holding = True
    call = desk.infer()
    assert call.answer_bytes is None
    desk.release("rival")
    data = json_of(call)[0]["shadow_data"]["rival"][0]["Float"]["data"]
    assert data == ([2, 4] if position == "first" else [4, 8])


def test_nobody_waits_for_a_challenger_whose_champion_before_it_failed(desk_of) -> None:
    rival = challenger("rival", inputs=(spec("z"),))
    route = staged(
        stage(first()), stage(second(), challengers=1), challengers=(rival,), mode="joined"
    )
    desk = desk_of(route)
    desk.channels["first"].connected = False
    assert status_of(desk.infer()) == 503
    assert desk.status("rival") == {}


# Splits


def test_a_random_split_gives_each_model_its_share_and_says_which_it_was(desk_of) -> None:
    a, b = champion("a"), champion("b")
    desk = desk_of(staged(stage(a, b, split=Split(shares=(0.8, 0.2)))))
    desk.channels["b"].run = plus(100)
    calls = desk.infer_together([{"tensor": [[1, 2]]}] * 900)
    names = Counter(name for call in calls for name in picked(call))
    assert set(names) == {"a", "b"}
    assert 670 < names["a"] < 770
    for call in calls[:100]:
        assert values_of(call) == ([2, 4] if picked(call) == ["a"] else [101, 102])
        assert json_of(call)[0]["model_name"] == picked(call)[0]


def test_the_log_has_the_model_that_answered(desk_of) -> None:
    desk = desk_of(staged(half_and_half(champion("a"), champion("b"))))
    calls = desk.infer_together([{"tensor": [[1, 2]]}] * 50)
    logged = {
        request_id: entry.champion.model.name
        for entry in desk.log.entries
        for request_id in entry.request_ids
    }
    assert logged == {call.request_id: picked(call)[0] for call in calls}
    assert all(entry.route.champion.name == entry.champion.model.name for entry in desk.log.entries)


def test_a_hash_key_sends_the_same_value_to_the_same_model(desk_of) -> None:
    a, b = champion("a"), champion("b")
    desk = desk_of(staged(stage(a, b, split=Split(column="user", shares=(0.5, 0.5)))))
    bodies = [{"tensor": [[1, 2]], "user": [f"u{n % 20}"]} for n in range(100)]
    chosen: dict[int, set[str]] = {}
    for n, call in enumerate(desk.infer_together(bodies)):
        chosen.setdefault(n % 20, set()).add(picked(call)[0])
    assert all(len(names) == 1 for names in chosen.values())
    assert {name for names in chosen.values() for name in names} == {"a", "b"}


@pytest.mark.parametrize(("number", "name"), [(0.1, "a"), (0.3, "b"), (1, "b")])
def test_a_hash_key_from_0_to_1_stands_for_the_random_number(
    desk_of, number: float, name: str
) -> None:
    a, b = champion("a"), champion("b")
    desk = desk_of(staged(stage(a, b, split=Split(column="user", shares=(0.25, 0.75)))))
    assert picked(desk.infer({"tensor": [[1, 2]], "user": [number]})) == [name]


def test_a_request_without_the_column_that_decides_is_refused_with_its_name(desk_of) -> None:
    desk = desk_of(staged(by_column(champion("a"), champion("b"))))
    call = desk.infer({"tensor": [[1, 2]]})
    assert status_of(call) == 422
    assert "'region' decides which model answers" in json_of(call)["error"]


@pytest.mark.parametrize(("value", "name"), [("eu", "a"), ("us", "b"), ("mars", "a")])
def test_a_key_split_goes_by_the_value(desk_of, value: str, name: str) -> None:
    desk = desk_of(staged(by_column(champion("a"), champion("b"))))
    assert picked(desk.infer({"tensor": [[1, 2]], "region": [value]})) == [name]


def test_the_rows_of_a_request_go_each_its_own_way_and_come_back_in_order(desk_of) -> None:
    desk = desk_of(staged(by_column(first("a"), first("b")), stage(second())))
    desk.channels["b"].run = plus(100)
    body = {"tensor": [[1, 1], [2, 2], [3, 3]], "region": ["us", "eu", "us"]}
    call = desk.infer(body)
    assert values_of(call) == [202, 202, 8, 8, 206, 206]
    assert picked(call) == ["b", "a", "b"]


def test_a_request_whose_rows_one_model_fails_fails_as_a_whole_and_once(desk_of) -> None:
    desk = desk_of(staged(by_column(first("a"), first("b")), stage(second())))
    desk.channels["b"].connected = False
    call = desk.infer({"tensor": [[1, 1], [2, 2]], "region": ["us", "eu"]})
    assert status_of(call) == 503
    assert not desk.channels["second"].runs


def test_rows_for_models_that_take_different_inputs_are_refused(desk_of) -> None:
    other = champion("b", inputs=(spec("w"),))
    desk = desk_of(staged(by_column(champion("a"), other)))
    body = {"x": [[1, 1], [2, 2]], "w": [[1, 1], [2, 2]], "region": ["us", "eu"]}
    call = desk.infer(body)
    assert status_of(call) == 422
    assert "different inputs" in json_of(call)["error"]


def test_a_later_split_can_go_by_what_the_stage_before_gives(desk_of) -> None:
    region = spec("region", dtype="int64", shape=(None, 1))
    before = champion("before", outputs=(spec("z"), region))
    values = {"1": 1}
    split = stage(second("a"), second("b"), split=Split(column="region", values=values))
    desk = desk_of(staged(stage(before), split))
    desk.channels["before"].run = lambda x: (x, (x[:, :1] > 10).astype(np.int64))
    desk.channels["b"].run = plus(100)
    bodies = [{"x": [[1, 1]]}, {"x": [[11, 11]]}, {"x": [[2, 2], [12, 12]]}, {"x": [[13, 13]]}]
    calls = desk.infer_together(bodies)
    assert [values_of(call) for call in calls] == [
        [2, 2],
        [111, 111],
        [4, 4, 112, 112],
        [113, 113],
    ]
    assert [picked(call) for call in calls] == [["a"], ["b"], ["a", "b"], ["b"]]


def test_two_splits_decide_independently_and_both_are_told(desk_of) -> None:
    stages = (half_and_half(first("a"), first("b")), half_and_half(second("c"), second("d")))
    desk = desk_of(staged(*stages))
    calls = desk.infer_together([{"tensor": [[1, 2]]}] * 400)
    pairs = Counter(tuple(picked(call)) for call in calls)
    assert set(pairs) == {("a", "c"), ("a", "d"), ("b", "c"), ("b", "d")}
    assert min(pairs.values()) > 60


def test_a_challenger_of_a_split_sees_every_request_whoever_answers(desk_of) -> None:
    route = staged(
        half_and_half(champion("a"), champion("b"), challengers=1),
        challengers=(challenger("rival"),),
    )
    desk = desk_of(route)
    desk.infer_together([{"tensor": [[1, 2]]}] * 40)
    assert desk.status("rival") == {"ok": 40}
    assert desk.tallies["a"].sampled + desk.tallies["b"].sampled == 40
