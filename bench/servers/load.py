"""wrk with a script that checks every answer.

wrk adds to its latencies what requests would have waited that a stalled connection did not send.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.servers.answers import Expected
from bench.servers.server import Address

MISSING = "wrk is not installed: 'apt-get install wrk' has it on Debian and Ubuntu"
SCRIPT = Path(__file__).with_name("check.lua")
TIMEOUT_S = 10
"""After this long without an answer wrk counts a request as failed."""
_LATE_S = 30


@dataclass(frozen=True)
class Load:
    """What one run of wrk saw.

    Attributes:
        requests: Answered within the time.
        duration_s: How long it ran.
        errors: What went wrong, by kind, zeros left out.
        example: The start of the first wrong answer.
    """

    requests: int
    duration_s: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    errors: dict[str, int]
    example: str = ""


def find_wrk() -> str | None:
    """Return wrk's path, or None."""
    return shutil.which("wrk")


def quoted(value: bytes) -> str:
    """Return bytes as a Lua string literal."""
    return '"' + "".join(f"\\{byte:03d}" for byte in value) + '"'


def script(address: Address, expected: Expected) -> str:
    """Return the whole script for one server."""
    headers: Mapping[str, str] = {"Content-Type": "application/json", **address.headers}
    pairs = ", ".join(f"[{quoted(k.encode())}] = {quoted(v.encode())}" for k, v in headers.items())
    constants = [
        f"BODY = {quoted(address.body)}",
        f"HEADERS = {{{pairs}}}",
        f"CONTEXT = {quoted(expected.context)}",
        f"NUMBER = {quoted(expected.text)}",
        f"AFTER = {quoted(expected.after)}",
        f"EXPECTED = {expected.value!r}",
        f"TOLERANCE = {expected.tolerance!r}",
        f"MUST = {quoted(address.must)}",
    ]
    return "\n".join(constants) + "\n" + SCRIPT.read_text()


def parse(output: str) -> Load:
    """Read what the script printed.

    Raises:
        RuntimeError: There is no result in it, or answers went by unchecked.
    """
    line = re.search(r"^RESULT (.*)$", output, re.MULTILINE)
    if line is None:
        raise RuntimeError(f"wrk gave no result: {output.strip()[-500:]}")
    facts = {name: int(value) for name, value in re.findall(r"(\w+)=(-?\d+)", line[1])}
    if facts["checked"] < facts["requests"]:
        raise RuntimeError(f"{facts['requests']} answers, only {facts['checked']} checked")
    kinds = ("bad_status", "bad_answers", "connect", "read", "write", "timeout")
    example = re.search(r"^EXAMPLE (.*)$", output, re.MULTILINE)
    return Load(
        requests=facts["requests"],
        duration_s=facts["duration_us"] / 1e6,
        p50_ms=facts["p50_us"] / 1e3,
        p99_ms=facts["p99_us"] / 1e3,
        max_ms=facts["max_us"] / 1e3,
        errors={kind: facts[kind] for kind in kinds if facts[kind]},
        example=example[1] if example else "",
    )


def run(url: str, script_file: Path, *, connections: int, seconds: int, core: int) -> Load:
    """Load a server from one core.

    Args:
        seconds: Whole seconds, as wrk wants them.

    Raises:
        RuntimeError: wrk failed.
    """
    done = subprocess.run(
        [
            *("taskset", "-c", str(core), find_wrk() or "wrk"),
            *("--threads", "1", "--connections", str(connections), "--duration", f"{seconds}s"),
            *("--timeout", f"{TIMEOUT_S}s", "--script", str(script_file), url),
        ],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=seconds + TIMEOUT_S + _LATE_S,
    )
    if done.returncode:
        raise RuntimeError(f"wrk ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    return parse(done.stdout)
