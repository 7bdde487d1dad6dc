"""Pipelines of several steps: what they need, how they are seen, changed, restored and kept."""

from __future__ import annotations

from hashlib import sha256

import pytest

from gnomon.control.plane import ControlPlane
from gnomon.core.errors import Conflict, Invalid, NotFound
from gnomon.core.model import ModelVersion, Signature
from gnomon.core.pipeline import Definition
from gnomon.core.plan import Check, Split
from gnomon.core.shadow import ShadowChange
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
from gnomon.testing import FakeBackend
from tests.control.deploying import deploy, now, settled, states, undeploy
from tests.planes import owner, ref, upload, workspace_of

HIGH = {"greater": [{"element": [{"column": "out.out"}], "at": 0}, {"value": 1}]}


def taking_and_giving(takes: str, gives: str, width: int = 1) -> Signature:
    return Signature(
        inputs=(TensorSpec(name=takes, dtype="float32", shape=(None, width)),),
        outputs=(TensorSpec(name=gives, dtype="float32", shape=(None, 1)),),
    )


@pytest.fixture
def add(running: ControlPlane, backend: FakeBackend):
    """Uploads a model that takes and gives columns of these names."""

    def upload_one(name: str, takes: str = "tensor", gives: str = "out") -> ModelVersion:
        content = f"{name} from {takes} to {gives}".encode()
        backend.declares(sha256(content).hexdigest(), taking_and_giving(takes, gives))
        return upload(running, name, content)

    return upload_one


def steps(*given: Step) -> Definition:
    return Definition(steps=given)


def alone(model: ModelVersion) -> ModelStep:
    return ModelStep(champion=ref(model))


def shadowed(champion: ModelVersion, *challengers: ModelVersion, **more) -> ModelStep:
    return ModelStep(champion=ref(champion), challengers=tuple(map(ref, challengers)), **more)


def test_every_model_of_every_step_has_a_host_and_the_fronts_know_the_way(running, backend, add):
    first, rival, second = add("first"), add("rival"), add("second", takes="out", gives="y")
    late = add("late", takes="out", gives="z")
    validations = Validations(expressions={"high": HIGH})

    deploy(
        running, steps(shadowed(first, rival), Audit(start=1), validations, shadowed(second, late))
    )

    view = settled(running)
    assert states(view) == dict.fromkeys(("first", "rival", "second", "late"), "ready")
    assert [(m.label, m.role, m.step) for m in view.models] == [
        ("first", "champion", 0),
        ("rival", "challenger", 0),
        ("second", "champion", 3),
        ("late", "challenger", 3),
    ]
    [route] = backend.table.routes
    assert [stage.step for stage in route.stages] == [0, 3]
    assert [m.label for m in route.challengers] == ["rival", "late"]
    assert route.checks == (Check(stage=0, expressions={"high": HIGH}),)
    assert {m.host for m in route.served()} == {host.name for host in backend.hosts()}
    assert route.champion.signature.inputs[0].name == "tensor"
    assert route.champion.signature.outputs[0].name == "y"


def test_one_step_without_a_split_is_routed_as_ever(running, backend, add):
    deploy(running, steps(shadowed(add("first"), add("rival")), Audit(start=1)))
    settled(running)
    [route] = backend.table.routes
    assert route.stages == ()
    assert route.served() == route.models()


def test_a_version_that_stands_in_two_steps_has_two_hosts(running, backend, add):
    model = add("same", takes="out")
    deploy(running, steps(alone(model), alone(model)))
    view = settled(running)
    assert states(view) == {"same_v1_s0": "ready", "same_v1_s1": "ready"}
    assert len(backend.hosts()) == 2


def test_a_deployment_waits_for_the_champions_of_all_steps_and_of_all_options(
    running, backend, add
):
    first, one, other = add("first"), add("one", takes="out"), add("other", takes="out")
    backend.hosts_become(other.sha256, "starting")
    split = RandomSplit(weights=(3, 1), options=(ref(one), ref(other)), hash_key="id")

    deploy(running, steps(alone(first), split))

    assert backend.wait_until(lambda b: len(b.hosts()) == 3)
    assert (now(running).state, backend.table.routes) == ("starting", ())
    backend.set_state(next(h.name for h in backend.hosts() if h.state == "starting"), "ready")
    assert settled(running).state == "running"
    assert backend.table.routes[0].stages[1].split == Split(column="id", shares=(0.75, 0.25))


def test_a_champion_of_any_step_that_fails_fails_the_deployment_with_its_name(
    running, backend, add
):
    first, second = add("first"), add("second", takes="out")
    backend.hosts_become(second.sha256, "failed", "It is damaged.")
    deploy(running, steps(alone(first), alone(second)))
    view = settled(running)
    assert (view.state, view.reason) == (
        "failed",
        "The champion second@1 did not start: It is damaged.",
    )


def test_steps_that_do_not_fit_are_refused_before_anything_is_written_down(running, backend, add):
    first, second = add("first", gives="a"), add("second", takes="b")
    two = Signature(inputs=(TensorSpec(name="x", dtype="string", shape=(None, 1)),), outputs=())
    backend.declares(sha256(b"text").hexdigest(), two)
    texts = upload(running, "texts", b"text")
    deploy(running, steps(alone(first), alone(second)))  # its only input takes the only output
    settled(running)

    with pytest.raises(Invalid, match=r"Step 1 cannot follow step 0: texts@1 takes its input 'x'"):
        deploy(running, steps(alone(first), shadowed(second, texts)), "other")
    with pytest.raises(Invalid, match=r"'high' asks for 'out\.out'; first@1 of step 0 gives 'a'"):
        deploy(running, steps(alone(first), Validations(expressions={"high": HIGH})), "other")
    bad = Validations(expressions={"odd": {"__import__": ["os"]}})
    with pytest.raises(Invalid, match="The validation 'odd'"):
        deploy(running, steps(alone(first), bad), "other")
    found = running.pipelines.get(owner(running), workspace_of(running), "other")
    assert found.deployment is None


def configure(plane: ControlPlane, model: ModelVersion, *fields: str) -> None:
    changes = {"tensor_fields": list(fields) or None}
    plane.catalog.configure(owner(plane), workspace_of(plane), model.uuid, changes)


def test_columns_are_pinned_for_the_models_of_every_step(running, backend, add):
    first, second = add("first"), add("second", takes="in")
    configure(running, second, "out")
    deploy(running, steps(alone(first), alone(second)))
    version = settled(running).pipeline_version

    # When it is configured so that it would not fit
    configure(running, second, "nothing")
    [route] = backend.table.routes
    assert route.stages[1].champions[0].tensor_fields == ("out",)
    with pytest.raises(Invalid, match="from the column 'nothing', and first@1 gives 'out'"):
        deploy(running, steps(alone(first), alone(second)))

    # Then the version runs again as it was
    call, workspace = owner(running), workspace_of(running)
    running.deployments.restore(call, workspace, "pipe", version)
    assert settled(running).state == "running"
    assert backend.table.routes[0].stages[1].champions[0].tensor_fields == ("out",)


def test_the_challengers_of_all_steps_are_changed_by_label(running, backend, add):
    first, second = add("first"), add("second", takes="out")
    one, other = add("one"), add("other", takes="out")
    mode = {"mode": "joined", "shadow_wait_ms": 70}
    deploy(running, steps(shadowed(first, one, sample=(0.5,)), shadowed(second, other, **mode)))
    view = settled(running)
    assert (view.shadow.mode, view.shadow.shadow_wait_ms) == ("joined", 70)
    assert backend.table.routes[0].sampling == (0.5, 1.0)

    def change(**wanted):
        call = owner(running)
        wish = ShadowChange(**wanted)
        return running.shadows.change(call, workspace_of(running), "pipe", wish)

    assert change(sample={"other": 0.25}, on={"one": False}).shadow.in_force
    assert backend.table.routes[0].sampling == (0.0, 0.25)
    with pytest.raises(Invalid, match=r"no challenger 'second'; there is: one, other\."):
        change(on={"second": False})


def test_of_several_models_one_answers_and_the_others_are_waited_for(running, backend, add):
    several = MultiModelStep(members=(ref(add("a")), ref(add("b")), ref(add("c"))))
    deploy(running, steps(several))
    settled(running)
    [route] = backend.table.routes
    assert (route.champion.label, route.mode) == ("a", "joined")
    assert [m.label for m in route.challengers] == ["b", "c"]

    deploy(running, steps(several, Select(index=2)))
    settled(running)
    [route] = backend.table.routes
    assert (route.champion.label, route.mode) == ("c", "async")
    assert [m.label for m in route.challengers] == ["a", "b"]


def test_a_version_is_in_use_wherever_it_stands(running, add):
    models = {name: add(name, takes="out") for name in "abcdef"}
    a, b, c, d, e, _ = map(ref, models.values())
    split = KeySplit(meta_key="k", default=b, routes={"x": c})
    deploy(running, steps(ModelStep(champion=a), split, MultiModelStep(members=(d, e))))
    settled(running)

    def delete(name: str) -> None:
        running.catalog.delete_version(owner(running), workspace_of(running), name, "1")

    for name in "abcde":
        with pytest.raises(Conflict, match=f"{name}@1 is used by the pipeline 'pipe'"):
            delete(name)
    delete("f")
    undeploy(running)
    settled(running)
    with pytest.raises(Conflict):  # it would be deployed next
        delete("e")


@pytest.mark.parametrize(
    "step",
    [
        lambda model, gone: RandomSplit(weights=(1, 1), options=(model, gone)),
        lambda model, gone: KeySplit(meta_key="k", default=model, routes={"x": gone}),
        lambda model, gone: KeySplit(meta_key="k", default=gone, routes={"x": model}),
        lambda model, gone: MultiModelStep(members=(model, gone)),
    ],
)
def test_a_version_that_is_not_there_is_named_in_any_step(running, add, step):
    model, gone = ref(add("a", takes="out")), ref(add("gone", takes="out"))
    running.catalog.delete_version(owner(running), workspace_of(running), "gone", "1")
    with pytest.raises(NotFound, match="gone@1"):
        deploy(running, steps(ModelStep(champion=model), step(model, gone)))


def test_a_restart_brings_every_step_back(running, opening, backend, add):
    split = RandomSplit(
        weights=(1, 1), options=(ref(add("b", takes="out")), ref(add("c", takes="out")))
    )
    deploy(running, steps(shadowed(add("a"), add("r")), split))
    before = settled(running)
    backend.lose_hosts()

    plane = opening()
    plane.start()

    assert settled(plane).models[0].state == "ready"
    assert states(settled(plane)) == states(before)
    assert len(backend.hosts()) == 4


def test_another_first_step_keeps_the_hosts_of_the_second_one(running, backend, add):
    second = add("second", takes="out")
    deploy(running, steps(alone(add("first")), alone(second)))
    settled(running)
    before = {host.name: host.pid for host in backend.hosts()}

    deploy(running, steps(alone(add("other")), alone(second)))

    settled(running)
    assert backend.wait_until(lambda b: len(b.hosts()) == 2)
    after = {host.name: host.pid for host in backend.hosts()}
    [kept] = set(before.items()) & set(after.items())
    assert "-s1-" in kept[0]
