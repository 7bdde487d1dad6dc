"""gnomon: the champion alone, with challengers behind its back, with challengers in the answer."""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
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
    """

    name: str
    about: str
    mode: str | None = None
    family: str = "gnomon"

    def prepare(self, machine: Machine) -> None:
        """Do nothing: it is this clone."""

    @contextlib.contextmanager
    def running(self, work: Work, machine: Machine, scratch: Path) -> Iterator[Running]:
        """Run `gnomon serve` and deploy the pipeline."""
        home = Home(scratch / "home")
        command = [
            *(sys.executable, "-P", "-m", "gnomon", "serve", "--home", str(home.root)),
            *("--control-port", "0", "--front-port", "0"),
        ]
        log = scratch / "server.log"
        with tree.started(command, core=machine.server_core, log=log) as process:
            client = until(lambda: _client(home, process.poll(), log), within_s=START_TIMEOUT_S)
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
            yield Running(address, process.poll, lambda: _settle(home), lambda: _counts(home))

    def _deploy(self, client: gnomon.Client, work: Work) -> Any:
        champion = client.upload_model("champion", work.model)
        pipeline = client.build_pipeline("bench")
        if self.mode is None:
            pipeline.add_model_step(champion)
        else:
            challengers = [client.upload_model(n, path) for n, path in work.challengers.items()]
            pipeline.add_shadow_deploy(champion, challengers, mode=self.mode)
        return pipeline.deploy()


SERVERS = [
    Gnomon("gnomon", "champion alone, log on"),
    Gnomon("gnomon-async", "2 challengers, async, log on", "async"),
    Gnomon("gnomon-joined", "2 challengers, joined, log on", "joined"),
]


def _client(home: Home, exit_code: int | None, log: Path) -> gnomon.Client | None:
    """Return a client once the server answers."""
    if exit_code is not None:
        raise Unavailable(f"gnomon serve ended with {exit_code}\n{tree.last_lines(log)}")
    try:
        return gnomon.Client(home=home.root, start=False, interactive=False)
    except ServerUnreachable:
        return None


def _counts(home: Home) -> dict[str, int]:
    """Return, over all fronts, what the challengers came to and what the log dropped."""
    total: Counter[str] = Counter()
    for socket in sorted(home.run.glob("front-*.sock")):
        stats = FrontClient(socket).stats()
        total["log dropped"] += stats["log"]["dropped"]
        total["log uncommitted"] += stats["log"]["uncommitted"]
        for labels in stats["models"].values():
            for label, tally in labels.items():
                role = "champion" if label == "champion" else "challengers"
                for status, runs in tally.items():
                    if isinstance(runs, int):
                        total[f"{role} {status}"] += runs
    return dict(total)


def _settle(home: Home) -> None:
    """Wait until every challenger has ended and the log is committed."""

    def settled() -> bool:
        counts = _counts(home)
        return not counts.get("challengers pending") and not counts["log uncommitted"]

    with contextlib.suppress(AssertionError):
        until(settled, within_s=_SETTLE_S, every_s=0.05)
