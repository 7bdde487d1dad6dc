import asyncio
import os
import resource
import signal
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from gnomon import unix_sockets
from gnomon.core import limits
from gnomon.core.frames import Kind
from gnomon.front.link import Link
from tests import hostile_models
from tests.front.talking import Owner
from tests.processes import works
from tests.waiting import until

ROW = np.array([[1.0, 2.0]], dtype=np.float32)


def test_a_host_answers_what_its_model_says(bare):
    bare.start(hostile_models.doubling())
    bare.when("ready")

    answer = bare.connect().run(ROW)

    assert answer.kind is Kind.RESULT
    assert answer.tensors[0].tolist() == [[2.0, 4.0]]
    assert answer.number > 0  # elapsed


def test_questions_sent_together_are_answered_in_order(bare):
    bare.start(hostile_models.doubling())
    line = bare.connect()
    for request in range(20):
        line.send(ROW * request, request=request)

    answers = [line.read() for _ in range(20)]

    assert [answer.request for answer in answers] == list(range(20))
    assert [answer.tensors[0][0, 0] for answer in answers] == [2.0 * i for i in range(20)]


def test_a_model_error_is_an_answer_and_the_host_goes_on(bare):
    bare.start(hostile_models.errors_on_input())
    line = bare.connect()

    failed = line.run(np.array([[0, 7]], dtype=np.int64))
    fine = line.run(np.array([[0, 2]], dtype=np.int64))

    assert failed.kind is Kind.FAILED
    assert failed.text.startswith("model_failed: ")
    assert "7" in failed.text
    assert fine.tensors[0].tolist() == [[0.0, 2.0]]


def test_a_host_has_no_secrets_no_files_and_hard_limits(bare):
    bare.start(hostile_models.doubling(), "champion")
    bare.start(hostile_models.doubling(), "challenger", role="challenger")
    process = psutil.Process(bare.when("ready", "champion").pid)
    challenger = psutil.Process(bare.when("ready", "challenger").pid)

    assert set(process.environ()) == {
        "PATH",
        "LANG",
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "ORT_DISABLE_TELEMETRY",
    }
    files = os.listdir(f"/proc/{process.pid}/fd")
    targets = {os.readlink(f"/proc/{process.pid}/fd/{file}") for file in files}
    kinds = {target.partition(":")[0] for target in targets}
    assert kinds == {"/dev/null", "pipe", "socket", "anon_inode"}
    assert process.net_connections("tcp") == []
    assert process.rlimit(resource.RLIMIT_FSIZE) == (0, 0)
    assert process.rlimit(resource.RLIMIT_CORE) == (0, 0)
    assert process.rlimit(resource.RLIMIT_NOFILE) == (limits.HOST_FILES_MAX,) * 2
    assert process.rlimit(resource.RLIMIT_AS)[0] < 4 * limits.GIB
    assert process.ppid() == bare.process.pid
    assert os.listdir(process.cwd()) == []
    assert challenger.nice() == process.nice() + limits.CHALLENGER_NICE


def test_a_host_has_no_network(bare):
    bare.start(hostile_models.doubling())
    pid = bare.when("ready").pid

    elsewhere = os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net")
    [filtered] = [
        line.split()[1] == "2"
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith("Seccomp:")
    ]
    assert elsewhere or filtered
    interfaces = Path(f"/proc/{pid}/net/dev").read_text().splitlines()[2:]
    assert filtered or [line.split(":")[0].strip() for line in interfaces] == ["lo"]
    assert bare.connect().run(ROW).kind is Kind.RESULT


def test_large_tensors_go_through_memory_that_does_not_count_as_the_models(bare):
    bare.start(hostile_models.doubling())
    process = psutil.Process(bare.when("ready").pid)
    limit, hard = process.rlimit(resource.RLIMIT_AS)

    async def ask(*sizes: int) -> None:
        owner = Owner()
        path = bare.directory / "run" / "host.sock"
        link = Link(owner, unix_sockets.connect(path, timeout_s=10))
        await owner.hears()
        for number, size in enumerate(sizes):
            rows = np.arange(2 * size, dtype=np.float32).reshape(size, 2)
            link.run(number, time.monotonic_ns() + 10**10, (rows,))
            await owner.hears()
            assert np.array_equal(owner.frames[-1].tensors[0], rows * 2)
        assert process.rlimit(resource.RLIMIT_AS) == (limit + 2 * 16 * limits.MIB, hard)
        link.abandon()

    asyncio.run(ask(1, 100_000, 10, 1_500_000, 200_000))
    until(lambda: process.rlimit(resource.RLIMIT_AS) == (limit, hard))


def test_a_host_that_is_killed_is_back_at_once_under_the_same_name(bare):
    bare.start(hostile_models.doubling())
    before = bare.when("ready")
    line = bare.connect()

    os.kill(before.pid, signal.SIGKILL)

    assert line.read() is None
    after = bare.when("ready", other_than=before.pid)
    assert after.restarts == 1
    assert bare.connect().run(ROW).tensors[0].tolist() == [[2.0, 4.0]]


def test_a_crash_in_the_model_is_named_and_repeated_crashes_are_slowed_down(bare):
    bare.start(hostile_models.crashes_on_input())
    low, minus = np.full((1, 2), -(2**63)), np.full((1, 2), -1)

    for crash in range(limits.CRASHES_BEFORE_BACKOFF + 1):
        ready = bare.when("ready")
        line = bare.connect()
        assert line.run(low, minus) is None, crash
        until(lambda pid=ready.pid: bare.status().pid != pid)

    looping = bare.when("crash_looping")
    assert "SIGFPE" in looping.reason


def test_a_run_past_its_deadline_is_stopped_and_the_host_goes_on(bare):
    bare.start(hostile_models.endless_loop(on_input=True))
    pid = bare.when("ready").pid
    line = bare.connect()

    stopped = line.run(ROW * 1_000, deadline_ms=100)

    assert stopped.kind is Kind.FAILED
    assert stopped.text.startswith("inference_timeout: ")
    assert line.run(ROW).kind is Kind.RESULT
    assert bare.status().pid == pid


def test_an_idle_host_sleeps_and_still_stops_the_next_run_at_its_deadline(bare):
    bare.start(hostile_models.endless_loop(on_input=True))
    process = psutil.Process(bare.when("ready").pid)
    line = bare.connect()
    line.run(ROW)
    wake_ups = []

    def asleep() -> bool:
        status = Path(f"/proc/{process.pid}/status").read_text()  # of its first thread
        wake_ups.append(status.split("voluntary_ctxt_switches:")[1].split()[0])
        return wake_ups[-1:] == wake_ups[-2:-1]

    until(asleep, every_s=0.6)
    assert line.run(ROW * 1_000, deadline_ms=100).text.startswith("inference_timeout: ")
    assert line.run(ROW).kind is Kind.RESULT


def test_a_memory_bomb_fails_cleanly_in_its_host(bare):
    bare.start(hostile_models.memory_bomb_on_input())
    line = bare.connect()

    failed = line.run(np.full((1, 2), 4e9, dtype=np.float32))

    assert failed.kind is Kind.FAILED
    assert line.run(ROW).kind is Kind.RESULT


def test_an_output_that_fits_no_frame_is_a_model_error_and_the_host_goes_on(bare):
    bare.start(hostile_models.as_large_as_asked())
    line = bare.connect()

    failed = line.run(ROW * 5_000)  # 100 MB

    assert failed.kind is Kind.FAILED
    assert failed.text.startswith("model_failed: its outputs cannot be sent: 100000000 bytes")
    assert line.run(ROW * 300).tensors[0].shape == (300, 300)


def test_a_model_that_no_longer_loads_is_failed_with_the_reason_and_not_retried(bare):
    bare.start(hostile_models.unknown_operator())

    failed = bare.when("failed")

    assert "Frobnicate" in failed.reason
    assert failed.restarts == 0


def test_a_stopped_host_finishes_its_connections_first(bare):
    bare.start(hostile_models.doubling())
    process = psutil.Process(bare.when("ready").pid)
    line = bare.connect()

    bare.client.stop_host("host")

    assert bare.client.hosts() == []
    assert line.run(ROW).tensors[0].tolist() == [[2.0, 4.0]]
    line.socket.shutdown(2)
    until(lambda: not works(process))
    bare.client.stop_host("host")  # once more is no error


def test_hosts_outlive_their_nursery_and_the_next_host_is_forked_by_a_new_one(bare):
    bare.start(hostile_models.doubling())
    pid = bare.when("ready").pid
    line = bare.connect()
    [nursery] = bare.client.processes()

    os.kill(nursery.pid, signal.SIGKILL)

    assert line.run(ROW).tensors[0].tolist() == [[2.0, 4.0]]
    bare.start(hostile_models.doubling(factor=3.0), "second")
    bare.when("ready", "second")
    assert bare.connect("second").run(ROW).tensors[0].tolist() == [[3.0, 6.0]]
    assert bare.status().pid == pid
    assert bare.client.processes()[0].restarts == 1


def test_nothing_is_left_five_seconds_after_the_supervisor_was_killed(bare):
    # Given one host that waits, and one inside a native call that would take for ever
    bare.start(hostile_models.doubling())
    bare.start(hostile_models.endless_loop(on_input=True), "busy")
    bare.when("ready")
    bare.when("ready", "busy")
    bare.connect("busy").send(ROW * 1_000, deadline_ms=60_000)
    tree = bare.tree()
    assert len(tree) == 3

    os.kill(bare.process.pid, signal.SIGKILL)
    bare.process.wait()

    _, alive = psutil.wait_procs(tree, timeout=5)
    assert alive == []


def test_a_stopped_supervisor_leaves_nothing_and_says_so_by_exit_code_zero(bare):
    bare.start(hostile_models.doubling())
    bare.when("ready")
    tree = bare.tree()

    os.kill(bare.process.pid, signal.SIGTERM)

    assert bare.process.wait(timeout=10) == 0
    assert not any(map(works, tree))


def test_a_connection_that_sends_no_frames_is_closed_and_no_other_is_hurt(bare):
    bare.start(hostile_models.doubling())
    good, bad = bare.connect(), bare.connect()

    bad.socket.sendall(b"GET / HTTP/1.1\r\nHost: example\r\n\r\n" * 2)

    assert bad.read() is None
    assert good.run(ROW).kind is Kind.RESULT


def test_a_front_that_does_not_read_keeps_a_host_from_no_other(bare):
    bare.start(hostile_models.doubling())
    good, bad = bare.connect(), bare.connect()

    bad.send(np.ones((1_000_000, 2), np.float32))  # more than a socket holds

    assert good.run(ROW, deadline_ms=20_000).kind is Kind.RESULT


@pytest.mark.parametrize("order", [b"{}\n", b"not json\n", b'{"op": "rm"}\n', b'{"op": 3}\n'])
def test_an_order_that_makes_no_sense_is_refused_and_the_next_is_carried_out(bare, order):
    path = bare.directory / "run" / "supervisor.sock"
    with unix_sockets.connect(path, timeout_s=5) as connection:
        connection.sendall(order)
        assert b"error" in connection.recv(10_000)
    assert bare.client.hosts() == []
