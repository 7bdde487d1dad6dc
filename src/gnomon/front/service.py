"""What the requests of one deployment need: its route, the ways to its models, what is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Protocol

from gnomon.core.inference import InferenceLog
from gnomon.core.routing import Route, ServedModel
from gnomon.front.batches import Run
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


class Service:
    """One route and everything by it; the same for all requests until the route changes.

    Args:
        channels: By the name of the model's host.
        tallies: By label; they outlive a change of route.

    Attributes:
        channels, tallies: The champion's, then the challengers'; a tag is the index.
    """

    def __init__(
        self,
        route: Route,
        *,
        channels: Mapping[str, Channel],
        tallies: Mapping[str, Tally],
        log: InferenceLog,
    ) -> None:
        self.route = route
        self.channels = tuple(channels[model.host] for model in route.models())
        self.tallies = tuple(tallies[model.label] for model in route.models())
        self.log = log
        self.loop = asyncio.get_running_loop()
        self.feeding = Feeding(route)
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
