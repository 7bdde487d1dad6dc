"""What every Backend does. An implementation joins by a row in BACKENDS."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from importlib.resources import as_file, files
from pathlib import Path

import pytest

from gnomon.backends.base import Backend, HostSpec
from gnomon.backends.local import LocalBackend
from gnomon.core.routing import RoutingTable
from gnomon.front.client import FrontClient
from gnomon.supervisor.client import SupervisorClient
from gnomon.testing import FakeBackend
from tests.bare import front, supervisor
from tests.waiting import until


@contextlib.contextmanager
def fake(directory: Path) -> Iterator[Backend]:
    """A FakeBackend."""
    backend = FakeBackend()
    backend.rejects(hashlib.sha256(b"no model").hexdigest(), "not_onnx", "It is not ONNX.")
    yield backend


@contextlib.contextmanager
def local(directory: Path) -> Iterator[Backend]:
    """A LocalBackend over a real supervisor and a real front."""
    run = directory / "run"
    with supervisor(directory), front(run, run / "front-0.sock"):
        backend = LocalBackend(
            SupervisorClient(run / "supervisor.sock"),
            {"front-0": FrontClient(run / "front-0.sock")},
            run / "routing.json",
        )
        yield backend
        backend.close()


BACKENDS: dict[str, Callable[[Path], AbstractContextManager[Backend]]] = {
    "fake": fake,
    "local": local,
}


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    with BACKENDS[request.param](tmp_path) as made:
        yield made


@pytest.fixture
def model() -> Iterator[Path]:
    with as_file(files("gnomon.samples").joinpath("fraud_champion.onnx")) as path:
        yield path


def spec_of(path: Path, name: str = "d1-s0-m1-champion") -> HostSpec:
    content = path.read_bytes()
    return HostSpec(
        name=name,
        model_path=str(path),
        sha256=hashlib.sha256(content).hexdigest(),
        version_uuid="3f0d4b0e-0000-4000-8000-000000000001",
        role="champion",
        model_bytes=len(content),
    )


def states(backend: Backend) -> dict[str, str]:
    return {status.name: status.state for status in backend.hosts()}


def test_a_host_that_was_started_is_listed_at_once_and_ready_soon(backend, model):
    spec = spec_of(model)
    backend.start_host(spec)
    assert states(backend)[spec.name] in ("starting", "ready")
    until(lambda: states(backend)[spec.name] == "ready")
    [status] = backend.hosts()
    assert status.spec == spec
    assert status.pid is not None
    assert status.restarts == 0


def test_starting_a_host_twice_changes_nothing(backend, model):
    backend.start_host(spec_of(model))
    until(lambda: set(states(backend).values()) == {"ready"})
    before = backend.hosts()
    backend.start_host(spec_of(model))
    assert backend.hosts() == before


def test_hosts_of_one_model_are_apart_by_name(backend, model):
    names = ["d1-s0-m1-champion", "d2-s0-m1-champion"]
    for name in names:
        backend.start_host(spec_of(model, name))
    until(lambda: list(states(backend).values()) == ["ready", "ready"])
    assert len({status.pid for status in backend.hosts()}) == 2


def test_a_stopped_host_is_listed_no_more_or_as_stopping(backend, model):
    spec = spec_of(model)
    backend.start_host(spec)
    backend.stop_host(spec.name)
    assert states(backend).get(spec.name, "stopping") == "stopping"
    until(lambda: not states(backend))


def test_stopping_what_is_not_there_is_fine(backend):
    backend.stop_host("d9-s0-m9-champion")
    assert backend.hosts() == []


def test_a_host_can_be_started_again_under_its_name(backend, model):
    spec = spec_of(model)
    backend.start_host(spec)
    backend.stop_host(spec.name)
    backend.start_host(spec)
    until(lambda: states(backend).get(spec.name) == "ready")


def test_a_model_is_probed_for_its_signature(backend, model):
    report = backend.probe(model, spec_of(model).sha256)
    assert report.reason is None
    assert report.signature.inputs
    assert report.signature.outputs
    assert backend.hosts() == [], "a probe is no host"


def test_what_is_no_model_is_refused_with_a_reason(backend, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"no model")
    report = backend.probe(path, hashlib.sha256(b"no model").hexdigest())
    assert report.signature is None
    assert report.reason == "not_onnx"
    assert report.message
    assert str(tmp_path) not in report.message


def test_tables_are_published_and_an_older_one_changes_nothing(backend):
    for version in (2, 3, 1):
        backend.publish(RoutingTable(version=version, token_hashes={}))


def test_logs_are_committed_by_every_front(backend):
    assert backend.commit_logs() == []


def test_processes_and_stats_are_told(backend):
    assert all(process.name for process in backend.processes())
    [stats] = backend.front_stats()
    assert (stats.front, stats.answers) == ("front-0", True)
    assert stats.models == {}
