"""Error texts, made fit for users: without ONNX Runtime's codes and C++, without paths."""

from __future__ import annotations

import re

_CHARS_MAX = 500
_LINES_MAX = 4
_CHARS_READ_MAX = 4_000
_CODE = re.compile(r"\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : ")
_SOURCE = re.compile(r"\S+\.(?:cc|h|cpp):\d+ ")
_SIGNATURE_START = re.compile(r"[\w:<>*&~ ,]*::[\w:<>*&~ ,]*\(")
_QUOTED_PATH = re.compile(r"'/[^']+'")  # as Python quotes one, which may have blanks
_PATH = re.compile(r"(/[\w.@+~-]+){2,}(:\d+)?")


def clean_message(error: Exception) -> str:
    """Return what an error of ONNX Runtime says, in one printable line of bounded length."""
    text = _CODE.sub("", _one_line(str(error)) or type(error).__name__)
    parts = _SOURCE.split(text)
    return _printable("".join((parts[0], *map(_without_signature, parts[1:]))))


def python_message(error: BaseException) -> str:
    """Return type and text of an error of somebody's Python code, in such a line."""
    try:
        text = _QUOTED_PATH.sub("<path>", _one_line(str(error)))
    except Exception:  # its own text is their code too
        text = ""
    name = type(error).__name__
    return _printable(f"{name}: {text}" if text else name)


def _one_line(text: str) -> str:
    lines = text.strip().splitlines()[:_LINES_MAX]
    return " ".join(line.strip() for line in lines)[:_CHARS_READ_MAX]


def _printable(text: str) -> str:
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
