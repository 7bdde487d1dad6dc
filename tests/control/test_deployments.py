"""Asking for deployments; whether they come about is in test_reconciler.py."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gnomon.core import limits
from gnomon.core.errors import Invalid, InvalidName, LimitReached, NotFound
from gnomon.core.pipeline import Definition
from gnomon.core.steps import ModelStep
from tests.planes import owner, ref, shadow, upload, workspace_of


@pytest.fixture
def ask(plane):
    call, workspace = owner(plane), workspace_of(plane)
    plane.pipelines.build(call, workspace, "pipe")
    return lambda definition, name="pipe": plane.deployments.request(
        call, workspace, name, definition
    )


def test_a_definition_is_written_down_with_the_database_s_facts(plane, ask):
    # Given a reference whose name, number and digest are not true
    model = upload(plane, "m")
    false = replace(ref(model), name="other", ordinal=7, sha256="f" * 64)

    # When it is deployed
    ask(Definition(steps=(ModelStep(champion=false),)))

    # Then the version has the true ones
    view = plane.pipelines.get(owner(plane), workspace_of(plane), "pipe")
    [step] = view.pipeline.definition.steps
    assert step.champion == ref(model)
    assert view.deployment.models[0].name == "m"


def test_every_deploy_is_a_version_of_the_pipeline(plane, ask):
    model = upload(plane, "m")
    first, second = ask(shadow(model)), ask(shadow(model))
    found = plane.pipelines.get(owner(plane), workspace_of(plane), "pipe").pipeline
    assert found.versions[:2] == (second.wanted_version, first.wanted_version)
    assert len(found.versions) == 3, "and building it was the first"


@pytest.mark.parametrize("change", [{"version_id": 999}, {"uuid": "another"}])
def test_a_version_that_is_not_there_is_named(plane, ask, change):
    champion = ref(upload(plane, "champ"))
    unknown = replace(ref(upload(plane, "m")), **change)
    with pytest.raises(NotFound, match="m@1"):
        ask(Definition(steps=(ModelStep(champion=unknown),)))
    with pytest.raises(NotFound, match="m@1"):
        ask(Definition(steps=(ModelStep(champion=champion, challengers=(unknown,)),)))


def test_a_version_of_another_workspace_is_not_found(plane, ask):
    call = owner(plane)
    model = upload(plane, "m")
    other = plane.workspaces.add(call, "other")
    plane.pipelines.build(call, other.id, "pipe")
    with pytest.raises(NotFound):
        plane.deployments.request(call, other.id, "pipe", shadow(model))


def test_nonsense_is_refused_and_changes_nothing(plane, ask):
    model = upload(plane, "m")
    many = tuple(ref(upload(plane, f"c{number}")) for number in range(9))
    for definition, error in (
        (Definition(), Invalid),
        (Definition(steps=(ModelStep(champion=ref(model)),) * 2), Invalid),
        (shadow(model, model), Invalid),
        (Definition(steps=(ModelStep(champion=ref(model), challengers=many),)), LimitReached),
    ):
        with pytest.raises(error):
            ask(definition)
    view = plane.pipelines.get(owner(plane), workspace_of(plane), "pipe")
    assert view.deployment is None
    assert len(view.pipeline.versions) == 1


def test_an_unknown_pipeline_is_not_found(plane, ask):
    with pytest.raises(NotFound, match="nothing"):
        ask(shadow(upload(plane, "m")), "nothing")


def test_building_again_makes_an_empty_version_and_leaves_the_deployment(plane, ask):
    ask(shadow(upload(plane, "m")))
    view, is_new = plane.pipelines.build(owner(plane), workspace_of(plane), "pipe")
    assert not is_new
    assert view.pipeline.definition == Definition()
    assert view.deployment.desired == "running"
    assert view.deployment.models[0].name == "m"


def test_stopping_what_was_never_deployed_changes_nothing(plane, ask):
    call, workspace = owner(plane), workspace_of(plane)
    assert plane.deployments.request_stop(call, workspace, "pipe") == (None, False)
    with pytest.raises(NotFound, match="never deployed"):
        plane.deployments.get(call, workspace, "pipe")


def test_stopping_twice_changes_nothing_the_second_time(plane, ask):
    ask(shadow(upload(plane, "m")))
    call, workspace = owner(plane), workspace_of(plane)
    first, changed = plane.deployments.request_stop(call, workspace, "pipe")
    assert changed
    assert (first.desired, first.state) == ("stopped", "stopping")
    again, changed = plane.deployments.request_stop(call, workspace, "pipe")
    assert not changed
    assert again.revision == first.revision


def test_pipelines_are_listed_newest_first_by_name_and_up_to_a_limit(plane):
    call, workspace = owner(plane), workspace_of(plane)
    for name in ("a", "b", "c"):
        plane.pipelines.build(call, workspace, name)

    def names(**options):
        found = plane.pipelines.list(call, workspace, **options)
        return [view.pipeline.name for view in found]

    assert names() == ["c", "b", "a"]
    assert names(limit=2) == ["c", "b"]
    assert names(name="B") == ["b"]
    assert names(name="x") == []


def test_a_workspace_has_a_bounded_number_of_pipelines(plane, monkeypatch):
    monkeypatch.setattr(limits, "PIPELINES_PER_WORKSPACE_MAX", 1)
    call, workspace = owner(plane), workspace_of(plane)
    plane.pipelines.build(call, workspace, "a")
    plane.pipelines.build(call, workspace, "a")
    with pytest.raises(LimitReached):
        plane.pipelines.build(call, workspace, "b")


@pytest.mark.parametrize("name", ["Upper", "under_score", "", "a" * 64])
def test_a_pipeline_s_name_stands_in_urls(plane, name):
    with pytest.raises(InvalidName):
        plane.pipelines.build(owner(plane), workspace_of(plane), name)


def test_a_deployment_is_told_even_when_nobody_knows_its_hosts(plane, backend, ask):
    backend.away = True
    view = ask(shadow(upload_before(plane, backend)))
    assert view.state == "starting"
    assert view.models[0].state == "starting"


def upload_before(plane, backend):
    backend.away = False
    model = upload(plane, "m")
    backend.away = True
    return model
