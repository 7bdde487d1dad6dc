"""Changing how challengers watch while they do."""

from __future__ import annotations

import threading

import pytest

from gnomon.core import limits
from gnomon.core.errors import Invalid, NotDeployed, NotFound
from gnomon.core.shadow import ShadowChange
from tests.control.deploying import deploy, now, settled, undeploy
from tests.planes import owner, shadow, upload, workspace_of


@pytest.fixture
def pipe(running):
    """A running pipeline with the challengers `one` and `two`."""
    names = ("champ", "one", "two")
    deploy(running, shadow(*(upload(running, name) for name in names)))
    settled(running)
    return running


def change(plane, wait_s=limits.FRONT_CALL_TIMEOUT_S, **wanted):
    return plane.shadows.change(
        owner(plane), workspace_of(plane), "pipe", ShadowChange(**wanted), wait_s=wait_s
    )


def watching(view) -> dict[str, tuple[float, bool]]:
    return {m.label: (m.sample, m.on) for m in view.models if m.role == "challenger"}


def test_a_change_reaches_the_fronts_and_no_host(pipe, backend):
    before = backend.table.routes[0]
    backend.orders.clear()

    view = change(pipe, mode="joined", shadow_wait_ms=20, sample={"one": 0.25}, on={"two": False})

    [route] = backend.table.routes
    assert (route.mode, route.shadow_wait_ms, route.sampling) == ("joined", 20, (0.25, 0.0))
    assert route.models() == before.models()
    assert [what for what, _ in backend.orders] == ["publish"]
    assert watching(view) == {"one": (0.25, True), "two": (1.0, False)}
    assert (view.shadow.mode, view.shadow.shadow_wait_ms) == ("joined", 20)
    assert view.shadow.in_force
    assert (view.state, view.settled) == ("running", True)


def test_no_new_version_is_made_and_the_revision_stays(pipe):
    before = now(pipe)
    after = change(pipe, sample=0.5)
    assert (after.pipeline_version, after.revision) == (before.pipeline_version, before.revision)


def test_switched_on_again_it_watches_as_before(pipe, backend):
    change(pipe, sample={"one": 0.25}, on={"one": False})
    assert backend.table.routes[0].sampling == (0.0, 1.0)
    change(pipe, on={"one": True})
    assert backend.table.routes[0].sampling == (0.25, 1.0)


def test_a_change_survives_a_restart_of_everything(pipe, opening, backend):
    change(pipe, sample={"one": 0.25}, on={"two": False})
    backend.lose_hosts()
    plane = opening()
    plane.start()
    view = settled(plane)
    assert backend.table.routes[0].sampling == (0.25, 0.0)
    assert watching(view) == {"one": (0.25, True), "two": (1.0, False)}
    assert view.shadow.in_force


def test_a_redeploy_begins_with_what_its_own_definition_says(pipe, backend):
    change(pipe, mode="joined", sample=0.25)
    deploy(pipe, shadow(*(upload(pipe, name) for name in ("champ", "one"))))
    view = settled(pipe)
    assert backend.table.routes[0].sampling == (1.0,)
    assert view.shadow.mode == "async"
    assert view.shadow.changed_at is None


def test_a_redeploy_that_failed_leaves_the_old_version_as_it_was_changed(pipe, backend):
    change(pipe, sample=0.25)
    worse = upload(pipe, "champ", b"worse")
    backend.hosts_become(worse.sha256, "failed", "It is damaged.")
    deploy(pipe, shadow(worse, upload(pipe, "other")))
    assert settled(pipe).state == "failed"
    assert backend.table.routes[0].sampling == (0.25, 0.25)

    # And it can still be changed
    view = change(pipe, on={"two": False})
    assert backend.table.routes[0].sampling == (0.25, 0.0)
    assert view.shadow.in_force
    with pytest.raises(Invalid, match=r"no challenger 'other'; there is: one, two\."):
        change(pipe, on={"other": False})


def test_during_a_redeploy_both_versions_are_changed(pipe, backend):
    # Given a redeploy whose champion takes a while
    slow = upload(pipe, "champ", b"slow")
    backend.hosts_become(slow.sha256, "starting")
    deploy(pipe, shadow(slow, upload(pipe, "one")))

    # When the one challenger that both have is switched off, then that is so at once
    view = change(pipe, wait_s=0.0, on={"one": False})
    assert not view.shadow.in_force, "the new version is not published"
    assert backend.wait_until(lambda b: b.table.routes[0].sampling == (0.0, 1.0))

    # And in the new version too
    for host in backend.hosts():
        backend.set_state(host.name, "ready")
    assert settled(pipe).shadow.in_force
    assert backend.table.routes[0].sampling == (0.0,)


def test_while_no_front_answers_a_change_is_kept_and_said_not_to_be_in_force(pipe, backend):
    backend.fronts_away = True
    view = change(pipe, wait_s=0.1, sample=0.5)
    assert not view.shadow.in_force
    assert (view.state, watching(view)["one"]) == ("running", (0.5, True))

    backend.fronts_away = False
    assert backend.wait_until(lambda b: b.table.routes[0].sampling == (0.5, 0.5))
    assert change(pipe, mode="async").shadow.in_force


def test_who_changed_what_and_when_is_kept(pipe):
    change(pipe, sample=0.5)
    view = change(pipe, on={"one": False})
    call, workspace = owner(pipe), workspace_of(pipe)
    newest, oldest = pipe.shadows.history(call, workspace, "pipe")
    assert newest.pipeline_version == oldest.pipeline_version == view.pipeline_version
    assert (oldest.settings.off, newest.settings.off) == (frozenset(), {"one"})
    assert oldest.created_at < newest.created_at
    assert newest.created_by == call.user_id
    assert (view.shadow.changed_at, view.shadow.changed_by) == (newest.created_at, call.user_id)
    assert pipe.shadows.history(call, workspace, "pipe", limit=1) == [newest]


def test_what_cannot_be_changed_is_refused_and_changes_nothing(pipe, backend):
    tables = len(backend.tables)
    for wanted, says in (
        ({}, "Nothing is to be changed"),
        ({"on": {"champ": False}}, "no challenger 'champ'"),
        ({"sample": 2.0}, "from 0 to 1"),
    ):
        with pytest.raises(Invalid, match=says):
            change(pipe, **wanted)
    with pytest.raises(NotFound):
        pipe.shadows.change(owner(pipe), workspace_of(pipe), "x", ShadowChange(mode="async"))
    undeploy(pipe)
    settled(pipe)
    with pytest.raises(NotDeployed, match="'pipe' is not deployed"):
        change(pipe, mode="joined")
    assert pipe.shadows.history(owner(pipe), workspace_of(pipe), "pipe") == []
    assert len(backend.tables) == tables + 1  # that of undeploying


def test_changes_at_once_lose_none(running, backend):
    labels = [f"rival-{number}" for number in range(limits.CHALLENGERS_PER_STEP_MAX)]
    deploy(running, shadow(*(upload(running, name) for name in ("champ", *labels))))
    settled(running)
    changing = [
        threading.Thread(target=change, args=(running,), kwargs={"on": {label: False}})
        for label in labels
    ]
    for thread in changing:
        thread.start()
    for thread in changing:
        thread.join()
    assert backend.table.routes[0].sampling == (0.0,) * len(labels)


def test_so_many_changes_are_kept_and_the_newest_is_in_force(pipe, monkeypatch):
    monkeypatch.setattr(limits, "SHADOW_CHANGES_KEPT", 3)
    for wait_ms in range(5):
        change(pipe, wait_s=0.0, shadow_wait_ms=wait_ms)
    kept = pipe.shadows.history(owner(pipe), workspace_of(pipe), "pipe")
    assert [record.settings.shadow_wait_ms for record in kept] == [4, 3, 2]
    assert now(pipe).shadow.shadow_wait_ms == 4


def test_a_pipeline_without_challengers_has_a_mode_all_the_same(running, backend):
    deploy(running, shadow(upload(running, "champ")))
    settled(running)
    assert change(running, mode="joined").shadow.mode == "joined"
    with pytest.raises(Invalid, match=r"no challenger 'one'; there is: none\."):
        change(running, on={"one": False})
