"""How a pipeline is logged: said in a notebook or on the command line, kept with its versions."""

from __future__ import annotations

import json

import pytest

from gnomon.core.errors import Invalid, NotFound
from gnomon.core.log_settings import LogSettings


def routed(api) -> LogSettings:
    """How the fronts log the pipeline that is deployed."""
    [route] = api.backend.table.routes
    return route.log


def test_settings_take_effect_at_the_next_deploy_and_what_is_not_said_stays(api, deployed):
    assert routed(api) == LogSettings()

    assert deployed.configure_log("durable", redact=["in.card"]) is deployed
    assert routed(api) == LogSettings()
    deployed.deploy()
    assert routed(api) == LogSettings(level="durable", redact=("in.card",))

    deployed.configure_log(when_full="fail_closed").configure_log(redact="out.out").deploy()
    assert routed(api) == LogSettings(level="durable", when_full="fail_closed", redact=("out.out",))
    deployed.configure_log(redact=[]).deploy()
    assert routed(api) == LogSettings(level="durable", when_full="fail_closed")


def test_a_pipeline_that_is_fetched_has_its_settings_and_an_older_version_its_own(
    api, client, deployed
):
    strict = LogSettings(level="durable", when_full="fail_closed", redact=("in.card",))
    deployed.configure_log("durable", "fail_closed", ["in.card"]).deploy()
    before = deployed.versions()[0]
    deployed.configure_log("async", "serve", ()).deploy()
    assert routed(api) == LogSettings()

    client.get_pipeline("fraud", before.number()).deploy()
    assert routed(api) == strict
    client.get_pipeline("fraud").deploy()
    assert routed(api) == strict
    deployed.configure_log("off", "serve", ()).deploy()
    assert routed(api) == LogSettings(level="off")
    before.deploy()
    assert routed(api) == strict


def test_what_was_changed_is_in_the_difference_of_two_versions(deployed):
    deployed.configure_log("durable", redact=["in.card", "out.out"]).deploy()
    assert deployed.diff(3).added() == [
        "log",
        'level: "durable"',
        'redact: "in.card"',
        'redact: "out.out"',
    ]
    assert deployed.diff(3).removed() == []


def test_settings_that_are_not_usual_are_shown(deployed):
    shown = (deployed._repr_html_(), deployed.status()._repr_html_())
    assert not any("async" in each for each in shown)
    assert deployed.status()["engines"][0]["log"] == {
        "level": "async", "when_full": "serve", "redact": [],
    }  # fmt: skip

    deployed.configure_log("durable", "fail_closed", ["in.<b>card</b>"]).deploy()

    expected = "durable, fail_closed, without in.&lt;b&gt;card&lt;/b&gt;"
    assert expected in deployed._repr_html_()
    assert expected in deployed.status()._repr_html_()
    assert expected in deployed.versions()[0]._repr_html_()
    assert deployed.status()["engines"][0]["log"]["redact"] == ["in.<b>card</b>"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"level": "sync"}, '"durable", "off", got \'sync\''),
        ({"when_full": True}, '"serve", "fail_closed"'),
        ({"level": "off", "when_full": "fail_closed"}, "nothing is logged"),
        ({"redact": ["card"]}, "in.<field>"),
        ({"redact": 7}, "must be a list of columns"),
        ({"redact": {"in.a": 1, 7: 2}}, "got '7'"),
    ],
)
def test_what_cannot_be_is_refused_at_once_and_changes_nothing(api, deployed, wrong, said):
    with pytest.raises(Invalid, match=said):
        deployed.configure_log(**wrong)
    deployed.deploy()
    assert routed(api) == LogSettings()


def test_an_output_that_no_model_gives_is_refused_by_deploy_with_those_that_there_are(
    api, client, deployed
):
    versions = len(deployed.versions())
    with pytest.raises(Invalid, match=r"'out_xgb\.out', which no model.*give: out\.out\.$"):
        deployed.configure_log(redact=["in.any", "out_xgb.out"]).deploy()
    assert len(deployed.versions()) == versions
    # With the challenger that gives it, it is one
    pipeline = client.get_pipeline("fraud", 2)
    pipeline.configure_log(redact=["in.any", "out_xgb.out"]).deploy()
    assert routed(api).redact == ("in.any", "out_xgb.out")


@pytest.mark.parametrize(
    "log",
    [
        {"level": "sync"},
        {"level": 1},
        {"when_full": None},
        {"redact": "in.card"},
        {"redact": ["card"]},
        {"redact": ["out.nothing"]},
        {"redact": [1]},
        {"more": 1},
        {"level": "off", "when_full": "fail_closed"},
        [],
        "off",
    ],
)
def test_nonsense_that_is_sent_is_refused(api, deployed, log):
    [version] = [v for v in deployed.versions() if v.deployed()]
    definition = {**version.definition(), "log": log}
    path = "/v1/workspaces/1/pipelines/fraud/deployment"
    answer = api.call("PUT", path, {"definition": definition})
    assert answer.status == 422
    assert routed(api) == LogSettings()


def test_reading_a_log_that_is_off_says_so(api, deployed):
    def notices() -> list[str]:
        answer = api.call("GET", "/v1/workspaces/1/pipelines/fraud/logs")
        return json.loads(answer.headers["x-gnomon-notices"])

    api.log.notices = ("a part is damaged",)
    assert notices() == ["a part is damaged"]
    deployed.configure_log("off").deploy()
    off, damaged = notices()
    assert off.startswith("The log of pipeline 'fraud' is off: ")
    assert off.endswith("configure_log('async') and deploy() switch it on.")
    assert damaged == "a part is damaged"
    with pytest.raises(NotFound, match="is off"):
        deployed.log_table(timeout=0)
    deployed.undeploy()
    assert notices() == [off, damaged]
    deployed.configure_log("async").deploy()
    assert notices() == [damaged]


def test_the_command_line_says_it_too(api, deployed, run):
    done = run("deploy", "fraud", "--log-level", "durable", "--log-when-full", "fail_closed",
               "--redact", "in.card", "--redact", "out.out")  # fmt: skip
    assert done.code == 0
    assert done.out.endswith("\n  log: durable, fail_closed, without in.card, out.out\n")
    strict = LogSettings(level="durable", when_full="fail_closed", redact=("in.card", "out.out"))
    assert routed(api) == strict
    assert run("deploy", "fraud", "--json").json()["log"]["level"] == "durable"
    assert routed(api) == strict

    wrong = run("deploy", "fraud", "--version", 3, "--log-level", "off")
    assert wrong.code == 2
    assert "logged as it was" in wrong.err
    assert run("deploy", "fraud", "--log-level", "sync").code == 2
    refused = run("deploy", "fraud", "--redact", "card")
    assert (refused.code, refused.out) == (1, "")
    assert "in.<field>" in refused.err
    assert run("deploy", "fraud", "--version", 3).code == 0
    assert routed(api) == LogSettings()
