"""Several hosts of one model as one channel."""

from __future__ import annotations

from collections.abc import Sequence

from gnomon.core.routing import ServedModel
from gnomon.front.batches import Run
from gnomon.front.channel import SocketChannel


class Pool:
    """A `service.Channel` over the channels to a model's hosts.

    A run is shared out so that all hosts have the same room afterwards. What waits for a host that
    ends goes to the others; what is under way there fails, because it may be what the host died of.

    Args:
        model: As the route has it.
        channels: Each to one of its hosts.
    """

    def __init__(self, model: ServedModel, channels: Sequence[SocketChannel]) -> None:
        self.model = model
        self.channels = tuple(channels)
        for channel in channels:
            channel.spare = self.submit

    @property
    def connected(self) -> bool:
        """Say whether one of the hosts is there."""
        return any(channel.connected for channel in self.channels)

    @property
    def trusted(self) -> bool:
        """Say whether the breaker of one of the hosts is closed."""
        return any(channel.trusted for channel in self.channels)

    @property
    def room(self) -> int:
        """Return how many more requests its hosts take together."""
        return sum(channel.room for channel in self._there())

    def submit(self, run: Run) -> None:
        """Run the model; see `service.Channel`."""
        fullest_first = sorted(self._there(), key=lambda channel: channel.room)
        total = sum(channel.room for channel in fullest_first)
        for number, channel in enumerate(fullest_first[:-1]):
            left = len(fullest_first) - number
            room = max(0, (total - len(run)) // left)  # of each, afterwards
            total -= channel.room
            share = min(channel.room - room, len(run) - 1)
            if share > 0:
                channel.submit(run.part(0, share))
                run = run.part(share, len(run))
        fullest_first[-1].submit(run)

    def _there(self) -> list[SocketChannel]:
        """Return the channels whose hosts are there; if none is, one that says so."""
        return [channel for channel in self.channels if channel.connected] or [self.channels[0]]
