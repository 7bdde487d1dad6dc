"""The front put together: port, routes, exchanges, channels, orders."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import socket
from collections.abc import Callable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from gnomon.core import limits
from gnomon.core.frames import Frame, Kind, decode, encode
from gnomon.core.routing import Route, RoutingTable, ServedModel
from gnomon.front import codecs
from gnomon.front.accepting import Share
from gnomon.front.channel import SocketChannel
from gnomon.front.collector import Collector
from gnomon.front.control import FrontLog, OrderServer
from gnomon.front.counts import CountsFile
from gnomon.front.exchange import Exchange
from gnomon.front.http import HttpServer, HttpTimers
from gnomon.front.lag import Lag
from gnomon.front.pool import Pool
from gnomon.front.routes import Router
from gnomon.front.service import Channel
from gnomon.front.tallies import WIDTH, Tally

_LOG = logging.getLogger("gnomon.front")


class Front:
    """Serves one port by a routing table that may change at any time.

    Args:
        hosts_directory: Where the sockets of the hosts are: `<host name>.sock`.
        log: Everything inferred is appended to it.
        allowed_hosts: Host headers that name this server; see `http_access.allowed_hosts`.
        version: Of gnomon.
        replace_host: Has a host that is stuck replaced, by its name; called in a thread.
        counts: Where what is counted outlives this front; None: nowhere.
        timers: For tests.
    """

    def __init__(
        self,
        *,
        hosts_directory: Path,
        log: FrontLog,
        allowed_hosts: frozenset[str],
        version: str,
        replace_host: Callable[[str], None] = lambda _: None,
        counts: CountsFile | None = None,
        timers: HttpTimers | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._hosts_directory = hosts_directory
        self._log = log
        log.deliver_by(self._loop.call_soon_threadsafe)
        self._replace_host = replace_host
        self._counts = counts
        self._router = Router(allowed_hosts=allowed_hosts, version=version, log=log)
        self._http = HttpServer(self._router, timers=timers)
        self._orders = OrderServer(self, log)
        self._collector = Collector()
        self._lag = Lag()
        self._changing = asyncio.Lock()
        self._version: int | None = None
        self._exchanges: dict[int, Exchange] = {}
        self._channels: dict[str, SocketChannel] = {}
        self._used: dict[int, tuple[SocketChannel, ...]] = {}  # by each exchange
        self._retired: list[SocketChannel] = []
        self._tallies: dict[int, dict[str, Tally]] = {}
        self._requests_of_old = 0  # of deployments that are routed no more
        self._sweeper: asyncio.TimerHandle | None = None
        self._sweep()

    async def listen(
        self, listener: socket.socket, orders: Path, share: Share | None = None
    ) -> None:
        """Take orders, and requests from a bound socket; `share`: see `HttpServer.listen`."""
        _warm_up()
        self._collector.tidy()
        await self._orders.listen(orders)
        await self._http.listen(listener, share)

    async def route(self, table: RoutingTable) -> int:
        """Route by `table`, if it is newer than the one in use.

        New hosts are connected to before the switch, so that no request finds one missing; what
        is under way on old ones finishes.

        Returns:
            The version of the table in use.
        """
        async with self._changing:
            if self._version is not None and table.version < self._version:
                return self._version
            channels = self._channels_for(table)
            await _connect([c for c in channels.values() if c not in self._channels.values()])
            exchanges, tallies = {}, {}
            for route in table.routes:
                tallies[route.deployment_id] = self._tallies_for(route)
                exchanges[route.deployment_id] = self._exchange_for(
                    route, channels, tallies[route.deployment_id]
                )
            self._router.use(table, exchanges.values())
            self._http.forget_heads()
            for exchange in self._exchanges.values():
                exchange.start_groups()
            leaving = [each for each in self._exchanges.values() if each not in exchanges.values()]
            kept = set(channels.values())
            for channel in self._channels.values():
                if channel not in kept:
                    self._retired.append(channel)
                    channel.retire(lambda: all(each.is_idle for each in leaving))
            for deployment_id in self._exchanges.keys() - exchanges.keys():
                self._requests_of_old += self._requests(deployment_id)
                del self._used[deployment_id]
            self._keep_counts(tallies)
            self._exchanges, self._channels, self._tallies = exchanges, channels, tallies
            self._version = table.version
            _LOG.info("routing table %d: %d routes", table.version, len(table.routes))
        self._collector.tidy()
        return table.version

    def stats(self) -> dict[str, Any]:
        """Return what `client.FrontClient.stats` says."""
        return {
            "connected": {name: channel.connected for name, channel in self._channels.items()},
            "requests": self._requests_of_old + sum(map(self._requests, self._exchanges)),
            "log": self._log.stats(),
            "gc": self._collector.to_json(),
            "loop": self._lag.to_json(),
            "models": {
                str(deployment_id): {
                    model.label: self._model_stats(model, self._tallies[deployment_id][model.label])
                    for model in exchange.route.served()
                }
                for deployment_id, exchange in self._exchanges.items()
            },
        }

    def _model_stats(self, model: ServedModel, tally: Tally) -> dict[str, Any]:
        channels = [self._channels[host] for host in model.hosts]
        return {
            **tally.to_json(),
            "breaker": channels[0].breaker.state if model.role == "challenger" else None,
            "connected": any(channel.connected for channel in channels),
        }

    async def stop(self, timeout_s: float = limits.DRAIN_TIMEOUT_S) -> None:
        """Answer what was received, let challengers finish for a moment, then end."""
        self._router.is_draining = True
        await self._http.drain(timeout_s)
        channels = [*self._channels.values(), *self._retired]
        end = self._loop.time() + limits.CHALLENGERS_DRAIN_S
        while not all(channel.idle for channel in channels) and self._loop.time() < end:
            await asyncio.sleep(limits.DEADLINE_SWEEP_S)
        self._orders.close()
        for channel in channels:
            channel.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._collector.close()

    def _channels_for(self, table: RoutingTable) -> dict[str, SocketChannel]:
        channels = {}
        for route in table.routes:
            for model in chain.from_iterable(served.each() for served in route.served()):
                channel = self._channels.get(model.host)
                if channel is None or channel.model != model:
                    channel = self._open(model)
                channels[model.host] = channel
        return channels

    def _open(self, model: ServedModel) -> SocketChannel:
        path = self._hosts_directory / f"{model.host}.sock"
        return SocketChannel(model, path, self._wedged)

    def _wedged(self, host: str) -> None:
        _LOG.warning("host %s is stuck", host)
        asked = self._loop.run_in_executor(None, self._replace_host, host)
        asked.add_done_callback(_note_failure)

    def _requests(self, deployment_id: int) -> int:
        tallies = self._tallies[deployment_id]
        answering = self._exchanges[deployment_id].route.answering()
        return sum(tallies[model.label].sampled for model in answering)

    def _tallies_for(self, route: Route) -> dict[str, Tally]:
        old = self._tallies.get(route.deployment_id, {})
        return {
            model.label: old.get(model.label) or self._tally(route, model)
            for model in route.served()
        }

    def _tally(self, route: Route, model: ServedModel) -> Tally:
        if self._counts is None:
            return Tally()
        return Tally(self._counts.of(_counted_as(route.deployment_id, model.label)))

    def _keep_counts(self, tallies: Mapping[int, Mapping[str, Tally]]) -> None:
        """Keep what is counted on; requests that are still under way elsewhere count for nobody."""
        if self._counts is None:
            return
        for deployment_id, by_label in self._tallies.items():
            for label, tally in by_label.items():
                if tallies.get(deployment_id, {}).get(label) is not tally:
                    tally.let_go()
        self._counts.keep([_counted_as(at, label) for at, by in tallies.items() for label in by])

    def _exchange_for(
        self, route: Route, channels: dict[str, SocketChannel], tallies: dict[str, Tally]
    ) -> Exchange:
        old = self._exchanges.get(route.deployment_id)
        used = tuple(channels[host] for model in route.served() for host in model.hosts)
        if old is not None and old.route == route and self._used[route.deployment_id] == used:
            return old
        self._used[route.deployment_id] = used
        ways = {model.host: _way(model, channels) for model in route.served()}
        return Exchange.of(route, channels=ways, tallies=tallies, log=self._log)

    def _sweep(self, due: float | None = None) -> None:
        now = self._loop.time()
        if due is not None:
            self._lag.note(max(0.0, now - due))
        for channel in (*self._channels.values(), *self._retired):
            channel.sweep(now)
        if self._retired:
            self._retired = [channel for channel in self._retired if not channel.closed]
        due = now + limits.DEADLINE_SWEEP_S
        self._sweeper = self._loop.call_at(due, self._sweep, due)


def _way(model: ServedModel, channels: Mapping[str, SocketChannel]) -> Channel:
    """Return the way to a model: to its host, or to all of them."""
    if model.replicas > 1:
        return Pool(model, [channels[host] for host in model.hosts])
    channels[model.host].spare = None
    return channels[model.host]


def _counted_as(deployment_id: int, label: str) -> str:
    return f"{deployment_id}/{label}"


async def run(
    front_index: int,
    *,
    tcp_socket: socket.socket,
    order_socket_path: Path,
    hosts_directory: Path,
    routing_file: Path,
    log: FrontLog,
    allowed_hosts: frozenset[str],
    version: str,
    replace_host: Callable[[str], None] = lambda _: None,
    counts_file: Path | None = None,
    on_ready: Callable[[], None] = lambda: None,
    share: Share | None = None,
) -> None:
    """Be front `front_index` until SIGTERM or SIGINT; a second one ends the draining.

    Args:
        tcp_socket: Bound; need not listen yet.
        order_socket_path: Where the control plane sends orders.
        routing_file: The last routing table; may be missing.
        replace_host: See `Front`.
        counts_file: Where what is counted outlives this process.
        on_ready: Called when requests are answered.
        share: With which other fronts that listen at the same socket; None: with none.
    """
    front = Front(
        hosts_directory=hosts_directory,
        log=log,
        allowed_hosts=allowed_hosts,
        version=version,
        replace_host=replace_host,
        counts=None if counts_file is None else CountsFile(counts_file, WIDTH),
    )
    stopping, hurried = asyncio.Event(), asyncio.Event()

    def on_signal() -> None:
        (hurried if stopping.is_set() else stopping).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    table = _read_table(routing_file)
    if table is not None:
        await front.route(table)
    await front.listen(tcp_socket, order_socket_path, share)
    _LOG.info("front %d is ready", front_index)
    on_ready()
    await stopping.wait()
    drained = loop.create_task(front.stop())
    await asyncio.wait(
        [drained, loop.create_task(hurried.wait())], return_when=asyncio.FIRST_COMPLETED
    )
    _LOG.info("front %d stops", front_index)


def _note_failure(asked: asyncio.Future[None]) -> None:
    if not asked.cancelled() and asked.exception() is not None:
        _LOG.warning("it could not be replaced: %s", asked.exception())


def _read_table(path: Path) -> RoutingTable | None:
    try:
        return RoutingTable.from_json(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None  # the first start: the control plane will send one
    except (OSError, ValueError, KeyError, TypeError):
        _LOG.exception("the routing file cannot be read; waiting for the control plane")
        return None


async def _connect(channels: list[SocketChannel]) -> None:
    """Wait for new hosts: for champions a second, for challengers a moment."""
    for role, wait_s in (
        ("champion", limits.HOST_CONNECT_WAIT_S),
        ("challenger", limits.CHALLENGERS_CONNECT_WAIT_S),
    ):
        waits = [
            asyncio.ensure_future(channel.wait_connected())
            for channel in channels
            if channel.model.role == role
        ]
        if waits:
            _, missing = await asyncio.wait(waits, timeout=wait_s)
            for wait in missing:
                wait.cancel()


def _warm_up() -> None:
    """Do once what every request does, so that the first one waits for no import."""
    decode(encode(Frame(Kind.RUN, 1, 1, (np.zeros((1, 1), "float32"),))))
    for body in (b'{"tensor": [[1.0]]}', b'[{"tensor": [1.0]}]'):
        codecs.read(body, None).columns["tensor"]
