"""What comes back after a restart, of everything or of the control plane alone."""

from __future__ import annotations

from tests.control.deploying import deploy, now, settled, undeploy
from tests.planes import shadow, upload
from tests.waiting import until


def test_a_deployment_comes_back_after_a_restart_of_everything(opening, backend):
    plane = opening()
    plane.start()
    deploy(plane, shadow(upload(plane, "champ"), upload(plane, "rival")))
    before = settled(plane)
    last = backend.table.version

    # When the machine restarts, and hosts take a while
    backend.lose_hosts()
    for model in before.models:
        backend.hosts_become(model.sha, "starting")
    plane = opening()
    plane.start()

    # Then it is starting, and callers already have their route: 503, not 404
    assert now(plane).state == "starting"
    assert backend.table.version > last
    assert len(backend.table.routes) == 1

    # And then it runs, as before
    for host in backend.hosts():
        backend.set_state(host.name, "ready")
    after = settled(plane)
    assert after.state == "running"
    assert (after.id, after.url) == (before.id, before.url)
    assert after.pipeline_version == before.pipeline_version


def test_after_a_restart_one_that_does_not_load_says_so_and_holds_up_no_other(opening, backend):
    plane = opening()
    plane.start()
    damaged, sound = upload(plane, "damaged"), upload(plane, "sound")
    deploy(plane, shadow(damaged), "one")
    deploy(plane, shadow(sound), "two")
    settled(plane, "one")
    settled(plane, "two")

    backend.lose_hosts()
    backend.hosts_become(damaged.sha256, "failed", "Its file is damaged.")
    plane = opening()
    plane.start()
    assert until(lambda: (v := now(plane, "one")).state == "failed" and v).reason == (
        "The champion damaged@1 did not start: Its file is damaged."
    )
    assert settled(plane, "two").state == "running"


def test_a_stopped_deployment_does_not_come_back(opening, backend):
    plane = opening()
    plane.start()
    deploy(plane, shadow(upload(plane, "m")))
    settled(plane)
    undeploy(plane)
    settled(plane)
    plane = opening()
    plane.start()
    assert backend.hosts() == []
    assert not backend.table.routes


def test_a_restart_of_the_control_plane_alone_disturbs_no_host(opening, backend):
    plane = opening()
    plane.start()
    deploy(plane, shadow(upload(plane, "champ"), upload(plane, "rival")))
    settled(plane)
    routes = backend.table.routes
    backend.orders.clear()

    plane = opening()
    plane.start()
    assert now(plane).state == "running"
    assert [what for what, _ in backend.orders] == ["publish"]
    assert backend.table.routes == routes


def test_a_control_plane_that_died_in_the_middle_of_a_deploy_goes_on(opening, backend):
    plane = opening()
    deploy(plane, shadow(upload(plane, "m")))  # its reconciler never ran
    plane = opening()
    plane.start()
    assert settled(plane).state == "running"
