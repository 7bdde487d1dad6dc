"""Where in an answer the model's number is, and whether it is the right one."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

TOLERANCE = 1e-6
_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")


@dataclass(frozen=True)
class Expected:
    """How a right answer looks.

    Attributes:
        value: onnxruntime's own.
        context: Bytes whose first occurrence ends where the number begins.
        text: The number as this server wrote it.
        after: The byte that follows: where the number ends.
        tolerance: Absolute.
    """

    value: float
    context: bytes
    text: bytes
    after: bytes
    tolerance: float = TOLERANCE


class WrongAnswer(Exception):
    """A server answered, but not what onnxruntime says."""


def learn(answer: bytes, number: Callable[[Any], float], expected: float) -> Expected:
    """Check a server's first answer, and learn how to recognise the next ones.

    Args:
        answer: Body of the answer, JSON.
        number: Takes the model's number out of the parsed answer.
        expected: onnxruntime's own.

    Raises:
        WrongAnswer: The number is not there, or not the right one.
    """
    try:
        value = float(number(json.loads(answer)))
    except (ValueError, TypeError, LookupError) as error:
        raise WrongAnswer(f"no number in the answer {answer[:200]!r}") from error
    if not abs(value - expected) <= TOLERANCE:
        raise WrongAnswer(f"answered {value!r}, onnxruntime says {expected!r}")
    for token in _NUMBER.finditer(answer):
        if float(token[0]) == value:
            context = context_before(answer, token.start())
            return Expected(expected, context, token[0], answer[token.end() :][:1])
    raise WrongAnswer(f"{value!r} is not written in the answer {answer[:200]!r}")


def context_before(answer: bytes, start: int) -> bytes:
    """Return the shortest bytes that end at `start` and occur nowhere earlier."""
    for length in range(start + 1):
        context = answer[start - length : start]
        if answer.find(context) == start - length:
            return context
    raise AssertionError("the whole of what is before occurs at 0 only")
