"""Splits on a real server: shares, stickiness, keys, and who answered."""

from __future__ import annotations

import http.client
import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import gnomon
from gnomon.core.errors import InputMismatch
from tests.end_to_end.conftest import Server
from tests.end_to_end.step_models import Studio, column, layer, told

ROWS = np.random.default_rng(8).normal(size=(8, 3)).astype(np.float32)
# Three options that look alike from outside, and one step before and after them.
CONTENTS = {
    "one": layer(11, 3, 2, gives="z"),
    "two": layer(12, 3, 2, gives="z"),
    "three": layer(13, 3, 2, gives="z"),
}
AFTER = layer(14, 2, 1, takes="z", gives="p")
BEFORE = layer(15, 3, 3)
RIVAL = layer(16, 3, 2, gives="z")
AFTER_RIVAL = layer(17, 2, 1, takes="z", gives="p")
# Of the chi-square distribution with 2 degrees of freedom: a value above comes once in a million.
CHI_SQUARE_MAX = 27.6


@pytest.fixture(scope="module")
def studio(shared_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Studio:
    return Studio(shared_server.client(), tmp_path_factory.mktemp("models"), "splits")


@pytest.fixture(scope="module")
def models(studio: Studio) -> dict[str, gnomon.Model]:
    contents = {**CONTENTS, "after": AFTER, "before": BEFORE, "rival": RIVAL}
    contents["after-rival"] = AFTER_RIVAL
    return {name: studio.upload(name, content) for name, content in contents.items()}


@pytest.fixture(scope="module")
def options(models) -> list[gnomon.Model]:
    return [models[name] for name in CONTENTS]


def chi_square(counts: Counter[str], shares: dict[str, float]) -> float:
    """Return how far counts are from shares; they are of nothing else."""
    assert set(counts) <= set(shares)
    total = sum(counts.values())
    return sum((counts[name] - total * p) ** 2 / (total * p) for name, p in shares.items())


def names_of(frame: pd.DataFrame) -> list[str]:
    return [json.loads(text)["name"] for [text] in frame["out._model_split"]]


def counted(server: Server, url: str, requests: int) -> Counter[str]:
    """Ask one row so many times, on one connection, and count who answered."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
    headers = {"Authorization": f"Bearer {server.token}", "Content-Type": "application/json"}
    body = json.dumps({"x": ROWS[:1].tolist()}).encode()
    counts: Counter[str] = Counter()
    for _ in range(requests):
        connection.request("POST", parts.path, body, headers)
        [answer] = json.loads(connection.getresponse().read())
        [text] = answer["outputs"][-1]["String"]["data"]
        picked = json.loads(text)
        assert picked["name"] == answer["model_name"]
        counts[picked["name"]] += 1
    connection.close()
    return counts


def test_each_model_answers_its_share_of_the_requests(shared_server, studio, options):
    pipeline = studio.pipeline("shares")
    pipeline.add_random_split(list(zip((5, 3, 2), options, strict=True))).deploy()

    with ThreadPoolExecutor(4) as threads:
        counts = sum(
            threads.map(lambda _: counted(shared_server, pipeline.url(), 2_500), range(4)),
            Counter(),
        )

    assert sum(counts.values()) == 10_000
    assert chi_square(counts, {"one": 0.5, "two": 0.3, "three": 0.2}) < CHI_SQUARE_MAX, counts
    logged = pipeline.logs(limit=10_000).to_pandas()
    assert Counter(names_of(logged)) == counts


def test_the_answer_says_which_model_it_is_from_and_is_that_models(studio, options, models):
    pipeline = studio.pipeline("says").add_random_split([(1, model) for model in options]).deploy()

    for number in range(12):
        asked = f"says-{number}"
        frame = pipeline.infer(pd.DataFrame({"x": ROWS.tolist()}), request_id=asked)
        assert set(frame.columns) == {
            "time", "in.x", "out.z", "out._model_split", "anomaly.count"
        }  # fmt: skip
        [name] = set(names_of(frame))
        right = told(CONTENTS[name], ROWS)[0]
        np.testing.assert_array_equal(column(frame, "out.z").astype(np.float32), right)

        [result] = pipeline.infer({"x": ROWS.tolist()}, request_id=asked)
        picked = json.loads(result.data()[-1][0].item())
        model = models[name]
        facts = {"name": name, "version": model.version(), "sha": model.sha()}
        assert {key: picked[key] for key in facts} == facts
        assert picked["model_version"]["name"] == name
        assert result.model() == (name, model.version())


def test_the_same_value_finds_the_same_model_also_after_a_redeploy(studio, options):
    shares = {"one": 0.6, "two": 0.3, "three": 0.1}
    pipeline = studio.pipeline("sticky").add_random_split(
        list(zip((6, 3, 1), options, strict=True)), hash_key="customer"
    )
    pipeline.deploy()
    customers = [f"customer-{number}" for number in range(600)]

    def who(values) -> dict:
        bodies = [{"x": ROWS[:1].tolist(), "customer": [value]} for value in values]
        with ThreadPoolExecutor(4) as threads:
            results = list(threads.map(lambda body: pipeline.infer(body)[0], bodies))
        return dict(zip(values, (result.model()[0] for result in results), strict=True))

    first = who(customers)
    assert chi_square(Counter(first.values()), shares) < CHI_SQUARE_MAX
    assert who(customers[:100]) == {name: first[name] for name in customers[:100]}
    pipeline.deploy()
    assert who(customers[:100]) == {name: first[name] for name in customers[:100]}

    # A number from 0 to 1 stands for the random number itself
    assert who([0.0, 0.59, 0.61, 0.89, 0.91, 1.0]) == {
        0.0: "one", 0.59: "one", 0.61: "two", 0.89: "two", 0.91: "three", 1.0: "three"
    }  # fmt: skip


def test_rows_with_different_keys_in_one_frame_go_to_the_models_of_their_keys(studio, options):
    one, two, three = options
    pipeline = studio.pipeline("keys").add_key_split(one, "region", {"eu": two, 7: three}).deploy()
    regions = ["eu", "us", "eu", "7", "", "eu", "7", "EU"]
    wanted = ["two", "one", "two", "three", "one", "two", "three", "one"]
    right = np.stack([told(CONTENTS[name], ROWS)[0][row] for row, name in enumerate(wanted)])

    frame = pipeline.infer(pd.DataFrame({"x": ROWS.tolist(), "region": regions}))
    assert names_of(frame) == wanted
    assert frame["in.region"].tolist() == regions
    np.testing.assert_array_equal(column(frame, "out.z").astype(np.float32), right)

    table = pipeline.infer(pa.table({"x": pa.array(ROWS.tolist()), "region": regions}))
    np.testing.assert_array_equal(np.array(table["out.z"].to_pylist(), np.float32), right)

    logged = pipeline.logs(limit=1).to_pandas()
    assert Counter(names_of(logged)) == Counter(wanted)
    numbers = pipeline.infer(pd.DataFrame({"x": ROWS[:2].tolist(), "region": [7, 8]}))
    assert names_of(numbers) == ["three", "one"]


@pytest.mark.parametrize("kind", ["random", "key"])
def test_a_request_without_the_column_that_decides_is_told_its_name(studio, options, kind):
    pipeline = studio.pipeline(f"missing-{kind}")
    if kind == "key":
        pipeline.add_key_split(options[0], "region", {"eu": options[1]})
    else:
        pipeline.add_random_split([(1, model) for model in options], hash_key="region")
    pipeline.deploy()

    with pytest.raises(InputMismatch, match=r"'region' decides which model answers.*'x'"):
        pipeline.infer(pd.DataFrame({"x": ROWS.tolist()}))


def test_shadows_before_and_after_a_split_see_what_their_champion_sees(studio, options, models):
    pipeline = studio.pipeline("around").add_shadow_deploy(
        models["before"], [models["rival"]], mode="joined"
    )
    pipeline.add_random_split([(1, options[0]), (1, options[1])])
    pipeline.add_shadow_deploy(models["after"], [models["after-rival"]]).deploy()
    seen = set()
    before = told(BEFORE, ROWS)[0]

    for number in range(10):
        frame = pipeline.infer(pd.DataFrame({"x": ROWS.tolist()}), request_id=f"around-{number}")
        [name] = set(names_of(frame))
        seen.add(name)
        split = told(CONTENTS[name], before)[0]
        for found, right in {
            "out_rival.z": told(RIVAL, ROWS)[0],
            "out.p": told(AFTER, split)[0],
            "out_after-rival.p": told(AFTER_RIVAL, split)[0],
        }.items():
            np.testing.assert_array_equal(column(frame, found).astype(np.float32), right, found)

    assert seen == {"one", "two"}
    labels = [m["label"] for m in pipeline.status()["engines"][0]["model_statuses"]["models"]]
    assert labels == ["before", "rival", "one", "two", "after", "after-rival"]


def test_two_versions_of_one_model_share_the_requests_and_can_be_told_apart(studio):
    first = studio.upload("retrained", CONTENTS["one"])
    second = studio.upload("retrained", CONTENTS["two"])
    pipeline = studio.pipeline("versions").add_random_split([(1, first), (1, second)]).deploy()
    right = {first.version(): CONTENTS["one"], second.version(): CONTENTS["two"]}
    answers = Counter()

    for number in range(20):
        [result] = pipeline.infer({"x": ROWS[:1].tolist()}, request_id=f"versions-{number}")
        answers[result.model()[1]] += 1
        content = right[result.model()[1]]
        np.testing.assert_array_equal(
            result.data()[0].astype(np.float32), told(content, ROWS[:1])[0]
        )

    assert set(answers) == set(right)
    models = pipeline.status()["engines"][0]["model_statuses"]["models"]
    assert {m["label"]: m["ok"] for m in models} == {
        "retrained_v1": answers[first.version()],
        "retrained_v2": answers[second.version()],
    }
