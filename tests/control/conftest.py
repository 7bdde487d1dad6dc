from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gnomon.control.plane import ControlPlane
from gnomon.testing import FakeBackend
from tests.planes import open_plane


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend()


@pytest.fixture
def opening(tmp_path: Path, backend: FakeBackend) -> Iterator[Callable[[], ControlPlane]]:
    """Open a control plane; opening it again is a restart, after which the old one does nothing."""
    opened: list[ControlPlane] = []

    def again() -> ControlPlane:
        for plane in opened:
            plane.close()
        opened[:] = [open_plane(tmp_path, backend)]
        return opened[0]

    yield again
    for plane in opened:
        plane.close()


@pytest.fixture
def plane(opening: Callable[[], ControlPlane]) -> ControlPlane:
    """A control plane whose reconciler does not run."""
    return opening()


@pytest.fixture
def running(plane: ControlPlane) -> ControlPlane:
    """A control plane whose reconciler runs."""
    plane.start()
    return plane
