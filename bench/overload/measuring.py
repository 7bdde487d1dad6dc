"""One champion under load: half of what it can do, twice, ten times, and after."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

import gnomon
from bench.isolation.__main__ import SERVER_CORE
from bench.overload.load import Client, Seen, percentile_ms
from bench.report import Figure
from bench.servers import tree

CONNECTIONS = 3_000  # above all that may wait, so that there is something to refuse
CAPACITY_CONNECTIONS = 64
CAPACITY_S = 5.0
OVERLOADS = (2, 10)
GOODPUT = 0.8
REFUSED_MS = 20.0
RSS_MB = 64.0
RECOVERY_S = 10
P99_FACTOR, P99_EXTRA_MS = 1.5, 2.0

Message = Callable[[str], bytes]


class Pipeline:
    """A champion with a pipeline, alone or with challengers beside it."""

    def __init__(
        self, client: gnomon.Client, name: str, champion: Path, challengers: Mapping[str, Path]
    ) -> None:
        self.name = name
        self._client = client
        self._champion = client.upload_model(name, champion)
        self._challengers = [client.upload_model(n, path) for n, path in challengers.items()]

    def deploy(self, *, shadowed: bool) -> Any:
        """Deploy it; return the deployed pipeline."""
        pipeline = self._client.build_pipeline(self.name)
        if shadowed:
            pipeline.add_shadow_deploy(self._champion, self._challengers)
        else:
            pipeline.add_model_step(self._champion)
        with contextlib.redirect_stdout(io.StringIO()):
            return pipeline.deploy()


def measure(
    pipeline: Pipeline,
    message: Message,
    *,
    expected: npt.NDArray[np.float32],
    seconds: float,
) -> list[Figure]:
    """Return the figures of one champion.

    Args:
        message: Makes the request to a URL.
        expected: What onnxruntime itself answers to it, [1].
    """
    shadowed = pipeline.deploy(shadowed=True)
    with Client(shadowed.url(), message(shadowed.url()), connections=CAPACITY_CONNECTIONS) as few:
        capacity = _capacity(few, f"{pipeline.name} with challengers")
        name = f"{pipeline.name}, 0.5 C with challengers"
        beside = _load(name, few, rate=capacity / 2, seconds=seconds)
    alone = pipeline.deploy(shadowed=False)
    with Client(alone.url(), message(alone.url()), connections=CONNECTIONS) as many:
        apart = _load(f"{pipeline.name}, 0.5 C alone", many, rate=capacity / 2, seconds=seconds)
        figures = _half(pipeline.name, beside, apart, expected)
        capacity = _capacity(many, f"{pipeline.name} alone")
        usual_ms = percentile_ms(many.load(rate=capacity / 2, seconds=5.0).answered_s, 99)
        for times in OVERLOADS:
            before_mb, _ = tree.memory_mb()
            name = f"{pipeline.name}, {times} C"
            seen = _load(name, many, rate=times * capacity, seconds=seconds)
            after_mb, _ = tree.memory_mb()
            figures += _over(name, seen, capacity, expected)
            figures += [
                Figure(
                    f"{pipeline.name}, {times} C: RSS growth", "MB", RSS_MB, [after_mb - before_mb]
                ),
                _recovery(f"{pipeline.name}, after {times} C", many, capacity / 2, usual_ms),
            ]
    return figures


def _load(name: str, client: Client, **load: Any) -> Seen:
    """Load the server, and say what came of it and what else ran on its core."""
    start, busy_s, own_s = perf_counter(), tree.cores_busy_s({SERVER_CORE}), tree.cpu_s()
    seen = client.load(**load)
    took_s = perf_counter() - start
    others_s = tree.cores_busy_s({SERVER_CORE}) - busy_s - (tree.cpu_s() - own_s)
    _say(name, seen, others=max(0.0, others_s / took_s))
    return seen


def _capacity(client: Client, name: str) -> float:
    seen = _load(
        f"{name}, closed loop",
        client,
        rate=None,
        seconds=CAPACITY_S,
        connections=CAPACITY_CONNECTIONS,
    )
    return seen.goodput


def _half(name: str, beside: Seen, apart: Seen, expected: npt.NDArray[np.float32]) -> list[Figure]:
    """Return what half of capacity came to with challengers beside the champion, and without."""
    allowed_ms = P99_FACTOR * percentile_ms(apart.answered_s, 99) + P99_EXTRA_MS
    p99_ms = percentile_ms(beside.answered_s, 99)
    failed = beside.asked - len(beside.answered_s) + _wrong(beside, expected)
    return [
        Figure(f"{name}, 0.5 C with challengers: failed or wrong", "", 0, [failed]),
        Figure(f"{name}, 0.5 C with challengers: p99", "ms", allowed_ms, [p99_ms]),
    ]


def _over(
    name: str, seen: Seen, capacity: float, expected: npt.NDArray[np.float32]
) -> list[Figure]:
    """Return what an overload came to."""
    goodput = seen.goodput / capacity
    unsaid = sum(n for head, n in seen.refusals.items() if b"\r\nRetry-After: " not in head)
    failed = seen.failures.total() + unsaid + _wrong(seen, expected)
    refused_ms = percentile_ms(seen.refused_s, 99) if seen.refused_s else 0.0
    return [
        Figure(f"{name}: goodput", "C", GOODPUT, [goodput], at_least=True),
        Figure(f"{name}: p99 of the refused", "ms", REFUSED_MS, [refused_ms]),
        Figure(f"{name}: failed or wrong", "", 0, [failed]),
    ]


def _recovery(name: str, client: Client, rate: float, usual_ms: float) -> Figure:
    """Return after how many seconds p99 is what it was."""
    allowed_ms = P99_FACTOR * usual_ms + P99_EXTRA_MS
    second = 0
    while second < 2 * RECOVERY_S:
        second += 1
        seen = client.load(rate=rate, seconds=1.0)
        if len(seen.answered_s) == seen.asked and percentile_ms(seen.answered_s, 99) <= allowed_ms:
            break
    return Figure(f"{name}: p99 is back at {allowed_ms:.1f} ms", "s", RECOVERY_S, [float(second)])


def _wrong(seen: Seen, expected: npt.NDArray[np.float32]) -> int:
    """Return how many answers are not, to the bit, what onnxruntime says."""
    return sum(
        number
        for answer, number in seen.answers.items()
        if outputs(answer).tobytes() != expected.tobytes()
    )


def outputs(answer: bytes) -> npt.NDArray[np.float32]:
    """Return the numbers of an answer to one row."""
    (content,) = json.loads(answer)
    return np.array(content["outputs"][0]["Float"]["data"], dtype=np.float32)


def _say(name: str, seen: Seen, *, others: float) -> None:
    lines = [
        f"{name}: offered {seen.asked / seen.seconds:,.0f}/s",
        f"answered {seen.goodput:,.0f}/s "
        f"(p50 {percentile_ms(seen.answered_s, 50):.1f} ms, "
        f"p99 {percentile_ms(seen.answered_s, 99):.1f} ms)",
        f"refused {len(seen.refused_s):,}",
        f"sent late by {percentile_ms(seen.late_s, 99):.1f} ms (p99)",
        f"client {seen.busy:.0%} busy",
        f"others had {others:.0%} of the server's core",
        *(f"{reason}: {number}" for reason, number in seen.failures.items()),
    ]
    print(", ".join(lines), flush=True)
