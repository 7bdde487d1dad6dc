"""Whatever is added, replaced, removed, deployed and fetched: a pipeline is a list of steps."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from hashlib import sha256
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
from gnomon.core.model import Signature
from gnomon.core.steps import (
    Audit,
    KeySplit,
    ModelStep,
    MultiModelStep,
    RandomSplit,
    Select,
    Step,
    Validations,
)
from gnomon.core.tensors import TensorSpec
from tests.api.conftest import Api, serving
from tests.planes import TOKEN

MODELS = 4
CHAINED = Signature(
    inputs=(TensorSpec(name="tensor", dtype="float32", shape=(None, 2)),),
    outputs=(TensorSpec(name="y", dtype="float32", shape=(None, 2)),),
)
versions = st.integers(0, MODELS - 1)
several = st.lists(versions, min_size=2, max_size=MODELS, unique=True)
names = st.sampled_from("abc")

# A step as the plain list has it: its kind, its models, and whatever else is said of it.
alone = versions.map(lambda version: {"kind": "model_step", "models": [version]})
shadows = st.fixed_dictionaries(
    {
        "kind": st.just("shadow_deploy"),
        "models": several,
        "mode": st.sampled_from(["async", "joined"]),
        "sample": st.sampled_from([0.0, 0.25, 1.0]),
        "shadow_wait_ms": st.sampled_from([0, 40, 1_000]),
    }
)
many = st.fixed_dictionaries({"kind": st.just("multi_model_step"), "models": several})
random_splits = st.fixed_dictionaries(
    {
        "kind": st.just("random_split"),
        "models": several,
        "weights": st.lists(st.sampled_from([1.0, 2.5]), min_size=MODELS, max_size=MODELS),
        "hash_key": st.sampled_from([None, "customer"]),
    }
).map(lambda step: {**step, "weights": step["weights"][: len(step["models"])]})
key_splits = st.fixed_dictionaries(
    {"kind": st.just("key_split"), "models": several, "meta_key": st.sampled_from(["x", "region"])}
)
validations = st.fixed_dictionaries(
    {
        "kind": st.just("validations"),
        "models": st.just([]),
        "expressions": st.dictionaries(names, st.sampled_from([0.1, 0.9]), min_size=1, max_size=2),
    }
)
selections = st.fixed_dictionaries(
    {"kind": st.just("select"), "models": st.just([]), "index": st.integers(0, 3)}
)
audits = st.fixed_dictionaries(
    {"kind": st.just("audit"), "models": st.just([]), "span": st.sampled_from([(0, None), (1, 2)])}
)
with_models = alone | shadows | many | random_splits | key_splits
about_last = validations | audits | selections
steps = with_models | about_last
indices = st.integers(0, 4)
configs = st.sampled_from([None, {"engine": {"resources": {"limits": {"cpu": 2}}}}, {"engine": {}}])


def said(
    step: dict[str, Any], models: list[gnomon.Model]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return what a method is given for a step."""
    given = [models[number] for number in step["models"]]
    rest = {name: value for name, value in step.items() if name not in ("kind", "models")}
    match step["kind"]:
        case "model_step":
            return (given[0],), {}
        case "shadow_deploy":
            return (given[0], given[1:]), rest
        case "multi_model_step":
            return (given,), {}
        case "random_split":
            pairs = list(zip(step["weights"], given, strict=True))
            return (pairs,), {"hash_key": step["hash_key"]}
        case "key_split":
            options = {f"v{at}": model for at, model in enumerate(given[1:])}
            return (given[0], step["meta_key"], options), {}
        case "validations":
            return (), {name: f"out.y[1] > {value}" for name, value in step["expressions"].items()}
        case "select":
            return (step["index"],), {}
        case _:
            start, end = step["span"]
            return (f"{start}:{'' if end is None else end}",), {}


def plain(step: Step, models: list[gnomon.Model]) -> dict[str, Any]:
    """Return a step as the plain list has it."""
    numbers = {model.version(): number for number, model in enumerate(models)}
    found: dict[str, Any] = {"models": [numbers[ref.uuid] for ref in step.models()]}
    match step:
        case ModelStep() if step.challengers:
            [sample] = set(step.sample)
            terms = {"mode": step.mode, "sample": sample, "shadow_wait_ms": step.shadow_wait_ms}
            return {"kind": "shadow_deploy", **found, **terms}
        case ModelStep():
            return {"kind": "model_step", **found}
        case MultiModelStep():
            return {"kind": "multi_model_step", **found}
        case RandomSplit():
            terms = {"weights": list(step.weights), "hash_key": step.hash_key}
            return {"kind": "random_split", **found, **terms}
        case KeySplit():
            assert list(step.routes) == [f"v{at}" for at in range(len(step.routes))]
            return {"kind": "key_split", **found, "meta_key": step.meta_key}
        case Validations():
            values = {name: _compared_with(tree) for name, tree in step.expressions.items()}
            return {"kind": "validations", **found, "expressions": values}
        case Select():
            return {"kind": "select", **found, "index": step.index}
        case Audit():
            return {"kind": "audit", **found, "span": (step.start, step.end)}


def _compared_with(tree: Any) -> float:
    return next(side["value"] for side in tree["greater"] if "value" in side)


def is_whole(steps: Sequence[dict[str, Any]]) -> bool:
    """Say whether steps can be deployed: the rules again, in the plainest words."""
    kinds = [step["kind"] for step in steps]
    names = [name for step in steps for name in step.get("expressions", ())]
    return (
        bool(steps)
        and bool(steps[0]["models"])
        and len(names) == len(set(names))
        and all(
            _can_select(steps[:at], step) for at, step in enumerate(steps) if kinds[at] == "select"
        )
    )


def _can_select(before: Sequence[dict[str, Any]], step: dict[str, Any]) -> bool:
    [last] = [step for step in before if step["kind"] != "audit"][-1:] or [None]
    is_several = last is not None and last["kind"] == "multi_model_step"
    return is_several and step["index"] < len(last["models"])


def tail(steps: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the steps behind the last one with models."""
    return list(itertools.takewhile(lambda step: not step["models"], reversed(steps)))


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
        arguments, named = said(step, self.models)
        getattr(self.pipeline, method + step["kind"])(*index, *arguments, **named)

    @rule(step=steps)
    def add(self, step: dict[str, Any]) -> None:
        """What is not built here is begun anew, except by what is about the step before it."""
        begins = bool(step["models"]) and not self.built
        before = [] if begins else self.plain
        if not self.built and step in tail(self.plain):
            self._put(step, "add_")  # it is there
        elif (is_whole(before) or not before) and not is_whole([*before, step]):
            with pytest.raises(Invalid):
                self._put(step, "add_")
        else:
            self._put(step, "add_")
            self.plain, self.built = [*before, step], True

    @rule()
    def keep(self) -> None:
        self.pipeline.keep_steps()
        self.built = True

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
        if not is_whole(self.plain):
            with pytest.raises(Invalid):
                self.pipeline.deploy(deployment_config=config)
            return
        self.pipeline.deploy(deployment_config=config)
        self.config = self.newest_config if config is None else config
        self.deployed, self.built = list(self.plain), False
        self.newest, self.newest_config = list(self.plain), self.config

    @rule(added=st.lists(with_models, min_size=1, max_size=3), last=about_last)
    def build_and_deploy(self, added: list[dict[str, Any]], last: dict[str, Any]) -> None:
        """What a cell of a notebook does."""
        for step in (*added, last):
            self.add(step)
        self.deploy(None)

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
        uuids = {
            self.models[number].version() for step in self.deployed for number in step["models"]
        }
        assert {model.uuid for model in route.served()} == uuids
        assert len(route.served()) == sum(len(step["models"]) for step in self.deployed)
        threads = 2 if self.config.get("engine") else 1
        assert {model.resources.threads for model in route.served()} == {threads}
        shadows = [step for step in self.deployed if step["kind"] == "shadow_deploy"]
        sampled = [step["sample"] for step in shadows for _ in step["models"][1:]]
        watching = [rate for rate in route.sampling if rate < 1]
        assert watching == [rate for rate in sampled if rate < 1]
        checked = [name for check in route.checks for name in check.expressions]
        assert checked == [name for step in self.deployed for name in step.get("expressions", ())]

    @invariant()
    def has_the_steps_of_the_list(self) -> None:
        assert [plain(step, self.models) for step in self.pipeline.steps()] == self.plain

    def teardown(self) -> None:
        self.pipeline.undeploy()
        self.pipeline.delete()


def test_a_pipeline_is_a_plain_list_of_steps_whatever_is_done_to_it(tmp_path: Path):
    with serving(tmp_path) as served:
        for name in ("fraud", "spam"):
            served.backend.declares(sha256(f"the file of {name}".encode()).hexdigest(), CHAINED)
        uploads = [served.upload(name) for name in ("fraud", "fraud", "spam", "spam")]

        class BuildsHere(Builds):
            api = served
            versions = tuple((upload["name"], upload["uuid"]) for upload in uploads)
            numbers = itertools.count()

        run_state_machine_as_test(
            BuildsHere,
            settings=settings(max_examples=40, stateful_step_count=20, deadline=None),
        )
