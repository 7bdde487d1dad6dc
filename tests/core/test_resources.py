import pytest

from gnomon.core.errors import Invalid
from gnomon.core.resources import (
    Resources,
    check_document,
    replicas_of,
    resources_of,
    without_effect,
)
from gnomon.core.steps import ModelRef


def ref(name: str, version_id: int) -> ModelRef:
    return ModelRef(version_id=version_id, name=name, ordinal=1, uuid=name, sha256="0" * 64)


FRAUD, SPAM = ref("fraud", 7), ref("spam", 8)


def asking(**limits) -> dict:
    return {"resources": {"limits": limits, "requests": limits}}


def test_nothing_asked_for_is_the_usual():
    for document in (
        {},
        {"engine": {}},
        {"engineAux": {"images": {}}},
        {"enginelb": asking(cpu=3)},
    ):
        check_document(document)
        assert resources_of(document, FRAUD) == Resources(threads=1, memory_mib=None)


def test_what_is_asked_for_all_is_overruled_by_what_is_asked_for_one():
    document = {
        "engine": asking(cpu=2, memory="1Gi"),
        "engineAux": {"images": {"spam-8": asking(cpu=0.5), "other-7": asking(cpu=9)}},
    }

    assert resources_of(document, FRAUD) == Resources(threads=2, memory_mib=1024)
    assert resources_of(document, SPAM) == Resources(threads=1, memory_mib=1024)


@pytest.mark.parametrize(
    ("memory", "mib"),
    [("1Mi", 1), ("1.5Gi", 1536), ("1G", 954), (2**20, 1), ("2097152", 2), ("1Ti", 2**20)],
)
def test_memory_is_read_as_it_is_usually_written(memory, mib):
    document = {"engine": asking(memory=memory)}
    check_document(document)
    assert resources_of(document, FRAUD).memory_mib == mib


@pytest.mark.parametrize("cpus", [0, -1, 65, True, "2", None, float("nan"), [1]])
def test_cpus_that_no_host_can_have_are_refused(cpus):
    with pytest.raises(Invalid, match=r"cpus must be a number above 0|made of JSON values"):
        check_document({"engine": asking(cpu=cpus)})
    with pytest.raises(Invalid):
        check_document({"engineAux": {"images": {"fraud-7": asking(cpu=cpus)}}})


@pytest.mark.parametrize(
    "memory", ["", "much", "1Xi", "1 Gi", "0Gi", "-1Gi", "1023Ki", "2000Ti", "9" * 300, None, 1.5]
)
def test_memory_that_no_host_can_have_is_refused(memory):
    with pytest.raises(Invalid, match=r'memory must be an amount such as "512Mi"'):
        check_document({"engine": asking(memory=memory)})


def deep(levels: int) -> dict:
    document: dict = {}
    for _ in range(levels):
        document = {"a": document}
    return document


@pytest.mark.parametrize(
    "document",
    [
        None,
        "2",
        [1],
        {"engine": 2},
        {"engine": {"resources": 2}},
        {"engine": {"resources": {"limits": []}}},
        {"engineAux": 1},
        {"engineAux": {"images": [1]}},
        {"engineAux": {"images": {"fraud-7": 1}}},
        {"engine": {"image": object()}},
        {"engine": {"image": "x" * 20_000}},
        deep(20_000),
    ],
    ids=lambda document: str(type(document)),
)
def test_a_document_that_makes_no_sense_is_refused(document):
    with pytest.raises(Invalid):
        check_document(document)


def test_what_has_no_effect_is_named_and_what_has_is_not():
    document = {
        "engine": {
            **asking(cpu=2, memory="1Gi"),
            "cpu": 2,
            "replicas": 3,
            "autoscale": {"replica_min": 1, "replica_max": 4, "cpu_utilization": 75},
        },
        "enginelb": asking(cpu=1),
        "engineAux": {"images": {"fraud-7": {**asking(cpu=1), "gpu": 1}, "gone-3": asking(cpu=2)}},
        "workspace_id": 5,
    }

    assert without_effect(document, [FRAUD, SPAM]) == [
        "engine.autoscale.replica_min = 1",
        "engine.autoscale.replica_max = 4",
        "engine.autoscale.cpu_utilization = 75",
        "enginelb.resources.limits.cpu = 1",
        "enginelb.resources.requests.cpu = 1",
        "engineAux.images.fraud-7.gpu = 1",
        "engineAux.images.gone-3.resources.limits.cpu = 2",
        "engineAux.images.gone-3.resources.requests.cpu = 2",
    ]
    assert without_effect({"engine": {"replicas": 1}}, []) == []
    assert without_effect({"engine": {"cpu": 2}}, []) == ["engine.cpu = 2"]
    requests = {"engine": {"resources": {"requests": {"memory": "1Gi"}}}}
    assert without_effect(requests, []) == ["engine.resources.requests.memory = 1Gi"]


@pytest.mark.parametrize(
    ("engine", "replicas"),
    [
        ({}, 1),
        ({"replicas": 0}, 1),
        ({"replicas": 3}, 3),
        ({"autoscale": {"replica_min": 2, "replica_max": 4}}, 2),
        ({"replicas": 1, "autoscale": {"replica_min": 3}}, 3),
        ({"autoscale": {"replica_max": 4}}, 1),
    ],
)
def test_a_champion_has_as_many_hosts_as_were_asked_for(engine, replicas):
    check_document({"engine": engine})
    assert replicas_of({"engine": engine}) == replicas


@pytest.mark.parametrize(
    ("engine", "replicas"),
    [
        ({"replicas": "many"}, 1),
        ({"replicas": -2}, 1),
        ({"replicas": 1_000_000}, 8),
        ({"autoscale": "never"}, 1),
        ({"autoscale": {"replica_min": None}}, 1),
    ],
)
def test_what_was_kept_before_replicas_had_an_effect_does_no_harm(engine, replicas):
    assert replicas_of({"engine": engine}) == replicas


def test_hosts_with_other_resources_have_other_names():
    assert Resources().suffix() == ""
    assert Resources(threads=2).suffix() == "-2t"
    assert Resources(threads=2, memory_mib=512).suffix() == "-2t-512m"
