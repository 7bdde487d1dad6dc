"""`gnomon models`, `pipelines`, `deploy`, `undeploy`, `tags` and `workspaces`."""

from __future__ import annotations

import json

import pytest


def lines(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_models_are_listed_shown_searched_and_deleted(client, upload, run):
    first, second = upload("lstm"), upload("lstm")
    client.create_tag("old").add_to_model(first)

    shown = lines(run("models").out)
    assert shown[0] == ["model", "workspace", "versions", "newest", "updated", "by"]
    assert shown[1][:4] == ["lstm", "default-workspace", "2", second.version()]
    assert shown[1][-1] == "owner"
    assert run("models", "list").out == run("models").out
    [document] = run("models", "--json").json()
    assert document["workspace"] == "default-workspace"
    assert [v["ordinal"] for v in document["versions"]] == [2, 1]
    shown = lines(run("models", "show", "LSTM").out)
    assert [row[1] for row in shown] == ["number", "2", "1"]
    assert shown[2][-2:] == ["owner", "old"]
    assert [v["uuid"] for v in run("models", "search", "old", "--json").json()] == [first.version()]
    assert run("models", "search", "nothing").out.startswith("model")

    done = run("models", "delete", "lstm", 1)
    assert done.out == f"Deleted lstm@1 ({first.version()}).\n"
    assert (
        run("models", "delete", "lstm", second.version(), "--json").json()["deleted"]["uuid"]
        == second.version()
    )
    assert run("models", "--json").json() == []


def test_pipelines_are_listed_shown_compared_and_deleted(client, deployed, run):
    client.create_tag("cards").add_to_pipeline(deployed)

    shown = lines(run("pipelines").out)
    assert shown[0] == ["pipeline", "workspace", "deployed", "updated", "tags", "steps"]
    assert (shown[1][:3], shown[1][-2:]) == (
        ["fraud", "default-workspace", "True"],
        ["cards", "lstm"],
    )
    assert run("pipelines", "--json").json()[0]["tags"] == ["cards"]
    shown = lines(run("pipelines", "show", "fraud").out)
    assert [row[1] for row in shown] == ["number", "3", "2", "1"]
    assert "lstm, xgb (shadow) - answers wait up to 7 ms" in run("pipelines", "show", "fraud").out
    versions = run("pipelines", "show", "fraud", "--json").json()
    assert [(v["number"], v["author"], v["deployed"]) for v in versions] == [
        (3, "owner", True), (2, "owner", False), (1, "owner", False)
    ]  # fmt: skip
    diff = run("pipelines", "diff", "fraud", 2).out
    assert diff.startswith("--- fraud version 2\n+++ fraud version 3\n- step 1: ShadowDeploy\n")
    assert run("pipelines", "diff", "fraud", 3, 3, "--json").json() == {"removed": [], "added": []}
    searched = run("pipelines", "search", "card", "--deployed", "--json").json()
    assert [v["number"] for v in searched] == [3]

    refused = run("pipelines", "delete", "fraud")
    assert (refused.code, refused.out) == (1, "")
    assert "Undeploy it first" in refused.err
    run("undeploy", "fraud")
    assert (
        run("pipelines", "delete", "fraud").out == "Deleted the pipeline fraud with 3 versions.\n"
    )
    assert run("pipelines", "--json").json() == []


def test_a_pipeline_is_deployed_and_undeployed(client, deployed, run):
    done = run("undeploy", "fraud")
    assert (done.code, done.out) == (0, "Pipeline fraud is not deployed.\n")
    assert run("undeploy", "fraud", "--json").json()["desired"] == "stopped"

    shown = run("deploy", "fraud").out
    assert shown == f"pipeline fraud: running  {deployed.url()}\n  lstm\n"
    document = run("deploy", "fraud", "--version", 2, "--json").json()
    assert (document["status"], document["warnings"]) == ("Running", [])
    assert [model["label"] for model in document["models"]] == ["lstm", "xgb"]
    assert client.get_pipeline("fraud").versions()[0].restores() == deployed.version(2).name()
    assert run("deploy", "fraud", "--no-wait").code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["deploy", "nothing"], 1, "There is no pipeline 'nothing'"),
        (["deploy", "fraud", "--version", 1], 1, "no steps"),
        (["deploy", "fraud", "--version", 9], 1, "no version '9'"),
        (["deploy", "fraud", "--workspace", "x"], 1, "no workspace 'x'"),
        (["models", "show", "nothing"], 1, "There is no model 'nothing'"),
        (["models", "delete", "lstm"], 2, "VERSION"),
        (["models", "delete", "lstm", 1], 1, "'fraud'"),
        (["models", "nothing"], 2, "nothing"),
        (["pipelines", "diff", "fraud", 9], 1, "no version '9'"),
        (["workspaces", "create", "default-workspace"], 1, "There is a workspace"),
        (["workspaces", "create", "a b"], 1, "'a b'"),
        (["workspaces", "archive", "default-workspace"], 1, "default-workspace"),
        (["workspaces", "delete", "x"], 1, "no workspace 'x'"),
        (["workspaces", "users", "x"], 1, "no workspace 'x'"),
        (["workspaces", "users", "default-workspace", "--remove", "jo"], 1, "no user 'jo'"),
        (["tags", "remove", "x"], 1, "There is no tag 'x'"),
        (["tags", "add", "x", "--model", "nothing"], 1, "no model 'nothing'"),
        (["tags", "add", "x", "--model", "lstm@9"], 1, "version '9'"),
    ],
)
def test_what_cannot_be_done_is_said(deployed, run, arguments, code, says):
    done = run(*arguments)
    assert (done.code, done.out) == (code, "")
    assert says in done.err
    as_json = run(*arguments, "--json")
    assert as_json.code == code
    assert says in json.loads(as_json.err)["error"]
    assert run("tags", "--json").json() == [], "nothing was changed"


def test_tags_are_listed_put_on_and_taken_off(client, deployed, upload, run):
    upload("lstm")

    done = run(
        "tags", "add", "cards", "--model", "lstm@1", "--model", "lstm", "--pipeline", "fraud"
    )
    assert done.out == "The tag 'cards' is on lstm@1, lstm@2, fraud.\n"
    assert lines(run("tags").out)[1] == ["cards", "lstm@1,", "lstm@2", "fraud"]
    assert [tag["text"] for tag in run("tags", "--json").json()] == ["cards"]
    run("tags", "remove", "cards", "--model", "lstm@1", "--pipeline", "fraud")
    assert client.get_model("lstm", 1).tags() == client.get_pipeline("fraud").tags() == []
    assert client.get_model("lstm", 2).tags() == ["cards"]
    assert run("tags", "remove", "cards").code == 2
    assert run("tags", "delete", "cards").out == "Deleted the tag 'cards'.\n"
    assert run("tags", "--json").json() == []


def test_workspaces_are_listed_made_archived_and_deleted(client, deployed, run):
    assert run("workspaces", "create", "team").out == "Made the workspace team.\n"
    assert run("workspaces", "create", "other", "--json").json()["name"] == "other"

    shown = lines(run("workspaces").out)
    assert shown[0] == ["workspace", "made", "users", "models", "pipelines", "state"]
    assert [(row[0], row[4:]) for row in shown[1:]] == [
        ("default-workspace", ["1", "2", "1"]),
        ("team", ["1", "0", "0"]),
        ("other", ["1", "0", "0"]),
    ]
    assert run("workspaces", "list").out == run("workspaces").out

    assert run("workspaces", "archive", "team").out == "Archived the workspace team.\n"
    assert lines(run("workspaces").out)[2][-1] == "archived"
    assert "in use again" in run("workspaces", "unarchive", "team").out
    assert run("workspaces", "archive", "team", "--json").json()["archived"]
    assert run("workspaces", "delete", "team").out == (
        "Deleted the workspace team. Models in it: 0. Pipelines: 0.\n"
    )
    assert [w["name"] for w in run("workspaces", "--json").json()] == ["default-workspace", "other"]


def test_who_may_use_a_workspace_is_shown_and_changed(client, run):
    run("workspaces", "create", "team")

    shown = run(
        *("workspaces", "users", "team", "--add", "jo@example.org", "--add", "mia@example.org"),
        *("--owner", "mia@example.org"),
    ).out
    assert [row[:2] for row in lines(shown)] == [
        ["user", "role"], ["owner", "owner"], ["jo@example.org", "user"],
        ["mia@example.org", "owner"],
    ]  # fmt: skip
    left = run("workspaces", "users", "team", "--remove", "jo@example.org", "--json").json()
    assert [(user["name"], user["role"]) for user in left] == [
        ("owner", "owner"), ("mia@example.org", "owner")
    ]  # fmt: skip


def test_a_name_in_two_workspaces_is_asked_for(client, upload, run):
    upload("lstm")
    client.build_pipeline("fraud")
    client.set_current_workspace(client.create_workspace("other"))
    upload("lstm")
    client.build_pipeline("fraud")

    for command in (["models", "show", "lstm"], ["pipelines", "show", "fraud"]):
        done = run(*command)
        assert done.code == 1
        assert "is in the workspaces default-workspace, other: choose with --workspace" in done.err
        [version] = run(*command, "--workspace", "other", "--json").json()
        assert version["workspace"] == "other"
    assert len(run("models", "--json").json()) == 2
    assert len(run("models", "--workspace", "other", "--json").json()) == 1
    run("tags", "add", "x", "--workspace", "other", "--pipeline", "fraud")
    assert [tag.tag() for tag in client.list_tags()] == ["x"]
