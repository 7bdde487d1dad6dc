"""Versions of models: found by name, number and uuid, searched, tagged, and deleted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from gnomon.core.errors import Conflict, Invalid, InvalidName, NotFound
from tests.sdk.test_html import HOSTILE, Page


def names(models) -> list[str]:
    return [f"{model.name()}@{model.ordinal()}" for model in models]


def test_the_same_name_again_is_a_new_version_of_one_model(client, upload):
    first, second = upload("lstm"), upload("LSTM")

    assert names(second.versions()) == names(first.versions()) == ["lstm@2", "lstm@1"]
    assert [second.version(), first.version()] == [m.version() for m in first.versions()]
    assert first.sha() != second.sha()
    [family] = client.list_models()
    assert (family.name(), names(family.versions())) == ("lstm", ["lstm@2", "lstm@1"])
    assert family.created_at() < family.last_update_time() == second.last_update_time()
    assert datetime.now(UTC) - second.last_update_time() < timedelta(minutes=1)
    assert second.created_by() == "owner"
    assert second.workspace() == client.get_current_workspace()


def test_a_version_is_found_by_its_uuid_or_its_number(client, upload):
    first, second = upload("lstm"), upload("lstm")

    for wanted in (first.version(), 1, "1"):
        assert client.get_model("lstm", wanted).version() == first.version()
        assert client.model_by_name("Lstm", wanted).version() == first.version()
    old = client.model_version_by_name(model_class="lstm", model_name=first.version())
    assert old.version() == first.version()
    assert client.get_model("lstm").version() == second.version()
    workspace = client.get_current_workspace()
    for where in ({"workspace_id": workspace.id()}, {"workspace_name": workspace.name()}):
        assert client.model_by_name("lstm", 2, **where).version() == second.version()
        assert len(client.list_models(**where)) == 1


@pytest.mark.parametrize("wanted", ["0", "3", "9" * 30, "x", "-1", "%", "' OR 1=1 --", "a/b"])
def test_a_version_that_is_not_there_is_not_found(client, upload, wanted):
    upload("lstm")
    with pytest.raises(NotFound):
        client.get_model("lstm", wanted)


def test_a_version_of_another_model_is_not_found(client, upload):
    version = upload("lstm").version()
    upload("xgb")
    with pytest.raises(NotFound, match="xgb"):
        client.get_model("xgb", version)
    with pytest.raises(InvalidName):
        client.get_model("../lstm")


@pytest.mark.parametrize("wrong", ["1", 1.0, True, [1]])
def test_a_workspace_is_meant_by_an_integer(client, wrong):
    with pytest.raises(TypeError, match="must be an integer"):
        client.list_models(wrong)


def test_workspaces_isolate_names_and_versions(client, upload):
    mine = upload("lstm", "the same file")
    client.build_pipeline("fraud")
    other = client.create_workspace("other")
    home = client.get_current_workspace()
    client.set_current_workspace(other)

    assert (client.list_models(), client.list_pipelines(), client.list_tags()) == ([], [], [])
    for name, version in (("lstm", "latest"), ("lstm", mine.version())):
        with pytest.raises(NotFound):
            client.get_model(name, version)
    with pytest.raises(NotFound):
        client.get_pipeline("fraud")
    theirs = upload("lstm", "the same file")
    assert (theirs.ordinal(), theirs.sha()) == (1, mine.sha())
    assert theirs.version() != mine.version()
    assert [m.version() for m in client.search_models()] == [theirs.version()]
    # A model of one workspace cannot run in the other, nor have its tags
    with pytest.raises(NotFound, match="Upload it there"):
        client.build_pipeline("theft").add_model_step(mine).deploy()
    with pytest.raises(NotFound):
        client.create_tag("x").add_to_model(mine.id())
    assert names(client.list_models(home)[0].versions()) == ["lstm@1"]


def test_models_are_searched_by_every_text_and_by_time(client, upload):
    one, two, other = upload("lstm"), upload("lstm"), upload("forest-rf")
    client.create_tag("Prüfung 100%").add_to_model(one)

    assert names(client.search_models()) == ["forest-rf@1", "lstm@2", "lstm@1"]
    assert names(client.search_models("LST")) == ["lstm@2", "lstm@1"]
    assert names(client.search_models("forest-rf.onnx")) == ["forest-rf@1"]
    assert names(client.search_models(two.sha()[5:30].upper())) == ["lstm@2"]
    assert names(client.search_models(other.version())) == ["forest-rf@1"]
    assert names(client.search_models("fung 100%")) == ["lstm@1"]
    assert names(client.search_models("%")) == ["lstm@1"]
    for nothing in ("_", "zzz", "100_"):
        assert client.search_models(nothing) == []
    moment = two.last_update_time()
    assert names(client.search_models(uploaded_time_start=moment)) == ["forest-rf@1", "lstm@2"]
    assert names(client.search_models("lstm", uploaded_time_end=moment)) == ["lstm@2", "lstm@1"]
    just_before = (moment - timedelta(microseconds=1)).isoformat()
    assert names(client.search_models(uploaded_time_end=just_before)) == ["lstm@1"]
    assert names(client.search_models(None, moment, moment)) == ["lstm@2"]
    with pytest.raises(Invalid, match="uploaded_time_start must be a time"):
        client.search_models("lstm", "yesterday")


def test_a_version_that_nothing_uses_is_deleted_and_its_number_stays_taken(client, upload):
    upload("lstm")
    second = upload("lstm")
    client.create_tag("old").add_to_model(second)

    second.delete()

    assert names(client.list_models()[0].versions()) == ["lstm@1"]
    assert client.get_model("lstm").ordinal() == 1
    assert client.list_tags()[0].model_tags() == []
    assert client.search_models(second.version()) == []
    with pytest.raises(NotFound):
        second.delete()
    assert upload("lstm").ordinal() == 3


def test_a_model_whose_last_version_is_deleted_is_gone_until_it_is_uploaded_again(client, upload):
    version = upload("lstm")
    version.delete()

    assert client.list_models() == []
    assert "'models': 0" in repr(client.list_workspaces()[0])
    with pytest.raises(NotFound):
        version.versions()
    assert upload("lstm").ordinal() == 2


def test_a_version_that_a_pipeline_uses_is_not_deleted(client, upload, deployed):
    lstm, xgb = client.get_model("lstm"), client.get_model("xgb")

    # The newest version of the pipeline, which runs, has only lstm
    with pytest.raises(Conflict, match=r"lstm@1 is used by the pipeline 'fraud'") as caught:
        lstm.delete()
    assert caught.value.details["pipelines"] == ["fraud"]
    deployed.undeploy()
    with pytest.raises(Conflict):
        lstm.delete()

    # An older version does not hold what it used; it says what it lacks
    xgb.delete()
    with pytest.raises(NotFound, match=r"xgb@1"):
        deployed.version(2).deploy()
    assert [m["model_name"] for m in deployed.version(2).model_configs()] == ["lstm", "xgb"]
    assert not deployed.versions()[0].deployed()

    deployed.delete()
    lstm.delete()
    assert client.list_models() == []


def test_what_is_deployed_and_not_the_newest_version_is_used_too(client, upload, deployed):
    client.build_pipeline("fraud")  # an empty version 4

    with pytest.raises(Conflict):
        client.get_model("lstm").delete()


def test_a_notebook_shows_models_escaped(client, upload):
    model = upload("lstm")
    client.create_tag(HOSTILE[:90]).add_to_model(model)
    model = client.get_model("lstm")

    rows = dict(Page(model._repr_html_()).rows)
    assert rows["Tags"] == HOSTILE[:90]
    assert (rows["Name"], rows["Status"], rows["Uploaded by"]) == ("lstm", "ready", "owner")
    assert rows["Workspace name"] == "default-workspace"
    page = Page(model.versions()._repr_html_())
    assert HOSTILE[:90] in page.rows[1]
    assert page.tags == {"table", "tr", "th", "td"}
    assert Page(client.list_models()._repr_html_()).rows[1][:3] == ["lstm", "1", "owner"]
