from __future__ import annotations

import json

import pytest

from gnomon.core.errors import Invalid
from gnomon.core.plan import plan
from gnomon.core.shadow import ShadowChange, ShadowSettings
from gnomon.core.steps import ModelStep
from tests.core.test_pipeline import ref


def begun() -> ShadowSettings:
    rivals = (ref("rf"), ref("xgb"))
    step = ModelStep(champion=ref("lstm"), challengers=rivals, sample=(1.0, 0.25))
    return ShadowSettings.of(plan([step]))


def test_settings_of_several_steps_are_those_of_all_their_challengers():
    joined = ModelStep(
        champion=ref("a"), challengers=(ref("rf"),), mode="joined", shadow_wait_ms=70
    )
    waiting = ModelStep(champion=ref("b"), challengers=(ref("rf"),), shadow_wait_ms=900)

    assert ShadowSettings.of(plan([joined, waiting])) == ShadowSettings(
        mode="joined", shadow_wait_ms=70, sample={"rf_v1_s0": 1.0, "rf_v1_s1": 1.0}
    )


def test_settings_begin_as_the_step_has_them():
    assert begun() == ShadowSettings(
        mode="async", shadow_wait_ms=1_000, sample={"rf": 1.0, "xgb": 0.25}
    )


def test_what_a_change_does_not_name_stays():
    changed = begun().changed(ShadowChange(mode="joined", sample={"rf": 0.5}))
    assert changed == ShadowSettings(
        mode="joined", shadow_wait_ms=1_000, sample={"rf": 0.5, "xgb": 0.25}
    )
    assert changed.changed(ShadowChange(shadow_wait_ms=0)).shadow_wait_ms == 0
    assert begun().changed(ShadowChange(sample=0.1)).sample == {"rf": 0.1, "xgb": 0.1}


def test_a_challenger_that_is_off_sees_nothing_and_keeps_its_rate():
    off = begun().changed(ShadowChange(on={"xgb": False}))
    assert (off.rate("xgb"), off.rate("rf")) == (0.0, 1.0)
    still_off = off.changed(ShadowChange(sample=0.5))
    assert still_off.rate("xgb") == 0.0
    assert still_off.changed(ShadowChange(on={"xgb": True})).rate("xgb") == 0.5


def test_settings_survive_being_stored():
    off = begun().changed(ShadowChange(on={"xgb": False}))
    assert ShadowSettings.from_json(json.loads(json.dumps(off.to_json()))) == off


def test_a_change_of_nothing_or_of_nobody_is_refused():
    labels = ("rf", "xgb")
    for change, says in (
        (ShadowChange(), "Nothing is to be changed"),
        (ShadowChange(on={"svm": False}), "no challenger 'svm'; there is: rf, xgb"),
        (ShadowChange(sample={"svm": 0.5}), "no challenger 'svm'"),
        (ShadowChange(sample=7.0), "from 0 to 1, got 7"),
    ):
        with pytest.raises(Invalid, match=says):
            change.check(labels)
    ShadowChange(mode="async", on={"rf": True}).check(labels)


def test_a_change_reaches_those_challengers_that_are_there():
    changed = begun().changed(ShadowChange(sample={"svm": 0.5}, on={"svm": False, "rf": False}))
    assert changed.sample == begun().sample
    assert changed.off == {"rf"}
