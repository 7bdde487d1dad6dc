"""The answers to many small requests for named tensors, written at once.

What `answer_tensors.answer` writes for one request, byte for byte, for all requests of one run:
what they have in common is made once, and their numbers are turned into text together.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise, repeat

import orjson

from gnomon.core.inference import Observation, Status
from gnomon.core.routing import Route, ServedModel
from gnomon.core.tensors import DTYPES, Array
from gnomon.front.codecs.result import view

_NUMBERS = frozenset("fiub")  # kinds of numpy's types whose values are JSON as they are

Shadow = tuple[ServedModel, Observation | None]


class TensorAnswers:
    """Writes the answers of one route."""

    def __init__(self, route: Route) -> None:
        champion = route.champion
        name, uuid = orjson.dumps(champion.name), orjson.dumps(champion.uuid)
        self._names = b',"model_name":%b,"model_version":%b,"original_data":' % (name, uuid)
        self._pipeline = b'],"pipeline_name":%b,"shadow_data":' % orjson.dumps(route.pipeline)

    def bodies(
        self,
        bodies: Sequence[bytes],
        request_ids: Sequence[str],
        times_ms: Sequence[int],
        rows: Sequence[int],
        champion: Observation,
        shadows: Sequence[Shadow],
    ) -> list[bytes] | None:
        """Return an answer for each request of a run.

        Args:
            bodies: What was sent.
            times_ms: When, milliseconds since 1970.
            rows: Of each request.
            champion: Of all requests, and ok.
            shadows: The challengers sampled, each with what it did with the same requests; None
                where it has not ended.

        Returns:
            None where an output is no plain finite number: those are written one by one.
        """
        outputs = _outputs(champion, rows)
        texts = self._shadow_texts(shadows, rows)
        if outputs is None or texts is None:
            return None
        head = b'"elapsed":%d%b' % (champion.elapsed_ns, self._names)
        starts, ends = _anomalies(champion, rows, head, b'","challengers":%b' % _views(shadows))
        pipeline = self._pipeline
        return [
            b'%b%b,"outputs":[%b%b%b,"time":%d,"request_id":"%b%b'
            % (start, body, output, pipeline, shadow, time_ms, request_id.encode(), end)
            for start, body, output, shadow, time_ms, request_id, end in zip(
                starts, bodies, outputs, texts, times_ms, request_ids, ends, strict=False
            )
        ]

    def _shadow_texts(self, shadows: Sequence[Shadow], rows: Sequence[int]) -> list[bytes] | None:
        """Return each request's "shadow_data"."""
        parts: list[list[bytes]] = []
        for model, observation in shadows:
            if observation is not None and observation.status is Status.OK:
                outputs = _outputs(observation, rows)
                if outputs is None:
                    return None
                label = orjson.dumps(model.label)
                parts.append([b"%b:[%b]" % (label, output) for output in outputs])
        if not parts:
            return [b"{}"] * len(rows)
        return [b"{%b}" % b",".join(texts) for texts in zip(*parts, strict=True)]


def _anomalies(
    champion: Observation, rows: Sequence[int], head: bytes, tail: bytes
) -> tuple[Iterable[bytes], Iterable[bytes]]:
    """Return how each request's answer begins and ends: with what validations found."""
    if not champion.anomalies:
        return repeat(b'[{"check_failures":[],%b' % head), repeat(b"%b}]" % tail)
    names = sorted(champion.anomalies)
    verdicts = list(zip(*(champion.anomalies[name].tolist() for name in names), strict=True))
    known: dict[tuple[tuple[bool, ...], ...], tuple[bytes, bytes]] = {}
    texts = []
    for start, end in pairwise(accumulate(rows, initial=0)):
        key = tuple(verdicts[start:end])
        if key not in known:
            by_name = dict(zip(names, map(list, zip(*key, strict=True)), strict=True))
            failed = orjson.dumps([name for name, each in by_name.items() if any(each)])
            anomaly = orjson.dumps({"count": list(map(sum, key)), **by_name})
            known[key] = (
                b'[{"check_failures":%b,%b' % (failed, head),
                b'%b,"anomaly":%b}]' % (tail, anomaly),
            )
        texts.append(known[key])
    starts, ends = zip(*texts, strict=True)
    return starts, ends


def _views(shadows: Sequence[Shadow]) -> bytes:
    """Return "challengers", the same for all requests of a run."""
    views = {model.label: view(model, observation) for model, observation in shadows}
    return orjson.dumps(views)


def _outputs(observation: Observation, rows: Sequence[int]) -> list[bytes] | None:
    """Return each request's "outputs", without the brackets; None if they are not plain."""
    specs, arrays = observation.model.signature.outputs, observation.outputs
    assert arrays is not None
    tensors = []
    for spec, array in zip(specs, arrays, strict=True):
        data = _data(array, rows)
        if data is None:
            return None
        tag = DTYPES[spec.dtype][1].encode()
        axes = b"".join(b",%d" % size for size in array.shape[1:])
        tensors.append(
            [
                b'{"%b":{"data":[%b],"dim":[%d%b],"v":1}}' % (tag, text, count, axes)
                for text, count in zip(data, rows, strict=True)
            ]
        )
    if len(tensors) == 1:
        return tensors[0]
    return [b",".join(texts) for texts in zip(*tensors, strict=True)]


def _data(array: Array, rows: Sequence[int]) -> list[bytes] | None:
    """Return each request's numbers, with commas between them; None if one is not finite."""
    if array.dtype.kind not in _NUMBERS or array.ndim == 0 or len(array) != sum(rows):
        return None
    values = array.reshape(-1).tolist()
    if array.dtype.kind == "f" and not math.isfinite(sum(values)):
        return None
    text = orjson.dumps(values)[1:-1]
    if len(rows) == 1:
        return [text]
    texts = text.split(b",")
    width = len(values) // max(len(array), 1)
    if width * len(rows) == len(texts):  # one row each
        if width == 1:
            return texts
        return [b",".join(texts[at : at + width]) for at in range(0, len(texts), width)]
    ends = accumulate((count * width for count in rows), initial=0)
    return [b",".join(texts[start:end]) for start, end in pairwise(ends)]
