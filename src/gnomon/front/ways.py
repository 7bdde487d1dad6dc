"""The ways through the stages of a route: which model of each split answers a request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from gnomon.core import limits
from gnomon.core.errors import InputMismatch
from gnomon.core.plan import Split
from gnomon.core.routing import Route, ServedStage
from gnomon.core.splits import by_chance, by_key, by_value, values_of
from gnomon.core.tensors import Array
from gnomon.front.chain import Chain, Way
from gnomon.front.course import ChainChannel
from gnomon.front.service import Channel, Service
from gnomon.front.tallies import Tally

Columns = Mapping[str, Array]


class Ways:
    """The services of a route with several stages, or a split: one for each way through it.

    Args:
        channels: By the name of the model's host.
        tallies: By label.
        service: Makes one of a route and its champion's channel.

    Attributes:
        usual: The service of the way through the first champion of each stage.
        columns: Those of a request that decide.
    """

    def __init__(
        self,
        route: Route,
        channels: Mapping[str, Channel],
        tallies: Mapping[str, Tally],
        service: Callable[..., Service],
    ) -> None:
        self.route = route
        self._tallies = tallies
        self._service = service
        self._channels = [
            [channels[model.host] for model in stage.champions] for stage in route.stages
        ]
        self._splits = [
            (index, stage, stage.split)
            for index, stage in enumerate(route.stages)
            if stage.split is not None
        ]
        self._asked = _asked_about(route)
        self._made: dict[Way, Service] = {}
        self.usual = self._of((0,) * len(route.stages))
        self.columns = frozenset(split.column for *_, split in self._splits if split.column)

    @property
    def needs_columns(self) -> bool:
        """Say whether a column of the request decides anything."""
        return bool(self.columns)

    def of(self, request_id: str, columns: Columns) -> Service:
        """Return the service of a request.

        Raises:
            InputMismatch: A column that decides is missing, or has not one value for each row.
        """
        way: list[int | tuple[int, ...] | None] = [0] * len(self.route.stages)
        for index, stage, split in self._splits:
            way[index] = self._choice(index, stage, split, request_id, columns)
        return self._of(tuple(way))

    def _choice(
        self, index: int, stage: ServedStage, split: Split, request_id: str, columns: Columns
    ) -> int | tuple[int, ...] | None:
        if split.column is None:
            return by_chance(split, request_id, stage.step)
        if split.column not in columns:
            if index and split.values is not None:
                return None  # it is told by what the stage before gives
            names = ", ".join(repr(name[:80]) for name in list(columns)[:10]) or "none"
            raise InputMismatch(
                f"Column {split.column!r} decides which model answers, and the request has the "
                f"columns {names}.",
                column=split.column,
            )
        values = values_of(split.column, columns[split.column], None)
        if split.values is None:
            return by_value(split, values[0])
        options = by_key(split, values)
        if len(set(options)) == 1:
            return options[0]
        if index == 0:
            _check_alike(stage, options, split.column)
        return tuple(options)

    def _of(self, way: Way) -> Service:
        service = self._made.get(way)
        if service is None:
            service = self._make(way)
            # A way that differs from row to row is that of one request only.
            if not any(isinstance(at, tuple) for at in way):
                if len(self._made) >= limits.WAYS_KEPT_MAX:
                    self._made.clear()
                self._made[way] = service
        return service

    def _make(self, way: Way) -> Service:
        stages = self.route.stages
        chain = Chain(stages, self._channels, way, tallies=self._tallies, asked=self._asked)
        route = replace(self.route, champion=chain.model) if self._splits else self.route
        return self._service(route, champion=ChainChannel(chain))


def _asked_about(route: Route) -> frozenset[int]:
    """Return the stages whose outputs challengers of the next one take, or that are checked."""
    last = len(route.stages) - 1
    fed = {index - 1 for index, stage in enumerate(route.stages) if stage.challengers and index}
    return frozenset(fed | {check.stage for check in route.checks if check.stage < last})


def _check_alike(stage: ServedStage, options: list[int], column: str) -> None:
    """Refuse rows for models that take different things: they cannot be in one request."""
    models = [stage.champions[option] for option in sorted(set(options))]
    if len({(model.signature.inputs, model.tensor_fields) for model in models}) > 1:
        raise InputMismatch(
            f"The rows go to {', '.join(map(str, models))}, by column {column!r}, and these take "
            "different inputs. Send the rows of each in a request of their own.",
            column=column,
        )
