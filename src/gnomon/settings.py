"""Where gnomon keeps its things, and every environment variable that it reads."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from pathlib import Path

from gnomon.core import limits
from gnomon.core.errors import Invalid


def default_home() -> Path:
    """Return $GNOMON_HOME, else the platform's place for user data."""
    named = os.environ.get("GNOMON_HOME")
    if named:
        return Path(named).expanduser().absolute()
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "gnomon"


def server_url() -> str | None:
    """Return $GNOMON_URL: the control plane that `Client()` connects to instead of a local one."""
    return os.environ.get("GNOMON_URL") or None


def token() -> str | None:
    """Return $GNOMON_TOKEN: the token for a server whose token file is elsewhere."""
    return os.environ.get("GNOMON_TOKEN") or None


def fronts() -> int:
    """Return $GNOMON_FRONTS: how many fronts a server has that was not told; 1 without it.

    Raises:
        Invalid: It is no number.
    """
    named = os.environ.get("GNOMON_FRONTS") or "1"
    if not named.isdecimal():
        raise Invalid(f"GNOMON_FRONTS is {named[:40]!r}; a number of fronts was expected.")
    return int(named)


def allow_python_models() -> bool:
    """Return $GNOMON_ALLOW_PYTHON_MODELS, 1 or 0: whether Python models are run; 0 without it.

    Raises:
        Invalid: It is neither.
    """
    named = os.environ.get("GNOMON_ALLOW_PYTHON_MODELS") or "0"
    if named not in ("0", "1"):
        raise Invalid(f"GNOMON_ALLOW_PYTHON_MODELS is {named[:40]!r}; 1 or 0 was expected.")
    return named == "1"


def log_days() -> float:
    """Return $GNOMON_LOG_DAYS: how long inferences are kept; 30 without it.

    Raises:
        Invalid: It is no number.
    """
    return _number("GNOMON_LOG_DAYS", limits.LOG_KEPT_DAYS)


def log_gigabytes() -> float:
    """Return $GNOMON_LOG_GB: how large the tables of the log may be together; 10 without it.

    Raises:
        Invalid: It is no number.
    """
    return _number("GNOMON_LOG_GB", limits.LOG_KEPT_BYTES / limits.GIB)


def _number(name: str, usual: float) -> float:
    named = os.environ.get(name) or str(usual)
    try:
        number = float(named)
    except ValueError:
        number = math.nan
    if not number > 0:
        raise Invalid(f"{name} is {named[:40]!r}; a number above 0 was expected.")
    return number


def child_environment(**extra: str) -> dict[str, str]:
    """Return the environment of a child process: this one's, and `extra`."""
    return {**os.environ, **extra}


@dataclass(frozen=True, slots=True)
class Home:
    """The paths under GNOMON_HOME.

    Attributes:
        root: The directory itself, mode 0700.
    """

    root: Path = field(default_factory=default_home)

    @property
    def server_file(self) -> Path:
        """Return server.json, 0600: URLs, pid and its start time, version of the running server."""
        return self.root / "server.json"

    @property
    def token_file(self) -> Path:
        """Return the file that holds the owner's token, 0600."""
        return self.root / "token"

    @property
    def ports_file(self) -> Path:
        """Return the file that remembers the ports."""
        return self.root / "ports.json"

    @property
    def server_lock(self) -> Path:
        """Return the file that a running server locks."""
        return self.root / "server.lock"

    @property
    def client_lock(self) -> Path:
        """Return the file that clients lock while they start a server."""
        return self.root / "client.lock"

    @property
    def database(self) -> Path:
        """Return the metadata database."""
        return self.root / "metadata.sqlite"

    @property
    def artifacts(self) -> Path:
        """Return the directory of model files."""
        return self.root / "artifacts"

    @property
    def inference_log(self) -> Path:
        """Return the directory of the inference log."""
        return self.root / "inference-log"

    @property
    def run(self) -> Path:
        """Return the directory of sockets, emptied at each start, 0700."""
        return self.root / "run"

    @property
    def logs(self) -> Path:
        """Return the directory of the processes' own logs."""
        return self.root / "logs"

    @property
    def routing_file(self) -> Path:
        """Return the last routing table, which a restarted front reads."""
        return self.run / "routing.json"

    @property
    def supervisor_socket(self) -> Path:
        """Return where the supervisor takes orders."""
        return self.run / "supervisor.sock"

    def front_socket(self, index: int) -> Path:
        """Return where front `index` takes orders from the control plane."""
        return self.run / f"front-{index}.sock"

    @property
    def connections_file(self) -> Path:
        """Return where several fronts tell each other how many connections they have."""
        return self.run / "connections"

    def counts_file(self, index: int) -> Path:
        """Return where what front `index` counts outlives it."""
        return self.run / f"front-{index}.counts"

    def write_ahead(self, index: int) -> Path:
        """Return the write-ahead of front `index`."""
        return self.inference_log / f"front-{index}.sqlite"
