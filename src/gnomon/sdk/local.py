"""The server on this machine: find it, or start it, or stop it. One per GNOMON_HOME."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gnomon import settings
from gnomon.core import limits
from gnomon.core.errors import GnomonError, Invalid, OutOfSpace, ServerError, ServerUnreachable
from gnomon.sdk.transport import Transport, path
from gnomon.settings import Home

LOG_LINES_SHOWN = 20
_LOG_BYTES_READ = 64 * limits.KIB
_LOOK_AGAIN_S = 0.02
_HEALTH_TIMEOUT_S = 2.0
_PATIENCE_S = 5.0
# A server that stops lets running requests end first, then its processes.
_STOP_TIMEOUT_S = limits.DRAIN_TIMEOUT_S + limits.STOP_TIMEOUT_S


@dataclass(frozen=True, slots=True)
class RunningServer:
    """What server.json says.

    Attributes:
        pid: Of the supervisor.
        pid_started: When that process started, in clock ticks since boot: another process
            that got the same pid later started at another time.
    """

    control_url: str
    front_url: str
    pid: int
    pid_started: int
    version: str


def read(home: Home) -> RunningServer | None:
    """Return the server that runs in `home`; None if there is none, or it is gone."""
    try:
        document = json.loads(home.server_file.read_bytes())
        server = RunningServer(
            control_url=str(document["control_url"]),
            front_url=str(document["front_url"]),
            pid=int(document["pid"]),
            pid_started=int(document["pid_started"]),
            version=str(document["version"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return server if start_ticks(server.pid) == server.pid_started else None


def start_ticks(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; None if it is gone or a zombie.

    Source: proc_pid_stat(5), fields 3 and 22.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    # The second field is the program's name in brackets, which may hold blanks and brackets.
    fields = stat[stat.rindex(b")") + 2 :].split()
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def token(home: Home) -> str | None:
    """Return the owner's token of the server in `home`."""
    try:
        return home.token_file.read_text().strip() or None
    except OSError:
        return None


def healthy(server: RunningServer) -> bool:
    """Say whether the server's control plane answers."""
    transport = Transport(server.control_url, None, timeout_s=_HEALTH_TIMEOUT_S)
    try:
        return transport.call("GET", path("health")).status == 200
    except GnomonError:
        return False


def find(home: Home) -> RunningServer:
    """Return the server that runs in `home`.

    Raises:
        ServerUnreachable: None runs there, or it does not answer.
    """
    server = read(home)
    if server is None:
        raise ServerUnreachable(
            f"No gnomon server runs with the data in {home.root}. Start one with 'gnomon serve'."
        )
    return _wait_until_healthy(home, server, _deadline())


def find_or_start(home: Home, *, shown: bool = True) -> RunningServer:
    """Join the server that runs in `home`, or start one that runs until `gnomon down`.

    Several processes that ask at once get the same server.

    Args:
        shown: Print the server's address if it was started here.

    Raises:
        ServerUnreachable: It did not come up in time; the message ends with its last log lines.
        GnomonError: The directory cannot be used; see `home_errors`.
    """
    server = read(home)
    if server is not None and healthy(server):
        return server
    require_linux()
    with home_errors(home):
        home.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _locked(home.client_lock):
            server = read(home)
            if server is not None:
                return _wait_until_healthy(home, server, _deadline())
            server, _ = start(home)
    if shown:
        print(
            f"gnomon {server.version} was started at {server.control_url}, with its data in "
            f"{home.root}. It runs until 'gnomon down'.",
            flush=True,
        )
    return server


def start(
    home: Home, *, options: Sequence[str] = ()
) -> tuple[RunningServer, subprocess.Popen[bytes]]:
    """Start `gnomon serve` in a session of its own, and wait until it answers.

    Args:
        options: Further options of `gnomon serve`.

    Raises:
        ServerUnreachable: It ended, or did not answer within `SERVER_START_TIMEOUT_S`; what was
            started is stopped again.
        GnomonError: The directory cannot be used; see `home_errors`.
    """
    require_linux()
    log = home.logs / "supervisor.log"
    with home_errors(home):
        home.logs.mkdir(parents=True, exist_ok=True, mode=0o700)
        log.touch(0o600)
    # -P: the directory that a notebook runs in must not shadow gnomon's own imports.
    command = [sys.executable, "-P", "-m", "gnomon", "serve", "--home", str(home.root), *options]
    with log.open("ab") as output:
        seen = output.tell()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env=settings.child_environment(GNOMON_HOME=str(home.root)),
        )
    # Reaps it whenever it ends: a zombie would look like a server that does not stop.
    threading.Thread(target=process.wait, name="gnomon-server-reaper", daemon=True).start()
    try:
        return _wait_until_started(home, process, log, seen), process
    except BaseException:
        _end(process)
        raise


@contextlib.contextmanager
def home_errors(home: Home) -> Iterator[None]:
    """Say in words when the data directory, or a file in it, cannot be used.

    Raises:
        Invalid: A file is where a directory has to be.
        OutOfSpace: The disk is full.
        ServerError: It may not be read or written, or the disk fails.
        OSError: One that is not about the directory.
    """
    try:
        yield
    except OSError as error:
        # On the way there, or in it.
        place = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str) else None
        if place is None or not (
            place.is_relative_to(home.root) or home.root.is_relative_to(place)
        ):
            raise
        problem = f"gnomon cannot keep its data in {home.root}: {place}: {error.strerror}."
        advice = "Choose another directory with --home or GNOMON_HOME."
        if isinstance(error, FileExistsError | NotADirectoryError | IsADirectoryError):
            raise Invalid(f"{problem} It must be a directory. {advice}") from error
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OutOfSpace(f"{problem} Make room there. {advice}") from error
        raise ServerError(f"{problem} Make it writable for this user. {advice}") from error


def stop(server: RunningServer) -> None:
    """Stop a server and wait until it is gone. Running requests are answered first.

    Raises:
        ServerError: It still runs after the time that it has for stopping.
    """
    try:
        process = os.pidfd_open(server.pid)
    except ProcessLookupError:
        return
    try:
        # Looked at after opening: from here on the descriptor is that process, or none.
        if start_ticks(server.pid) != server.pid_started:
            return
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(process, signal.SIGTERM)
        ended, _, _ = select.select([process], [], [], _STOP_TIMEOUT_S)
    finally:
        os.close(process)
    if not ended:
        raise ServerError(
            f"The server (process {server.pid}) did not stop within {_STOP_TIMEOUT_S:.0f} s. "
            f"'kill -9 {server.pid}' ends it and all of its processes.",
            pid=server.pid,
        )


def _wait_until_started(
    home: Home, process: subprocess.Popen[bytes], log: Path, seen: int
) -> RunningServer:
    deadline = _deadline()
    while time.monotonic() < deadline:
        server = read(home)
        if server is not None and healthy(server):
            return server
        if process.poll() is not None:
            problem = f"ended with exit code {process.returncode}"
            break
        time.sleep(_LOOK_AGAIN_S)
    else:
        problem = f"did not answer within {limits.SERVER_START_TIMEOUT_S:.0f} s"
    raise ServerUnreachable(f"The gnomon server that was started {problem}. {_tail(log, seen)}")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()  # its children end with it


def _wait_until_healthy(home: Home, server: RunningServer, deadline: float) -> RunningServer:
    """Give a server that runs, but is starting or repairing itself, time to answer."""
    while not healthy(server):
        if time.monotonic() > deadline:
            raise ServerUnreachable(
                f"The gnomon server (process {server.pid}) runs, but does not answer at "
                f"{server.control_url}. 'gnomon down' stops it. "
                + _tail(home.logs / "supervisor.log", 0)
            )
        time.sleep(_LOOK_AGAIN_S)
        server = read(home) or server
    return server


def _tail(log: Path, seen: int) -> str:
    """Return the last lines of a log, from byte `seen` on."""
    try:
        with log.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(seen, end - _LOG_BYTES_READ))
            lines = file.read().decode(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
    except OSError:
        lines = []
    if not lines:
        return f"It wrote nothing to {log}."
    return f"The end of {log}:\n" + "\n".join(lines)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock file at `path`; whoever holds it does so for one server's start at most."""
    import fcntl  # not on Windows, where only Client(url) is of use

    deadline = _deadline() + limits.SERVER_START_TIMEOUT_S
    with path.open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ServerUnreachable(
                        f"Another process has been starting a server for too long; it holds {path}."
                    ) from None
                time.sleep(_LOOK_AGAIN_S)
        yield


def _deadline() -> float:
    return time.monotonic() + limits.SERVER_START_TIMEOUT_S


def require_linux() -> None:
    """Refuse to run a server on a system that lacks what it is built on.

    Raises:
        Invalid: This is not Linux.
    """
    if not sys.platform.startswith("linux"):
        raise Invalid(
            "A gnomon server needs Linux; this is "
            f"{sys.platform}. Connect to one elsewhere: gnomon.Client('http://...')."
        )
