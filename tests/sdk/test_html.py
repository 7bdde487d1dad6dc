"""What notebooks show: complete, escaped, folded, and never too large."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from gnomon.sdk import html
from gnomon.sdk.logs import LogEntries, ShadowLogEntries
from tests.sdk.logged import model, request

ALLOWED = {
    "br", "details", "div", "em", "h2", "p", "strong", "summary", "table", "tbody", "td", "th",
    "tr",
}  # fmt: skip
HOSTILE = "<img src=x onerror=alert(1)>\"'</td><script>alert(1)</script>"


class Page(HTMLParser):
    """The tags, attributes and table cells of some HTML; every tag must be closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.rows: list[list[str]] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag != "br":
            self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if "td" in self._open or "th" in self._open:
            self.rows[-1][-1] += data


def logs(*requests) -> Page:
    return Page(LogEntries.of(requests)._repr_html_())


def shadow_logs(*requests) -> Page:
    return Page(ShadowLogEntries.of(requests)._repr_html_())


def test_a_log_has_a_row_per_model():
    page = logs(request(model("ccfraud-rf"), model("ccfraud-xgb")))

    assert page.rows[0] == ["Timestamp", "Model", "Output", "Input", "Anomalies"]
    assert page.rows[1] == [
        "2022-10-19 17:52:14 UTC", "ccfraud-xgb", "[array([[0.5]])]", "[[0.1, 0.2, 0.3]]", "0",
    ]  # fmt: skip
    assert [row[1] for row in page.rows[1:]] == ["ccfraud-xgb", "ccfraud-rf", "ccfraud-lstm"]


def test_a_model_without_an_output_shows_its_status_and_error():
    failed = model(status="error", error="It divided by zero.")
    waiting = model("ccfraud-xgb", status="pending", time=None, elapsed_ns=0)

    page = logs(request(failed, waiting))

    assert [row[2] for row in page.rows[1:3]] == ["pending", "error: It divided by zero."]


def test_every_cell_of_a_shadow_log_is_filled():
    failed = model("ccfraud-xgb", status="schema", error="It does not fit.")
    waiting = model("ccfraud-z", status="pending", time=None, elapsed_ns=0)

    page = shadow_logs(request(model("ccfraud-rf"), failed, waiting))

    assert page.rows[:4] == [
        ["Log Entry 0"],
        ["request request-1, 1 row"],
        ["Input", "[[0.1, 0.2, 0.3]]"],
        ["Model Type", "Model Name", "Output", "Timestamp", "Model Version", "Elapsed"],
    ]
    time = "2022-10-19 17:52:14 UTC"
    assert page.rows[4:] == [
        ["Primary", "ccfraud-lstm", "[array([[0.5]])]", time, "uuid-of-ccfraud-lstm", "227 µs"],
        ["Challenger", "ccfraud-rf", "[array([[0.5]])]", time, "uuid-of-ccfraud-rf", "227 µs"],
        ["Challenger", "ccfraud-xgb", "schema: It does not fit.", time, "uuid-of-ccfraud-xgb",
         "227 µs"],
        ["Challenger", "ccfraud-z", "pending", "not yet", "uuid-of-ccfraud-z", "not yet"],
    ]  # fmt: skip


def test_a_display_shows_the_same_twice():
    entries = ShadowLogEntries.of(iter([request(model())]))

    assert entries._repr_html_() == entries._repr_html_()
    assert len(entries) == 1


def test_nothing_that_comes_from_outside_becomes_html():
    hostile = request(
        model(HOSTILE, version=HOSTILE, outputs=(np.array([HOSTILE], dtype=object),)),
        model("b", status="error", error=HOSTILE),
        inputs={HOSTILE: np.array([HOSTILE], dtype=object), "x": np.zeros((1, 99))},
        request_id=HOSTILE,
    )
    for page in (logs(hostile), shadow_logs(hostile)):
        assert page.tags <= ALLOWED
        assert page.attributes <= {"style", "colspan"}
        assert any(HOSTILE in text for row in page.rows for text in row)
    assert Page(html.facts([(HOSTILE, HOSTILE)])).rows == [[HOSTILE, HOSTILE]]
    assert Page(html.table([HOSTILE], [[HOSTILE]], empty="")).rows == [[HOSTILE], [HOSTILE]]


def test_a_long_input_is_folded_with_all_of_its_values():
    values = np.arange(3000, dtype=np.float32).reshape(1, 3000) / 8
    text = LogEntries.of([request(inputs={"tensor": values})])._repr_html_()

    [folded] = re.findall(r"<details><summary[^>]*>(.*?)</summary><div[^>]*>(.*?)</div>", text)
    assert folded[0] == "float32 [1, 3000]: 0, 0.125, 0.25, …"
    assert folded[1] == "[[" + ", ".join(str(value) for value in values[0]) + "]]"


def test_a_long_output_is_folded():
    text = LogEntries.of([request(model(outputs=(np.zeros((50, 3), np.float32),)))])._repr_html_()

    assert "[50, 3]: 0, 0, 0, …</summary>" in text


def test_a_large_log_makes_a_small_display():
    long = {"tensor": np.random.default_rng(0).random((1, 3000), np.float32)}
    entries = LogEntries.of(
        [request(model("b"), model("c"), inputs=long) for _ in range(500)], more=True
    )

    text = entries._repr_html_()

    assert len(text) < 2_000_000
    assert "and 2,800 more values" in text
    assert "The first 300 of 1,500 entries" in text
    assert "There are older requests" in text


@pytest.mark.parametrize(
    ("elapsed_ns", "text"),
    [(0, "0 ns"), (999, "999 ns"), (226_951, "227 µs"), (1_240_000, "1.24 ms"), (3e9, "3 s")],
)
def test_a_duration_has_the_unit_that_suits_it(elapsed_ns, text):
    assert html.elapsed_text(elapsed_ns) == text


def test_values_have_the_digits_of_their_type():
    assert html.values_html(np.array([0.1], np.float32), 9) == "[0.1]"
    assert html.values_html(np.array([0.1]), 9) == "[0.1]"
    assert html.values_html(np.array([[1, 2], [3, 4]]), 9) == "[[1, 2], [3, 4]]"
    assert html.values_html(np.array(["a"], dtype=object), 9) == "[&#x27;a&#x27;]"
    assert html.values_html(np.zeros((0, 2)), 9) == "[]"
    assert html.values_html(np.array(7), 9) == "7"


def test_lists_of_things_are_tables_and_empty_ones_say_so(client, shadow):
    for things, heading in [
        (client.list_workspaces(), "Users"),
        (client.list_models(), "# of Versions"),
        (client.list_models()[0].versions(), "file_name"),
        (client.list_pipelines(), "last_updated"),
    ]:
        page = Page(things._repr_html_())
        assert heading in page.rows[0]
        assert len(page.rows) == 1 + len(things)
        assert type(things)()._repr_html_().startswith("(no ")
    for thing in (shadow.champion, client.list_models()[0], client.get_current_workspace()):
        assert Page(thing._repr_html_()).tags == {"table", "tr", "th", "td"}
