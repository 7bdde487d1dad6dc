"""What the requests of one deployment need: its route, the ways to its models, what is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Protocol

from gnomon.core.inference import InferenceLog, Nowhere
from gnomon.core.routing import Route, ServedModel
from gnomon.front.batches import Run
from gnomon.front.checking import Checking
from gnomon.front.codecs.answer_tensor_groups import TensorAnswers
from gnomon.front.feeding import Feeding
from gnomon.front.tallies import Tally

CHAMPION = 0  # the tag of its runs; challenger i has i + 1


class Channel(Protocol):
    """Runs requests on one model, in the order they come, within their deadlines.

    Every request that is submitted ends exactly once, whatever happens; it may end before
    `submit` returns.
    """

    model: ServedModel

    @property
    def connected(self) -> bool:
        """Say whether the model's host is there."""

    @property
    def trusted(self) -> bool:
        """Say whether an answer may be waited for: the model has not failed again and again."""

    @property
    def room(self) -> int:
        """Return how many more requests it takes."""

    def submit(self, run: Run) -> None:
        """Run the model on these requests.

        They end as ok; dropped, when the queue is full; timeout; error; skipped, when the breaker
        of a challenger is open; and not necessarily together.
        """


class UnderWay:
    """How many groups of one exchange may still have something to give to a model."""

    __slots__ = ("groups",)

    def __init__(self) -> None:
        self.groups = 0


class Service:
    """One route and everything by it; the same for all requests until the route changes.

    Args:
        channels: By the name of the model's host.
        tallies: By label; they outlive a change of route.
        under_way: Of the exchange.
        champion: The way to the champion, if it is not a host.

    Attributes:
        channels, tallies: The champion's, then the challengers'; a tag is the index.
        first, later: Indices of the challengers that take what requests give, and of those that
            take what a stage gives.
        checking: None if the route has no validations.
    """

    def __init__(
        self,
        route: Route,
        *,
        channels: Mapping[str, Channel],
        tallies: Mapping[str, Tally],
        log: InferenceLog,
        under_way: UnderWay,
        champion: Channel | None = None,
    ) -> None:
        self.route = route
        self.under_way = under_way
        self.channels = (
            champion or channels[route.champion.host],
            *(channels[model.host] for model in route.challengers),
        )
        self.tallies = tuple(tallies[model.label] for model in route.models())
        self.log = log if route.log.level != "off" else Nowhere()
        self.loop = asyncio.get_running_loop()
        self.feeding = Feeding(route)
        self.first = range(self.feeding.first)
        self.later = range(self.feeding.first, len(route.challengers))
        self.checking = Checking(route) if route.checks else None
        self.tensor_answers = TensorAnswers(route)

    @property
    def is_ready(self) -> bool:
        """Say whether the champion can answer."""
        return self.channels[CHAMPION].connected

    def trusted(self, sampled: int) -> list[int]:
        """Return the tags of those challengers sampled that may be waited for.

        One that failed again and again still runs when it may, and nobody waits for it.

        Args:
            sampled: As bits: bit i is the route's i-th challenger.
        """
        return [
            tag
            for tag, channel in enumerate(self.channels)
            if tag and sampled >> tag - 1 & 1 and channel.trusted
        ]
