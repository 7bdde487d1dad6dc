"""Requests that come together: one run, one entry in the log, and to each exactly its own."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.core.errors import ModelFailed
from gnomon.core.inference import Observation, Status
from gnomon.front import codecs
from gnomon.front.codecs import Result
from gnomon.front.codecs.answer_tensor_groups import TensorAnswers
from gnomon.testing import FakeChannel
from tests.front.desk import Desk, data_of, json_of, outputs_of, status_of
from tests.front.models import challenger, champion, route, spec


@pytest.fixture
def desk(request) -> Iterator[Desk]:
    desk = Desk(getattr(request, "param", None) or route(champion(), challenger("rf")))
    yield desk
    desk.loop.close()


def body(number: float, rows: int = 1) -> dict[str, object]:
    return {"tensor": [[number + 0.5, 0.25]] * rows}


class Halving(FakeChannel):
    """A fake that runs a failed run again in parts, as the real channel does."""

    def _end(self, run) -> None:
        try:
            self.run(*run.tensors)
        except ModelFailed:
            if len(run) > 1:
                self._end(run.part(0, len(run) // 2))
                self._end(run.part(len(run) // 2, len(run)))
                return
        super()._end(run)


def fails_on(value: float):
    def run(x: np.ndarray) -> tuple[np.ndarray, ...]:
        if (x == value).any():
            raise ModelFailed(f"{value} is bad")
        return (x * 2,)

    return run


def test_requests_of_one_turn_are_one_run_one_entry_and_one_observation(desk):
    calls = desk.infer_together([body(number, rows=number % 2 + 1) for number in range(5)])

    assert [len(tensors[0]) for tensors in desk.channels["ccfraud"].runs] == [7]
    assert [len(tensors[0]) for tensors in desk.channels["rf"].runs] == [7]
    for number, call in enumerate(calls):
        assert data_of(call) == [2 * number + 1.0, 0.5] * (number % 2 + 1)
        assert outputs_of(call)[0]["Float"]["dim"] == [number % 2 + 1, 2]
        assert json_of(call)[0]["request_id"] == f"id-{number}"
    [entry] = desk.log.inferences()
    assert entry.request_ids == [f"id-{number}" for number in range(5)]
    assert entry.rows == [1, 2, 1, 2, 1]
    assert entry.inputs["tensor"].shape == (7, 2)
    [seen] = desk.log.observations()
    assert (seen.request_ids, seen.positions, seen.ticket) == (
        entry.request_ids,
        range(5),
        entry.ticket,
    )
    assert desk.status("ccfraud") == desk.status("rf") == {"ok": 5}


@pytest.mark.parametrize(
    "bad",
    [
        {"tensor": [["a", "b"]]},
        {"tensor": [[1, None]]},
        {"tensor": [[0.5, True]]},
        {"tensor": [[0.5]]},
        {"tensor": [[0.5, 1e300]]},
        {"tensor": []},
        {"tensor": 0.5},
        b'{"tensor": [[0.5, 36893488147419103232]]}',
    ],
)
def test_what_does_not_fit_is_refused_and_the_others_still_go_together(desk, bad):
    calls = desk.infer_together([body(0), bad, body(2)])
    assert [status_of(call) for call in calls] == [200, 422, 200]
    assert [data_of(calls[0]), data_of(calls[2])] == [[1.0, 0.5], [5.0, 0.5]]
    assert len(desk.log.inferences()) == 1
    assert desk.status("ccfraud") == {"ok": 2, "schema": 1}


def test_whole_numbers_go_with_the_others_where_they_are_exact(desk):
    calls = desk.infer_together([body(0), {"tensor": [[1, 2]]}, {"tensor": [[1, 2.5]]}])
    assert [data_of(call) for call in calls] == [[1.0, 0.5], [2.0, 4.0], [2.0, 5.0]]


@pytest.mark.parametrize("bad", range(5))
@pytest.mark.parametrize("wait_ms", [0, 1_000])
def test_one_bad_row_fails_only_its_own_request_and_the_rest_is_logged(desk, bad, wait_ms):
    host = desk.exchange.service
    halving = Halving(host.route.champion, fails_on(bad + 0.5))
    host.channels = (halving, *host.channels[1:])

    calls = desk.infer_together([body(n) for n in range(5)], x_gnomon_shadow_wait_ms=wait_ms)

    good = [number for number in range(5) if number != bad]
    assert [status_of(call) for call in calls] == [422 if n == bad else 200 for n in range(5)]
    assert [data_of(calls[number])[0] for number in good] == [2 * n + 1.0 for n in good]
    logged = list(itertools.chain(*(entry.request_ids for entry in desk.log.inferences())))
    assert sorted(logged) == [f"id-{number}" for number in good]
    for entry in desk.log.inferences():
        for request_id, row in zip(entry.request_ids, entry.inputs["tensor"], strict=True):
            assert row[0] == int(request_id[3:]) + 0.5
    # Each observation is of the entry that has its request, at the place that it says
    tickets = {entry.ticket: entry for entry in desk.log.inferences()}
    seen = []
    for observed in desk.log.observations():
        for place, request_id in zip(observed.positions, observed.request_ids, strict=True):
            assert tickets[observed.ticket].request_ids[place] == request_id
            seen.append(request_id)
        assert len(observed.observation.outputs[0]) == len(observed.request_ids)
    assert sorted(seen) == sorted(logged)
    if wait_ms:
        assert [json_of(calls[n])[0]["shadow_data"]["rf"] for n in good] == [
            outputs_of(calls[n]) for n in good
        ]


def test_a_challengers_bad_row_is_only_that_requests(desk):
    service = desk.exchange.service
    halving = Halving(service.route.challengers[0], fails_on(1.5))
    service.channels = (service.channels[0], halving)
    calls = desk.infer_together([body(n) for n in range(4)], x_gnomon_shadow_wait_ms=1_000)
    statuses = [json_of(call)[0]["challengers"]["rf"]["status"] for call in calls]
    assert statuses == ["ok", "error", "ok", "ok"]
    assert [json_of(call)[0]["shadow_data"].get("rf") for call in calls] == [
        None if number == 1 else outputs_of(call) for number, call in enumerate(calls)
    ]
    assert desk.status("rf") == {"ok": 3, "error": 1}


@pytest.mark.parametrize(
    "desk",
    [route(champion(), challenger("rf", inputs=(spec(dtype="float64", shape=(None, 2)),)))],
    indirect=True,
)
def test_a_challenger_of_another_type_gets_what_was_sent_not_what_the_champion_got(desk):
    calls = desk.infer_together([{"tensor": [[0.1, 0.2]]}, {"tensor": [[0.3, 0.4]]}])
    assert {status_of(call) for call in calls} == {200}
    tensors = [tensor for (tensor,) in desk.channels["rf"].runs]
    assert {tensor.dtype for tensor in tensors} == {np.dtype(np.float64)}
    assert np.concatenate(tensors).tolist() == [[0.1, 0.2], [0.3, 0.4]]


@pytest.mark.parametrize(
    "desk",
    [route(champion(), challenger("rf", inputs=(spec(dtype="float16", shape=(None, 2)),)))],
    indirect=True,
)
def test_a_value_too_large_for_a_challenger_is_a_misfit_of_that_request_only(desk):
    calls = desk.infer_together(
        [{"tensor": [[0.5, 0.5]]}, {"tensor": [[1e6, 0.5]]}, {"tensor": [[1.5, 0.5]]}]
    )
    assert {status_of(call) for call in calls} == {200}
    assert desk.status("rf") == {"ok": 2, "schema": 1}
    [misfit] = [each for each in desk.log.observations() if each.observation.outputs is None]
    assert misfit.request_ids == ["id-1"]


@pytest.mark.parametrize(
    "desk",
    [replace(route(champion(), challenger("rf"), challenger("xgb")), sampling=(0.5, 0.0))],
    indirect=True,
)
def test_a_challenger_runs_on_its_sample_and_is_counted_for_that(desk):
    calls = desk.infer_together([body(number) for number in range(64)])
    assert [data_of(call)[0] for call in calls] == [2.0 * number + 1 for number in range(64)]
    sampled = [json_of(call)[0]["request_id"] for call in calls if json_of(call)[0]["challengers"]]
    assert 16 < len(sampled) < 48
    observed = itertools.chain(*(entry.request_ids for entry in desk.log.observations()))
    assert sorted(observed) == sorted(sampled)
    said = {
        request_id
        for entry in desk.log.inferences()
        for request_id, bits in zip(entry.request_ids, entry.sampled, strict=True)
        if bits == 0b01
    }
    assert said == set(sampled)
    assert desk.status("rf") == {"ok": len(sampled)}
    assert desk.tallies["rf"].sampled == len(sampled)
    assert desk.tallies["xgb"].sampled == 0
    assert desk.channels["xgb"].runs == []


def test_a_caller_outside_the_sample_does_not_wait(desk):
    desk.exchange._all_sampled = False
    object.__setattr__(desk.exchange.service.route, "sampling", (0.5,))
    desk.channels["rf"].holding = True
    calls = desk.infer_together([body(n) for n in range(32)], x_gnomon_shadow_wait_ms=5_000)
    waiting = [call for call in calls if call.answer_bytes is None]
    assert 4 < len(waiting) < 28
    desk.release("rf")
    assert all(call.answer_bytes for call in calls)


# Answers written together are those written one by one

NUMBERS = st.floats(allow_nan=True, allow_infinity=True, width=32)
OUTPUTS = st.sampled_from(["float32", "float64", "float16", "int64", "uint8", "bool", "string"])


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.integers(1, 4), min_size=1, max_size=5),
    kinds=st.lists(
        st.tuples(OUTPUTS, st.sampled_from([(), (1,), (3,), (2, 2)])), min_size=1, max_size=3
    ),
    values=st.lists(NUMBERS, min_size=1, max_size=9),
    statuses=st.lists(st.sampled_from([None, Status.OK, Status.ERROR]), min_size=2, max_size=2),
)
def test_answers_written_together_are_those_written_one_by_one(rows, kinds, values, statuses):
    outputs = tuple(
        spec(f"out{number}", dtype, (None, *shape)) for number, (dtype, shape) in enumerate(kinds)
    )
    models = [
        champion(outputs=outputs),
        challenger("rf", outputs=outputs),
        challenger("x-b", outputs=outputs),
    ]
    served = route(*models)
    height = sum(rows)

    def observation(model, status) -> Observation | None:
        if status is None:
            return None
        if status is not Status.OK:
            return Observation(model=model, status=status, error='a "bad" row', elapsed_ns=5)
        arrays = tuple(_array(dtype, (height, *shape), values) for dtype, shape in kinds)
        return Observation(model=model, status=status, outputs=arrays, elapsed_ns=1234)

    first = observation(models[0], Status.OK)
    shadows = [
        (model, observation(model, status))
        for model, status in zip(models[1:], statuses, strict=True)
    ]
    bodies = [json.dumps(body(number, count)).encode() for number, count in enumerate(rows)]
    ids = [f"id-{number}" for number in range(len(rows))]
    together = TensorAnswers(served).bodies(bodies, ids, [7] * len(rows), rows, first, shadows)
    ends = np.cumsum([0, *rows])
    for number, sent in enumerate(bodies):
        only = slice(ends[number], ends[number + 1])
        alone = [
            each
            if each is None or each.outputs is None
            else replace(each, outputs=tuple(array[only] for array in each.outputs))
            for each in (first, *(seen for _, seen in shadows))
        ]
        result = Result(served, ids[number], 7, alone[0], tuple(alone[1:]))
        answer = codecs.read(sent, None).answer(result).body
        if together is not None:
            assert together[number] == answer
    # They are written together unless a text or a number that is not finite is among them
    if together is None:
        shown = [first, *(seen for _, seen in shadows if seen and seen.outputs)]
        arrays = [array for each in shown for array in each.outputs]
        with np.errstate(invalid="ignore"):
            assert any(
                array.dtype.kind == "O" or not np.isfinite(array.astype("float64").sum())
                for array in arrays
            )


def _array(dtype: str, shape: tuple[int, ...], values: list[float]) -> np.ndarray:
    count = int(np.prod(shape))
    flat = np.resize(np.array(values), count)
    if dtype == "string":
        texts = np.empty(count, dtype=object)
        texts[:] = [str(value) for value in flat]
        return texts.reshape(shape)
    if dtype.startswith(("int", "uint", "bool")):
        flat = np.nan_to_num(flat, posinf=3, neginf=2) % 100
    with np.errstate(over="ignore", invalid="ignore"):
        return flat.astype(dtype).reshape(shape)
