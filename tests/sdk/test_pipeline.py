"""Building, deploying and undeploying a pipeline."""

from __future__ import annotations

import re

import pytest

import gnomon
from gnomon.core.errors import DeploymentError, Invalid, NotFound, WaitExpired
from gnomon.object import WaitForDeployError, WaitForError
from tests.sdk.wire import TOKEN


def labels(pipeline: gnomon.Pipeline) -> list[str]:
    [step] = pipeline.steps()
    return [step.champion.name, *step.labels()]


def test_a_pipeline_is_built_found_and_listed_newest_first(client):
    client.build_pipeline("first")
    made = client.build_pipeline("second")

    assert client.pipelines_by_name("second")[0].id() == made.id()
    assert client.get_pipeline("second").id() == made.id()
    assert [p.name() for p in client.list_pipelines()] == ["second", "first"]
    before = len(made.versions())
    assert len(client.build_pipeline("second").versions()) == before + 1


@pytest.mark.parametrize("name", ["missing", "Bad_Name", "..", ""])
def test_a_pipeline_that_is_not_there_is_an_error(client, name):
    with pytest.raises(NotFound, match="There is no pipeline"):
        client.pipelines_by_name(name)
    with pytest.raises(NotFound):
        client.get_pipeline(name)


def test_deploying_says_what_it_waits_for_and_returns_the_pipeline(server, shadow, capsys):
    server.settles_after_looks = 2
    pipeline = gnomon.Client(server.url, shadow.client._transport._headers["Authorization"][7:])
    pipeline = pipeline.get_pipeline("cc-shadow")

    assert pipeline.deploy() is pipeline
    assert pipeline.undeploy() is pipeline

    line = r"Waiting for {} - this will take up to 45s \.* ok\n"
    assert re.fullmatch(
        line.format("deployment") + line.format("undeployment"), capsys.readouterr().out
    )


def test_undeploying_what_does_not_run_is_no_error_and_says_nothing(server, shadow, capsys):
    shadow.pipeline.undeploy()
    assert shadow.pipeline.undeploy() is shadow.pipeline
    assert shadow.client.build_pipeline("never").undeploy().name() == "never"
    assert capsys.readouterr().out == ""


def test_the_url_and_the_deployment_stay_through_redeploys(shadow):
    url = shadow.pipeline.url()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/v1/api/pipelines/infer/cc-shadow-\d+/cc-shadow",
                        url)  # fmt: skip

    assert shadow.pipeline.deploy().url() == url
    assert shadow.client.get_pipeline("cc-shadow").url() == url
    assert shadow.pipeline._deployment._url() == url


def test_a_pipeline_that_was_never_deployed_has_no_url(client):
    pipeline = client.build_pipeline("resting")

    with pytest.raises(gnomon.GnomonError, match=r"'resting' is not deployed: call deploy"):
        pipeline.url()


def test_a_fetched_pipeline_runs_again_as_it_was_challengers_included(shadow):
    fetched = shadow.client.get_pipeline("cc-shadow")

    assert labels(fetched) == ["ccfraud-lstm", "ccfraud-xgb", "ccfraud-rf"]
    fetched.deploy()
    assert labels(shadow.client.get_pipeline("cc-shadow")) == [
        "ccfraud-lstm",
        "ccfraud-xgb",
        "ccfraud-rf",
    ]


def test_building_on_a_fetched_pipeline_takes_the_place_of_its_steps(shadow):
    fetched = shadow.client.get_pipeline("cc-shadow")

    fetched.add_shadow_deploy(shadow.champion, [shadow.rf])

    assert labels(fetched) == ["ccfraud-lstm", "ccfraud-rf"]


def test_building_after_a_deploy_begins_anew_so_that_a_cell_can_run_twice(shadow):
    for _ in range(2):
        shadow.pipeline.add_shadow_deploy(shadow.champion, [shadow.xgb])
        shadow.pipeline.deploy()

    assert labels(shadow.pipeline) == ["ccfraud-lstm", "ccfraud-xgb"]


def test_what_cannot_be_a_step_is_refused(client, shadow):
    with pytest.raises(Invalid, match="no steps"):
        client.build_pipeline("empty").deploy()
    with pytest.raises(TypeError, match="got str"):
        shadow.pipeline.add_shadow_deploy("ccfraud-lstm", [])
    with pytest.raises(Invalid, match="'sometimes'"):
        shadow.pipeline.add_shadow_deploy(shadow.champion, [], mode="sometimes")
    with pytest.raises(Invalid, match="0 to 60000 milliseconds, got -1"):
        shadow.pipeline.add_shadow_deploy(shadow.champion, [], "joined", shadow_wait_ms=-1)
    with pytest.raises(Invalid, match="2 times"):
        shadow.pipeline.add_shadow_deploy(shadow.champion, [shadow.champion])


def test_two_versions_of_one_model_have_labels_of_their_own(shadow):
    retrained = shadow.model("ccfraud-lstm", 3.0)
    shadow.pipeline.add_shadow_deploy(shadow.champion, [retrained, shadow.rf]).deploy()

    [result] = shadow.pipeline.infer({"tensor": [[1.0, 2.0, 3.0]]})

    assert list(result.shadow_data()) == ["ccfraud-lstm_v2", "ccfraud-rf"]
    assert "ccfraud-lstm, ccfraud-lstm_v2 (shadow)" in shadow.pipeline._repr_html_()


def test_a_champion_that_does_not_start_is_named_with_the_reason(server, shadow):
    server.failing["ccfraud-lstm"] = "It needs more memory than a host may have."
    fresh = shadow.client.build_pipeline("fresh").add_model_step(shadow.champion)

    with pytest.raises(WaitForDeployError) as caught:
        fresh.deploy()

    version = shadow.champion.version()
    assert str(caught.value) == (
        f"Pipeline 'fresh' could not be deployed. Model ccfraud-lstm (version {version}): It "
        "needs more memory than a host may have."
    )
    assert fresh.status()["status"] == "Error"
    assert "memory" in fresh.status()["details"][0]
    assert "<td>False</td>" in fresh._repr_html_()
    # A version that ran before goes on
    with pytest.raises(DeploymentError, match=r"needs more.*Its previous version still answers"):
        shadow.pipeline.deploy()
    assert shadow.pipeline.infer({"tensor": [[1.0, 2.0, 3.0]]})
    # If it does
    shadow.pipeline._view["deployment"]["models"][0].update(state="crash_looping", reason="Died.")
    server.pipelines[0]["deployment"]["models"][0].update(state="crash_looping", reason="Died.")
    with pytest.raises(DeploymentError, match=r"needs more.*\): Died\.$"):
        shadow.pipeline.deploy()


def test_a_challenger_that_does_not_start_is_warned_of(server, shadow):
    server.failing["ccfraud-rf"] = "It crashed while it was loaded."

    with pytest.warns(UserWarning, match="is deployed, but: Model ccfraud-rf .* It crashed"):
        shadow.pipeline.deploy()

    assert shadow.pipeline.status()["status"] == "Running"


def test_a_deployment_that_takes_too_long_is_told_apart_from_one_that_failed(server, shadow):
    server.settles_after_looks = 1_000
    hasty = gnomon.Client(
        server.url, shadow.client.auth.auth_header()["Authorization"][7:], request_timeout=0.1
    )
    pipeline = hasty.get_pipeline("cc-shadow")

    with pytest.raises(WaitForError, match=r"still starting after 0\.1 s"):
        pipeline.deploy()
    with pytest.raises(WaitExpired, match="still stopping"):
        pipeline.undeploy()


def test_a_control_plane_that_comes_back_is_waited_for(server, shadow):
    from tests.sdk.wire import Answer

    looks = []

    def gone_twice(seen):
        looks.append(seen)
        if len(looks) < 5:
            return Answer(0)
        del server.answers["GET", seen.path]
        return server.answer(seen)

    view = shadow.pipeline._view
    route = f"/v1/workspaces/{view['workspace_id']}/pipelines/cc-shadow/deployment"
    server.answers["GET", route] = gone_twice

    assert shadow.pipeline.deploy().status()["status"] == "Running"
    assert len(looks) == 5


def test_the_status_has_every_model(shadow):
    status = shadow.pipeline.status()

    assert status["status"] == "Running"
    assert status["details"] == []
    [engine] = status["engines"]
    assert [m["label"] for m in engine["model_statuses"]["models"]] == [
        "ccfraud-lstm",
        "ccfraud-xgb",
        "ccfraud-rf",
    ]
    shadow.pipeline.undeploy()
    assert shadow.pipeline.status()["status"] == "Pipeline cc-shadow is not deployed"
    never = shadow.client.build_pipeline("never")
    assert never.status()["status"] == "Pipeline never is not deployed"


def test_a_pipeline_shows_all_that_it_is(shadow):
    pipeline = shadow.pipeline
    created, updated = pipeline.create_time(), pipeline.last_update_time()

    assert pipeline._repr_html_() == (
        f"<table><tr><th>name</th> <td>cc-shadow</td></tr><tr><th>created</th> <td>{created}</td>"
        f"</tr><tr><th>last_updated</th> <td>{updated}</td></tr><tr><th>deployed</th> "
        "<td>True</td></tr><tr><th>tags</th> <td></td></tr><tr><th>steps</th> <td>ccfraud-lstm, "
        "ccfraud-xgb (shadow), ccfraud-rf (shadow)</td></tr></table>"
    )
    assert str(created).endswith("+00:00")
    assert repr(pipeline) == repr(
        {"name": "cc-shadow", "create_time": created, "definition": pipeline.definition()}
    )
    assert "ccfraud-rf" in pipeline.definition()
    pipeline.undeploy()
    assert "<th>deployed</th> <td>False</td>" in pipeline._repr_html_()
    fresh = shadow.client.build_pipeline("fresh")
    assert "<th>deployed</th> <td>(none)</td>" in fresh._repr_html_()
    assert "<th>steps</th> <td></td>" in fresh._repr_html_()


@pytest.mark.parametrize(
    ("state", "reason", "word", "says"),
    [
        ("crash_looping", "It died of signal 9.", "Error", "It died of signal 9."),
        ("crash_looping", None, "Error", "it keeps crashing."),
        ("failed", "It needs more memory.", "Error", "It needs more memory."),
        ("gone", None, "Starting", "its host is gone, and is started again."),
        ("starting", None, "Starting", "its host is starting."),
        ("stopping", None, "Starting", "its host ends, and is replaced."),
    ],
)
def test_a_pipeline_whose_champion_is_down_does_not_run(server, shadow, state, reason, word, says):
    server.pipelines[0]["deployment"]["models"][0].update(state=state, reason=reason)

    status = shadow.pipeline.status()

    version = shadow.champion.version()
    assert status["status"] == word
    assert status["details"] == [f"Model ccfraud-lstm (version {version}): {says}"]
    [engine] = status["engines"]
    assert engine["status"] == word == engine["pipeline_statuses"]["pipelines"][0]["status"]
    assert engine["model_statuses"]["models"][0]["status"] == word


def test_a_challenger_that_is_down_leaves_the_pipeline_running(server, shadow):
    server.pipelines[0]["deployment"]["models"][1].update(state="crash_looping", reason="Died.")

    status = shadow.pipeline.status()

    assert status["status"] == "Running"
    assert "ccfraud-xgb" in status["details"][0]


def test_one_of_several_hosts_that_is_down_is_said_and_the_pipeline_runs(server, shadow):
    champion = server.pipelines[0]["deployment"]["models"][0]
    died = {**champion["hosts"][0], "state": "crash_looping", "reason": "It died of signal 9."}
    champion.update(hosts=[champion["hosts"][0], died, died])

    status = shadow.pipeline.status()

    version = shadow.champion.version()
    assert status["status"] == "Running"
    assert status["details"] == [
        f"Model ccfraud-lstm (version {version}), 2 of its 3 hosts: It died of signal 9."
    ]


def test_a_deploy_need_not_be_waited_for(server, shadow, capsys):
    server.settles_after_looks = 1_000
    client = gnomon.Client(server.url, TOKEN)
    pipeline = client.get_pipeline("cc-shadow")

    assert pipeline.deploy(wait_for_status=False) is pipeline

    assert capsys.readouterr().out == (
        "Deployment initiated for cc-shadow. Please check pipeline status.\n"
    )
    assert pipeline.status()["status"] == "Starting"
    assert labels(pipeline) == ["ccfraud-lstm", "ccfraud-xgb", "ccfraud-rf"]


def test_a_deploy_takes_the_arguments_of_other_platforms(shadow):
    assert shadow.pipeline.deploy("cc-shadow") is shadow.pipeline
    with pytest.raises(Invalid, match=r"the pipeline 'cc-shadow'.* not under 'other'"):
        shadow.pipeline.deploy("other")
    with pytest.warns(UserWarning, match=r"Kept, without effect on one machine: replicas = 2\."):
        shadow.pipeline.deploy(deployment_config={"replicas": 2})


def test_what_no_host_can_have_is_refused_before_anything_is_sent(server, shadow):
    before = len(server.requests)

    with pytest.raises(Invalid, match=r"DeploymentConfigBuilder\(\)\.build\(\) returns, got Depl"):
        shadow.pipeline.deploy(deployment_config=gnomon.DeploymentConfigBuilder())
    for builder in (
        gnomon.DeploymentConfigBuilder().cpus(1_000),
        gnomon.DeploymentConfigBuilder().sidekick_memory(shadow.rf, "lots"),
    ):
        with pytest.raises(Invalid, match=r"cpus must be a number|memory must be an amount"):
            shadow.pipeline.deploy(deployment_config=builder.build())

    assert len(server.requests) == before


def test_a_pipeline_knows_its_workspace_and_how_its_models_are_fed(server, client, shadow):
    other = client.create_workspace("other")
    shadow.rf.configure(tensor_fields=["amount"])

    assert shadow.pipeline.workspace() == client.get_current_workspace() != other
    assert shadow.pipeline.variants() == shadow.pipeline.versions()
    configs = shadow.pipeline.model_configs()
    assert [(one["model_name"], one["tensor_fields"]) for one in configs] == [
        ("ccfraud-lstm", None),
        ("ccfraud-xgb", None),
        ("ccfraud-rf", ["amount"]),
    ]
    assert configs[0]["model_version"] == shadow.champion.version()
    server.workspaces.clear()
    with pytest.raises(NotFound, match="There is no workspace"):
        shadow.pipeline.workspace()


def test_a_single_challenger_needs_no_list(shadow):
    shadow.pipeline.add_shadow_deploy(shadow.champion, shadow.rf)

    assert labels(shadow.pipeline) == ["ccfraud-lstm", "ccfraud-rf"]
    for challengers in (None, 5):
        with pytest.raises(Invalid, match=r"must be a list of models, as \[model\], got"):
            shadow.pipeline.add_shadow_deploy(shadow.champion, challengers)
