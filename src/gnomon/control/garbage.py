"""Files that nothing needs any more: model files without a version, logs without a pipeline."""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from gnomon.control.catalog import Catalog
from gnomon.core.access import Caller
from gnomon.log.places import pipeline_directories
from gnomon.stores.artifacts import Artifacts
from gnomon.stores.database import Database
from gnomon.stores.deletion import pipeline_ids
from gnomon.stores.models import used_files

log = logging.getLogger(__name__)

_ASIDE = "deleted-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Something that can be removed.

    Attributes:
        name: sha256 of a model file; "workspace/pipeline", by their ids, of a log.
        size_bytes: On the disk.
    """

    name: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What nothing needs any more.

    Attributes:
        removed: It is gone; False: it was only looked for.
    """

    files: tuple[Piece, ...]
    logs: tuple[Piece, ...]
    removed: bool


class Garbage:
    """Finds what deleted models, pipelines and workspaces left on the disk, and removes it.

    Args:
        inference_log: The directory of the inference log.
    """

    def __init__(
        self, database: Database, artifacts: Artifacts, catalog: Catalog, inference_log: Path
    ) -> None:
        self._database = database
        self._artifacts = artifacts
        self._catalog = catalog
        self._inference_log = inference_log

    def collect(self, caller: Caller, *, remove: bool) -> Findings:
        """Return what nothing needs, largest first, and remove it if told to.

        What is still being uploaded is needed. Requests to a deleted pipeline that have not moved
        to its tables yet do so later, and are found by the next call.
        """
        with self._database.read() as tx:
            used, pipelines = used_files(tx), pipeline_ids(tx)
        files = [
            Piece(name=sha256, size_bytes=_size(self._artifacts.path(sha256).parent))
            for sha256 in self._artifacts.kept()
            if sha256 not in used and not self._catalog.is_held(sha256)
        ]
        logs = {
            place: Piece(name="/".join(place.parts[-2:]), size_bytes=_size(place))
            for place in pipeline_directories(self._inference_log)
            if _ids(place) not in pipelines
        }
        if remove:
            files = [file for file in files if self._catalog.remove_unused(file.name)]
            self._remove_logs(list(logs))
            log.info(
                "garbage.removed files=%d logs=%d user=%d", len(files), len(logs), caller.user_id
            )
        return Findings(files=_ordered(files), logs=_ordered(logs.values()), removed=remove)

    def _remove_logs(self, places: list[Path]) -> None:
        """Rename them first: whoever moves requests to tables never meets half a table."""
        for place in places:
            aside = self._inference_log / f"{_ASIDE}{'-'.join(place.parts[-2:])}"
            shutil.rmtree(aside, ignore_errors=True)
            with contextlib.suppress(FileNotFoundError):  # another call was quicker
                place.rename(aside)
            with contextlib.suppress(OSError):  # other pipelines of the workspace are in there
                place.parent.rmdir()
        for aside in self._inference_log.glob(f"{_ASIDE}*"):
            shutil.rmtree(aside, ignore_errors=True)


def _ids(place: Path) -> tuple[int, int]:
    workspace_id, pipeline_id = place.parts[-2:]
    return int(workspace_id), int(pipeline_id)


def _ordered(pieces: Iterable[Piece]) -> tuple[Piece, ...]:
    return tuple(sorted(pieces, key=lambda piece: (-piece.size_bytes, piece.name)))


def _size(directory: Path) -> int:
    total = 0
    for path in directory.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # it moves while it is counted
            if path.is_file():
                total += path.stat().st_size
    return total
