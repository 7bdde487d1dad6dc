"""What a server keeps in its home beside its stores: token, ports, where it runs."""

from __future__ import annotations

import json
import logging
import os
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from gnomon.core.access import TOKEN_PREFIX
from gnomon.private_files import write_private
from gnomon.settings import Home

log = logging.getLogger(__name__)


def ensure_token(home: Home) -> None:
    """Make the owner's token, unless there is one; close its file to others in any case."""
    if home.token_file.exists() and home.token_file.read_text(errors="replace").strip():
        home.token_file.chmod(0o600)
    else:
        token = TOKEN_PREFIX + secrets.token_urlsafe(32)
        write_private(home.token_file, token.encode() + b"\n")


def front_names(count: int) -> list[str]:
    """Return how the fronts of a server are called, by index: in statuses, logs and notices."""
    return ["front"] if count == 1 else [f"front-{index}" for index in range(count)]


def remembered_ports(home: Home) -> Mapping[str, int]:
    """Return the ports of last time by name; nothing if that cannot be read."""
    try:
        ports = json.loads(home.ports_file.read_bytes())
        return {name: int(port) for name, port in ports.items() if 0 < int(port) < 2**16}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError):
        log.warning("ports.unreadable file=%s; the usual ones are tried", home.ports_file.name)
        return {}


def remember_ports(home: Home, **ports: int) -> None:
    """Note the ports for the next start."""
    write_private(home.ports_file, json.dumps(ports).encode())


def set_old_log_aside(home: Home) -> None:
    """Move away an inference log whose metadata database is gone.

    Its entries are known by ids of that database; a new one gives the same ids to other pipelines,
    and would show them each other's entries.
    """
    if home.database.exists() or not any(home.inference_log.iterdir()):
        return
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
    aside = home.inference_log.with_name(f"{home.inference_log.name}-before-{stamp}")
    home.inference_log.rename(aside)
    home.inference_log.mkdir(mode=0o700)
    log.warning("log.set_aside directory=%s, for its metadata database is gone", aside.name)


def say_where(home: Home, urls: Mapping[str, str]) -> None:
    """Write server.json; the start time tells this process from another of the same pid."""
    started = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    facts = {
        **urls,
        "pid": os.getpid(),
        "pid_started": int(started),
        "version": version("gnomon"),
    }
    write_private(home.server_file, json.dumps(facts, indent=1).encode() + b"\n")
