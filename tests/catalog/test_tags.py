"""Tags of models and pipelines, and searching pipelines."""

from __future__ import annotations

from datetime import timedelta

import pytest

from gnomon.core import limits
from gnomon.core.errors import Invalid, LimitReached, NotFound
from tests.sdk.test_html import HOSTILE, Page


def found(versions) -> list[tuple[str, int]]:
    return [(version._view["pipeline"], version.number()) for version in versions]


def test_a_tag_is_put_on_models_and_pipelines_and_taken_off(client, upload):
    first, second, pipeline = upload("lstm"), upload("lstm"), client.build_pipeline("fraud")
    tag = client.create_tag("My Great Tag")

    assert tag.add_to_model(first.id()) == {"model_id": first.id(), "tag_id": tag.id()}
    assert tag.add_to_model(second) == {"model_id": second.id(), "tag_id": tag.id()}
    on_pipeline = {"pipeline_pk_id": pipeline.id(), "tag_pk_id": tag.id()}
    assert tag.add_to_pipeline(pipeline.id()) == on_pipeline
    tag.add_to_pipeline(pipeline)  # again: nothing happens

    [listed] = client.list_tags()
    assert listed.tag() == "My Great Tag"
    assert [m.version() for m in listed.list_models()] == [second.version(), first.version()]
    assert [p.name() for p in listed.list_pipelines()] == ["fraud"]
    assert listed.pipeline_tags() == [on_pipeline]
    assert client.get_model("lstm", 1).tags() == ["My Great Tag"]
    assert client.get_pipeline("fraud").tags() == ["My Great Tag"]
    assert repr(listed) == repr(
        {
            "id": tag.id(),
            "tag": "My Great Tag",
            "models": [("lstm", [first.version(), second.version()])],
            "pipelines": ["fraud"],
        }
    )

    tag.remove_from_model(first)
    tag.remove_from_pipeline(pipeline.id())
    tag.remove_from_pipeline(pipeline.id())
    assert client.get_model("lstm", 1).tags() == []
    assert client.get_pipeline("fraud").tags() == []
    assert tag.model_tags() == [{"model_id": second.id(), "tag_id": tag.id()}]


def test_a_tag_of_the_same_text_is_the_same_tag(client):
    assert client.create_tag(" fraud ").id() == client.create_tag("fraud").id()
    assert client.create_tag("Fraud").id() != client.create_tag("fraud").id()
    assert [tag.tag() for tag in client.list_tags()] == ["fraud", "Fraud"]


@pytest.mark.parametrize("text", ["", "  ", "a\nb", "x" * 101, "\x00"])
def test_a_text_that_is_no_tag_is_refused(client, text):
    with pytest.raises(Invalid, match="1 to 100 printable characters"):
        client.create_tag(text)


def test_a_workspace_has_a_bounded_number_of_tags(client, monkeypatch):
    monkeypatch.setattr(limits, "TAGS_PER_WORKSPACE_MAX", 1)
    client.create_tag("a")
    with pytest.raises(LimitReached):
        client.create_tag("b")
    assert client.create_tag("a").tag() == "a"


def test_what_is_not_there_has_no_tag(client):
    tag = client.create_tag("fraud")
    for add in (tag.add_to_model, tag.add_to_pipeline):
        with pytest.raises(NotFound):
            add(999)
        for wrong in ("1", 1.5, True, None):
            with pytest.raises(TypeError, match="by their id"):
                add(wrong)


def test_a_deleted_tag_is_on_nothing(client, upload):
    model = upload("lstm")
    tag = client.create_tag("fraud")
    tag.add_to_model(model)

    tag.delete()

    assert client.list_tags() == []
    assert client.get_model("lstm").tags() == []
    with pytest.raises(NotFound):
        tag.add_to_model(model)


def test_pipelines_are_searched_by_name_tag_version_deployment_and_time(client, deployed):
    other = client.build_pipeline("theft-check")
    client.create_tag("cards").add_to_pipeline(other)
    shadowed = deployed.versions()[1]

    everything = [("theft-check", 1), ("fraud", 3), ("fraud", 2), ("fraud", 1)]
    assert found(client.search_pipelines()) == everything
    assert found(client.search_pipelines("FRAU")) == everything[1:]
    assert found(client.search_pipelines("card")) == everything[:1]
    assert found(client.search_pipelines(shadowed.name())) == [("fraud", 2)]
    assert found(client.search_pipelines("%")) == []
    assert found(client.search_pipelines(deployed=True)) == [("fraud", 3)]
    assert found(client.search_pipelines(deployed=False)) == [
        ("theft-check", 1), ("fraud", 2), ("fraud", 1)
    ]  # fmt: skip
    at = shadowed.create_time()
    assert found(client.search_pipelines(created_start=at, created_end=at)) == [("fraud", 2)]
    assert found(client.search_pipelines("fraud", created_start=at)) == everything[1:3]
    before = at - timedelta(microseconds=1)
    assert found(client.search_pipelines(created_end=before)) == [("fraud", 1)]
    deployed.undeploy()
    assert found(client.search_pipelines(deployed=True)) == []
    with pytest.raises(Invalid, match="updated_end must be a time"):
        client.search_pipelines(updated_end=5)


def test_a_change_of_how_challengers_watch_counts_as_an_update(client, deployed):
    pipeline = deployed.version(2).deploy()
    changed_after = pipeline.versions()[0].create_time() + timedelta(microseconds=1)
    assert client.search_pipelines(updated_start=changed_after) == []

    pipeline.change_shadow(sample=0.5)

    assert found(client.search_pipelines(updated_start=changed_after)) == [("fraud", 4)]
    assert client.search_pipelines(created_start=changed_after) == []


def test_a_notebook_shows_tags_escaped(client, upload):
    tag = client.create_tag(HOSTILE[:90])
    tag.add_to_model(upload("lstm"))

    page = Page(client.list_tags()._repr_html_())

    assert page.rows[0] == ["id", "tag", "models", "pipelines"]
    assert page.rows[1][1] == HOSTILE[:90]
    assert page.rows[1][2].startswith("lstm (")
    assert Page(tag._repr_html_()).tags == {"table", "tr", "th", "td"}
    assert type(client.list_tags())()._repr_html_() == "(no tags)"
