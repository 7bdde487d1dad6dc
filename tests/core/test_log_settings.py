import json
from dataclasses import replace

import pytest

from gnomon.core import limits
from gnomon.core.errors import Invalid, LimitReached
from gnomon.core.log_settings import LogSettings
from gnomon.core.model import Signature
from gnomon.core.pipeline import Definition
from gnomon.core.plan import plan
from gnomon.core.redaction import check_redacted
from gnomon.core.routing import Route
from gnomon.core.steps import ModelRef, ModelStep, MultiModelStep, RandomSplit
from gnomon.core.tensors import TensorSpec
from tests.core.test_routing import route

STRICT = LogSettings(level="durable", when_full="fail_closed", redact=("in.card", "out_rf.y"))


def ref(name: str, number: int) -> ModelRef:
    return ModelRef(version_id=number, name=name, ordinal=1, uuid=name, sha256="0" * 64)


def signature(*outputs: str) -> Signature:
    specs = tuple(TensorSpec(name=name, dtype="float32", shape=(None, 1)) for name in outputs)
    return Signature(inputs=(), outputs=specs)


@pytest.mark.parametrize("settings", [LogSettings(), LogSettings(level="off"), STRICT])
def test_settings_survive_being_stored_and_sent(settings):
    settings.check()
    definition = Definition(steps=(ModelStep(champion=ref("a", 1)),), log=settings)
    stored = json.loads(json.dumps(definition.to_json()))
    assert Definition.from_json(stored) == definition
    assert ("log" in stored) == (settings != LogSettings())
    sent = replace(route("rf"), log=settings)
    assert Route.from_json(json.loads(json.dumps(sent.to_json()))) == sent
    assert ("log" in sent.to_json()) == (settings != LogSettings())


def test_what_differs_from_the_usual_is_said_in_a_line():
    assert LogSettings().text() == "async"
    assert STRICT.text() == "durable, fail_closed, without in.card, out_rf.y"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (LogSettings(level="sync"), 'level must be one of "async", "durable", "off", got \'sync\''),
        (LogSettings(level=["off"]), "level must be one of"),
        (LogSettings(when_full="block"), 'when_full must be one of "serve", "fail_closed"'),
        (LogSettings(level="off", when_full="fail_closed"), 'set when_full="serve" too'),
        (LogSettings(redact=("card",)), "\"in.<field>\".*got 'card'"),
        (LogSettings(redact=("in.",)), "got 'in.'"),
        (LogSettings(redact=("out_rf",)), "got 'out_rf'"),
        (LogSettings(redact=("metadata.request_id",)), "redact takes columns"),
        (LogSettings(redact=(7,)), "got '7'"),
        (LogSettings(redact=("in.a", "in.b", "in.a")), "names 'in.a' 2 times"),
    ],
)
def test_what_cannot_be_is_refused_with_what_can(settings, said):
    with pytest.raises(Invalid, match=said):
        settings.check()


def test_the_columns_left_out_are_counted():
    columns = tuple(f"in.{number}" for number in range(limits.LOG_REDACTED_COLUMNS_MAX))
    LogSettings(redact=columns).check()
    with pytest.raises(LimitReached):
        LogSettings(redact=(*columns, "in.more")).check()


def test_any_input_may_be_left_out_and_an_output_only_if_a_model_gives_it():
    shadowed = plan([ModelStep(champion=ref("lstm", 1), challengers=(ref("rf", 2),))])
    signatures = {1: signature("score", "why"), 2: signature("y")}

    def check(*columns: str) -> None:
        check_redacted(LogSettings(redact=columns), shadowed, signatures)

    check("in.whatever", "in.a.b", "out.score", "out.why", "out_rf.y")
    for wrong in ("out.y", "out_rf.score", "out_xgb.y", "out._model_split"):
        with pytest.raises(
            Invalid, match=f"'{wrong}', which no model.*: out.score, out.why, out_rf.y."
        ):
            check("in.whatever", wrong)


def test_of_several_steps_it_is_what_the_log_has_of_them():
    steps = [
        RandomSplit(weights=(1, 1), options=(ref("a", 1), ref("b", 2))),
        MultiModelStep(members=(ref("c", 3), ref("d", 4))),
    ]
    signatures = {number: signature(f"y{number}") for number in (1, 2, 3, 4)}
    columns = ("out.y3", "out_d.y4", "out._model_split")
    check_redacted(LogSettings(redact=columns), plan(steps), signatures)
    with pytest.raises(Invalid, match=r"'out\.y1'"):
        check_redacted(LogSettings(redact=("out.y1",)), plan(steps), signatures)
