"""The lines that say what is waited for."""

from __future__ import annotations

import threading

import pytest

from gnomon.sdk import waiting
from gnomon.sdk.waiting import Waiting
from tests.waiting import until


@pytest.fixture
def fast(monkeypatch):
    monkeypatch.setattr(waiting, "_SECOND", 0.02)


def test_a_deployment_that_is_there_at_once_is_ok_at_once(capsys):
    with Waiting("deployment", 45, at_once=True):
        assert capsys.readouterr().out == "Waiting for deployment - this will take up to 45s "
    assert capsys.readouterr().out == " ok\n"


def test_one_dot_a_second(fast, capsys):
    shown = ""

    def dots() -> bool:
        nonlocal shown
        shown += capsys.readouterr().out
        return shown.endswith("...")

    with Waiting("undeployment", 45.0, at_once=True):
        until(dots)

    shown += capsys.readouterr().out
    assert shown.startswith("Waiting for undeployment - this will take up to 45s ...")
    assert shown.endswith(". ok\n")


def test_what_takes_under_a_second_prints_nothing(capsys):
    with Waiting("inference response", 45):
        pass
    assert capsys.readouterr().out == ""


def test_what_takes_longer_says_so(fast, capsys):
    shown = ""

    def begun() -> bool:
        nonlocal shown
        shown += capsys.readouterr().out
        return "." in shown

    with Waiting("inference response", 45):
        until(begun)
    shown += capsys.readouterr().out
    assert shown.startswith("Waiting for inference response - this will take up to 45s .")
    assert shown.endswith(" ok\n")


def test_what_fails_does_not_end_in_ok(capsys):
    with pytest.raises(ValueError, match="no"), Waiting("deployment", 45, at_once=True):
        raise ValueError("no")
    assert capsys.readouterr().out == "Waiting for deployment - this will take up to 45s \n"


def test_a_quiet_client_prints_nothing_and_starts_no_thread(capsys):
    before = threading.active_count()
    with Waiting("deployment", 45, at_once=True, shown=False):
        assert threading.active_count() == before
    assert capsys.readouterr().out == ""
