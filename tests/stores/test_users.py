from datetime import UTC, datetime

import pytest

from gnomon.stores import users
from gnomon.stores.database import Database

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def database(tmp_path):
    opened = Database.open(tmp_path / "metadata.sqlite")
    yield opened
    opened.close()


def test_the_owner_its_workspace_and_its_token_are_made_once(database):
    for _ in range(2):
        with database.write() as tx:
            user_id = users.ensure_owner(tx, "a" * 64, NOW)
    with database.read() as tx:
        assert users.token_owners(tx) == {"a" * 64: user_id}
        [workspace] = users.all_workspaces(tx)
    assert workspace.name == "default-workspace"
    assert workspace.created_by == user_id


def test_a_new_token_in_the_file_replaces_the_old_one(database):
    with database.write() as tx:
        users.ensure_owner(tx, "a" * 64, NOW)
        user_id = users.ensure_owner(tx, "b" * 64, NOW)
    with database.read() as tx:
        assert users.token_owners(tx) == {"b" * 64: user_id}


def test_the_default_workspace_stays_when_another_takes_a_similar_name(database):
    with database.write() as tx:
        user_id = users.ensure_owner(tx, "a" * 64, NOW)
        mine = users.default_workspace(tx, user_id, NOW)
        users.add_workspace(tx, "other", user_id, NOW)
        assert users.default_workspace(tx, user_id, NOW) == mine


def test_a_counter_never_gives_a_number_twice(database):
    given = []
    for _ in range(3):
        with database.write() as tx:
            given.append(users.next_count(tx, "epoch"))
    assert given == [1, 2, 3]
