"""Who made each version of a pipeline and when, what differs, and running an older one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from gnomon.core.errors import Invalid, NotFound
from gnomon.core.pipeline import Definition
from tests.sdk.test_html import HOSTILE, Page


def test_versions_are_newest_first_with_who_made_them_and_when(deployed):
    newest, shadowed, empty = deployed.versions()

    assert [v.number() for v in (newest, shadowed, empty)] == [3, 2, 1]
    assert [v.deployed() for v in (newest, shadowed, empty)] == [True, False, False]
    assert {v.created_by() for v in deployed.versions()} == {"owner"}
    assert empty.create_time() < shadowed.create_time() < newest.create_time()
    assert newest.create_time().tzinfo is not None
    assert datetime.now(UTC) - newest.create_time() < timedelta(minutes=1)
    assert empty.definition() == {"steps": []}
    assert [m["model_name"] for m in shadowed.model_configs()] == ["lstm", "xgb"]
    assert deployed.variants() == deployed.versions()


def test_a_version_is_fetched_by_its_uuid_or_its_number(client, deployed):
    shadowed = deployed.versions()[1]

    for wanted in (shadowed.name(), 2, "2"):
        assert deployed.version(wanted) == shadowed
        assert client.get_pipeline("fraud", wanted).steps() == [*_steps(shadowed)]
    assert client.get_pipeline("fraud").steps() == [*_steps(deployed.versions()[0])]


def _steps(version):
    return Definition.from_json(version.definition()).steps


@pytest.mark.parametrize("wanted", ["0", "9", "9" * 30, "x", "' OR 1=1 --", "%", "a/b"])
def test_a_version_that_is_not_there_is_not_found(client, deployed, wanted):
    with pytest.raises(NotFound):
        client.get_pipeline("fraud", wanted)


def test_a_version_of_another_pipeline_is_not_found(client, deployed):
    other = client.build_pipeline("other")

    with pytest.raises(NotFound):
        other.version(deployed.versions()[0].name())


def test_an_older_version_that_is_fetched_and_deployed_runs_with_its_challengers(client, deployed):
    pipeline = client.get_pipeline("fraud", 2).deploy()

    [shown] = pipeline.status()["engines"]
    assert [m["label"] for m in shown["model_statuses"]["models"]] == ["lstm", "xgb"]
    assert shown["shadow"]["mode"] == "joined"
    assert pipeline.versions()[0].number() == 4
    assert pipeline.versions()[0].deployed()


def test_a_version_deploys_itself_as_a_copy_fed_as_it_was(client, deployed, upload):
    # Given models that are configured otherwise since
    shadowed = deployed.version(2)
    client.get_model("lstm").configure(tensor_fields=["amount"])
    url = deployed.url()

    # When the version is deployed
    pipeline = shadowed.deploy()

    # Then what runs is its copy
    newest = pipeline.versions()[0]
    assert (newest.number(), newest.restores(), newest.deployed()) == (4, shadowed.name(), True)
    assert newest.definition() == shadowed.definition()
    assert newest.model_configs() == shadowed.model_configs()
    assert newest.model_configs()[0]["tensor_fields"] is None
    assert not shadowed.diff(newest)
    assert pipeline.steps() == [*_steps(shadowed)]
    assert pipeline.url() == url

    # And the same steps deployed by hand are fed as is configured now
    again = client.get_pipeline("fraud", 2).deploy().versions()[0]
    assert again.restores() is None
    assert again.model_configs()[0]["tensor_fields"] == ["amount"]
    assert shadowed.diff(again).added() == [
        f"champion: lstm@1 ({client.get_model('lstm').version()}), fed by amount"
    ]


def test_an_empty_version_is_not_deployed(deployed):
    with pytest.raises(Invalid, match="no steps"):
        deployed.version(1).deploy()
    assert len(deployed.versions()) == 3


def test_a_version_is_deployed_without_waiting(client, deployed):
    assert client.get_pipeline("fraud").version(2).deploy(wait_for_status=False).name() == "fraud"


def test_a_diff_names_what_was_added_and_removed(client, deployed):
    lstm, xgb = client.get_model("lstm").version(), client.get_model("xgb").version()

    diff = deployed.diff(2, 3)

    assert diff
    assert diff.removed() == [
        "step 1: ShadowDeploy",
        f"champion: lstm@1 ({lstm})",
        f"challengers: xgb@1 ({xgb})",
        'mode: "joined"',
        "shadow_wait_ms: 7",
        "sample: 1.0",
    ]
    assert diff.added() == ["step 1: ModelInference", f"model: lstm@1 ({lstm})"]
    assert str(diff).splitlines()[:2] == ["--- fraud version 2", "+++ fraud version 3"]
    assert f"-   challengers: xgb@1 ({xgb})" in str(diff).splitlines()
    assert str(deployed.diff(2)) == str(diff)


def test_a_diff_of_a_changed_sample_is_one_line(client, deployed, upload):
    for sample in (0.5, 0.25):
        deployed.clear().add_shadow_deploy(
            client.get_model("lstm"), [client.get_model("xgb")], sample=sample
        ).deploy()

    diff = deployed.diff(4, 5)
    assert (diff.removed(), diff.added()) == (["sample: 0.5"], ["sample: 0.25"])


def test_a_diff_of_the_same_says_so(deployed):
    diff = deployed.diff(3, 3)

    assert not diff
    assert "Nothing differs." in str(diff)
    assert Page(diff._repr_html_()).tags == {"pre"}
    with pytest.raises(TypeError, match=r"pipeline\.versions"):
        deployed.versions()[0].diff(2)


def test_a_notebook_shows_versions_with_all_their_challengers_escaped(client, deployed):
    client.create_tag(HOSTILE[:90]).add_to_pipeline(deployed)
    versions = deployed.versions()

    page = Page(versions._repr_html_())

    assert page.rows[0] == [
        "name", "version", "number", "creation_time", "created_by", "last_updated_time",
        "deployed", "workspace_id", "workspace_name", "tags", "steps",
    ]  # fmt: skip
    assert page.rows[2][-1] == "lstm, xgb (shadow) - answers wait up to 7 ms"
    assert page.rows[2][-2] == HOSTILE[:90]
    assert page.tags == {"table", "tr", "th", "td"}
    assert ["created_by", "owner"] in Page(versions[0]._repr_html_()).rows
    assert type(versions)()._repr_html_() == "(no pipeline versions)"


def test_a_notebook_lists_pipelines_with_their_steps_versions_and_workspace(client, deployed):
    rows = Page(client.list_pipelines()._repr_html_()).rows
    shown = dict(zip(*rows, strict=True))

    assert list(shown)[:6] == ["name", "created", "last_updated", "deployed", "tags", "steps"]
    assert shown["versions"] == f"3, newest {deployed.versions()[0].name()}"
    assert (shown["workspace_name"], shown["deployed"]) == ("default-workspace", "True")


def test_a_change_of_how_challengers_watch_updates_the_version(client, deployed):
    pipeline = deployed.version(2).deploy()
    before = pipeline.versions()[0]
    assert before.last_update_time() == before.create_time()

    pipeline.change_shadow(sample=0.5)

    assert pipeline.versions()[0].last_update_time() > before.create_time()
