import hashlib
import resource
import signal
import subprocess
import sys
import threading

import pytest

from gnomon.core.errors import BodyTooLarge, OutOfSpace
from gnomon.stores.artifacts import Artifacts


@pytest.fixture
def store(tmp_path):
    return Artifacts(tmp_path / "artifacts")


def files(store: Artifacts) -> list[str]:
    root = store.path("x").parents[1]
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def keep(store: Artifacts, content: bytes):
    incoming = store.begin()
    for start in range(0, len(content), 1000):
        incoming.write(content[start : start + 1000])
    return incoming.commit()


def test_a_file_is_kept_under_its_digest_alone_in_its_directory_and_read_only(store):
    content = bytes(range(256)) * 20
    artifact = keep(store, content)
    assert artifact.sha256 == hashlib.sha256(content).hexdigest()
    assert artifact.size_bytes == len(content)
    assert artifact.path == store.path(artifact.sha256)
    assert artifact.path.read_bytes() == content
    assert artifact.path.stat().st_mode & 0o777 == 0o400
    assert files(store) == [f"{artifact.sha256}/model.onnx"]


def test_the_same_file_twice_is_kept_once(store):
    first, second = keep(store, b"same"), keep(store, b"same")
    assert first == second
    assert len(files(store)) == 1


def test_the_same_file_from_many_threads_is_kept_once(store):
    artifacts = []
    threads = [
        threading.Thread(target=lambda: artifacts.append(keep(store, b"same" * 5000)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(artifacts) == 8
    assert len(files(store)) == 1


def test_a_file_that_was_cut_short_on_disk_is_replaced(store):
    artifact = keep(store, b"whole file")
    artifact.path.chmod(0o600)
    artifact.path.write_bytes(b"who")
    assert keep(store, b"whole file").path.read_bytes() == b"whole file"


def test_too_many_bytes_are_refused_while_they_come(store):
    incoming = store.begin(bytes_max=10)
    incoming.write(b"12345")
    with pytest.raises(BodyTooLarge):
        incoming.write(b"678901")
    incoming.discard()
    assert files(store) == []


def test_a_discarded_file_leaves_nothing(store):
    incoming = store.begin()
    incoming.write(b"something")
    incoming.discard()
    assert files(store) == []


def test_discarding_after_commit_does_nothing(store):
    incoming = store.begin()
    incoming.write(b"something")
    artifact = incoming.commit()
    incoming.discard()
    assert artifact.path.read_bytes() == b"something"


def test_a_full_disk_is_named_and_nothing_is_left(store):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    incoming = store.begin()
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
        with pytest.raises(OutOfSpace):
            incoming.write(bytes(10_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        incoming.discard()
    assert files(store) == []


def test_what_a_killed_process_was_receiving_is_swept(store, tmp_path):
    code = (
        "import sys, os, signal; from pathlib import Path; "
        "from gnomon.stores.artifacts import Artifacts; "
        "incoming = Artifacts(Path(sys.argv[1])).begin(); incoming.write(b'half'); "
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "artifacts")], check=False)
    assert done.returncode == -signal.SIGKILL
    kept = keep(store, b"another")
    assert len(files(store)) == 2
    assert store.sweep() == 1
    assert files(store) == [f"{kept.sha256}/model.onnx"]


def test_a_removed_file_is_gone_and_removing_it_again_is_fine(store):
    artifact = keep(store, b"something")
    store.remove(artifact.sha256)
    store.remove(artifact.sha256)
    assert files(store) == []
