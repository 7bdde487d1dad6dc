"""A copy of all that a server keeps, made while it serves, and put back where none serves."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from gnomon.core import limits
from gnomon.core.errors import Conflict, Invalid, NotFound, ServerError
from gnomon.log.blobs import DIRECTORY as LARGE_TENSORS
from gnomon.private_files import write_private
from gnomon.settings import Home

MANIFEST = "backup.json"
_LAST_CHECKPOINT = "_last_checkpoint"  # of a table, and only to be quick


def backup(home: Home, directory: Path) -> None:
    """Copy metadata, models and log to a new directory. A server may be at work.

    Raises:
        NotFound: There is nothing to copy.
        Conflict: The directory is there already.
        ServerError: A database cannot be copied: it is damaged.
        OSError: The disk is full, or a file cannot be read.
    """
    if not home.database.exists():
        raise NotFound(f"There is no data in {home.root}: no server has been started there.")
    os.umask(0o077)
    try:
        directory.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        raise Conflict(f"{directory} is there already: choose a new one for the backup.") from None
    copied = Home(directory)
    # The order counts. First what names something, then what is named by it, which stays: models
    # behind metadata, rows that moved from a write-ahead to a table behind the write-ahead, and
    # large tensors behind the tables.
    _copy_database(home.database, copied.database)
    _copy_tree(home.artifacts, copied.artifacts)
    copied.inference_log.mkdir(mode=0o700)
    for path in sorted(home.inference_log.glob("front-*.sqlite")):
        _copy_database(path, copied.inference_log / path.name)
    for table in sorted(home.inference_log.glob("[0-9]*/[0-9]*/[0-9]*")):
        target = copied.inference_log / table.relative_to(home.inference_log)
        _copy_tree(table / "_delta_log", target / "_delta_log")
        _copy_tree(table, target)
    for tensors in sorted(home.inference_log.glob(f"[0-9]*/[0-9]*/{LARGE_TENSORS}")):
        _copy_tree(tensors, copied.inference_log / tensors.relative_to(home.inference_log))
    for path in (home.token_file, home.ports_file):
        with contextlib.suppress(FileNotFoundError):
            write_private(copied.root / path.name, path.read_bytes())
    facts = {"version": version("gnomon"), "made": datetime.now(UTC).isoformat()}
    write_private(directory / MANIFEST, json.dumps(facts).encode())  # it is complete


def restore(directory: Path, home: Home) -> None:
    """Put a backup where a server finds it; what was there before is moved aside.

    Raises:
        Invalid: The directory is no complete backup.
        Conflict: A server runs there.
        OSError: The disk is full, or a file cannot be read.
    """
    if not (directory / MANIFEST).exists():
        raise Invalid(f"{directory} is no complete backup: it has no {MANIFEST}.")
    os.umask(0o077)
    home.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(home):
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
        aside = home.root / f"before-restore-{stamp}"
        kept = [home.server_lock, home.client_lock]
        for path in sorted(home.root.iterdir()):
            if path not in kept and not path.name.startswith("before-restore-"):
                aside.mkdir(mode=0o700, exist_ok=True)
                path.rename(aside / path.name)
        for path in sorted(directory.iterdir()):
            if path.is_dir():
                _copy_tree(path, home.root / path.name)
            elif path.name != MANIFEST:
                write_private(home.root / path.name, path.read_bytes())


def check_metadata(home: Home) -> None:
    """Refuse to serve with damaged metadata.

    Raises:
        ServerError: The database is damaged; the message says what to do.
    """
    if not home.database.exists():
        return
    try:
        with contextlib.closing(_opened(home.database)) as connection:
            [(found,), *_] = connection.execute("PRAGMA quick_check(1)").fetchall()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
            return  # somebody is at work in it
        found = str(error)
    except sqlite3.DatabaseError as error:
        found = str(error)
    if found != "ok":
        raise ServerError(
            f"The metadata in {home.database} is damaged ({found}). 'gnomon restore DIR' puts back "
            "what 'gnomon backup DIR' has saved, and keeps what is there now beside it."
        )


@contextlib.contextmanager
def _locked(home: Home) -> Iterator[None]:
    with home.server_lock.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(f"A gnomon server runs in {home.root}: 'gnomon down' ends it.") from None
        yield


def _opened(path: Path) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode=ro"
    return sqlite3.connect(uri, uri=True, timeout=limits.DATABASE_BUSY_TIMEOUT_S)


def _copy_database(source: Path, target: Path) -> None:
    """Copy a database as it is at one moment, whoever writes it."""
    os.close(os.open(target, os.O_CREAT | os.O_EXCL, 0o600))
    try:
        with (
            contextlib.closing(_opened(source)) as original,
            contextlib.closing(sqlite3.connect(target)) as copy,
        ):
            original.backup(copy)
    except sqlite3.DatabaseError as error:
        raise ServerError(f"{source} cannot be copied: {error}.") from error


def _copy_tree(source: Path, target: Path) -> None:
    """Copy the files below a directory that are there; a file that goes meanwhile is left out.

    What has been copied already is left as it is.
    """
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in sorted(source.iterdir()):
        copy = target / path.name
        if path.name == _LAST_CHECKPOINT:  # it may name one that came too late to be copied
            continue
        if path.is_dir():
            if path.name != "_delta_log" or not copy.exists():
                _copy_tree(path, copy)
        else:
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(path, copy)
                copy.chmod(0o600)
