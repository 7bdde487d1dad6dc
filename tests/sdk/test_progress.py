"""How far a run is: on a terminal, in a pipe; tests/end_to_end has a notebook."""

from __future__ import annotations

import sys

import pytest

from gnomon.sdk import progress
from gnomon.sdk.progress import Progress


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(progress, "_REDRAWN_AFTER_S", 0.0)


def test_in_a_pipe_there_is_a_dot_for_each_fiftieth(capsys):
    with Progress("Inferring", 1001) as shown:
        for _ in range(10):
            shown.add(100)
        assert capsys.readouterr().out == f"Inferring 1,001 rows {'.' * 49}"
        shown.add(1)
    assert capsys.readouterr().out == ". ok\n"


def test_in_a_pipe_failures_are_counted_at_the_end(capsys):
    with Progress("Inferring", 2) as shown:
        shown.add(1)
        shown.add(1, failed=True)
    assert capsys.readouterr().out == f"Inferring 2 rows {'.' * 50} 1 failed\n"


def test_what_ends_early_says_how_far_it_was(capsys):
    def interrupted() -> None:
        with Progress("Inferring", 100) as shown:
            shown.add(4)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert capsys.readouterr().out.startswith("Inferring 100 rows .. ended at 4 of 100 rows, ")


def test_on_a_terminal_there_is_a_bar_that_is_drawn_again(capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "100")
    with Progress("Inferring", 10) as shown:
        shown.add(5, failed=True)
        drawn = capsys.readouterr().out.split("\r")
        assert drawn[-1].rstrip() == (
            f"Inferring [{'#' * 15}{'.' * 15}] 5 of 10 rows, 5 failed, 0 s left"
        )
        assert {len(line) for line in drawn[1:]} == {99}
        shown.add(5)
    assert capsys.readouterr().out.endswith("\n")


def test_in_a_notebook_it_is_html_with_what_is_shown_escaped():
    with Progress("<b>", 1_000, shown=False) as shown:
        shown.add(1_000)

    assert progress.progress_html(shown) == (
        '<progress value="1000" max="1000" style="vertical-align:middle"></progress> '
        "&lt;b&gt;: 1,000 of 1,000 rows"
    )


def test_where_nothing_is_to_be_shown_nothing_is(capsys):
    with Progress("Inferring", 4, shown=False) as shown:
        shown.add(4)
    assert capsys.readouterr().out == ""
