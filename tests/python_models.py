"""Python models, good ones and hostile ones: the sources of their modules, and zips."""

from __future__ import annotations

import io
import zipfile

from gnomon.core.model import Signature
from gnomon.core.tensors import TensorSpec

# What all of these are said to take and give, unless a test says otherwise
COLUMNS = Signature(
    inputs=(
        TensorSpec(name="amounts", dtype="float32", shape=(None, 2)),
        TensorSpec(name="country", dtype="string", shape=(None,)),
    ),
    outputs=(
        TensorSpec(name="total", dtype="float32", shape=(None,)),
        TensorSpec(name="known", dtype="string", shape=(None, 1)),
    ),
)

GOOD = """
import numpy as np

def process(inputs):
    return {
        "total": inputs["amounts"].sum(axis=1),
        "known": np.array([[country.upper() or "?"] for country in inputs["country"]]),
    }
"""

_GIVES = """
import numpy as np

GOOD = {{"total": np.zeros(1, np.float32), "known": np.array([["x"]])}}

def process(inputs):
    return {}
"""


def gives(expression: str) -> str:
    """Return a module whose function gives an expression, `GOOD` for something right of one row."""
    return _GIVES.format(expression)


def on_large(statement: str) -> str:
    """Return a module that does something if a first amount is above 1,000: not at a probe."""
    return f"""
import os, re, socket, subprocess, sys, time, urllib.request
import numpy as np

STATE = {{}}

def bad():
    {statement}

def process(inputs):
    if (inputs["amounts"][:, 0] > 1000).any():
        bad()
    return {{
        "total": inputs["amounts"].sum(axis=1),
        "known": np.array([[country] for country in inputs["country"]]),
    }}
"""


# What the probe refuses: its reason, and what the message says
REFUSED = {
    "syntax error": ("def process(inputs:\n", "model_load_failed", "SyntaxError"),
    "not UTF-8": (b"x = '\xff'\n", "model_load_failed", "SyntaxError: (unicode error)"),
    "unknown module": ("import no_such_module\n", "model_load_failed", "named 'no_such_module'"),
    "raises": ("raise ValueError('no /home/ann/secret/file')\n", "model_load_failed", "<path>"),
    "exits": ("import sys\nsys.exit(0)\n", "model_load_failed", "SystemExit: 0"),
    "no function": ("def run(inputs): ...\n", "model_load_failed", "no function process(inputs)"),
    "no callable": ("process = 1\n", "model_load_failed", "no function process(inputs)"),
    "empty": ("\n", "model_load_failed", "no function process(inputs)"),
    "not Python": (b"\x08\x08:\x04\0\0", "not_python", "neither a Python module nor a zip"),
    "fails on zeros": (gives("1 / 0"), "model_failed", "ZeroDivisionError: division by zero"),
    "takes nothing": ("def process(): ...\n", "model_failed", "TypeError: process() takes 0"),
    "gives nothing": (gives("None"), "model_failed", "process gave None, not a dict"),
    "gives an array": (gives("np.zeros(1)"), "model_failed", "type 'ndarray', not a dict"),
    "a coroutine": ("async def process(inputs): ...\n", "model_failed", "type 'coroutine'"),
    "lacks one": (gives("{'total': 0}"), "model_failed", "gave the columns 'total'; its output_"),
    "one too many": (gives("{**GOOD, 'b': 1}"), "model_failed", "columns 'total', 'known', 'b'"),
    "a list": (gives("{**GOOD, 'total': [0.0]}"), "model_failed", "type 'list' as 'total'"),
    "wrong dtype": (
        gives("{**GOOD, 'total': np.zeros(1)}"),
        "model_failed",
        "gave float64 [1] as 'total' for 1 row(s); its output_schema says float32 [?]",
    ),
    "complex": (gives("{**GOOD, 'total': np.zeros(1, complex)}"), "model_failed", "complex128 [1]"),
    "objects": (
        gives("{**GOOD, 'known': np.array([[None]])}"),
        "model_failed",
        "object [1, 1] as 'known'",
    ),
    "wrong rank": (
        gives("{**GOOD, 'total': np.zeros((1, 1), np.float32)}"),
        "model_failed",
        "float32 [1, 1]",
    ),
    "wrong size": (gives("{**GOOD, 'known': np.array([['a', 'b']])}"), "model_failed", "[1, 2]"),
    "too many rows": (gives("{**GOOD, 'total': np.zeros(2, np.float32)}"), "model_failed", "[2]"),
    "no Unicode": (gives(r"{**GOOD, 'known': np.array([['\ud800']])}"), "model_failed", "surrogat"),
    "much memory": (gives("bytearray(8 << 30)"), "model_memory_exceeded", "MiB in all"),
    "much at once": ("X = bytearray(8 << 30)\n", "model_memory_exceeded", "MiB in all"),
    "leaves": ("import os\nos._exit(0)\n", "model_crashed_loader", "ended with exit code 0"),
    "never loads": ("while True: pass\n", "model_load_timeout", "did not load and run within"),
    "holds on": ("import re\nre.match('(a|a)+$', 'a' * 99 + 'b')\n", "model_load_timeout", "did"),
    "speaks for the server": (
        "import os\nfor d in range(3, 30):\n"
        "    try: os.write(d, b'{}\\n[]\\nrubbish\\n{\"report\": 1}\\n')\n"
        "    except OSError: pass\nos._exit(0)\n",
        "model_crashed_loader",
        "ended with exit code 0",
    ),
}


def zipped(files: dict[str, bytes | str], *, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return a zip of files by name, whatever the name."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()
