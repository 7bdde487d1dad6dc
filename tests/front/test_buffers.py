"""Large tensors in memory that a front shares with its host, who may write there what it likes."""

import asyncio
import fcntl
import mmap
import os
import resource
import socket
import threading

import numpy as np
import pytest

from gnomon.core import limits
from gnomon.core.frames import Frame, Kind, encode, pack
from tests.front.talking import UNLUCKY, Talk, talk

LARGE = np.arange(limits.BUFFER_FROM_BYTES, dtype=np.float32).reshape(4, -1)
SMALL = np.ones((1, 2), np.float32)
TEXTS = np.array([["é" * 20_000, ""], ["b", "c" * 50_000]], dtype=object)
IN_BUFFER = 0x8000


def result(talk: Talk, *tensors: np.ndarray, request: int = 1, generation: int = 0) -> bytes:
    """Write a result into the shared memory; return its frame."""
    area = talk.host.shared.outputs
    if generation:
        area = area._replace(generation=generation)
    return pack(tensors).into(area, Kind.RESULT, request, 1)


@pytest.mark.parametrize(
    "tensors",
    [
        (LARGE,),
        (LARGE.T,),
        (LARGE[:, ::2], SMALL),
        (LARGE.astype(np.float16), TEXTS, LARGE.astype(">i8")),
        (SMALL[:0], LARGE > 7, np.array(3, np.int8), TEXTS),
    ],
)
def test_large_tensors_go_to_the_host_and_back_exactly(tensors):
    async def work(talk: Talk) -> None:
        for number in range(3):
            question = talk.ask(*tensors, number=number)
            same(question.tensors, tensors)
            same((await talk.answer(question, *tensors)).tensors, tensors)
        assert talk.host.shared.inputs.generation == 1

    assert talk(work).reasons == []


def same(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype.newbyteorder("=")
        assert one.shape == other.shape
        assert np.array_equal(one, other)


def test_small_tensors_need_no_shared_memory():
    async def work(talk: Talk) -> None:
        await talk.answer(talk.ask(SMALL), SMALL)
        assert talk.host.shared is None

    talk(work)


def test_what_grows_gets_a_new_pair_and_what_shrinks_keeps_it():
    async def work(talk: Talk) -> None:
        for number, (size, generation) in enumerate([(1, 1), (3, 2), (1, 2), (5, 3), (0, 3)]):
            tensor = np.full(size * limits.MIB + 1, number, np.uint8)
            question = talk.ask(tensor, number=number)
            assert question.generation == generation
            assert len(talk.host.shared.inputs.memory) <= max(2 * size * limits.MIB, 8 * limits.MIB)
            same((await talk.answer(question, tensor)).tensors, (tensor,))

    assert talk(work).reasons == []


def test_a_large_answer_comes_over_the_socket_once_and_then_through_memory():
    async def work(talk: Talk) -> None:
        for number in range(3):
            question = talk.ask(SMALL, number=number)
            assert question.generation == (number > 0)
            same(question.tensors, (SMALL,))
            same((await talk.answer(question, LARGE + number)).tensors, (LARGE + number,))

    assert talk(work).reasons == []


def test_the_largest_frames_have_buffers_of_the_largest_size(monkeypatch):
    monkeypatch.setattr(limits, "FRAME_BYTES_MAX", 2 * limits.MIB)
    largest = np.ones(2 * limits.MIB - 16, np.uint8)

    async def work(talk: Talk) -> None:
        await talk.answer(talk.ask(SMALL, number=1), largest)
        for number in (2, 3):
            question = talk.ask(largest, number=number)
            assert question.generation == 1
            assert len(talk.host.shared.outputs.memory) == 2 * limits.MIB
            same((await talk.answer(question, largest)).tensors, (largest,))

    assert talk(work).reasons == []


def test_no_run_uses_memory_whose_host_has_not_answered():
    async def work(talk: Talk) -> None:
        first = talk.ask(LARGE, number=1)
        second = talk.ask(LARGE + 1, number=2)  # larger than the socket's buffer is not
        assert (first.generation, second.generation) == (1, 0)
        same(first.tensors, (LARGE,))
        same((await talk.answer(first, LARGE)).tensors, (LARGE,))
        same((await talk.answer(second, SMALL)).tensors, (SMALL,))
        assert talk.ask(LARGE, number=3).generation == 1

    assert talk(work).reasons == []


def test_an_answer_stays_as_it_was_whatever_its_host_writes_later():
    async def work(talk: Talk) -> None:
        answer = await talk.answer(talk.ask(LARGE), LARGE, TEXTS)
        memory = talk.host.shared.outputs.memory
        memory[:] = b"\xff" * len(memory)
        same(answer.tensors, (LARGE, TEXTS))
        memory.obj.madvise(mmap.MADV_REMOVE)  # and gives it back to the system
        same(answer.tensors, (LARGE, TEXTS))

    talk(work)


def test_a_host_can_neither_resize_the_memory_nor_unseal_it():
    async def work(talk: Talk) -> None:
        talk.link.run(1, 10**18, (LARGE,))
        _, descriptors, _, _ = socket.recv_fds(talk.raw, 10_000, 4)
        assert len(descriptors) == 2
        for descriptor in descriptors:
            size = os.fstat(descriptor).st_size
            for other in (0, size - 1, size + 1):
                with pytest.raises(PermissionError):
                    os.truncate(descriptor, other)
            with pytest.raises(PermissionError):
                fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
            os.close(descriptor)

    talk(work)


def lie(head: bytes, at: int, value: int, size: int) -> bytes:
    """Return a frame of one tensor with one number of its head changed."""
    at += 32
    return head[:at] + value.to_bytes(size, "little") + head[at + size :]


LIES = {
    "an older generation": lambda t: result(t, LARGE, generation=6),
    "a generation that never was": lambda t: result(t, LARGE, generation=8),
    "no generation": lambda t: (
        result(t, LARGE)[:6] + IN_BUFFER.to_bytes(2, "little") + result(t, LARGE)[8:]
    ),
    "the answer to another question": lambda t: result(t, LARGE, request=2),
    "a length beyond the memory": lambda t: lie(result(t, LARGE), 4, 2**32 - 1, 4),
    "a length that is not its shape": lambda t: lie(result(t, LARGE), 4, 1, 4),
    "an axis beyond the memory": lambda t: lie(result(t, LARGE), 8, 2**62, 8),
    "more axes than there are": lambda t: lie(result(t, LARGE), 1, 200, 1),
    "an unknown type": lambda t: lie(result(t, LARGE), 0, 77, 1),
    "floats as texts": lambda t: lie(result(t, LARGE), 0, 12, 1),
    "more tensors than there are": lambda t: result(t, LARGE)[:5] + b"\x02" + result(t, LARGE)[6:],
    "bytes after the heads": lambda t: lie(result(t, LARGE), -24, 25, 8) + b"x",
    "a frame that is cut off": lambda t: lie(result(t, LARGE), -24, 12, 8)[:44],
}


@pytest.mark.parametrize("name", LIES)
def test_a_host_that_lies_about_shared_memory_is_dropped(name: str):
    async def work(talk: Talk) -> None:
        for number in range(7):  # up to generation 7
            size = limits.MIB << number
            question = talk.ask(np.zeros(size // 2 + 1, np.uint8), number=number)
            await talk.answer(question, SMALL)
        talk.ask(LARGE, number=1)
        talk.owner.frames.clear()
        await talk.say(LIES[name](talk))

    owner = talk(work)
    assert owner.frames == []
    assert len(owner.reasons) == 1


def test_memory_that_was_not_lent_is_not_read():
    async def work(talk: Talk) -> None:
        await talk.answer(talk.ask(LARGE), LARGE)
        talk.owner.frames.clear()
        await talk.say(result(talk, LARGE))  # once more

    owner = talk(work)
    assert owner.frames == []
    assert len(owner.reasons) == 1


def test_a_host_that_scribbles_all_the_time_only_ever_ruins_its_own_answers():
    over = threading.Event()

    def scribble(memory: memoryview) -> None:
        random = np.random.default_rng(7)
        while not over.is_set():
            start = int(random.integers(0, 200_000))
            memory[start : start + 64] = random.bytes(64)

    async def work(talk: Talk) -> None:
        question = talk.ask(LARGE)
        threads = [
            threading.Thread(target=scribble, args=(talk.host.shared.outputs.memory,))
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        try:
            for number in range(2, 200):
                frame = await talk.answer(question, LARGE)
                assert frame.tensors[0].shape == LARGE.shape
                kept = frame.tensors[0].tobytes()
                question = talk.ask(LARGE, number=number if number != UNLUCKY else 500)
                assert frame.tensors[0].tobytes() == kept
        finally:
            over.set()
            for thread in threads:
                thread.join()

    assert talk(work).reasons == []


def test_memory_is_given_back_after_a_while_without_use(monkeypatch):
    monkeypatch.setattr(limits, "BUFFER_IDLE_S", 0.05)

    async def work(talk: Talk) -> None:
        tensor = np.ones(4 * limits.MIB, np.uint8)
        talk.link.run(1, 10**18, (tensor,))
        _, descriptors, _, _ = socket.recv_fds(talk.raw, 10_000, 4)
        assert os.fstat(descriptors[0]).st_blocks > 0
        # Not while the host works on it
        loop = asyncio.get_running_loop()
        later = loop.create_future()
        loop.call_later(0.2, later.set_result, None)
        await later
        assert os.fstat(descriptors[0]).st_blocks > 0
        # But after its answer
        await talk.say(pack((SMALL,)).inline(Kind.RESULT, 1, 1))
        given_back = loop.create_future()

        def look() -> None:
            if os.fstat(descriptors[0]).st_blocks == 0:
                given_back.set_result(None)
            else:
                loop.call_later(0.01, look)

        look()
        await given_back
        # And it can be used again
        talk.link.run(2, 10**18, (tensor,))
        with mmap.mmap(descriptors[0], 0) as mapped:
            assert mapped[: tensor.nbytes] == tensor.tobytes()
        for descriptor in descriptors:
            os.close(descriptor)

    assert talk(work).reasons == []


def test_without_descriptors_to_spare_tensors_go_over_the_socket(caplog):
    async def work(talk: Talk) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        spare = os.open(os.devnull, os.O_RDONLY)
        os.close(spare)  # the lowest that is free
        resource.setrlimit(resource.RLIMIT_NOFILE, (spare, hard))
        try:
            talk.link.run(1, 10**18, (LARGE,))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        question = talk.heard()
        assert question.generation == 0
        same((await talk.answer(question, LARGE)).tensors, (LARGE,))
        assert talk.ask(LARGE, number=2).generation == 1

    assert talk(work).reasons == []
    assert "no memory can be shared with a host" in caplog.text


def test_a_pair_that_no_host_took_leaves_no_descriptor():
    before = len(os.listdir("/proc/self/fd"))

    async def work(talk: Talk) -> None:
        for _ in range(2):
            talk.link.run(1, 10**18, (LARGE,))
        talk.raw.shutdown(2)
        await talk.owner.hears()

    talk(work)
    assert len(os.listdir("/proc/self/fd")) <= before


def test_a_run_that_failed_gives_its_memory_free_too():
    async def work(talk: Talk) -> None:
        talk.ask(LARGE, number=1)
        await talk.say(encode(Frame(Kind.FAILED, 1, 1, text="model_failed: no")))
        assert talk.ask(LARGE, number=2).generation == 1

    assert talk(work).reasons == []
