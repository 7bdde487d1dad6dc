"""One gnomon server, and a pipeline on it whose challenger changes."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import gnomon
from bench.servers import tree
from bench.servers.server import START_TIMEOUT_S, Unavailable
from gnomon.core.errors import ServerUnreachable
from gnomon.front.client import FrontClient
from gnomon.settings import Home
from tests.waiting import until

CHAMPION = "champion"
_SETTLE_S = 2.0
_GONE_WITHIN_S = 60.0


class Serving:
    """The server, as seen from outside.

    Args:
        champion: The champion's file.

    Attributes:
        home: Where it runs.
        client: Connected to it.
    """

    def __init__(self, home: Home, client: gnomon.Client, champion: Path) -> None:
        self.home = home
        self.client = client
        self._champion = client.upload_model(CHAMPION, champion)
        self._processes = 0

    def calm(self) -> None:
        """Deploy the champion alone, and wait until no process of a challenger is left."""
        self.deploy(None, None)
        if not self._processes:
            self._processes = len(tree.tree())
        until(lambda: len(tree.tree()) <= self._processes, within_s=_GONE_WITHIN_S, every_s=0.1)

    def deploy(self, challenger: str | None, path: Path | None) -> tuple[str, dict[str, str]]:
        """Put the champion beside another challenger, or alone; return URL and headers."""
        pipeline = self.client.build_pipeline("isolation")
        if challenger is None or path is None:
            pipeline.add_model_step(self._champion)
        else:
            uploaded = self.client.upload_model(challenger, path)
            pipeline.add_shadow_deploy(self._champion, [uploaded])
        with contextlib.redirect_stdout(io.StringIO()):
            pipeline.deploy()
        return pipeline.url(), self.client.auth.auth_header()

    def runs(self, challenger: str) -> Counter[str]:
        """Return the challenger's runs by status, over all fronts."""
        total: Counter[str] = Counter()
        for socket in sorted(self.home.run.glob("front-*.sock")):
            for labels in FrontClient(socket).stats()["models"].values():
                for status, number in labels.get(challenger, {}).items():
                    if isinstance(number, int):
                        total[status] += number
        return total

    def settled_runs(self, challenger: str) -> Counter[str]:
        """Return them once none is pending, or after a while."""
        with contextlib.suppress(AssertionError):
            until(lambda: not self.runs(challenger)["pending"], within_s=_SETTLE_S, every_s=0.1)
        return self.runs(challenger)


@contextlib.contextmanager
def serving(scratch: Path, champion: Path, cores: set[int]) -> Iterator[Serving]:
    """Run `gnomon serve` in a home of its own, all its processes on these cores.

    Raises:
        Unavailable: It did not start.
    """
    home, log = Home(scratch / "home"), scratch / "server.log"
    command = [
        *(sys.executable, "-P", "-m", "gnomon", "serve", "--home", str(home.root)),
        *("--control-port", "0", "--front-port", "0"),
    ]
    with tree.started(
        command, core=min(cores), log=log, environment={"GNOMON_HOME": str(home.root)}
    ) as process:

        def connected() -> gnomon.Client | None:
            if process.poll() is not None:
                raise Unavailable(f"gnomon serve ended\n{tree.last_lines(log)}")
            with contextlib.suppress(ServerUnreachable):
                return gnomon.Client(home=home.root, start=False, interactive=False)
            return None

        client = until(connected, within_s=START_TIMEOUT_S)
        assert client is not None
        _allow(cores)
        yield Serving(home, client, champion)


def _allow(cores: set[int]) -> None:
    """Let every thread of the server, and so all it will start, run on these cores."""
    for process in tree.tree():
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{process.pid}/task"):
                os.sched_setaffinity(int(task), cores)
