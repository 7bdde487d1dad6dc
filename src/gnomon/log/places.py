"""Where the tables of the inference log are."""

from __future__ import annotations

from pathlib import Path


def directory_of(log_directory: Path, workspace_id: int, pipeline_id: int) -> Path:
    """Return where the tables of a pipeline are; each is a directory named by its number."""
    return log_directory / str(workspace_id) / str(pipeline_id)


def table_paths(directory: Path) -> list[Path]:
    """Return the tables in what `directory_of` returned, the oldest first; it may be missing."""
    found = (path for path in directory.glob("[0-9]*") if any((path / "_delta_log").glob("*.json")))
    return sorted(found, key=lambda path: int(path.name))


def pipeline_directories(log_directory: Path) -> list[Path]:
    """Return what `directory_of` returns, for all pipelines that have tables."""
    return [path for path in sorted(log_directory.glob("[0-9]*/[0-9]*")) if path.is_dir()]
