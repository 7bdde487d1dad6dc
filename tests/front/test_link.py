"""Whatever a host sends over its socket, and however it is cut."""

import asyncio

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gnomon.core.frames import Frame, Kind, encode
from tests.front.talking import Owner, Talk, talk

HELLO = encode(Frame(Kind.HELLO, text="u"))
GOOD = encode(Frame(Kind.RESULT, 1, 1, (np.ones((1, 2), np.float32),)))


def linked(pieces: list[bytes]) -> Owner:
    """Return what a link tells its owner of these pieces."""

    async def feed() -> Owner:
        talk = Talk()
        for piece in pieces:
            if not talk.owner.reasons:
                talk.link.feed(piece)
        talk.link.abandon()
        talk.raw.close()
        return talk.owner

    return asyncio.run(feed())


@given(st.lists(st.integers(1, 40), max_size=30))
def test_frames_are_read_however_they_are_cut(cuts: list[int]):
    data, pieces = HELLO + GOOD * 5, []
    for cut in cuts:
        pieces.append(data[:cut])
        data = data[cut:]
    owner = linked([piece for piece in (*pieces, data) if piece])
    assert owner.reasons == []
    assert len(owner.frames) == 5


@given(st.binary(max_size=300), st.booleans())
def test_random_bytes_only_ever_drop_the_connection(data: bytes, greeted: bool):
    linked([HELLO, data] if greeted else [data])


@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), max_size=4))
def test_mutated_frames_only_ever_drop_the_connection(changes: list[tuple[int, int]]):
    frame = bytearray(GOOD)
    for position, value in changes:
        frame[position] = value
    linked([HELLO, bytes(frame), GOOD])


def test_what_the_socket_does_not_take_at_once_is_sent_when_the_host_reads():
    row = np.arange(10_000, dtype=np.float32)

    async def work(talk: Talk) -> None:
        count = 0
        while talk.link.writable:
            count += 1
            talk.link.run(count, 10**18, (row + count,))
        talk.link.run(count + 1, 10**18, (row,))  # taken all the same
        for number in range(1, count + 2):
            # The loop goes on sending while the host, in a thread, reads.
            heard = await asyncio.to_thread(talk.heard)
            assert heard.request == number
            assert heard.tensors[0][0] == (number if number <= count else 0)
        await talk.owner.hears()
        assert talk.link.writable

    assert talk(work).reasons == []


def test_a_host_that_hangs_up_is_lost_once():
    async def work(talk: Talk) -> None:
        talk.raw.shutdown(2)
        await talk.owner.hears()
        talk.link.run(1, 10**18, (np.ones(3),))
        talk.link.drop("again")

    assert talk(work).reasons == [""]
