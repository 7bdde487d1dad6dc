"""gnomon: the champion alone, with challengers behind its back, with challengers in the answer."""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from typing import Any

import gnomon
from bench.servers import tree
from bench.servers.server import START_TIMEOUT_S, Address, Machine, Running, Unavailable
from bench.servers.work import Work
from gnomon.core.errors import GnomonError, ServerUnreachable
from gnomon.front.client import FrontClient
from gnomon.settings import Home
from tests.waiting import until

_SETTLE_S = 15.0


@dataclass(frozen=True)
class Gnomon:
    """One pipeline on a server of its own, with its token and its log, as a user gets it.

    Attributes:
        mode: None: no challengers.
        fronts: How many processes answer.
        log_level: See `pipeline.configure_log`.
    """

    name: str
    about: str
    mode: str | None = None
    fronts: int = 1
    log_level: str = "async"
    family: str = "gnomon"

    def prepare(self, machine: Machine) -> None:
        """Do nothing: it is this clone."""

    @contextlib.contextmanager
    def running(self, work: Work, machine: Machine, scratch: Path) -> Iterator[Running]:
        """Run `gnomon serve` and deploy the pipeline."""
        home, log = Home(scratch / "home"), scratch / "server.log"
        with served(home, log, machine, self.fronts) as (client, process):
            try:
                pipeline = self._deploy(client, work)
            except GnomonError as error:
                raise Unavailable(f"{error}\n{tree.last_lines(log)}") from error
            address = Address(
                url=pipeline.url(),
                body=work.tensor_body,
                number=lambda answer: answer[0]["outputs"][0]["Float"]["data"][0],
                headers=client.auth.auth_header(),
                must=b'"shadow_data":{"' if self.mode == "joined" else b"",
            )
            yield Running(
                address,
                process.poll,
                settle=lambda: _settle(home),
                counts=lambda: _counts(home),
                collector_ms=lambda: _collector_ms(home),
                lag_ms=lambda: _lag_ms(home),
            )

    def _deploy(self, client: gnomon.Client, work: Work) -> Any:
        champion = client.upload_model("champion", work.model)
        pipeline = client.build_pipeline("bench")
        if self.mode is None:
            pipeline.add_model_step(champion)
        else:
            challengers = [client.upload_model(n, path) for n, path in work.challengers.items()]
            pipeline.add_shadow_deploy(champion, challengers, mode=self.mode)
        return pipeline.configure_log(level=self.log_level).deploy()


SERVERS = [
    Gnomon("gnomon", "champion alone, log on"),
    Gnomon("gnomon-unlogged", "champion alone, log off", log_level="off"),
    Gnomon("gnomon-async", "2 challengers, async, log on", "async"),
    Gnomon("gnomon-joined", "2 challengers, joined, log on", "joined"),
]


@contextlib.contextmanager
def served(
    home: Home, log: Path, machine: Machine, fronts: int = 1
) -> Iterator[tuple[gnomon.Client, Popen[bytes]]]:
    """Run `gnomon serve` at free ports; give a client of it, and its process.

    Raises:
        Unavailable: It ended.
    """
    command = [
        *(sys.executable, "-P", "-m", "gnomon", "serve", "--home", str(home.root)),
        *("--control-port", "0", "--front-port", "0", "--fronts", str(fronts)),
    ]
    with tree.started(command, core=machine.server_core, log=log) as process:

        def connected() -> gnomon.Client | None:
            if process.poll() is not None:
                raise Unavailable(f"it ended with {process.poll()}\n{tree.last_lines(log)}")
            with contextlib.suppress(ServerUnreachable):
                return gnomon.Client(home=home.root, start=False, interactive=False)
            return None

        client = until(connected, within_s=START_TIMEOUT_S)
        assert client is not None
        yield client, process


def _stats(home: Home) -> list[dict[str, Any]]:
    """Return what each front counts."""
    return [FrontClient(socket).stats() for socket in sorted(home.run.glob("front-*.sock"))]


def _counts(home: Home) -> dict[str, int]:
    """Return, over all fronts, what the challengers came to and what the log dropped."""
    total: Counter[str] = Counter()
    for index, stats in enumerate(_stats(home)):
        if index:
            total[f"front {index} requests"] += stats["requests"]
        total["log dropped"] += stats["log"]["dropped"]
        total["log uncommitted"] += stats["log"]["uncommitted"]
        for labels in stats["models"].values():
            for label, tally in labels.items():
                role = "champion" if label == "champion" else "challengers"
                for status, runs in tally.items():
                    if isinstance(runs, int):
                        total[f"{role} {status}"] += runs
    return dict(total)


def _collector_ms(home: Home) -> float | None:
    """Return the longest pause of a front's collector; None if none says."""
    told = [stats["gc"]["longest_ms"] for stats in _stats(home) if "gc" in stats]
    return max(told, default=None)


def _lag_ms(home: Home) -> float | None:
    """Return the greatest p99.9 of the delay of a front's loop; None if none says."""
    told = [stats["loop"]["p999_ms"] for stats in _stats(home)]
    return max((ms for ms in told if ms is not None), default=None)


def _settle(home: Home) -> None:
    """Wait until every challenger has ended and the log is committed."""

    def settled() -> bool:
        counts = _counts(home)
        return not counts.get("challengers pending") and not counts["log uncommitted"]

    with contextlib.suppress(AssertionError):
        until(settled, within_s=_SETTLE_S, every_s=0.05)
