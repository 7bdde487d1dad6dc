"""The loop over a real database and a FakeBackend."""

from __future__ import annotations

import hashlib
import sqlite3
import time
from dataclasses import replace

import pytest

from gnomon.control.reconciler import Reconciler
from gnomon.core import limits
from gnomon.core.access import token_hash
from gnomon.testing import SIGNATURE
from tests.control.deploying import deploy, now, settled, states, undeploy
from tests.planes import TOKEN, open_plane, owner, shadow, upload, workspace_of
from tests.waiting import until


def test_a_champion_and_two_challengers_come_up_in_no_time(running, backend):
    champion, *rivals = (upload(running, name) for name in ("champ", "rival-a", "rival-b"))
    began = time.monotonic()
    wanted = deploy(running, shadow(champion, *rivals))
    view = settled(running)
    assert time.monotonic() - began < 1.0

    assert wanted.state == "starting"
    assert not wanted.settled
    assert (view.state, view.reason) == ("running", None)
    assert view.pipeline_version == view.wanted_version == wanted.wanted_version
    assert states(view) == {"champ": "ready", "rival-a": "ready", "rival-b": "ready"}
    [route] = backend.table.routes
    assert route.pipeline_version == view.pipeline_version
    assert [m.label for m in route.models()] == ["champ", "rival-a", "rival-b"]
    assert backend.table.token_hashes == {token_hash(TOKEN): 1}


def test_the_url_and_id_stay_through_redeploys_and_the_version_changes(running):
    one, two = upload(running, "m"), upload(running, "m", b"better")
    deploy(running, shadow(one))
    first = settled(running)
    deploy(running, shadow(two))
    second = settled(running)
    assert (first.id, first.url) == (second.id, second.url)
    assert first.url == f"http://127.0.0.1:8081/v1/api/pipelines/infer/pipe-{first.id}/pipe"
    assert first.pipeline_version != second.pipeline_version
    assert second.revision == first.revision + 1


def test_a_redeploy_starts_new_hosts_before_it_stops_old_ones(running, backend):
    one, two = upload(running, "m"), upload(running, "m", b"better")
    deploy(running, shadow(one))
    settled(running)
    backend.orders.clear()
    deploy(running, shadow(two))
    settled(running)
    assert backend.wait_until(lambda b: len(b.orders) == 3)
    assert [what for what, _ in backend.orders] == ["start", "publish", "stop"]


def test_deploying_the_same_again_is_a_new_version_on_the_same_hosts(running, backend):
    model = upload(running, "m")
    deploy(running, shadow(model))
    first = settled(running)
    backend.orders.clear()
    deploy(running, shadow(model))
    second = settled(running)
    assert second.pipeline_version != first.pipeline_version
    assert [what for what, _ in backend.orders] == ["publish"]


def test_a_retrained_model_may_challenge_its_older_version(running, backend):
    old, new = upload(running, "m"), upload(running, "m", b"retrained")
    deploy(running, shadow(old, new))
    assert states(settled(running)) == {"m": "ready", "m_v2": "ready"}


def test_a_challenger_that_fails_is_shown_and_holds_nothing_up(running, backend):
    champion, rival = upload(running, "champ"), upload(running, "rival")
    backend.hosts_become(rival.sha256, "failed", "It cannot be loaded.")
    deploy(running, shadow(champion, rival))
    view = settled(running)
    assert view.state == "running"
    assert states(view) == {"champ": "ready", "rival": "failed"}
    assert view.models[1].reason == "It cannot be loaded."


def test_a_challenger_that_never_starts_holds_nothing_up_for_long(plane, backend):
    # Given a challenger that hangs while it loads, and a clock
    champion, rival = upload(plane, "champ"), upload(plane, "rival")
    backend.hosts_become(rival.sha256, "starting")
    time_s = 1000.0
    reconciler = Reconciler(
        plane.database,
        plane.catalog._artifacts,
        backend,
        plane.deployments._changes,
        clock=lambda: time_s,
    )
    deploy(plane, shadow(champion, rival))
    for _ in range(5):
        reconciler.step()
    assert now(plane).state == "starting"

    # When its time is over
    time_s += limits.OTHER_HOSTS_START_TIMEOUT_S
    for _ in range(5):
        reconciler.step()

    # Then the champion serves
    assert now(plane).state == "running"
    assert states(now(plane)) == {"champ": "ready", "rival": "starting"}


def test_a_champion_that_fails_says_why(running, backend):
    champion = upload(running, "champ")
    backend.hosts_become(champion.sha256, "failed", "Its file is damaged.")
    deploy(running, shadow(champion))
    view = settled(running)
    assert view.state == "failed"
    assert view.reason == "The champion champ@1 did not start: Its file is damaged."
    assert view.pipeline_version is None
    assert not backend.table.routes


def test_a_redeploy_that_fails_leaves_the_old_version_serving(running, backend):
    good, bad = upload(running, "m"), upload(running, "m", b"worse")
    deploy(running, shadow(good))
    before = settled(running)
    backend.hosts_become(bad.sha256, "crash_looping", "It crashes.")

    wanted = deploy(running, shadow(bad))
    after = settled(running)
    assert after.state == "failed"
    assert "m@2" in after.reason
    assert after.pipeline_version == before.pipeline_version
    assert after.wanted_version == wanted.wanted_version
    [route] = backend.table.routes
    assert route.champion.uuid == good.uuid
    assert backend.wait_until(lambda b: len(b.hosts()) == 1), "the failed host is stopped"

    # And the next deploy works
    deploy(running, shadow(good))
    assert settled(running).state == "running"


def test_a_failed_deploy_can_be_tried_again(running, backend):
    model = upload(running, "m")
    backend.hosts_become(model.sha256, "failed", "No memory just now.")
    deploy(running, shadow(model))
    assert settled(running).state == "failed"
    backend.hosts_become(model.sha256, "ready")
    deploy(running, shadow(model))
    assert settled(running).state == "running"


def test_a_champion_that_comes_up_late_after_all_serves(running, backend):
    model = upload(running, "m")
    backend.hosts_become(model.sha256, "crash_looping", "It crashes.")
    deploy(running, shadow(model))
    assert settled(running).state == "failed"
    [host] = backend.hosts()
    backend.set_state(host.name, "ready")
    until(lambda: now(running).state == "running")
    assert backend.table.routes


def test_a_host_that_crashes_later_shows_in_the_models_and_changes_nothing_else(running, backend):
    champion, rival = upload(running, "champ"), upload(running, "rival")
    deploy(running, shadow(champion, rival))
    settled(running)
    published = len(backend.tables)
    for host in backend.hosts():
        backend.set_state(host.name, "crash_looping", "SIGFPE")
    assert not backend.wait_until(lambda b: len(b.tables) > published, timeout_s=0.2)
    view = now(running)
    assert (view.state, view.settled) == ("running", True)
    assert states(view) == {"champ": "crash_looping", "rival": "crash_looping"}


def test_undeploying_takes_the_route_away_before_the_hosts(running, backend):
    deploy(running, shadow(upload(running, "m")))
    settled(running)
    backend.orders.clear()
    undeploy(running)
    view = settled(running)
    assert (view.state, view.pipeline_version, view.wanted_version) == ("stopped", None, None)
    assert [what for what, _ in backend.orders] == ["publish", "stop"]
    assert backend.hosts() == []
    assert not backend.table.routes
    assert states(view) == {"m": "gone"}


def test_undeploying_in_the_middle_of_a_deploy(running, backend):
    model = upload(running, "m")
    backend.hosts_become(model.sha256, "starting")
    deploy(running, shadow(model))
    assert backend.wait_until(lambda b: bool(b.hosts()))
    undeploy(running)
    assert settled(running).state == "stopped"
    assert backend.hosts() == []


@pytest.mark.parametrize("away", ["away", "fronts_away"])
def test_a_backend_that_is_away_is_waited_for(running, backend, away):
    model = upload(running, "m")
    setattr(backend, away, True)
    view = deploy(running, shadow(model))
    assert view.state == "starting", "asking works all the same"
    assert not backend.wait_until(lambda b: bool(b.table and b.table.routes), timeout_s=0.2)
    setattr(backend, away, False)
    assert settled(running).state == "running"


def test_a_database_that_is_locked_is_waited_for_and_the_routes_go_out(running, backend, tmp_path):
    # Given a champion that takes a while
    model = upload(running, "m")
    backend.hosts_become(model.sha256, "starting")
    deploy(running, shadow(model))
    assert backend.wait_until(lambda b: bool(b.hosts()))

    # When the database is locked as it becomes ready
    other = sqlite3.connect(tmp_path / "metadata.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    [host] = backend.hosts()
    backend.set_state(host.name, "ready")

    # Then it serves, and the note follows
    assert backend.wait_until(lambda b: bool(b.table.routes))
    other.execute("ROLLBACK")
    other.close()
    assert settled(running).state == "running"


def test_a_backend_that_is_full_is_a_reason(running, backend):
    backend.host_room = 0
    deploy(running, shadow(upload(running, "m")))
    view = settled(running)
    assert view.state == "failed"
    assert "0 model hosts run already" in view.reason


def test_a_new_token_reaches_the_fronts(tmp_path, backend):
    plane = open_plane(tmp_path, backend)
    plane.start()
    plane.close()
    plane = open_plane(tmp_path, backend, token="gno_another")
    plane.start()
    assert backend.table.token_hashes == {token_hash("gno_another"): 1}
    plane.close()


def test_configuring_a_model_changes_a_deployment_only_with_the_next_deploy(running, backend):
    content = b"rows of this one can run together"
    backend.declares(hashlib.sha256(content).hexdigest(), replace(SIGNATURE, row_wise=True))
    model = upload(running, "m", content)
    deploy(running, shadow(model))
    settled(running)
    changes = {"tensor_fields": ["column"], "batch_config": "single"}
    running.catalog.configure(owner(running), workspace_of(running), model.uuid, changes)
    published = len(backend.tables)
    assert not backend.wait_until(
        lambda b: len(b.tables) > published, timeout_s=1.2 * limits.RECONCILE_IDLE_S
    )
    champion = backend.table.routes[0].champion
    assert (champion.tensor_fields, champion.signature.row_wise) == (None, True)

    deploy(running, shadow(model))
    settled(running)
    configured = backend.table.routes[0].champion
    assert (configured.tensor_fields, configured.signature.row_wise) == (("column",), False)
    assert configured.host == champion.host


def test_twenty_deploys_in_a_row_end_with_the_last_one(running, backend):
    models = [upload(running, "m", str(number).encode()) for number in range(5)]
    for number in range(20):
        deploy(running, shadow(models[number % 5]))
    view = settled(running)
    assert view.models[0].version == models[4].uuid
    assert backend.wait_until(lambda b: len(b.hosts()) == 1)
    versions = [table.version for table in backend.tables]
    assert versions == sorted(set(versions))


def test_waiting_ends_when_the_revision_changes(running, backend):
    model = upload(running, "m")
    backend.hosts_become(model.sha256, "starting")
    first = deploy(running, shadow(model))
    deploy(running, shadow(model))
    view = running.deployments.get(
        owner(running), workspace_of(running), "pipe", wait_s=10.0, revision=first.revision
    )
    assert view.revision == first.revision + 1
    assert not view.settled


def test_waiting_ends_after_the_time_given(running, backend):
    model = upload(running, "m")
    backend.hosts_become(model.sha256, "starting")
    deploy(running, shadow(model))
    began = time.monotonic()
    view = running.deployments.get(owner(running), workspace_of(running), "pipe", wait_s=0.1)
    assert view.state == "starting"
    assert 0.09 < time.monotonic() - began < 2.0
