"""What goes wrong while versions change: nobody who asks can tell."""

import os
import signal
import threading
from pathlib import Path

import numpy as np
import pytest

from gnomon.object import CommunicationError, DeploymentError
from tests import hostile_models
from tests.end_to_end.callers import Callers, first_output
from tests.end_to_end.conftest import Server
from tests.waiting import until

ROW = [1.5, -2.5]


def upload(client, name: str, tmp_path: Path, content: bytes):
    path = tmp_path / f"{name}.onnx"
    path.write_bytes(content)
    return client.upload_model(name, path)


def test_no_answer_fails_or_mixes_versions_while_they_are_swapped(server, tmp_path):
    # Given eleven versions of a model: version n multiplies by n
    client = server.client()
    versions = [
        upload(client, "times", tmp_path, hostile_models.doubling(factor=float(factor)))
        for factor in range(1, 12)
    ]
    factors = {version.version(): factor for factor, version in enumerate(versions, start=1)}

    def deploy(version) -> None:
        pipeline = client.build_pipeline("swapped")
        pipeline.add_model_step(version).deploy()

    def is_of_one_version(index, answer) -> bool:
        [[first, second]] = first_output(answer)
        factor = factors[answer[0]["model_version"]]
        return (first, second) == (1.5 * factor, -2.5 * factor)

    # When they are deployed one after the other while callers ask without a pause
    deploy(versions[0])
    url = client.get_pipeline("swapped").url()
    seen = set()

    def note(index, answer) -> bool:
        seen.add(answer[0]["model_version"])
        return is_of_one_version(index, answer)

    with Callers(url, server.token, [{"x": [ROW]}], note) as heard:
        for version in versions[1:]:
            deploy(version)
            # and who asks now is answered by it
            assert client.get_pipeline("swapped").infer({"x": [ROW]})[0].raw["model_version"] == (
                version.version()
            )

    # Then every answer is that of the version that it names, and none failed
    assert heard.failures == {}
    assert heard.wrong == []
    assert seen == set(factors)


def spoil(server, version, content: bytes) -> None:
    """Put something else into a model's file, after it was looked at."""
    [path] = (server.home / "artifacts" / version.sha()).iterdir()
    path.chmod(0o600)
    path.write_bytes(content)


def test_a_version_that_crashes_at_load_leaves_the_old_one_serving(server, tmp_path):
    client = server.client()
    good = upload(client, "good", tmp_path, hostile_models.doubling())
    bad = upload(client, "bad", tmp_path, hostile_models.doubling(factor=9.0))
    spoil(server, bad, hostile_models.crashes_on_zeros())
    pipeline = client.build_pipeline("steady").add_model_step(good).deploy()

    with Callers(
        pipeline.url(),
        server.token,
        [{"x": [ROW]}],
        lambda _, answer: first_output(answer).tolist() == [[3.0, -5.0]],
    ) as heard:
        with pytest.raises(DeploymentError, match=r"bad.*SIGFPE"):
            client.build_pipeline("steady").add_model_step(bad).deploy()

        assert client.get_pipeline("steady").status()["status"] == "Error"
        assert "SIGFPE" in str(client.get_pipeline("steady").status())
    assert heard.failures == {}
    assert heard.wrong == []


def test_a_version_that_never_ends_loading_leaves_the_old_one_serving(server, tmp_path):
    client = server.client()
    good = upload(client, "good", tmp_path, hostile_models.doubling())
    endless = upload(client, "endless", tmp_path, hostile_models.doubling(factor=9.0))
    spoil(server, endless, hostile_models.endless_loop())
    pipeline = client.build_pipeline("steady").add_model_step(good).deploy()
    url = pipeline.url()

    with Callers(url, server.token, [{"x": [ROW]}]) as heard:
        stuck = client.build_pipeline("steady").add_model_step(endless)
        stuck.deploy(wait_for_status=False)
        pid = until(lambda: server.pids().get("endless"))
        assert client.get_pipeline("steady").status()["status"] == "Starting"

        # Who loses patience deploys something else: the stuck one is gone at once
        client.build_pipeline("steady").add_model_step(good).deploy()
        until(lambda: not _runs(pid), within_s=3.0)
    assert heard.failures == {}


def _runs(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_a_version_that_never_ends_loading_is_given_up_after_its_time(tmp_path):
    server = Server(tmp_path, limits={"HOST_LOAD_TIMEOUT_S": 2.0})
    server.start()
    try:
        client = server.client()
        good = upload(client, "good", tmp_path, hostile_models.doubling())
        endless = upload(client, "endless", tmp_path, hostile_models.doubling(factor=9.0))
        spoil(server, endless, hostile_models.endless_loop())
        pipeline = client.build_pipeline("steady").add_model_step(good).deploy()

        with (
            Callers(pipeline.url(), server.token, [{"x": [ROW]}]) as heard,
            pytest.raises(DeploymentError, match=r"endless.*did not load within 2 s"),
        ):
            client.build_pipeline("steady").add_model_step(endless).deploy()
        assert heard.failures == {}
        assert server.post(pipeline.url(), {"x": [ROW]}).status == 200
    finally:
        server.stop()


@pytest.mark.parametrize("what", ["deploy", "upload"])
def test_a_control_plane_that_is_killed_in_the_middle_leaves_nothing_by_halves(
    server, tmp_path, what
):
    # Given a running pipeline
    client = server.client()
    old = upload(client, "old", tmp_path, hostile_models.doubling())
    new = upload(client, "new", tmp_path, hostile_models.doubling(factor=3.0))
    pipeline = client.build_pipeline("half").add_model_step(old).deploy()
    url, before = pipeline.url(), server.pids()["control"]

    # When the control plane is killed while something changes
    incoming = server.home / "artifacts" / "incoming"
    with Callers(url, server.token, [{"x": [ROW]}]) as heard:
        if what == "deploy":
            deploying = client.build_pipeline("half").add_model_step(new)
            deploying.deploy(wait_for_status=False)
            os.kill(before, signal.SIGKILL)
        else:
            path = tmp_path / "large.onnx"
            path.write_bytes(hostile_models.doubling(factor=7.0) + bytes(256_000_000))
            uploading = threading.Thread(target=_upload_in_vain, args=(client, path))
            uploading.start()
            until(lambda: any(incoming.iterdir()), every_s=0.001)
            os.kill(before, signal.SIGKILL)
            uploading.join()
        until(lambda: server.pids()["control"] not in (None, before), within_s=5.0)

        # Then it is back, what was asked is done in full or not at all, and nobody noticed
        until(lambda: client.get_pipeline("half").status()["status"] == "Running")
        [answer] = client.get_pipeline("half").infer({"x": [ROW]})
    served = new if what == "deploy" else old
    assert answer.raw["model_version"] == served.version()
    factor = 3.0 if what == "deploy" else 2.0
    np.testing.assert_array_equal(answer.data()[0], np.float32([ROW]) * factor)
    assert heard.failures == {}
    assert {model.name() for model in client.list_models()} == {"old", "new"}
    assert list(incoming.iterdir()) == []
    kept = {entry.name for entry in incoming.parent.iterdir()} - {incoming.name}
    assert kept == {old.sha(), new.sha()}


def _upload_in_vain(client, path: Path) -> None:
    with pytest.raises(CommunicationError):
        client.upload_model("large", path)
