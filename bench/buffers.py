"""What a host apart costs a run: a row over the socket, an image through shared memory.

Run: python -m bench.buffers [--runs N] [--sizes]

Each run is made in this process and in a host, in turns; what a host apart adds is the difference
of the medians. Pin it to one core (`taskset -c 0`) to see the work alone, without one core's
wake-up by another.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path
from time import perf_counter

import numpy as np
import onnxruntime
import uvloop
from onnx import TensorProto, helper

from bench.report import Figure, show
from gnomon import samples
from gnomon.core.deployment import HostSpec
from gnomon.core.frames import Frame, Kind
from gnomon.core.limits import KIB
from gnomon.front.link import Link
from gnomon.supervisor.client import SupervisorClient
from gnomon.unix_sockets import connect
from tests.bare import supervisor
from tests.waiting import until

IMAGE = (1, 3, 640, 480)  # 3.7 MB of float32
SIZES = [4 * KIB << step for step in range(11)]
DEADLINE_NS = 10**10


def model(operator: str, **attributes: object) -> bytes:
    """Return a model of one operator on float32 of rank 4."""
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [None] * 4) for n in ("x", "y")]
    inputs = ["x", "x"] if operator == "Add" else ["x"]
    node = helper.make_node(operator, inputs, ["y"], **attributes)
    graph = helper.make_graph([node], "g", ends[:1], ends[1:])
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


class Asking:
    """Owner of a link that waits for one answer at a time."""

    def __init__(self, path: Path) -> None:
        self._loop = asyncio.get_running_loop()
        self.answer: asyncio.Future[Frame | None] = self._loop.create_future()
        self._link = Link(self, connect(path, timeout_s=1.0))
        self._number = 0

    async def run(self, tensor: np.ndarray) -> np.ndarray:
        """Return the output of one run."""
        self._number += 1
        self.answer = self._loop.create_future()
        self._link.run(self._number, time.monotonic_ns() + DEADLINE_NS, (tensor,))
        frame = await self.answer
        assert frame is not None
        assert frame.kind is Kind.RESULT, frame.text
        return frame.tensors[0]

    def close(self) -> None:
        """Close the connection."""
        self._link.abandon()

    def greeted(self, link: Link, uuid: str) -> None:
        link.greeted = True
        self.answer.set_result(None)

    def received(self, frame: Frame) -> None:
        self.answer.set_result(frame)

    def replies_read(self) -> None:
        pass

    def writable_again(self) -> None:
        pass

    def lost(self, link: Link, reason: str) -> None:
        self.answer.set_exception(ConnectionError(reason))


class Bench:
    """Models, each in this process and in a host.

    Args:
        directory: For the supervisor's files.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._client = SupervisorClient(directory / "run" / "supervisor.sock")
        self._sessions: dict[str, onnxruntime.InferenceSession] = {}

    def load(self, name: str, content: bytes) -> None:
        """Load a model here and in a host, both with one thread."""
        path = self._directory / f"{name}.onnx"
        path.write_bytes(content)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._sessions[name] = onnxruntime.InferenceSession(str(path), options)
        self._client.start_host(
            HostSpec(
                name=name,
                model_path=str(path),
                sha256="0" * 64,
                version_uuid=name,
                role="champion",
                model_bytes=len(content),
            )
        )
        until(lambda: all(host.state == "ready" for host in self._client.hosts()))

    async def added_ms(self, name: str, tensor: np.ndarray, runs: int) -> float:
        """Return what the host adds to a run, in milliseconds."""
        session = self._sessions[name]
        [output], [wanted] = session.get_outputs(), session.get_inputs()
        asking = Asking(self._directory / "run" / f"{name}.sock")
        await asking.answer
        here, apart = [], []
        for _ in range(runs):
            start = perf_counter()
            [expected] = session.run([output.name], {wanted.name: tensor})
            between = perf_counter()
            found = await asking.run(tensor)
            here.append(between - start)
            apart.append(perf_counter() - between)
            assert np.array_equal(found, expected)
        asking.close()
        return (statistics.median(apart) - statistics.median(here)) * 1_000


async def measure(bench: Bench, runs: int, *, sizes: bool) -> list[Figure]:
    """Return the figures."""
    random = np.random.default_rng(7)
    image = random.random(IMAGE, dtype=np.float32)
    row = random.random((1, 29), dtype=np.float32)
    bench.load("row", samples.champion_path().read_bytes())
    bench.load("pool", model("GlobalAveragePool"))
    bench.load("double", model("Add"))
    figures = [
        Figure("one row of 29 floats", "ms", 0.05),
        Figure("image of 3.7 MB in, 3 floats out", "ms", 1.0),
        Figure("image of 3.7 MB in, as much out", "ms", 2.0),
    ]
    for _ in range(5):
        figures[0].runs.append(await bench.added_ms("row", row, runs * 10))
        figures[1].runs.append(await bench.added_ms("pool", image, runs))
        figures[2].runs.append(await bench.added_ms("double", image, runs))
    if sizes:
        for size in SIZES:
            tensor = random.random((1, 1, 1, size // 4), dtype=np.float32)
            added = [await bench.added_ms("pool", tensor, runs * 5) for _ in range(5)]
            print(f"{size // KIB:>6} KiB in: {statistics.median(added):.3f} ms")
    return figures


def main() -> int:
    """Measure; return the number of missed targets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100, help="of each figure, five times")
    parser.add_argument("--sizes", action="store_true", help="also print what each size costs")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, supervisor(Path(name)):
        figures = uvloop.run(measure(Bench(Path(name)), arguments.runs, sizes=arguments.sizes))
    return show(figures, Path("bench-buffers.json"))


if __name__ == "__main__":
    sys.exit(main())
