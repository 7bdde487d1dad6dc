"""ONNX Runtime's error texts, made fit for users: without its codes, paths and C++."""

from __future__ import annotations

import re

_CHARS_MAX = 500
_LINES_MAX = 4
_CHARS_READ_MAX = 4_000
_CODE = re.compile(r"\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : ")
_SOURCE = re.compile(r"\S+\.(?:cc|h|cpp):\d+ ")
_SIGNATURE_START = re.compile(r"[\w:<>*&~ ,]*::[\w:<>*&~ ,]*\(")
_PATH = re.compile(r"(/[\w.@+~-]+){2,}(:\d+)?")


def clean_message(error: Exception) -> str:
    """Return what an error of ONNX Runtime says, in one printable line of bounded length."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    text = " ".join(line.strip() for line in lines[:_LINES_MAX])[:_CHARS_READ_MAX]
    text = _CODE.sub("", text)
    parts = _SOURCE.split(text)
    text = "".join((parts[0], *map(_without_signature, parts[1:])))
    text = _PATH.sub("<path>", text)
    return "".join(char if char.isprintable() else " " for char in text).strip()[:_CHARS_MAX]


def _without_signature(text: str) -> str:
    """Drop the C++ function with which the text of a source location begins."""
    start = _SIGNATURE_START.match(text)
    if start is None:
        return text
    depth, end = 1, start.end()
    while depth and end < len(text):
        depth += {"(": 1, ")": -1}.get(text[end], 0)
        end += 1
    rest = text[end:].lstrip().removeprefix("const ")
    return re.sub(r"^\[with [^\]]*\] ", "", rest)
