"""Several hosts for one model: they are started, seen and stopped each by itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gnomon.control.policy import Publish, StartHost, StopHost, decide
from gnomon.core.deployment import HostStatus
from gnomon.core.errors import Invalid
from gnomon.core.pipeline import Definition
from gnomon.core.routing import ServedModel
from gnomon.core.steps import RandomSplit
from gnomon.deployment_config import DeploymentConfigBuilder
from tests.control import looks
from tests.control.deploying import deploy, now, settled
from tests.control.looks import C1, C2, CHAMPION, LATE, NEW, first, look, note
from tests.planes import owner, ref, shadow, upload, workspace_of

THREE = replace(NEW, champion=replace(CHAMPION, replicas=3), pipeline_version="v-three")
R1, R2 = f"{C1}-r1", f"{C1}-r2"
ASKED = frozenset({C1, R1, R2, C2})


def three(**changes):
    """A first deploy of NEW with three hosts for its champion."""
    return first(**{"wanted": THREE, "asked": ASKED, **changes})


def test_a_model_is_in_each_of_its_hosts_as_if_there_were_no_others():
    model = THREE.champion
    assert model.hosts == (C1, R1, R2)
    assert [each.host for each in model.each()] == [C1, R1, R2]
    assert model.each()[0] == CHAMPION
    assert CHAMPION.each()[0] is CHAMPION
    assert ServedModel.from_json(model.to_json()) == model


def test_each_host_is_started():
    each = THREE.champion.each()
    expected = [*(StartHost(1, model) for model in each), StartHost(1, NEW.challengers[0])]
    assert decide(look(three(asked=frozenset()), [])) == expected
    assert decide(look(three(), [f"{C1} ready", f"{R2} starting", f"{C2} ready"])) == [
        StartHost(1, each[1])
    ]


def test_all_of_them_are_waited_for_but_not_for_ever():
    others = [f"{R2} ready", f"{C2} ready"]
    waiting = [f"{C1} starting", f"{R1} starting", *others]
    assert decide(look(three(), waiting)) == []
    assert decide(look(three(waited_s=LATE), waiting)) == [Publish({1: THREE})]
    none_ready = [f"{C1} starting", f"{R1} starting", f"{R2} starting", f"{C2} ready"]
    assert decide(look(three(waited_s=LATE), none_ready)) == []


def test_one_that_fails_holds_nothing_up_and_all_that_fail_fail_the_deployment():
    some = [f"{C1} failed: no memory", f"{R1} ready", f"{R2} ready", f"{C2} ready"]
    assert decide(look(three(), some)) == [Publish({1: THREE})]
    all_ = [f"{C1} failed: bad", f"{R1} failed: bad", f"{R2} crash_looping: bad", f"{C2} ready"]
    assert decide(look(three(), all_)) == [
        note("failed", reason="The champion m1@1 did not start: bad")
    ]


def test_one_that_ends_is_started_again_and_disturbs_no_other():
    seen = looks.running(wanted=THREE, serving=THREE, asked=ASKED)
    hosts = [f"{C1} ready", f"{R2} ready", f"{C2} ready"]
    assert decide(look(seen, hosts, [THREE])) == [StartHost(1, THREE.champion.each()[1])]
    assert decide(look(seen, [*hosts, f"{R1} crash_looping: SIGKILL"], [THREE])) == []


def test_more_or_fewer_of_them_leave_the_others_alone():
    more = first(
        wanted=THREE, serving=NEW, noted="running", noted_revision=1, revision=2, asked=frozenset()
    )
    assert decide(look(more, [f"{C1} ready", f"{C2} ready"], [NEW])) == [
        StartHost(1, model) for model in THREE.champion.each()[1:]
    ]
    fewer = looks.running(wanted=NEW, serving=NEW, revision=2, noted_revision=2)
    hosts = [f"{C1} ready", f"{R1} ready", f"{R2} ready", f"{C2} ready"]
    assert decide(look(fewer, hosts, [NEW])) == [StopHost(R1), StopHost(R2)]


def asking(plane, config: DeploymentConfigBuilder, *models) -> Definition:
    return replace(shadow(*models), deployment_config=config.build())


def test_champions_have_as_many_hosts_as_were_asked_for_and_challengers_one(running, backend):
    champion, rival = upload(running, "champ"), upload(running, "rival")
    builder = DeploymentConfigBuilder().replica_count(3).cpus(2).memory("512Mi")
    deploy(running, asking(running, builder, champion, rival))

    view = settled(running)

    assert view.state == "running"
    assert [(m.label, len(m.hosts)) for m in view.models] == [("champ", 3), ("rival", 1)]
    assert {host.state for host in view.models[0].hosts} == {"ready"}
    assert len({host.pid for host in view.models[0].hosts}) == 3
    specs = [host.spec for host in backend.hosts()]
    assert len(specs) == 4
    assert {(s.resources.threads, s.resources.memory_mib) for s in specs} == {(2, 512)}
    assert backend.table.routes[0].champion.replicas == 3


def test_each_host_is_seen_and_the_model_fares_as_the_best_of_them(running, backend):
    champion = upload(running, "champ")
    deploy(running, asking(running, DeploymentConfigBuilder().replica_count(2), champion))
    one, other = settled(running).models[0].hosts

    backend.set_state(one.name, "crash_looping", "SIGKILL")

    view = now(running)
    [model] = view.models
    assert (view.state, model.state, model.pid) == ("running", "ready", other.pid)
    assert [(h.name, h.state, h.reason) for h in model.hosts] == [
        (one.name, "crash_looping", "SIGKILL"),
        (other.name, "ready", None),
    ]


def test_a_deploy_of_fewer_stops_the_others_and_keeps_the_first(running, backend):
    champion = upload(running, "champ")
    deploy(running, asking(running, DeploymentConfigBuilder().replica_count(3), champion))
    settled(running)

    def running_hosts() -> dict[str, HostStatus]:
        return {host.name: host for host in backend.hosts()}

    [kept] = [host for name, host in running_hosts().items() if "-r" not in name]
    deploy(running, shadow(champion))
    settled(running)
    assert backend.wait_until(lambda b: len(b.hosts()) == 1)
    assert running_hosts() == {kept.name: kept}


def test_every_model_that_may_answer_has_as_many(running, backend):
    options = tuple(ref(upload(running, name)) for name in ("one", "other"))
    definition = Definition(
        steps=(RandomSplit(weights=(1, 1), options=options),),
        deployment_config=DeploymentConfigBuilder().replica_autoscale_min_max(4, 2).build(),
    )
    deploy(running, definition)
    view = settled(running)
    assert [(m.label, len(m.hosts)) for m in view.models] == [("one", 2), ("other", 2)]
    assert len(backend.hosts()) == 4


@pytest.mark.parametrize("count", [9, -1, True, "2", 1.5, None])
def test_a_number_of_hosts_that_cannot_be_is_refused(running, count):
    model = upload(running, "champ")
    running.pipelines.build(owner(running), workspace_of(running), "pipe")
    for config in ({"replicas": count}, {"autoscale": {"replica_min": count}}):
        definition = replace(shadow(model), deployment_config={"engine": config})
        with pytest.raises(Invalid, match="must be a whole number, from 0 to 8"):
            deploy(running, definition)
