"""Sampling challengers, and changing them while they run."""

from __future__ import annotations

import re

import pytest

from gnomon.core.errors import Invalid, NotDeployed
from gnomon.sdk.shadowing import ShadowChanges


def sampling(pipeline) -> dict[str, float]:
    [step] = pipeline.steps()
    return dict(zip(step.labels(), step.sample, strict=True))


def sent(server) -> list:
    return [seen.json() for seen in server.requests if seen.method == "PATCH"]


def test_a_sample_is_for_all_challengers_or_for_each(shadow):
    build = shadow.pipeline
    both = [shadow.xgb, shadow.rf]
    build.add_shadow_deploy(shadow.champion, both, sample=0.25)
    assert sampling(build) == {"ccfraud-xgb": 0.25, "ccfraud-rf": 0.25}
    build.clear().add_shadow_deploy(shadow.champion, both, sample={"ccfraud-rf": 0.5})
    assert sampling(build) == {"ccfraud-xgb": 1.0, "ccfraud-rf": 0.5}
    build.clear().add_shadow_deploy(shadow.champion, both, sample={shadow.xgb: 0, "ccfraud-rf": 1})
    assert sampling(build) == {"ccfraud-xgb": 0.0, "ccfraud-rf": 1.0}
    build.clear().add_shadow_deploy(shadow.champion, both)
    assert sampling(build) == {"ccfraud-xgb": 1.0, "ccfraud-rf": 1.0}


def test_a_retrained_champion_is_sampled_by_its_label_or_itself(shadow):
    retrained = shadow.model("ccfraud-lstm", 3.0)
    for key in (retrained, "ccfraud-lstm_v2"):
        shadow.pipeline.clear().add_shadow_deploy(shadow.champion, [retrained], sample={key: 0.5})
        assert sampling(shadow.pipeline) == {"ccfraud-lstm_v2": 0.5}


@pytest.mark.parametrize(
    ("sample", "says"),
    [
        (1.5, "from 0 to 1, got 1.5"),
        (-1, "from 0 to 1, got -1"),
        (True, "got True"),
        ("0.5", "got 0.5"),
        (None, "got None"),
        ([0.5, 0.5], "got"),
        ({"ccfraud-rf": 2}, "got 2"),
        ({"ccfraud": 0.5}, "no challenger 'ccfraud'; there is: ccfraud-xgb, ccfraud-rf."),
        ({"ccfraud-lstm": 0.5}, "no challenger 'ccfraud-lstm'"),
    ],
)
def test_a_sample_that_cannot_be_is_refused_when_it_is_built(shadow, sample, says):
    with pytest.raises(Invalid, match=re.escape(says)):
        shadow.pipeline.add_shadow_deploy(shadow.champion, [shadow.xgb, shadow.rf], sample=sample)


def test_a_sample_for_the_champion_is_refused(shadow):
    with pytest.raises(Invalid, match="no challenger 'ccfraud-lstm@1'"):
        shadow.pipeline.add_shadow_deploy(
            shadow.champion, [shadow.rf], sample={shadow.champion: 0.5}
        )


def test_a_sample_is_deployed_fetched_and_shown(shadow):
    shadow.pipeline.add_shadow_deploy(
        shadow.champion,
        [shadow.xgb, shadow.rf],
        mode="joined",
        sample={"ccfraud-rf": 0.125},
        shadow_wait_ms=50,
    ).deploy()

    fetched = shadow.client.get_pipeline("cc-shadow")
    assert sampling(fetched) == {"ccfraud-xgb": 1.0, "ccfraud-rf": 0.125}
    assert (
        "ccfraud-lstm, ccfraud-xgb (shadow), ccfraud-rf (shadow, 12.5 %) - answers wait up to 50 ms"
        in fetched._repr_html_()
    )
    assert '"sample": [1.0, 0.125]' in fetched.definition()


def test_what_is_not_given_is_not_changed(server, shadow):
    pipeline = shadow.pipeline
    assert pipeline.change_shadow(sample=0.5) is pipeline
    pipeline.change_shadow(mode="joined", shadow_wait_ms=20)
    pipeline.change_shadow(sample={shadow.xgb: 0.1, "ccfraud-rf": 1.0})
    assert sent(server) == [
        {"sample": 0.5},
        {"mode": "joined", "shadow_wait_ms": 20},
        {"sample": {"ccfraud-xgb": 0.1, "ccfraud-rf": 1.0}},
    ]
    path = next(seen.path for seen in server.requests if seen.method == "PATCH")
    assert path.endswith("/pipelines/cc-shadow/deployment/shadow")


def test_challengers_are_switched_off_and_on(server, shadow):
    assert shadow.pipeline.switch_off(shadow.xgb, "ccfraud-rf") is shadow.pipeline
    shadow.pipeline.switch_on("ccfraud-rf")
    assert sent(server) == [
        {"on": {"ccfraud-xgb": False, "ccfraud-rf": False}},
        {"on": {"ccfraud-rf": True}},
    ]
    models = shadow.pipeline.status()["engines"][0]["model_statuses"]["models"]
    assert [model["on"] for model in models] == [True, False, True]


def test_a_change_leaves_the_steps_as_they_are_and_is_shown(shadow):
    before = shadow.pipeline.steps()
    assert "changed to" not in shadow.pipeline._repr_html_()
    shadow.pipeline.change_shadow(mode="joined", sample=0.5, shadow_wait_ms=20)
    shadow.pipeline.switch_off("ccfraud-rf")
    assert shadow.pipeline.steps() == before
    shown = (
        "ccfraud-lstm, ccfraud-xgb (shadow, 50 %), ccfraud-rf (shadow, off) - answers wait up to "
        "20 ms"
    )
    assert f"<th>changed to</th> <td>{shown}</td>" in shadow.pipeline._repr_html_()
    deployed = shadow.pipeline._deployment._repr_html_()
    assert shown in deployed
    assert "<th>status</th> <td>Running</td>" in deployed


def test_what_became_joined_decides_how_long_infer_waits(server, shadow):
    def asked() -> str | None:
        shadow.pipeline.infer({"tensor": [[1.0, 2.0, 3.0]]})
        return server.requests[-1].headers.get("X-Gnomon-Shadow-Wait-Ms")

    assert asked() == "1000"
    shadow.pipeline.change_shadow(mode="joined")
    assert asked() is None, "the pipeline says how long"
    shadow.pipeline.change_shadow(mode="async")
    assert asked() == "1000"


def test_a_change_that_cannot_be_is_refused(server, shadow):
    pipeline = shadow.pipeline
    with pytest.raises(Invalid, match="'sometimes'"):
        pipeline.change_shadow(mode="sometimes")
    with pytest.raises(Invalid, match="0 to 60000 milliseconds"):
        pipeline.change_shadow(shadow_wait_ms=-1)
    assert sent(server) == []
    other = shadow.model("other", 1.0)
    for change in (
        lambda: pipeline.switch_off("nobody"),
        lambda: pipeline.switch_off(other),
        lambda: pipeline.change_shadow(sample={"nobody": 0.5}),
    ):
        with pytest.raises(Invalid, match="no challenger"):
            change()
    pipeline.undeploy()
    with pytest.raises(NotDeployed):
        pipeline.switch_off("ccfraud-rf")


def test_a_change_that_is_not_in_force_is_warned_of(server, shadow):
    server.fronts["front-0"] = False
    with pytest.warns(UserWarning, match="'cc-shadow' will do so, but does not yet") as caught:
        shadow.pipeline.switch_off("ccfraud-rf")
    assert caught[0].filename == __file__


def test_changes_are_listed_newest_first_with_who_and_when(shadow):
    shadow.pipeline.change_shadow(sample=0.5)
    shadow.pipeline.switch_off("ccfraud-rf")
    newest, oldest = shadow.pipeline.shadow_changes()
    assert (oldest["off"], newest["off"]) == ([], ["ccfraud-rf"])
    assert newest["changed_by"] == 1
    assert newest["changed_at"] > oldest["changed_at"]
    shown = shadow.pipeline.shadow_changes()._repr_html_()
    assert "ccfraud-xgb: 50 %, ccfraud-rf: off" in shown
    assert ShadowChanges()._repr_html_() == "(no changes)"
