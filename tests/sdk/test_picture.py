"""Pipelines of several steps in words and pictures: all of their models, and nothing obeyed."""

from __future__ import annotations

import itertools
import re
from xml.etree import ElementTree

import pytest

import gnomon
from gnomon.core.pipeline import Definition
from gnomon.core.steps import (
    Audit,
    KeySplit,
    ModelRef,
    ModelStep,
    MultiModelStep,
    RandomSplit,
    Select,
    Step,
    Validations,
)
from gnomon.sdk.diffs import Diff, definition_lines
from gnomon.sdk.picture import picture, picture_beside_text
from gnomon.sdk.step_texts import step_texts, steps_html
from tests.sdk.test_html import HOSTILE, Page

HIGH = {"greater": [{"column": "out.y"}, {"value": 1}]}


def ref(name: str, number: int) -> ModelRef:
    uuid = f"u{number}"
    return ModelRef(version_id=number, name=name, ordinal=number, uuid=uuid, sha256="0")


SHADOW = ModelStep(
    champion=ref("score", 1), challengers=(ref("score", 2), ref("rf", 3)), sample=(1.0, 0.1)
)
SPLIT = RandomSplit(weights=(2, 1), options=(ref("old", 4), ref("new", 5)), hash_key="customer")
KEYS = KeySplit(
    meta_key="region", default=ref("all", 6), routes={"eu": ref("eu", 7), "ch": ref("eu", 7)}
)
SEVERAL = MultiModelStep(members=(ref("a", 8), ref("b", 9), ref("c", 10)))
CHECK = Validations(expressions={"high": HIGH, "low": HIGH})
ALL: list[Step] = [SHADOW, Audit(start=1), SPLIT, CHECK, KEYS, SEVERAL, Select(index=1)]


def labels_of(drawn: str) -> list[str]:
    """Return the texts of a drawing, in its order; it is well-formed."""
    return [text.text or "" for text in ElementTree.fromstring(drawn).iter("text")]


def test_every_step_has_a_short_text_with_all_of_its_models():
    assert step_texts(ALL) == [
        "score, score_v2 (shadow), rf (shadow, 10 %)",
        "Audit [1:None]",
        "Random Split [customer]: old 66.67 %, new 33.33 %",
        "Check [high, low]",
        "Key Split [region]: 'eu' eu, 'ch' eu, else all",
        "a, b, c",
        "Select [1]",
    ]


def test_two_versions_of_one_model_can_be_told_apart():
    split = RandomSplit(weights=(1, 1), options=(ref("fraud", 1), ref("fraud", 2)))
    assert step_texts([split]) == ["Random Split: fraud_v1 50 %, fraud_v2 50 %"]
    assert labels_of(picture([split]))[2:5:2] == ["fraud_v1", "fraud_v2"]


def test_steps_that_are_being_built_have_texts_too():
    assert step_texts([]) == []
    assert step_texts([CHECK, SPLIT, Select(index=0), KEYS]) == [
        "Check [high, low]",
        "Random Split [customer]: old 66.67 %, new 33.33 %",
        "Select [0]",
        "Key Split [region]: 'eu' eu, 'ch' eu, else all",
    ]
    assert step_texts([CHECK, SHADOW]) == [
        "Check [high, low]",
        "score, score_v2 (shadow), rf (shadow, 10 %)",
    ]
    assert picture_beside_text([]) == picture_beside_text([CHECK]) == ""


def test_a_drawing_has_every_model_with_what_it_does():
    texts = labels_of(picture(ALL))

    assert [text for text in texts if text.startswith("step")] == [
        "step 0", "step 2, by customer, checks high, low", "step 4, by region", "step 5"
    ]  # fmt: skip
    said = dict(itertools.pairwise(texts))
    assert {name: said[name] for name in said if name in NAMES} == NAMES
    assert texts[0] == "request"
    assert texts[-2:] == ["answer", "log"]


NAMES = {
    "score": "champion, feeds the next step",
    "score_v2": "challenger watches",
    "rf": "challenger watches",
    "old": "answers 66.67 %",
    "new": "answers 33.33 %",
    "all": "all else",
    "eu": "'eu', 'ch'",
    "b": "champion answers",
    "a": "challenger watches",
    "c": "challenger watches",
}


def test_models_that_are_all_in_the_answer_are_drawn_so():
    assert labels_of(picture([SEVERAL])).count("answers beside it") == 2


@pytest.mark.parametrize("steps", [[SHADOW], [SPLIT], [SHADOW] * 2, [SEVERAL, KEYS] * 3, ALL])
def test_all_that_is_drawn_is_inside_the_drawing(steps: list[Step]):
    drawn = ElementTree.fromstring(picture(steps))
    width, height = float(drawn.get("width")), float(drawn.get("height"))
    boxes = [
        tuple(float(box.get(name)) for name in ("x", "y", "width", "height"))
        for box in drawn.iter("rect")
    ]

    assert all(x >= 0 and y >= 0 and x + w <= width and y + h <= height for x, y, w, h in boxes)
    overlapping = [
        (one, other)
        for at, one in enumerate(boxes)
        for other in boxes[:at]
        if abs(one[0] - other[0]) < min(one[2], other[2]) and abs(one[1] - other[1]) < one[3]
    ]
    assert overlapping == []


def test_a_pipeline_of_one_step_is_shown_without_a_drawing_and_a_split_with_one(shadow):
    pipeline = shadow.pipeline
    assert "<svg" not in pipeline._repr_html_()

    pipeline.add_random_split([(9, shadow.rf), (1, shadow.xgb)]).add_model_step(shadow.champion)
    pipeline.deploy()

    for shown in (pipeline, shadow.client.get_pipeline("cc-shadow"), pipeline.versions()[0]):
        text = shown._repr_html_()
        assert labels_of(re.search(r"<svg.*</svg>", text).group()).count("ccfraud-lstm") == 1
        [steps] = [row for row in Page(text).rows if row[0] == "steps"]
        assert steps[1] == "Random Split: ccfraud-rf 90 %, ccfraud-xgb 10 %ccfraud-lstm"
    for shown in (shadow.client.list_pipelines(), pipeline.versions()):
        assert "Random Split: ccfraud-rf 90 %, ccfraud-xgb 10 %<br>" in shown._repr_html_()


def test_nothing_that_comes_from_outside_becomes_html():
    hostile: list[Step] = [
        ModelStep(champion=ref(HOSTILE, 1), challengers=(ref(HOSTILE, 2),)),
        KeySplit(meta_key=HOSTILE, default=ref("a", 3), routes={HOSTILE: ref("b", 4)}),
        RandomSplit(weights=(1, 1), options=(ref("c", 5), ref("d", 6)), hash_key=HOSTILE),
    ]

    texts = steps_html([Validations(expressions={HOSTILE: HIGH}), *hostile])
    in_a_table = f"<table><tr><td>{texts}</td></tr></table>"
    page = Page(picture_beside_text(hostile) + in_a_table)

    assert page.tags == {
        "div",
        "svg",
        "g",
        "title",
        "rect",
        "text",
        "path",
        "table",
        "tr",
        "td",
        "br",
    }
    assert not {
        name for name in page.attributes if name.startswith("on") or name in ("src", "href")
    }
    assert HOSTILE in page.rows[0][0]


def test_versions_differ_in_what_was_changed_of_a_step_and_in_nothing_else():
    changed = Validations(expressions={**CHECK.expressions, "low": {"is_null": []}})
    weighted = RandomSplit(weights=(5, 1), options=SPLIT.options, hash_key="customer")
    before, after = (
        definition_lines(Definition(steps=steps).to_json(), {"4": ["x"]})
        for steps in ((SPLIT, CHECK, KEYS), (weighted, changed, KEYS))
    )

    diff = Diff.of("before", before, "after", after)

    assert diff.removed() == [
        "weight 2: old@4 (u4), fed by x",
        'validation low: {"greater": [{"column": "out.y"}, {"value": 1}]}',
    ]
    assert diff.added() == ["weight 5: old@4 (u4), fed by x", 'validation low: {"is_null": []}']


def test_the_state_of_every_steps_models_is_shown(shadow):
    pipeline = shadow.pipeline.add_model_step(shadow.champion)
    pipeline.add_shadow_deploy(shadow.xgb, [shadow.rf], sample=0.5).deploy()

    status = pipeline.status()

    models = status["engines"][0]["model_statuses"]["models"]
    assert [(m["step"], m["label"], m["role"]) for m in models] == [
        (0, "ccfraud-lstm", "champion"),
        (1, "ccfraud-xgb", "champion"),
        (1, "ccfraud-rf", "challenger"),
    ]
    shown = [row[0] for row in Page(status._repr_html_()).rows[1:]]
    assert shown == [
        "ccfraud-lstmchampion, step 0",
        "ccfraud-xgbchampion, step 1",
        "ccfraud-rfchallenger, step 1",
    ]
    text = Page(pipeline._deployment._repr_html_()).rows[-1]
    assert text == ["models", "ccfraud-lstm; ccfraud-xgb, ccfraud-rf (shadow, 50 %)"]


def test_the_live_view_has_every_steps_models(shadow, client: gnomon.Client):
    from gnomon.sdk import top

    pipeline = shadow.pipeline.add_model_step(shadow.champion)
    pipeline.add_shadow_deploy(shadow.xgb, [shadow.rf]).deploy()
    look = top.Look.take(client._session.transport)

    lines = top.lines(top.document(look, look))

    assert [line.split("  ")[1] for line in lines[-3:]] == [
        "0 ccfraud-lstm", "1 ccfraud-xgb", "1 > ccfraud-rf"
    ]  # fmt: skip
