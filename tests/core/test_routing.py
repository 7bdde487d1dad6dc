import json
from dataclasses import replace

import pytest

from gnomon.core.model import Signature
from gnomon.core.routing import Role, Route, RoutingTable, ServedModel


def served(label: str, role: Role = "challenger") -> ServedModel:
    return ServedModel(
        label=label,
        role=role,
        name=label,
        ordinal=1,
        version_id=1,
        uuid=f"{label}-uuid",
        sha256="0" * 64,
        signature=Signature(inputs=(), outputs=(), row_wise=True),
        tensor_fields=None,
        host=f"d1-{label}",
    )


def route(*challengers: str, **more) -> Route:
    return Route(
        deployment_id=1,
        workspace_id=1,
        pipeline_id=1,
        pipeline="fraud",
        pipeline_version="version-1",
        champion=served("champion", "champion"),
        challengers=tuple(served(label) for label in challengers),
        mode="async",
        shadow_wait_ms=1_000,
        **more,
    )


def test_a_table_survives_being_sent():
    table = RoutingTable(
        version=3, routes=(route(), route("rf", "xgb", sampling=(0.25, 0.0))), token_hashes={"a": 1}
    )
    assert RoutingTable.from_json(json.loads(json.dumps(table.to_json()))) == table


def test_without_a_sampling_every_challenger_sees_every_request():
    assert route("rf", "xgb").sampling == (1.0, 1.0)
    assert route().sampling == ()


def test_a_route_stored_before_there_was_sampling_is_read():
    stored = route("rf", "xgb").to_json()
    del stored["sampling"]
    assert Route.from_json(stored).sampling == (1.0, 1.0)


def test_a_new_sampling_leaves_the_models_as_they_are():
    before = route("rf", "xgb")
    after = replace(before, sampling=(0.5, 1.0))
    assert after != before
    assert after.models() == before.models()


def test_each_challenger_has_one_sampling_rate():
    with pytest.raises(AssertionError):
        route("rf", "xgb", sampling=(0.5,))
