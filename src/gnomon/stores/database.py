"""The metadata database: opening it, transactions, and what its failures mean."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, Table, create_engine, event, insert
from sqlalchemy import exc as sql_errors

from gnomon.core import limits
from gnomon.core.errors import GnomonError, Internal, OutOfSpace, ServerBusy, ServerError
from gnomon.stores.tables import HEAD

log = logging.getLogger(__name__)

Transaction = Connection

_WRITE = "gnomon_write"
_POOL_SIZE = 8
_POOL_EXTRA = 8
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class Database:
    """The metadata in one SQLite file. Any thread may use it.

    Writers of this process wait for each other here, those of other processes in SQLite, both for
    `busy_timeout_s` at most; readers wait for nobody.
    """

    def __init__(self, path: Path, *, busy_timeout_s: float) -> None:
        self._busy_timeout_s = busy_timeout_s
        self._writing = threading.Lock()
        self._engine = _engine(path, busy_timeout_s)

    @classmethod
    def open(
        cls, path: Path, *, busy_timeout_s: float = limits.DATABASE_BUSY_TIMEOUT_S
    ) -> Database:
        """Open the database, check it, and bring its tables up to date.

        Args:
            path: The file; made, with mode 0600, if it is not there.

        Raises:
            ServerError: The file is damaged, or a newer gnomon made it.
            ServerBusy: Another process holds it.
            OutOfSpace: The disk is full.
        """
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        database = cls(path, busy_timeout_s=busy_timeout_s)
        try:
            database._check()
            database._upgrade()
        except BaseException:
            database.close()
            raise
        return database

    @contextlib.contextmanager
    def read(self) -> Iterator[Transaction]:
        """Give a transaction that sees one state of the database.

        Raises:
            ServerBusy, OutOfSpace, Internal: See the class.
        """
        with _named(), self._engine.connect() as connection, connection.begin():
            yield connection

    @contextlib.contextmanager
    def write(self) -> Iterator[Transaction]:
        """Give a transaction that may write; it is committed, and on disk, when the block ends.

        Raises:
            ServerBusy: Another writer did not end in time.
            OutOfSpace: The disk is full; nothing was written.
        """
        # A deferred transaction that reads first would fail when another one wrote meanwhile.
        if not self._writing.acquire(timeout=self._busy_timeout_s):
            raise _busy()
        try:
            with _named(), self._engine.connect() as connection:
                writing = connection.execution_options(**{_WRITE: True})
                with writing.begin():
                    yield writing
        finally:
            self._writing.release()

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    def _check(self) -> None:
        with self.read() as tx:
            [found] = tx.exec_driver_sql("PRAGMA quick_check(1)").one()
        if found != "ok":
            raise _damaged()

    def _upgrade(self) -> None:
        with self.read() as tx:
            at = _migration(tx)
        if at == HEAD:
            return
        # Only now: Alembic takes a tenth of a second to import.
        from alembic import command
        from alembic.config import Config
        from alembic.util import CommandError

        logging.getLogger("alembic").setLevel(logging.WARNING)
        config = Config()
        migrations = str(Path(__file__).parent / "migrations")
        config.set_main_option("script_location", migrations.replace("%", "%%"))
        try:
            with _named(), self._engine.connect() as connection:
                # Batch migrations drop and rename tables that others point to; and the pragma
                # does nothing inside a transaction.
                _driver(connection).execute("PRAGMA foreign_keys=OFF")
                writing = connection.execution_options(**{_WRITE: True})
                with writing.begin():
                    config.attributes["connection"] = writing
                    command.upgrade(config, "head")
                connection.invalidate()  # its foreign keys are off
        except CommandError as error:
            raise ServerError(
                f"The metadata database is at version {at}, which this gnomon does not know: "
                "a newer one made it. Start that one."
            ) from error
        log.info("database.upgraded from=%s to=%s", at, HEAD)


def insert_row(tx: Transaction, table: Table, **values: Any) -> int:
    """Insert a row and return its id."""
    key = tx.execute(insert(table).values(**values)).inserted_primary_key
    assert key is not None
    return int(key[0])


def _migration(tx: Transaction) -> str | None:
    known = tx.exec_driver_sql(
        "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'alembic_version'"
    ).scalar_one()
    if not known:
        return None
    at: str | None = tx.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return at


def _driver(connection: Connection) -> sqlite3.Connection:
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    return driver


def _engine(path: Path, busy_timeout_s: float) -> Engine:
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        connect_args={"timeout": busy_timeout_s},
        pool_size=_POOL_SIZE,
        max_overflow=_POOL_EXTRA,
        pool_timeout=busy_timeout_s,
    )

    @event.listens_for(engine, "connect")
    def connected(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # no implicit BEGIN: the one below is the only one
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        write = connection.get_execution_options().get(_WRITE, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


@contextlib.contextmanager
def _named() -> Iterator[None]:
    """Turn the database's failures into gnomon's."""
    try:
        yield
    except sql_errors.TimeoutError as error:  # every connection is in use
        raise _busy() from error
    except sql_errors.DBAPIError as error:
        raise _meaning(error.orig) from error
    except sqlite3.Error as error:
        raise _meaning(error) from error


def _meaning(error: Any) -> GnomonError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the rest of it is detail
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return _busy()
    if code == sqlite3.SQLITE_FULL:
        return OutOfSpace("The disk is full: nothing was changed. Free some space and try again.")
    if code in _DAMAGED:
        return _damaged()
    log.error("database.failed error=%r", error)
    return Internal("The metadata database failed; the server's log has the details.")


def _busy() -> ServerBusy:
    return ServerBusy("The metadata database is locked by another process. Try again in a moment.")


def _damaged() -> ServerError:
    return ServerError(
        "The metadata database is damaged. Put a backup of metadata.sqlite in its place, without "
        "the files metadata.sqlite-wal and metadata.sqlite-shm beside it; or move it away to "
        "begin with an empty one."
    )
