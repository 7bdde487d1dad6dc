"""Who is in a workspace; archiving and deleting workspaces and pipelines."""

from __future__ import annotations

import sqlite3

import pytest

from gnomon.core import limits
from gnomon.core.errors import Conflict, InvalidName, LimitReached, NotFound
from tests.sdk.test_html import HOSTILE, Page


@pytest.fixture
def team(client):
    """Another workspace, in which the client works from then on."""
    return client.set_current_workspace(client.create_workspace("team"))


def roles(users) -> dict[str, str]:
    return {user.name(): user.role() for user in users}


def test_who_makes_a_workspace_owns_it_and_others_are_let_in(client, team):
    assert roles(team.users()) == {"owner": "owner"}

    team.add_user("jo@example.org")
    assert roles(team.add_owner("mia@example.org")) == {
        "owner": "owner", "jo@example.org": "user", "mia@example.org": "owner"
    }  # fmt: skip
    assert roles(client.get_workspace("team").list_users()) == roles(team.users())
    assert [user.name() for user in client.list_users()] == [
        "owner", "jo@example.org", "mia@example.org"
    ]  # fmt: skip
    assert client.list_users()[1].email() == "jo@example.org"
    assert roles(client.get_workspace("default-workspace").users()) == {"owner": "owner"}

    assert roles(team.add_owner("jo@example.org"))["jo@example.org"] == "owner"
    assert set(roles(team.remove_user("mia@example.org"))) == {"owner", "jo@example.org"}
    assert len(client.list_users()) == 3, "who was removed from a workspace is still known"


def test_a_workspace_always_has_an_owner(team):
    for take_away in (team.remove_user, team.add_user):
        with pytest.raises(Conflict, match="the only owner"):
            take_away("owner")
    team.add_owner("jo@example.org")
    team.remove_user("owner")
    assert roles(team.users()) == {"jo@example.org": "owner"}


def test_what_cannot_be_done_with_users_is_said(team, monkeypatch):
    team.add_user("jo@example.org")
    with pytest.raises(Conflict, match="is a user of workspace"):
        team.add_user("jo@example.org")
    with pytest.raises(NotFound, match="no user 'mia'"):
        team.remove_user("mia")
    for wrong in ("", "a b", "a/b", "x" * 64, "a\nb"):
        with pytest.raises(InvalidName, match="A user's name"):
            team.add_user(wrong)
    monkeypatch.setattr(limits, "USERS_MAX", 2)
    with pytest.raises(LimitReached):
        team.add_user("mia")


def test_a_notebook_shows_users_and_workspaces(client, team):
    name = HOSTILE[:28].replace(" ", "")
    team.add_user(name)

    page = Page(team.users()._repr_html_())
    assert page.rows[0] == ["Id", "Name", "Role", "Since"]
    assert page.rows[2][1:3] == [name, "user"]
    assert Page(client.list_workspaces()._repr_html_()).rows[2][2] == "2"


def test_nothing_is_added_to_an_archived_workspace(client, team, upload):
    model = upload("lstm")
    pipeline = client.build_pipeline("fraud").add_model_step(model).deploy()

    with pytest.raises(Conflict, match="pipeline 'fraud' still deployed") as caught:
        team.archive()
    assert caught.value.details["pipelines"] == ["fraud"]
    pipeline.undeploy()
    assert team.archive().archived()
    assert client.get_workspace("team").archived()

    for adding in (
        lambda: upload("lstm"),
        lambda: client.build_pipeline("fraud"),
        pipeline.deploy,
        pipeline.version(2).deploy,
    ):
        with pytest.raises(Conflict, match="is archived"):
            adding()
    assert len(client.get_model("lstm").versions()) == 1, "what is there can be read"
    assert not team.unarchive().archived()
    pipeline.deploy().undeploy()


def test_a_workspace_is_archived_first_and_then_deleted_with_all_that_is_in_it(
    api, client, team, upload, tmp_path
):
    model = upload("lstm")
    pipeline = client.build_pipeline("fraud").add_shadow_deploy(model, [upload("xgb")]).deploy()
    pipeline.change_shadow(sample=0.5)
    tag = client.create_tag("cards")
    tag.add_to_model(model)
    tag.add_to_pipeline(pipeline)
    team.add_user("jo@example.org")
    pipeline.undeploy()

    with pytest.raises(
        Conflict, match=r"archive\(\) it first. Its models \(2\) and pipelines \(1\)"
    ):
        team.delete()
    team.archive()
    team.delete()

    assert [w.name() for w in client.list_workspaces()] == ["default-workspace"]
    with pytest.raises(NotFound):
        client.list_models()
    with sqlite3.connect(tmp_path / "home" / "metadata.sqlite") as database:
        tables = [
            name
            for (name,) in database.execute("SELECT name FROM sqlite_schema WHERE type='table'")
        ]
        inside = {
            name: database.execute(
                f"SELECT count(*) FROM {name} WHERE workspace_id = ?", (team.id(),)
            ).fetchone()[0]
            for name in tables
            if any(c[1] == "workspace_id" for c in database.execute(f"PRAGMA table_info({name})"))
        }
        assert database.execute("PRAGMA foreign_key_check").fetchall() == []
    assert set(inside.values()) == {0}
    assert {"models", "model_versions", "tags", "tagged_models", "deployments"} <= set(inside)
    # The name is free, and nothing of the old one is in the new one
    again = client.create_workspace("team")
    assert again.id() != team.id()
    assert again.models() == []


def test_the_default_workspace_stays(client):
    with pytest.raises(Conflict, match="default workspace of a user"):
        client.get_current_workspace().archive()


def test_a_pipeline_is_deleted_when_it_is_at_rest(client, deployed):
    client.create_tag("cards").add_to_pipeline(deployed)
    deployed.version(2).deploy().change_shadow(sample=0.5)
    with pytest.raises(Conflict, match=r"'fraud' is deployed\. Undeploy it first"):
        deployed.delete()

    deployed.undeploy()
    deployed.delete()

    assert client.list_pipelines() == []
    assert client.search_pipelines("fraud") == []
    assert client.list_tags()[0].pipeline_tags() == []
    for gone in (deployed.delete, deployed.versions, deployed.deploy, deployed.status):
        with pytest.raises(NotFound):
            gone()
    # Another one of this name begins anew
    again = client.build_pipeline("fraud")
    assert again.id() != deployed.id()
    assert [v.number() for v in again.versions()] == [1]
