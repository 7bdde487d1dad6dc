"""The champion answers, challengers watch: with channels of this process, step by step."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from gnomon.core.inference import InferenceEntry, ObservationEntry, Status
from tests.front.desk import Desk, broken, json_of, outputs_of, status_of
from tests.front.models import challenger, champion, route, spec


@pytest.fixture
def desk(request) -> Iterator[Desk]:
    desk = Desk(getattr(request, "param", None) or route(champion(), challenger("rf")))
    yield desk
    desk.loop.close()


# The champion alone


def test_the_champions_answer_is_written_and_logged(desk):
    call = desk.infer()
    assert status_of(call) == 200
    assert outputs_of(call) == [{"Float": {"data": [2.0, 4.0], "dim": [1, 2], "v": 1}}]
    [entry] = desk.log.inferences()
    assert entry.request_ids == ["id-1"]
    assert entry.times_us == [1_700_000_000_123_456]
    assert entry.route is desk.exchange.route
    assert entry.rows == [1]
    assert entry.inputs["tensor"].tolist() == [[1.0, 2.0]]
    assert entry.champion.outputs[0].tolist() == [[2.0, 4.0]]
    assert entry.sampled == [0b1]


def test_the_champion_is_fed_before_the_challengers(desk):
    order = []
    for label, channel in desk.channels.items():
        channel.run = lambda x, label=label: order.append(label) or (x,)
    desk.infer()
    assert order == ["ccfraud", "rf"]


@pytest.mark.parametrize(
    ("body", "error_code"),
    [
        ({"tensor": [[1, 2, 3]]}, "input_mismatch"),
        ({"tensor": [[1, "2"]]}, "input_mismatch"),
        ({"tensor": [["1", "2"]]}, "input_mismatch"),
        ({"tensor": [[1], [2, 3]]}, "input_mismatch"),
        ({"tensor": [[None, 1]]}, "input_mismatch"),
        ({"tensor": [[True, False]]}, "input_mismatch"),
        ({"tensor": [[{}, 1]]}, "input_mismatch"),
        ({"tensor": [[1e300, 1]]}, "input_mismatch"),
        ({"tensor": [[2**53 + 1, 1]]}, "input_mismatch"),
        ({"tensor": []}, "input_mismatch"),
        ({"tensor": [[]]}, "input_mismatch"),
        ({"tensor": 1}, "input_mismatch"),
        ({"tensr": [[1, 2]], "other": [1]}, "input_mismatch"),
        ({"tensor": [[1, 2]], "other": [1]}, "input_mismatch"),
        ([{"other": 1, "one": 2}], "input_mismatch"),
        ([{"tensor": [1, 2]}, {"tensor": [1]}], "input_mismatch"),
    ],
)
def test_what_does_not_fit_the_champion_is_422_and_goes_to_no_model(desk, body, error_code):
    call = desk.infer(body)
    assert status_of(call) == 422
    assert json_of(call)["error_code"] == error_code
    assert desk.log.entries == []
    assert desk.channels["ccfraud"].runs == desk.channels["rf"].runs == []
    assert desk.status("ccfraud") == {"schema": 1}


def test_a_misspelt_input_names_the_nearest_column(desk):
    fields = champion(fields=("tensor",))
    call = Desk(route(fields)).infer({"tensr": [[1, 2]]})
    assert "input 'tensor' is missing" in json_of(call)["error"]
    assert "Did you mean 'tensr'?" in json_of(call)["error"]


def test_a_champion_that_fails_is_422_and_nothing_is_logged(desk):
    desk.channels["ccfraud"].run = broken
    call = desk.infer()
    assert (status_of(call), json_of(call)["error_code"]) == (422, "model_failed")
    assert desk.log.entries == []
    assert desk.status("ccfraud") == {"error": 1}


def test_challengers_are_not_fed_when_the_champion_could_not_be(desk):
    desk.channels["ccfraud"].connected = False
    call = desk.infer()
    assert (status_of(call), json_of(call)["error_code"]) == (503, "host_unavailable")
    assert desk.channels["rf"].runs == []
    assert desk.status("rf") == {}


def test_a_champion_that_fails_later_leaves_no_observation_in_the_log(desk):
    # Given a champion that still runs when its challenger, which is waited for, has ended
    desk.channels["ccfraud"].holding = True
    call = desk.infer(x_gnomon_shadow_wait_ms=1_000)
    assert desk.status("rf") == {"ok": 1}
    # When it fails
    desk.channels["ccfraud"].lose_host()
    # Then the caller has the error, the challenger is counted, and nothing is logged
    assert status_of(call) == 503
    assert desk.log.entries == []


def test_outputs_that_records_cannot_carry_are_422_before_anything_is_logged(desk):
    desk.channels["ccfraud"].run = lambda x: (np.ones((5, 1), "float32"),)
    call = desk.infer([{"tensor": [1, 2]}])
    assert (status_of(call), json_of(call)["error_code"]) == (422, "model_failed")
    assert desk.log.inferences() == []


# Challengers


def test_without_waiting_a_challenger_that_still_runs_is_pending(desk):
    desk.channels["rf"].holding = True
    call = desk.infer()
    [answer] = json_of(call)
    assert answer["shadow_data"] == {}
    assert answer["challengers"]["rf"]["status"] == "pending"
    # And its observation follows in the log when it ends, under the same id
    assert desk.log.observations() == []
    assert desk.status("rf") == {"pending": 1}
    desk.release("rf")
    [entry] = desk.log.observations()
    assert (entry.request_ids, entry.rows, entry.positions) == (["id-1"], [1], range(1))
    assert entry.ticket is desk.log.inferences()[0].ticket
    assert entry.observation.status is Status.OK
    assert entry.observation.outputs[0].tolist() == [[2.0, 4.0]]
    assert desk.status("rf") == {"ok": 1}


def test_an_observation_is_never_logged_before_its_inference(desk):
    desk.channels["ccfraud"].holding = True
    desk.infer(x_gnomon_shadow_wait_ms=1_000)
    assert len(desk.channels["rf"].runs) == 1
    assert desk.log.entries == []
    desk.release("ccfraud")
    assert [type(entry) for entry in desk.log.entries] == [InferenceEntry, ObservationEntry]


def make_it_fail(desk: Desk) -> None:
    desk.channels["rf"].run = broken


def make_it_raise(desk: Desk) -> None:
    def run(_):
        raise ZeroDivisionError

    desk.channels["rf"].run = run


def take_its_host(desk: Desk) -> None:
    desk.channels["rf"].connected = False


def fill_its_queue(desk: Desk) -> None:
    desk.channels["rf"].queue_max = 0


def leave_it(desk: Desk) -> None:
    pass


@pytest.mark.parametrize(
    ("harm", "status", "text"),
    [
        (make_it_fail, "error", "division by zero"),
        (make_it_raise, "error", "rf@1: an internal error; it was not run."),
        (take_its_host, "error", "rf@1: its host is not running; try again shortly."),
        (fill_its_queue, "dropped", "rf@1: its queue is full; try again shortly."),
    ],
)
@pytest.mark.parametrize(
    "body", [{"tensor": [[1, 2]]}, [{"tensor": [1, 2]}]], ids=["tensors", "records"]
)
def test_whatever_a_challenger_does_the_champions_answer_is_the_same(
    desk, harm, status, text, body
):
    healthy = desk.infer(body)
    harm(desk)
    call = desk.infer(body, x_gnomon_shadow_wait_ms=5_000)
    answer, before = json_of(call), json_of(healthy)
    if isinstance(body, dict):
        assert answer[0]["outputs"] == before[0]["outputs"]
        assert answer[0]["challengers"]["rf"]["status"] == status
        assert answer[0]["challengers"]["rf"]["error"] == text
        assert answer[0]["shadow_data"] == {}
    else:
        assert answer[0]["out"] == before[0]["out"]
        assert answer[0]["out_rf"] == {"y": None}
    entry = desk.log.observations()[-1]
    assert (entry.observation.status, entry.observation.error) == (status, text)
    assert entry.observation.outputs is None
    assert desk.status("rf")[status] == 1
    assert desk.status("ccfraud") == {"ok": 2}


@pytest.mark.parametrize(
    "desk",
    [
        route(
            champion(),
            challenger("rf", fields=("amount",)),
            challenger("xgb", inputs=(spec(shape=(None, 3)),)),
        )
    ],
    indirect=True,
)
def test_a_challenger_that_the_request_does_not_fit_has_status_schema_and_says_why(desk):
    call = desk.infer(x_gnomon_shadow_wait_ms=1_000)
    [answer] = json_of(call)
    assert answer["challengers"]["rf"]["status"] == "schema"
    assert "rf@1: input 'amount' is missing" in answer["challengers"]["rf"]["error"]
    assert answer["challengers"]["xgb"]["status"] == "schema"
    assert "must have shape [?, 3], got [1, 2]" in answer["challengers"]["xgb"]["error"]
    assert {entry.observation.status for entry in desk.log.observations()} == {Status.SCHEMA}
    assert desk.status("rf") == {"schema": 1}


def test_a_log_that_fails_does_not_fail_the_answer(desk, monkeypatch):
    def append(_):
        raise OSError("no space left on device")

    monkeypatch.setattr(desk.log, "append", append)
    assert status_of(desk.infer()) == 200


def test_a_fault_of_our_own_is_500_and_tells_nothing(desk, monkeypatch, caplog):
    def answer(*_):
        raise KeyError("/secret/path")

    monkeypatch.setattr("gnomon.front.codecs.json_tensors.NamedTensors.answer", answer)
    call = desk.infer()
    assert (status_of(call), json_of(call)["error_code"]) == (500, "internal")
    assert b"secret" not in call.answer_bytes
    assert b"Connection: close" in call.answer_bytes
    assert "id-1" in caplog.text
    assert "/secret/path" in caplog.text


# Waiting


@pytest.mark.parametrize(
    "body", [{"tensor": [[1, 2]]}, [{"tensor": [1, 2]}]], ids=["tensors", "records"]
)
def test_a_request_that_asks_waits_for_the_challengers(desk, body):
    desk.channels["rf"].holding = True
    call = desk.infer(body, x_gnomon_shadow_wait_ms=5_000)
    assert call.answer_bytes is None
    assert len(desk.log.inferences()) == 1
    desk.release("rf")
    [answer] = json_of(call)
    if isinstance(body, dict):
        assert answer["shadow_data"]["rf"] == answer["outputs"]
        assert answer["challengers"]["rf"]["status"] == "ok"
    else:
        assert answer["out_rf"] == answer["out"]


def test_past_its_wait_a_request_is_answered_with_pending(desk):
    desk.channels["rf"].holding = True
    call = desk.infer(x_gnomon_shadow_wait_ms=20)
    assert call.answer_bytes is None
    desk.wait_answered(call)
    assert json_of(call)[0]["challengers"]["rf"]["status"] == "pending"
    before = call.answer_bytes
    desk.release("rf")
    assert call.answer_bytes is before
    assert len(desk.log.observations()) == 1


@pytest.mark.parametrize(
    "desk", [route(champion(), challenger("rf"), mode="joined", shadow_wait_ms=20)], indirect=True
)
def test_a_joined_pipeline_waits_unless_a_request_says_otherwise(desk):
    desk.channels["rf"].holding = True
    assert desk.infer(x_gnomon_shadow_wait_ms=0).answer_bytes is not None
    call = desk.infer()
    assert call.answer_bytes is None
    desk.wait_answered(call)


@pytest.mark.parametrize("desk", [route(champion())], indirect=True)
def test_without_challengers_nothing_is_waited_for(desk):
    call = desk.infer(x_gnomon_shadow_wait_ms=5_000)
    assert json_of(call)[0]["challengers"] == {}


def test_waiting_does_not_change_the_champions_outputs(desk):
    plain = desk.infer()
    waited = desk.infer(x_gnomon_shadow_wait_ms=1_000)
    assert outputs_of(plain) == outputs_of(waited)


@pytest.mark.parametrize("name", ["x_gnomon_shadow_wait_ms", "x_gnomon_timeout_ms"])
@pytest.mark.parametrize("value", ["", "-1", "60001", "1.5", "abc", "1e3", "9" * 30, "²"])
def test_times_that_are_none_are_refused(desk, name, value):
    call = desk.infer(**{name: value})
    assert (status_of(call), json_of(call)["error_code"]) == (400, "malformed_request")
    assert name.replace("_", "-").title() in json_of(call)["error"]


@pytest.mark.parametrize(("timeout_ms", "patience_s"), [(100, 5.0), (10_000, 20.0)])
def test_a_challenger_has_twice_the_champions_time_and_five_seconds_at_least(
    desk, timeout_ms, patience_s
):
    for channel in desk.channels.values():
        channel.holding = True
    before = desk.loop.time()
    desk.infer(x_gnomon_timeout_ms=timeout_ms)
    [champions] = desk.channels["ccfraud"]._held
    assert champions.deadline - before == pytest.approx(timeout_ms / 1_000, abs=0.5)
    desk.release("ccfraud")
    [challengers] = desk.channels["rf"]._held
    assert challengers.deadline - before == pytest.approx(patience_s, abs=0.5)


def test_a_timeout_of_nothing_is_refused(desk):
    assert status_of(desk.infer(x_gnomon_timeout_ms=0)) == 400


# What is kept


def test_an_answered_request_lets_go_of_its_caller_and_its_body(desk):
    desk.channels["rf"].holding = True
    desk.infer()
    [run] = desk.channels["rf"]._held
    assert run.receiver._members.take_calls(range(1)) == []
    assert run.receiver._inputs.tensors == ()
    assert run.receiver._inputs.columns is None
    assert run.receiver._inputs.logged == {}


def test_everything_sampled_is_accounted_for(desk):
    for harm in (leave_it, make_it_fail, fill_its_queue, take_its_host):
        harm(desk)
        desk.infer()
    assert sum(desk.status("rf").values()) == 4
    assert desk.status("rf") == {"ok": 1, "error": 2, "dropped": 1}
    assert len(desk.log.observations()) == 4
