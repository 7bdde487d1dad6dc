import sqlite3
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import select, update

from gnomon.core.errors import Internal, OutOfSpace, ServerBusy, ServerError
from gnomon.stores import database as database_module
from gnomon.stores.database import Database, insert_row
from gnomon.stores.tables import HEAD, counters, members, metadata, models, users, workspaces


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a home with 100% of odd characters?" / "metadata.sqlite"


@pytest.fixture
def database(path: Path):
    path.parent.mkdir()
    opened = Database.open(path, busy_timeout_s=0.2)
    yield opened
    opened.close()


def add_user(tx, name: str) -> int:
    return insert_row(tx, users, name=name, created_at=datetime.now(UTC))


def names(database: Database) -> list[str]:
    with database.read() as tx:
        return sorted(tx.scalars(select(users.c.name)))


def test_a_new_database_is_durable_checked_and_for_its_owner_only(database, path):
    with database.read() as tx:
        pragmas = {
            name: tx.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    full = 2
    assert pragmas == {
        "journal_mode": "wal",
        "synchronous": full,
        "foreign_keys": 1,
        "busy_timeout": 200,
    }
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_migrations_make_the_tables_that_the_code_knows(database):
    with database.read() as tx:
        context = MigrationContext.configure(tx, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_every_table_has_an_id_and_a_workspace_and_says_when():
    for table in metadata.sorted_tables:
        columns = set(table.c.keys())
        if table.name not in ("workspaces",):
            assert "workspace_id" in columns, table.name
        if table.name not in ("counters",):
            assert "created_at" in columns, table.name
        assert table.primary_key.columns.keys() == ["id"]


def test_the_head_in_the_code_is_the_last_migration():
    config = Config()
    migrations = Path(database_module.__file__).parent / "migrations"
    config.set_main_option("script_location", str(migrations))
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


def test_a_database_that_is_up_to_date_opens_without_alembic(database, path):
    database.close()
    code = (
        "import sys; from pathlib import Path; from gnomon.stores.database import Database; "
        "Database.open(Path(sys.argv[1])).close(); print('alembic' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


def test_a_database_of_an_older_gnomon_is_brought_up_to_date_with_what_is_in_it(database, path):
    # Given a database as the first migration made it, with somebody's workspace
    with database.write() as tx:
        user_id = add_user(tx, "somebody")
        made = {"created_by": user_id, "created_at": datetime.now(UTC)}
        insert_row(tx, workspaces, name="mine", name_key="mine", archived=False, **made)
        for table in ("tagged_models", "tagged_pipelines", "tags", "members", "shadow_settings"):
            tx.exec_driver_sql(f"DROP TABLE {table}")
        tx.exec_driver_sql("ALTER TABLE model_versions DROP COLUMN configuration")
        tx.exec_driver_sql("ALTER TABLE model_versions DROP COLUMN runtime")
        tx.exec_driver_sql("ALTER TABLE model_versions DROP COLUMN deleted_at")
        tx.exec_driver_sql("ALTER TABLE pipeline_versions DROP COLUMN restores")
        tx.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
    database.close()

    # When it is opened
    reopened = Database.open(path)

    # Then it has what was missing, and what it had
    with reopened.read() as tx:
        context = MigrationContext.configure(tx, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        assert tx.execute(select(members.c.user_id, members.c.role)).all() == [(user_id, "owner")]
    assert names(reopened) == ["somebody"]
    reopened.close()


def test_a_migration_that_fails_half_way_leaves_nothing_behind(path):
    # Given a database in which one of the later tables is there already
    path.parent.mkdir()
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE pipelines (x)")
    other.commit()

    # When it is opened
    with pytest.raises(Internal):
        Database.open(path)

    # Then none of the earlier tables is there
    tables = {name for (name,) in other.execute("SELECT name FROM sqlite_schema")}
    assert tables == {"pipelines"}

    # And with the obstacle gone it opens
    other.execute("DROP TABLE pipelines")
    other.commit()
    other.close()
    Database.open(path).close()


def test_a_database_of_a_newer_gnomon_is_refused_and_left_alone(database, path):
    with database.write() as tx:
        tx.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    with pytest.raises(ServerError, match="newer"):
        Database.open(path)


def test_a_file_that_is_no_database_is_refused_plainly(tmp_path):
    path = tmp_path / "metadata.sqlite"
    path.write_bytes(b"this is no database " * 500)
    with pytest.raises(ServerError, match="damaged") as caught:
        Database.open(path)
    assert str(tmp_path) not in str(caught.value)


def test_a_damaged_page_is_found_at_start(database, path):
    with database.write() as tx:
        for number in range(200):
            add_user(tx, f"user-{number}")
    database.close()
    with path.open("r+b") as file:
        size = file.seek(0, 2)
        for page in range(4096, size, 4096):
            file.seek(page)
            file.write(b"\xff" * 512)
    with pytest.raises(ServerError):
        Database.open(path)


def test_what_fails_inside_a_transaction_is_not_written(database):
    def write() -> None:
        with database.write() as tx:
            add_user(tx, "somebody")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write()
    assert names(database) == []


def test_a_writer_gives_up_when_another_process_holds_the_lock_and_readers_go_on(database, path):
    # Given another process that writes and does not end
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    # When this one writes, then it says so in time
    with pytest.raises(ServerBusy), database.write() as tx:
        add_user(tx, "late")
    assert names(database) == []

    # And when the other one is gone, it works
    other.execute("ROLLBACK")
    other.close()
    with database.write() as tx:
        add_user(tx, "now")
    assert names(database) == ["now"]


def test_a_writer_gives_up_when_another_thread_does_not_end(database):
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with database.write():
            entered.set()
            leave.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    assert entered.wait(5)
    with pytest.raises(ServerBusy), database.write():
        pass
    leave.set()
    holder.join()


def test_a_full_disk_is_named_and_nothing_is_written(database):
    def fill() -> None:
        with database.write() as tx:
            tx.exec_driver_sql("PRAGMA max_page_count = 1")
            for number in range(10_000):
                add_user(tx, f"{number:060}")

    with pytest.raises(OutOfSpace):
        fill()
    assert names(database) == []


def test_a_row_that_points_nowhere_is_refused(database):
    with pytest.raises(Internal) as caught, database.write() as tx:
        insert_row(
            tx,
            models,
            workspace_id=77,
            name="m",
            name_key="m",
            created_by=1,
            created_at=datetime.now(UTC),
            updated_at=datetime.now(UTC),
        )
    assert "FOREIGN KEY" not in str(caught.value)


def test_four_writers_at_once_lose_no_update(path):
    path.parent.mkdir()
    database = Database.open(path, busy_timeout_s=10.0)
    with database.write() as tx:
        row = insert_row(tx, counters, name="n", value=0)

    def count() -> None:
        for _ in range(25):
            with database.write() as tx:
                value = tx.scalar(select(counters.c.value).where(counters.c.id == row))
                tx.execute(update(counters).where(counters.c.id == row).values(value=value + 1))

    writers = [threading.Thread(target=count) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    with database.read() as tx:
        assert tx.scalar(select(counters.c.value)) == 100
    database.close()


def test_times_come_back_aware_and_to_the_microsecond(database):
    made = datetime(2022, 10, 19, 19, 52, 14, 123456, tzinfo=timezone(timedelta(hours=2)))
    with database.write() as tx:
        insert_row(tx, users, name="n", created_at=made)
    with database.read() as tx:
        [read] = tx.scalars(select(users.c.created_at))
    assert read == made
    assert read.tzinfo is UTC


def test_ids_are_never_used_twice(database):
    with database.write() as tx:
        first = add_user(tx, "first")
        tx.execute(users.delete())
        assert add_user(tx, "second") > first
