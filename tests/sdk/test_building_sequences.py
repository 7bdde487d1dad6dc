"""Whatever is added, replaced, removed, deployed and fetched: a pipeline is a list of steps."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import gnomon
from gnomon.core.errors import Invalid
from tests.api.conftest import Api, serving
from tests.planes import TOKEN

MODELS = 4
versions = st.integers(0, MODELS - 1)
shadows = st.fixed_dictionaries(
    {
        "models": st.lists(versions, min_size=2, max_size=MODELS, unique=True),
        "mode": st.sampled_from(["async", "joined"]),
        "sample": st.sampled_from([0.0, 0.25, 1.0]),
        "shadow_wait_ms": st.sampled_from([0, 40, 1_000]),
    }
)
alone = versions.map(lambda version: {"models": [version]})
steps = alone | shadows
indices = st.integers(0, 2)
configs = st.sampled_from([None, {"engine": {"resources": {"limits": {"cpu": 2}}}}, {"engine": {}}])


def read(pipeline: gnomon.Pipeline, models: list[gnomon.Model]) -> list[dict[str, Any]]:
    """Return a pipeline's steps as the plain list has them."""
    numbers = {model.version(): number for number, model in enumerate(models)}
    found = []
    for step in pipeline.steps():
        plain: dict[str, Any] = {"models": [numbers[ref.uuid] for ref in step.models()]}
        if step.challengers:
            [sample] = set(step.sample)
            plain |= {"mode": step.mode, "sample": sample, "shadow_wait_ms": step.shadow_wait_ms}
        found.append(plain)
    return found


class Builds(RuleBasedStateMachine):
    """A pipeline object beside a list, and what is deployed beside what was deployed.

    Attributes:
        plain: The steps that the object has.
        built: They were built here: an `add_*` adds to them, and does not begin anew.
        deployed: The steps that were deployed last, with `config`.
        newest: The steps of the newest version, with `newest_config`.
    """

    api: Api
    versions: Sequence[tuple[str, str]]  # a model's name, a version's uuid
    numbers: Iterator[int]  # of pipelines

    def __init__(self) -> None:
        super().__init__()
        self.plain: list[dict[str, Any]] = []
        self.built = False
        self.deployed: list[dict[str, Any]] | None = None
        self.config: dict[str, Any] = {}
        self.newest: list[dict[str, Any]] = []
        self.newest_config: dict[str, Any] = {}

    @initialize()
    def begin(self) -> None:
        self.client = gnomon.Client(f"http://127.0.0.1:{self.api.port}", TOKEN, interactive=False)
        self.models = [self.client.get_model(*version) for version in self.versions]
        self.name = f"pipe{next(self.numbers)}"
        self.pipeline = self.client.build_pipeline(self.name)

    def _put(self, step: dict[str, Any], method: str, *index: int) -> None:
        champion, *challengers = (self.models[number] for number in step["models"])
        terms = {name: value for name, value in step.items() if name != "models"}
        if challengers:
            suffix = "shadow_deploy"
            getattr(self.pipeline, method + suffix)(*index, champion, challengers, **terms)
        else:
            getattr(self.pipeline, f"{method}model_step")(*index, champion)

    @rule(step=steps)
    def add(self, step: dict[str, Any]) -> None:
        if self.built and self.plain:
            with pytest.raises(Invalid, match="2 steps"):
                self._put(step, "add_")
        else:
            self._put(step, "add_")
            self.plain, self.built = [step], True

    @rule(step=steps, index=indices)
    def replace(self, step: dict[str, Any], index: int) -> None:
        with contextlib.ExitStack() as stack:
            if index >= len(self.plain):
                stack.enter_context(pytest.raises(IndexError))
            self._put(step, "replace_with_", index)
            self.plain[index], self.built = step, True

    @rule(index=indices)
    def remove(self, index: int) -> None:
        with contextlib.ExitStack() as stack:
            if index >= len(self.plain):
                stack.enter_context(pytest.raises(IndexError))
            self.pipeline.remove_step(index)
            del self.plain[index]
            self.built = True

    @rule()
    def clear(self) -> None:
        self.pipeline.clear()
        self.plain, self.built = [], True

    @rule(config=configs)
    def deploy(self, config: dict[str, Any] | None) -> None:
        if not self.plain:
            with pytest.raises(Invalid, match="no steps"):
                self.pipeline.deploy(deployment_config=config)
            return
        self.pipeline.deploy(deployment_config=config)
        self.config = self.newest_config if config is None else config
        self.deployed, self.built = list(self.plain), False
        self.newest, self.newest_config = list(self.plain), self.config

    @rule()
    def fetch(self) -> None:
        """What was fetched has the steps of the newest version."""
        self.pipeline = self.client.get_pipeline(self.name)
        self.plain, self.built = list(self.newest), False

    @rule()
    def build_anew(self) -> None:
        """Another build under the name is an empty version; what is deployed runs on."""
        self.pipeline = self.client.build_pipeline(self.name)
        self.plain, self.built = [], False
        self.newest, self.newest_config = [], {}

    @rule()
    def fetch_and_deploy(self) -> None:
        self.fetch()
        self.deploy(None)

    @precondition(lambda self: self.deployed)
    @rule()
    def runs_what_was_deployed(self) -> None:
        """The routing table, of which fronts know what to do, has that and nothing else."""
        assert self.deployed is not None
        [route] = (route for route in self.api.backend.table.routes if route.pipeline == self.name)
        uuids = [self.models[number].version() for number in self.deployed[0]["models"]]
        assert [model.uuid for model in route.models()] == uuids
        threads = 2 if self.config.get("engine") else 1
        assert {model.resources.threads for model in route.models()} == {threads}
        assert set(route.sampling) <= {self.deployed[0].get("sample")}

    @invariant()
    def has_the_steps_of_the_list(self) -> None:
        assert read(self.pipeline, self.models) == self.plain

    def teardown(self) -> None:
        self.pipeline.undeploy()


def test_a_pipeline_is_a_plain_list_of_steps_whatever_is_done_to_it(tmp_path: Path):
    with serving(tmp_path) as served:
        uploads = [served.upload(name) for name in ("fraud", "fraud", "spam", "spam")]

        class BuildsHere(Builds):
            api = served
            versions = tuple((upload["name"], upload["uuid"]) for upload in uploads)
            numbers = itertools.count()

        run_state_machine_as_test(
            BuildsHere,
            settings=settings(max_examples=40, stateful_step_count=25, deadline=None),
        )
