"""The page of a run: complete in itself, and nothing in it is obeyed."""

from __future__ import annotations

import re

import numpy as np

from gnomon.core.steps import ModelRef, ModelStep
from gnomon.sdk import page
from tests.sdk.logged import TIME, model, request
from tests.sdk.test_html import HOSTILE, Page


def ref(name: str, version_id: int) -> ModelRef:
    return ModelRef(version_id=version_id, name=name, ordinal=1, uuid=f"u{version_id}", sha256="0")


def run(*requests, **changed) -> page.Run:
    facts = {
        "pipeline": "cc-shadow",
        "facts": [("name", "cc-shadow")],
        "steps": [ModelStep(champion=ref("lstm", 1), challengers=(ref("xgb", 2), ref("rf", 3)))],
        "url": "http://127.0.0.1:8081/v1/api/pipelines/infer/cc-shadow-1/cc-shadow",
        "command": "curl",
        "requests": requests,
        "made_at": TIME,
        "version": "0.1.0",
    }
    return page.Run(**{**facts, **changed})


def test_the_page_needs_nothing_from_elsewhere_and_runs_nothing():
    text = page.render(run(request(model())))

    assert not re.search(r"<(script|link|img|iframe|object|form)|\bon\w+=|url\(|@import", text)
    assert "src=" not in text
    assert "href=" not in text
    assert "prefers-color-scheme: dark" in text


def test_the_page_has_all_models_in_its_picture_and_every_request_in_order():
    newest = request(model("xgb"), model("rf"), request_id="second")
    oldest = request(model("xgb"), model("rf"), request_id="first")

    text = page.render(run(newest, oldest))

    picture = re.search(r"<svg.*</svg>", text, re.DOTALL).group()
    assert [name in picture for name in (">lstm<", ">xgb<", ">rf<")] == [True] * 3
    assert picture.count("challenger watches") == 2
    assert text.index("first") < text.index("second")
    assert "Shadow Deploy Logs" in text


def test_elapsed_is_a_bar_beside_the_champions():
    slow = model("xgb", elapsed_ns=4 * 226_951)
    failed = model("rf", status="error", error="It divided by zero.", elapsed_ns=0)

    text = page.render(run(request(slow, failed)))

    assert re.findall(r"width:([\d.]+)%", text.split("</style>")[1]) == ["25.0", "100.0", "0.0"]
    assert '<span class="status bad">error</span>' in text
    assert "It divided by zero." in text


def test_rows_are_compared_where_every_model_gives_one_number():
    def outputs(*values):
        return (np.array(values, np.float32).reshape(-1, 1),)

    champion = model("lstm", "champion", outputs=outputs(0.25, 0.5))
    batch = request(rows=2, models=(champion, model("xgb", outputs=outputs(1.0, 2.0))))

    rows = Page(page.render(run(batch)).split("Row by row")[1].split("</details>")[0][10:]).rows

    assert rows == [["Row", "lstm", "xgb"], ["1", "0.25", "1"], ["2", "0.5", "2"]]
    assert "Row by row" not in page.render(run(request(model())))


def test_nothing_that_comes_from_outside_becomes_html():
    hostile = request(
        model(HOSTILE, version=HOSTILE, outputs=(np.array([HOSTILE], dtype=object),)),
        model("b", status="error", error=HOSTILE),
        inputs={HOSTILE: np.array([HOSTILE], dtype=object)},
        request_id=HOSTILE,
    )
    text = page.render(
        run(
            hostile,
            pipeline=HOSTILE,
            facts=[(HOSTILE, HOSTILE)],
            steps=[ModelStep(champion=ref(HOSTILE, 1), challengers=(ref(HOSTILE, 2),))],
            url=HOSTILE,
            command=f"{HOSTILE} $style ${{title}}",
        )
    )

    assert "<script" not in text
    assert "<img" not in text
    assert "$style ${title}" in text
